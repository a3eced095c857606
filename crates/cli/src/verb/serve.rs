//! `polywire serve`: the demo service on every URL named.

use std::sync::Arc;

use polywire_core::{Count, Endpoint, Server, Shutdown};

use crate::exit::Fault;
use crate::output::{Line, say};
use crate::service;
use crate::signals;
use crate::target::Url;
use crate::verb::Context;

/// The option by which a wire with a login lets anybody in.
const GUESTS: &str = "guests";

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen, such as sockhop://127.0.0.1:0; port 0 takes any free one
    #[arg(required = true)]
    url: Vec<String>,
}

/// Runs the verb: prints one line for each listener, then serves until a signal, then drains.
///
/// # Errors
/// When a URL is wrong or its address cannot be had.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let urls: Vec<_> =
        args.url.iter().map(|url| Url::parse(url, &context.adapters)).collect::<Result<_, _>>()?;
    let shutdown = Shutdown::new();
    let signals = tokio::spawn(signals::drain_then_stop(shutdown.clone()));
    let mut servers = Vec::new();
    for url in urls {
        let endpoint = service::endpoint(&*url.adapter, &url.target.options, None)?;
        // What a peer may end on a wire is this program.
        let server = listen(&url, Endpoint { shutdown: shutdown.clone(), ..endpoint }).await?;
        Line::new()
            .text("listening", url.adapter.name())
            .text("address", server.address())
            .text("url", &url.at(server.address()))
            .print()?;
        servers.push((url.adapter.name(), server));
    }
    say("serving; Ctrl-C drains and ends");
    shutdown.draining().await;
    for (wire, server) in servers {
        let ledger = Arc::clone(server.ledger());
        server.shutdown().await;
        let answered = ledger.get(Count::RequestsAnswered);
        let failed = ledger.get(Count::RequestsFailed);
        let connections = ledger.get(Count::Connections);
        say(format_args!("{wire}: {connections} connections, {answered} requests answered, {failed} failed"));
    }
    signals.abort();
    Ok(())
}

/// Serves at `url`. Where a wire has a login, the URL's user may log in; without one, guests may.
pub(crate) async fn listen(url: &Url, endpoint: Endpoint) -> Result<Server, Fault> {
    let mut target = url.target.clone();
    let knows_guests = url.adapter.options().iter().any(|spec| spec.name == GUESTS);
    if knows_guests && target.user.is_none() && target.options.text(GUESTS).is_none() {
        target.options.set(GUESTS, "1");
    }
    Ok(url.adapter.listen(target, endpoint).await?)
}
