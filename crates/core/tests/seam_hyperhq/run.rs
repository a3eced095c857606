//! Both halves run by the engine: the stack over messages, the host over packets.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use polywire_core::{
    Answer, Body, CallError, Close, Code, Connection, Count, Credentials, Ended, Endpoint, Event, Flush,
    FrameError, Handler, HandlerFuture, Identity, Incoming, JsonLimits, JsonText, Kind, Ledger, Link,
    Message, MessageStream, Outcome, Refusal, Request, Response, Route, Session, Surroundings, Transport,
    TransportError,
};
use serde_json::Value;
use std::pin::Pin;
use std::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::host::Host;
use super::lower::{EngineCodec, SocketIo};
use super::packet::{Packet, Packets};
use super::plugin::{Plugin, Shared, Subscribe};
use super::replay::{CHALLENGE, load};
use super::stack::Stack;
use super::vectors::message;
use crate::pipe::{End, pair};

const OPEN: &str =
    r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const WELCOME: &str = r#"42["authenticated",{"success":true,"pluginId":"demo-plugin","sessionToken":"t1"}]"#;

fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap())
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Echoes; `slow` for twelve seconds, with a sign of life each second. Notes the events it gets.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<String>>>);

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event {
            self.0.lock().unwrap().push(incoming.route.as_str().to_owned());
        }
        Box::pin(async move {
            if &*incoming.route == "slow" {
                for _ in 0..12 {
                    incoming.progress(json(r#"{"status":"working"}"#));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
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

fn run<S: Session>(transport: impl Transport<S::Codec>, codec: S::Codec, session: S) -> Running<S> {
    let heard = Service::default();
    let mut endpoint = Endpoint::new("hyperhq", heard.clone());
    endpoint.surroundings = Surroundings::seeded(5);
    endpoint.authenticator = Some(Arc::new(|credentials: Credentials| async move {
        let right = credentials.secret.is_some_and(|secret| secret.matches(CHALLENGE.as_bytes()));
        if right { Ok(Identity::user("demo-plugin")) } else { Err(Refusal::new("Invalid session token")) }
    }));
    let ledger = Arc::clone(&endpoint.ledger);
    let (connection, link) = Connection::new(transport, codec, session, endpoint, None);
    Running { link, ledger, heard, task: tokio::spawn(connection) }
}

impl<S: Session> Running<S> {
    fn call(&self, name: &'static str, body: &str, timeout: Duration) -> JoinHandle<Outcome> {
        let caller = self.link.caller().clone();
        let request = Request::new(Route::from_static(name), json(body)).timeout(timeout);
        tokio::spawn(async move { caller.call(request).await })
    }

    async fn ended(self) -> Ended {
        let ended = self.task.await.unwrap();
        assert_eq!(self.ledger.unaccounted_frames(), 0, "{:?}", self.ledger.snapshot());
        ended
    }
}

fn plugin(io: End, shared: &Shared) -> Running<Stack<SocketIo, Plugin>> {
    let plugin = Plugin::new("demo-plugin", CHALLENGE, Arc::clone(shared));
    run(MessageStream::new(io), EngineCodec, Stack::new(SocketIo::new("/"), plugin))
}

fn say(io: &End, text: &str) {
    io.send(Message::Text(Bytes::from(text.to_owned())));
}

async fn hear(io: &End) -> String {
    settle().await;
    match io.try_receive() {
        Some(Message::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A plugin that is logged in, and the other end of its pipe.
async fn logged_in() -> (Running<Stack<SocketIo, Plugin>>, End) {
    let (near, far) = pair();
    let plugin = plugin(near, &Shared::default());
    say(&far, OPEN);
    assert_eq!(hear(&far).await, "40");
    say(&far, r#"40{"sid":"x"}"#);
    assert!(hear(&far).await.starts_with(r#"42["authenticate",{"pluginId":"demo-plugin","challenge":"#));
    say(&far, WELCOME);
    settle().await;
    (plugin, far)
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_and_a_host_that_stops_pinging_is_dead() {
    let (plugin, far) = logged_in().await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(25)).await;
        say(&far, "2");
        assert_eq!(hear(&far).await, "3");
    }
    let start = Instant::now();
    let call = plugin.call("getSystems", "{}", Duration::from_secs(600));
    let ended = plugin.ended().await;
    assert_eq!(ended.reason, Close::Dead("no ping for 45s".into()));
    assert!(start.elapsed() <= Duration::from_secs(45));
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_namespace_and_the_login_are_there() {
    let (near, far) = pair();
    let plugin = plugin(near, &Shared::default());
    let call = plugin.call("getSystems", "{}", Duration::from_secs(5));
    say(&far, OPEN);
    assert_eq!(hear(&far).await, "40");
    // Held back by the lower half until the namespace is there, and then too early for the upper one.
    say(&far, r#"42["hyperHqEvent",{"type":"gameLaunched","data":1}]"#);
    say(&far, r#"40{"sid":"x"}"#);
    assert!(hear(&far).await.contains("authenticate"));
    settle().await;
    assert!(far.try_receive().is_none());
    say(&far, WELCOME);
    assert_eq!(
        hear(&far).await,
        r#"42["requestData",{"method":"getSystems","params":{},"requestId":"getSystems-1","sessionToken":"t1"}]"#
    );
    say(&far, r#"42["dataResponse",{"requestId":"getSystems-1","success":true}]"#);
    say(&far, r#"42["data_response",{"requestId":"getSystems-1","success":true}]"#);
    assert_eq!(call.await.unwrap().unwrap().body, Body::Empty);
    settle().await;
    assert_eq!(plugin.ledger.get(Count::OrphanReply), 1, "the alias answers nobody");
    assert!(plugin.heard.0.lock().unwrap().is_empty());
    plugin.link.peer().close();
    assert_eq!(hear(&far).await, "41", "it takes its leave");
    assert_eq!(plugin.ended().await.reason, Close::Local);
    assert!(far.is_closed());
}

#[tokio::test(start_paused = true)]
async fn attachments_are_put_back_though_a_ping_comes_between() {
    let (plugin, far) = logged_in().await;
    let call = plugin.call("requestFile", "\"assets/blob.bin\"", Duration::from_secs(5));
    assert!(hear(&far).await.contains("\"requestId\":\"file-1\""));
    let recorded = &load("25-file-binary")[0];
    let at = recorded.iter().position(|entry| entry["kind"] == "ws-binary").unwrap();
    far.send(message(&recorded[at - 1]));
    say(&far, "2");
    assert_eq!(hear(&far).await, "3");
    far.send(message(&recorded[at]));
    let answer = call.await.unwrap().unwrap();
    let Body::Binary(binary) = answer.body else { panic!("{answer:?}") };
    assert_eq!(binary.bytes, (0..=255).collect::<Vec<u8>>());
    drop(far);
    plugin.ended().await;
}

#[tokio::test(start_paused = true)]
async fn h06_attachments_that_do_not_come_close_long_before_the_ping_is_due() {
    let (plugin, far) = logged_in().await;
    let start = Instant::now();
    say(&far, r#"451-["fileData",{"requestId":"x","data":{"_placeholder":true,"num":0}}]"#);
    let ended = plugin.ended().await;
    assert_eq!(ended.reason, Close::Protocol("announced attachments did not come".into()));
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn h06_text_in_place_of_an_attachment_closes() {
    for bad in [r#"42["a"]"#, "4", "", "9", r#"42["connect"]"#, r#"0{"sid":"again"}"#] {
        let (plugin, far) = logged_in().await;
        if bad.starts_with("42[\"a") {
            say(&far, r#"451-["b",{"_placeholder":true,"num":0}]"#);
        }
        say(&far, bad);
        assert!(matches!(plugin.ended().await.reason, Close::Protocol(_)), "{bad}");
    }
}

/// Stands in for a Socket.IO server library: packets on our side of it, WebSocket messages on the other. A transport of an
/// adapter's own, as one over the library's channels is.
struct Served {
    io: End,
    open: Option<(Packet, usize)>,
}

impl Served {
    fn new(io: End) -> Self {
        say(&io, OPEN);
        Self { io, open: None }
    }
}

impl Transport<Packets> for Served {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Packets,
    ) -> Poll<Result<Option<Packet>, TransportError>> {
        loop {
            let Some(Ok(message)) = std::task::ready!(Pin::new(&mut self.io).poll_next(cx)) else {
                return Poll::Ready(Ok(None));
            };
            let (packet, due) = match message {
                Message::Text(text) if &text[..] == b"40" => {
                    say(&self.io, r#"40{"sid":"x"}"#);
                    continue;
                }
                Message::Text(text) if &text[..] == b"41" => return Poll::Ready(Ok(None)),
                Message::Text(text) if text.starts_with(b"4") => {
                    Packet::parse(&text.slice(1..)).map_err(FrameError::Corrupt)?
                }
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
                Message::Binary(bytes) => {
                    let Some((mut packet, due)) = self.open.take() else { continue };
                    packet.attachments.push(bytes);
                    (packet, due)
                }
            };
            if packet.attachments.len() == due {
                return Poll::Ready(Ok(Some(packet)));
            }
            self.open = Some((packet, due));
        }
    }

    fn has_partial(&self) -> bool {
        self.open.is_some()
    }

    fn set_partial_limit(&mut self, _: usize, _: &'static str) {}

    fn send(&mut self, packet: Packet, _: Flush, _: &mut Packets) -> Result<(), FrameError> {
        self.io.send(Message::Text([b"4", &packet.text()[..]].concat().into()));
        packet.attachments.into_iter().for_each(|bytes| self.io.send(Message::Binary(bytes)));
        Ok(())
    }

    fn unsent(&self) -> usize {
        0
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let closed = futures_sink::Sink::poll_close(Pin::new(&mut self.io), cx);
        closed.map_err(|never| match never {})
    }

    fn rest(&mut self) {}
}

fn host(io: End) -> Running<Host> {
    run(Served::new(io), Packets, Host::new(52_789))
}

/// Plays what a recorded plugin sent, at the times it sent it; `until` then says when to hang up.
async fn play(far: &End, recorded: &[Value]) {
    let start = Instant::now();
    let first = recorded[0]["ms"].as_u64().unwrap();
    for entry in recorded.iter().filter(|entry| entry["dir"] == "c2s") {
        let at = Duration::from_millis(entry["ms"].as_u64().unwrap() - first);
        tokio::time::sleep_until(start + at).await;
        far.send(message(entry));
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_update_extends_every_pending_request_of_its_connection() {
    let (near, far) = pair();
    let host = host(near);
    let calls = ["execute", "shutdown"].map(|name| host.call(name, "{}", Duration::from_millis(400)));
    let start = Instant::now();
    play(&far, &load("11-timeout-extended-by-status")[0]).await;
    let [slow, other] = calls;
    assert_eq!(slow.await.unwrap().unwrap().body, json(r#"{"success":true}"#));
    assert_eq!(other.await.unwrap().unwrap().body, json("\"ok\""));
    assert!(start.elapsed() > Duration::from_millis(1_200), "three times the timeout");
    drop(far);
    assert_eq!(host.ended().await.reason, Close::Peer);
}

#[tokio::test(start_paused = true)]
async fn a_silent_plugin_runs_into_the_timeout_and_its_late_answer_reaches_nobody() {
    let (near, far) = pair();
    let host = host(near);
    let call = host.call("execute", "{}", Duration::from_millis(400));
    let playing = tokio::spawn(async move {
        play(&far, &load("12-timeout-expired")[0]).await;
        far
    });
    let error = call.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::Unknown(failure) if failure.code == Code::DeadlineExceeded),
        "{error}"
    );
    drop(playing.await.unwrap());
    let ledger = Arc::clone(&host.ledger);
    host.ended().await;
    assert_eq!(ledger.get(Count::OrphanReply), 3, "the late one, and two to requests this host did not make");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_and_a_host_of_ours_do_everything_at_once() {
    let shared = Shared::default();
    let (near, far) = pair();
    let (plugin_end, host_end) = (plugin(near, &shared), host(far));
    plugin_end.link.command(Subscribe(vec!["gameLaunched".into()]));
    let up = plugin_end.call("getSystems", "{\"n\":1}", Duration::from_secs(5));
    let down = host_end.call("slow", "{\"work\":12}", Duration::from_secs(3));
    let quick = host_end.call("execute", "{}", Duration::from_secs(3));
    assert_eq!(up.await.unwrap().unwrap().body, json("{\"n\":1}"));
    assert_eq!(quick.await.unwrap().unwrap().body, json("{}"));
    for name in ["gameLaunched", "gameClosed"] {
        host_end.link.caller().notify(Event::new(Route::from_static(name), json("1"))).await.unwrap();
    }
    let start = Instant::now();
    assert_eq!(down.await.unwrap().unwrap().body, json("{\"work\":12}"), "its signs of life kept it");
    assert!(start.elapsed() > Duration::from_secs(10));
    assert_eq!(*plugin_end.heard.0.lock().unwrap(), ["gameLaunched"], "nobody asked for the other");
    assert_eq!(plugin_end.ledger.get(Count::OrphanReply), 1);
    plugin_end.link.peer().close();
    plugin_end.ended().await;
    assert_eq!(host_end.ended().await.reason, Close::Peer);

    // Again, with the token of that login: this host knows challenges only, so the plugin falls back on the same connection.
    assert!(shared.lock().unwrap().token.is_some());
    let (near, far) = pair();
    let (plugin_end, host_end) = (plugin(near, &shared), host(far));
    let up = plugin_end.call("getSystems", "{}", Duration::from_secs(5));
    up.await.unwrap().unwrap();
    host_end.link.caller().notify(Event::new(Route::from_static("gameLaunched"), json("2"))).await.unwrap();
    settle().await;
    assert_eq!(*plugin_end.heard.0.lock().unwrap(), ["gameLaunched"], "asked for again without being told");
    assert_eq!(&*host_end.link.peer().identity().unwrap().subject, "demo-plugin");
    host_end.link.peer().close();
    assert_eq!(host_end.ended().await.reason, Close::Local);
    assert_eq!(plugin_end.ended().await.reason, Close::Peer);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_refused_is_closed_after_a_grace() {
    let (near, far) = pair();
    let host = host(near);
    let start = Instant::now();
    for said in ["40", r#"42["requestData",{"method":"getSystems","requestId":1}]"#] {
        say(&far, said);
    }
    say(&far, r#"42["authenticate",{"pluginId":"demo-plugin","challenge":"wrong"}]"#);
    assert_eq!(hear(&far).await, OPEN);
    assert_eq!(hear(&far).await, r#"40{"sid":"x"}"#);
    assert_eq!(hear(&far).await, r#"42["authenticated",{"success":false,"error":"Invalid session token"}]"#);
    let ledger = Arc::clone(&host.ledger);
    assert!(matches!(host.ended().await.reason, Close::Refused(_)));
    assert_eq!(start.elapsed().as_millis() / 100, 5);
    assert_eq!((ledger.get(Count::BeforeLogin), ledger.get(Count::Requests)), (1, 0));
}
