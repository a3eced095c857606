//! Our Sockhop ends against npm sockhop 1.8.4, as server of its client and as client of its server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/sockhop_ends.rs"]
mod ends;
#[path = "support/kinds.rs"]
mod kinds;

use std::time::Duration;

use ends::{End, LIMIT, assert_bursts, assert_same, echoes, json, request};
use kinds::assert_kinds;
use polywire_conformance::{Relay, Way};
use polywire_core::{Body, CallError, Code, Count, Event, JsonLimits, JsonText, Route};
use polywire_sockhop::{Calls, Config, Mode, PeerType, Switch, TYPE, Terminator};
use polywire_tests::driver::Driver;
use polywire_tests::harm::spell;
use polywire_tests::install::SOCKHOP_184;
use polywire_tests::scratch::scratch;
use polywire_tests::skip;
use serde_json::{Value, json as value};

/// Kinds of values that their server sends: it refuses five that their client does not.
const OF_SERVER: usize = kinds::OF_CLIENT - 5;

/// Ours and theirs connected: we listen.
macro_rules! their_client {
    ($test:literal, $end:expr, $config:expr, $options:tt) => {{
        let Some(package) = skip::package($test, &SOCKHOP_184) else { return };
        let server = $end.serve("127.0.0.1:0", $config).await;
        let mut client = Driver::start("sockhop184_client.mjs", &package).unwrap();
        let mut options = value!($options);
        options["port"] = port(server.address()).into();
        client.run("connect", options).await.unwrap();
        (server, client)
    }};
}

/// Ours and theirs connected: they listen.
macro_rules! their_server {
    ($test:literal, $end:expr, $config:expr, $options:tt) => {{
        let Some(package) = skip::package($test, &SOCKHOP_184) else { return };
        let mut server = Driver::start("sockhop184_server.mjs", &package).unwrap();
        let listening = server.run("listen", value!($options)).await.unwrap();
        let client = $end.dial(format!("127.0.0.1:{}", listening["port"]), $config);
        server.event(|event| event["event"] == "connect", LIMIT).await.unwrap();
        (server, client)
    }};
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn stock_184_client_gets_every_kind_of_value_back() {
    for mode in [Mode::Auto, Mode::Json, Mode::Compat] {
        let end = End::new(0);
        let (_server, mut client) =
            their_client!("stock_184_client_gets_every_kind_of_value_back", end, Config::with_mode(mode), {});
        assert_kinds(&client.run("kinds", value!({})).await.unwrap(), kinds::OF_CLIENT);
        client.finish().await.unwrap();
    }
}

#[tokio::test]
async fn stock_184_server_gets_every_kind_of_value_back() {
    for mode in [Mode::Auto, Mode::Json, Mode::Compat] {
        let end = End::new(0);
        let (mut server, client) =
            their_server!("stock_184_server_gets_every_kind_of_value_back", end, Config::with_mode(mode), {});
        assert_kinds(&server.run("kinds", value!({"to": 0})).await.unwrap(), OF_SERVER);
        client.shutdown().await;
        server.finish().await.unwrap();
    }
}

#[tokio::test]
async fn stock_184_server_answers_every_kind_of_call_of_ours() {
    let end = End::new(0);
    let (server, client) =
        their_server!("stock_184_server_answers_every_kind_of_call_of_ours", end, Config::default(), {});
    for (route, body, kind) in [
        ("Object", value!({"a": [1, null, "x\n"]}), "Object"),
        ("Widget", value!({"n": 1}), "Object"),
        ("Array", value!([1, [2]]), "Array"),
        ("String", value!("text"), "String"),
        ("Number", value!(-1.5), "Number"),
        ("Boolean", value!(true), "Boolean"),
        ("any name at all, \"quoted\"", value!({}), "Object"),
    ] {
        let answer = client.caller().call(request(route, json(&body))).await.unwrap();
        assert_same(&answer.body, &json(&body), 0);
        assert_eq!(answer.meta.get(TYPE), None, "{route} comes back as {kind}");
    }
    // As deep as the limit lets it be.
    let deep = "[".repeat(127) + &"]".repeat(127);
    let deep = Body::Json(JsonText::new(deep, &JsonLimits::default()).unwrap());
    assert_eq!(client.caller().call(request("Array", deep.clone())).await.unwrap().body, deep);
    // The stock echo answers nothing and null with an empty object; a buffer of 2.x is text to it.
    for (body, answer) in [
        (Body::Empty, value!({})),
        (Body::null(), value!({})),
        (Body::binary("Buffer", &b"\x01\x02"[..]), value!("AQI=")),
    ] {
        let route = if matches!(body, Body::Binary(_)) { "Buffer" } else { "Object" };
        assert_same(&client.caller().call(request(route, body)).await.unwrap().body, &json(&answer), 0);
    }
    let typed =
        client.caller().call(request("picture", Body::binary("picture", &b"x"[..]))).await.unwrap_err();
    assert!(matches!(typed, CallError::NotSent(_)) && typed.code() == Code::Unimplemented, "{typed}");
    server.finish().await.unwrap();
}

#[tokio::test]
async fn ten_thousand_messages_each_way_with_a_stock_184_client_and_none_is_lost() {
    let end = End::new(10_000);
    let (server, mut client) = their_client!(
        "ten_thousand_messages_each_way_with_a_stock_184_client_and_none_is_lost",
        end,
        Config::default(),
        {}
    );
    let burst = client.begin("burst", value!({"count": 10_000})).await.unwrap();
    let bulk = client.begin("bulk", value!({"count": 10_000, "inflight": 64})).await.unwrap();
    let pushed = client.run("expect", value!({"count": 10_000})).await.unwrap();
    assert_eq!(pushed, value!({"count": 10_000, "disordered": 0}));
    client.answer(burst).await.unwrap().unwrap();
    let echoes = client.answer(bulk).await.unwrap().unwrap();
    assert_eq!((&echoes["right"], &echoes["wrong"]), (&value!(10_000), &value!(0)));
    let heard = end.wait_for(|heard| heard.events.len() >= 10_000).await;
    assert_bursts(&heard.events, 10_000);
    client.finish().await.unwrap();
    assert_eq!(server.ledger().unaccounted_frames(), 0);
}

#[tokio::test]
async fn ten_thousand_messages_each_way_with_a_stock_184_server_and_none_is_lost() {
    let end = End::new(10_000);
    let (mut server, client) = their_server!(
        "ten_thousand_messages_each_way_with_a_stock_184_server_and_none_is_lost",
        end,
        Config::default(),
        {}
    );
    let burst = server.begin("burst", value!({"to": 0, "count": 10_000})).await.unwrap();
    let bulk = server.begin("bulk", value!({"to": 0, "count": 10_000, "inflight": 64})).await.unwrap();
    echoes(&client, 10_000, |number| ("Object", json(&value!({"bulk": number, "pad": "x"})))).await;
    server.answer(burst).await.unwrap().unwrap();
    let answers = server.answer(bulk).await.unwrap().unwrap();
    assert_eq!((&answers["right"], &answers["wrong"]), (&value!(10_000), &value!(0)));
    let pushed = server.run("expect", value!({"from": 0, "count": 10_000})).await.unwrap();
    assert_eq!(pushed, value!({"count": 10_000, "disordered": 0}));
    let heard = end.wait_for(|heard| heard.events.len() >= 10_000).await;
    assert_bursts(&heard.events, 10_000);
    server.finish().await.unwrap();
}

#[tokio::test]
async fn requests_of_the_184_library_are_answered_and_made() {
    let end = End::new(0);
    let (_server, mut client) =
        their_client!("requests_of_the_184_library_are_answered_and_made", end, Config::default(), {});
    for (asked, kind) in
        [(value!("question"), "String"), (value!({"q": [1]}), "Object"), (value!(7), "Number")]
    {
        let answer = client.run("request", value!({"value": {"json": asked}})).await.unwrap();
        assert_eq!(answer, value!({"packets": [{"type": kind, "data": asked}], "error": null}));
    }
    client.finish().await.unwrap();

    let config = Config { calls: Calls::Request, ..Config::default() };
    let (server, client) =
        their_server!("requests_of_the_184_library_are_answered_and_made", end, config, {});
    let answer = client.caller().call(request("String", json(&value!("question")))).await.unwrap();
    assert_eq!(answer.body, json(&value!("question")));
    // Two packets and an end: the end is the answer, the packets before it are signs of life.
    let answer = client.caller().call(request("Object", json(&value!({"stream": 2})))).await.unwrap();
    assert_eq!(answer.body, json(&value!({})));
    server.finish().await.unwrap();
}

#[tokio::test]
async fn a_stock_184_client_never_sees_a_handshake_and_pings_go_both_ways() {
    let Some(package) =
        skip::package("a_stock_184_client_never_sees_a_handshake_and_pings_go_both_ways", &SOCKHOP_184)
    else {
        return;
    };
    let end = End::new(0);
    let timing = Config {
        handshake_timeout: Duration::from_millis(20),
        ping_interval: Some(Duration::from_millis(250)),
        ..Config::default()
    };
    let server = end.serve("127.0.0.1:0", timing).await;
    let relay = Relay::start(server.address(), usize::MAX).await.unwrap();
    let mut client = Driver::start("sockhop184_client.mjs", &package).unwrap();
    client.run("connect", value!({"port": relay.address().port()})).await.unwrap();
    client.run("ping", value!({"ms": 250})).await.unwrap();
    let count = |bytes: &[u8], what: &str| String::from_utf8_lossy(bytes).matches(what).count();
    let ways = [Way::ToServer, Way::ToClient];
    let seen = relay
        .wait_for(0, |seen| ways.into_iter().all(|way| count(&seen.bytes(way), "SockhopPong") >= 3), LIMIT)
        .await
        .unwrap();
    assert_eq!(count(&seen.bytes(Way::ToClient), "SockhopHandshake"), 0);
    assert_eq!(client.run("state", value!({})).await.unwrap(), value!({"connected": true}));
    client.finish().await.unwrap();
}

#[tokio::test]
async fn a_stock_184_client_comes_back_and_so_do_we() {
    let end = End::new(0);
    let (_server, mut client) = their_client!(
        "a_stock_184_client_comes_back_and_so_do_we",
        end,
        Config::default(),
        {"auto_reconnect": true, "auto_reconnect_interval": 20}
    );
    client.run("call", value!({"value": {"json": 1}})).await.unwrap();
    for round in 1..4 {
        end.wait_for(|heard| heard.peers.len() >= round).await.peers[round - 1].close();
        end.wait_for(|heard| heard.peers.len() > round).await;
    }
    let answer = client.run("call", value!({"value": {"json": "again"}})).await.unwrap();
    assert_eq!(answer, value!({"type": "String", "data": "again"}));
    client.finish().await.unwrap();

    let end = End::new(0);
    let (mut server, client) =
        their_server!("a_stock_184_client_comes_back_and_so_do_we", end, Config::default(), {});
    for connection in 0..3 {
        echoes(&client, 10, |number| ("Number", json(&value!(number)))).await;
        server.run("kill", value!({"to": connection})).await.unwrap();
        end.wait_for(|heard| heard.left.len() > connection).await;
    }
    echoes(&client, 10, |number| ("Number", json(&value!(number)))).await;
}

#[tokio::test]
async fn terminators_unix_sockets_and_bare_values_work_with_184() {
    let test = "terminators_unix_sockets_and_bare_values_work_with_184";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return };
    let path = scratch("ours.sock");
    let end = End::new(0);
    for terminator in ["\r\n", ";;"] {
        let config = Config { terminator: Terminator::both(terminator), ..Config::default() };
        let server = end.serve(path.clone(), config).await;
        let mut client = Driver::start("sockhop184_client.mjs", &package).unwrap();
        client.run("connect", value!({"path": path, "terminator": terminator})).await.unwrap();
        assert_kinds(&client.run("kinds", value!({})).await.unwrap(), kinds::OF_CLIENT);
        // Their own text would end at this; ours does not.
        let event = Event::new(Route::from_static("any"), json(&value!({"one;;": ";;two;"})));
        server.peers()[0].notify(event).await.unwrap();
        let seen = client.event(|event| event["event"] == "receive", LIMIT).await.unwrap();
        assert_eq!(seen["data"], value!({"one;;": ";;two;"}));
        client.finish().await.unwrap();
        server.shutdown().await;
        assert!(!path.exists());
    }

    let config = Config { peer_type: PeerType::Json, ..Config::default() };
    let (_server, mut client) = their_client!(
        "terminators_unix_sockets_and_bare_values_work_with_184",
        end,
        config,
        {"peer_type": "json"}
    );
    client.run("send", value!({"value": {"json": {"bare": [1, 2]}}})).await.unwrap();
    let heard = end.wait_for(|heard| heard.events.len() == 1).await;
    assert_eq!(heard.events[0], ("Object".to_owned(), json(&value!({"bare": [1, 2]}))));
    let event = Event::new(Route::from_static("any"), json(&value!([1, "bare"])));
    heard.peers.last().unwrap().notify(event).await.unwrap();
    let seen = client.event(|event| event["event"] == "receive", LIMIT).await.unwrap();
    assert_eq!((&seen["type"], &seen["data"]), (&value!("Array"), &value!([1, "bare"])));
    client.finish().await.unwrap();

    let end = End::new(0);
    let config = Config { peer_type: PeerType::Json, ..Config::default() };
    let (mut server, client) = their_server!(
        "terminators_unix_sockets_and_bare_values_work_with_184",
        end,
        config,
        {"peer_type": "json"}
    );
    server.run("send", value!({"to": 0, "value": {"json": {"bare": {"type": "Object"}}}})).await.unwrap();
    let heard = end.wait_for(|heard| heard.events.len() == 1).await;
    assert_eq!(heard.events[0], ("Object".to_owned(), json(&value!({"bare": {"type": "Object"}}))));
    for (body, kind) in [(value!({"a": [null]}), "Object"), (value!("text"), "String"), (value!(0), "Number")]
    {
        client.caller().notify(Event::new(Route::from_static("any"), json(&body))).await.unwrap();
        let seen = server.event(|event| event["event"] == "receive", LIMIT).await.unwrap();
        assert_eq!((&seen["type"], &seen["data"]), (&value!(kind), &body));
    }
    // What would end it, or be taken for the protocol's, never leaves.
    for body in
        [value!(null), value!({"type": "SockhopRequest"}), value!({"constructor": null}), value!("last")]
    {
        client.caller().notify(Event::new(Route::from_static("any"), json(&body))).await.unwrap();
    }
    let seen = server.event(|event| event["event"] == "receive", LIMIT).await.unwrap();
    assert_eq!(seen["data"], "last");
    assert_eq!(client.ledger().get(Count::EventsNotSent), 3);
    client.shutdown().await;
    server.finish().await.unwrap();
}

/// What the listener of a driver of the no-harm tests heard, and what it was told, both as digests.
async fn heard(mut driver: Driver, told: &[Value]) {
    let heard = driver.run("heard", value!({"count": told.len()})).await.unwrap();
    let told = spell(&mut driver, told.iter()).await.unwrap();
    assert_eq!(heard, told);
    assert_eq!(driver.run("trouble", value!({})).await.unwrap(), value!([]));
    driver.finish().await.unwrap();
}

#[tokio::test]
async fn an_event_for_everybody_reaches_frames_lines_and_184_each_in_its_own_form() {
    let test = "an_event_for_everybody_reaches_frames_lines_and_184_each_in_its_own_form";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return };
    let end = End::new(0);
    let server = end.serve("127.0.0.1:0", Config { switch: Switch::Early, ..Config::default() }).await;
    let port = port(server.address());
    let mut audience = Vec::new();
    for (driver, mode) in
        [("harm_sockhop21.mjs", "binary"), ("harm_sockhop21.mjs", "json"), ("harm_sockhop184.mjs", "")]
    {
        let mut driver = Driver::start(driver, &package).unwrap();
        driver.run("connect", value!({"port": port, "mode": mode})).await.unwrap();
        audience.push(driver);
    }
    end.wait_for(|heard| heard.peers.len() == 3).await;
    let bytes = Body::binary("Buffer", &b"\x00\x01\x02\n\r\xfe\xff"[..]);
    let object = value!({"seq": 1, "text": "gr\u{fc}\u{df}\n"});
    for body in [bytes, json(&object), json(&value!("last"))] {
        let route = match &body {
            Body::Binary(_) => "Buffer",
            Body::Json(text) if text.as_str().starts_with('{') => "Object",
            _ => "String",
        };
        assert_eq!(server.audience().broadcast(&Event::new(Route::from_static(route), body)), 3);
    }
    let told = |buffer: Value| {
        let object = value!({"name": "Object", "text": object.to_string()});
        [buffer, object, value!({"name": "String", "text": "\"last\""})]
    };
    let [frames, lines, old] = <[Driver; 3]>::try_from(audience).ok().unwrap();
    heard(frames, &told(value!({"name": "Buffer", "hex": "0001020a0dfeff"}))).await;
    heard(lines, &told(value!({"name": "Buffer", "hex": "0001020a0dfeff"}))).await;
    heard(old, &told(value!({"name": "Buffer", "text": "\"AAECCg3+/w==\""}))).await;
    assert_eq!(server.ledger().unaccounted_frames(), 0);
}

#[tokio::test]
async fn what_kills_a_stock_184_peer_is_never_sent() {
    let end = End::new(0);
    let (server, mut client) = their_client!(
        "what_kills_a_stock_184_peer_is_never_sent",
        end,
        Config::default(),
        {"answer": "none"}
    );
    let peer = end.wait_for(|heard| heard.peers.len() == 1).await.peers[0].clone();
    // Calls that time out, values that are null or missing, names of the protocol, closing under load.
    for body in [Body::null(), Body::Empty, json(&value!({}))] {
        let call = request("Object", body).timeout(Duration::from_millis(20));
        assert!(peer.call(call).await.is_err());
    }
    for route in ["SockhopPing", "SockhopHandshake", "SockhopRequest"] {
        let refused = peer.call(request(route, Body::Empty)).await.unwrap_err();
        assert!(matches!(refused, CallError::NotSent(_)));
    }
    for number in 0..1_000 {
        peer.notify(Event::new(Route::from_static("Object"), json(&value!({"burst": number}))))
            .await
            .unwrap();
    }
    server.shutdown().await;
    client.event(|event| event["event"] == "disconnect", LIMIT).await.unwrap();
    assert_eq!(client.run("expect", value!({"count": 1_000})).await.unwrap()["disordered"], 0);
    let errors = client.waiting_events().filter(|event| event["event"] == "error").count();
    assert_eq!(errors, 0);
    client.finish().await.unwrap();
}
