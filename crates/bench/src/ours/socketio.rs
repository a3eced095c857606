//! polywire as a Socket.IO client under measurement.

use std::io::BufRead;
use std::sync::Arc;

use clap::Args;
use polywire_core::{Body, Credentials, Endpoint, JsonText, Request, Route};
use polywire_socketio::{Config, dial};

use super::Echo;
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
}

/// Connects and says `READY`; for each line on standard input makes its calls and says `DONE`.
///
/// # Errors
/// When the server cannot be reached or a call fails.
pub(crate) async fn drive(drive: Drive) -> Result<(), String> {
    let endpoint = Endpoint::new("socketio", Echo);
    let credentials = Arc::new(Credentials::guest());
    let client =
        dial(&drive.address, Config::default(), credentials, endpoint).map_err(|error| error.to_string())?;
    client.ready().await.map_err(|failure| failure.to_string())?;
    println!("READY");
    let body = JsonText::from_validated(sockhop::body(100).into());
    loop {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next()).await;
        let Ok(Some(Ok(_))) = line else { return Ok(()) };
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
}
