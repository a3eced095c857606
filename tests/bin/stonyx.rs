//! Our Stonyx ends as programs that the suites of `tests/peers/stonyx` drive. The key stands in argv because their flags say so; the
//! `polywire` command refuses that.

#![allow(clippy::unwrap_used, reason = "a test program may panic")]

use std::collections::HashMap;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Adapter, Body, Client, ClientState, Close, Count, Credentials, Endpoint, Event, Handler, HandlerFuture,
    Incoming, JsonText, Limits, Observe, Options, Peer, Response, Route, Secret, Target,
};
use polywire_stonyx::{ADAPTER, Config};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Names the application of a probe knows.
const KNOWN: [&str; 9] =
    ["echo", "whoAmI", "pushed", "announcement", "falsy", "slow", "silent", "pushMe", "announce"];
/// How often a probe looks at its counts.
const LOOK: Duration = Duration::from_millis(5);

fn say(event: &Value) {
    println!("{event}");
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
    let endpoint = polywire_cli::service::endpoint(&ADAPTER, &target.options, None).unwrap();
    let server = ADAPTER.listen(target, endpoint).await.unwrap();
    let port: u16 = server.address().rsplit(':').next().unwrap().parse().unwrap();
    say(&json!({"event": "listening", "port": port}));
    let mut lines = lines();
    while lines.recv().await.is_some() {}
}

/// Prints what a client's application hears.
struct Application;

impl Handler for Application {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let name = incoming.route.as_str();
        if KNOWN.contains(&name) {
            say(&json!({"event": "delivered", "name": name, "value": shown(&incoming.body)}));
        } else {
            say(&json!({"event": "no-handler", "name": name}));
        }
        Box::pin(async { Ok(Response::default()) })
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

fn closed(reason: &Close) {
    let code = if matches!(reason, Close::Peer | Close::PeerSaid(_)) { 1005 } else { 1006 };
    say(&json!({"event": "closed", "code": code, "reason": ""}));
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
    let mut endpoint =
        Endpoint { observer: Some(Arc::new(Application)), ..Endpoint::new("stonyx", Application) };
    let ledger = Arc::clone(&endpoint.ledger);
    // The suite looks at what happens before the original would dial again.
    let never = Duration::from_secs(100_000);
    endpoint.reconnect.first_pause = never;
    endpoint.reconnect.max_pause = never;
    say(&json!({"event": "connecting"}));
    let credentials = Arc::new(Credentials::guest());
    let client = polywire_stonyx::dial(&address, config, credentials, endpoint).unwrap();
    let (mut lines, mut look) = (lines(), tokio::time::interval(LOOK));
    let (mut unusable, mut attempts, mut settled, mut last) = (0, 0, false, ClientState::Connecting);
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => command(&line, &client),
                None => return,
            },
            _ = look.tick() => {}
        }
        let state = client.state();
        if state != last {
            let first = !std::mem::replace(&mut settled, true);
            if state == ClientState::Ready {
                say(&json!({"event": "delivered", "name": "auth", "value": "success"}));
                say(&json!({"event": if first { "init-resolved" } else { "reconnected" }}));
            } else {
                if first {
                    say(&json!({"event": "init-rejected", "with": "connection error"}));
                }
                if matches!(state, ClientState::Waiting(_) | ClientState::Denied(_)) {
                    attempts += 1;
                    say(&json!({"event": "reconnecting", "attempt": attempts}));
                }
            }
            last = state;
        }
        let seen = ledger.get(Count::Undecodable) + ledger.get(Count::BadBody);
        for _ in std::mem::replace(&mut unusable, seen)..seen {
            say(&json!({"event": "unusable-message"}));
        }
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
            say(&json!({"event": "sent"}));
        }
        "send" => say(&json!({"event": "command-failed", "word": word, "message": "no session key"})),
        "quit" => std::process::abort(),
        other => panic!("no command {other:?}"),
    }
}
