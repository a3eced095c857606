//! Where a host listens: 52789, or the next that is free up to 52818, or any.
//!
//! Read in the plugin guide. On the loopback of IPv4, and with the same number on that of IPv6 where that can be had, because
//! samples say `localhost` and some runtimes try IPv6 first.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::net::TcpListener;

/// The ports that are tried in order before any other.
pub const PORTS: std::ops::RangeInclusive<u16> = 52_789..=52_818;

/// Listens by the rule: both loopbacks on one port, the second best effort.
///
/// # Errors
/// Whatever binding fails with, other than a port that is in use or not allowed.
pub async fn listen(ports: impl IntoIterator<Item = u16>) -> io::Result<(TcpListener, Option<TcpListener>)> {
    for port in ports.into_iter().chain([0]) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
                return Ok((listener, second));
            }
            Err(error) if port != 0 && is_busy(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_passed_over_and_when_all_are_busy_any_will_do() {
        let (busy, _) = listen([]).await.unwrap();
        let taken = busy.local_addr().unwrap().port();
        let (free, _) = listen([]).await.unwrap();
        let next = free.local_addr().unwrap().port();
        drop(free);
        let (second, _) = listen([taken, next]).await.unwrap();
        assert_eq!(second.local_addr().unwrap().port(), next);
        let (any, _) = listen([taken, next]).await.unwrap();
        assert!(![taken, next].contains(&any.local_addr().unwrap().port()));
        assert_eq!((PORTS.count(), *PORTS.start(), *PORTS.end()), (30, 52_789, 52_818));
    }
}
