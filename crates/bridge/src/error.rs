//! Why a bridge cannot be read or started.

use polywire_core::{AdapterError, Failure};

use crate::report::{Report, counted};
use crate::source::MAX_FILE_BYTES;

/// Why a bridge file cannot be read at all. What is wrong inside it is a [`Finding`](crate::Finding).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system said no.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is larger than a bridge file may be.
    #[error("{file} exceeds the {MAX_FILE_BYTES} bytes a bridge file may have")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// It is no text.
    #[error("{file} is not UTF-8")]
    NotUtf8 {
        /// The file.
        file: String,
    },
}

/// Why a bridge did not start. Nothing of it is running then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The file has errors; the report names them.
    #[error("the bridge file has {}", counted(.0.errors(), "error"))]
    Check(Box<Report>),
    /// An adapter cannot serve or dial an endpoint.
    #[error("endpoint {endpoint}: {source}")]
    Endpoint {
        /// The name of the endpoint.
        endpoint: String,
        /// What its adapter said.
        source: AdapterError,
    },
}

/// A required endpoint that will not come up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("required endpoint {endpoint} is not ready: {failure}")]
pub struct NotReady {
    /// The name of the endpoint.
    pub endpoint: String,
    /// Why.
    pub failure: Failure,
}
