//! Our Sockhop ends against the independent 2.1 peer, which loses and dies where the original does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/sockhop_ends.rs"]
mod ends;
#[path = "support/payloads.rs"]
mod payloads;

use std::path::PathBuf;

use ends::{End, LIMIT, assert_bursts, echoes, json};
use payloads::{assert_events, burst, payload, typed};
use polywire_conformance::Relay;
use polywire_core::{Body, Event, Route};
use polywire_sockhop::{Address, Config, Mode, Switch};
use polywire_tests::peer;
use polywire_tests::process::Process;
use polywire_tests::scratch::scratch;
use polywire_tests::skip::{self, Tool};
use serde_json::{Value, json as value};

/// The peer dies of what kills the original, and of every protocol error, as the original does without a listener.
const MORTAL: [&str; 2] = ["--crash-like-original", "--crash-on-error"];
const KINDS: &str = "object,string,number,boolean,array,widget,unicode,buffer";

/// A message of theirs as it has to arrive.
type Told = (&'static str, Body);

/// Their one-way messages of all kinds in turn.
fn oneway(count: usize) -> impl Iterator<Item = Told> {
    let kinds: Vec<&str> = KINDS.split(',').collect();
    (0..count).map(move |number| payload(kinds[number % kinds.len()], number, 16))
}

/// A path for one test.
fn path(name: &str) -> PathBuf {
    scratch(&format!("{name}.sock"))
}

/// How our side goes to frames, and which modes that goes with.
const OURS: [(Mode, Switch); 4] = [
    (Mode::Auto, Switch::Late),
    (Mode::Auto, Switch::Early),
    (Mode::Auto, Switch::Never),
    (Mode::Binary, Switch::Early),
];

fn config(mode: Mode, switch: Switch) -> Config {
    Config { switch, ..Config::with_mode(mode) }
}

async fn result(mut peer: Process, what: &str) -> Value {
    let result = peer.wait_for_json(|line| line["role"].is_string(), LIMIT * 2).await.unwrap();
    assert_eq!((&result["ok"], &result["crashed"]), (&value!(true), &value!(null)), "{what}: {result}");
    assert_eq!(result["lost_frames"], 0, "{what}: {result}");
    assert!(peer.finish(LIMIT).await.unwrap().success(), "{what}");
    result
}

/// The peer's client against our server, which pushes `push` events from the first moment; it holds their values and order against
/// what they should be, as we do with its one-way messages, `expected`.
async fn their_client(
    address: impl Into<Address>,
    config: Config,
    push: usize,
    flags: &[&str],
    expected: impl IntoIterator<Item = Told>,
) -> (Value, End) {
    let what = format!("{config:?} {flags:?}");
    let end = End::new(push);
    let server = end.serve(address, config).await;
    let address = server.address().to_owned();
    let port = address.rsplit(':').next().unwrap();
    let place = if address.starts_with('/') { ["--path", &address] } else { ["--port", port] };
    let push = push.to_string();
    let mut arguments = vec!["--timeout", "100000", "--settle-ms", "0", "--expect-push", &push];
    arguments.extend_from_slice(&place);
    arguments.extend_from_slice(&MORTAL);
    arguments.extend_from_slice(flags);
    let found = result(peer::sockhop_21_client(&arguments).unwrap(), &what).await;
    assert_eq!(found["burst_received"], found["pushed_total"], "{what}: {found}");
    let expected: Vec<Told> = expected.into_iter().collect();
    assert_events(&end.wait_for(|heard| heard.events.len() >= expected.len()).await.events, expected);
    assert_eq!(server.ledger().unaccounted_frames(), 0);
    server.shutdown().await;
    (found, end)
}

/// Ten thousand calls, and a thousand messages that are not answered.
const MANY: [&str; 8] = ["--count", "10000", "--inflight", "64", "--kinds", KINDS, "--oneway", "1000"];

async fn ten_thousand_with_their_client(place: impl Into<Address>, mode: Mode, switch: Switch) {
    let flags = [&MANY[..], &["--typed", "200", "--typed-callback"]].concat();
    let (found, end) = their_client(place, config(mode, switch), 10_000, &flags, oneway(1_000)).await;
    assert_eq!((&found["echo_ok"], &found["pushed_total"]), (&value!(10_000), &value!(10_000)));
    assert_eq!(end.wait_for(|_| true).await.requests, 10_200);
    // A typed buffer was answered, so every side that may switch has switched.
    assert_eq!(found["binary_rx"], switch != Switch::Never, "{mode:?} {switch:?}");
    assert_eq!(found["binary_tx"], true, "{mode:?} {switch:?}");
}

#[tokio::test]
async fn ten_thousand_messages_each_way_with_a_2_1_client_from_the_first_moment() {
    if !skip::have("ten_thousand_messages_each_way_with_a_2_1_client_from_the_first_moment", &[Tool::Node]) {
        return;
    }
    for (mode, switch) in OURS {
        ten_thousand_with_their_client("127.0.0.1:0", mode, switch).await;
    }
    ten_thousand_with_their_client(path("frames"), Mode::Binary, Switch::Early).await;
}

/// Our mode and theirs, of which one has no frames.
const LINES: [(Mode, &str); 6] = [
    (Mode::Json, "binary"),
    (Mode::Auto, "json"),
    (Mode::Json, "json"),
    (Mode::Auto, "compat"),
    (Mode::Compat, "compat"),
    (Mode::Json, "compat"),
];
/// Of them, those that go over Unix sockets as well.
const UNIX_LINES: [(Mode, &str); 2] = [(Mode::Json, "json"), (Mode::Compat, "compat")];

async fn lines_with_their_client(place: impl Into<Address>, mode: Mode, theirs: &str) {
    let flags = [&MANY[..], &["--mode", theirs]].concat();
    let config = config(mode, Switch::Early);
    let (found, _) = their_client(place, config, 10_000, &flags, oneway(1_000)).await;
    assert_eq!((&found["echo_ok"], &found["pushed_total"]), (&value!(10_000), &value!(10_000)));
    let frames = (&found["binary_rx"], &found["binary_tx"]);
    assert_eq!(frames, (&value!(false), &value!(false)), "{mode:?} {theirs}");
}

#[tokio::test]
async fn json_and_compatible_2_1_clients_are_served_the_same() {
    if !skip::have("json_and_compatible_2_1_clients_are_served_the_same", &[Tool::Node]) {
        return;
    }
    for (mode, theirs) in LINES {
        lines_with_their_client("127.0.0.1:0", mode, theirs).await;
    }
    for (mode, theirs) in UNIX_LINES {
        lines_with_their_client(path(&format!("client-{theirs}")), mode, theirs).await;
    }
    let flags =
        ["--use-connect", "--expect-handshake", "fail", "--handshake-timeout", "200", "--count", "100"];
    their_client("127.0.0.1:0", config(Mode::Compat, Switch::Late), 100, &flags, []).await;
}

#[tokio::test]
async fn frames_and_lines_right_behind_the_transition_of_a_client_arrive_complete() {
    if !skip::have("frames_and_lines_right_behind_the_transition_of_a_client_arrive_complete", &[Tool::Node])
    {
        return;
    }
    for quirk in ["", "json-after-transition"] {
        for (mode, switch) in OURS {
            let flags = ["--burst", "500", "--quirk", quirk, "--count", "100", "--typed", "20"];
            let expected = (0..500).map(burst).chain((0..20).map(typed));
            let (found, _) = their_client("127.0.0.1:0", config(mode, switch), 500, &flags, expected).await;
            let behind = found["json_after_transition_out"].as_u64().unwrap();
            assert_eq!(behind > 0, !quirk.is_empty(), "{found}");
        }
    }
}

#[tokio::test]
async fn a_2_1_client_comes_over_unix_sockets_again_and_again_with_pings() {
    if !skip::have("a_2_1_client_comes_over_unix_sockets_again_and_again_with_pings", &[Tool::Node]) {
        return;
    }
    for (mode, switch) in OURS {
        for receive in ["reference", "exact"] {
            let path = path(&format!("{mode:?}-{switch:?}-{receive}"));
            let ours =
                Config { ping_interval: Some(std::time::Duration::from_millis(200)), ..config(mode, switch) };
            let flags = [
                "--receive",
                receive,
                "--reconnects",
                "1",
                "--count",
                "200",
                "--kinds",
                KINDS,
                "--typed",
                "10",
                "--ping",
                "200",
                "--hold",
                "450",
            ];
            let expected = (0..10).chain(0..10).map(typed);
            let (found, _) = their_client(path, ours, 100, &flags, expected).await;
            assert!(found["pings_in"].as_u64().unwrap() > 0, "{found}");
        }
    }
}

#[tokio::test]
async fn a_2_1_client_that_never_switches_itself_still_reads_our_frames() {
    if !skip::have("a_2_1_client_that_never_switches_itself_still_reads_our_frames", &[Tool::Node]) {
        return;
    }
    let flags = ["--no-transmit-switch", "--count", "500", "--kinds", KINDS];
    let ours = config(Mode::Auto, Switch::Early);
    let (found, _) = their_client("127.0.0.1:0", ours, 500, &flags, []).await;
    assert_eq!((&found["binary_rx"], &found["binary_tx"]), (&value!(true), &value!(false)));
}

/// Our client against the peer's server: calls, events and typed buffers of ours, pushes and questions of theirs. What they send one way
/// is held against what it should be, in value and order; so do they with our events.
async fn their_server(at: Option<PathBuf>, config: Config, flags: &[&str], count: usize) -> Value {
    let what = format!("{config:?} {flags:?}");
    let mut arguments = vec!["--duration", "100000", "--settle-ms", "0"];
    arguments.extend_from_slice(&MORTAL);
    arguments.extend_from_slice(flags);
    let (server, address): (_, Address) = match at {
        Some(path) => (peer::sockhop_21_unix_server(&path, &arguments).await.unwrap(), path.into()),
        None => {
            let (server, port) = peer::sockhop_21_server(&arguments).await.unwrap();
            (server, format!("127.0.0.1:{port}").into())
        }
    };
    let end = End::new(count);
    let frames = matches!(config.mode, Mode::Auto | Mode::Binary) && config.switch != Switch::Never;
    let frames = frames && !flags.contains(&"json") && !flags.contains(&"compat");
    let client = end.dial(address, config);
    if frames {
        for number in 0..50_usize {
            let bytes = Body::binary("picture", format!("\n{number}\n"));
            client.caller().notify(Event::new(Route::from_static("picture"), bytes)).await.unwrap();
        }
    }
    echoes(&client, count, |number| match number % 5 {
        0 => ("Object", json(&value!({"seq": number, "text": "x\n\u{1f680}"}))),
        1 => ("Array", json(&value!([number]))),
        2 => ("String", json(&value!(format!("text {number}")))),
        3 if frames => ("picture", Body::binary("picture", format!("\n{number}"))),
        3 => ("Buffer", Body::binary("Buffer", format!("\n{number}"))),
        _ => ("Number", json(&value!(number))),
    })
    .await;
    let wanted = |name: &str| {
        let at = flags.iter().position(|flag| *flag == name);
        at.map_or(0, |at| flags[at + 1].parse::<usize>().unwrap())
    };
    // Behind the transition, then behind the handshake.
    let bursts = (0..wanted("--burst")).map(burst);
    let pushes = (0..wanted("--push")).map(|number| payload("object", number, 16));
    let expected: Vec<Told> = bursts.chain(pushes).chain((0..wanted("--typed")).map(typed)).collect();
    let asked = wanted("--ask");
    let heard = end.wait_for(|heard| heard.events.len() >= expected.len() && heard.requests >= asked).await;
    assert_events(&heard.events, expected);
    assert_eq!(heard.requests, asked, "{what}");
    assert_eq!(client.ledger().unaccounted_frames(), 0);
    client.shutdown().await;
    let found = result(server, &what).await;
    assert_eq!(found["burst_received"], count, "{what}: {found}");
    assert_eq!(found["received"]["Object"], count + count / 5, "{what}: {found}");
    if frames {
        assert_eq!(found["received_typed"]["picture"], 50 + count / 5, "{what}: {found}");
    }
    found
}

#[tokio::test]
async fn ten_thousand_messages_each_way_with_a_2_1_server_from_the_first_moment() {
    if !skip::have("ten_thousand_messages_each_way_with_a_2_1_server_from_the_first_moment", &[Tool::Node]) {
        return;
    }
    let flags = ["--push", "10000", "--typed", "100", "--ask", "1000"];
    for (mode, switch) in OURS {
        their_server(None, config(mode, switch), &flags, 10_000).await;
    }
    let found =
        their_server(Some(path("server-frames")), config(Mode::Binary, Switch::Early), &flags, 10_000);
    let found = found.await;
    assert_eq!((&found["binary_rx"], &found["binary_tx"]), (&value!(1), &value!(1)));
}

#[tokio::test]
async fn json_and_compatible_2_1_servers_are_called_the_same() {
    if !skip::have("json_and_compatible_2_1_servers_are_called_the_same", &[Tool::Node]) {
        return;
    }
    let call = async |at: Option<PathBuf>, mode: Mode, theirs: &str| {
        let flags = ["--mode", theirs, "--push", "10000", "--ask", "1000"];
        let found = their_server(at, config(mode, Switch::Early), &flags, 10_000).await;
        assert_eq!((&found["binary_rx"], &found["binary_tx"]), (&value!(0), &value!(0)), "{mode:?} {theirs}");
    };
    for (mode, theirs) in
        [(Mode::Auto, "json"), (Mode::Json, "binary"), (Mode::Compat, "compat"), (Mode::Auto, "compat")]
    {
        call(None, mode, theirs).await;
    }
    for (mode, theirs) in UNIX_LINES {
        call(Some(path(&format!("server-{theirs}"))), mode, theirs).await;
    }
}

#[tokio::test]
async fn frames_and_lines_right_behind_the_transition_of_a_server_arrive_complete() {
    if !skip::have("frames_and_lines_right_behind_the_transition_of_a_server_arrive_complete", &[Tool::Node])
    {
        return;
    }
    for quirk in ["", "json-after-transition"] {
        for (mode, switch) in OURS {
            let flags = ["--burst", "500", "--quirk", quirk, "--ask", "50"];
            their_server(None, config(mode, switch), &flags, 500).await;
        }
    }
}

#[tokio::test]
async fn s17_a_fence_cut_into_single_bytes_loses_nothing() {
    if !skip::have("s17_a_fence_cut_into_single_bytes_loses_nothing", &[Tool::Node]) {
        return;
    }
    let flags = ["--duration", "100000", "--settle-ms", "0", "--push", "50"];
    let flags: Vec<&str> = flags.into_iter().chain(MORTAL).collect();
    let (server, port) = peer::sockhop_21_server(&flags).await.unwrap();
    let relay = Relay::start(format!("127.0.0.1:{port}"), 0).await.unwrap();
    relay.slice_writes(1);
    let end = End::new(50);
    let client = end.dial(relay.address().to_string(), config(Mode::Binary, Switch::Early));
    echoes(&client, 50, |number| ("picture", Body::binary("picture", format!("\n{number}")))).await;
    assert_bursts(&end.wait_for(|heard| heard.events.len() == 50).await.events, 50);
    client.shutdown().await;
    let found = result(server, "sliced").await;
    assert_eq!(
        (&found["received"]["Object"], &found["received_typed"]["picture"]),
        (&value!(50), &value!(50))
    );
}
