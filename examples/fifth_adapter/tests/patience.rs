//! A peer that is not read for a while is not taken for dead: its signs of life wait with the rest.

use std::sync::Arc;
use std::time::Duration;

use fifth_adapter::{Config, Make, Role};
use polywire_core::{Close, Connection, Endpoint, Limits, Parts, Router};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::{interval, sleep};

#[tokio::test(start_paused = true)]
async fn only_a_peer_that_is_read_can_be_silent() {
    let slow = || async { sleep(Duration::from_secs(55)).await };
    let router = Router::new().handle("slow", slow).build().unwrap();
    let mut endpoint = Endpoint::new("parley", router);
    endpoint.limits = Arc::new(Limits { max_in_flight: 1, ..Limits::default() });
    let make = Make::new(Config { guests: true, ..Config::default() }, &endpoint).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    let Parts { transport, codec, session } = make.parts(near, Role::Server);
    let (connection, _link) = Connection::new(transport, codec, session, endpoint, None);
    let connection = tokio::spawn(connection);

    let (read, mut write) = tokio::io::split(far);
    let mut heard = BufReader::new(read).lines();
    write.write_all(b"LOGIN\nASK 1 slow\nASK 2 slow\n").await.unwrap();
    let beats = tokio::spawn(async move {
        let mut every = interval(Duration::from_secs(10));
        for _ in 0..13 {
            every.tick().await;
            write.write_all(b"BEAT\n").await.unwrap();
        }
        write
    });
    let mut answers = Vec::new();
    while let Some(line) = heard.next_line().await.unwrap() {
        if line != "BEAT" {
            answers.push(line);
        }
    }
    assert_eq!(answers, ["HELLO parley 1", "WELCOME", "OK 1", "OK 2"]);
    // Now it is read, and silent: its last beat was at 120 s.
    assert_eq!(connection.await.unwrap().reason, Close::Dead("3 beats missed".to_owned()));
    drop(beats.await);
}
