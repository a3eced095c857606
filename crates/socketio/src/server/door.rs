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

/// Who may come in. `None` is everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests {
    pub(super) origins: Option<Vec<String>>,
    pub(super) hosts: Option<Vec<String>>,
}

impl Guests {
    fn admit(&self, headers: &HeaderMap) -> bool {
        let all = |name, known: &[String], read: fn(&str) -> &str| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| {
                value.to_str().is_ok_and(|value| {
                    known
                        .iter()
                        .any(|one| one.eq_ignore_ascii_case(value) || one.eq_ignore_ascii_case(read(value)))
                })
            })
        };
        let origins = self.origins.as_deref().is_none_or(|known| all(ORIGIN, known, |origin| origin));
        let hosts = self.hosts.as_deref();
        origins && hosts.is_none_or(|known| headers.contains_key(HOST) && all(HOST, known, without_port))
    }
}

/// `localhost` of `localhost:3000`, `[::1]` of `[::1]:3000`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn admitted(guests: &Guests, host: Option<&'static str>, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            headers.extend(value.map(|value| (name, HeaderValue::from_static(value))));
        }
        guests.admit(&headers)
    }

    #[test]
    fn h22_only_this_machine_by_its_own_name_and_no_page_of_a_browser() {
        let guests = Guests {
            origins: Some(vec!["http://localhost:3000".into()]),
            hosts: Some(["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).to_vec()),
        };
        for host in ["127.0.0.1:52789", "localhost:52789", "LOCALHOST", "[::1]:52789", "127.0.0.1"] {
            assert!(admitted(&guests, Some(host), None), "{host}");
        }
        for host in [
            "evil.example:52789",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "192.168.0.7",
            "",
            "[::2]:1",
            "[",
            ":",
            "localhost:x",
        ] {
            assert!(!admitted(&guests, Some(host), None), "{host}");
        }
        assert!(!admitted(&guests, None, None));
        for (origin, may) in [
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("null", false),
            ("https://evil.example", false),
        ] {
            assert_eq!(admitted(&guests, Some("localhost"), Some(origin)), may, "{origin}");
        }
        assert!(admitted(&Guests::default(), None, Some("https://anything.example")));
    }
}
