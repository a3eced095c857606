//! Sealing: `nonce[12] | tag[16] | ciphertext`, AES-256-GCM without associated data.
//!
//! Observed: `frames.json` of the recordings; all revisions alike.

use std::fmt;
use std::sync::{Arc, Weak};

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

/// Bytes of a nonce.
pub(crate) const NONCE: usize = 12;
/// Bytes before the ciphertext: nonce and tag.
pub(crate) const HEAD: usize = NONCE + 16;
/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// The salt of every shared key. Read in source: `encryption.deriveKey`; the cost is Node's default.
const SALT: &[u8] = b"stonyx-sockets";

/// What a frame is sealed with; never the same twice under one key.
pub(crate) type Nonce = [u8; NONCE];

/// A key, expanded once; `None` where messages are not sealed. A clone is the same key.
#[derive(Clone, Default)]
pub struct Key(Option<Arc<Aes256Gcm>>);

impl Key {
    /// Messages are not sealed.
    pub fn none() -> Self {
        Self(None)
    }

    /// These 32 bytes.
    pub fn new(bytes: &[u8; KEY]) -> Self {
        Self(Some(Arc::new(Aes256Gcm::new(bytes.into()))))
    }

    /// The key that both ends derive from the shared secret: scrypt with N 16384, r 8, p 1. Takes tens of milliseconds and
    /// 16 MiB: not for a runtime's threads.
    pub fn derive(secret: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; KEY]);
        // The parameters are constant and in range, so neither of the two can fail.
        if let Ok(cost) = scrypt::Params::new(14, 8, 1)
            && scrypt::scrypt(secret, SALT, &cost, &mut *key).is_ok()
        {
            return Self::new(&key);
        }
        Self(None)
    }

    /// A key that does not keep the bytes alive; `None` without a key.
    pub(crate) fn downgrade(&self) -> Option<WeakKey> {
        self.0.as_ref().map(|cipher| WeakKey(Arc::downgrade(cipher)))
    }

    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        matches!((&self.0, &other.0), (Some(one), Some(other)) if Arc::ptr_eq(one, other))
    }

    /// Are messages sealed?
    pub fn seals(&self) -> bool {
        self.0.is_some()
    }

    /// Seals what stands behind the first [`HEAD`] bytes of `text`, in place. `None` without a key.
    pub(crate) fn seal(&self, nonce: Nonce, text: &mut BytesMut) -> Option<()> {
        let cipher = self.0.as_ref()?;
        let (head, body) = text.split_at_mut_checked(HEAD)?;
        let tag = cipher.encrypt_inout_detached(&nonce.into(), b"", InOutBuf::from(body)).ok()?;
        let (place, rest) = head.split_at_mut(NONCE);
        place.copy_from_slice(&nonce);
        rest.copy_from_slice(&tag);
        Some(())
    }

    /// Opens a sealed message, in place where nobody else holds its bytes. `None` when it was sealed with another key or
    /// changed on the way, without saying which.
    pub(crate) fn open(&self, sealed: Bytes) -> Option<(Nonce, Bytes)> {
        let cipher = self.0.as_ref()?;
        let (head, _) = sealed.split_at_checked(HEAD)?;
        let (nonce, tag) = head.split_at(NONCE);
        let (nonce, tag): (Nonce, [u8; HEAD - NONCE]) = (nonce.try_into().ok()?, tag.try_into().ok()?);
        let mut text = match sealed.try_into_mut() {
            Ok(mut whole) => whole.split_off(HEAD),
            Err(shared) => BytesMut::from(shared.get(HEAD..)?),
        };
        cipher.decrypt_inout_detached(&nonce.into(), b"", InOutBuf::from(&mut text[..]), &tag.into()).ok()?;
        Some((nonce, text.freeze()))
    }
}

/// A key that lasts as long as somebody uses it.
pub(crate) struct WeakKey(Weak<Aes256Gcm>);

impl WeakKey {
    pub(crate) fn upgrade(&self) -> Option<Key> {
        self.0.upgrade().map(|cipher| Key(Some(cipher)))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.seals() { "Key(***)" } else { "Key(none)" })
    }
}
