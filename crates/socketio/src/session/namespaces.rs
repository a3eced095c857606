//! The namespaces that a session may be in, where that has to be found out.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use polywire_core::ByteString;

use crate::packet::MAIN;

/// Namespaces in the order of trying; the one that was tried last is the first of the next connection.
#[derive(Debug)]
pub struct Namespaces {
    names: Vec<ByteString>,
    last: AtomicUsize,
}

impl Namespaces {
    /// These; `/` where there is none.
    pub fn new(names: impl IntoIterator<Item = ByteString>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        if names.is_empty() {
            names.push(ByteString::from_static(MAIN));
        }
        Self { names, last: AtomicUsize::new(0) }
    }

    /// How many there are, at least one.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// The one to begin with.
    pub(super) fn first(&self) -> ByteString {
        let last = self.last.load(Ordering::Relaxed);
        self.names.get(last).cloned().unwrap_or_else(|| ByteString::from_static(MAIN))
    }

    /// The one after `name`, which is tried now; after the last comes the first.
    pub(super) fn after(&self, name: &ByteString) -> ByteString {
        let at = self.names.iter().position(|known| known == name).unwrap_or_default();
        self.last.store((at + 1) % self.names.len(), Ordering::Relaxed);
        self.first()
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for name in &self.names {
            write!(f, "{between}{}", &**name)?;
            between = ", ";
        }
        Ok(())
    }
}
