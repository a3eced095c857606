//! What can go wrong before a connection is there, and whose fault it is. What goes wrong later is a
//! [`Close`](polywire_core::Close) or a [`CallError`](polywire_core::CallError).

use polywire_core::{AdapterError, LimitError};

/// Why a client or a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of ours is outside its range.
    #[error(transparent)]
    Setting(#[from] LimitError),
    /// The address cannot be listened at.
    #[cfg(feature = "server")]
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl From<Error> for AdapterError {
    fn from(error: Error) -> Self {
        match error {
            Error::Setting(error) => error.into(),
            #[cfg(feature = "server")]
            Error::Listen { address, source } => AdapterError::Listen { address, source },
        }
    }
}
