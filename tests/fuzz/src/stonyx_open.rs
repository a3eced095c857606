//! Opening sealed messages: what another implementation sealed is opened to the same text, and nothing else is opened at all.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use polywire_core::{Message, MessageCodec};
use polywire_stonyx::{Codec, Frame, Key};

use crate::choices::Choices;
use crate::{seeds, trace};

const KEY: [u8; 32] = [7; 32];
const HEAD: usize = 28;

/// Choices: what is done to the message, a nonce byte. Then a text to seal, or a message as it is.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (change, at, nonce) = (choices.byte() % 4, choices.number(), [choices.byte(); 12]);
    let text = choices.rest();
    let mut codec = Codec::new(&Key::new(&KEY));
    let mut sealed = vec![0; HEAD];
    sealed.extend_from_slice(text);
    let body = InOutBuf::from(&mut sealed[HEAD..]);
    let tag = Aes256Gcm::new(&KEY.into()).encrypt_inout_detached(&nonce.into(), b"", body);
    sealed[..12].copy_from_slice(&nonce);
    sealed[12..HEAD].copy_from_slice(&tag.expect("a text of this size can be sealed"));
    let whole = match change {
        0 => true,
        1 => {
            let at = at % sealed.len();
            sealed[at] ^= 1 << (at % 8);
            false
        }
        2 => {
            sealed.truncate(at % sealed.len());
            false
        }
        _ => {
            // The chance that it is sealed is one in 2^128.
            sealed = text.to_vec();
            false
        }
    };
    let length = sealed.len();
    let message = if change == 3 && at % 2 == 0 {
        Message::Text(sealed.into())
    } else {
        Message::Binary(sealed.into())
    };
    match codec.decode(message) {
        Ok(Some(Frame::Read { nonce: Some(used), text: opened })) => {
            assert!(whole, "a message that was changed was opened");
            assert_eq!((&opened[..], used), (text, nonce), "another text");
        }
        Ok(Some(Frame::Shut(_))) => assert!(!whole, "a sealed message stayed shut"),
        other => panic!("{other:?}"),
    }
    trace::mark((change, trace::size(length)));
}

/// Recorded texts, each whole and changed.
pub fn seeds() -> Vec<Vec<u8>> {
    seeds::behind(
        &[&[0, 0, 0, 0], &[1, 9, 0, 1], &[2, 9, 0, 2], &[3, 0, 0, 3]],
        &crate::stonyx_session::texts(),
    )
}
