//! What a client's WebSocket must not bring to the library as it comes.
//!
//! - Engine.IO packets that only servers send (`0`, `6`): the original server passes over them, the library ends the session. The
//!   C# helper of HyperHQ plugins sends a `0` first. Observed with engineioxide 0.17.9.
//! - Messages behind a CONNECT that has no answer yet: the library has no namespace for them and ends the session. They are not
//!   read until CONNECT is answered, so nothing is kept of them but what one read has brought.
//! - A message above the limit: the library ends the stream without a word. It is replaced by the close frame with 1009 that the
//!   library then answers, so the client is told.
//! - An end that this side wants: the library ends a session in order when its client closes, so it is handed the close frame of
//!   one, with 1000, and its answer is what the client gets.
//! - Floods that the library takes without a word: see [`Flood`]. A close frame with 1008 stands for what is too much.
//! - Frames that break RFC 6455, which the library ends without a code: see [`framing`]. A close frame with 1002 or 1007 stands for
//!   them.
//! - Packets that are none and that the library takes for some: see [`Head`]. A close frame with 1002 stands for them.
//!
//! What comes together with the request for the WebSocket, or before its answer, is held to all that, too: see [`Heads`].
//!
//! Frames are looked at where they begin and nowhere else, but for a close; what passes is not copied, but for what came in one
//! read with a head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use polywire_core::Clock;
use polywire_net::websocket::Header;
use tokio::io::{AsyncRead, ReadBuf};

use super::flood::Flood;
use super::frames::{Frame, Writes};
use super::framing;
use super::gate::Gate;
use super::head::Head;
use super::heads::Heads;
use super::verdict::Verdict;

/// Read ahead at a time while frames are cut or held back.
const CHUNK: usize = 4 << 10;
/// Most chunks that are dropped once the end is decided.
const DROPS: usize = 256;
/// A close frame of a client: 1000, it is done. Its mask is zero.
const DONE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];
/// A close frame of a client: 1009, the message is too big. Its mask is zero.
const TOO_BIG: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF1];
/// The same with 1002: it breaks the protocol.
const BREACH: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xEA];
/// The same with 1007: it is not UTF-8.
const NOT_UTF8: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xEF];
/// The same with 1008: it breaks a rule of this side.
const TOO_MUCH: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF0];

/// The two directions of one stream.
pub(super) struct Sieve {
    max: u64,
    heads: Heads,
    /// Bytes read and not handed on; their first `passed` may be.
    ahead: BytesMut,
    passed: usize,
    seen: Seen,
    over: bool,
    reader: Option<Waker>,
    writes: Writes,
}

/// What the frames so far say of those to come.
#[derive(Clone, Copy)]
struct Seen {
    /// Bytes of the frame at hand that are still to come, and whether they are left out.
    rest: u64,
    out: bool,
    /// The size of the message at hand so far, over all its frames.
    message: u64,
    /// Its head, over all its frames, while it is a text.
    head: Head,
    /// The frame at hand, or the last one, is not the last of its message.
    open: bool,
    /// The message at hand is an attachment, and whole with the frame at hand.
    attachment: bool,
    whole: bool,
    /// CONNECTs without an answer. The rest of one in fragments is read all the same.
    unanswered: usize,
    /// The client has closed in order.
    closed: bool,
    flood: Flood,
}

/// What is to be done with the first bytes of what was read.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Pass(usize),
    Leave(usize),
    /// More bytes have to come before that can be said.
    More,
    /// They wait for an answer.
    Hold,
    /// What comes is replaced by a close frame, and nothing follows it.
    End(Verdict),
}

impl Sieve {
    /// For messages of at most `max` bytes, and at most `max_control` messages a second that are sent only to be seen.
    pub(super) fn new(max: usize, max_control: u32) -> Self {
        Self {
            max: max as u64,
            heads: Heads::new(),
            ahead: BytesMut::new(),
            passed: 0,
            seen: Seen {
                rest: 0,
                out: false,
                message: 0,
                head: Head::none(),
                open: false,
                attachment: false,
                whole: false,
                unanswered: 0,
                closed: false,
                flood: Flood::new(max_control),
            },
            over: false,
            reader: None,
            writes: Writes::default(),
        }
    }

    /// These bytes have been written.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        let answered = self.writes.feed(bytes);
        if answered > 0 {
            self.seen.unanswered = self.seen.unanswered.saturating_sub(answered);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }

    /// Was a message begun that is not whole yet? One that waits for an answer of ours was not.
    pub(super) fn has_begun(&self) -> bool {
        let Seen { rest, open, unanswered, .. } = self.seen;
        let head = !self.ahead.is_empty() && self.passed == 0 && unanswered == 0;
        (rest > 0 || open || head) && !self.over
    }

    /// Has the client closed the WebSocket in order?
    pub(super) fn is_closed(&self) -> bool {
        self.seen.closed
    }

    /// Reads what HTTP is to have while there is no WebSocket: never beyond the end of a head.
    pub(super) fn poll_http<Io: AsyncRead>(
        &mut self,
        io: Pin<&mut Io>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let start = buf.filled().len();
            ready!(io.poll_read(cx, buf))?;
            let new = buf.filled().get(start..).unwrap_or_default();
            let taken = self.heads.take(new);
            self.ahead.extend_from_slice(new.get(taken..).unwrap_or_default());
            buf.set_filled(start + taken);
        } else {
            let most = self.ahead.len().min(buf.remaining());
            self.passed = self.heads.take(self.ahead.get(..most).unwrap_or_default());
            self.hand_on(buf);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_read<Io: AsyncRead>(
        &mut self,
        mut io: Pin<&mut Io>,
        gate: &Gate,
        clock: &dyn Clock,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && !self.over {
            let start = buf.filled().len();
            ready!(io.as_mut().poll_read(cx, buf))?;
            let new = buf.filled().get(start..).unwrap_or_default();
            let pass = self.passes(new, gate, clock);
            if new.is_empty() || pass == new.len() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(new.get(pass..).unwrap_or_default());
            buf.set_filled(start + pass);
            if pass > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        loop {
            if self.passed > 0 {
                self.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            if self.over {
                // Whatever follows is not read; the library ends the stream.
                return Poll::Ready(Ok(()));
            }
            let ahead = std::mem::take(&mut self.ahead);
            let step = self.step(&ahead, gate, clock);
            self.ahead = ahead;
            match step {
                Step::Pass(count) => self.passed = count,
                Step::Leave(count) => self.ahead.advance(count),
                Step::End(verdict) => {
                    tracing::debug!("a client is sent away: {verdict:?}");
                    // Before the library hears of it, and tells that the client is gone.
                    gate.condemn(verdict);
                    self.end_with(farewell(verdict), io.as_mut(), cx);
                }
                Step::Hold => {
                    self.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Step::More => {
                    let mut chunk = [0; CHUNK];
                    let mut chunk = ReadBuf::new(&mut chunk);
                    ready!(io.as_mut().poll_read(cx, &mut chunk))?;
                    if chunk.filled().is_empty() {
                        // The end in the middle of a frame's head is the library's to judge.
                        self.over = true;
                        self.passed = self.ahead.len();
                        if self.passed == 0 {
                            return Poll::Ready(Ok(()));
                        }
                        continue;
                    }
                    self.ahead.extend_from_slice(chunk.filled());
                }
            }
        }
    }

    /// Nobody wants more: for the library the client closes in order, and it answers with the same code. In the middle of a frame
    /// there is no place for that, and the stream ends.
    pub(super) fn cut<Io: AsyncRead>(
        &mut self,
        io: Pin<&mut Io>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) {
        if self.passed == 0 && !self.over {
            self.end_with(if self.seen.rest == 0 { &DONE } else { &[] }, io, cx);
        }
        self.hand_on(buf);
    }

    /// What comes is replaced by this frame, and nothing follows it.
    fn end_with<Io: AsyncRead>(&mut self, frame: &'static [u8], io: Pin<&mut Io>, cx: &mut Context<'_>) {
        drop_what_is_there(io, cx);
        self.over = true;
        self.ahead = BytesMut::from(frame);
        self.passed = frame.len();
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.passed.min(buf.remaining());
        buf.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        self.passed -= count;
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
    }

    /// How many of these bytes may be handed on at once.
    fn passes(&mut self, bytes: &[u8], gate: &Gate, clock: &dyn Clock) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let (before, rest) = (self.seen, bytes.get(passed..).unwrap_or_default());
            match self.step(rest, gate, clock) {
                Step::Pass(count) => passed += count,
                _ => {
                    // Looked at again from what is kept.
                    self.seen = before;
                    break;
                }
            }
        }
        passed
    }

    /// Looks at the first bytes: the rest of a frame, or the head of the next.
    fn step(&mut self, bytes: &[u8], gate: &Gate, clock: &dyn Clock) -> Step {
        if bytes.is_empty() {
            return Step::More;
        }
        let seen = &mut self.seen;
        if seen.rest == 0 {
            if seen.unanswered > 0 && !seen.open {
                return Step::Hold;
            }
            let Some(header) = Header::of(bytes) else { return Step::More };
            if let Err(verdict) = framing::head(&header, seen.open) {
                return Step::End(verdict);
            }
            let opcode = header.opcode();
            let message = match opcode {
                0 => seen.message.saturating_add(header.length),
                1 | 2 => header.length,
                _ => seen.message,
            };
            if message > self.max {
                return Step::End(Verdict::TooLarge { got: message, max: self.max });
            }
            let Some(frame) = Frame::behind(header, bytes) else { return Step::More };
            let Frame { header, look } = frame;
            let before = match opcode {
                1 => Head::default(),
                2 => Head::none(),
                _ => seen.head,
            };
            let head = if opcode < 2 { frame.read_on(before, bytes) } else { Ok(Some(before)) };
            let head = match head {
                Ok(Some(head)) => head,
                Ok(None) => return Step::More,
                Err(verdict) => return Step::End(verdict),
            };
            if opcode == 8 {
                let Some(content) = frame.whole(bytes) else { return Step::More };
                if let Err(verdict) = framing::close(&content) {
                    return Step::End(verdict);
                }
                seen.closed = true;
            }
            if let Err(verdict) = seen.flood.frame(opcode, look[0], || clock.now()) {
                return Step::End(verdict);
            }
            if matches!(opcode, 1 | 2) {
                seen.attachment = opcode == 2;
            }
            seen.message = message;
            seen.rest = header.frame_bytes();
            seen.whole = opcode < 3 && header.is_final();
            if opcode < 3 {
                seen.open = !header.is_final();
            }
            seen.out = opcode == 1 && header.is_final() && matches!(look[0], Some(b'0' | b'6'));
            if head.is_connect() && !before.is_connect() {
                seen.unanswered += 1;
            }
            if head.due() != before.due() {
                gate.announce(head.due());
            }
            seen.head = head;
        }
        let count = usize::try_from(seen.rest).unwrap_or(usize::MAX).min(bytes.len());
        seen.rest -= count as u64;
        if seen.rest == 0 && seen.whole && seen.attachment {
            gate.attached();
        }
        if seen.out { Step::Leave(count) } else { Step::Pass(count) }
    }
}

/// The close frame that stands for it.
fn farewell(verdict: Verdict) -> &'static [u8] {
    match verdict {
        Verdict::TooLarge { .. } => &TOO_BIG,
        Verdict::Breach(_) => &BREACH,
        Verdict::NotUtf8(_) => &NOT_UTF8,
        _ => &TOO_MUCH,
    }
}

/// Drops what the client has sent already, within bounds: a stream that is closed with bytes unread is reset, and the client may
/// then never read why.
fn drop_what_is_there<Io: AsyncRead>(mut io: Pin<&mut Io>, cx: &mut Context<'_>) {
    for _ in 0..DROPS {
        let mut chunk = [0; CHUNK];
        let mut chunk = ReadBuf::new(&mut chunk);
        match io.as_mut().poll_read(cx, &mut chunk) {
            Poll::Ready(Ok(())) if !chunk.filled().is_empty() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
