//! The plugin that the Node.js host drives: what its scenarios want of one.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{
    Body, Caller, Code, Failure, Json, JsonText, Limits, Progress, Reconnect, Request, Response, Route,
};
use polywire_hyperhq::{FILE, Plugin, PluginError};
use serde_json::{Value, json};

/// The numbers of the games heard of.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u64>>>);

impl Heard {
    fn note(&self, game: &Value) {
        let number = game["gameId"].as_str().and_then(|id| id.rsplit('-').next()?.parse::<u64>().ok());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(number);
    }

    fn told(&self) -> Value {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "events": heard.len(), "inOrder": heard.is_sorted() })
    }
}

fn body(value: &Value) -> Body {
    JsonText::from_value(value).map_or(Body::Empty, Body::Json)
}

async fn execute(heard: Heard, progress: Progress, data: Value) -> Result<Response, Failure> {
    let number = |name: &str| Duration::from_millis(data[name].as_u64().unwrap_or(0));
    let answer = match data["action"].as_str().unwrap_or_default() {
        "get_status" => json!({ "connected": true, "authenticated": true }),
        "echo" => data,
        "sync" => json!({ "success": true }),
        "event_count" => heard.told(),
        "silent" => {
            tokio::time::sleep(number("answerAfterMs")).await;
            json!({ "success": true, "late": true })
        }
        "slow" => {
            let end = tokio::time::Instant::now() + number("workMs");
            while tokio::time::Instant::now() < end {
                progress.send(body(&json!({ "status": "working" })));
                tokio::time::sleep(number("everyMs")).await;
            }
            json!({ "success": true })
        }
        "crash" => std::process::abort(),
        other => return Err(Failure::new(Code::NotFound, format!("Unknown action: {other}"))),
    };
    Ok(Response::from(body(&answer)))
}

/// Asks for everything a host has, some of it at once, and says how much of it was right.
async fn ask(host: Caller) -> Result<(), Failure> {
    let call = |method: &str, params: Value| {
        let (host, route) = (host.clone(), Route::new(method.to_owned()));
        async move {
            let route = route.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
            host.call(Request::new(route, body(&params))).await.map_err(Failure::from)
        }
    };
    let new = json!({ "name": "Polywire Games", "platform": "PC", "referenceId": "polywire-games", "allowedExtensions": ".exe" });
    call("createSystem", new.clone()).await?;
    expect(call("createSystem", new).await.is_err(), "a system that is there is not made again")?;
    expect(call("noSuchMethod", json!({})).await.is_err(), "a method that no host has fails")?;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        calls.spawn(call("getSystems", json!({})));
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer.map_err(|error| Failure::new(Code::Internal, error.to_string()))??;
        expect(matches!(answer.body, Body::Json(_)), "systems are JSON")?;
    }
    let file = Request::new(FILE, body(&json!("assets/blob.bin")));
    let answer = host.call(file).await?;
    let bytes: Vec<u8> = (0..=255).collect();
    expect(answer.body == Body::binary("", bytes), "a file has its bytes")?;
    let outside = Request::new(FILE, body(&json!("../secret.txt")));
    expect(host.call(outside).await.is_err(), "nothing outside the folder is given")
}

fn expect(right: bool, what: &'static str) -> Result<(), Failure> {
    if right { Ok(()) } else { Err(Failure::new(Code::Internal, what)) }
}

fn plugin() -> Result<Plugin, PluginError> {
    let heard = Heard::default();
    let limit = std::env::args().find_map(|word| word.strip_prefix("--login-timeout-ms=")?.parse().ok());
    let mut plugin = Plugin::from_environment()?;
    if let Some(limit) = limit {
        plugin = plugin.limits(Limits { login_timeout: Duration::from_millis(limit), ..Limits::default() });
    }
    if std::env::args().any(|word| word == "--no-return") {
        // A random part of it is waited, which is within the second of a test once in a million.
        let pause = Duration::from_secs(1 << 20);
        plugin = plugin.reconnect(Reconnect { first_pause: pause, max_pause: pause, ..Reconnect::default() });
    }
    let mut plugin = plugin
        .handle("initialize", || async { "initialized".to_owned() })?
        .handle("test", || async { Json(true) })?
        .handle("execute", {
            let heard = heard.clone();
            move |progress: Progress, Json(data): Json<Value>| execute(heard.clone(), progress, data)
        })?;
    for event in ["gameLaunched", "gameClosed", "mediaProgress"] {
        let heard = heard.clone();
        plugin = plugin.on(event, move |Json(game): Json<Value>| {
            heard.note(&game);
            async {}
        })?;
    }
    Ok(plugin)
}

async fn run() -> Result<(), PluginError> {
    let asks = std::env::args().any(|argument| argument == "--ask");
    let plugin = plugin()?;
    if !asks {
        return plugin.run().await;
    }
    let (client, _commands) = plugin.dial()?;
    client.ready().await.map_err(PluginError::Refused)?;
    let asked = ask(client.caller().clone()).await;
    client.shutdown().await;
    asked.map_err(PluginError::Refused)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => {
            println!("{{\"ok\":true}}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}
