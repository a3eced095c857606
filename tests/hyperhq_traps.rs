//! What bites a host that stands on the server library under ours: each trap with a client of raw frames at our host.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use polywire_core::{
    Body, Clock, Close, Code, Count, Endpoint, Event, Json, Limits, Observe, Peer, Request, Route, Router,
    Secret, Surroundings, TokioClock,
};
use polywire_hyperhq::{Host, HostConfig, HostSession, Plugins};
use polywire_socketio::ServerConfig;
use polywire_tests::plugin_folder::plugin_folder;
use raw::{Raw, until};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);
const ID: &str = "demo";

/// A host whose one method is `echo`, changed by the test.
async fn host(change: impl FnOnce(&mut HostConfig, &mut Endpoint)) -> Host {
    let router = Router::new().handle("echo", |Json(value): Json<Value>| async { Json(value) });
    let mut endpoint = Endpoint::new("hyperhq", router.build().unwrap());
    let mut config = HostConfig { port: Some(0), ..HostConfig::default() };
    change(&mut config, &mut endpoint);
    Host::listen(config, endpoint).await.unwrap()
}

fn at(host: &Host) -> String {
    format!("127.0.0.1:{}", host.port())
}

/// What a plugin on the C# helper logs in with.
fn login(challenge: &Secret) -> String {
    login_as(ID, challenge)
}

fn login_as(id: &str, challenge: &Secret) -> String {
    let challenge = std::str::from_utf8(challenge.expose()).unwrap();
    let shown = json!({ "pluginId": id, "token": challenge, "challenge": challenge });
    format!("42{}", json!(["authenticate", shown]))
}

fn asks(number: usize) -> String {
    format!("42{}", json!(["requestData", { "method": "echo", "params": number, "requestId": number }]))
}

/// Name and argument of the next event. A ping that comes before is answered.
async fn heard(raw: &mut Raw) -> (String, Value) {
    let mut text = raw.text().await;
    while text == "2" {
        raw.send(&["3"]).await;
        text = raw.text().await;
    }
    serde_json::from_str(text.strip_prefix("42").unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// A plugin that is logged in, and its token.
async fn logged_in(host: &Host) -> (Raw, String) {
    logged_in_as(host, ID).await
}

async fn logged_in_as(host: &Host, id: &str) -> (Raw, String) {
    let challenge = host.challenge(id).unwrap();
    let mut raw = Raw::join(&at(host)).await;
    raw.send(&[&login_as(id, &challenge)]).await;
    let (name, answer) = heard(&mut raw).await;
    assert_eq!((&*name, &answer["success"]), ("authenticated", &json!(true)), "{answer}");
    until("it is there", || host.plugin(id).is_some()).await;
    (raw, answer["sessionToken"].as_str().unwrap().to_owned())
}

async fn ends(host: Host) {
    timeout(Duration::from_secs(10), host.shutdown()).await.expect("the shutdown ends");
}

/// The id of the `shutdown` that the plugin is asked for.
async fn asked_to_end(raw: &mut Raw) -> Value {
    let (name, request) = heard(raw).await;
    assert_eq!((&*name, &request["method"], &request["data"]), ("request", &json!("shutdown"), &json!({})));
    request["id"].clone()
}

#[tokio::test]
async fn a_host_that_stops_asks_all_its_plugins_at_once_and_waits_for_answers_ends_and_no_longer_than_it_may()
{
    let most = Duration::from_secs(2);
    for hangs in [false, true] {
        let host = host(|config, _| {
            if hangs {
                config.limits.drain_timeout = most;
            }
        })
        .await;
        let (mut answering, _) = logged_in_as(&host, "answers").await;
        let (mut leaving, _) = logged_in_as(&host, "leaves").await;
        let mut hanging = if hangs { Some(logged_in_as(&host, "hangs").await.0) } else { None };
        let began = Instant::now();
        let stopping = tokio::spawn(host.shutdown());
        // Nobody has answered yet.
        let id = asked_to_end(&mut answering).await;
        asked_to_end(&mut leaving).await;
        if let Some(hanging) = &mut hanging {
            asked_to_end(hanging).await;
        }
        let data = json!({ "id": id, "type": "response", "data": "ok" });
        // Until it is closed, a plugin may ask for what it needs to end.
        answering.send(&[&asks(1), &format!("42{}", json!(["response", data]))]).await;
        drop(leaving);
        assert_eq!(heard(&mut answering).await.1, json!({ "requestId": 1, "success": true, "data": 1 }));
        timeout(LIMIT, stopping).await.expect("the shutdown ends").unwrap();
        // Without one that hangs, the 5 s that it may wait have not passed.
        let took = if hangs { most..4 * most } else { Duration::ZERO..Duration::from_secs(5) };
        assert!(took.contains(&began.elapsed()), "{:?}", began.elapsed());
        answering.end().await;
        if let Some(hanging) = &mut hanging {
            hanging.end().await;
        }
    }
}

#[tokio::test]
async fn an_opening_in_one_go_with_its_first_request_is_served_every_time() {
    let host = host(|_, _| {}).await;
    for round in 0..50 {
        let challenge = host.challenge(ID).unwrap();
        let mut raw = Raw::dial(&at(&host)).await;
        let head = raw.upgrade("").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        raw.send(&["0", "40", &login(&challenge), &asks(round)]).await;
        assert!(raw.event().await.starts_with("0{"));
        assert!(raw.event().await.starts_with("40{"));
        assert_eq!(heard(&mut raw).await.1["success"], true, "round {round}");
        for name in ["dataResponse", "data_response"] {
            let answer = json!({ "requestId": round, "success": true, "data": round });
            assert_eq!(heard(&mut raw).await, (name.to_owned(), answer));
        }
    }
    ends(host).await;
}

#[tokio::test]
async fn what_a_plugin_asks_in_one_go_is_answered_whole_and_in_order() {
    const ASKED: usize = 2_000;
    let host = host(|_, _| {}).await;
    let (mut raw, _) = logged_in(&host).await;
    let all: Vec<_> = (0..ASKED).map(asks).collect();
    raw.send(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for number in 0..ASKED {
        for name in ["dataResponse", "data_response"] {
            let answer = json!({ "requestId": number, "success": true, "data": number });
            assert_eq!(heard(&mut raw).await, (name.to_owned(), answer));
        }
    }
    drop(raw);
    ends(host).await;
}

#[tokio::test]
async fn a_message_beyond_max_frame_bytes_ends_its_plugin_and_no_other() {
    let host = host(|config, _| config.limits.max_frame_bytes = 10_000).await;
    let (mut raw, _) = logged_in(&host).await;
    let mut other = Raw::join(&at(&host)).await;
    let large = |bytes: usize| format!("42[\"pluginLog\",\"{}\"]", "x".repeat(bytes - 18));
    raw.send(&[&large(10_000), &asks(1)]).await;
    assert_eq!(heard(&mut raw).await.0, "dataResponse", "so much is taken");
    raw.send(&[&large(10_001)]).await;
    assert_eq!(raw.close_code().await, Some(1009));
    until("it is gone", || host.plugin(ID).is_none()).await;
    other.send(&[&asks(1)]).await;
    assert_eq!(heard(&mut other).await.1["error"], "Not authenticated");
    ends(host).await;
}

#[tokio::test]
async fn a_request_beyond_the_limits_on_json_is_counted_and_refused_and_the_next_is_served() {
    let mut ledger = None;
    let host = host(|_, endpoint| ledger = Some(Arc::clone(&endpoint.ledger))).await;
    let (mut raw, _) = logged_in(&host).await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let beyond = [deep, "1".repeat(2_000)].map(|params| {
        format!(r#"42["requestData",{{"method":"echo","params":{params},"requestId":"beyond"}}]"#)
    });
    raw.send(&[&beyond[0], &beyond[1], &asks(7)]).await;
    for limit in
        ["nested deeper than max_json_depth = 128", "number longer than max_json_number_bytes = 1024"]
    {
        for alias in ["dataResponse", "data_response"] {
            let (name, answer) = heard(&mut raw).await;
            assert_eq!(
                (&*name, &answer["requestId"], &answer["success"]),
                (alias, &json!("beyond"), &json!(false))
            );
            let why = answer["error"].as_str().unwrap();
            assert!(why.ends_with(limit), "{why}");
        }
    }
    assert_eq!(heard(&mut raw).await.1, json!({ "requestId": 7, "success": true, "data": 7 }));
    until("they are counted", || ledger.as_ref().unwrap().get(Count::BadBody) == 2).await;
    drop(raw);
    ends(host).await;
}

/// Notes why connections end: those of plugins, and those that nobody has logged in on.
#[derive(Default)]
struct Ends {
    left: watch::Sender<Vec<(u64, Close)>>,
    turned_away: Mutex<Vec<Close>>,
}

impl Ends {
    /// Those that have ended, once one has.
    async fn some(&self) -> Vec<(u64, Close)> {
        let mut left = self.left.subscribe();
        timeout(LIMIT, left.wait_for(|left| !left.is_empty())).await.expect("one ends").unwrap().clone()
    }

    fn none_yet(&self) -> bool {
        self.left.borrow().is_empty()
    }
}

impl Observe for Ends {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, peer: &Peer, reason: &Close) {
        self.left.send_modify(|left| left.push((peer.id(), reason.clone())));
    }

    fn turned_away(&self, reason: &Close) {
        self.turned_away.lock().unwrap().push(reason.clone());
    }
}

#[tokio::test]
async fn c01_who_joins_a_host_and_says_nothing_is_sent_away_when_the_challenge_has_lived() {
    // Its opening has to be over before.
    let life = Duration::from_secs(2);
    let seen = Arc::<Ends>::default();
    let host = host(|config, endpoint| {
        config.challenge_life = life;
        endpoint.observer = Some(Arc::clone(&seen) as _);
    })
    .await;
    let began = Instant::now();
    let mut raw = Raw::join(&at(&host)).await;
    raw.end().await;
    assert!(began.elapsed() >= life, "{:?}", began.elapsed());
    until("it is noted", || !seen.turned_away.lock().unwrap().is_empty()).await;
    assert_eq!(*seen.turned_away.lock().unwrap(), [Close::LoginTimeout(life)]);
    ends(host).await;
}

#[tokio::test]
async fn what_a_host_announces_as_its_largest_message_is_what_it_takes() {
    for (set, announced) in [(None, 16 << 20), (Some(1_000_000), 1_000_000)] {
        let host = host(|config, _| {
            config.limits.max_frame_bytes = set.unwrap_or(config.limits.max_frame_bytes);
        })
        .await;
        let mut raw = Raw::dial(&at(&host)).await;
        raw.upgrade("").await;
        let opened: Value = serde_json::from_str(raw.text().await.strip_prefix('0').unwrap()).unwrap();
        assert_eq!(opened["maxPayload"], json!(announced));
        ends(host).await;
    }
}

/// Tells `plugin` of events until its connection ends.
async fn told_until_it_ends(plugin: Peer) {
    let body = Body::json(&"x".repeat(1 << 20)).unwrap();
    while plugin.notify(Event::new(Route::from_static("much"), body.clone())).await.is_ok() {}
}

#[tokio::test]
async fn a_plugin_that_stops_reading_is_cleaned_up_its_requests_end_and_so_does_the_shutdown() {
    let host = host(|config, _| config.limits.write_timeout = Duration::from_millis(500)).await;
    let (mut raw, _) = logged_in(&host).await;
    raw.send(&["42[\"subscribeEvents\",[\"much\"]]"]).await;
    assert_eq!(heard(&mut raw).await.0, "eventsSubscribed");
    let plugin = host.plugin(ID).unwrap();
    let asked = plugin.clone();
    let asked = tokio::spawn(async move {
        asked.call(Request::new(Route::from_static("execute"), Body::Empty).timeout(LIMIT)).await
    });
    timeout(LIMIT, told_until_it_ends(plugin)).await.expect("the connection ends");
    let asked = timeout(LIMIT, asked).await.expect("the request ends with it").unwrap();
    assert_eq!(asked.unwrap_err().code(), Code::Unavailable);
    until("it is gone", || host.plugin(ID).is_none()).await;
    assert_eq!(host.broadcast(&Event::new(Route::from_static("much"), Body::Empty)), 0);
    ends(host).await;
}

/// One plugin reads no more; another hears every event in order while the queue of the first is full, and when it has been sent
/// away.
#[tokio::test]
async fn a_plugin_that_reads_hears_everything_beside_one_that_does_not() {
    let limit = Duration::from_secs(10);
    let (host, seen) = watched(limit).await;
    let (mut deaf, _) = logged_in(&host).await;
    let (mut healthy, _) = logged_in_as(&host, "other").await;
    for raw in [&mut deaf, &mut healthy] {
        raw.send(&["42[\"subscribeEvents\",[\"much\"]]"]).await;
        assert_eq!(heard(raw).await.0, "eventsSubscribed");
    }
    let first = host.plugin(ID).unwrap().id();
    let much = "x".repeat(100_000);
    // How many had room for it; the healthy one has heard it.
    let mut tell = async |number: usize| {
        let body = Body::json(&json!([number, much])).unwrap();
        let room = host.broadcast(&Event::new(Route::from_static("much"), body));
        let (name, event) = heard(&mut healthy).await;
        assert_eq!((&*name, &event["data"][0]), ("hyperHqEvent", &json!(number)));
        room
    };
    let (mut told, mut refused) = (0, 0);
    while refused < 20 {
        assert!(told < 2_000, "a queue is bounded");
        refused += 2 - tell(told).await;
        told += 1;
    }
    assert!(seen.none_yet(), "nobody was waited for, up to here");
    assert_eq!(seen.some().await, [(first, Close::SlowConsumer(limit))]);
    for number in told..told + 200 {
        assert_eq!(tell(number).await, 1);
    }
    assert!(host.plugin("other").is_some());
    host.forget("other");
    ends(host).await;
}

/// A host with this `write_timeout`, and the ends of its connections.
async fn watched(write_timeout: Duration) -> (Host, Arc<Ends>) {
    let seen = Arc::<Ends>::default();
    let host = host(|config, endpoint| {
        config.limits.write_timeout = write_timeout;
        endpoint.observer = Some(Arc::clone(&seen) as _);
    })
    .await;
    (host, seen)
}

/// A plugin that has subscribed, reads no more, and whose queue stays full; its token.
async fn stuffed(host: &Host) -> (Raw, String, Peer) {
    let (mut raw, token) = logged_in(host).await;
    raw.send(&["42[\"subscribeEvents\",[\"much\"]]"]).await;
    assert_eq!(heard(&mut raw).await.0, "eventsSubscribed");
    let plugin = host.plugin(ID).unwrap();
    let event = Event::new(Route::from_static("much"), Body::json(&"x".repeat(1 << 20)).unwrap());
    let mut in_vain = 0;
    until("its queue stays full", || {
        in_vain = if plugin.caller().unwrap().try_notify(event.clone()).is_ok() { 0 } else { in_vain + 1 };
        in_vain == 1_000
    })
    .await;
    (raw, token, plugin)
}

#[tokio::test]
async fn a_plugin_that_is_forgotten_while_its_queue_is_full_is_gone_at_once_and_closed_in_time() {
    let limit = Duration::from_secs(10);
    let (host, seen) = watched(limit).await;
    let (mut raw, _, plugin) = stuffed(&host).await;
    let began = Instant::now();
    host.forget(ID);
    assert!(host.plugin(ID).is_none());
    // Because it was forgotten, and not because it does not read.
    assert_eq!(seen.some().await, [(plugin.id(), Close::Local)]);
    assert!(began.elapsed() < 2 * limit, "{:?}", began.elapsed());
    assert_eq!(host.broadcast(&Event::new(Route::from_static("much"), Body::Empty)), 0);
    raw.rest().await;
    ends(host).await;
}

#[tokio::test]
async fn a_plugin_whose_queue_is_full_logs_in_anew_at_once_and_its_older_connection_ends_in_time() {
    let limit = Duration::from_secs(10);
    let (host, seen) = watched(limit).await;
    let (mut older, token, plugin) = stuffed(&host).await;
    let began = Instant::now();
    let mut newer = Raw::join(&at(&host)).await;
    let shown = json!(["authenticate", { "pluginId": ID, "sessionToken": token }]);
    newer.send(&[&format!("42{shown}"), &asks(1)]).await;
    assert_eq!(heard(&mut newer).await.1["success"], true);
    assert_eq!(heard(&mut newer).await.1["data"], 1);
    assert!(seen.none_yet(), "the older one's end was not waited for");
    until("it has moved", || host.plugin(ID).is_some_and(|there| there.id() != plugin.id())).await;
    // Its session cannot hear that it was left while nothing leaves its queue.
    assert_eq!(seen.some().await, [(plugin.id(), Close::SlowConsumer(limit))]);
    assert!(began.elapsed() < 2 * limit, "{:?}", began.elapsed());
    older.rest().await;
    assert_ne!(host.plugin(ID).unwrap().id(), plugin.id());
    drop(newer);
    ends(host).await;
}

/// The library's pings go through the queue of the messages: one that finds it full must end the session, and not hang in it.
#[tokio::test]
async fn a_heartbeat_that_is_due_while_the_queue_is_full_ends_a_plugin_that_reads_no_more() {
    let config = Arc::new(HostConfig::default());
    let plugins = Arc::new(Plugins::new(&config, Arc::new(TokioClock)));
    let challenge = Secret::from("c0ffee");
    assert!(plugins.admit(ID, challenge.clone(), TokioClock.now()));
    let beat = Duration::from_millis(100);
    let heartbeats = ServerConfig { ping_interval: beat, ping_timeout: 3 * beat, ..ServerConfig::default() };
    let limits = Limits { write_timeout: Duration::from_secs(2), ..Limits::default() };
    let router = Router::new::<()>().build().unwrap();
    let endpoint = Endpoint { limits: Arc::new(limits), ..Endpoint::new("hyperhq", router) };
    let session = move |_: &_| HostSession::new(Arc::clone(&config), Arc::clone(&plugins), 1);
    let server = polywire_socketio::listen_with("127.0.0.1:0", heartbeats, endpoint, session).await.unwrap();
    let mut raw = Raw::join(server.address()).await;
    raw.send(&[&login(&challenge), "42[\"subscribeEvents\",[\"much\"]]"]).await;
    assert_eq!(heard(&mut raw).await.0, "authenticated");
    assert_eq!(heard(&mut raw).await.0, "eventsSubscribed");
    until("it is there", || !server.peers().is_empty()).await;
    let plugin = server.peers().remove(0);
    timeout(LIMIT, told_until_it_ends(plugin)).await.expect("the connection ends");
    until("it is gone", || server.peers().is_empty()).await;
    timeout(Duration::from_secs(10), server.shutdown()).await.expect("the shutdown ends");
}

#[tokio::test]
async fn h21_a_path_in_json_escapes_or_in_overlong_utf_8_leads_nowhere() {
    let host = host(|config, _| config.require_file_token = false).await;
    let folder = plugin_folder("spelled").unwrap();
    host.serve_files(ID, &folder.join("plugin")).unwrap();
    let (mut raw, _) = logged_in(&host).await;
    let asks = |path: &[u8]| {
        [br#"42["requestFile",{"requestId":1,"filePath":""#, path, br#""}]"#.as_slice()].concat()
    };
    let escaped = asks(br"\u002e\u002e\u002fsecret.txt");
    raw.send(&[std::str::from_utf8(&escaped).unwrap()]).await;
    let (name, answer) = heard(&mut raw).await;
    assert_eq!((&*name, &answer["success"], answer.get("data")), ("fileData", &json!(false), None));
    assert_eq!(answer["error"], "Access denied: path leaves the plugin directory");
    let overlong = asks(b"\xc0\xae\xc0\xae/secret.txt");
    let head = [0x81, 0x80 | u8::try_from(overlong.len()).unwrap(), 0, 0, 0, 0];
    assert!(overlong.len() < 126 && raw.write(&[&head[..], &overlong].concat()).await);
    let rest = raw.rest().await;
    assert!(!rest.contains("fileData"), "{rest}");
    ends(host).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Everything that names one session of Socket.IO.
async fn session_ids(raw: &mut Raw) -> Vec<String> {
    raw.upgrade("").await;
    let opened = raw.text().await;
    raw.send(&["40"]).await;
    let joined = raw.event().await;
    let id = |text: &str| {
        let json: Value =
            serde_json::from_str(text.trim_start_matches(|c: char| c.is_ascii_digit())).unwrap();
        json["sid"].as_str().unwrap().to_owned()
    };
    vec![id(&opened), id(&joined)]
}

#[tokio::test]
async fn h17_a_token_comes_from_chance_alone_and_no_id_of_a_session_is_one() {
    let mut tokens = HashSet::new();
    for surroundings in [Surroundings::seeded(7), Surroundings::seeded(7), Surroundings::real()] {
        let host = host(|_, endpoint| endpoint.surroundings = surroundings).await;
        let challenge = host.challenge(ID).unwrap();
        let mut raw = Raw::dial(&at(&host)).await;
        let ids = session_ids(&mut raw).await;
        for id in &ids {
            let shown = json!(["authenticate", { "pluginId": ID, "sessionToken": id }]);
            raw.send(&[&format!("42{shown}")]).await;
            assert_eq!(
                heard(&mut raw).await.1,
                json!({ "success": false, "error": "Invalid session token" })
            );
        }
        raw.send(&[&login(&challenge)]).await;
        let answer = heard(&mut raw).await.1;
        let token = answer["sessionToken"].as_str().unwrap().to_owned();
        assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        tokens.insert(token);
        drop(raw);
        ends(host).await;
    }
    // The same chance gives the same token, whatever the library has drawn for its ids; another gives another.
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn h02_a_host_refuses_with_the_codes_of_the_official_server() {
    let host = host(|_, _| {}).await;
    let refusals = [
        (0, "Transport unknown", "GET", "EIO=4"),
        (0, "Transport unknown", "GET", "EIO=4&transport=abc"),
        (1, "Session ID unknown", "GET", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA"),
        (1, "Session ID unknown", "POST", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA"),
        (2, "Bad handshake method", "POST", "EIO=4&transport=polling"),
        (2, "Bad handshake method", "PUT", "EIO=4&transport=polling"),
        (5, "Unsupported protocol version", "GET", "EIO=3&transport=polling"),
        (5, "Unsupported protocol version", "GET", "transport=polling"),
    ];
    for (code, message, method, query) in refusals {
        let (status, body) = Raw::dial(&at(&host)).await.request(method, query, "").await;
        assert_eq!(
            (status, body),
            (400, format!(r#"{{"code":{code},"message":"{message}"}}"#)),
            "{method} {query}"
        );
    }
    ends(host).await;
}
