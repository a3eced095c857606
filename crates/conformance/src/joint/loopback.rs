//! A joint over real sockets of the loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use polywire_core::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Joint, Stranger, Way};
use crate::relay::Relay;

/// How much is kept, of all connections and both ways; a case must not pass more before it asks for an opening.
const KEPT_BYTES: usize = 1 << 20;
/// How much of an opening is given.
const OPENING_BYTES: usize = 4 << 10;

/// A relay in front of one server.
#[derive(Debug)]
pub(crate) struct Loopback {
    relay: Relay,
    server: String,
    /// It has a port and does not listen, so whoever dials it is refused.
    _deaf: TcpSocket,
    nowhere: SocketAddr,
}

impl Loopback {
    /// In front of the server at `address`.
    pub(crate) async fn start(address: &str) -> io::Result<Self> {
        if address.parse::<SocketAddr>().is_err() {
            let text = format!("{address:?} is no IP address with a port, so the suite cannot reach it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let deaf = TcpSocket::new_v4()?;
        deaf.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let nowhere = deaf.local_addr()?;
        let relay = Relay::start(address, KEPT_BYTES).await?;
        Ok(Self { relay, server: address.to_owned(), _deaf: deaf, nowhere })
    }
}

impl Joint for Loopback {
    fn address(&self) -> String {
        self.relay.address().to_string()
    }

    fn nowhere(&self) -> String {
        self.nowhere.to_string()
    }

    fn cut(&self) {
        self.relay.cut();
    }

    fn stall(&self, way: Way) {
        self.relay.stall(way);
    }

    fn let_go(&self) {
        self.relay.let_go();
    }

    fn inject(&self, way: Way, bytes: &[u8]) {
        self.relay.inject(way, bytes);
    }

    fn impersonate(&self, said: Option<&[u8]>) {
        match said {
            Some(said) => self.relay.impersonate(said, true),
            None => self.relay.be_honest(),
        }
    }

    fn opened(&self) -> usize {
        self.relay.opened()
    }

    fn opening(&self, way: Way) -> Vec<u8> {
        let newest = self.relay.opened().saturating_sub(1);
        let mut said = self.relay.recording(newest).bytes(way);
        said.truncate(OPENING_BYTES);
        said
    }

    fn stranger(&self) -> BoxFuture<'_, io::Result<Box<dyn Stranger>>> {
        Box::pin(async {
            let stream = TcpStream::connect(&self.server).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(Caller(stream)) as Box<dyn Stranger>)
        })
    }
}

/// A socket that keeps to no protocol.
struct Caller(TcpStream);

impl Stranger for Caller {
    fn send<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.0.write_all(bytes))
    }

    fn ended(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut buffer = vec![0; OPENING_BYTES];
            while self.0.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_cannot_be_dialled_is_named() {
        for address in ["/run/socket", "localhost", "127.0.0.1"] {
            let error = Loopback::start(address).await.unwrap_err();
            let text = format!("{address:?} is no IP address with a port, so the suite cannot reach it");
            assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidInput, text));
        }
    }
}
