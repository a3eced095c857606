//! What carries the bytes: TCP, alone or under TLS.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes, whatever it is.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection's bytes; a call through a table costs nothing beside the system call behind it.
pub type Stream = Box<dyn Io>;

impl fmt::Debug for dyn Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}
