//! The rule of ports: where a host listens when nobody says where.

use std::io;
use std::sync::{Arc, Mutex};

use polywire_core::{Arrival, BoxFuture, Endpoint, Io, Network, NetworkListener, Router};

use crate::host::{Host, HostConfig};

/// What a bind at an address ends with, if it fails, and which addresses were asked for.
struct Ports<F>(F, Mutex<Vec<String>>);

/// The port that the system chooses here.
const CHOSEN: u16 = 49_152;

impl<F: Fn(&str) -> Option<io::ErrorKind> + Send + Sync + 'static> Network for Ports<F> {
    fn listen(&self, address: &str) -> io::Result<Box<dyn NetworkListener>> {
        self.1.lock().unwrap().push(address.to_owned());
        match self.0(address) {
            Some(error) => Err(error.into()),
            None => Ok(Box::new(Nobody(address.replace(":0", &format!(":{CHOSEN}"))))),
        }
    }

    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(std::future::pending())
    }
}

/// Where nobody comes in.
struct Nobody(String);

impl NetworkListener for Nobody {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Arrival>> {
        Box::pin(std::future::pending())
    }

    fn address(&self) -> String {
        self.0.clone()
    }
}

/// The port of a host, or why it has none, and the addresses that it asked for, where binds end like this.
async fn by_the_rule(
    port: Option<u16>,
    fails: impl Fn(&str) -> Option<io::ErrorKind> + Send + Sync + 'static,
) -> (Result<u16, String>, Vec<String>) {
    let ports = Arc::new(Ports(fails, Mutex::default()));
    let mut endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
    endpoint.surroundings.network = Some(Arc::clone(&ports) as _);
    let host = Host::listen(HostConfig { port, ..HostConfig::default() }, endpoint).await;
    let told = host.map(|host| host.port()).map_err(|error| error.to_string());
    let asked = std::mem::take(&mut *ports.1.lock().unwrap());
    (told, asked)
}

#[tokio::test]
async fn the_first_port_of_the_rule_that_is_free_is_taken_on_both_loopbacks() {
    let all =
        |ports: &[u16]| -> Vec<String> { ports.iter().map(|port| format!("127.0.0.1:{port}")).collect() };
    let with_v6 = |mut asked: Vec<String>, port: u16| {
        asked.push(format!("[::1]:{port}"));
        asked
    };
    assert_eq!(by_the_rule(None, |_| None).await, (Ok(52_789), with_v6(all(&[52_789]), 52_789)));
    // Busy is in use, or not allowed.
    let busy = |address: &str| match address {
        "127.0.0.1:52789" => Some(io::ErrorKind::AddrInUse),
        "127.0.0.1:52790" => Some(io::ErrorKind::PermissionDenied),
        _ => None,
    };
    let asked = with_v6(all(&[52_789, 52_790, 52_791]), 52_791);
    assert_eq!(by_the_rule(None, busy).await, (Ok(52_791), asked));
    // When all thirty are, any will do.
    let all_busy = |address: &str| (!address.ends_with(":0")).then_some(io::ErrorKind::AddrInUse);
    let ports: Vec<u16> = (52_789..=52_818).chain([0]).collect();
    let (told, asked) = by_the_rule(None, all_busy).await;
    assert_eq!((told, asked), (Ok(CHOSEN), with_v6(all(&ports), CHOSEN)));
    // There may be no IPv6.
    let no_v6 = |address: &str| address.starts_with('[').then_some(io::ErrorKind::AddrNotAvailable);
    assert_eq!(by_the_rule(None, no_v6).await.0, Ok(52_789));
}

#[tokio::test]
async fn what_is_wrong_with_a_port_besides_being_busy_ends_the_search() {
    let (told, asked) = by_the_rule(None, |_| Some(io::ErrorKind::AddrNotAvailable)).await;
    assert!(told.unwrap_err().contains("127.0.0.1:52789"));
    assert_eq!(asked, ["127.0.0.1:52789"]);
    let (told, asked) = by_the_rule(None, |_| Some(io::ErrorKind::AddrInUse)).await;
    assert!(told.unwrap_err().contains("127.0.0.1:0"), "not even the system has one");
    assert_eq!(asked.len(), 31);
}

#[tokio::test]
async fn a_port_that_was_named_is_taken_or_nothing_is_and_nobody_shares_it() {
    let (told, asked) = by_the_rule(Some(4_711), |_| Some(io::ErrorKind::AddrInUse)).await;
    assert!(told.unwrap_err().contains("127.0.0.1:4711"));
    assert_eq!(asked, ["127.0.0.1:4711"]);
    let listen = async |port| {
        let endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
        Host::listen(HostConfig { port: Some(port), ..HostConfig::default() }, endpoint).await
    };
    let host = listen(0).await.unwrap();
    assert_ne!(host.port(), 0);
    let why = listen(host.port()).await.unwrap_err().to_string();
    assert!(why.contains(&format!("127.0.0.1:{}", host.port())), "{why}");
}
