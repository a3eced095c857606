//! `polywire call`: one request, and its one outcome as one line.

use std::path::PathBuf;
use std::time::Duration;

use polywire_core::{Adapter, Body, CallError, Code, Failure, Request, Retry, Router};

use crate::body::BodyArgs;
use crate::connect::{Connected, connect};
use crate::exit::{Exit, Fault};
use crate::output::{Line, failed};
use crate::target::Url;
use crate::verb::{Context, duration, route};

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The peer, such as sockhop://127.0.0.1:50000
    url: String,
    /// The route to call
    route: String,
    #[command(flatten)]
    body: BodyArgs,
    /// Longest time for connecting and the call together; without it what `polywire help call` names for the wire
    #[arg(long, value_parser = duration, value_name = "TIME")]
    timeout: Option<Duration>,
    /// Write the body of the answer to this file, bytes as they are, instead of printing it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// What stood in the way, after the line that says so on standard output.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let url = Url::parse(&args.url, &context.adapters)?;
    let route = route(args.route)?;
    let body = args.body.load()?;
    let timeout = longest(args.timeout, &*url.adapter);
    let end = tokio::time::Instant::now() + timeout;
    let connected = or_print(connect(url, nothing()?, timeout).await)?;
    let left = end.saturating_duration_since(tokio::time::Instant::now());
    match connected.call(Request::new(route, body).timeout(left)).await {
        Ok(response) => {
            print(&response.body, args.output)?;
            connected.client.shutdown().await;
            Ok(())
        }
        Err((error, exit)) => {
            failed(&error).print()?;
            Err(explain(&error, exit))
        }
    }
}

/// How long connecting and the call may take together.
fn longest(asked: Option<Duration>, adapter: &dyn Adapter) -> Duration {
    asked.unwrap_or(adapter.limits().call_timeout)
}

/// A client that serves nothing: what the peer asks of it is answered `not_found`.
pub(crate) fn nothing() -> Result<Router, Fault> {
    Router::new().build().map_err(|error| Fault::new(Exit::Bug, error))
}

/// Says on standard output too that there is no connection, then hands the fault on.
pub(crate) fn or_print(connected: Result<Connected, Fault>) -> Result<Connected, Fault> {
    if let Err(fault) = &connected
        && fault.exit != Exit::Usage
    {
        let code = match fault.exit {
            Exit::Login => Code::Unauthenticated,
            Exit::Limit => Code::ResourceExhausted,
            _ => Code::Unavailable,
        };
        let mut failure = Failure::new(code, fault.what.clone()).with_retry(Retry::Safe);
        failure.detail.clone_from(&fault.detail);
        failed(&CallError::NotSent(failure)).print()?;
    }
    connected
}

fn print(body: &Body, output: Option<PathBuf>) -> Result<(), Fault> {
    let line = Line::new().flag("ok", true);
    let Some(path) = output else { return line.body(body).print() };
    let bytes = match body {
        Body::Empty => &[][..],
        Body::Json(text) => text.as_bytes(),
        Body::Binary(binary) => &binary.bytes,
    };
    std::fs::write(&path, bytes)
        .map_err(|error| Fault::usage(format_args!("cannot write {}: {error}", path.display())))?;
    let line = line.text("output", &path.to_string_lossy()).number("bytes", bytes.len() as u64);
    match body {
        Body::Binary(binary) => line.text("type", &binary.kind).print(),
        _ => line.print(),
    }
}

pub(crate) fn explain(error: &CallError, exit: Exit) -> Fault {
    let hint = match (error, exit) {
        (CallError::Unknown(_), _) => "the peer may have acted: look there before sending it again",
        (_, Exit::Denied) => "check the name of the route, and who may use it",
        (_, Exit::Login) => "check the user and the secret",
        (_, Exit::Limit) => "wait and try again, or raise the limit that the message names",
        (CallError::NotSent(_), Exit::Usage) => {
            "this wire cannot carry that: change the route or the body as the message says"
        }
        (CallError::NotSent(_), _) => "nothing was sent: it is safe to try again",
        _ => return Fault::new(exit, error),
    };
    Fault::new(exit, error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_time_that_its_wire_has_unless_it_is_told() {
        let second = Duration::from_secs(1);
        assert_eq!(longest(None, &polywire_hyperhq::ADAPTER), 30 * second);
        assert_eq!(longest(None, &polywire_hpx::ADAPTER), 10 * second);
        assert_eq!(longest(None, &polywire_sockhop::ADAPTER), 15 * second);
        assert_eq!(longest(Some(second), &polywire_hyperhq::ADAPTER), second);
    }
}
