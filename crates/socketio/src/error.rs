//! What can go wrong before a connection is there, and whose fault it is. What goes wrong later is a
//! [`Close`](polywire_core::Close) or a [`CallError`](polywire_core::CallError).

use polywire_core::{AdapterError, LimitError};

/// Why a client could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of ours is outside its range.
    #[error(transparent)]
    Setting(#[from] LimitError),
}

impl From<Error> for AdapterError {
    fn from(error: Error) -> Self {
        let Error::Setting(error) = error;
        AdapterError::option(error.setting, error.value, error.rule)
    }
}
