//! `polywire run`: the bridge.

use std::path::PathBuf;

use polywire_bridge::{Bridge, Config, EndpointState, Snapshot, StartError};
use polywire_core::{AdapterError, Surroundings};

use crate::exit::{Exit, Fault};
use crate::output::{Line, say};
use crate::signals;
use crate::verb::{Context, check};

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The bridge file
    file: PathBuf,
}

/// Runs the verb: prints one line for each endpoint that listens, then carries messages until a signal, then drains.
///
/// # Errors
/// When the file has errors, an address cannot be had, or a required endpoint refuses the login for good.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let config = check::read(&args.file)?;
    let bridge = start(&config, context).await?;
    let shutdown = bridge.shutdown_handle().clone();
    let signals = tokio::spawn(signals::drain_then_stop(shutdown.clone()));
    for (endpoint, protocol, address) in listeners(&bridge.snapshot()) {
        Line::new()
            .text("endpoint", &endpoint)
            .text("protocol", protocol)
            .text("address", &address)
            .print()?;
    }
    say("carrying messages; Ctrl-C drains and ends");
    let required = tokio::select! {
        biased;
        () = shutdown.draining() => Ok(()),
        required = bridge.ready() => required,
    };
    let outcome = match required {
        Ok(()) => {
            shutdown.draining().await;
            Ok(())
        }
        Err(not_ready) => Err(Fault::new(Exit::Connect, not_ready)),
    };
    let last = bridge.snapshot();
    bridge.shutdown().await;
    signals.abort();
    for route in &last.routes {
        let endings: Vec<_> =
            route.endings.iter().map(|(ending, count)| format!("{count} {}", ending.as_str())).collect();
        say(format_args!("{}: {} received, {}", route.title, route.received, endings.join(", ")));
    }
    outcome
}

/// Starts a bridge.
///
/// # Errors
/// When the file has errors or an endpoint cannot be had.
pub(crate) async fn start(config: &Config, context: &Context) -> Result<Bridge, Fault> {
    Bridge::start(config, &context.adapters, Surroundings::real()).await.map_err(|error| match &error {
        StartError::Check(_) => {
            let hint = format!("polywire check {} names them", config.name());
            Fault::new(Exit::Findings, error).hint(hint)
        }
        StartError::Endpoint { source: AdapterError::Listen { .. }, .. } => Fault::new(Exit::Connect, error),
        _ => Fault::usage(error),
    })
}

/// The endpoints that listen: name, protocol, address.
pub(crate) fn listeners(snapshot: &Snapshot) -> Vec<(String, &'static str, String)> {
    let listening = snapshot.endpoints.iter().filter_map(|endpoint| match &endpoint.state {
        EndpointState::Server { address, .. } => {
            Some((endpoint.name.clone(), endpoint.protocol, address.clone()))
        }
        _ => None,
    });
    listening.collect()
}
