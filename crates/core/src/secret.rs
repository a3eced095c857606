//! Text that must never be seen: keys, passwords, tokens, challenges.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret. It has no `Display`, no `PartialEq` and no content in `Debug`, and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret itself: for the wire or the key derivation that needs it, nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Compares in time that does not depend on where the two differ.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing_and_compares() {
        let secret = Secret::from("swordfish");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert!(secret.matches(b"swordfish") && !secret.matches(b"swordfisg") && !secret.matches(b"sword"));
    }
}
