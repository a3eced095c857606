//! Stonyx bytes: JSON in a text message, or sealed in a binary one as `iv[12] | tag[16] | ciphertext`, AES-256-GCM.

use std::fmt;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::{Codec, FrameError, Message, MessageCodec};

const IV: usize = 12;
const TAG: usize = 16;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A message to write; the iv is used where the mode seals.
    Write { text: Bytes, iv: [u8; IV] },
    /// A message that could be opened, or needed no opening.
    Open(Bytes),
    /// One that could not: another key, or changed on the way.
    Shut,
}

/// A key, or none where messages are not sealed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Option<[u8; 32]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Key(***)" } else { "Key(none)" })
    }
}

#[derive(Debug)]
pub(crate) struct SealCodec {
    read: Key,
    write: Key,
}

impl SealCodec {
    /// Both directions begin with the key that follows from the shared one.
    pub(crate) fn new(global: &Key) -> Self {
        Self { read: global.clone(), write: global.clone() }
    }
}

impl Codec for SealCodec {
    type Frame = Frame;
    type Mode = Key;

    fn set_read_mode(&mut self, mode: Key) {
        self.read = mode;
    }

    fn set_write_mode(&mut self, mode: Key) {
        self.write = mode;
    }
}

impl MessageCodec for SealCodec {
    fn decode(&mut self, message: Message) -> Result<Option<Frame>, FrameError> {
        // The originals look at the key alone, never at the kind of message.
        let (Message::Text(bytes) | Message::Binary(bytes)) = message else { return Ok(None) };
        let Some(key) = &self.read.0 else { return Ok(Some(Frame::Open(bytes))) };
        Ok(Some(open(key, &bytes).map_or(Frame::Shut, Frame::Open)))
    }

    fn encode(&mut self, frame: Frame, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        let Frame::Write { text, iv } = frame else {
            return Err(FrameError::Corrupt("only read, never written"));
        };
        match &self.write.0 {
            Some(key) => out(Message::Binary(seal(key, iv, &text))),
            None => out(Message::Text(text)),
        }
        Ok(())
    }
}

pub(crate) fn seal(key: &[u8; 32], iv: [u8; IV], text: &[u8]) -> Bytes {
    let mut sealed = BytesMut::with_capacity(IV + TAG + text.len());
    sealed.put_slice(&iv);
    sealed.put_bytes(0, TAG);
    sealed.put_slice(text);
    let (head, body) = sealed.split_at_mut(IV + TAG);
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(&iv.into(), b"", InOutBuf::from(body))
        .expect("far below the 64 GiB that one iv may seal");
    head[IV..].copy_from_slice(&tag);
    sealed.freeze()
}

pub(crate) fn open(key: &[u8; 32], sealed: &[u8]) -> Option<Bytes> {
    let (iv, rest) = sealed.split_first_chunk::<IV>()?;
    let (tag, ciphertext) = rest.split_first_chunk::<TAG>()?;
    let mut text = BytesMut::from(ciphertext);
    let buffer = InOutBuf::from(&mut text[..]);
    Aes256Gcm::new(key.into()).decrypt_inout_detached(iv.into(), b"", buffer, tag.into()).ok()?;
    Some(text.freeze())
}
