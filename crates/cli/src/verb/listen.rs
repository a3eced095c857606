//! `polywire listen`: prints the events of a peer, across reconnects.

use std::time::Duration;

use polywire_core::{
    Body, ClientState, Code, Failure, GAP, Handler, HandlerFuture, Incoming, Kind, Response, Shutdown,
};
use tokio::sync::mpsc;

use crate::connect::connect;
use crate::exit::{Exit, Fault};
use crate::output::{Line, say};
use crate::signals;
use crate::target::Url;
use crate::verb::{Context, duration};

/// Events that wait to be printed; beyond it the peer is read no further.
const WAITING: usize = 256;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The peer, such as sockhop://127.0.0.1:50000
    url: String,
    /// Events to print; a * stands for any text. All of them when there is none
    pattern: Vec<String>,
    /// End after that many events
    #[arg(short, value_name = "N")]
    number: Option<u64>,
    /// End after this time; with -n, fewer events than that by then end with code 4
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    span: Option<Duration>,
    /// Longest time for the first connection
    #[arg(long, value_parser = duration, default_value = "15s", value_name = "TIME")]
    timeout: Duration,
}

/// Runs the verb.
///
/// # Errors
/// When there is no first connection, when the peer refuses the login for good, or when `-n` was not reached in time.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let mut url = Url::parse(&args.url, &context.adapters)?;
    subscribe(&mut url, &args.pattern)?;
    let shutdown = Shutdown::new();
    let signals = tokio::spawn(signals::drain_then_stop(shutdown.clone()));
    let (print, mut events) = mpsc::channel(WAITING);
    let connected = connect(url, Printer { patterns: args.pattern, print }, args.timeout).await?;
    say("connected, waiting for events");
    let mut states = connected.client.watch();
    let mut printed = 0;
    let end = async {
        match args.span {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    while args.number.is_none_or(|number| printed < number) {
        tokio::select! {
            biased;
            () = shutdown.draining() => break,
            Some((line, counts)) = events.recv() => {
                line.print()?;
                printed += u64::from(counts);
            }
            () = &mut end => match args.number {
                Some(number) => {
                    let what = format!("{printed} of {number} events came in the time given");
                    return Err(Fault::new(Exit::Outcome, what));
                }
                None => break,
            },
            over = states.wait_for(|state| matches!(state, ClientState::Refused(_) | ClientState::Closed(_))) => {
                let why = match over.as_deref() {
                    Ok(ClientState::Refused(refusal)) => refusal.to_string(),
                    Ok(ClientState::Closed(why)) => why.clone(),
                    _ => "the client is over".to_owned(),
                };
                return Err(connected.fault(&why));
            }
        }
    }
    signals.abort();
    connected.client.shutdown().await;
    Ok(())
}

/// Asks for the events that are named, where a wire tells only what was asked for.
fn subscribe(url: &mut Url, patterns: &[String]) -> Result<(), Fault> {
    let asks = url.adapter.options().iter().any(|option| option.name == "events");
    if !asks || url.target.options.text("events").is_some() {
        return Ok(());
    }
    let names: Vec<_> = patterns.iter().map(String::as_str).filter(|name| !name.contains('*')).collect();
    if names.is_empty() {
        let why = format!("{} tells only events that are asked for by name", url.adapter.name());
        return Err(Fault::usage(why).hint("name them after the URL, or in it as events=ONE,OTHER"));
    }
    url.target.options.set("events", names.join(","));
    Ok(())
}

/// Turns events into lines. A gap is told whatever the patterns are.
struct Printer {
    patterns: Vec<String>,
    print: mpsc::Sender<(Line, bool)>,
}

impl Handler for Printer {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Request {
            return Box::pin(async {
                Err(Failure::new(
                    Code::Unimplemented,
                    "polywire listen prints events and answers no requests",
                ))
            });
        }
        let gap = incoming.route == GAP;
        let wanted =
            self.patterns.is_empty() || self.patterns.iter().any(|pattern| matches(pattern, &incoming.route));
        let line = match &incoming.body {
            Body::Json(text) if gap => Line::new().json("gap", text),
            body => Line::new().text("event", &incoming.route).body(body),
        };
        let print = self.print.clone();
        Box::pin(async move {
            if gap || wanted {
                // Nobody prints any more once the verb is over.
                let _ = print.send((line, !gap)).await;
            }
            Ok(Response::default())
        })
    }
}

/// Does `name` match `pattern`, in which every `*` stands for any text?
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<_> = tail.split('*').collect();
    let Some(last) = parts.pop() else { return true };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("tick", "tick", true),
            ("tick", "ticks", false),
            ("*", "", true),
            ("pose.*", "pose.left", true),
            ("pose.*", "pose", false),
            ("*.left", "pose.left", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("ab*bc", "abc", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
