//! One gzip body: inflating it as it arrives, and writing one that cannot hold the delimiter.
//!
//! Called by the codec only. The state of zlib is several hundred KiB, so each thread keeps one of each kind and lends it for
//! one body. Small bodies are written as one stored block, which is legal gzip and costs a copy and a checksum.
//!
//! ```text
//! member  1f 8b 08 flags mtime(4) xfl os [extra] [name 00] [comment 00] [crc16]   header, RFC 1952
//!         deflate data                                                            RFC 1951
//!         crc32(4, little endian) length(4, little endian)                        trailer
//! ```

use std::cell::Cell;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};
use polywire_core::FrameError;

/// A header that is longer is no header any more: an extra field may have 64 KiB, names have no bound of their own.
const MAX_HEADER_BYTES: usize = 128 << 10;
/// The fixed part of a header.
const HEADER_BYTES: usize = 10;
/// Checksum and length behind the data of a member.
const TRAILER_BYTES: usize = 8;
/// What a stored block costs before its data: a type byte, the length and its complement.
const BLOCK_BYTES: usize = 5;
/// The most one stored block can hold.
const MAX_BLOCK: usize = 65_535;
/// The least by which a full output grows.
const GROWTH: usize = 4 << 10;
/// Deflate does not reach a higher ratio, so a length field that promises more is wrong.
const MAX_RATIO: usize = 1_032;

/// Header bytes of what we write: no name, no time, unknown system.
const HEADER: [u8; HEADER_BYTES] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Why a body is no gzip text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not begin with a gzip member.
    #[error("not a gzipped frame")]
    NotGzip,
    /// The header uses what no known version of gzip has.
    #[error("gzip header not understood")]
    Header,
    /// The compressed data breaks its format.
    #[error("invalid deflate data")]
    Deflate,
    /// The checksum differs.
    #[error("wrong gzip checksum")]
    Checksum,
    /// The length differs.
    #[error("wrong gzip length")]
    Length,
    /// Something other than zeros or another member follows a member.
    #[error("bytes after the gzip data")]
    Trailing,
    /// The body ends before its member does.
    #[error("gzip data cut short")]
    Truncated,
}

/// How far a body has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Every member seen is whole, and nothing but zeros follows.
    Whole,
    /// A member is still open.
    More,
    /// The body is broken.
    Bad(Fault),
}

/// Where the reader of a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the header of a member.
    Header,
    /// Inside the deflate data.
    Data,
    /// Before the trailer.
    Trailer,
    /// After a member: another one, zeros, or the end.
    After,
}

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Longest text in bytes.
    pub(crate) max_text: usize,
    /// The setting that says so.
    pub(crate) setting: &'static str,
    /// Most members.
    pub(crate) max_members: u32,
}

/// Reads one body piece by piece; every byte is looked at once.
pub(crate) struct Inflater {
    stage: Stage,
    /// Bytes of the body that are used up.
    at: usize,
    members: u32,
    /// Where the text of the present member starts.
    member_start: usize,
    text: Vec<u8>,
    state: Option<Decompress>,
    zeros: bool,
}

thread_local! {
    /// At most one idle state a thread; they are only held while a body is open.
    static INFLATE: Cell<Option<Decompress>> = const { Cell::new(None) };
    static DEFLATE: Cell<Option<(u32, Compress)>> = const { Cell::new(None) };
}

impl Inflater {
    /// A reader at the start of a body.
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Header,
            at: 0,
            members: 0,
            member_start: 0,
            text: Vec::new(),
            state: None,
            zeros: false,
        }
    }

    /// Memory that the text so far takes.
    pub(crate) fn keeps(&self) -> usize {
        self.text.capacity()
    }

    /// Bytes of the body that are used up.
    pub(crate) fn used(&self) -> usize {
        self.at
    }

    /// Reads on in `body`, which is what was given before with more behind it; `to_marker` when a delimiter follows, so that
    /// its last bytes may be a trailer.
    ///
    /// # Errors
    /// [`FrameError`] when the body exceeds a bound: the connection is closed.
    pub(crate) fn feed(
        &mut self,
        body: &[u8],
        to_marker: bool,
        bounds: &Bounds,
    ) -> Result<Progress, FrameError> {
        loop {
            let rest = body.get(self.at..).unwrap_or_default();
            match self.stage {
                Stage::Header => match header(rest)? {
                    Ok(Some(length)) => {
                        self.begin(length, bounds)?;
                        if to_marker {
                            self.expect_length(body, bounds.max_text);
                        }
                    }
                    Ok(None) => return Ok(Progress::More),
                    Err(fault) => return Ok(Progress::Bad(fault)),
                },
                Stage::Data => match self.inflate(rest, bounds)? {
                    Progress::Whole => self.stage = Stage::Trailer,
                    other => return Ok(other),
                },
                Stage::Trailer => {
                    let Some(trailer) = rest.first_chunk::<TRAILER_BYTES>() else {
                        return Ok(Progress::More);
                    };
                    let text = self.text.get(self.member_start..).unwrap_or_default();
                    if let Err(fault) = check(*trailer, text) {
                        return Ok(Progress::Bad(fault));
                    }
                    self.at = self.at.saturating_add(TRAILER_BYTES);
                    self.stage = Stage::After;
                }
                Stage::After => match rest.iter().position(|byte| *byte != 0) {
                    None => {
                        self.zeros |= !rest.is_empty();
                        self.at = body.len();
                        return Ok(Progress::Whole);
                    }
                    Some(0) if !self.zeros && rest.first() == HEADER.first() => self.stage = Stage::Header,
                    Some(_) => return Ok(Progress::Bad(Fault::Trailing)),
                },
            }
        }
    }

    /// The text of a whole body.
    pub(crate) fn finish(mut self) -> Bytes {
        let mut text = std::mem::take(&mut self.text);
        if text.capacity() / 2 > text.len() {
            text.shrink_to_fit();
        }
        Bytes::from(text)
    }

    /// A member begins behind a header of `length` bytes.
    fn begin(&mut self, length: usize, bounds: &Bounds) -> Result<(), FrameError> {
        self.members = self.members.saturating_add(1);
        if self.members > bounds.max_members {
            return Err(FrameError::TooMany {
                what: "gzip members",
                got: u64::from(self.members),
                max: u64::from(bounds.max_members),
                setting: "max_members",
            });
        }
        self.at = self.at.saturating_add(length);
        self.member_start = self.text.len();
        self.stage = Stage::Data;
        let state = self.state.take().or_else(|| INFLATE.take());
        self.state = Some(match state {
            Some(mut state) => {
                state.reset(false);
                state
            }
            None => Decompress::new(false),
        });
        Ok(())
    }

    /// Most bodies are one member that is all here: then its last four bytes tell how long the text will be.
    fn expect_length(&mut self, body: &[u8], max_text: usize) {
        let data = body.len().saturating_sub(self.at);
        let length = body.last_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        if length <= data.saturating_mul(MAX_RATIO).min(max_text) {
            // The byte more is what the end mark needs to be seen.
            self.text.reserve_exact(length.saturating_add(1));
        }
    }

    /// Inflates `rest`; `Whole` when the data of this member has ended.
    fn inflate(&mut self, mut rest: &[u8], bounds: &Bounds) -> Result<Progress, FrameError> {
        let Some(state) = &mut self.state else { return Ok(Progress::Bad(Fault::Deflate)) };
        loop {
            if self.text.len() == self.text.capacity() {
                // One byte above the bound is room enough to see that it is exceeded.
                let room = bounds.max_text.saturating_add(1).saturating_sub(self.text.len());
                self.text.reserve_exact(self.text.len().max(GROWTH).min(room));
            }
            let before = (state.total_in(), self.text.len());
            let status = state.decompress_vec(rest, &mut self.text, FlushDecompress::None);
            let used = usize::try_from(state.total_in().saturating_sub(before.0)).unwrap_or(usize::MAX);
            self.at = self.at.saturating_add(used);
            rest = rest.get(used..).unwrap_or_default();
            if self.text.len() > bounds.max_text {
                return Err(FrameError::TooLarge {
                    got: self.text.len() as u64,
                    max: bounds.max_text as u64,
                    setting: bounds.setting,
                });
            }
            match status {
                Ok(Status::StreamEnd) => return Ok(Progress::Whole),
                Err(_) => return Ok(Progress::Bad(Fault::Deflate)),
                Ok(_) if self.text.len() == self.text.capacity() => {}
                Ok(_) if rest.is_empty() => return Ok(Progress::More),
                Ok(_) if used == 0 && self.text.len() == before.1 => {
                    return Ok(Progress::Bad(Fault::Deflate));
                }
                Ok(_) => {}
            }
        }
    }
}

impl fmt::Debug for Inflater {
    /// The text may be a login, so it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("stage", &self.stage).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            INFLATE.set(Some(state));
        }
    }
}

/// The text of a body that is one stored block and nothing else: no inflating, one copy.
pub(crate) fn stored(body: &[u8], max_text: usize) -> Option<Bytes> {
    let (head, rest) = body.split_first_chunk::<HEADER_BYTES>()?;
    let (block, rest) = rest.split_first_chunk::<BLOCK_BYTES>()?;
    let (text, trailer) = rest.split_last_chunk::<TRAILER_BYTES>()?;
    let [0x1f, 0x8b, 8, 0, ..] = head else { return None };
    let [1, low, high, not_low, not_high] = *block else { return None };
    let length = u16::from_le_bytes([low, high]);
    let whole = usize::from(length) == text.len() && length == !u16::from_le_bytes([not_low, not_high]);
    (whole && text.len() <= max_text && check(*trailer, text).is_ok()).then(|| Bytes::copy_from_slice(text))
}

/// Length of the gzip header that `rest` begins with, `None` while it is not all there.
///
/// # Errors
/// [`FrameError`] when the header has no end in sight.
fn header(rest: &[u8]) -> Result<Result<Option<usize>, Fault>, FrameError> {
    let known = rest.len().min(3);
    if rest.get(..known) != HEADER.get(..known) {
        return Ok(Err(Fault::NotGzip));
    }
    let Some([_, _, _, flags, ..]) = rest.first_chunk::<HEADER_BYTES>() else { return Ok(Ok(None)) };
    if flags & 0xe0 != 0 {
        return Ok(Err(Fault::Header));
    }
    let length = variable_header(rest, *flags);
    let seen = length.unwrap_or(rest.len());
    if seen > MAX_HEADER_BYTES {
        return Err(FrameError::Corrupt("gzip header longer than 128 KiB"));
    }
    Ok(Ok(length))
}

/// Length of a header with its optional fields, `None` while they are not all there.
fn variable_header(rest: &[u8], flags: u8) -> Option<usize> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let mut at = HEADER_BYTES;
    if flags & EXTRA != 0 {
        let length = rest.get(at..)?.first_chunk::<2>()?;
        at = at.saturating_add(2).saturating_add(usize::from(u16::from_le_bytes(*length)));
    }
    for field in [NAME, COMMENT] {
        if flags & field != 0 {
            at = at.saturating_add(memchr::memchr(0, rest.get(at..)?)?).saturating_add(1);
        }
    }
    if flags & CHECKSUM != 0 {
        at = at.saturating_add(2);
    }
    (at <= rest.len()).then_some(at)
}

/// Compares checksum and length of a trailer with the text.
fn check(trailer: [u8; TRAILER_BYTES], text: &[u8]) -> Result<(), Fault> {
    let [c0, c1, c2, c3, l0, l1, l2, l3] = trailer;
    let (sum, length) = sums(text);
    if u32::from_le_bytes([c0, c1, c2, c3]) != sum {
        Err(Fault::Checksum)
    } else if u32::from_le_bytes([l0, l1, l2, l3]) != length {
        Err(Fault::Length)
    } else {
        Ok(())
    }
}

/// CRC-32 and length modulo 2^32 of a text.
fn sums(text: &[u8]) -> (u32, u32) {
    let mut crc = Crc::new();
    crc.update(text);
    (crc.sum(), crc.amount())
}

/// Bytes of one gzip member of stored blocks that holds a text of `text` bytes.
pub(crate) const fn stored_bytes(text: usize) -> usize {
    let around = HEADER_BYTES + TRAILER_BYTES + (text / MAX_BLOCK + 1) * BLOCK_BYTES;
    text.saturating_add(around)
}

/// Appends `text` as one gzip member of stored blocks.
pub(crate) fn write_stored(text: &[u8], out: &mut BytesMut) {
    out.reserve(stored_bytes(text.len()));
    out.put_slice(&HEADER);
    let mut rest = text;
    loop {
        let (block, more) = rest.split_at(rest.len().min(MAX_BLOCK));
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.put_u8(u8::from(more.is_empty()));
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(block);
        if more.is_empty() {
            break;
        }
        rest = more;
    }
    write_trailer(text, out);
}

/// `text` as one deflated gzip member.
pub(crate) fn deflated(text: &[u8], level: u32) -> Vec<u8> {
    let mut state = match DEFLATE.take() {
        Some((known, mut state)) if known == level => {
            state.reset();
            state
        }
        _ => Compress::new(Compression::new(level), false),
    };
    let mut out = Vec::with_capacity(text.len() / 4 + GROWTH);
    out.put_slice(&HEADER);
    let mut rest = text;
    loop {
        let before = state.total_in();
        let status = state.compress_vec(rest, &mut out, FlushCompress::Finish);
        let used = usize::try_from(state.total_in().saturating_sub(before)).unwrap_or(usize::MAX);
        rest = rest.get(used..).unwrap_or_default();
        match status {
            // Deflating fails only on misuse; a body that is cut short is refused by its reader.
            Ok(Status::StreamEnd) | Err(_) => break,
            Ok(_) => out.reserve(out.len().max(GROWTH)),
        }
    }
    write_trailer(text, &mut out);
    DEFLATE.set(Some((level, state)));
    out
}

fn write_trailer(text: &[u8], out: &mut impl BufMut) {
    let (sum, length) = sums(text);
    out.put_u32_le(sum);
    out.put_u32_le(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_text: 1 << 20, setting: "max_inflated_bytes", max_members: 16 };
    const TEXT: &[u8] = b"a text, and another text, and one more text";

    /// Is a state for inflating kept for the next body?
    fn kept() -> bool {
        let state = INFLATE.take();
        let kept = state.is_some();
        INFLATE.set(state);
        kept
    }

    fn open(body: &[u8]) -> (Inflater, Progress) {
        let mut inflater = Inflater::new();
        let progress = inflater.feed(body, false, &BOUNDS).unwrap();
        (inflater, progress)
    }

    #[test]
    fn the_state_for_inflating_is_lent_for_one_body_and_one_is_kept() {
        let body = deflated(TEXT, 6);
        let (first, _) = open(&body[..20]);
        assert!(!kept(), "the body holds it");
        drop(first);
        assert!(kept(), "a body that is given up gives it back");
        let (first, _) = open(&body[..20]);
        assert!(!kept(), "it is lent again");
        let (second, progress) = open(&body);
        assert_eq!((progress, second.finish()), (Progress::Whole, TEXT.into()), "two at once are two");
        assert!(kept());
        drop(first);
        assert!(kept(), "and one is kept");
    }

    #[test]
    fn a_broken_body_spoils_the_state_for_nobody() {
        let body = deflated(TEXT, 6);
        let mut broken = body.clone();
        broken[HEADER_BYTES] = 0xff;
        let (inflater, progress) = open(&broken);
        assert_eq!(progress, Progress::Bad(Fault::Deflate));
        drop(inflater);
        let (inflater, progress) = open(&body);
        assert_eq!((progress, inflater.finish()), (Progress::Whole, TEXT.into()));
    }

    #[test]
    fn the_state_for_deflating_is_that_of_the_level_asked_for_last() {
        for level in [1, 9, 9, 1] {
            let (inflater, _) = open(&deflated(TEXT, level));
            assert_eq!(inflater.finish(), TEXT);
            let (kept, state) = DEFLATE.take().unwrap();
            assert_eq!(kept, level);
            DEFLATE.set(Some((kept, state)));
        }
    }
}
