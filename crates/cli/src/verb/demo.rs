//! `polywire demo`: every wire on this machine with one service behind them, a bridge between them, and a table of what works.

mod probe;
mod table;

use std::sync::Arc;
use std::time::Duration;

use polywire_bridge::{Bridge, Config, Source};
use polywire_core::{
    Adapter, BinaryForm, Body, Caller, Capabilities, Client, Close, Endpoint, Observe, Peer, ProgressForm,
    Random, Route, Router, Secret, Server, Shutdown, SystemRandom,
};
use tokio::sync::{mpsc, watch};

use crate::connect::connect;
use crate::exit::{Exit, Fault};
use crate::output::{say, write_out};
use crate::service;
use crate::signals;
use crate::target::Url;
use crate::terminal;
use crate::verb::{Context, run, serve};

use probe::{Ears, Form, Probe};
use table::{Live, Room, Row};

/// The bridge file that is shipped.
const BRIDGE: &str = include_str!("../../../../examples/demo.toml");

/// Which service each of its endpoints dials.
const BRIDGE_DIALS: [(&str, &str); 5] = [
    ("robot", "sockhop"),
    ("library", "hpx"),
    ("farm", "stonyx"),
    ("chat", "socketio"),
    ("arcade", "hyperhq"),
];
/// Where it listens, at any free port, and what is looked at there.
const BRIDGE_LISTENS: [Door; 5] = [
    Door {
        told: Some(("sockhop", "sockhop > sockhop")),
        ..Door::new("workers", "sockhop > hpx", Form::Typed)
    },
    Door::new("readers", "hpx > sockhop", Form::Arguments),
    Door {
        told: Some(("socketio", "socketio > stonyx")),
        ..Door::new("scripts", "stonyx > socketio", Form::Json)
    },
    Door {
        told: Some(("hyperhq", "hyperhq > socketio")),
        asked: Some(("hyperhq", "hyperhq > socketio")),
        ..Door::new("pages", "socketio > hyperhq", Form::Json)
    },
    Door {
        told: Some(("stonyx", "stonyx > hyperhq")),
        ..Door::new("plugins", "hyperhq > stonyx", Form::Json)
    },
];

/// An endpoint of the bridge that is dialled in the demo.
#[derive(Clone, Copy, Debug)]
struct Door {
    endpoint: &'static str,
    /// The wire in front of the bridge and the one behind it.
    title: &'static str,
    form: Form,
    /// Whose service tells events to whoever dialled, and the wires they cross.
    told: Option<(&'static str, &'static str)>,
    /// Whose service asks whoever dialled, and the wires that crosses.
    asked: Option<(&'static str, &'static str)>,
}

impl Door {
    const fn new(endpoint: &'static str, title: &'static str, form: Form) -> Self {
        Self { endpoint, title, form, told: None, asked: None }
    }
}

/// Events that the service is asked for, and events that the robot tells over the bridge.
const ASKED: Route = Route::from_static("tick");
const TOLD: Route = Route::from_static("pose");

/// Calls of each row before the first table.
const FIRST_ROUND: u32 = 200;
/// Calls of each row every second after it.
const LATER_ROUND: u32 = 10;
/// Longest wait for one connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the command line says.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// End after the table: with 0 when every row held, with 9 when not
    #[arg(long)]
    once: bool,
    /// Print the rows as lines of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// When something could not be started, or when a row did not hold.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let router = service::router().map_err(|error| Fault::new(Exit::Bug, error))?;
    perform(args, context, router).await
}

/// Runs the verb with `router` behind every wire, and behind whoever dials one.
async fn perform(args: Args, context: &Context, router: Router) -> Result<(), Fault> {
    let shutdown = Shutdown::new();
    let signals = tokio::spawn(signals::drain_then_stop(shutdown.clone()));
    let mut stage = Stage::new(context, router);
    stage.open_all().await?;
    stage.round(FIRST_ROUND).await;
    let live = !args.once && !args.json && terminal::is_there();
    if args.json {
        stage.rows().try_for_each(|row| row.line().print())?;
    } else if !live {
        write_out(table::text(stage.rows(), terminal::is_there()).as_bytes())?;
    }
    if !args.once {
        stage.go_on(live, &shutdown).await?;
    }
    let outcome = stage.judge();
    tokio::select! {
        () = stage.close() => {}
        () = shutdown.stopped() => {}
    }
    signals.abort();
    outcome
}

/// Everything that runs in a demo.
struct Stage<'a> {
    context: &'a Context,
    /// What serves on every wire.
    router: Router,
    /// What both ends of a wire with a shared key have.
    key: Secret,
    servers: Vec<(Url, Server)>,
    /// What the bridge dials where that must be a service of its own.
    behind_bridge: Vec<Service>,
    clients: Vec<Client>,
    bridge: Option<Bridge>,
    probes: Vec<Probe>,
}

/// A server of the demo, and who came to it first.
struct Service {
    wire: &'static str,
    server: Server,
    arrived: watch::Receiver<Option<Caller>>,
}

impl Service {
    /// The caller of its first client.
    async fn first_client(&mut self) -> Result<Caller, Fault> {
        let arrived = tokio::time::timeout(TIMEOUT, self.arrived.wait_for(Option::is_some)).await;
        let caller = arrived.ok().and_then(|arrived| arrived.ok()?.clone());
        caller.ok_or_else(|| Fault::new(Exit::Connect, "the server does not know its client"))
    }
}

/// A client of the demo and what it hears.
struct Dialled {
    caller: Caller,
    capabilities: Capabilities,
    heard: mpsc::Receiver<Body>,
}

/// Knows the caller of the first peer that came.
struct Arrivals(watch::Sender<Option<Caller>>);

impl Observe for Arrivals {
    fn connected(&self, peer: &Peer) {
        if self.0.borrow().is_none() {
            self.0.send_replace(peer.caller().cloned());
        }
    }

    fn disconnected(&self, _: &Peer, _: &Close) {}
}

fn takes(adapter: &dyn Adapter, name: &str) -> bool {
    adapter.options().iter().any(|option| option.name == name)
}

fn fresh_key() -> Secret {
    let mut bytes = [0_u8; 32];
    SystemRandom.fill(&mut bytes);
    Secret::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

impl<'a> Stage<'a> {
    fn new(context: &'a Context, router: Router) -> Self {
        Self {
            context,
            router,
            key: fresh_key(),
            servers: Vec::new(),
            behind_bridge: Vec::new(),
            clients: Vec::new(),
            bridge: None,
            probes: Vec::new(),
        }
    }

    /// Opens every wire, and the bridge between them.
    async fn open_all(&mut self) -> Result<(), Fault> {
        let context = self.context;
        let listens = |wire: &&str| context.adapters.get(wire).is_some_and(|adapter| adapter.listens());
        for wire in context.adapters.names().filter(listens) {
            self.open(wire).await?;
        }
        self.put_bridge_between().await
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.probes.iter().map(|probe| &probe.row)
    }

    fn url(&self, wire: &str, address: &str) -> Result<Url, Fault> {
        let mut url = Url::parse(&format!("{wire}://{address}"), &self.context.adapters)?;
        let [key, challenge, errors] =
            ["key", "challenge", "errors_in_reply"].map(|option| takes(&*url.adapter, option));
        if key {
            url.target.options.set_secret("key", self.key.clone());
        }
        if errors {
            url.target.options.set("errors_in_reply", "1");
        }
        if challenge {
            url.target.options.set("plugin", "demo");
            url.target.options.set_secret("challenge", self.key.clone());
        }
        Ok(url)
    }

    async fn dial(&mut self, mut url: Url, event: Route) -> Result<Dialled, Fault> {
        if takes(&*url.adapter, "events") {
            url.target.options.set("events", event.as_str());
        }
        let capabilities = url.adapter.capabilities(&url.target.options)?;
        let (ears, heard) = Ears::new(self.router.clone(), event);
        let client = connect(url, ears, TIMEOUT).await?.client;
        let caller = client.caller().clone();
        self.clients.push(client);
        Ok(Dialled { caller, capabilities, heard })
    }

    async fn serve(&self, wire: &'static str) -> Result<Service, Fault> {
        let url = self.url(wire, "127.0.0.1:0")?;
        let (arrivals, arrived) = watch::channel(None);
        let handler = service::behind(self.router.clone(), &*url.adapter, &url.target.options)?;
        let observer: Arc<dyn Observe> = Arc::new(Arrivals(arrivals));
        let endpoint = Endpoint { observer: Some(observer), ..Endpoint::on(&*url.adapter, handler) };
        let server = serve::listen(&url, endpoint).await?;
        Ok(Service { wire, server, arrived })
    }

    /// Serves the service on one wire, and looks at every way a message can go there.
    async fn open(&mut self, wire: &'static str) -> Result<(), Fault> {
        let mut service = self.serve(wire).await?;
        let url = self.url(wire, service.server.address())?;
        let dialled = self.dial(url.clone(), ASKED).await?;
        let Dialled { caller, capabilities, heard } = dialled;
        let form = match capabilities {
            Capabilities { object_arguments: true, .. } => Form::ByName,
            Capabilities { progress: ProgressForm::Connection, .. } => Form::Arguments,
            Capabilities { binary: BinaryForm::Typed, .. } => Form::Typed,
            _ => Form::Json,
        };
        let rows = &mut self.probes;
        rows.push(Probe::calls(wire, "client asks", caller.clone(), form)?);
        if capabilities.server_calls {
            let back = service.first_client().await?;
            rows.push(Probe::calls(wire, "server asks", back, Form::Json)?);
        }
        if capabilities.push {
            rows.push(Probe::asked_events(wire, "events back", ASKED, caller, heard));
        }
        self.servers.push((url, service.server));
        Ok(())
    }

    /// Puts the bridge of the shipped file between the services, and looks at every way through it.
    async fn put_bridge_between(&mut self) -> Result<(), Fault> {
        let mut config = Config::parse(Source::new("examples/demo.toml", BRIDGE));
        for (endpoint, wire) in BRIDGE_DIALS {
            // A challenge is good for one login, and the demo's own client has used it.
            if self.context.adapters.get(wire).is_some_and(|adapter| takes(&**adapter, "challenge")) {
                let service = self.serve(wire).await?;
                self.behind_bridge.push(service);
            }
            let address = self.behind(wire).map_or("", Server::address);
            config.set_address(endpoint, address);
            self.share_key(&mut config, endpoint, wire);
        }
        for Door { endpoint, title, .. } in BRIDGE_LISTENS {
            config.set_address(endpoint, "127.0.0.1:0");
            let wire = title.split(' ').next().unwrap_or_default();
            self.share_key(&mut config, endpoint, wire);
        }
        let bridge = run::start(&config, self.context).await?;
        let listeners = run::listeners(&bridge.snapshot());
        self.bridge = Some(bridge);
        for (endpoint, wire, address) in listeners {
            let Some(door) = BRIDGE_LISTENS.iter().find(|door| door.endpoint == endpoint) else { continue };
            self.look_through(door, wire, &address).await?;
        }
        Ok(())
    }

    /// The service that the bridge dials on this wire.
    fn behind(&self, wire: &str) -> Option<&Server> {
        let own =
            self.behind_bridge.iter().find(|service| service.wire == wire).map(|service| &service.server);
        own.or_else(|| {
            let shared = self.servers.iter().find(|(url, _)| url.adapter.name() == wire);
            shared.map(|(_, server)| server)
        })
    }

    /// Puts the key of this demo in place of the one the bridge file names.
    fn share_key(&self, config: &mut Config, endpoint: &str, wire: &str) {
        let Some(adapter) = self.context.adapters.get(wire) else { return };
        for option in ["key", "challenge"].into_iter().filter(|option| takes(&**adapter, option)) {
            config.set_secret(endpoint, option, self.key.clone());
        }
    }

    /// Looks at every way through one endpoint of the bridge.
    async fn look_through(&mut self, door: &Door, wire: &str, address: &str) -> Result<(), Fault> {
        let dialled = self.dial(self.url(wire, address)?, TOLD).await?;
        self.probes.push(Probe::calls(door.title, "over the bridge", dialled.caller, door.form)?);
        if let Some((teller, title)) = door.told
            && let Some(teller) = self.behind(teller)
        {
            let audience = teller.audience();
            self.probes.push(Probe::told_events(title, "events bridged", TOLD, audience, dialled.heard));
        }
        if let Some((asker, title)) = door.asked
            && let Some(asker) = self.behind_bridge.iter_mut().find(|service| service.wire == asker)
        {
            let caller = asker.first_client().await?;
            self.probes.push(Probe::calls(title, "server asks, bridged", caller, Form::Json)?);
        }
        Ok(())
    }

    /// Serves on, with a few calls a second and the table redrawn if it is `live`, until a signal.
    async fn go_on(&mut self, live: bool, shutdown: &Shutdown) -> Result<(), Fault> {
        // Where both ends must have a key, nobody outside has that of the demo.
        let open = |url: &Url| !["key", "challenge"].iter().any(|option| takes(&*url.adapter, option));
        for (url, server) in self.servers.iter().filter(|(url, _)| open(url)) {
            let body = if url.adapter.name() == "hpx" { r#"{"value":"hello"}"# } else { r#""hello""# };
            say(format_args!("try: polywire call {} reverse '{body}'", url.at(server.address())));
        }
        if let Some(bridge) = &self.bridge {
            for (endpoint, wire, address) in run::listeners(&bridge.snapshot()) {
                say(format_args!("the bridge's {endpoint} listen at {wire}://{address}"));
            }
        }
        say("serving; Ctrl-C ends");
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut table = live.then(Live::default);
        loop {
            if let Some(table) = &mut table {
                let (rows, columns) = terminal::size();
                write_out(table.draw(self.rows(), Room { rows, columns }).as_bytes())?;
            }
            // A call that is given up here is not counted: it has not failed.
            tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(()),
                () = async {
                    second.tick().await;
                    self.round(LATER_ROUND).await;
                } => {}
            }
        }
    }

    async fn round(&mut self, count: u32) {
        for probe in &mut self.probes {
            probe.round(count).await;
        }
    }

    fn judge(&self) -> Result<(), Fault> {
        let Some(failed) = self.rows().find(|row| !row.holds()) else { return Ok(()) };
        let wrong = failed.wrong.as_deref().unwrap_or_default();
        Err(Fault::new(Exit::Findings, format_args!("{}, {}: {wrong}", failed.wire, failed.direction)))
    }

    async fn close(self) {
        for client in self.clients {
            client.shutdown().await;
        }
        if let Some(bridge) = self.bridge {
            bridge.shutdown().await;
        }
        let own = self.behind_bridge.into_iter().map(|service| service.server);
        for server in self.servers.into_iter().map(|(_, server)| server).chain(own) {
            server.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests;
