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
    let addresses = tokio::net::lookup_host(address).await?.collect::<Vec<SocketAddr>>();
    let stream = first_of(addresses, clock, TcpStream::connect).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Dials the addresses, each a little later than the one before or when one has failed, and gives back the first that answers.
async fn first_of<A, S, F>(addresses: Vec<A>, clock: &dyn Clock, dial: impl Fn(A) -> F) -> io::Result<S>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut left = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    if let Some(first) = left.next() {
        attempts.spawn(dial(first));
    }
    loop {
        let more = left.len() > 0;
        tokio::select! {
            biased;
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None if !more => return Err(last),
                None => {}
            },
            () = sleep_until(clock, clock.now() + NEXT_ADDRESS), if more => {}
        }
        if let Some(next) = left.next() {
            attempts.spawn(dial(next));
        }
    }
}

/// Is this `host:port` on this machine only?
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use polywire_core::TokioClock;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// How one address answers: after this many milliseconds, or never.
    type Answer = (Option<u64>, bool);

    /// Dials addresses that answer so; which one won, after how many milliseconds, and when each was dialled.
    async fn race(answers: &[Answer]) -> (io::Result<usize>, u128, Vec<u128>) {
        let (start, dialled) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let dial = |number: usize| {
            dialled.lock().unwrap().push(start.elapsed().as_millis());
            let (after, good) = answers[number];
            async move {
                match after {
                    Some(millis) => sleep(Duration::from_millis(millis)).await,
                    None => std::future::pending().await,
                }
                if good { Ok(number) } else { Err(io::Error::other(format!("address {number} is dead"))) }
            }
        };
        let won = first_of((0..answers.len()).collect(), &TokioClock, dial).await;
        let dialled = dialled.lock().unwrap().clone();
        (won, start.elapsed().as_millis(), dialled)
    }

    #[tokio::test(start_paused = true)]
    async fn c18_the_next_address_is_tried_after_a_quarter_of_a_second_or_when_one_has_failed() {
        let (won, after, dialled) = race(&[(None, true), (Some(10), true), (Some(0), true)]).await;
        assert_eq!((won.unwrap(), after, dialled), (1, 260, vec![0, 250]));
        let (won, after, dialled) = race(&[(Some(5), false), (None, true), (Some(10), true)]).await;
        assert_eq!((won.unwrap(), after, dialled), (2, 265, vec![0, 5, 255]));
        // Slow and alive: the first goes on beside the second, and wins.
        let (won, after, dialled) = race(&[(Some(300), true), (None, true)]).await;
        assert_eq!((won.unwrap(), after, dialled), (0, 300, vec![0, 250]));
        let (won, after, _) = race(&[(Some(400), false), (Some(20), false)]).await;
        assert_eq!((won.unwrap_err().to_string(), after), ("address 0 is dead".to_owned(), 400));
        assert_eq!(race(&[]).await.0.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

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
