//! The Sockhop codec: however a stream is cut, the same frames come out, and written again they are the same bytes.

use bytes::{Bytes, BytesMut};
use polywire_core::{Codec as _, FrameError, Limits, Outgoing, StreamCodec};
use polywire_sockhop::{Codec, Config, Frame, Framing, Terminator};

use crate::choices::{Choices, parts};
use crate::{seeds, trace};

/// Choices: the terminator, the frame limit, after how many frames the direction switches, the cuts. Then the stream.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let terminator: &[u8] = choices.one_of(&[b"\n", b"\r\n", b"\0", b"END\n"]);
    let max_frame_bytes = choices.one_of(&[64 << 10, 1_024, 1 << 20]);
    let config = Config { terminator: Terminator::both(terminator), ..Config::default() };
    let limits = Limits { max_frame_bytes, ..Limits::default() };
    let new = || Codec::new(&config, &limits);
    let switch = usize::from(choices.byte() % 8);
    let cuts = choices.byte();
    let cuts = if cuts == 0xff { None } else { Some(choices.cuts(input.len())) };
    let stream = choices.rest();

    let whole = read(new(), max_frame_bytes, [stream], switch);
    let cut = match cuts {
        Some(cuts) => read(new(), max_frame_bytes, parts(stream, &cuts), switch),
        None if stream.len() <= 4 << 10 => read(new(), max_frame_bytes, stream.chunks(1), switch),
        None => read(new(), max_frame_bytes, stream.chunks(7), switch),
    };
    assert_eq!(whole.frames, cut.frames, "other frames when the stream is cut");
    assert_eq!(whole.end.as_ref().map_err(kind), cut.end.as_ref().map_err(kind), "another end");
    for frame in &whole.frames {
        let (id, length) = match frame {
            Frame::Packet { id, payload } => (u32::from(*id), payload.len()),
            Frame::Line(line) => (256, line.len()),
            other => panic!("{other:?} was read"),
        };
        assert!(length <= max_frame_bytes, "a frame of {length} bytes passed");
        trace::mark((id, trace::size(length)));
    }
    trace::mark((whole.frames.len().min(20), whole.end.as_ref().map_err(kind).err()));
    if let Ok(left) = &whole.end {
        let consumed = &stream[..stream.len() - left.len()];
        assert_eq!(write(new(), whole.frames), consumed, "frames written are other bytes");
    }
}

struct Read {
    frames: Vec<Frame>,
    /// What is left, or why the stream cannot go on.
    end: Result<Bytes, FrameError>,
}

fn read<'a>(
    mut codec: Codec,
    max_frame_bytes: usize,
    parts: impl IntoIterator<Item = &'a [u8]>,
    switch: usize,
) -> Read {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    if switch == 0 {
        codec.set_read_mode(Framing::Binary);
    }
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            let before = buffer.len();
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    assert!(buffer.len() < before, "a frame of no bytes");
                    frames.push(frame);
                    if frames.len() == switch {
                        codec.set_read_mode(Framing::Binary);
                    }
                }
                Ok(None) => {
                    assert_eq!(buffer.len(), before, "no frame, and yet bytes are gone");
                    let most = max_frame_bytes + 16;
                    assert!(before <= most, "{before} bytes are kept for a frame of at most {most}");
                    assert!(codec.missing(&buffer) <= most, "more is missing than a frame may have");
                    break;
                }
                Err(error) => return Read { frames, end: Err(error) },
            }
        }
    }
    Read { frames, end: Ok(buffer.freeze()) }
}

/// The part of an error that does not depend on how much was there when it was seen.
fn kind(error: &FrameError) -> String {
    match error {
        FrameError::TooLarge { setting, .. } => (*setting).to_owned(),
        other => other.to_string(),
    }
}

fn write(mut codec: Codec, frames: Vec<Frame>) -> Bytes {
    let mut out = Outgoing::new();
    for frame in frames {
        codec.encode(frame, &mut out).expect("what was read can be written");
    }
    out.take()
}

/// Recorded bytes, read as lines, as frames, and as one after the other.
pub fn seeds() -> Vec<Vec<u8>> {
    let recorded = seeds::recorded("sockhop");
    seeds::behind(&[&[0, 0, 7, 0xff], &[0, 1, 0, 0xff], &[0, 0, 3, 1, 2, 9, 0, 200, 0]], &recorded)
}
