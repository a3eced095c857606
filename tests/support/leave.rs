//! The ways in which a peer goes away.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How a peer goes away.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    /// Both directions end.
    Close,
    /// Its own direction ends.
    HalfClose,
    /// At once, with a reset.
    Reset,
}

/// Every way.
pub(crate) const LEAVES: [Leave; 3] = [Leave::Close, Leave::HalfClose, Leave::Reset];

/// The peer leaves; a half-closed stream is given back, to stay open.
pub(crate) async fn leave(mut stream: TcpStream, how: Leave) -> Option<TcpStream> {
    match how {
        Leave::Close => None,
        Leave::HalfClose => {
            stream.shutdown().await.expect("the stream is open");
            Some(stream)
        }
        Leave::Reset => {
            stream.set_zero_linger().expect("the stream is open");
            None
        }
    }
}
