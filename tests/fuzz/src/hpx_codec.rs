//! The HPX codec: however a stream is cut, the same frames come out; what a plain reader takes for whole frames is read the
//! same; what is written holds the delimiter at its end and nowhere else.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use polywire_core::{Codec as _, FrameError, Limits, Outgoing, StreamCodec};
use polywire_hpx::{Frame, HpxCodec, Trust, Wire};
use serde_json::Value;

use crate::choices::{Choices, as_piece, parts};
use crate::{seeds, trace};

/// What ends a frame.
pub const DELIMITER: &[u8] = b"<EOF>";

/// Choices: limits and cuts. Then the pieces of a stream: bytes as they are, or a text to be put into a frame.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let flags = choices.byte();
    let (max_frame_bytes, max_inflated_bytes) =
        choices.one_of(&[(64 << 10, 64 << 10), (1_024, 4_096), (1 << 20, 4 << 20)]);
    let wire = Wire {
        max_inflated_bytes,
        max_members: 1 + u32::from(flags & 3),
        max_false_markers: 1 + u32::from(flags >> 2 & 3),
        stored_up_to: if flags & 16 == 0 { 4 << 10 } else { 0 },
        limits: Arc::new(Limits { max_frame_bytes, ..Limits::default() }),
        ..Wire::default()
    };
    let trust = if flags & 32 == 0 { Trust::Known } else { Trust::Stranger };
    let known_after = if flags & 64 == 0 { usize::MAX } else { 1 };
    let cutting = choices.byte();
    let cuts = choices.cuts(2 * input.len());
    let mut stream = Vec::new();
    while !choices.is_empty() && stream.len() < 2 << 20 {
        piece(&mut choices, &mut stream);
    }
    // Whatever was begun is over with these, so that both readers have come to the same point.
    stream.extend(DELIMITER.repeat(6));

    let new = || HpxCodec::new(&wire, trust);
    let whole = read(new(), [&stream[..]], known_after, &wire);
    let cut = match cutting % 4 {
        0 if stream.len() <= 4 << 10 => read(new(), stream.chunks(1), known_after, &wire),
        0 => read(new(), stream.chunks(61), known_after, &wire),
        // Inside every delimiter.
        1 => {
            let inside = 1 + usize::from(cutting >> 2) % 4;
            let starts = (0..stream.len()).filter(|at| stream[*at..].starts_with(DELIMITER));
            read(new(), parts(&stream, &starts.map(|at| at + inside).collect::<Vec<_>>()), known_after, &wire)
        }
        _ => read(new(), parts(&stream, &cuts), known_after, &wire),
    };
    assert!(whole.0 == cut.0, "other frames when the stream is cut: {} or {}", told(&whole), told(&cut));
    assert_eq!(whole.1, cut.1, "another end when the stream is cut");
    trace::mark((whole.0.len().min(12), &whole.1));
    for frame in &whole.0 {
        match frame {
            Frame::Text(text) => trace::mark(("text", trace::size(text.len()))),
            Frame::Bad(fault) => trace::mark(("bad", fault.to_string())),
        }
    }
    compare(&stream, &whole.0, max_inflated_bytes);
    for frame in whole.0.into_iter().take(8) {
        if let Frame::Text(text) = frame
            && text.len() <= 64 << 10
        {
            write(&wire, &text);
        }
    }
}

/// Appends one piece to the stream.
fn piece(choices: &mut Choices<'_>, stream: &mut Vec<u8>) {
    match choices.byte() % 8 {
        0 => stream.extend_from_slice(choices.piece()),
        1 => {
            let level = u32::from(choices.byte() % 10);
            stream.extend(gzip(choices.piece(), level));
            stream.extend_from_slice(DELIMITER);
        }
        2 => {
            stream.extend(stored(choices.piece()));
            stream.extend_from_slice(DELIMITER);
        }
        3 => {
            // Two members, or more.
            for _ in 0..=choices.byte() % 4 {
                stream.extend(gzip(choices.piece(), 6));
            }
            stream.extend_from_slice(DELIMITER);
        }
        4 => {
            // Optional fields of the header.
            let flags = choices.byte() & 0x1e;
            let (fields, text) = (choices.piece(), choices.piece());
            let body = stored(text);
            stream.extend_from_slice(&body[..3]);
            stream.push(flags);
            stream.extend_from_slice(&body[4..10]);
            stream.extend_from_slice(fields);
            stream.extend_from_slice(&body[10..]);
            stream.extend_from_slice(DELIMITER);
        }
        5 => stream.extend_from_slice(DELIMITER),
        6 => {
            // The delimiter as data, and noise that no compression makes short.
            let text = choices.piece();
            let times = 1 + usize::from(choices.byte() % 4);
            let text = [text, DELIMITER].concat().repeat(times);
            stream.extend(stored(&text));
            stream.extend_from_slice(DELIMITER);
        }
        _ => {
            // Long noise is inflated ahead of its delimiter, and costs much.
            let most = if choices.byte() == 0xa5 { 0x7fff } else { 0x1ff };
            let length = choices.number() & most;
            let mut state = u32::try_from(length).unwrap_or(0) | 1;
            let noise = (0..length).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            stream.extend(gzip(&noise.collect::<Vec<_>>(), 1));
            stream.extend_from_slice(DELIMITER);
        }
    }
}

fn gzip(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("a vector takes everything")
}

/// A gzip member of one stored block, as short texts are sent.
pub fn stored(text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(65_535)];
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(text);
    let mut crc = flate2::Crc::new();
    crc.update(text);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out
}

/// What was read, in short.
fn told(outcome: &Outcome) -> String {
    let frames = outcome.0.iter().map(|frame| match frame {
        Frame::Text(text) => format!("{} bytes", text.len()),
        Frame::Bad(fault) => fault.to_string(),
    });
    format!("{:?}, then {:?}", frames.collect::<Vec<_>>(), outcome.1)
}

type Outcome = (Vec<Frame>, Option<String>);

fn read<'a>(
    mut codec: HpxCodec,
    parts: impl IntoIterator<Item = &'a [u8]>,
    known_after: usize,
    wire: &Wire,
) -> Outcome {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            let before = buffer.len();
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    assert!(buffer.len() < before, "a frame of no bytes");
                    if let Frame::Text(text) = &frame {
                        assert!(
                            text.len() <= wire.max_inflated_bytes,
                            "a text of {} bytes passed",
                            text.len()
                        );
                    }
                    frames.push(frame);
                    if frames.len() == known_after {
                        codec.set_read_mode(Trust::Known);
                    }
                }
                Ok(None) => {
                    assert_eq!(buffer.len(), before, "no frame, and yet bytes are gone");
                    assert!(
                        before <= wire.limits.max_frame_bytes + DELIMITER.len(),
                        "{before} bytes are kept"
                    );
                    break;
                }
                Err(error) => return (frames, Some(kind(&error))),
            }
        }
    }
    (frames, None)
}

/// The part of an error that does not depend on how much was there when it was seen. Of two limits that are exceeded either
/// may be met first.
fn kind(error: &FrameError) -> String {
    match error {
        FrameError::TooLarge { .. } => "too large".to_owned(),
        other => other.to_string(),
    }
}

/// A plain reader splits at the delimiter and inflates. As long as that works, it has to be what we read.
fn compare(stream: &[u8], frames: &[Frame], max: usize) {
    let mut rest = stream;
    for frame in frames {
        let Some(end) = rest.windows(DELIMITER.len()).position(|window| window == DELIMITER) else { return };
        let mut text = Vec::new();
        let most = max as u64 + 1;
        if end > 0 && MultiGzDecoder::new(&rest[..end]).take(most).read_to_end(&mut text).is_err() {
            return;
        }
        assert_eq!(frame, &Frame::Text(Bytes::from(text)), "a plain reader reads another frame");
        rest = &rest[end + DELIMITER.len()..];
    }
}

fn write(wire: &Wire, text: &Bytes) {
    let mut out = Outgoing::new();
    let mut codec = HpxCodec::new(wire, Trust::Known);
    if codec.encode(Frame::Text(text.clone()), &mut out).is_err() {
        return;
    }
    let bytes = out.take();
    let at = bytes.windows(DELIMITER.len()).position(|window| window == DELIMITER);
    assert_eq!(at, Some(bytes.len() - DELIMITER.len()), "the delimiter stands elsewhere than at the end");
    let mut back = Vec::new();
    MultiGzDecoder::new(&bytes[..bytes.len() - DELIMITER.len()])
        .read_to_end(&mut back)
        .expect("our frames are gzip");
    if text.windows(DELIMITER.len()).any(|window| window == DELIMITER) {
        let (sent, got) = (serde_json::from_slice::<Value>(text), serde_json::from_slice::<Value>(&back));
        if let Ok(sent) = sent {
            assert_eq!(sent, got.expect("an escaped text is JSON"), "an escaped text means something else");
        }
    } else {
        let blanks = back.len() - text.len();
        assert!(back[..text.len()] == text[..] && blanks <= 16, "another text was sent");
        assert!(back[text.len()..].iter().all(|byte| *byte == b' '), "something was appended");
    }
}

/// Recorded streams, and frames of every make.
pub fn seeds() -> Vec<Vec<u8>> {
    let raw = seeds::recorded("hpx").into_iter().map(|bytes| [vec![0], as_piece(&bytes)].concat());
    let text = as_piece(br#"{"session":"","name":"x","data":[{"fname":"a<EOF>b"}]}"#);
    let mut bodies = raw.collect::<Vec<_>>();
    bodies.extend(
        [vec![1, 6], vec![1, 0], vec![2], vec![3, 1], vec![6]].map(|head| [head, text.clone()].concat()),
    );
    bodies.push([&[4, 8][..], &as_piece(b"name\0"), &text].concat());
    bodies.push(vec![7, 0xa5, 0xff, 0x7f, 2, 0, 0]);
    bodies.push([&[6][..], &as_piece(b""), &[3, 5, 5], &[2], &text].concat());
    seeds::behind(
        &[&[0xff, 0, 0, 0], &[0, 1, 2, 2, 40, 0, 90, 0], &[0, 0, 9, 0], &[0, 0, 2, 1, 0, 65]],
        &bodies,
    )
}
