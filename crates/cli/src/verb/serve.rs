//! `polywire serve`: the demo service on every URL named.

use std::sync::Arc;

use polywire_core::{Count, Endpoint, Server, Shutdown, Target};
use polywire_net::tcp::is_loopback;

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
        let endpoint = service::endpoint(&*url.adapter, &url.target.options)?;
        // What a peer may end on a wire is this program.
        let server = listen(&url, Endpoint { shutdown: shutdown.clone(), ..endpoint }).await?;
        if is_open_to_anybody(&url) {
            let (wire, address) = (url.adapter.name(), server.address());
            say(format_args!("anybody who reaches {address} may call it: {wire} asks for no login here"));
        }
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

/// Serves at `url`. Where a wire has users, the one of the URL may log in; without one guests may, on this machine. Whoever wants
/// guests from elsewhere says so.
///
/// # Errors
/// When nobody could log in, an option is wrong, or the address cannot be had.
pub(crate) async fn listen(url: &Url, endpoint: Endpoint) -> Result<Server, Fault> {
    let url = with_guests(url.clone())?;
    Ok(url.adapter.listen(url.target, endpoint).await?)
}

/// The same, for guests too where otherwise nobody could log in, on this machine.
fn with_guests(mut url: Url) -> Result<Url, Fault> {
    let target = &mut url.target;
    let knows_guests = url.adapter.options().iter().any(|spec| spec.name == GUESTS);
    if knows_guests && target.user.is_none() && target.options.text(GUESTS).is_none() {
        if !is_local(target) {
            let (wire, address) = (url.adapter.name(), &target.address);
            let why = format!(
                "{wire} lets in guests from this machine alone, and {address} is reached from others"
            );
            let hint = "name a user by user@ and ?password=env:NAME, or let everybody in by ?guests=1";
            return Err(Fault::usage(why).hint(hint));
        }
        target.options.set(GUESTS, "1");
    }
    Ok(url)
}

/// May whoever reaches it from another machine call it?
fn is_open_to_anybody(url: &Url) -> bool {
    let Target { user, options, .. } = &url.target;
    let guests = options.flag(GUESTS).is_ok_and(|said| said == Some(true));
    // A certificate says who serves, not who may call.
    let specs = url.adapter.options().iter().filter(|spec| !spec.name.starts_with("tls_"));
    let asks = user.is_some() || specs.filter_map(|spec| options.secret(spec.name)).next().is_some();
    !is_local(&url.target) && (guests || !asks)
}

/// Is it reached from this machine alone?
fn is_local(target: &Target) -> bool {
    target.unix || is_loopback(&target.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::adapters;

    fn url(text: &str) -> Url {
        Url::parse(text, &adapters()).unwrap()
    }

    #[test]
    fn guests_come_from_this_machine_unless_somebody_says_otherwise() {
        let guests =
            |text: &str| with_guests(url(text)).map(|url| url.target.options.text(GUESTS).map(str::to_owned));
        for local in ["hpx://127.0.0.1:0", "hpx://localhost:7007", "hpx://[::1]:0"] {
            assert_eq!(guests(local).unwrap().as_deref(), Some("1"), "{local}");
        }
        for open in ["hpx://0.0.0.0:0", "hpx://[::]:0", "hpx://192.0.2.7:0"] {
            let fault = guests(open).unwrap_err();
            assert!(fault.hint.unwrap().contains("guests=1"), "{open}");
        }
        for said in ["0", "1"] {
            let found = guests(&format!("hpx://0.0.0.0:0?guests={said}")).unwrap();
            assert_eq!(found.as_deref(), Some(said));
        }
        assert_eq!(guests("hpx://alice@0.0.0.0:0").unwrap(), None, "alice logs in");
        assert_eq!(guests("sockhop://0.0.0.0:0").unwrap(), None, "it has no login");
    }

    #[test]
    fn what_anybody_may_call_is_told_from_what_asks_for_something() {
        for open in [
            "sockhop://0.0.0.0:0",
            "sockhop://0.0.0.0:0?tls=1&tls_cert=env:CARGO_PKG_NAME&tls_key=env:CARGO_PKG_NAME",
            "socketio://192.0.2.7:3000",
            "hpx://0.0.0.0:0?guests=1",
            "hpx://alice@0.0.0.0:0?guests=1",
        ] {
            assert!(is_open_to_anybody(&url(open)), "{open}");
        }
        for shut in ["sockhop://127.0.0.1:0", "sockhop+unix:a.sock", "hpx://alice@0.0.0.0:0"] {
            assert!(!is_open_to_anybody(&url(shut)), "{shut}");
        }
        let mut keyed = url("stonyx://0.0.0.0:0");
        keyed.target.options.set_secret("key", "a key of the tests, long enough".into());
        assert!(!is_open_to_anybody(&keyed));
    }
}
