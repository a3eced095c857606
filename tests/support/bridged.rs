//! Two wires with the bridge between them: a server, the bridge that dials it, and a client that dials the bridge.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use polywire_bridge::{Bridge, Config, Registry, Source, StartError};
use polywire_core::{
    Answer, Body, Capabilities, Client, Close, Code, Endpoint, Event, Failure, Handler, HandlerFuture,
    Identity, Incoming, JsonLimits, JsonText, Kind, Observe, Particulars, Peer, Request, Response, Route,
    Secret, Server, Surroundings, Target,
};
use tokio::sync::{Semaphore, mpsc};

/// Every wire.
pub(crate) const WIRES: [&str; 5] = ["sockhop", "hpx", "stonyx", "socketio", "hyperhq"];
/// An event that every wire with events takes.
pub(crate) const EVENT: &str = "thumbnail:created";
/// An event that some wires do not take.
pub(crate) const OTHER: &str = "moved";

/// Every ordered pair.
pub(crate) fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    WIRES.into_iter().flat_map(|from| WIRES.map(|to| (from, to)))
}

/// What an [`App`] was sent.
pub(crate) type Seen = mpsc::UnboundedReceiver<(Kind, String, Body)>;

/// Shows everything it is sent, and answers the same: `hang` never, `hold` and what begins so once it is let go, `empty` with nothing,
/// `unserved` as nobody would, `fail.CODE` with that failure, `typed` with bytes of the type [`TYPE`], `work` after signs of life.
#[derive(Clone, Debug)]
pub(crate) struct App {
    show: mpsc::UnboundedSender<(Kind, String, Body)>,
    held: Arc<Semaphore>,
}

/// A type of bytes that is no name of a route.
pub(crate) const TYPE: &str = "Answered";

impl App {
    pub(crate) fn new() -> (Self, Seen) {
        let (show, seen) = mpsc::unbounded_channel();
        (Self { show, held: Arc::new(Semaphore::new(0)) }, seen)
    }

    /// Lets so many go that are held.
    pub(crate) fn let_go(&self, calls: usize) {
        self.held.add_permits(calls);
    }
}

impl Handler for App {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        // Nobody may be looking any more.
        let _ = self.show.send((incoming.kind, incoming.route.to_string(), incoming.body.clone()));
        let held = Arc::clone(&self.held);
        Box::pin(async move {
            match &*incoming.route {
                "hang" => std::future::pending::<Answer>().await,
                route if route.starts_with("hold") => {
                    held.acquire().await.unwrap().forget();
                    Ok(Response::from(incoming.body))
                }
                "empty" => Ok(Response::default()),
                "typed" => Ok(Response::from(Body::binary(TYPE, vec![0, 10, 255]))),
                "unserved" => Err(Failure::unrouted(incoming.kind, &incoming.route)),
                "work" => {
                    incoming.progress(json("{\"half\":true}"));
                    Ok(Response::from(incoming.body))
                }
                route => match route.strip_prefix("fail.").and_then(Code::from_name) {
                    Some(code) => Err(Failure::new(code, "not you")),
                    None => Ok(Response::from(incoming.body)),
                },
            }
        })
    }
}

pub(crate) fn registry() -> Registry {
    let registry = Registry::new().with(polywire_sockhop::ADAPTER).with(polywire_hpx::ADAPTER);
    registry.with(polywire_stonyx::ADAPTER).with(polywire_socketio::ADAPTER).with(polywire_hyperhq::ADAPTER)
}

/// The shared key of one wire and the challenge of another.
const KEY: &str = "the shared key of these tests";

/// The options of a wire as an endpoint of a bridge file has them.
fn options(wire: &str, listens: bool) -> String {
    match (wire, listens) {
        ("hpx", true) => "guests = true".to_owned(),
        ("stonyx", _) => "key = \"env:GIVEN\"\nerrors_in_reply = true".to_owned(),
        ("sockhop", _) => "errors_in_reply = true".to_owned(),
        ("hyperhq", true) => "plugin = \"demo\"\nchallenge = \"env:GIVEN\"".to_owned(),
        ("hyperhq", false) => {
            format!("plugin = \"demo\"\nchallenge = \"env:GIVEN\"\nevents = \"{EVENT},{OTHER}\"")
        }
        _ => String::new(),
    }
}

/// Where a wire listens, or what is dialled, with the options that it needs.
pub(crate) fn target(wire: &str, address: &str, listens: bool) -> Target {
    let mut target = Target { address: address.to_owned(), ..Target::default() };
    let options = &mut target.options;
    match wire {
        "hpx" if listens => options.set("guests", "1"),
        "sockhop" => options.set("errors_in_reply", "1"),
        "stonyx" => {
            options.set_secret("key", Secret::from(KEY));
            options.set("errors_in_reply", "1");
        }
        "hyperhq" => {
            options.set_secret("challenge", Secret::from(KEY));
            options.set("plugin", "demo");
            if !listens {
                options.set("events", format!("{EVENT},{OTHER}"));
            }
        }
        _ => {}
    }
    target
}

pub(crate) fn capabilities(wire: &str) -> Capabilities {
    registry().get(wire).unwrap().capabilities(&target(wire, "", true).options).unwrap()
}

pub(crate) fn particulars(wire: &str) -> Particulars {
    registry().get(wire).unwrap().particulars(&target(wire, "", true).options).unwrap()
}

/// Tells of peers that come.
struct Arrivals(mpsc::UnboundedSender<Peer>);

impl Observe for Arrivals {
    fn connected(&self, peer: &Peer) {
        // Nobody may be looking any more.
        let _ = self.0.send(peer.clone());
    }

    fn disconnected(&self, _: &Peer, _: &Close) {}
}

/// A server of a wire.
pub(crate) struct Upstream {
    pub(crate) server: Server,
    pub(crate) app: App,
    pub(crate) seen: Seen,
    pub(crate) peers: mpsc::UnboundedReceiver<Peer>,
}

pub(crate) async fn serve(wire: &str) -> Upstream {
    let registry = registry();
    let adapter = registry.get(wire).unwrap();
    let (app, seen) = App::new();
    let (tell, peers) = mpsc::unbounded_channel();
    let mut endpoint = Endpoint::new(adapter.name(), app.clone());
    endpoint.observer = Some(Arc::new(Arrivals(tell)));
    endpoint.authenticator = Some(Arc::new(|_| async { Ok(Identity::guest()) }));
    let server = adapter.listen(target(wire, "127.0.0.1:0", true), endpoint).await.unwrap();
    Upstream { server, app, seen, peers }
}

pub(crate) async fn dial(wire: &str, address: &str) -> (Client, Seen) {
    let (app, seen) = App::new();
    (dial_as(app, wire, address).await, seen)
}

/// The same with this app behind the client.
pub(crate) async fn dial_as(app: App, wire: &str, address: &str) -> Client {
    let endpoint = Endpoint::new("test", app);
    let client = registry().get(wire).unwrap().dial(target(wire, address, false), endpoint).await.unwrap();
    client.ready().await.unwrap();
    client
}

/// A bridge with these routes between its endpoint `in`, which listens, and its endpoint `out`, which dials `upstream`.
pub(crate) async fn bridge(from: &str, to: &str, upstream: &str, routes: &str) -> Bridge {
    let (inside, outside) = (options(from, true), options(to, false));
    let text = format!(
        r#"
[endpoint.in]
protocol = "{from}"
role = "server"
listen = "127.0.0.1:0"
{inside}

[endpoint.out]
protocol = "{to}"
role = "client"
address = "{upstream}"
required = true
{outside}
{routes}
"#
    );
    let mut config = Config::parse(Source::new("bridge.toml", text));
    for (endpoint, option) in [("in", "key"), ("in", "challenge"), ("out", "key"), ("out", "challenge")] {
        config.set_secret(endpoint, option, Secret::from(KEY));
    }
    let bridge = match Bridge::start(&config, &registry(), Surroundings::real()).await {
        Ok(bridge) => bridge,
        Err(StartError::Check(report)) => panic!("{}", report.to_text()),
        Err(error) => panic!("{error}"),
    };
    bridge.ready().await.unwrap();
    bridge
}

/// A route for whatever comes from `in`, with these settings besides.
pub(crate) fn onward(more: &str) -> String {
    format!(
        "[[route]]\nfrom = {{ endpoint = \"in\", match = \"*\" }}\nto = {{ endpoint = \"out\" }}\n{more}\n"
    )
}

pub(crate) fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap())
}

pub(crate) fn request(name: &str, body: Body) -> Request {
    Request::new(Route::new(name.to_owned()).unwrap(), body)
}

pub(crate) fn event(name: &str, body: Body) -> Event {
    Event::new(Route::new(name.to_owned()).unwrap(), body)
}
