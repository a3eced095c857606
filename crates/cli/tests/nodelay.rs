//! Small writes leave at once: TCP_NODELAY is set on the sockets of both ends of every wire, asked of the operating system.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use polywire_core::{Endpoint, Router, Secret, Target};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::SockRef;

/// Is TCP_NODELAY set, for each socket of this process with `server` at one of its ends, first those of the server?
fn nodelay(server: SocketAddr) -> (Vec<bool>, Vec<bool>) {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let (mut accepted, mut dialled) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let number = entry.unwrap().file_name().into_string().unwrap().parse().unwrap();
        // One that is closed by now, that of the folder for instance, cannot be had.
        let Ok(copy) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else { continue };
        let socket = SockRef::from(&copy);
        let address =
            |address: std::io::Result<socket2::SockAddr>| address.ok().and_then(|at| at.as_socket());
        let (local, peer) = (address(socket.local_addr()), address(socket.peer_addr()));
        if local == Some(server) && peer.is_some() {
            accepted.push(socket.tcp_nodelay().unwrap());
        } else if peer == Some(server) {
            dialled.push(socket.tcp_nodelay().unwrap());
        }
    }
    (accepted, dialled)
}

#[tokio::test]
async fn small_writes_leave_at_once_at_both_ends_of_every_wire() {
    let adapters = polywire_cli::adapters();
    for wire in adapters.names() {
        let adapter = adapters.get(wire).unwrap();
        let mut target = Target { address: "127.0.0.1:0".to_owned(), ..Target::default() };
        let takes = |name| adapter.options().iter().any(|option| option.name == name);
        for option in ["key", "challenge"].into_iter().filter(|option| takes(*option)) {
            target.options.set_secret(option, Secret::from("a secret of these tests, long enough"));
        }
        let texts = [("plugin", "demo"), ("guests", "1"), ("connections", "1")];
        target.options.extend(texts.into_iter().filter(|(option, _)| takes(option)));
        let endpoint = || Endpoint::new(wire, Router::new().build().unwrap());
        let server = adapter.listen(target.clone(), endpoint()).await.unwrap();
        target.address = server.address().to_owned();
        let client = adapter.dial(target, endpoint()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), client.ready()).await.unwrap().unwrap();
        let (accepted, dialled) = nodelay(server.address().parse().unwrap());
        assert!(!accepted.is_empty() && !dialled.is_empty(), "{wire}: {accepted:?} {dialled:?}");
        assert!(accepted.iter().chain(&dialled).all(|set| *set), "{wire}: {accepted:?} {dialled:?}");
        client.shutdown().await;
        server.shutdown().await;
    }
}
