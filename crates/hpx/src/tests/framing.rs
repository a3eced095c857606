//! Frames: the recorded streams, every cut, and the rows of hostile input that concern framing.

use polywire_core::Random as _;

use super::*;
use crate::codec::longest_text;
use crate::gzip::Fault;

/// The frames that a case of `framing.json` expects.
fn expected(case: &Value) -> Vec<Result<Vec<u8>, ()>> {
    let texts = case["expect"].as_array().unwrap().iter().map(|expect| {
        if let Some(recipe) = expect.get("json_recipe") {
            let fill =
                recipe["fill"].as_str().unwrap().repeat(recipe["fill_count"].as_u64().unwrap() as usize);
            let text =
                format!("{}{fill}{}", recipe["prefix"].as_str().unwrap(), recipe["suffix"].as_str().unwrap());
            assert_eq!(text.len() as u64, recipe["length"].as_u64().unwrap());
            Ok(text.into_bytes())
        } else if let Some(bytes) = expect.get("bytes_hex") {
            Ok(unhex(bytes.as_str().unwrap()))
        } else if let Some(json) = expect.get("json") {
            Ok(json.to_string().into_bytes())
        } else {
            Err(())
        }
    });
    texts.collect()
}

fn agrees(frames: &[Frame], expected: &[Result<Vec<u8>, ()>]) -> bool {
    let same = |(frame, expected): (&Frame, &Result<Vec<u8>, ()>)| match (frame, expected) {
        (Frame::Bad(_), Err(())) => true,
        (Frame::Text(text), Ok(wanted)) => {
            let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
            text == wanted || parse(text).is_some_and(|value| Some(value) == parse(wanted))
        }
        _ => false,
    };
    frames.len() == expected.len() && frames.iter().zip(expected).all(same)
}

#[test]
fn p02_p03_p05_every_recorded_stream_gives_the_frames_it_holds() {
    for case in vector("framing.json")["entries"].as_array().unwrap() {
        let stream = unhex(case["stream_hex"].as_str().unwrap());
        let sizes: Vec<usize> = case["chunk_sizes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|size| size.as_u64().unwrap() as usize)
            .collect();
        let expected = expected(case);
        for sizes in [sizes, vec![stream.len()], vec![1; stream.len()]] {
            let frames = decode(&stream, &sizes).unwrap();
            assert!(agrees(&frames, &expected), "{}: {frames:?}", case["id"]);
        }
    }
}

#[test]
fn p02_a_cut_at_every_byte_changes_nothing() {
    for case in vector("framing.json")["entries"].as_array().unwrap() {
        let stream = unhex(case["stream_hex"].as_str().unwrap());
        let whole = decode(&stream, &[]).unwrap();
        let large = expected(case).iter().flatten().any(|text| text.len() > 1 << 20);
        cut_anywhere(&stream, &Ok(whole), if large { 997 } else { 1 }, &case["id"]);
    }
}

/// Cuts the stream in two at every byte, or where that takes too long at some, and then into single bytes: every place is one at which
/// a read ends.
fn cut_anywhere(stream: &[u8], whole: &Result<Vec<Frame>, FrameError>, step: usize, id: &Value) {
    for cut in (1..stream.len()).step_by(step) {
        assert_eq!(decode(stream, &[cut]), *whole, "{id} cut at {cut}");
    }
    assert_eq!(decode(stream, &vec![1; stream.len()]), *whole, "{id} in single bytes");
}

#[test]
fn p02_a_long_frame_survives_a_read_that_ends_inside_its_marker() {
    // Long enough that it is inflated before its end is there.
    let mut text = vec![0; 40 << 10];
    SeededRandom::new(1).fill(&mut text);
    let stream = frame(&text);
    for inside in 0..=DELIMITER.len() {
        let frames = decode(&stream, &[stream.len() - DELIMITER.len() + inside, DELIMITER.len()]).unwrap();
        assert_eq!(frames, [Frame::Text(text.clone().into())], "{inside} bytes of the marker");
    }
}

#[test]
fn p02_a_cut_at_every_byte_of_every_capture_changes_nothing() {
    for capture in captures(&["py-", "js1-", "js2-", "js3."]) {
        for side in ["client", "server"] {
            let frames = capture["frames"].as_array().unwrap().iter();
            let of_side = frames.filter(|frame| frame["from"] == side && frame.get("hex").is_some());
            let (mut stream, mut texts) = (Vec::new(), Vec::new());
            for frame in of_side {
                stream.extend(unhex(frame["hex"].as_str().unwrap()));
                texts.push(wire_text(&frame["json"]));
            }
            let whole = decode(&stream, &[]);
            let step = if stream.len() > 8_192 { 331 } else { 1 };
            cut_anywhere(&stream, &whole, step, &capture["id"]);
            if capture["dialect"] == "msgpack" {
                assert!(matches!(whole, Err(FrameError::WrongProtocol(_))), "{}: {whole:?}", capture["id"]);
                continue;
            }
            let whole = whole.unwrap();
            assert_eq!(whole.len(), texts.len(), "{}", capture["id"]);
            for (frame, text) in whole.iter().zip(&texts) {
                let Frame::Text(read) = frame else { panic!("{}: {frame:?}", capture["id"]) };
                // Lone surrogates have no serde_json value: their texts are compared as text.
                match serde_json::from_slice::<Value>(read) {
                    Ok(value) => assert_eq!(value, serde_json::from_str::<Value>(text).unwrap()),
                    Err(_) => assert!(text.contains("\\ud800")),
                }
            }
        }
    }
}

fn texts(frames: Vec<Frame>) -> Vec<Result<String, Fault>> {
    let text = |frame| match frame {
        Frame::Text(text) => Ok(String::from_utf8(text.to_vec()).unwrap()),
        Frame::Bad(fault) => Err(fault),
    };
    frames.into_iter().map(text).collect()
}

/// A gzip body of stored blocks with the delimiter `markers` times in its text.
fn with_markers(markers: usize) -> (String, Vec<u8>) {
    let text = format!("[{}1]", "\"a<EOF>b\",".repeat(markers));
    (text.clone(), [gzip(text.as_bytes(), 0), DELIMITER.to_vec()].concat())
}

#[test]
fn p03_eight_markers_inside_the_data_are_data_and_nine_close() {
    for markers in 1..=8 {
        let (text, stream) = with_markers(markers);
        assert_eq!(texts(decode(&stream, &[]).unwrap()), [Ok(text.clone())]);
        assert_eq!(texts(decode(&stream, &vec![1; stream.len()]).unwrap()), [Ok(text)]);
    }
    let error = decode(&with_markers(9).1, &[]).unwrap_err();
    assert_eq!(error.to_string(), "frame with 9 delimiters inside its data exceeds max_false_markers = 8");
}

#[test]
fn p04_a_frame_without_a_marker_closes_at_the_limit() {
    let mut codec = HpxCodec::new(&Wire::default(), Trust::Known);
    let mut input = BytesMut::from(&vec![b'x'; 16 << 20][..]);
    assert_eq!(codec.decode(&mut input), Ok(None));
    // Four more could be the beginning of its delimiter.
    input.extend_from_slice(b"xxxxx");
    let error = codec.decode(&mut input).unwrap_err();
    assert_eq!(error.to_string(), "frame of 16777221 bytes exceeds max_frame_bytes = 16777216");
    input.extend_from_slice(DELIMITER);
    assert!(codec.decode(&mut input).is_err());
}

/// What a codec with frames of at most 64 KiB makes of a stream that is cut at `cut`.
fn bounded(stream: &[u8], cut: usize) -> Result<Vec<Frame>, FrameError> {
    let limits =
        Arc::new(polywire_core::Limits { max_frame_bytes: 64 << 10, ..(*Wire::default().limits).clone() });
    let mut codec = HpxCodec::new(&Wire { limits, ..Wire::default() }, Trust::Known);
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for part in [&stream[..cut], &stream[cut..]] {
        input.extend_from_slice(part);
        while let Some(frame) = codec.decode(&mut input)? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

#[test]
fn p04_a_frame_at_the_limit_is_taken_wherever_the_read_ends() {
    // Ten bytes of header, five of a stored block for each 65 535 bytes, eight behind.
    let text = vec![b'x'; (64 << 10) - 10 - 2 * 5 - 8];
    let stream = [gzip(&text, 0), DELIMITER.to_vec()].concat();
    assert_eq!(stream.len(), (64 << 10) + DELIMITER.len());
    for cut in stream.len() - DELIMITER.len()..=stream.len() {
        assert_eq!(bounded(&stream, cut).unwrap(), [Frame::Text(text.clone().into())], "cut at {cut}");
    }
}

#[test]
fn p03_p04_a_frame_that_ended_at_its_first_marker_is_not_too_long_wherever_the_read_ends() {
    let mut noise = vec![0; 40 << 10];
    SeededRandom::new(2).fill(&mut noise);
    let cut_short = gzip(&noise, 6)[..10 << 10].to_vec();
    // What follows breaks the data of the frame before, which shows that it was no part of it.
    let stream = [cut_short, DELIMITER.to_vec(), vec![0; 80 << 10], DELIMITER.to_vec()].concat();
    for cut in [1, 9 << 10, 12 << 10, 40 << 10, 70 << 10, stream.len()] {
        let error = bounded(&stream, cut).unwrap_err();
        assert!(error.to_string().contains("max_frame_bytes"), "cut at {cut}: {error}");
    }
    let stream = [&stream[..stream.len() - (40 << 10)], DELIMITER].concat();
    for cut in [1, 9 << 10, 12 << 10, 40 << 10, stream.len()] {
        let faults = [Frame::Bad(Fault::Truncated), Frame::Bad(Fault::NotGzip)];
        assert_eq!(bounded(&stream, cut).unwrap(), faults, "cut at {cut}");
    }
}

#[test]
fn a_frame_of_ours_is_no_longer_than_its_limit_even_of_noise() {
    let max = 64 << 10;
    let mut noise = vec![0; longest_text(max)];
    SeededRandom::new(3).fill(&mut noise);
    let mut out = Outgoing::new();
    let mut codec = HpxCodec::new(&Wire::default(), Trust::Known);
    // Bytes of more than 143 take nine bits each where deflating is quick.
    noise.iter_mut().for_each(|byte| *byte |= 0x90);
    codec.encode(Frame::Text(noise.clone().into()), &mut out).unwrap();
    let stream = out.take();
    assert!(stream.len() <= max + DELIMITER.len(), "{} bytes", stream.len());
    assert_eq!(bounded(&stream, 0).unwrap(), [Frame::Text(noise.into())]);
}

#[test]
fn p05_a_bomb_closes_at_the_inflated_limit() {
    // 65 MiB of blanks, one mebibyte at a time so that the test itself stays small.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
    for _ in 0..65 {
        encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let bomb = [encoder.finish().unwrap(), DELIMITER.to_vec()].concat();
    assert!(bomb.len() < 100 << 10);
    let started = std::time::Instant::now();
    let error = decode(&bomb, &[]).unwrap_err();
    assert!(error.to_string().ends_with("exceeds max_inflated_bytes = 67108864"), "{error}");
    // Generous: a debug build on a busy machine.
    assert!(started.elapsed() < Duration::from_secs(20));

    let mut codec = HpxCodec::new(&Wire::default(), Trust::Stranger);
    let error = codec.decode(&mut BytesMut::from(&frame(&vec![b' '; 70_000])[..])).unwrap_err();
    assert_eq!(error.to_string(), "frame of 65537 bytes exceeds max_login_bytes = 65536");
}

#[test]
fn p05_too_many_members_close_and_a_few_are_one_text() {
    let member = gzip(b" ", 6);
    let members = |count: usize| [member.repeat(count), gzip(b"1", 6), DELIMITER.to_vec()].concat();
    assert_eq!(texts(decode(&members(15), &[]).unwrap()), [Ok(format!("{}1", " ".repeat(15)))]);
    for count in [16, 10_000] {
        let error = decode(&members(count), &[]).unwrap_err();
        assert_eq!(error.to_string(), "frame with 17 gzip members exceeds max_members = 16");
    }
}

#[test]
fn p05_an_endless_header_field_closes() {
    let mut stream = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
    stream.extend(vec![b'n'; 200 << 10]);
    let error = decode(&stream, &vec![1_000; 205]).unwrap_err();
    assert_eq!(error, FrameError::Corrupt("gzip header longer than 128 KiB"));
}

#[test]
fn p05_broken_gzip_is_one_bad_frame_and_the_stream_goes_on() {
    let good = frame(b"[1]");
    let body = gzip(b"[1]", 6);
    let spoilt = |at: usize| {
        let mut body = body.clone();
        let at = (body.len() + at) % body.len();
        body[at] ^= 0xff;
        body
    };
    let last = body.len();
    let cases = [
        (spoilt(last - 8), Fault::Checksum),
        (spoilt(last - 4), Fault::Length),
        ([&body[..], b"XYZ"].concat(), Fault::Trailing),
        ([&body[..], b"\0\0XYZ"].concat(), Fault::Trailing),
        (body[10..last - 8].to_vec(), Fault::NotGzip),
        (b"hello".to_vec(), Fault::NotGzip),
        ([&body[..3], &[0xff], &body[4..]].concat(), Fault::Header),
        ([&body[..10], &[0x07], &body[11..]].concat(), Fault::Deflate),
        (body[..last - 9].to_vec(), Fault::Truncated),
        (body[..6].to_vec(), Fault::Truncated),
    ];
    for (bad, fault) in cases {
        let stream = [&bad[..], DELIMITER, &good, &good].concat();
        let wanted = [Err(fault), Ok("[1]".to_owned()), Ok("[1]".to_owned())];
        assert_eq!(texts(decode(&stream, &[]).unwrap()), wanted);
        assert_eq!(texts(decode(&stream, &vec![1; stream.len()]).unwrap()), wanted, "{fault:?}");
    }
    let zeros = [&body[..], b"\0\0\0", DELIMITER, &good].concat();
    assert_eq!(texts(decode(&zeros, &[]).unwrap()), [Ok("[1]".to_owned()), Ok("[1]".to_owned())]);
}

#[test]
fn c04_another_protocol_is_named_from_its_first_bytes() {
    let cases: [(&[u8], &str); 7] = [
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"{\"type\":\"SockhopHandshake\",\"data\":{}}\n", "Sockhop"),
        (b"\x83\xa7session", "HPX dialect C (MessagePack, servers and clients from 1.0 on)"),
        (b"\xde\x00\x03\xa7session", "HPX dialect C (MessagePack, servers and clients from 1.0 on)"),
        (b"PRI * HTTP/2.0\r\n", "HTTP/2"),
    ];
    for (bytes, name) in cases {
        for sizes in [vec![], vec![1; bytes.len()]] {
            assert_eq!(decode(bytes, &sizes), Err(FrameError::WrongProtocol(name)));
        }
    }
    for capture in captures(&["js3."]) {
        if capture["dialect"] == "msgpack" {
            for frame in
                capture["frames"].as_array().unwrap().iter().filter_map(|frame| frame["hex"].as_str())
            {
                assert!(matches!(decode(&unhex(frame), &[]), Err(FrameError::WrongProtocol(_))));
            }
        }
    }
}
