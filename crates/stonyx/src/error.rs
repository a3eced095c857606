//! What can go wrong before a connection is there, and whose fault it is. What goes wrong later is a
//! [`Close`](polywire_core::Close) or a [`CallError`](polywire_core::CallError).

use std::io;

use polywire_core::{AdapterError, LimitError};

/// Why an end could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of ours is outside its range.
    #[error(transparent)]
    Setting(#[from] LimitError),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl From<Error> for AdapterError {
    fn from(error: Error) -> Self {
        match error {
            Error::Setting(error) => error.into(),
            Error::Listen { address, source } => AdapterError::Listen { address, source },
        }
    }
}
