//! A program for `polywire conform` around our own adapters: `conform-under-test WIRE`, with the mode in `POLYWIRE_MODE`.
//!
//! It is written from the page on the control protocol and shares nothing with the runner but the types of the lines.

#![allow(clippy::unwrap_used, reason = "a program under test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_conformance::child::control::{
    Ask, Bodies, Carried, Feature, Hello, MODE_VARIABLE, PROTOCOL, SECRET_VARIABLE, Said, Told, What, Word,
};
use polywire_core::{
    Adapter, Body, CallError, Client, ClientState, Close, Code, Endpoint, Event, Failure, GAP, Handler,
    HandlerFuture, Identity, Incoming, Kind, Limits, Observe, Outcome, Peer, Reconnect, Request, Response,
    Route, Secret, Server, Shutdown, Target,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

/// The largest message it takes, and says that it takes. It sends no larger one either, and is asked for twice what the other
/// end takes, which must reach it.
const LIMIT: usize = 5 << 20;

/// The service, and what it remembers.
#[derive(Default)]
struct App {
    heard: Mutex<Vec<Told>>,
    came: Notify,
    ran: Mutex<BTreeMap<String, u64>>,
}

impl App {
    fn hear(&self, incoming: &Incoming) {
        let told = Told { route: incoming.route.to_string(), body: Carried::from(&incoming.body) };
        self.heard.lock().unwrap().push(told);
        self.came.notify_one();
    }
}

fn member(body: &Body, name: &str) -> Result<serde_json::Value, Failure> {
    let wrong = || Failure::new(Code::InvalidArgument, format!("the member {name} is missing"));
    let Body::Json(text) = body else { return Err(wrong()) };
    let value: serde_json::Value = text.parse().map_err(|_| wrong())?;
    value.get(name).cloned().ok_or_else(wrong)
}

impl Handler for App {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let done = |answer| -> HandlerFuture { Box::pin(async { answer }) };
        let text = |name| member(&incoming.body, name).map(|value| value.as_str().unwrap_or("").to_owned());
        if incoming.route == GAP {
            return done(Ok(Response::default()));
        }
        if incoming.kind == Kind::Event || &*incoming.route == "tick" {
            self.hear(&incoming);
            return done(Ok(Response::default()));
        }
        match &*incoming.route {
            "echo" => done(Ok(Response::from(incoming.body))),
            "fail" => done(text("code").and_then(|code| {
                Err(Failure::new(Code::from_name(&code).unwrap_or(Code::Unknown), text("message")?))
            })),
            "sleep" => {
                *self.ran.lock().unwrap().entry(text("key").unwrap_or_default()).or_default() += 1;
                let ms = member(&incoming.body, "ms").ok().and_then(|ms| ms.as_u64()).unwrap_or(0);
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Ok(Response::from(incoming.body))
                })
            }
            "ran" => done(text("key").and_then(|key| {
                let count = self.ran.lock().unwrap().get(&key).copied().unwrap_or(0);
                let body = Body::json(&serde_json::json!({ "ran": count }));
                body.map(Response::from).map_err(|error| Failure::new(Code::Internal, error.to_string()))
            })),
            _ => done(Err(Failure::unrouted(incoming.kind, &incoming.route))),
        }
    }
}

struct Arrivals(watch::Sender<Option<Peer>>);

impl Observe for Arrivals {
    fn connected(&self, peer: &Peer) {
        self.0.send_replace(Some(peer.clone()));
    }

    fn disconnected(&self, peer: &Peer, _: &Close) {
        self.0.send_if_modified(|there| there.take_if(|there| there.id() == peer.id()).is_some());
    }
}

/// Which end it is.
enum End {
    Server { server: Box<Mutex<Option<Server>>>, peer: watch::Receiver<Option<Peer>> },
    Client { client: Mutex<Option<Arc<Client>>> },
}

struct Program {
    adapter: Arc<dyn Adapter>,
    secret: String,
    app: Arc<App>,
    end: End,
    shutdown: Shutdown,
    calls: Mutex<BTreeMap<u64, AbortHandle>>,
}

/// The options of one end of a wire.
fn target(wire: &str, address: &str, secret: &str) -> Target {
    let mut target = Target { address: address.to_owned(), ..Target::default() };
    for name in secrets(wire) {
        target.options.set_secret(*name, Secret::from(secret));
    }
    for (name, value) in options(wire) {
        target.options.set(*name, *value);
    }
    target.user = (wire == "hpx").then(|| "tester".to_owned());
    target
}

fn secrets(wire: &str) -> &'static [&'static str] {
    match wire {
        "hpx" => &["password"],
        "stonyx" => &["key"],
        "hyperhq" => &["challenge"],
        _ => &[],
    }
}

fn options(wire: &str) -> &'static [(&'static str, &'static str)] {
    match wire {
        "stonyx" | "socketio" => &[("errors_in_reply", "1")],
        "hyperhq" => &[("plugin", "demo"), ("events", "tick")],
        _ => &[],
    }
}

/// The URL of polywire's end.
fn url(wire: &str, address: &str) -> String {
    let user = if wire == "hpx" { "tester@" } else { "" };
    let options: Vec<_> = options(wire).iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{wire}://{user}{address}?{}", options.join("&"))
}

fn endpoint(wire: &'static str, app: &Arc<App>) -> Endpoint {
    let limits =
        Limits { max_frame_bytes: LIMIT, drain_timeout: Duration::from_secs(5), ..Limits::default() };
    let reconnect = Reconnect {
        first_pause: Duration::from_millis(20),
        max_pause: Duration::from_millis(200),
        ..Reconnect::default()
    };
    Endpoint { limits: Arc::new(limits), reconnect, ..Endpoint::new(wire, Arc::clone(app)) }
}

impl Program {
    async fn start(wire: &str) -> Self {
        let adapter = Arc::clone(polywire_cli::adapters().get(wire).expect("a wire of ours"));
        let secret = std::env::var(SECRET_VARIABLE).unwrap();
        let app = Arc::new(App::default());
        let mut address = "127.0.0.1:0".to_owned();
        let end = if std::env::var(MODE_VARIABLE).unwrap() == "server" {
            let (tell, peer) = watch::channel(None);
            let mut endpoint = endpoint(adapter.name(), &app);
            endpoint.observer = Some(Arc::new(Arrivals(tell)));
            endpoint.authenticator = Some(Arc::new(|_| async { Ok(Identity::guest()) }));
            let server = adapter.listen(target(wire, &address, &secret), endpoint).await.unwrap();
            address = server.address().to_owned();
            End::Server { server: Box::new(Mutex::new(Some(server))), peer }
        } else {
            End::Client { client: Mutex::new(None) }
        };
        let hello = Hello {
            hello: PROTOCOL,
            target: url(wire, &address),
            secrets: secrets(wire).iter().map(|name| (*name).to_owned()).collect(),
            can: Feature::ALL.to_vec(),
            bodies: Bodies::Text,
            max_message_bytes: Some(LIMIT as u64),
        };
        say(&serde_json::to_string(&hello).unwrap());
        Self { adapter, secret, app, end, shutdown: Shutdown::new(), calls: Mutex::default() }
    }

    async fn dial(&self, address: &str, limit: Duration) -> Result<(), (Word, String)> {
        let failed = |why: String| (Word::Failed, why);
        let End::Client { client } = &self.end else { return Err(failed("it listens".to_owned())) };
        let there = client.lock().unwrap().clone();
        if let Some(client) = there {
            return comes_back(&client, limit).await.map_err(failed);
        }
        let mut endpoint = endpoint(self.adapter.name(), &self.app);
        endpoint.shutdown = self.shutdown.clone();
        let target = target(self.adapter.name(), address, &self.secret);
        let dialled = self.adapter.dial(target, endpoint).await.map_err(|error| failed(error.to_string()))?;
        let mut state = dialled.watch();
        *client.lock().unwrap() = Some(Arc::new(dialled));
        let tries = |state: &ClientState| {
            matches!(state, ClientState::Connecting | ClientState::Waiting(_) | ClientState::Denied(_))
        };
        // It tries again, also where the login was refused, until it gives up.
        let _ = timeout(limit, state.wait_for(|state| !tries(state))).await;
        let state = state.borrow().clone();
        match state {
            ClientState::Ready => Ok(()),
            ClientState::Denied(refusal) | ClientState::Refused(refusal) => {
                Err((Word::Refused, refusal.to_string()))
            }
            state => Err(failed(format!("{state:?}"))),
        }
    }

    async fn call(&self, request: Request) -> Outcome {
        let nobody = || CallError::not_sent(Code::Unavailable, "not connected");
        match &self.end {
            End::Client { client } => {
                let client = client.lock().unwrap().clone();
                client.ok_or_else(nobody)?.caller().call(request).await
            }
            End::Server { peer, .. } => {
                let peer = peer.borrow().clone();
                peer.ok_or_else(nobody)?.call(request).await
            }
        }
    }

    async fn notify(&self, event: Event) -> Result<(), CallError> {
        let options = target(self.adapter.name(), "", &self.secret).options;
        let carried = self.adapter.capabilities(&options).unwrap();
        let events = match &self.end {
            End::Client { .. } => carried.client_events,
            End::Server { .. } => carried.push,
        };
        if !events {
            return Err(CallError::not_sent(Code::Unimplemented, "this wire has no events from here"));
        }
        let nobody = || CallError::not_sent(Code::Unavailable, "not connected");
        match &self.end {
            End::Client { client } => {
                let client = client.lock().unwrap().clone();
                client.ok_or_else(nobody)?.caller().notify(event).await
            }
            End::Server { peer, .. } => {
                let peer = peer.borrow().clone();
                peer.ok_or_else(nobody)?.notify(event).await
            }
        }
    }

    async fn heard(&self, count: u64, limit: Duration) -> Vec<Told> {
        let enough = async {
            while (self.app.heard.lock().unwrap().len() as u64) < count {
                self.app.came.notified().await;
            }
        };
        // Too few is for the runner to judge.
        let _ = timeout(limit, enough).await;
        std::mem::take(&mut *self.app.heard.lock().unwrap())
    }

    async fn close(&self) {
        self.shutdown.drain();
        match &self.end {
            End::Client { client } => {
                let client = client.lock().unwrap().take();
                if let Some(client) = client {
                    let mut state = client.watch();
                    // It says so, or it is gone.
                    let _ = state.wait_for(|state| matches!(state, ClientState::Closed(_))).await;
                }
            }
            End::Server { server, .. } => {
                let server = server.lock().unwrap().take();
                if let Some(server) = server {
                    server.shutdown().await;
                }
            }
        }
    }

    async fn answer(&self, Ask { id, what }: Ask) -> Said {
        let word = |outcome| Said::word(id, outcome);
        let because = |outcome, message: String| Said { message: Some(message), ..Said::word(id, outcome) };
        match what {
            What::Dial { address, timeout_ms } => {
                match self.dial(&address, Duration::from_millis(timeout_ms)).await {
                    Ok(()) => word(Word::Done),
                    Err((outcome, why)) => because(outcome, why),
                }
            }
            What::Call { route, body, timeout_ms } => {
                let request = Request::new(Route::new(route).unwrap(), body.to_body().unwrap());
                match self.call(request.timeout(Duration::from_millis(timeout_ms))).await {
                    Ok(response) => Said { body: Carried::from(&response.body), ..word(Word::Answer) },
                    Err(CallError::Failure(failure)) => Said {
                        code: Some(failure.code.as_str().to_owned()),
                        ..because(Word::Failure, failure.message.into_owned())
                    },
                    Err(CallError::NotSent(why)) => because(Word::NotSent, why.to_string()),
                    Err(CallError::Unknown(why)) => because(Word::Unknown, why.to_string()),
                }
            }
            What::Notify { route, body } => {
                match self.notify(Event::new(Route::new(route).unwrap(), body.to_body().unwrap())).await {
                    Ok(()) => word(Word::Done),
                    Err(error) => because(Word::NotSent, error.to_string()),
                }
            }
            What::Heard { count, timeout_ms } => {
                let events = self.heard(count, Duration::from_millis(timeout_ms)).await;
                Said { events: Some(events), ..word(Word::Done) }
            }
            What::GiveUp { call } => {
                if let Some(running) = self.calls.lock().unwrap().remove(&call) {
                    running.abort();
                }
                word(Word::Done)
            }
            What::Close => {
                self.close().await;
                word(Word::Done)
            }
            _ => word(Word::Done),
        }
    }
}

/// A client comes back by itself; it has once somebody answers.
async fn comes_back(client: &Client, limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    let body = Body::json(&serde_json::json!({ "key": "" })).unwrap();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("it did not come back in time".to_owned());
        }
        let request = Request::new(Route::from_static("ran"), body.clone());
        let left = left.min(Duration::from_millis(400));
        if client.caller().call(request.timeout(left)).await.is_ok() {
            return Ok(());
        }
    }
}

/// One line on standard output.
fn say(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() {
    let wire = std::env::args().nth(1).expect("which wire?");
    let program = Arc::new(Program::start(&wire).await);
    let (send, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| send.blocking_send(line))
    });
    while let Some(line) = lines.recv().await {
        let ask: Ask = serde_json::from_str(&line).unwrap();
        let (id, ends, calls) =
            (ask.id, matches!(ask.what, What::End), matches!(ask.what, What::Call { .. }));
        let answering = tokio::spawn({
            let program = Arc::clone(&program);
            async move { program.answer(ask).await }
        });
        if calls {
            program.calls.lock().unwrap().insert(id, answering.abort_handle());
        }
        let said = tokio::spawn(async move {
            // A call that was aborted was given up.
            let said = answering.await.unwrap_or_else(|_| Said::word(id, Word::GivenUp));
            say(&serde_json::to_string(&said).unwrap());
        });
        if ends {
            said.await.unwrap();
            return;
        }
    }
}
