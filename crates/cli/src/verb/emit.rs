//! `polywire emit`: one event.

use std::time::Duration;

use polywire_core::{BinaryForm, Body, Count, Event, EventForm};

use crate::body::BodyArgs;
use crate::connect::connect;
use crate::exit::{Exit, Fault, exit_of};
use crate::output::{Line, failed, say};
use crate::target::Url;
use crate::verb::call::{explain, nothing, or_print};
use crate::verb::{Context, duration, route};

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The peer, such as sockhop://127.0.0.1:50000
    url: String,
    /// The name of the event
    route: String,
    #[command(flatten)]
    body: BodyArgs,
    /// Longest time for connecting
    #[arg(long, value_parser = duration, default_value = "15s", value_name = "TIME")]
    timeout: Duration,
}

/// Refuses what the wire cannot carry, because once it is queued nobody hears of it any more.
fn look_over(event: &Event, url: &Url) -> Result<(), Fault> {
    let (adapter, options, name) = (&url.adapter, &url.target.options, &*event.route);
    let wire = adapter.name();
    if adapter.reserved_routes().contains(&name) {
        return Err(Fault::usage(format_args!("{name:?} is no event of yours: {wire} uses it itself")));
    }
    let has_bytes = adapter.capabilities(options)?.binary != BinaryForm::None;
    if matches!(event.body, Body::Binary(_)) && !has_bytes {
        return Err(Fault::usage(format_args!("{wire} carries no bytes")).hint("send them as base64 in JSON"));
    }
    Ok(())
}

/// Says what a peer does not hear, whatever it is sent.
fn tell_unheard(event: &Event, url: &Url) -> Result<(), Fault> {
    let (adapter, options, name) = (&url.adapter, &url.target.options, &*event.route);
    if let EventForm::Only(names) = adapter.particulars(options)?.client_events
        && !names.contains(&name)
    {
        say(format_args!("over {} only these events are heard: {}", adapter.name(), names.join(", ")));
    }
    Ok(())
}

/// Runs the verb. It ends well once the event was written to the connection; no wire here has receipts for events.
///
/// # Errors
/// What stood in the way, after the line that says so on standard output.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let url = Url::parse(&args.url, &context.adapters)?;
    let event = Event::new(route(args.route)?, args.body.load()?);
    look_over(&event, &url)?;
    let connected = or_print(connect(url.clone(), nothing()?, args.timeout).await)?;
    tell_unheard(&event, &url)?;
    if let Err(error) = connected.client.caller().notify(event).await {
        failed(&error).print()?;
        return Err(explain(&error, exit_of(&error)));
    }
    let ledger = connected.client.ledger().clone();
    connected.client.shutdown().await;
    if ledger.get(Count::EventsNotSent) > 0 {
        return Err(Fault::new(Exit::Connect, "the connection was lost before the event was written")
            .hint("nothing was sent: it is safe to try again"));
    }
    Line::new().flag("ok", true).print()
}
