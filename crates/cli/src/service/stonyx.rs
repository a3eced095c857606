//! What the demo service offers on Stonyx besides: the handlers that interop programs of this wire expect, by their names there.
//!
//! Names that nobody knows are ignored on this wire, so there is no echo for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{
    Body, Close, Event, Failure, Identity, Incoming, Json, Observe, Peer, RegistryError, Response, Route,
    Router,
};
use polywire_stonyx::{CLOSE, by_meta};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{RouteAbout, about, bound, demo, to_body, to_text};

/// Longest `slow`.
const MAX_SLOW: u64 = 5_000;

/// What it offers besides the routes of every wire; both `open…` are for the option `open_routes`.
pub(crate) const ROUTES: [RouteAbout; 12] = [
    about("whoAmI", "anything", "{id, ip, meta, authenticated}"),
    about("silent", "anything", "nothing"),
    about("openSilent", "anything", "nothing, before the login too"),
    about("openValue", "anything", "{open, authenticated}, before the login too"),
    about(
        "fail",
        "anything",
        "nothing: it closes the connection, as a handler that throws does in the original",
    ),
    about(
        "falsy",
        r#"{"kind":"zero"}"#,
        "false for false, 0 for zero, \"\" for empty; nothing for any other kind",
    ),
    about("slow", r#"{"ms":250}"#, "the same, that much later"),
    about("pushMe", r#"{"request":"tick","value":7,"count":3}"#, "that many pushes, then {pushed}"),
    about("announce", "anything", "an announcement to everybody, then {clients}"),
    about(
        "toMeta",
        r#"{"key":"id","value":7,"payload":1}"#,
        "a push to the first whose meta matches, then {delivered}",
    ),
    about(
        "dropMe",
        r#"{"code":4000,"reason":"bye"}"#,
        "nothing: it closes with that code, or is cut with \"terminate\":true",
    ),
    about("odd", r#"{"kind":"nan"}"#, "what an original makes of values that JSON cannot carry"),
];

/// The clients that are logged in, in the order they came.
#[derive(Default)]
pub(crate) struct Members(Mutex<BTreeMap<u64, Peer>>);

impl Members {
    fn all(&self) -> Vec<Peer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Observe for Members {
    fn connected(&self, peer: &Peer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(peer.id(), peer.clone());
    }

    fn disconnected(&self, peer: &Peer, _: &Close) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer.id());
    }
}

/// The routes of this wire and those of the demo, for these members.
pub(crate) fn router(members: &Arc<Members>) -> Result<Router, RegistryError> {
    let (all, some) = (Arc::clone(members), Arc::clone(members));
    demo(Router::new())
        .handle("whoAmI", who_am_i)
        .handle("silent", silent)
        .handle("openSilent", silent)
        .handle("openValue", open_value)
        .handle("fail", fail)
        .handle("falsy", falsy)
        .handle("slow", slow)
        .handle("pushMe", push_me)
        .handle("announce", move |body: Body| std::future::ready(announce(&all, body)))
        .handle("toMeta", move |Json(asked): Json<ToMeta>| std::future::ready(to_meta(&some, &asked)))
        .handle("dropMe", drop_me)
        .handle("odd", odd)
        .build()
}

fn meta_of(identity: Option<Identity>) -> Value {
    match identity.map(|identity| identity.data) {
        Some(Body::Json(data)) => data.parse::<Value>().map_or(Value::Null, |mut data| data["meta"].take()),
        _ => Value::Null,
    }
}

async fn who_am_i(incoming: Incoming) -> Result<Body, Failure> {
    let identity = incoming.peer.identity();
    let ip = incoming.peer.address().and_then(|address| address.rsplit_once(':')).map(|(ip, _)| ip);
    let authenticated = identity.is_some();
    to_body(&json!({
        "id": incoming.peer.id(), "ip": ip, "meta": meta_of(identity), "authenticated": authenticated,
    }))
}

async fn silent(_: Body) -> Response {
    Response::default()
}

/// Its members in this order, as others answer.
#[derive(Serialize)]
struct Open {
    open: bool,
    authenticated: bool,
}

async fn open_value(peer: Peer) -> Result<Body, Failure> {
    to_body(&Open { open: true, authenticated: peer.identity().is_some() })
}

async fn fail(peer: Peer) -> Response {
    peer.close();
    Response::default()
}

#[derive(Deserialize)]
struct Falsy {
    kind: String,
}

async fn falsy(Json(asked): Json<Falsy>) -> Result<Body, Failure> {
    match asked.kind.as_str() {
        "false" => to_body(&false),
        "zero" => to_body(&0),
        "empty" => to_body(""),
        _ => Ok(Body::Empty),
    }
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

async fn slow(body: Body) -> Result<Body, Failure> {
    if let Body::Json(text) = &body {
        let asked: Slow = text.parse().unwrap_or(Slow { ms: 0 });
        tokio::time::sleep(Duration::from_millis(asked.ms.min(MAX_SLOW))).await;
    }
    Ok(body)
}

#[derive(Deserialize)]
struct PushMe {
    request: Option<String>,
    value: Option<Box<RawValue>>,
    count: Option<u32>,
}

async fn push_me(peer: Peer, Json(asked): Json<PushMe>) -> Result<Body, Failure> {
    let count = asked.count.unwrap_or(1);
    bound("count", count)?;
    let event = event(asked.request.as_deref().unwrap_or("pushed"), asked.value.as_deref())?;
    for _ in 0..count {
        peer.notify(event.clone()).await?;
    }
    to_body(&json!({"pushed": count}))
}

fn event(name: &str, value: Option<&RawValue>) -> Result<Event, Failure> {
    let route = Route::new(name.to_owned())
        .map_err(|error| Failure::new(polywire_core::Code::InvalidArgument, error.to_string()))?;
    Ok(Event::new(route, value.map(to_body).transpose()?.unwrap_or_default()))
}

fn announce(members: &Members, body: Body) -> Result<Body, Failure> {
    let event = Event::new(Route::from_static("announcement"), body);
    let told = members.all().iter().filter(|peer| tell(peer, event.clone())).count();
    to_body(&json!({"clients": told}))
}

fn tell(peer: &Peer, event: Event) -> bool {
    peer.caller().is_some_and(|caller| caller.try_notify(event).is_ok())
}

#[derive(Deserialize)]
struct ToMeta {
    key: String,
    value: Box<RawValue>,
    payload: Option<Box<RawValue>>,
}

fn to_meta(members: &Members, asked: &ToMeta) -> Result<Body, Failure> {
    let event = event("pushed", asked.payload.as_deref())?;
    let found = by_meta(members.all(), &asked.key, &to_text(&asked.value)?);
    to_body(&json!({"delivered": found.is_some_and(|peer| tell(&peer, event))}))
}

#[derive(Deserialize)]
struct DropMe {
    code: Option<u16>,
    reason: Option<String>,
    terminate: Option<bool>,
}

async fn drop_me(Json(asked): Json<DropMe>) -> Response {
    let mut response = Response::default();
    let cut = asked.terminate.unwrap_or(false).then_some(1006);
    let code = cut.or(asked.code).map(|code| code.to_string()).unwrap_or_default();
    response.meta.set(CLOSE, format!("{code} {}", asked.reason.unwrap_or_default()));
    response
}

#[derive(Deserialize)]
struct Odd {
    kind: String,
}

/// The text that `JSON.stringify` makes of such a value; where it makes none or throws, so does the handler.
async fn odd(peer: Peer, Json(asked): Json<Odd>) -> Result<Body, Failure> {
    match asked.kind.as_str() {
        "nan" => to_body(&Value::Null),
        "date" => to_body("1970-01-01T00:00:00.000Z"),
        "buffer" => to_body(&Buffer { kind: "Buffer", data: [1, 2, 3] }),
        "map" => to_body(&json!({})),
        "undefinedField" => to_body(&json!({"b": 1})),
        "promise" => to_body(&json!({"later": true})),
        "function" => Ok(Body::Empty),
        "bigint" | "circular" | "reject" => {
            peer.close();
            Ok(Body::Empty)
        }
        _ => to_body("unknown kind"),
    }
}

/// Bytes as Node spells them in JSON.
#[derive(Serialize)]
struct Buffer {
    #[serde(rename = "type")]
    kind: &'static str,
    data: [u8; 3],
}
