//! Dialling TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use polywire_core::{Clock, sleep_until};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long one address of a name has to answer before the next one is tried as well.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Connects to the first address of `host:port` that answers, each new one being tried a little later than the one before; small
/// writes leave at once.
///
/// # Errors
/// What the operating system says of the last address that failed, or of the name.
///
/// # Cancel safety
/// Safe: what was begun is given up.
pub async fn connect(address: &str, clock: &dyn Clock) -> io::Result<TcpStream> {
    let mut left = tokio::net::lookup_host(address).await?.collect::<Vec<SocketAddr>>().into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    if let Some(first) = left.next() {
        attempts.spawn(TcpStream::connect(first));
    }
    let stream = loop {
        let more = left.len() > 0;
        tokio::select! {
            biased;
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => break stream,
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None if !more => return Err(last),
                None => {}
            },
            () = sleep_until(clock, clock.now() + NEXT_ADDRESS), if more => {}
        }
        if let Some(next) = left.next() {
            attempts.spawn(TcpStream::connect(next));
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Is this `host:port` on this machine only?
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_everywhere_else() {
        for address in ["127.0.0.1:1", "localhost:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "127.9.9.9:0"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "example:1", ":1", ""] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
