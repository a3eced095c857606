//! Weak keys of Stonyx, at every way to start an end. The warning is looked for in the log of this whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use polywire_core::{
    Adapter, Credentials, Endpoint, Failure, Handler, HandlerFuture, Incoming, Options, Secret, Target,
};
use polywire_stonyx::{ADAPTER, Config, dial, listen};
use polywire_tests::log::Log;

/// The original's own, one that is empty, and one of 15 bytes.
const WEAK: [&str; 3] = ["AUTH_KEY", "", "fifteen letters"];
const STRONG: &str = "sixteen letters!";

/// Where a port is free, on loopback and off it; nobody is at the second address of each pair.
const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "127.0.0.1:1"];
const ELSEWHERE: [&str; 2] = ["0.0.0.0:0", "192.0.2.1:1"];

struct Nothing;

impl Handler for Nothing {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let failure = Failure::unrouted(incoming.kind, &incoming.route);
        Box::pin(std::future::ready(Err(failure)))
    }
}

/// Starts an end with this key in each of the four ways; what each was refused by, if it was.
async fn started(
    [here, there]: [&str; 2],
    key: &str,
    allowed: bool,
) -> [(&'static str, Result<(), String>); 4] {
    let endpoint = || Endpoint::new("stonyx", Nothing);
    let config = || Config { allow_weak_key: allowed, ..Config::new(key) };
    let target = |address: &str| {
        let mut options = Options::new();
        options.set_secret("key", Secret::from(key));
        options.set("allow_weak_key", if allowed { "1" } else { "0" });
        Target { address: address.to_owned(), options, ..Target::default() }
    };
    let by_listen = listen(here, config(), endpoint()).await.map(drop);
    let by_dial = dial(there, config(), Arc::new(Credentials::guest()), endpoint()).map(drop);
    let by_adapters_listen = ADAPTER.listen(target(here), endpoint()).await.map(drop);
    let by_adapters_dial = ADAPTER.dial(target(there), endpoint()).await.map(drop);
    [
        ("listen", by_listen.map_err(|error| error.to_string())),
        ("dial", by_dial.map_err(|error| error.to_string())),
        ("the adapter's listen", by_adapters_listen.map_err(|error| error.to_string())),
        ("the adapter's dial", by_adapters_dial.map_err(|error| error.to_string())),
    ]
}

#[tokio::test]
async fn x13_every_way_to_start_an_end_refuses_a_weak_key_off_loopback() {
    for key in WEAK {
        for (way, outcome) in started(ELSEWHERE, key, false).await {
            let why = outcome.expect_err(way);
            assert!(why.contains("at least 16 bytes and no placeholder"), "{way}, {key:?}: {why}");
            assert!(why.contains("(hidden)") && (key.is_empty() || !why.contains(key)), "{way}: {why}");
        }
        for (way, outcome) in started(ELSEWHERE, key, true).await {
            assert_eq!(outcome, Ok(()), "{way}, {key:?}, allowed");
        }
    }
    for (way, outcome) in started(ELSEWHERE, STRONG, false).await {
        assert_eq!(outcome, Ok(()), "{way}, a strong key");
    }
}

#[tokio::test]
async fn x13_every_way_to_start_an_end_warns_of_a_weak_key_on_loopback() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let warned = |log: &Log| {
        let told = log.take();
        let lines = told.lines().filter(|line| line.contains(" WARN ") && line.contains("placeholder"));
        (lines.count(), told)
    };
    for key in WEAK {
        for (way, outcome) in started(LOOPBACK, key, false).await {
            assert_eq!(outcome, Ok(()), "{way}, {key:?}");
        }
        let (warnings, told) = warned(&log);
        assert_eq!(warnings, 4, "one for each way: {told}");
        assert!(key.is_empty() || !told.contains(key), "{told}");
    }
    for (way, outcome) in started(LOOPBACK, STRONG, false).await {
        assert_eq!(outcome, Ok(()), "{way}, a strong key");
    }
    assert_eq!(warned(&log).0, 0);
}
