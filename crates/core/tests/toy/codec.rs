//! The toy's bytes: lines that end in a line break, or lines behind their length.

use bytes::{Buf, Bytes, BytesMut};
use polywire_core::{Codec, FrameError, Outgoing, StreamCodec};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Lines,
    Counted,
}

#[derive(Debug)]
pub(crate) struct ToyCodec {
    read: Framing,
    write: Framing,
    max: usize,
    /// So many bytes of the input hold no line break.
    seen: usize,
}

impl ToyCodec {
    pub(crate) fn new(max_frame_bytes: usize) -> Self {
        Self { read: Framing::Lines, write: Framing::Lines, max: max_frame_bytes, seen: 0 }
    }

    fn check(&self, got: usize) -> Result<(), FrameError> {
        if got <= self.max {
            return Ok(());
        }
        Err(FrameError::TooLarge { got: got as u64, max: self.max as u64, setting: "max_frame_bytes" })
    }

    /// The length that stands in front, once its four bytes are there.
    fn announced(input: &[u8]) -> Option<usize> {
        input.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
    }
}

impl Codec for ToyCodec {
    type Frame = Bytes;
    type Mode = Framing;

    fn set_read_mode(&mut self, mode: Framing) {
        self.read = mode;
        self.seen = 0;
    }

    fn set_write_mode(&mut self, mode: Framing) {
        self.write = mode;
    }
}

impl StreamCodec for ToyCodec {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        match self.read {
            Framing::Lines => {
                let found = input[self.seen..].iter().position(|byte| *byte == b'\n');
                let length = found.map_or(input.len(), |at| self.seen + at);
                self.check(length)?;
                self.seen = if found.is_some() { 0 } else { length };
                Ok(found.map(|_| {
                    let line = input.split_to(length).freeze();
                    input.advance(1);
                    line
                }))
            }
            Framing::Counted => {
                let Some(length) = Self::announced(input) else { return Ok(None) };
                self.check(length)?;
                if input.len() < 4 + length {
                    return Ok(None);
                }
                input.advance(4);
                Ok(Some(input.split_to(length).freeze()))
            }
        }
    }

    fn missing(&self, input: &BytesMut) -> usize {
        match self.read {
            Framing::Lines => 0,
            Framing::Counted => {
                Self::announced(input).map_or(0, |length| (4 + length).saturating_sub(input.len()))
            }
        }
    }

    fn encode(&mut self, frame: Bytes, out: &mut Outgoing) -> Result<(), FrameError> {
        self.check(frame.len())?;
        match self.write {
            Framing::Lines if frame.contains(&b'\n') => {
                return Err(FrameError::Corrupt("a line break inside a line"));
            }
            Framing::Lines => {
                out.put_bytes(frame);
                out.put_slice(b"\n");
            }
            Framing::Counted => {
                let length = u32::try_from(frame.len()).expect("checked against max_frame_bytes");
                out.put_slice(&length.to_be_bytes());
                out.put_bytes(frame);
            }
        }
        Ok(())
    }
}
