//! Hands large frames on as fragments of a bounded size.
//!
//! tungstenite reserves what a header announces before any of it has come: with a limit of 16 MiB, 14 bytes would cost a server 16 MiB.
//! Of a fragment it can reserve no more than [`FRAGMENT`], and what it puts together grows with what is there. A frame above the limit
//! passes as it is, to be refused by its header.

use super::header::{Begun, FINAL, Header, MASKED};

/// The largest payload that is handed on in one piece: below 64 KiB, and a multiple of the mask's length.
pub(super) const FRAGMENT: u16 = 65_532;

#[derive(Debug, Default)]
pub(super) struct Fragments {
    /// The largest frame that is cut.
    pub(super) max: u64,
    /// The header being read.
    header: Begun,
    /// Bytes to come of the frame or fragment that is passing.
    passing: u64,
    /// The large frame that is being cut.
    large: Option<Large>,
}

/// What is left of a large frame behind the fragment that is passing.
#[derive(Debug)]
struct Large {
    left: u64,
    /// Is it the last frame of its message?
    is_final: bool,
    mask: Option<[u8; 4]>,
}

impl Fragments {
    /// Passes these bytes on unchanged if there is nothing to cut in them; the usual case, in which nothing is copied.
    pub(super) fn passes(&mut self, bytes: &[u8]) -> bool {
        if !self.header.is_empty() || self.large.is_some() {
            return false;
        }
        let mut at = self.passing;
        let length = bytes.len() as u64;
        while at < length {
            let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            let Some(header) = Header::of(rest) else { return false };
            if header.length > u64::from(FRAGMENT) {
                return false;
            }
            at = at.saturating_add(header.bytes as u64).saturating_add(header.length);
        }
        self.passing = at - length;
        true
    }

    /// Appends to `out` what these bytes are with large frames cut; the beginning of a header waits for its end.
    pub(super) fn cut(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let take = usize::try_from(self.passing).unwrap_or(usize::MAX).min(bytes.len());
                let (now, later) = bytes.split_at(take);
                out.extend_from_slice(now);
                bytes = later;
                self.passing -= now.len() as u64;
                if self.passing == 0 {
                    self.next_fragment(out);
                }
                continue;
            }
            if let Some(header) = self.header.take(&mut bytes) {
                self.begin_frame(header, out);
            }
        }
    }

    fn begin_frame(&mut self, header: Header, out: &mut Vec<u8>) {
        let Header { first, length, mask, .. } = header;
        if header.is_control() || length <= u64::from(FRAGMENT) || length > self.max {
            out.extend(self.header.bytes());
            self.header.clear();
            self.passing = length;
            return;
        }
        self.header.clear();
        write_header(first & !FINAL, FRAGMENT, mask, out);
        self.passing = u64::from(FRAGMENT);
        self.large = Some(Large { left: length - self.passing, is_final: header.is_final(), mask });
    }

    /// The header of the next fragment of the large frame, if there is one.
    fn next_fragment(&mut self, out: &mut Vec<u8>) {
        let Some(large) = &mut self.large else { return };
        let size = u16::try_from(large.left).unwrap_or(FRAGMENT).min(FRAGMENT);
        large.left -= u64::from(size);
        let is_last = large.left == 0;
        write_header(if is_last && large.is_final { FINAL } else { 0 }, size, large.mask, out);
        self.passing = u64::from(size);
        if is_last {
            self.large = None;
        }
    }
}

fn write_header(first: u8, length: u16, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    out.extend([first, 126 | if mask.is_some() { MASKED } else { 0 }]);
    out.extend(length.to_be_bytes());
    out.extend(mask.into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a stream in pieces of this size, as [`Blocking`](super::super::blocking::Blocking) asks for it.
    fn passed(stream: &[u8], size: usize) -> Vec<u8> {
        let (mut fragments, mut out) = (Fragments { max: 1 << 20, ..Fragments::default() }, Vec::new());
        for piece in stream.chunks(size) {
            if fragments.passes(piece) {
                out.extend_from_slice(piece);
            } else {
                fragments.cut(piece, &mut out);
            }
        }
        out
    }

    fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
        let mark = if masked { MASKED } else { 0 };
        let mut out = vec![first];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..126), _) => out.push(mark | short),
            (_, Ok(middle)) => {
                out.push(mark | 126);
                out.extend(middle.to_be_bytes());
            }
            _ => {
                out.push(mark | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            out.extend([1, 2, 3, 4]);
        }
        out.extend((0..length).map(|at| u8::try_from(at % 251).unwrap()));
        out
    }

    /// The frames of a stream: first byte, mask, and payload as it is masked.
    fn frames(mut stream: &[u8]) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some(Header { first, bytes, length, mask }) = Header::of(stream) {
            let end = bytes + usize::try_from(length).unwrap();
            let mask = mask.map(Vec::from).unwrap_or_default();
            out.push((first, mask, stream[bytes..end].to_vec()));
            stream = &stream[end..];
        }
        out
    }

    #[test]
    fn small_frames_pass_as_they_are_wherever_they_are_cut() {
        let stream =
            [frame(0x81, 5, true), frame(0x89, 0, true), frame(0x02, 300, false), frame(0x80, 126, true)]
                .concat();
        for size in 1..=stream.len() {
            assert_eq!(passed(&stream, size), stream, "{size}");
        }
    }

    #[test]
    fn a_large_frame_becomes_fragments_of_the_same_message_wherever_it_is_cut() {
        for length in [65_533, 65_536, 131_064, 200_000] {
            for masked in [true, false] {
                for (first, last) in [(0x82, FINAL), (0x01, 0), (0x80, FINAL)] {
                    let stream = [frame(first, length, masked), frame(0x81, 3, masked)].concat();
                    for size in [1, 7, 4_096, stream.len()] {
                        let out = passed(&stream, size);
                        let mut found = frames(&out);
                        assert_eq!(found.pop().unwrap().2, [0, 1, 2]);
                        let (sent, got) = (&frames(&stream)[0], &found);
                        assert_eq!(got[0].0, first & !FINAL);
                        assert_eq!(got.last().unwrap().0, last);
                        assert!(got[1..got.len() - 1].iter().all(|part| part.0 == 0));
                        assert!(got.iter().all(|part| part.1 == sent.1 && part.2.len() <= FRAGMENT.into()));
                        assert_eq!(got.iter().flat_map(|part| part.2.clone()).collect::<Vec<_>>(), sent.2);
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_above_the_limit_shows_its_header() {
        let header = [0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 9, 9, 9, 9];
        for size in 1..=header.len() {
            assert_eq!(passed(&header, size), header, "{size}");
        }
    }
}
