//! Socket.IO clients under measurement: polywire, and the bare loop.

use std::io::{self, BufRead};
use std::sync::Arc;

use clap::Args;
use polywire_core::{Body, Credentials, Endpoint, JsonText, Request, Route};
use polywire_socketio::{Config, dial};
use serde_json::value::RawValue;

use super::Echo;
use crate::bare;
use crate::load::sockhop;

/// A client that asks when it is told to.
#[derive(Args, Debug)]
pub(crate) struct Drive {
    /// The server to ask.
    address: String,
    /// Calls for each line on standard input.
    calls: u64,
    /// Calls in flight at a time.
    in_flight: u64,
    /// Be the bare loop.
    #[arg(long)]
    bare: bool,
}

/// Connects and says `READY`; for each line on standard input makes its calls and says `DONE`.
///
/// # Errors
/// When the server cannot be reached or a call fails.
pub(crate) async fn drive(drive: Drive) -> Result<(), String> {
    if drive.bare {
        return drive_bare(drive).await.map_err(|error| error.to_string());
    }
    let endpoint = Endpoint::new("socketio", Echo);
    let credentials = Arc::new(Credentials::guest());
    let client =
        dial(&drive.address, Config::default(), credentials, endpoint).map_err(|error| error.to_string())?;
    client.ready().await.map_err(|failure| failure.to_string())?;
    println!("READY");
    let body = JsonText::from_validated(sockhop::body(100).into());
    while told().await {
        let lanes: Vec<_> = (0..drive.in_flight)
            .map(|_| {
                let (caller, body) = (client.caller().clone(), Body::Json(body.clone()));
                let calls = drive.calls / drive.in_flight;
                tokio::spawn(async move {
                    for _ in 0..calls {
                        let request = Request::new(Route::from_static("echo"), body.clone());
                        let answer = caller.call(request).await.map_err(|error| error.to_string())?;
                        if answer.body != body {
                            return Err("another answer".to_owned());
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for lane in lanes {
            lane.await.map_err(|error| error.to_string())??;
        }
        println!("DONE");
    }
    Ok(())
}

async fn drive_bare(drive: Drive) -> io::Result<()> {
    let mut client = bare::socketio::Asking::join(&drive.address).await?;
    println!("READY");
    let body = RawValue::from_string(sockhop::body(100))?;
    while told().await {
        client.calls(drive.calls, drive.in_flight, &body).await?;
        println!("DONE");
    }
    Ok(())
}

/// A line has come on standard input; `false` when there are no more.
async fn told() -> bool {
    let line = tokio::task::spawn_blocking(|| io::stdin().lock().lines().next()).await;
    matches!(line, Ok(Some(Ok(_))))
}
