//! A network, handed in: for simulations, and for programs that reach their peers another way than by TCP.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::credentials::BoxFuture;

/// A stream of bytes, whatever it is.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl fmt::Debug for dyn Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

/// A peer that has come: its stream, and its address for people.
pub type Arrival = (Box<dyn Io>, Option<String>);

/// What `host:port` means where it is not the operating system that says so.
///
/// Its peers are taken for programs of this machine: no bound for an address applies to them, and HPX lets passwords pass in the
/// clear. A network that leads to other machines has to protect what it carries.
pub trait Network: Send + Sync + 'static {
    /// Connects to `address`.
    ///
    /// # Errors
    /// Whatever a socket would report.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>>;

    /// Listens at `address`.
    ///
    /// # Errors
    /// Whatever a socket would report.
    fn listen(&self, address: &str) -> io::Result<Box<dyn NetworkListener>>;
}

/// One address of a [`Network`] that peers dial. Dropped, nobody listens there any more.
pub trait NetworkListener: Send + 'static {
    /// The next peer. Dropped before its end, nobody is lost.
    ///
    /// # Errors
    /// Whatever a socket would report; the listener stays usable.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Arrival>>;

    /// The address peers dial, as `host:port`.
    fn address(&self) -> String;
}
