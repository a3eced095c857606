//! Pings both ways, peers that stop answering, and servers that die and come back: our Sockhop ends against foreign ones.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/sockhop_ends.rs"]
mod ends;

use std::time::Duration;

use ends::{End, Heard, LIMIT, assert_bursts, assert_same, echoes, json, request};
use polywire_core::{Body, ClientState, Close, Count, GAP, Ledger};
use polywire_sockhop::{Config, Mode, Switch};
use polywire_tests::driver::Driver;
use polywire_tests::install::SOCKHOP_184;
use polywire_tests::peer;
use polywire_tests::skip::{self, Tool};
use serde_json::{Value, json as value};
use tokio::time::timeout;

/// Pings come often, and not so often that a busy machine misses four.
fn lively(config: Config) -> Config {
    Config { ping_interval: Some(Duration::from_millis(250)), ..config }
}

/// Waits for a pong: a peer without a handshake is held to its pings once it has answered one.
async fn pong(ledger: &Ledger) {
    let seen = async {
        while ledger.get(Count::Control) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, seen).await.expect("a ping is answered");
}

/// It was closed because it answered no ping.
async fn died(end: &End) {
    let left = end.wait_for(|heard| !heard.left.is_empty()).await.left;
    let Close::Dead(why) = &left[0] else { panic!("{left:?}") };
    assert_eq!(why, "four pings, ping_interval = 250ms");
}

#[tokio::test]
async fn pings_of_a_stock_184_server_are_answered() {
    let test = "pings_of_a_stock_184_server_are_answered";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return };
    let mut server = Driver::start("sockhop184_server.mjs", &package).unwrap();
    let listening = server.run("listen", value!({})).await.unwrap();
    let end = End::new(0);
    let client = end.dial(format!("127.0.0.1:{}", listening["port"]), Config::default());
    server.event(|event| event["event"] == "connect", LIMIT).await.unwrap();
    server.run("ping", value!({"ms": 250})).await.unwrap();
    let answered = async {
        // Of the four it remembers, all but the one that is on its way: it would have left after four without an answer.
        while server.run("pings", value!({"to": 0})).await.unwrap()["answered"].as_u64() < Some(3) {}
    };
    timeout(LIMIT, answered).await.expect("its pings are answered");
    assert_same(
        &client.caller().call(request("Number", json(&value!(7)))).await.unwrap().body,
        &json(&value!(7)),
        0,
    );
    assert_eq!(end.wait_for(|_| true).await.left.len(), 0);
    client.shutdown().await;
    server.finish().await.unwrap();
}

#[tokio::test]
async fn a_184_peer_that_answers_no_more_pings_is_left() {
    let test = "a_184_peer_that_answers_no_more_pings_is_left";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return };
    let end = End::new(0);
    let server = end.serve("127.0.0.1:0", lively(Config::default())).await;
    let port = server.address().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let mut theirs = Driver::start("sockhop184_client.mjs", &package).unwrap();
    theirs.run("connect", value!({"port": port})).await.unwrap();
    pong(server.ledger()).await;
    theirs.freeze().await.unwrap();
    died(&end).await;

    let end = End::new(0);
    let mut theirs = Driver::start("sockhop184_server.mjs", &package).unwrap();
    let listening = theirs.run("listen", value!({})).await.unwrap();
    let client = end.dial(format!("127.0.0.1:{}", listening["port"]), lively(Config::default()));
    pong(client.ledger()).await;
    theirs.freeze().await.unwrap();
    died(&end).await;
}

#[tokio::test]
async fn a_21_peer_that_answers_no_more_pings_is_left() {
    if !skip::have("a_21_peer_that_answers_no_more_pings_is_left", &[Tool::Node]) {
        return;
    }
    let end = End::new(10);
    let server = end.serve("127.0.0.1:0", lively(Config::default())).await;
    let port = server.address().rsplit(':').next().unwrap();
    let flags = ["--port", port, "--expect-push", "10", "--hold", "100000", "--timeout", "100000"];
    let theirs = peer::sockhop_21_client(&flags).unwrap();
    end.wait_for(|heard| heard.requests == 100).await;
    theirs.freeze().await.unwrap();
    died(&end).await;

    let end = End::new(0);
    let (theirs, port) = peer::sockhop_21_server(&["--duration", "100000", "--push", "10"]).await.unwrap();
    let _client = end.dial(format!("127.0.0.1:{port}"), lively(Config::default()));
    end.wait_for(|heard| heard.events.len() == 10).await;
    theirs.freeze().await.unwrap();
    died(&end).await;
}

#[tokio::test]
async fn we_shake_hands_again_with_a_21_server_that_died_and_came_back() {
    if !skip::have("we_shake_hands_again_with_a_21_server_that_died_and_came_back", &[Tool::Node]) {
        return;
    }
    for config in [
        Config::with_mode(Mode::Binary),
        Config { switch: Switch::Late, ..Config::default() },
        Config { switch: Switch::Never, ..Config::default() },
    ] {
        let flags = [
            "--duration",
            "100000",
            "--settle-ms",
            "0",
            "--push",
            "50",
            "--crash-like-original",
            "--crash-on-error",
        ];
        let (mut first, port) = peer::sockhop_21_server(&flags).await.unwrap();
        let end = End::new(50);
        let typed = config.switch != Switch::Never;
        let client = end.dial(format!("127.0.0.1:{port}"), config.clone());
        let some = |number: usize| match number % 2 {
            0 if typed => ("picture", Body::binary("picture", format!("\n{number}"))),
            _ => ("Number", json(&value!(number))),
        };
        echoes(&client, 50, some).await;
        end.wait_for(|heard| heard.events.len() == 50).await;
        let mut state = client.watch();
        first.kill().await;
        state.wait_for(|state| *state != ClientState::Ready).await.unwrap();
        let place = port.to_string();
        let again = [&flags[..], &["--port", &place]].concat();
        let (mut second, _) = peer::sockhop_21_server(&again).await.unwrap();
        echoes(&client, 50, some).await;
        // The dead one's connection may end before its listener does: a dial in between meets nobody and marks one gap more.
        let pushed = |heard: &Heard| heard.events.iter().rev().take_while(|event| event.0 != *GAP).count();
        let heard = end.wait_for(|heard| heard.events.len() > 100 && pushed(heard) == 50).await;
        assert_eq!(heard.events[50].0, *GAP, "what was missed is marked");
        assert_bursts(&heard.events[heard.events.len() - 50..], 50);
        client.shutdown().await;
        let found: Value = second.wait_for_json(|line| line["role"].is_string(), LIMIT).await.unwrap();
        assert_eq!((&found["ok"], &found["crashed"]), (&value!(true), &value!(null)), "{config:?}: {found}");
        let shaken = (&found["handshakes_ok"], &found["handshakes_answered"], &found["binary_rx"]);
        assert_eq!(shaken, (&value!(1), &value!(1), &value!(usize::from(typed))), "{config:?}: {found}");
    }
}
