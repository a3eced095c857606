//! Properties of the codec: where reads end changes nothing, what is written reads back, work grows with the bytes.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use polywire_core::{Codec as _, FrameError, JsonLimits, Limits, Outgoing, Route, StreamCodec};
use polywire_size::cases;
use proptest::prelude::*;

use crate::codec::{Codec, Frame, Framing};
use crate::config::Config;
use crate::id::Id;
use crate::terminator::Terminator;
use crate::wire::{self, Data, Link, Message, Name, Value, Wanted};

fn codec(terminator: &'static [u8]) -> Codec {
    let config = Config { terminator: Terminator::both(terminator), ..Config::default() };
    Codec::new(&config, &Limits { max_frame_bytes: 1_024, ..Limits::default() })
}

fn roomy() -> Codec {
    Codec::new(&Config::default(), &Limits::default())
}

/// Everything a stream decodes to in pieces of these sizes, and how it ends. The third frame switches to binary.
fn decode(
    stream: &[u8],
    terminator: &'static [u8],
    sizes: &[usize],
) -> (Vec<Frame>, Result<usize, FrameError>) {
    let mut codec = codec(terminator);
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        rest = more;
        input.extend_from_slice(piece);
        loop {
            let before = input.clone();
            match codec.decode(&mut input) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => {
                    assert_eq!(input, before, "nothing decoded, nothing taken");
                    let missing = codec.missing(&input);
                    assert!(missing == 0 || missing + input.len() <= 1_024 + 5);
                    break;
                }
                Err(error) => return (found, Err(error)),
            }
            if found.len() == 3 {
                codec.set_read_mode(Framing::Binary);
            }
        }
    }
    (found, Ok(input.len()))
}

/// An error may name how much had arrived when it was found.
fn blurred(result: (Vec<Frame>, Result<usize, FrameError>)) -> (Vec<Frame>, Result<usize, String>) {
    let (frames, end) = result;
    (
        frames,
        end.map_err(|error| match error {
            FrameError::TooLarge { setting, .. } => setting.to_owned(),
            error => error.to_string(),
        }),
    )
}

fn message() -> impl Strategy<Value = Message> {
    let data = prop_oneof![
        any::<i64>().prop_map(|number| Data::Json(number.to_string().into())),
        "[a-z\"\\\\\n\u{1}é]{0,40}".prop_map(|text| Data::Json(serde_json::to_vec(&text).unwrap().into())),
        proptest::collection::vec(any::<u8>(), 0..2_000).prop_map(|bytes| Data::Bytes(bytes.into())),
        Just(Data::Json(Bytes::from_static(b" { \"a\" :\n[1 , 2]\t} "))),
        Just(Data::Missing),
    ];
    let id = prop_oneof!["[!-~]{1,36}", "[a-z\"\\\\é\u{1}]{1,18}"]
        .prop_map(|text| Id::from_json(&serde_json::to_vec(&text).unwrap()).unwrap());
    let link = prop_oneof![Just(Link::None), id.clone().prop_map(Link::Ask), id.prop_map(Link::Answer)];
    ("[A-Za-z\"\\\\é\u{1}]{0,60}", data, link).prop_map(|(kind, data, link)| Message {
        kind: Route::new(kind).unwrap(),
        data,
        link,
    })
}

/// What a peer may say, small enough for ten thousand streams.
fn saying() -> impl Strategy<Value = Message> {
    let data = prop_oneof![
        any::<i32>().prop_map(|number| Data::Json(number.to_string().into())),
        "[a-z\"\\\\{}\\[\\]\n\r\u{0}-\u{10}é漢]{0,12}"
            .prop_map(|text| Data::Json(serde_json::to_vec(&text).unwrap().into())),
        proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), 10..16u8, any::<u8>()], 0..24)
            .prop_map(|bytes| Data::Bytes(bytes.into())),
    ];
    let kind = prop_oneof![Just(String::new()), Just("Buffer".to_owned()), "[A-Z\n{é]{1,8}"];
    (kind, data).prop_map(|(kind, data)| Message { kind: Route::new(kind).unwrap(), data, link: Link::None })
}

proptest! {
    #![proptest_config(cases::<10_000>())]

    #[test]
    fn s04_ten_thousand_streams_with_a_switch_hold_the_same_messages_wherever_the_reads_end(
        lines in proptest::collection::vec(saying(), 3),
        frames in proptest::collection::vec(saying(), 0..4),
        sizes in proptest::collection::vec(1..40usize, 1..8),
    ) {
        let mut codec = roomy();
        let mut out = Outgoing::new();
        for (number, message) in lines.iter().chain(&frames).enumerate() {
            if number == lines.len() {
                codec.set_write_mode(Framing::Binary);
            }
            codec.encode(Frame::Message(message.clone()), &mut out).unwrap();
        }
        let stream = out.take();
        let whole = decode(&stream, b"\n", &[usize::MAX]);
        prop_assert_eq!((whole.0.len(), &whole.1), (lines.len() + frames.len(), &Ok(0)));
        prop_assert_eq!(&decode(&stream, b"\n", &sizes), &whole);
        prop_assert_eq!(&decode(&stream, b"\n", &[1]), &whole);
    }
}

proptest! {
    #![proptest_config(cases::<256>())]

    #[test]
    fn any_bytes_decode_the_same_wherever_the_reads_end(
        stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'{'), Just(0), 10..16u8, any::<u8>()], 0..400),
        sizes in proptest::collection::vec(1..40usize, 1..8),
        terminator in prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..]), Just(&b"\n\n\n"[..])],
    ) {
        let whole = blurred(decode(&stream, terminator, &[usize::MAX]));
        prop_assert_eq!(&blurred(decode(&stream, terminator, &sizes)), &whole);
        prop_assert_eq!(&blurred(decode(&stream, terminator, &[1])), &whole);
    }

    #[test]
    fn what_is_written_reads_back_in_both_modes(messages in proptest::collection::vec(message(), 1..6)) {
        let limits = JsonLimits::default();
        for mode in [Framing::Json, Framing::Binary] {
            let mut codec = roomy();
            codec.set_read_mode(mode);
            codec.set_write_mode(mode);
            let mut out = Outgoing::new();
            for message in &messages {
                codec.encode(Frame::Message(message.clone()), &mut out).unwrap();
            }
            let mut input = BytesMut::from(&out.take()[..]);
            for message in &messages {
                let frame = codec.decode(&mut input).unwrap().unwrap();
                let received = match &frame {
                    Frame::Line(text) => wire::read_line(text, &limits),
                    Frame::Packet { id, payload } => wire::read_packet(*id, payload, &limits),
                    _ => unreachable!("never read"),
                }.unwrap();
                prop_assert_eq!(&received.kind, &Name::Text((&*message.kind).into()));
                match (&message.data, &received.data) {
                    (Data::Missing, Value::Missing) => prop_assert_eq!(mode, Framing::Json),
                    (Data::Missing, got) => prop_assert_eq!((mode, got.json()), (Framing::Binary, Some(&b"{}"[..]))),
                    (Data::Bytes(sent), Value::Bytes(got)) => prop_assert_eq!(sent, got),
                    (Data::Bytes(sent), got) => {
                        let text: String = serde_json::from_slice(got.json().unwrap()).unwrap();
                        prop_assert_eq!(sent, &crate::binary::read_base64(&text));
                    }
                    (Data::Json(sent), got) => {
                        let parse = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
                        prop_assert_eq!(parse(sent), parse(got.json().unwrap()));
                    }
                }
                let same = match (&message.link, received.link) {
                    (Link::None, Wanted::None) => true,
                    (Link::Ask(sent), Wanted::Ask(got)) | (Link::Answer(sent), Wanted::Answer(got)) => {
                        let text = |id: &Id| { let mut out = BytesMut::new(); id.write_field(&mut out); out };
                        text(sent) == text(&got.to_id().unwrap())
                    }
                    _ => false,
                };
                // An id that no field can hold is never sent in a frame.
                let fits = !matches!(&message.link, Link::Ask(id) | Link::Answer(id) if !id.fits_frame());
                prop_assert!(same || !fits, "{:?} {:?}", message.link, received.link);
            }
            prop_assert!(input.is_empty());
        }
    }
}

#[test]
fn s10_a_line_without_an_end_is_scanned_once_and_refused_at_the_limit() {
    for terminator in [&b"\n"[..], b"\r\n"] {
        let mut codec = codec(terminator);
        let mut input = BytesMut::new();
        let mut refused = None;
        for _ in 0..2_000 {
            input.extend_from_slice(b"x");
            if let Err(error) = codec.decode(&mut input) {
                refused = Some(error);
                break;
            }
        }
        let text = refused.expect("a limit").to_string();
        assert!(text.ends_with("exceeds max_frame_bytes = 1024"), "{text}");
        assert!(input.len() <= 1_024 + terminator.len(), "{}", input.len());
    }
}

#[test]
fn s10_a_long_line_that_dribbles_in_costs_time_in_proportion() {
    // Scanning from the start at every byte would look at 2^41 bytes here, which takes minutes; this takes a second or two.
    const LIMIT: Duration = Duration::from_secs(40);
    let mut codec = roomy();
    let mut input = BytesMut::with_capacity(2 << 20);
    let started = Instant::now();
    for byte in 0..2 << 20 {
        input.extend_from_slice(b"x");
        assert_eq!(codec.decode(&mut input), Ok(None));
        let took = if byte % (1 << 12) == 0 { started.elapsed() } else { Duration::ZERO };
        assert!(took < LIMIT, "{byte} bytes have taken {took:?}");
    }
}

#[test]
fn s10_a_terminator_of_several_bytes_is_found_when_it_is_split() {
    let stream = b"{\"a\":1}\r\r\n{\"b\":\"\\r\\n\"}\r\n";
    let (frames, end) = decode(stream, b"\r\n", &[1]);
    assert_eq!(end, Ok(0));
    assert_eq!(
        frames,
        [
            Frame::Line(Bytes::from_static(b"{\"a\":1}\r")),
            Frame::Line(Bytes::from_static(b"{\"b\":\"\\r\\n\"}"))
        ]
    );
}

#[test]
fn s05_a_length_is_believed_only_up_to_the_limit() {
    let mut codec = codec(b"\n");
    codec.set_read_mode(Framing::Binary);
    let mut frame = |length: u32| {
        let mut input = BytesMut::from(&length.to_le_bytes()[..]);
        input.extend_from_slice(&[13]);
        codec.decode(&mut input)
    };
    assert_eq!(frame(1_024), Ok(None));
    assert_eq!(frame(1_025).unwrap_err().to_string(), "frame of 1025 bytes exceeds max_frame_bytes = 1024");
    assert!(frame(u32::MAX).is_err());
}

#[test]
fn s04_json_behind_the_first_frame_is_named_as_what_it_is() {
    let mut codec = roomy();
    codec.set_read_mode(Framing::Binary);
    let mut input =
        BytesMut::from(&b"{\"type\":\"A\",\"data\":1}\n\x06\0\0\0\x0a\0\x01\0\0\x001{\"type\":\"A\"}\n"[..]);
    assert!(matches!(codec.decode(&mut input), Ok(Some(Frame::Line(_)))));
    assert!(matches!(codec.decode(&mut input), Ok(Some(Frame::Packet { id: 10, .. }))));
    assert_eq!(
        codec.decode(&mut input),
        Err(FrameError::Corrupt("a JSON line after the first binary frame"))
    );
}

#[test]
fn c04_another_protocol_is_known_by_its_first_bytes() {
    for (start, name) in [
        (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "gzip (HPX)"),
    ] {
        let (frames, end) = decode(start, b"\n", &[1]);
        assert_eq!((frames.len(), end), (0, Err(FrameError::WrongProtocol(name))));
    }
    // Later on such a line is merely a bad one.
    let (frames, end) = decode(b"{}\nGET / HTTP/1.1\n", b"\n", &[1]);
    assert_eq!((frames.len(), end), (2, Ok(0)));
}
