//! Bytes to lines and back. It never looks into a line.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::{Buf, Bytes, BytesMut};
use polywire_core::{FrameError, Outgoing, StreamCodec};

/// The codec of one connection.
#[derive(Debug)]
pub struct Codec {
    max_frame_bytes: usize,
    /// So many bytes at the front of the input are known to hold no line break: no byte is looked at twice.
    scanned: usize,
}

impl Codec {
    /// A codec that takes and sends lines of at most `max_frame_bytes` bytes.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes, scanned: 0 }
    }

    fn check(&self, got: usize) -> Result<(), FrameError> {
        if got <= self.max_frame_bytes {
            return Ok(());
        }
        let (got, max) = (got as u64, self.max_frame_bytes as u64);
        Err(FrameError::TooLarge { got, max, setting: "max_frame_bytes" })
    }
}

impl polywire_core::Codec for Codec {
    /// One line, without its end.
    type Frame = Bytes;
    /// There is one way of framing, so there is nothing to switch between.
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

// begin decode
impl StreamCodec for Codec {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let new = input.get(self.scanned..).unwrap_or_default();
        let Some(end) = new.iter().position(|byte| *byte == b'\n') else {
            self.scanned = input.len();
            return self.check(self.scanned).map(|()| None);
        };
        let end = end.saturating_add(self.scanned);
        self.check(end)?;
        self.scanned = 0;
        // A slice would keep the whole read buffer; a wire with large bodies slices them, by `Part::of` and `Cx::pins`.
        let line = Bytes::copy_from_slice(&input.split_to(end));
        input.advance(1);
        Ok(Some(line))
    }

    fn encode(&mut self, line: Bytes, out: &mut Outgoing) -> Result<(), FrameError> {
        self.check(line.len())?;
        if line.contains(&b'\n') {
            return Err(FrameError::Corrupt("a line break inside a line"));
        }
        out.put_bytes(line);
        out.put_slice(b"\n");
        Ok(())
    }
}
// end decode

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = include_bytes!("../vectors/golden.txt");

    /// The lines in `bytes` when they come in pieces of `size` bytes.
    fn lines(bytes: &[u8], size: usize) -> Vec<Bytes> {
        let (mut codec, mut input, mut lines) = (Codec::new(4 << 10), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(size) {
            input.extend_from_slice(piece);
            while let Some(line) = codec.decode(&mut input).unwrap() {
                lines.push(line);
            }
        }
        assert!(input.is_empty());
        lines
    }

    // begin cuts
    #[test]
    fn a_stream_cut_anywhere_holds_the_same_lines() {
        let long = [STREAM, &[b'x'; 2_000], b"\n"].concat();
        let whole = lines(&long, long.len());
        assert_eq!(whole.len(), long.iter().filter(|byte| **byte == b'\n').count());
        for size in 1..long.len() {
            assert_eq!(lines(&long, size), whole, "in pieces of {size} bytes");
        }
    }
    // end cuts

    #[test]
    fn what_was_encoded_is_decoded_the_same() {
        let (mut codec, mut out) = (Codec::new(4 << 10), Outgoing::new());
        for line in lines(STREAM, STREAM.len()) {
            codec.encode(line, &mut out).unwrap();
        }
        assert_eq!(out.take(), STREAM);
    }

    #[test]
    fn a_line_above_the_limit_ends_the_stream_before_it_is_whole() {
        let mut codec = Codec::new(4);
        assert_eq!(codec.decode(&mut BytesMut::from("BEAT")), Ok(None));
        for input in ["BEATS", "BEATS\n"] {
            let text = Codec::new(4).decode(&mut BytesMut::from(input)).unwrap_err().to_string();
            assert_eq!(text, "frame of 5 bytes exceeds max_frame_bytes = 4");
        }
        assert!(codec.encode(Bytes::from_static(b"BEATS"), &mut Outgoing::new()).is_err());
        assert!(codec.encode(Bytes::from_static(b"A\nB"), &mut Outgoing::new()).is_err());
    }
}
