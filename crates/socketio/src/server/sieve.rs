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
use super::heads::Heads;
use super::verdict::Verdict;

/// Read ahead at a time while frames are cut or held back.
const CHUNK: usize = 4 << 10;
/// Most chunks that are dropped once the end is decided.
const DROPS: usize = 256;
/// What a CONNECT begins with, in a message of Engine.IO.
const CONNECT: [Option<u8>; 2] = [Some(b'4'), Some(b'0')];
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
    /// Its first bytes, over all its frames, while it is a text.
    begin: [Option<u8>; 2],
    /// The frame at hand, or the last one, is not the last of its message.
    open: bool,
    /// The message at hand is an attachment, and whole with the frame at hand.
    attachment: bool,
    whole: bool,
    /// Attachments that a packet has announced and that have not come.
    due: u32,
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
                begin: [None; 2],
                open: false,
                attachment: false,
                whole: false,
                due: 0,
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

    /// Was a message begun that is not whole yet, or a packet whose attachments have not come? One that waits for an answer of ours
    /// was not.
    pub(super) fn has_begun(&self) -> bool {
        let Seen { rest, open, due, unanswered, .. } = self.seen;
        let head = !self.ahead.is_empty() && self.passed == 0 && unanswered == 0;
        (rest > 0 || open || due > 0 || head) && !self.over
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
            let pass = self.passes(new, clock);
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
            let step = self.step(&ahead, clock);
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
    fn passes(&mut self, bytes: &[u8], clock: &dyn Clock) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let (before, rest) = (self.seen, bytes.get(passed..).unwrap_or_default());
            match self.step(rest, clock) {
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
    fn step(&mut self, bytes: &[u8], clock: &dyn Clock) -> Step {
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
            let Some(frame) = Frame::behind(header, bytes) else { return Step::More };
            let Some(announced) = frame.announced(bytes) else { return Step::More };
            let Frame { header, look } = frame;
            let opcode = header.opcode();
            if opcode == 8 {
                let Some(content) = frame.content(bytes) else { return Step::More };
                if let Err(verdict) = framing::close(&content) {
                    return Step::End(verdict);
                }
                seen.closed = true;
            }
            match opcode {
                0 => seen.message = seen.message.saturating_add(header.length),
                1 | 2 => {
                    seen.message = header.length;
                    seen.attachment = opcode == 2;
                    seen.due = seen.due.max(announced);
                }
                _ => {}
            }
            if opcode < 3 && seen.message > self.max {
                return Step::End(Verdict::TooLarge { got: seen.message, max: self.max });
            }
            if let Err(verdict) = seen.flood.frame(opcode, look[0], || clock.now()) {
                return Step::End(verdict);
            }
            seen.rest = header.frame_bytes();
            seen.whole = opcode < 3 && header.is_final();
            if opcode < 3 {
                seen.open = !header.is_final();
            }
            seen.out = opcode == 1 && header.is_final() && matches!(look[0], Some(b'0' | b'6'));
            let before = match opcode {
                0 => seen.begin,
                _ => [None; 2],
            };
            if opcode < 3 {
                seen.begin = if seen.attachment { [None; 2] } else { joined(before, look) };
            }
            if opcode < 3 && seen.begin == CONNECT && before != CONNECT {
                seen.unanswered += 1;
            }
        }
        let count = usize::try_from(seen.rest).unwrap_or(usize::MAX).min(bytes.len());
        seen.rest -= count as u64;
        if seen.rest == 0 && seen.whole && seen.attachment {
            seen.due = seen.due.saturating_sub(1);
        }
        if seen.out { Step::Leave(count) } else { Step::Pass(count) }
    }
}

/// The first two bytes of a text of which these have come before, and these come now.
fn joined(before: [Option<u8>; 2], now: [Option<u8>; 2]) -> [Option<u8>; 2] {
    match before {
        [None, _] => now,
        [first, None] => [first, now[0]],
        whole => whole,
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
mod tests {
    use std::collections::VecDeque;

    use polywire_size::cases;
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [7, 1, 200, 33];

    fn frame(opcode: u8, masked: bool, content: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        let mark = if masked { 0x80 } else { 0 };
        match content.len() {
            short @ 0..126 => out.push(mark | u8::try_from(short).unwrap()),
            middle => {
                out.push(mark | 126);
                out.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
        }
        if masked {
            out.extend(MASK);
            out.extend(content.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            out.extend(content);
        }
        out
    }

    /// A stream that gives these pieces, then nothing for now.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(piece) = self.0.front_mut() else { return Poll::Pending };
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                self.0.pop_front();
            }
            Poll::Ready(Ok(()))
        }
    }

    fn pieces(stream: &[u8], size: usize) -> Pieces {
        Pieces(stream.chunks(size).map(<[u8]>::to_vec).collect())
    }

    /// Everything that passes for now.
    fn read(sieve: &mut Sieve, pieces: &mut Pieces, room: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let mut room = vec![0; room];
            let mut buf = ReadBuf::new(&mut room);
            let (gate, clock) = (Gate::default(), polywire_core::TokioClock);
            match sieve.poll_read(Pin::new(&mut *pieces), &gate, &clock, &mut cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => all.extend_from_slice(buf.filled()),
                Poll::Ready(Err(error)) => panic!("{error}"),
                _ => return all,
            }
        }
    }

    /// Everything that passes where each CONNECT is answered once it is whole.
    fn sifted(stream: &[u8], size: usize, room: usize) -> Vec<u8> {
        let (mut sieve, mut pieces) = (Sieve::new(1_000, 100), pieces(stream, size));
        sieve.written(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        let mut all = Vec::new();
        loop {
            all.extend(read(&mut sieve, &mut pieces, room));
            if sieve.seen.unanswered == 0 || sieve.seen.open || sieve.seen.rest > 0 {
                return all;
            }
            sieve.written(&frame(1, false, b"40{}"));
        }
    }

    /// Messages, pings and pongs, each in one frame.
    fn opcodes() -> impl Strategy<Value = u8> {
        prop_oneof![3 => Just(1_u8), 1 => Just(2), 1 => Just(9), 1 => Just(10)]
    }

    /// Anything, and often what is left out, or held back behind it.
    fn contents() -> impl Strategy<Value = Vec<u8>> {
        let begins = prop::sample::select(vec![&b""[..], b"0", b"6", b"40", b"42", b"452-"]);
        (begins, prop::collection::vec(any::<u8>(), 0..150)).prop_map(|(begin, rest)| [begin, &rest].concat())
    }

    #[test]
    fn h09_what_breaks_the_protocol_becomes_a_close_wherever_it_is_cut() {
        let event = frame(1, true, b"42[\"a\"]");
        let mut begun = event.clone();
        begun[0] &= 0x7F;
        for (broken, passes, close) in [
            (frame(1, false, b"42"), &event, BREACH),
            (frame(3, true, b""), &event, BREACH),
            (frame(0, true, b"x"), &event, BREACH),
            (event.clone(), &begun, BREACH),
            (frame(9, true, &[0; 126]), &event, BREACH),
            (frame(8, true, b"x"), &event, BREACH),
            (frame(8, true, &[0x03, 0xED]), &event, BREACH),
            (frame(8, true, &[0x03, 0xE8, 0xFF]), &event, NOT_UTF8),
        ] {
            let stream = [&passes[..], &broken, &event].concat();
            for size in 1..=stream.len() {
                assert_eq!(sifted(&stream, size, 64), [&passes[..], &close].concat(), "{size} of {broken:?}");
            }
        }
        let done = frame(8, true, &[0x03, 0xE8, b'b', b'y', b'e']);
        assert_eq!(sifted(&done, 1, 64), done, "an end in order");
    }

    #[test]
    fn a_message_is_begun_from_its_first_byte_to_the_last_of_its_last_frame() {
        let mut parts = frame(1, true, b"42[\"a\",");
        parts[0] &= 0x7F;
        let stream = [parts, frame(9, true, b""), frame(0, true, b"1]")].concat();
        let mut sieve = Sieve::new(100, 1_000);
        assert!(!sieve.has_begun());
        for (at, byte) in stream.iter().enumerate() {
            read(&mut sieve, &mut pieces(&[*byte], 1), 64);
            assert_eq!(sieve.has_begun(), at + 1 < stream.len(), "after byte {at}");
        }
    }

    #[test]
    fn a_packet_is_begun_until_its_last_attachment_has_come() {
        let mut cut = frame(1, true, b"4");
        cut[0] &= 0x7F;
        for (header, due) in [
            (frame(1, true, b"42[\"a\"]"), 0),
            (frame(1, true, b"450-[\"a\"]"), 0),
            (frame(1, true, b"451-[\"a\"]"), 1),
            (frame(1, true, b"4612-[\"a\"]"), 12),
            (frame(1, true, b"45"), 1),
            // What it is stands in the second frame, where nobody looks.
            ([cut, frame(0, true, b"51-[\"a\"]")].concat(), 0),
        ] {
            let attachments = (0..due).map(|size| frame(2, true, &vec![7; size]));
            let frames: Vec<_> = std::iter::once(header).chain(attachments).collect();
            let mut sieve = Sieve::new(1_000, 100);
            for (at, bytes) in frames.iter().enumerate() {
                let between = [frame(1, true, b"3"), frame(9, true, b"")].concat();
                let stream = [between.clone(), bytes.clone(), between].concat();
                assert_eq!(read(&mut sieve, &mut pieces(&stream, 1), 64), stream);
                assert_eq!(sieve.has_begun(), at + 1 < frames.len(), "{at} of {}", frames.len());
            }
        }
    }

    #[test]
    fn an_opening_in_one_go_is_put_in_order_at_every_cut() {
        let connect = frame(1, true, b"40");
        let event = frame(1, true, b"42[\"authenticate\",{}]");
        let stream = [frame(1, true, b"0"), connect.clone(), event.clone(), frame(1, true, b"6")].concat();
        for size in 1..=stream.len() {
            for room in [1, 3, 64] {
                let (mut sieve, mut pieces) = (Sieve::new(1_000, 100), pieces(&stream, size));
                assert_eq!(read(&mut sieve, &mut pieces, room), connect, "{size} {room}");
                sieve.written(b"HTTP/1.1 101 Switching Protocols\r\nx: y\r\n\r\n");
                sieve.written(&frame(1, false, b"0{\"sid\":\"a\"}"));
                assert_eq!(read(&mut sieve, &mut pieces, room), b"", "{size} {room}");
                for byte in frame(1, false, b"40{\"sid\":\"b\"}") {
                    sieve.written(&[byte]);
                }
                assert_eq!(read(&mut sieve, &mut pieces, room), event, "{size} {room}");
            }
        }
    }

    /// A message in these frames.
    fn fragments(opcode: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let mut bytes = frame(if at == 0 { opcode } else { 0 }, true, part);
            if at + 1 < parts.len() {
                bytes[0] &= 0x7F;
            }
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn what_follows_a_connect_in_fragments_waits_for_its_answer_and_its_own_rest_does_not() {
        let event = frame(1, true, b"42[\"a\"]");
        for parts in
            [&[&b"40{"[..], b"}"][..], &[b"4", b"0{}"], &[b"", b"4", b"", b"0", b"{}"], &[b"40", b""]]
        {
            let connect = fragments(1, parts);
            let stream = [&connect[..], &event].concat();
            for size in 1..=stream.len() {
                let (mut sieve, mut pieces) = (Sieve::new(1_000, 100), pieces(&stream, size));
                sieve.written(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
                assert_eq!(read(&mut sieve, &mut pieces, 64), connect, "{size} of {parts:?}");
                sieve.written(&frame(1, false, b"40{}"));
                assert_eq!(read(&mut sieve, &mut pieces, 64), event, "{size} of {parts:?}");
            }
        }
    }

    #[test]
    fn a_long_message_that_is_left_out_comes_in_pieces() {
        let event = frame(1, true, b"42[\"a\"]");
        let stream = [frame(1, true, &[b'0'; 500]), event.clone()].concat();
        for size in 1..=stream.len() {
            assert_eq!(read(&mut Sieve::new(1_000, 100), &mut pieces(&stream, size), 64), event, "{size}");
        }
    }

    #[test]
    fn a_message_above_the_limit_becomes_a_close() {
        let fits = frame(1, true, &[b'4'; 300]);
        for (stream, whole) in [
            (frame(1, true, &[b'4'; 301]), &b""[..]),
            // The same in two frames.
            ([&[0x01, 0x80 | 100][..], &[0; 104], &frame(0, true, &[0; 201])].concat(), &[0; 0]),
            ([fits.clone(), frame(2, true, &[0; 301])].concat(), &fits),
        ] {
            let got = read(&mut Sieve::new(300, 100), &mut pieces(&stream, 7), 64);
            assert!(got.starts_with(whole) && got.ends_with(&TOO_BIG), "{got:?}");
        }
        assert_eq!(read(&mut Sieve::new(300, 100), &mut pieces(&fits, 7), 64), fits);
    }

    #[test]
    fn a_stream_that_nobody_wants_more_of_ends_with_a_close_where_a_frame_may_stand() {
        let event = frame(1, true, b"42[\"a\"]");
        for begun in 0..event.len() {
            let (mut sieve, mut pieces) =
                (Sieve::new(1_000, 100), pieces(&[&event, &event[..begun]].concat(), 64));
            let passed = read(&mut sieve, &mut pieces, 64);
            let mut cx = Context::from_waker(Waker::noop());
            let mut end = Vec::new();
            for _ in 0..8 {
                let mut room = [0; 3];
                let mut buf = ReadBuf::new(&mut room);
                sieve.cut(Pin::new(&mut pieces), &mut cx, &mut buf);
                end.extend_from_slice(buf.filled());
            }
            // The library knows nothing of a frame whose head was not handed on.
            let expected = if passed.len() == event.len() { &DONE[..] } else { &[] };
            assert_eq!(end, expected, "{begun} bytes of the next frame");
        }
    }

    proptest! {
        #![proptest_config(cases::<10_000>())]

        #[test]
        fn what_is_no_concern_of_it_passes_as_it_is(
            frames in prop::collection::vec((opcodes(), contents(), prop::option::of(0_usize..5)), 0..6),
            size in 1_usize..200,
            room in 1_usize..200,
        ) {
            // In one frame; what is cut the library has to judge.
            let left_out = |(opcode, content, cut): &(u8, Vec<u8>, Option<usize>)| {
                *opcode == 1 && cut.is_none() && matches!(content.first(), Some(b'0' | b'6'))
            };
            let bytes = |(opcode, content, cut): &(u8, Vec<u8>, Option<usize>)| match cut {
                _ if *opcode > 8 => frame(*opcode, true, &content[..content.len().min(125)]),
                None => frame(*opcode, true, content),
                Some(cut) => {
                    let (one, other) = content.split_at((*cut).min(content.len()));
                    fragments(*opcode, &[one, other])
                }
            };
            let stream: Vec<u8> = frames.iter().flat_map(bytes).collect();
            let passes = frames.iter().filter(|frame| !left_out(frame));
            let expected: Vec<u8> = passes.flat_map(bytes).collect();
            for size in [stream.len().max(1), size, 1] {
                prop_assert_eq!(&sifted(&stream, size, room), &expected, "{} bytes at a time", size);
            }
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1_usize..50) {
            let mut sieve = Sieve::new(1_000, 100);
            sieve.written(&bytes);
            let got = read(&mut sieve, &mut pieces(&bytes, size), 16);
            prop_assert!(got.len() <= bytes.len() + TOO_BIG.len());
            let whole = sifted(&bytes, 400, 16);
            for size in [size, 1] {
                prop_assert_eq!(&sifted(&bytes, size, 16), &whole, "{} bytes at a time", size);
            }
        }
    }
}
