//! The HTTP service of one accepted stream: who may come in, and which session a stream belongs to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::service::Service;
use socketioxide::service::SocketIoService;

use super::floor::Floor;
use super::gate::Gate;
use super::line::Slot;

/// Where a request came from; kept with it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) address: Option<String>,
    pub(super) gate: Arc<Gate>,
}

/// The request was turned away; what serves other paths says so.
#[derive(Clone, Copy, Debug)]
struct TurnedAway;

/// Who may come in.
#[derive(Clone, Debug)]
pub(super) struct Guests {
    pub(super) origins: Vec<String>,
    pub(super) hosts: Vec<String>,
}

impl Guests {
    fn admit(&self, headers: &HeaderMap) -> bool {
        let is_one_of = |name, known: &[String]| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| known.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(value.as_bytes())))
        };
        (self.origins.is_empty() || is_one_of(ORIGIN, &self.origins))
            && (self.hosts.is_empty() || (headers.contains_key(HOST) && is_one_of(HOST, &self.hosts)))
    }
}

/// The gates of sessions, by their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<String, Weak<Gate>>>>);

impl Sessions {
    pub(super) fn note(&self, id: &str, gate: &Arc<Gate>) {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() == gates.capacity() {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        gates.insert(id.to_owned(), Arc::downgrade(gate));
    }

    fn gate(&self, id: &str) -> Option<Arc<Gate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).and_then(Weak::upgrade)
    }
}

/// What serves the paths that are not Socket.IO's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside;

impl<Body> Service<Request<Body>> for Beside {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn call(&self, request: Request<Body>) -> Self::Future {
        let turned_away = request.extensions().get::<TurnedAway>().is_some();
        let mut response = Response::new(String::new());
        *response.status_mut() = if turned_away { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
        ready(Ok(response))
    }
}

/// The service of one stream.
pub(super) struct Door {
    pub(super) service: SocketIoService<Beside, Floor>,
    pub(super) guests: Arc<Guests>,
    pub(super) sessions: Sessions,
    pub(super) address: Option<String>,
    pub(super) slot: Slot,
}

impl Door {
    /// The gate of the session this request belongs to; an upgraded stream gets it too.
    fn gate(&self, uri: &Uri) -> Arc<Gate> {
        let id = uri.query().and_then(|query| query.split('&').find_map(|part| part.strip_prefix("sid=")));
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let upgrades =
            uri.query().is_some_and(|query| query.split('&').any(|part| part == "transport=websocket"));
        match id {
            // A session of its own, whatever came over this stream before.
            None => *slot = Arc::default(),
            Some(id) if upgrades => {
                if let Some(gate) = self.sessions.gate(id) {
                    *slot = gate;
                }
            }
            Some(_) => {}
        }
        Arc::clone(&slot)
    }
}

impl Service<Request<Incoming>> for Door {
    type Response = <SocketIoService<Beside, Floor> as Service<Request<Incoming>>>::Response;
    type Error = Infallible;
    type Future = <SocketIoService<Beside, Floor> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if !self.guests.admit(request.headers()) {
            request.extensions_mut().insert(TurnedAway);
            // A path that is never the one of Socket.IO, as the settings are checked for.
            *request.uri_mut() = Uri::from_static("/");
        }
        let gate = self.gate(request.uri());
        request.extensions_mut().insert(Origin { address: self.address.clone(), gate });
        Service::call(&self.service, request)
    }
}
