//! The same session run by the engine: what is held and what is owed where a wire has no ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polywire_core::{
    Answer, Body, CallError, Caller, Client, Close, Code, Connection, Count, Credentials, Dial, Ended,
    Endpoint, Event, Handler, HandlerFuture, Identity, Incoming, JsonLimits, JsonText, Kind, Ledger, Link,
    Message, MessageStream, Outcome, Parts, Refusal, Request, Response, Route, Session, Surroundings,
};
use std::sync::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pipe::{End, pair};
use super::{config, seal};
use crate::codec::Codec;
use crate::config::Config;
use crate::seal::Key;
use crate::session::{ClientSession, ServerSession};

const GLOBAL: [u8; 32] = [1; 32];

fn json(text: &str) -> JsonText {
    JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap()
}

/// Echoes; `slow` after a second, `silent` never has anything to say. Notes the events it gets.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<String>>>);

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event {
            let Body::Json(text) = &incoming.body else { panic!("{incoming:?}") };
            self.0.lock().unwrap().push(format!("{} {}", incoming.route.as_str(), text.as_str()));
        }
        Box::pin(async move {
            match &*incoming.route {
                "slow" => tokio::time::sleep(Duration::from_secs(1)).await,
                "silent" => return Ok(Response::default()),
                _ => {}
            }
            Answer::Ok(Response::from(incoming.body))
        })
    }
}

struct Running<S: Session> {
    link: Link<S>,
    ledger: Arc<Ledger>,
    heard: Service,
    task: JoinHandle<Ended>,
}

fn run<S: Session<Codec = Codec>>(io: End, session: S, key: [u8; 32]) -> Running<S> {
    let heard = Service::default();
    let mut endpoint = Endpoint::new("stonyx", heard.clone());
    // Two ends that draw the same nonces would take each other's frames for their own.
    static SEED: AtomicU64 = AtomicU64::new(3);
    endpoint.surroundings = Surroundings::seeded(SEED.fetch_add(1, Ordering::Relaxed));
    endpoint.authenticator = Some(Arc::new(|credentials: Credentials| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let right = credentials.secret.is_some_and(|secret| secret.matches(b"shared"));
        if right { Ok(Identity::guest()) } else { Err(Refusal::new("another key")) }
    }));
    let ledger = Arc::clone(&endpoint.ledger);
    let codec = Codec::new(&Key::new(&key));
    let (connection, link) = Connection::new(MessageStream::new(io), codec, session, endpoint, None);
    Running { link, ledger, heard, task: tokio::spawn(connection) }
}

impl<S: Session> Running<S> {
    fn caller(&self) -> &Caller {
        self.link.caller()
    }

    fn call(&self, name: &'static str, body: &str, timeout: u64) -> JoinHandle<Outcome> {
        let caller = self.caller().clone();
        let request = Request::new(Route::from_static(name), Body::Json(json(body)));
        tokio::spawn(async move { caller.call(request.timeout(Duration::from_secs(timeout))).await })
    }

    async fn ended(self) -> Ended {
        let ended = self.task.await.unwrap();
        assert_eq!(self.ledger.unaccounted_frames(), 0, "{:?}", self.ledger.snapshot());
        ended
    }
}

fn dialled(config: Config) -> ClientSession {
    ClientSession::new(Arc::new(config), JsonLimits::default(), Arc::default(), Credentials::guest())
}

fn client(io: End) -> Running<ClientSession> {
    run(io, dialled(config()), GLOBAL)
}

fn server(io: End) -> Running<ServerSession> {
    run(io, ServerSession::new(Arc::new(config()), JsonLimits::default(), Arc::default()), GLOBAL)
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A hand-held server: opens and seals with whatever key it holds.
struct Bare(End, Mutex<(Key, u32)>);

impl Bare {
    async fn logged_in(io: End) -> Self {
        let bare = Self(io, Mutex::new((Key::new(&GLOBAL), 0)));
        assert_eq!(bare.read().await, r#"{"request":"auth","data":{"authKey":"shared"}}"#);
        let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [2; 32]);
        bare.write(&format!(r#"{{"request":"auth","response":"success","sessionKey":"{key}"}}"#));
        bare.1.lock().unwrap().0 = Key::new(&[2; 32]);
        bare
    }

    async fn read(&self) -> String {
        settle().await;
        match self.0.try_receive() {
            Some(Message::Binary(sealed)) => {
                let (_, text) = self.1.lock().unwrap().0.open(sealed).unwrap();
                String::from_utf8(text.to_vec()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn write(&self, text: &str) {
        let mut state = self.1.lock().unwrap();
        state.1 += 1;
        let mut nonce = [9; 12];
        nonce[..4].copy_from_slice(&state.1.to_le_bytes());
        self.0.send(Message::Binary(seal(&state.0, nonce, text.as_bytes())));
    }

    async fn silent(&self) -> bool {
        settle().await;
        self.0.try_receive().is_none()
    }
}

#[tokio::test(start_paused = true)]
async fn calls_and_pushes_cross_while_both_keys_switch() {
    let (near, far) = pair();
    let (client, server) = (client(near), server(far));
    // Pushed before the login has been judged: it may not overtake the login's answer, which no key of the client opens later.
    server.caller().notify(Event::new(Route::from_static("early"), json("1"))).await.unwrap();
    let names = ["a", "b", "a", "slow", "b", "a"];
    let calls: Vec<_> = names.iter().map(|name| client.call(name, &format!("\"{name}\""), 15)).collect();
    for (call, name) in calls.into_iter().zip(names) {
        assert_eq!(call.await.unwrap().unwrap().body, Body::Json(json(&format!("\"{name}\""))));
    }
    server.caller().notify(Event::new(Route::from_static("late"), json("2"))).await.unwrap();
    settle().await;
    assert_eq!(*client.heard.0.lock().unwrap(), ["early 1", "late 2"]);
    let back = server.caller().call(Request::new(Route::from_static("a"), Body::Empty)).await;
    assert_eq!(back.unwrap_err().code(), Code::Unimplemented);
    client.link.peer().close();
    assert_eq!(client.ended().await.reason, Close::Local);
    assert_eq!(server.ended().await.reason, Close::Peer);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_is_closed_without_a_word() {
    for (shown, key) in [("other", GLOBAL), ("shared", [3; 32])] {
        let (near, far) = pair();
        let client = run(near, dialled(Config { key: shown.into(), ..config() }), key);
        let call = client.call("a", "1", 15);
        let reason = server(far).ended().await.reason;
        assert!(matches!(reason, Close::Refused(_) | Close::Protocol(_)), "{reason:?}");
        assert!(matches!(call.await.unwrap(), Err(CallError::NotSent(_))));
        assert_eq!(client.ended().await.reason, Close::Peer);
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_of_a_name_is_out_at_a_time_and_other_names_are_not_held_up() {
    let (near, far) = pair();
    let client = client(near);
    let bare = Bare::logged_in(far).await;
    let calls = [client.call("a", "1", 15), client.call("a", "2", 15), client.call("b", "3", 15)];
    assert_eq!(bare.read().await, r#"{"request":"a","data":1}"#);
    assert_eq!(bare.read().await, r#"{"request":"b","data":3}"#);
    // A push of the old kind with the name of a pending call is no answer; of the new kind nobody could tell.
    bare.write(r#"{"request":"a","data":"pushed"}"#);
    bare.write(r#"{"request":"a","response":"first"}"#);
    assert_eq!(bare.read().await, r#"{"request":"a","data":2}"#);
    bare.write(r#"{"request":"b","response":"third"}"#);
    bare.write(r#"{"request":"a","response":"second"}"#);
    for (call, answer) in calls.into_iter().zip(["first", "second", "third"]) {
        assert_eq!(call.await.unwrap().unwrap().body, Body::Json(json(&format!("\"{answer}\""))));
    }
    assert_eq!(*client.heard.0.lock().unwrap(), ["a \"pushed\""]);
    drop(bare);
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn with_concurrent_names_calls_of_one_name_are_out_together_and_answers_are_matched_in_order() {
    let (near, far) = pair();
    let client = run(near, dialled(Config { concurrent_names: true, ..config() }), GLOBAL);
    let bare = Bare::logged_in(far).await;
    let [first, given_up, third] =
        [("1", 15), ("2", 2), ("3", 15)].map(|(body, timeout)| client.call("a", body, timeout));
    for body in 1..=3 {
        assert_eq!(bare.read().await, format!(r#"{{"request":"a","data":{body}}}"#));
    }
    bare.write(r#"{"request":"a","response":"first"}"#);
    assert_eq!(first.await.unwrap().unwrap().body, Body::Json(json("\"first\"")));
    // The place of a call that was given up is kept: its late answer is not the third's.
    assert!(matches!(given_up.await.unwrap(), Err(CallError::Unknown(_))));
    let fourth = client.call("a", "4", 15);
    assert!(bare.silent().await, "the answer of the second is owed");
    bare.write(r#"{"request":"a","response":"late"}"#);
    assert_eq!(bare.read().await, r#"{"request":"a","data":4}"#);
    for (call, answer) in [(third, "\"third\""), (fourth, "\"fourth\"")] {
        assert!(!call.is_finished());
        bare.write(&format!(r#"{{"request":"a","response":{answer}}}"#));
        assert_eq!(call.await.unwrap().unwrap().body, Body::Json(json(answer)));
    }
    assert_eq!(client.ledger.get(Count::OrphanReply), 1);
    drop(bare);
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn g04_the_late_answer_of_a_call_that_was_given_up_never_reaches_the_next_of_its_name() {
    let (near, far) = pair();
    let client = client(near);
    let bare = Bare::logged_in(far).await;
    let first = client.call("a", "1", 2);
    assert_eq!(bare.read().await, r#"{"request":"a","data":1}"#);
    assert!(matches!(first.await.unwrap(), Err(CallError::Unknown(_))));
    let next = client.call("a", "2", 15);
    assert!(bare.silent().await, "the answer of the first is owed");
    bare.write(r#"{"request":"a","response":"late"}"#);
    assert_eq!(bare.read().await, r#"{"request":"a","data":2}"#);
    assert!(!next.is_finished());
    bare.write(r#"{"request":"a","response":"mine"}"#);
    assert_eq!(next.await.unwrap().unwrap().body, Body::Json(json("\"mine\"")));
    assert_eq!(client.ledger.get(Count::OrphanReply), 1);
    drop(bare);
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn g04_an_answer_that_is_missing_for_longer_than_owed_for_never_reaches_another_call() {
    let (near, far) = pair();
    let client = client(near);
    let bare = Bare::logged_in(far).await;
    let start = Instant::now();
    assert!(matches!(client.call("a", "1", 2).await.unwrap(), Err(CallError::Unknown(_))));
    bare.read().await;
    let other = client.call("b", "2", 500);
    bare.read().await;
    // Held until it is late, and sent once the answer came after all.
    let held = client.call("a", "3", 10).await.unwrap();
    assert_eq!(held.unwrap_err().code(), Code::DeadlineExceeded);
    let held = client.call("a", "4", 90);
    for pause in [19, 30] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        assert_eq!(bare.read().await, r#"{"request":"heartBeat"}"#);
        bare.write(r#"{"request":"heartBeat","response":true}"#);
    }
    assert_eq!(start.elapsed().as_secs(), 2 + 10 + 19 + 30);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let other_name = client.call("c", "5", 20);
    assert!(bare.silent().await, "the connection is to be replaced once `b` is answered");
    bare.write(r#"{"request":"a","response":"late"}"#);
    assert_eq!(bare.read().await, r#"{"request":"a","data":4}"#);
    assert_eq!(bare.read().await, r#"{"request":"c","data":5}"#);
    for name in ["c", "b", "a"] {
        bare.write(&format!(r#"{{"request":"{name}","response":"its own"}}"#));
    }
    for call in [other, held, other_name] {
        assert_eq!(call.await.unwrap().unwrap().body, Body::Json(json("\"its own\"")));
    }
    drop(bare);
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_owes_an_answer_is_replaced_when_its_name_is_called_again_and_nothing_else_is_in_flight()
 {
    let (near, far) = pair();
    let (client, _server) = (client(near), server(far));
    assert!(matches!(client.call("silent", "1", 2).await.unwrap(), Err(CallError::Unknown(_))));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(client.call("a", "2", 2).await.unwrap().is_ok(), "it serves every other name");
    let next = client.call("silent", "3", 100).await.unwrap();
    assert!(matches!(next, Err(CallError::NotSent(_))), "{next:?}");
    let ended = client.ended().await;
    assert!(matches!(ended.reason, Close::GivenUp(_)), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_that_is_to_be_replaced_takes_no_new_call_and_ends_with_the_last_one_in_flight() {
    let (near, far) = pair();
    let client = client(near);
    let bare = Bare::logged_in(far).await;
    assert!(matches!(client.call("a", "1", 2).await.unwrap(), Err(CallError::Unknown(_))));
    bare.read().await;
    let busy = client.call("b", "2", 500);
    bare.read().await;
    for pause in [28, 30, 10] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        if pause != 10 {
            assert_eq!(bare.read().await, r#"{"request":"heartBeat"}"#);
            bare.write(r#"{"request":"heartBeat","response":true}"#);
        }
    }
    assert!(matches!(client.call("a", "3", 5).await.unwrap(), Err(CallError::NotSent(_))));
    let waiting = [client.call("a", "4", 100), client.call("c", "5", 100)];
    assert!(bare.silent().await, "new calls wait for the next connection");
    bare.write(r#"{"request":"b","response":"its own"}"#);
    assert_eq!(busy.await.unwrap().unwrap().body, Body::Json(json("\"its own\"")));
    let ended = client.ended().await;
    assert!(matches!(ended.reason, Close::GivenUp(_)), "{ended:?}");
    for held in waiting {
        assert!(matches!(held.await.unwrap(), Err(CallError::NotSent(_))));
    }
}

/// Hands the far end of each connection to the test.
struct Pipes(mpsc::UnboundedSender<End>);

impl Dial for Pipes {
    type Session = ClientSession;
    type Transport = MessageStream<End>;

    async fn dial(
        &self,
        _: Credentials,
    ) -> Result<Parts<ClientSession, MessageStream<End>>, polywire_core::DialError> {
        let (near, far) = pair();
        self.0.send(far).unwrap();
        let (transport, codec) = (MessageStream::new(near), Codec::new(&Key::new(&GLOBAL)));
        Ok(Parts { transport, codec, session: dialled(config()) })
    }

    fn address(&self) -> String {
        "nowhere".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn g04_the_call_that_has_the_connection_replaced_leaves_on_the_next_one() {
    let (tell, mut dialled) = mpsc::unbounded_channel();
    let mut endpoint = Endpoint::new("stonyx", Service::default());
    endpoint.surroundings = Surroundings::seeded(1);
    let ledger = Arc::clone(&endpoint.ledger);
    let client = Client::start(Pipes(tell), Arc::new(Credentials::guest()), endpoint);
    let call = |name: &'static str, body: &str, timeout: u64| {
        let request = Request::new(Route::from_static(name), Body::Json(json(body)));
        let caller = client.caller().clone();
        tokio::spawn(async move { caller.call(request.timeout(Duration::from_secs(timeout))).await })
    };
    let first = Bare::logged_in(dialled.recv().await.unwrap()).await;
    assert!(matches!(call("a", "1", 2).await.unwrap(), Err(CallError::Unknown(_))));
    first.read().await;
    let busy = call("b", "2", 100);
    first.read().await;
    for pause in [28, 30, 10] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        if pause != 10 {
            assert_eq!(first.read().await, r#"{"request":"heartBeat"}"#);
            first.write(r#"{"request":"heartBeat","response":true}"#);
        }
    }
    let held = [call("a", "3", 100), call("c", "4", 100), call("a", "5", 100)];
    assert!(first.silent().await, "they wait for the next connection");
    first.write(r#"{"request":"b","response":"its own"}"#);
    assert_eq!(busy.await.unwrap().unwrap().body, Body::Json(json("\"its own\"")));
    let second = Bare::logged_in(dialled.recv().await.unwrap()).await;
    assert!(first.0.is_closed());
    assert_eq!(second.read().await, r#"{"request":"a","data":3}"#);
    assert_eq!(second.read().await, r#"{"request":"c","data":4}"#);
    second.write(r#"{"request":"c","response":4}"#);
    second.write(r#"{"request":"a","response":3}"#);
    assert_eq!(second.read().await, r#"{"request":"a","data":5}"#);
    second.write(r#"{"request":"a","response":5}"#);
    for (held, answer) in held.into_iter().zip(["3", "4", "5"]) {
        assert_eq!(held.await.unwrap().unwrap().body, Body::Json(json(answer)));
    }
    assert_eq!(ledger.get(Count::CallsNotSent), 0);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_they_are_answered_and_end_a_dead_connection() {
    let (near, far) = pair();
    let client = client(near);
    let bare = Bare::logged_in(far).await;
    settle().await;
    let start = Instant::now();
    for _ in 0..3 {
        assert!(bare.silent().await);
        // Counted from the answer before.
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(bare.read().await, r#"{"request":"heartBeat"}"#);
        bare.write(r#"{"request":"heartBeat","response":true}"#);
    }
    let call = client.call("a", "1", 600);
    let ended = client.ended().await;
    assert_eq!(ended.reason, Close::Dead("heartbeat_timeout = 10s".into()));
    assert_eq!((Instant::now() - start).as_secs(), 90 + 30 + 10);
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
    assert!(bare.0.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_client_drops_what_it_cannot_open_and_goes_on() {
    let (near, far) = pair();
    let client = client(near);
    let bare = Bare::logged_in(far).await;
    let call = client.call("a", "1", 15);
    bare.read().await;
    bare.0.send(Message::Binary(seal(
        &Key::new(&GLOBAL),
        [0; 12],
        br#"{"request":"a","response":"old key"}"#,
    )));
    bare.0.send(Message::Binary(vec![0; 27].into()));
    bare.0.send(Message::Text("not sealed".into()));
    bare.write(r#"{"request":5}"#);
    bare.write(r#"{"request":"a","response":"right"}"#);
    assert_eq!(call.await.unwrap().unwrap().body, Body::Json(json("\"right\"")));
    assert_eq!((client.ledger.get(Count::Undecodable), client.ledger.get(Count::UnknownKind)), (3, 1));
    drop(bare);
    client.ended().await;
}
