//! What can go wrong before a server or client runs, and whose fault it is. After that, connections end with a
//! [`Close`](polywire_core::Close) and calls with a [`CallError`](polywire_core::CallError).

use polywire_core::{AdapterError, LimitError};

/// Why a server or a client cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range: fix the configuration.
    #[error(transparent)]
    Setting(#[from] LimitError),
    /// The address cannot be listened at: choose another, or free it.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl From<Error> for AdapterError {
    fn from(error: Error) -> Self {
        match error {
            Error::Setting(error) => error.into(),
            Error::Listen { address, source } => Self::Listen { address, source },
        }
    }
}
