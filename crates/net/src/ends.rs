//! Dialling and listening, on the network of the surroundings: TCP unless they have another.

use std::fmt;
use std::io;

use polywire_core::{Listener, NetworkListener, Surroundings};
use tokio::net::TcpListener;

use crate::stream::Socket;
use crate::tcp;

/// Connects to `address`, such as `127.0.0.1:7007`.
///
/// # Errors
/// What the operating system or the network says.
///
/// # Cancel safety
/// Safe: what was begun is given up.
pub async fn connect(address: &str, surroundings: &Surroundings) -> io::Result<Socket> {
    match &surroundings.network {
        None => tcp::connect(address, &*surroundings.clock).await.map(Socket::Tcp),
        Some(network) => network.connect(address).await.map(Socket::Other),
    }
}

/// Listens at `address`, such as `127.0.0.1:0`.
///
/// # Errors
/// What the operating system or the network says.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
pub async fn listen(address: &str, surroundings: &Surroundings) -> io::Result<Listening> {
    match &surroundings.network {
        None => TcpListener::bind(address).await.map(Listening::Tcp),
        Some(network) => network.listen(address).map(Listening::Other),
    }
}

/// Where peers come in.
pub enum Listening {
    /// The operating system's.
    Tcp(TcpListener),
    /// One of the network of the surroundings.
    Other(Box<dyn NetworkListener>),
}

impl Listener for Listening {
    type Io = Socket;

    async fn accept(&mut self) -> io::Result<(Socket, Option<String>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = Listener::accept(listener).await?;
                Ok((Socket::Tcp(stream), address))
            }
            Self::Other(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Socket::Other(stream), address))
            }
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => Listener::address(listener),
            Self::Other(listener) => listener.address(),
        }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listening").field(&Listener::address(self)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_writes_leave_at_once_at_both_ends() {
        let surroundings = Surroundings::default();
        let mut listening = listen("127.0.0.1:0", &surroundings).await.unwrap();
        let address = Listener::address(&listening);
        let (dialled, accepted) = tokio::join!(connect(&address, &surroundings), listening.accept());
        for socket in [dialled.unwrap(), accepted.unwrap().0] {
            let Socket::Tcp(stream) = socket else { panic!("TCP is the network unless there is another") };
            assert!(stream.nodelay().unwrap());
        }
    }
}
