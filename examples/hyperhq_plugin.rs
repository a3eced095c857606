//! A HyperHQ plugin: the four methods of a host, a call for data, an event, and signs of life while it works. The host starts it
//! with the variables that say where it listens; without them it says which is missing and ends with 2.

use std::process::ExitCode;

use polywire_core::{Body, Code, Failure, Json, Peer, Progress, Request, Route};
use polywire_hyperhq::{Environment, Plugin, PluginError};
use serde_json::{Value, json};

pub(crate) fn plugin(environment: Environment) -> Result<Plugin, PluginError> {
    Plugin::new(environment)
        .handle("initialize", || async { "initialized".to_owned() })?
        .handle("test", || async { Json(true) })?
        .handle("execute", sync)?
        .handle("shutdown", || async { "ok".to_owned() })?
        .on("gameLaunched", |Json(game): Json<Value>| async move { eprintln!("launched: {game}") })
}

/// Counts the host's systems.
async fn sync(host: Peer, progress: Progress) -> Result<Json<Value>, Failure> {
    let status = json!({ "status": "syncing", "message": "asking for the systems" });
    progress.send(Body::json(&status).unwrap_or_default());
    let answer = host.call(Request::new(Route::from_static("getSystems"), Body::Empty)).await?;
    let Body::Json(systems) = answer.body else {
        return Err(Failure::new(Code::Internal, "the host has no systems"));
    };
    let count = systems.parse::<Vec<Value>>().map_or(0, |systems| systems.len());
    Ok(Json(json!({ "systems": count })))
}

#[tokio::main]
async fn main() -> ExitCode {
    let run = async { plugin(Environment::read()?)?.run().await };
    let Err(error) = run.await else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    error.exit_code()
}
