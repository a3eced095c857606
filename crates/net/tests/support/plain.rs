//! The codec of tests that look at a transport alone.

use polywire_core::{Codec, FrameError, Message, MessageCodec};

/// Frames are messages.
pub(crate) struct Plain;

impl Codec for Plain {
    type Frame = Message;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl MessageCodec for Plain {
    fn decode(&mut self, message: Message) -> Result<Option<Message>, FrameError> {
        Ok(Some(message))
    }

    fn encode(&mut self, frame: Message, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        out(frame);
        Ok(())
    }
}
