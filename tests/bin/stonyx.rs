//! Our Stonyx ends as programs that the suites of `tests/peers/stonyx` drive. The key stands in argv because their flags say so; the
//! `polywire` command refuses that.

#![allow(clippy::unwrap_used, reason = "a test program may panic")]

use std::collections::HashMap;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Adapter, Body, Client, ClientState, Close, Code, Count, Credentials, Endpoint, Event, Failure, Handler,
    HandlerFuture, Incoming, JsonText, Limits, Observe, Options, Peer, Reconnect, Response, Route, Secret,
    Target,
};
use polywire_net::websocket::WebSocketError;
use polywire_stonyx::{ADAPTER, Config};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Names the application of a probe knows.
const KNOWN: [&str; 9] =
    ["echo", "whoAmI", "pushed", "announcement", "falsy", "slow", "silent", "pushMe", "announce"];
/// How often a probe looks at its counts.
const LOOK: Duration = Duration::from_millis(5);

/// One line: the event, then its members in this order, because the suites compare texts.
fn say(event: &str, members: &[(&str, Value)]) {
    let members: String = members.iter().map(|(name, value)| format!(",{}:{value}", json!(name))).collect();
    println!("{{\"event\":{}{members}}}", json!(event));
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    let flags = flags(arguments);
    let end = Duration::from_millis(flags["exit-after-ms"].parse().unwrap());
    let work = async {
        match role.as_str() {
            "server" => server(&flags).await,
            "probe" => probe(&flags).await,
            other => panic!("{other:?} is neither server nor probe"),
        }
    };
    // Bounded, whatever drives it.
    let _ = tokio::time::timeout(end, work).await;
    ExitCode::SUCCESS
}

fn flags(mut arguments: impl Iterator<Item = String>) -> HashMap<String, String> {
    let mut flags = HashMap::from([("exit-after-ms".to_owned(), "60000".to_owned())]);
    while let Some(name) = arguments.next() {
        let name = name.trim_start_matches("--").to_owned();
        let value =
            if name == "exit-on-stdin-end" { String::new() } else { arguments.next().unwrap_or_default() };
        flags.insert(name, value);
    }
    flags
}

/// The lines of standard input, until it ends.
fn lines() -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn server(flags: &HashMap<String, String>) {
    let mut target = Target { address: "127.0.0.1:0".to_owned(), ..Target::default() };
    target.options = Options::new();
    target.options.set_secret("key", Secret::from(flags["auth-key"].as_str()));
    target.options.set("encryption", if flags["encryption"] == "false" { "off" } else { "on" });
    target.options.set("open_routes", "openValue,openSilent");
    target.options.set("on_failure", "close");
    let endpoint = polywire_cli::service::endpoint(&ADAPTER, &target.options).unwrap();
    let server = ADAPTER.listen(target, endpoint).await.unwrap();
    let port: u16 = server.address().rsplit(':').next().unwrap().parse().unwrap();
    say("listening", &[("port", json!(port))]);
    let mut lines = lines();
    while lines.recv().await.is_some() {}
}

/// Prints what a client's application hears.
struct Application;

impl Handler for Application {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let (name, value) = (incoming.route.as_str(), shown(&incoming.body));
        let mut answer = Ok(Response::default());
        if KNOWN.contains(&name) {
            say("delivered", &[("name", json!(name)), ("value", value.clone())]);
            if value["throwInHandler"] == true {
                answer = Err(Failure::new(Code::Internal, "thrown by the application"));
            }
        } else {
            say("no-handler", &[("name", json!(name))]);
        }
        Box::pin(async { answer })
    }
}

impl Observe for Application {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        closed(reason);
    }

    fn turned_away(&self, reason: &Close) {
        closed(reason);
    }
}

/// The close as the original's application hears it.
fn closed(reason: &Close) {
    let (code, text) = match reason {
        Close::Goodbye { code, reason } => (*code, &**reason),
        // A close frame without a code. Where there was none at all the original has 1006.
        Close::Peer => (1005, ""),
        _ => (1006, ""),
    };
    // What breaks the protocol is an error there; a stream that only ends is not.
    let broken = match reason {
        Close::Transport(why) => *why != WebSocketError::Cut.to_string(),
        Close::Limit(_) => true,
        _ => false,
    };
    if broken {
        say("connection-error", &[]);
    }
    say("closed", &[("code", json!(code)), ("reason", json!(text))]);
}

fn shown(body: &Body) -> Value {
    match body {
        Body::Json(text) => text.parse().unwrap(),
        _ => Value::from("(undefined)"),
    }
}

async fn probe(flags: &HashMap<String, String>) {
    let encryption = flags["encryption"] != "false";
    let mut config = Config { encryption, ..Config::new(flags["auth-key"].as_str()) };
    if let Some(heartbeat) = flags.get("heartbeat-ms") {
        config.heartbeat = Duration::from_millis(heartbeat.parse().unwrap());
    }
    let address = format!("127.0.0.1:{}", flags["port"]);
    // The suite looks at what happens before the original would dial again.
    let never = Duration::from_secs(100_000);
    let reconnect = Reconnect { first_pause: never, max_pause: never, ..Reconnect::default() };
    let observer = Some(Arc::new(Application) as _);
    let endpoint = Endpoint { observer, reconnect, ..Endpoint::new("stonyx", Application) };
    let ledger = Arc::clone(&endpoint.ledger);
    say("connecting", &[]);
    let credentials = Arc::new(Credentials::guest());
    let client = polywire_stonyx::dial(&address, config, credentials, endpoint).unwrap();
    let (mut lines, mut look) = (lines(), tokio::time::interval(LOOK));
    let (mut counted, mut attempts, mut settled) = ([0; 2], 0, false);
    let mut last = ClientState::Connecting;
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => command(&line, &client),
                None => return,
            },
            _ = look.tick() => {}
        }
        let unusable =
            ledger.get(Count::Undecodable) + ledger.get(Count::BadBody) + ledger.get(Count::EventsFailed);
        for _ in std::mem::replace(&mut counted[0], unusable)..unusable {
            say("unusable-message", &[]);
        }
        // JSON without a name: the original looks for the handler of that.
        let nameless = ledger.get(Count::UnknownKind);
        for _ in std::mem::replace(&mut counted[1], nameless)..nameless {
            say("no-handler", &[("name", json!("undefined"))]);
        }
        let state = client.state();
        if state == last {
            continue;
        }
        if state == ClientState::Ready {
            say("delivered", &[("name", json!("auth")), ("value", json!("success"))]);
            say(if settled { "reconnected" } else { "init-resolved" }, &[]);
        } else if matches!(state, ClientState::Waiting(_) | ClientState::Denied(_)) {
            // No connection was made at all: nobody was told of its end.
            let never = ledger.get(Count::Connections) == 0;
            if never {
                say("connection-error", &[]);
                say("closed", &[("code", json!(1006)), ("reason", json!(""))]);
            }
            attempts += 1;
            say("reconnecting", &[("attempt", json!(attempts))]);
            if never && !settled {
                say("init-rejected", &[("with", json!("connection error"))]);
            }
        }
        settled = true;
        last = state;
    }
}

fn command(line: &str, client: &Client) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "send" if client.state() == ClientState::Ready => {
            let message: Value = serde_json::from_str(rest).unwrap();
            let data = JsonText::new(message["data"].to_string(), &Limits::default().json).unwrap();
            let route = Route::new(message["request"].as_str().unwrap().to_owned()).unwrap();
            client.caller().try_notify(Event::new(route, data)).unwrap();
            say("sent", &[]);
        }
        "send" => say("command-failed", &[("word", json!(word)), ("message", json!("no session key"))]),
        "quit" => std::process::abort(),
        other => panic!("no command {other:?}"),
    }
}
