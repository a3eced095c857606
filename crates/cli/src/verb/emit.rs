//! `polywire emit`: one event.

use std::time::Duration;

use polywire_core::{Count, Event, EventForm};

use crate::body::BodyArgs;
use crate::connect::connect;
use crate::exit::{Exit, Fault, exit_of};
use crate::output::{Line, failed};
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

/// Runs the verb. It ends well once the event was written to the connection; no wire here has receipts for events.
///
/// # Errors
/// What stood in the way, after the line that says so on standard output.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let url = Url::parse(&args.url, &context.adapters)?;
    let event = Event::new(route(args.route)?, args.body.load()?);
    if let EventForm::Only(names) = url.adapter.particulars(&url.target.options)?.client_events
        && !names.contains(&&*event.route)
    {
        let wire = url.adapter.name();
        eprintln!("polywire: over {wire} only these events are heard: {}", names.join(", "));
    }
    let connected = or_print(connect(url, nothing()?, args.timeout).await)?;
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
