//! Streams of frames, in pieces of every size.

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
    read_by(&Gate::default(), sieve, pieces, room)
}

/// The same, by the gate of a session.
fn read_by(gate: &Gate, sieve: &mut Sieve, pieces: &mut Pieces, room: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut room = vec![0; room];
        let mut buf = ReadBuf::new(&mut room);
        let clock = polywire_core::TokioClock;
        match sieve.poll_read(Pin::new(&mut *pieces), gate, &clock, &mut cx, &mut buf) {
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
    let contents = (begins, prop::collection::vec(any::<u8>(), 0..150));
    // A DISCONNECT with more would be judged.
    contents
        .prop_map(|(begin, rest)| [begin, &rest].concat())
        .prop_filter("no DISCONNECT with more", |it| !it.starts_with(b"41"))
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
fn h05_what_the_library_would_take_becomes_a_close_wherever_it_is_cut() {
    let event = frame(1, true, b"42[\"a\"]");
    for parts in [
        &[&b"429007199254740992[\"a\"]"[..]][..],
        &[b"42/news,90071992547409920[\"a\"]"],
        &[b"41{}"],
        &[b"41/news,{}"],
    ] {
        let stream = [&event[..], &fragments(1, parts), &event].concat();
        for size in 1..=stream.len() {
            assert_eq!(sifted(&stream, size, 64), [&event[..], &BREACH].concat(), "{size} of {parts:?}");
        }
    }
    // In fragments what came before has passed.
    for parts in [&[&b"4"[..], b"1{}"][..], &[b"41", b"", b"{}"], &[b"42900719925474", b"09920[\"a\"]"]] {
        let got = sifted(&fragments(1, parts), 7, 64);
        assert!(got.starts_with(&fragments(1, &[parts[0], b"x"])[..7]) && got.ends_with(&BREACH), "{got:?}");
    }
    for parts in [&[&b"41"[..], b""][..], &[b"4", b"1/news", b","]] {
        assert_eq!(sifted(&fragments(1, parts), 7, 64), fragments(1, parts));
    }
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
fn h06_a_packet_is_begun_until_its_last_attachment_has_come() {
    let several: [&[&[u8]]; 3] =
        [&[b"4", b"52-[\"a\"]"], &[b"", b"45", b"2", b"", b"-", b"[\"a\"]"], &[b"452", b"-/n,7[]", b""]];
    let cut = several.map(|parts| (fragments(1, parts), 2));
    for (header, due) in [
        (frame(1, true, b"42[\"a\"]"), 0),
        (frame(1, true, b"450-[\"a\"]"), 0),
        (frame(1, true, b"451-[\"a\"]"), 1),
        (frame(1, true, b"4612-[\"a\"]"), 12),
        // No count: the library refuses it.
        (frame(1, true, b"45"), 0),
        (fragments(1, &[b"42[\"51-", b"451-"]), 0),
    ]
    .into_iter()
    .chain(cut)
    {
        let attachments = (0..due).map(|size| frame(2, true, &vec![7; size]));
        let frames: Vec<_> = std::iter::once(header).chain(attachments).collect();
        let (gate, mut sieve) = (Gate::default(), Sieve::new(1_000, 100));
        for (at, bytes) in frames.iter().enumerate() {
            let between = [frame(1, true, b"3"), frame(9, true, b"")].concat();
            let stream = [between.clone(), bytes.clone(), between].concat();
            assert_eq!(read_by(&gate, &mut sieve, &mut pieces(&stream, 1), 64), stream);
            gate.set_begun(sieve.has_begun(), false);
            assert_eq!(gate.has_begun(), at + 1 < frames.len(), "{at} of {}", frames.len());
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
    for parts in [&[&b"40{"[..], b"}"][..], &[b"4", b"0{}"], &[b"", b"4", b"", b"0", b"{}"], &[b"40", b""]] {
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
