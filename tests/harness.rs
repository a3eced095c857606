//! The test equipment itself: a relay that lies or a process that hides an end would make every other test lie.

use std::time::Duration;

use polywire_tests::process::Process;
use polywire_tests::relay::{Direction, Place, Relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(10);

/// A listener on a free port, and the place of it.
async fn listener() -> (TcpListener, Place) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let place = Place::Tcp(listener.local_addr().expect("a bound listener has an address"));
    (listener, place)
}

/// A shell that runs `script`.
fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start("sh", command).expect("there is a shell")
}

#[tokio::test]
async fn relay_records_both_directions_and_passes_the_end_on() {
    let (listener, upstream) = listener().await;
    let relay = Relay::start(Place::local(0), upstream).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", relay.port().unwrap())).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    read.clear();
    client.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"answer");
    let seen = relay.wait_for(0, |recording| recording.over, LIMIT).await.unwrap();
    assert_eq!(seen.bytes(Direction::ToServer), b"question");
    assert_eq!(seen.bytes(Direction::ToClient), b"answer");
    assert!(seen.client_ended && seen.server_ended);
}

#[tokio::test]
async fn relay_cuts_one_connection_and_leaves_the_other() {
    let (listener, upstream) = listener().await;
    let relay = Relay::start(Place::local(0), upstream).await.unwrap();
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for number in 0..2 {
        clients.push(TcpStream::connect(("127.0.0.1", relay.port().unwrap())).await.unwrap());
        servers.push(listener.accept().await.unwrap().0);
        relay.wait_for(number, |_| true, LIMIT).await.unwrap();
    }
    relay.cut(0);
    // A cut is an end or a reset, never data.
    assert!(matches!(servers[0].read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(matches!(clients[0].read(&mut [0]).await, Ok(0) | Err(_)));
    clients[1].write_all(b"x").await.unwrap();
    assert_eq!(servers[1].read_u8().await.unwrap(), b'x');
    assert!(relay.recording(0).over && !relay.recording(1).over);
}

#[tokio::test]
async fn relay_redirects_connections_to_come_and_leaves_those_that_are() {
    let ((first, upstream), (second, other)) = (listener().await, listener().await);
    let relay = Relay::start(Place::local(0), upstream).await.unwrap();
    let mut before = TcpStream::connect(("127.0.0.1", relay.port().unwrap())).await.unwrap();
    let (mut server, _) = first.accept().await.unwrap();
    relay.redirect(other);
    let mut after = TcpStream::connect(("127.0.0.1", relay.port().unwrap())).await.unwrap();
    let (mut replacement, _) = second.accept().await.unwrap();
    before.write_all(b"1").await.unwrap();
    after.write_all(b"2").await.unwrap();
    assert_eq!((server.read_u8().await.unwrap(), replacement.read_u8().await.unwrap()), (b'1', b'2'));
}

#[tokio::test]
async fn relay_slices_writes_and_loses_no_byte() {
    let (listener, upstream) = listener().await;
    let relay = Relay::start(Place::local(0), upstream).await.unwrap();
    relay.slice_writes(1);
    let mut client = TcpStream::connect(("127.0.0.1", relay.port().unwrap())).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let sent = (0..=255).cycle().take(4000).collect::<Vec<u8>>();
    client.write_all(&sent).await.unwrap();
    let mut read = vec![0; sent.len()];
    let mut reads = 0;
    let mut at = 0;
    while at < read.len() {
        at += server.read(&mut read[at..]).await.unwrap();
        reads += 1;
    }
    assert_eq!(read, sent);
    assert!(reads > 1, "everything came in one read");
}

#[tokio::test]
async fn relay_works_on_unix_paths() {
    let folder = std::env::temp_dir();
    let [near, far] =
        ["near", "far"].map(|end| folder.join(format!("polywire-{}-{end}.sock", std::process::id())));
    let listener = UnixListener::bind(&far).unwrap();
    let relay = Relay::start(Place::Unix(near.clone()), Place::Unix(far.clone())).await.unwrap();
    assert_eq!(relay.port(), None);
    let mut client = UnixStream::connect(&near).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
    std::fs::remove_file(near).unwrap();
    std::fs::remove_file(far).unwrap();
}

#[tokio::test(start_paused = true)]
async fn relay_wait_names_what_it_saw_when_it_gives_up() {
    let (_listener, upstream) = listener().await;
    let relay = Relay::start(Place::local(0), upstream).await.unwrap();
    let error = relay.wait_for(0, |_| true, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "connection 0 was not opened within 10s");
}

#[tokio::test]
async fn process_takes_lines_until_the_wanted_one() {
    let mut child = shell(r#"echo noise; echo '{"n":1}'; echo '{"n":2}'; read answer; echo "got $answer""#);
    let found = child.wait_for_json(|value| value["n"] == 2, LIMIT).await.unwrap();
    assert_eq!(found["n"], 2);
    child.send_line("this").await.unwrap();
    assert_eq!(child.next_line(LIMIT).await.unwrap(), "got this");
    assert!(child.finish(LIMIT).await.unwrap().success());
}

#[tokio::test]
async fn process_error_shows_what_the_child_printed() {
    let mut child = shell("echo it went wrong >&2; exit 3");
    let error = child.wait_for_line(|_| false, LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("sh: its output ended before"), "{error}");
    assert_eq!(child.finish(LIMIT).await.unwrap().code(), Some(3));
    // Standard error is read by another task; its text is certain only once that one ended, so ask again.
    let shown = async {
        while !child.error("").to_string().contains("err: it went wrong") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, shown).await.unwrap();
}

#[tokio::test]
async fn process_is_killed_when_it_does_not_end_in_time() {
    let mut child = shell("exec sleep 600");
    let error = child.finish(Duration::from_millis(1)).await.unwrap_err();
    assert!(error.to_string().contains("had not ended"), "{error}");
    assert_eq!(child.id(), None);
}
