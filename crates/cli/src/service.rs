//! The demo service: a few routes that answer the same on every wire, for a first try, for tests and for foreign peers.
//!
//! [`ROUTES`] lists them, and `polywire help serve` prints that list.
//!
//! `polywire demo` has one router of these routes behind every wire, whatever it is; `polywire serve` adds what programs of Stonyx and
//! HyperHQ expect of their peers, and leaves unknown names there to the wire.
//!
//! Echoing the facts too means that on Sockhop a callback of any JavaScript type is answered with that value and type. Where a
//! wire passes arguments by name, as HPX does, a body that is an object with the one member `value` stands for that member:
//! `echo(value=1)` answers `1`.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Adapter, AdapterError, Body, Code, Endpoint, Event, Failure, Handler, HandlerFuture, Incoming, Json,
    JsonLimits, JsonText, Options, Peer, Progress, Registry, RegistryError, Response, Route, Router, json,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub mod hyperhq;
pub(crate) mod stonyx;

/// A route of the service, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteAbout {
    /// Its name.
    pub name: &'static str,
    /// The body it takes.
    pub takes: &'static str,
    /// What it answers.
    pub answers: &'static str,
}

const fn about(name: &'static str, takes: &'static str, answers: &'static str) -> RouteAbout {
    RouteAbout { name, takes, answers }
}

/// The routes that are the same on every wire; Stonyx and HyperHQ have neither this `fail` nor the echo of unknown names.
pub const ROUTES: [RouteAbout; 8] = [
    about("echo", "anything", "the same, with the facts its wire added; so does every unknown route"),
    about("reverse", "a string, an array or bytes", "the same backwards"),
    about("add", r#"{"a":1,"b":2}"#, "the sum"),
    about("sleep", r#"{"ms":250}"#, "the same, that much later"),
    about("fail", r#"{"code":"not_found","message":"gone"}"#, "that failure; both members are optional"),
    about("progress", r#"{"steps":3}"#, "signs of life, then the same"),
    about("whoami", "anything", "wire, address and login of the caller"),
    about("emit", r#"{"event":"tick","count":3,"body":7}"#, "how many events it has sent back, after them"),
];

/// Longest `sleep`.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// Most `steps` and `count`.
const MAX_COUNT: u32 = 10_000;

/// An endpoint that serves this on the wire of `adapter` with these options.
///
/// # Errors
/// When an option has a value that it cannot have.
pub fn endpoint(adapter: &dyn Adapter, options: &Options) -> Result<Endpoint, AdapterError> {
    if adapter.name() == "stonyx" {
        let members = Arc::new(stonyx::Members::default());
        let service = stonyx::router(&members).map_err(|error| AdapterError::Settings(error.to_string()))?;
        return Ok(Endpoint { observer: Some(members), ..Endpoint::on(adapter, service) });
    }
    if adapter.name() == "hyperhq" {
        let library = hyperhq::routes();
        let router = demo(library).build().map_err(|error| AdapterError::Settings(error.to_string()))?;
        return Ok(Endpoint::on(adapter, router));
    }
    let router = router().map_err(|error| AdapterError::Settings(error.to_string()))?;
    let service = behind(router, adapter, options)?;
    Ok(Endpoint::on(adapter, service))
}

/// `router` as it stands behind the wire of `adapter` with these options: the same everywhere, but for the argument `value`.
pub(crate) fn behind(
    router: Router,
    adapter: &dyn Adapter,
    options: &Options,
) -> Result<impl Handler + Clone, AdapterError> {
    let by_name = adapter.capabilities(options)?.object_arguments;
    Ok(ByName { router, by_name })
}

/// The routes.
///
/// # Errors
/// None: every name is there once.
pub fn router() -> Result<Router, RegistryError> {
    routes().build()
}

/// The same, open for layers.
pub(crate) fn routes() -> Registry {
    demo(Router::new()).fallback(echo).handle("fail", fail)
}

/// The routes that are the same on every wire.
fn demo(router: Registry) -> Registry {
    router
        .handle("echo", echo)
        .handle("reverse", reverse)
        .handle("add", add)
        .handle("sleep", sleep)
        .handle("progress", progress)
        .handle("whoami", whoami)
        .handle("emit", emit)
}

async fn echo(incoming: Incoming) -> Response {
    Response { body: incoming.body, meta: incoming.meta }
}

async fn reverse(incoming: Incoming) -> Result<Response, Failure> {
    let wrong = || Failure::new(Code::InvalidArgument, "reverse takes a string, an array or bytes");
    let body = match incoming.body {
        Body::Binary(mut binary) => {
            binary.bytes = binary.bytes.iter().rev().copied().collect();
            Body::Binary(binary)
        }
        Body::Json(text) => match text.parse().map_err(|_| wrong())? {
            Backwards::Text(text) => to_body(&text.chars().rev().collect::<String>())?,
            Backwards::Items(items) => to_body(&items.iter().rev().collect::<Vec<_>>())?,
        },
        Body::Empty => return Err(wrong()),
    };
    Ok(Response { body, meta: incoming.meta })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Backwards {
    Text(String),
    Items(Vec<serde_json::Value>),
}

#[derive(Deserialize)]
struct Add {
    a: serde_json::Number,
    b: serde_json::Number,
}

async fn add(Json(Add { a, b }): Json<Add>) -> Result<Body, Failure> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => match a.checked_add(b) {
            Some(sum) => to_body(&sum),
            None => Err(Failure::new(Code::InvalidArgument, "the sum has more than 64 bits")),
        },
        _ => to_body(&(a.as_f64().unwrap_or(f64::NAN) + b.as_f64().unwrap_or(f64::NAN))),
    }
}

#[derive(Deserialize, Serialize)]
struct Sleep {
    ms: u64,
}

async fn sleep(Json(asked): Json<Sleep>) -> Result<Json<Sleep>, Failure> {
    let span = Duration::from_millis(asked.ms);
    if span > MAX_SLEEP {
        let why = format!("ms = {} exceeds the {} this service sleeps", asked.ms, MAX_SLEEP.as_millis());
        return Err(Failure::new(Code::InvalidArgument, why));
    }
    tokio::time::sleep(span).await;
    Ok(Json(asked))
}

#[derive(Default, Deserialize)]
struct Fail {
    code: Option<String>,
    message: Option<String>,
}

async fn fail(body: Body) -> Failure {
    let Fail { code, message } = match &body {
        Body::Json(text) => text.parse().unwrap_or_default(),
        _ => Fail::default(),
    };
    let Some(code) = code.as_deref().map_or(Some(Code::Unknown), Code::from_name) else {
        let known: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        return Failure::new(Code::InvalidArgument, format!("code is one of {}", known.join(", ")));
    };
    Failure::new(code, message.unwrap_or_else(|| "failed as asked".to_owned()))
}

#[derive(Deserialize, Serialize)]
struct Steps {
    steps: u32,
}

async fn progress(progress: Progress, Json(asked): Json<Steps>) -> Result<Json<Steps>, Failure> {
    bound("steps", asked.steps)?;
    for step in 1..=asked.steps {
        progress.send(to_body(&serde_json::json!({"step": step, "of": asked.steps}))?);
        tokio::task::yield_now().await;
    }
    Ok(Json(asked))
}

#[derive(Serialize)]
struct Whoami {
    wire: &'static str,
    address: Option<String>,
    subject: Option<String>,
    guest: bool,
}

async fn whoami(incoming: Incoming) -> Json<Whoami> {
    let identity = incoming.identity();
    Json(Whoami {
        wire: incoming.peer.wire(),
        address: incoming.peer.address().map(str::to_owned),
        guest: identity.as_ref().is_none_or(|identity| identity.guest),
        subject: identity.filter(|identity| !identity.guest).map(|identity| identity.subject.to_string()),
    })
}

#[derive(Deserialize)]
struct Emit {
    event: String,
    #[serde(default = "one")]
    count: u32,
    body: Option<Box<RawValue>>,
}

fn one() -> u32 {
    1
}

async fn emit(peer: Peer, Json(asked): Json<Emit>) -> Result<Body, Failure> {
    bound("count", asked.count)?;
    let route =
        Route::new(asked.event).map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()))?;
    for n in 1..=asked.count {
        let body = match &asked.body {
            Some(body) => to_body(body)?,
            None => to_body(&serde_json::json!({"n": n}))?,
        };
        peer.notify(Event::new(route.clone(), body)).await.map_err(Failure::from)?;
    }
    to_body(&serde_json::json!({"sent": asked.count}))
}

fn bound(name: &str, value: u32) -> Result<(), Failure> {
    if value <= MAX_COUNT {
        return Ok(());
    }
    let why = format!("{name} = {value} exceeds the {MAX_COUNT} this service does");
    Err(Failure::new(Code::InvalidArgument, why))
}

fn to_body<T: Serialize + ?Sized>(value: &T) -> Result<Body, Failure> {
    to_text(value).map(Body::Json)
}

fn to_text<T: Serialize + ?Sized>(value: &T) -> Result<JsonText, Failure> {
    JsonText::from_value(value).map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

/// The routes behind a wire that may pass arguments by name.
#[derive(Clone, Debug)]
struct ByName {
    router: Router,
    by_name: bool,
}

impl Handler for ByName {
    fn call(&self, mut incoming: Incoming) -> HandlerFuture {
        if self.by_name
            && let Body::Json(text) = &incoming.body
            && let Some(value) = sole_value(text)
        {
            incoming.body = value.into();
        }
        self.router.call(incoming)
    }
}

/// The member `value` of an object that has no other.
fn sole_value(text: &JsonText) -> Option<JsonText> {
    let limits = JsonLimits::default();
    let mut members = json::Members::new(text.as_bytes(), &limits).ok()?;
    let (key, range) = members.next().ok()??;
    let sole = key.is("value") && members.next().ok()?.is_none();
    sole.then(|| JsonText::from_validated(text.to_bytes().slice(range)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::Meta;

    fn body(json: &str) -> Body {
        JsonText::new(json.to_owned(), &JsonLimits::default()).unwrap().into()
    }

    async fn answer(route: &str, asked: impl Into<Body>) -> Result<String, Failure> {
        match router().unwrap().request(route, asked).await?.body {
            Body::Json(text) => Ok(text.as_str().to_owned()),
            other => Ok(format!("{other:?}")),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_route_answers_as_its_table_says() {
        for (route, asked, expected) in [
            ("echo", r#"{"n": 9007199254740993}"#, r#"{"n": 9007199254740993}"#),
            ("anything", "[1 ,2]", "[1 ,2]"),
            ("reverse", r#""añ🙂""#, r#""🙂ña""#),
            ("reverse", "[1,2,3]", "[3,2,1]"),
            ("add", r#"{"a":1,"b":-3}"#, "-2"),
            ("add", r#"{"a":1,"b":0.5}"#, "1.5"),
            ("sleep", r#"{"ms":250}"#, r#"{"ms":250}"#),
            ("progress", r#"{"steps":3}"#, r#"{"steps":3}"#),
            ("whoami", "null", r#"{"wire":"memory","address":null,"subject":null,"guest":true}"#),
        ] {
            assert_eq!(answer(route, body(asked)).await.as_deref(), Ok(expected), "{route} {asked}");
        }
        assert_eq!(
            answer("reverse", Body::binary("T", &b"abc"[..])).await.unwrap(),
            "Binary(Binary(\"T\", 3 bytes))"
        );
    }

    #[tokio::test]
    async fn what_a_route_cannot_do_is_a_failure_with_a_code() {
        for (route, asked, code) in [
            ("fail", "null", Code::Unknown),
            ("fail", r#"{"code":"not_found"}"#, Code::NotFound),
            ("fail", r#"{"code":"nonsense"}"#, Code::InvalidArgument),
            ("reverse", "1", Code::InvalidArgument),
            ("add", r#"{"a":9223372036854775807,"b":1}"#, Code::InvalidArgument),
            ("sleep", r#"{"ms":60001}"#, Code::InvalidArgument),
            ("progress", r#"{"steps":10001}"#, Code::InvalidArgument),
            ("emit", r#"{"event":"tick"}"#, Code::Unimplemented),
        ] {
            assert_eq!(answer(route, body(asked)).await.unwrap_err().code, code, "{route} {asked}");
        }
    }

    #[tokio::test]
    async fn a_wrong_body_is_refused_in_words_of_json_on_every_route() {
        let stonyx = stonyx::router(&Arc::default()).unwrap();
        let hyperhq = hyperhq::routes().build().unwrap();
        for router in [router().unwrap(), stonyx, hyperhq] {
            for (_, route) in router.routes() {
                for wrong in ["7", "null", "[]", "{}", r#""x""#, "1.5", "true"] {
                    let Err(failure) = router.request(route.clone(), body(wrong)).await else { continue };
                    let ours = ["struct", "enum", "tuple", "u32", "u64", "i64", "f64", "map", "sequence"];
                    let said = ours.iter().find(|word| failure.message.split(' ').any(|told| told == **word));
                    assert_eq!(said, None, "{route} {wrong}: {failure}");
                }
            }
        }
        let failure = answer("fail", body(r#"{"code":"nonsense"}"#)).await.unwrap_err();
        assert!(failure.message.contains("not_found, "), "{failure}");
    }

    #[tokio::test]
    async fn an_echo_keeps_the_facts_and_a_sole_value_stands_for_the_arguments() {
        let call = |asked: &str, by_name| {
            let service = ByName { router: router().unwrap(), by_name };
            let meta = Meta::default().with("toy.type", "Number");
            let mut incoming = Incoming::request(Route::from_static("any"), body(asked), Peer::in_memory());
            incoming.meta = meta;
            async move { service.call(incoming).await.unwrap() }
        };
        let response = call(r#"{"value": [1, 2]}"#, true).await;
        assert_eq!((response.body, response.meta.get("toy.type").is_some()), (body("[1, 2]"), true));
        for (asked, by_name) in [(r#"{"value":1}"#, false), (r#"{"value":1,"b":2}"#, true), ("[1]", true)] {
            assert_eq!(call(asked, by_name).await.body, body(asked));
        }
    }
}
