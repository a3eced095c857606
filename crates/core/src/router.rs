//! A finished registry with its layers: finds the handler of a message, with or without a network.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::Arc;

use crate::body::Body;
use crate::failure::{Code, Failure};
use crate::handler::{Answer, Handler, HandlerFuture, Incoming, Kind};
use crate::into_handler::SharedHandler;
use crate::peer::Peer;
use crate::registry::Registry;
use crate::route::{Route, RouteError};

/// Serves messages by their route. A [`Handler`] like any other, so it can be served, called, layered and merged.
///
/// A clone is the same router: the table behind it never changes and is found in one lookup. A message without a handler is
/// answered `not_found` (as an event: counted) unless there is a fallback.
///
/// ```
/// use polywire_core::{Body, Code, Json, Router};
///
/// async fn add(Json((a, b)): Json<(i64, i64)>) -> Json<i64> {
///     Json(a + b)
/// }
///
/// let router = Router::new().handle("add", add).build()?;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let answer = router.request("add", Body::json(&(1, 2)).unwrap()).await;
/// assert_eq!(answer, Ok(Body::json(&3).unwrap().into()));
/// assert_eq!(router.request("sub", Body::Empty).await.unwrap_err().code, Code::NotFound);
/// # });
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
#[derive(Clone)]
pub struct Router {
    table: Arc<Table>,
    /// The table inside its layers.
    entry: SharedHandler,
    layered: bool,
}

/// Every handler of a router, with its kind and route.
type Handlers = Vec<(Kind, Route, SharedHandler)>;

impl Router {
    /// Begins a router: an empty [`Registry`].
    #[allow(clippy::new_ret_no_self, reason = "a router begins as a registry and is never empty by itself")]
    pub fn new<S: 'static>() -> Registry<S> {
        Registry::new()
    }

    pub(crate) fn new_finished(table: Arc<Table>, entry: SharedHandler, layered: bool) -> Self {
        Self { table, entry, layered }
    }

    /// Its handlers as entries of another table. Behind layers all are the one way in, which looks the route up again.
    pub(crate) fn into_parts(self) -> (Handlers, Option<SharedHandler>) {
        let Self { table, entry, layered } = self;
        let outer = |handler: &SharedHandler| Arc::clone(if layered { &entry } else { handler });
        let of = |kind: Kind, handlers: &HashMap<Route, SharedHandler>| -> Handlers {
            handlers.iter().map(|(route, handler)| (kind, route.clone(), outer(handler))).collect()
        };
        let mut handlers = of(Kind::Request, &table.requests);
        handlers.extend(of(Kind::Event, &table.events));
        (handlers, table.fallback.as_ref().map(outer))
    }

    /// Every kind and route that has a handler, sorted by route.
    pub fn routes(&self) -> Vec<(Kind, Route)> {
        let requests = self.table.requests.keys().map(|route| (Kind::Request, route.clone()));
        let events = self.table.events.keys().map(|route| (Kind::Event, route.clone()));
        let mut routes: Vec<_> = requests.chain(events).collect();
        routes.sort_by(|a, b| a.1.cmp(&b.1));
        routes
    }

    /// Answers a request made in this program; see [`Peer::in_memory`].
    ///
    /// # Errors
    /// The handler's [`Failure`], `not_found` without a handler, or `invalid_argument` for a name that is no route.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handler's.
    pub async fn request<R>(&self, route: R, body: impl Into<Body>) -> Answer
    where
        R: TryInto<Route, Error: Into<RouteError>>,
    {
        let route = route.try_into().map_err(|error| bad_route(error.into()))?;
        self.call(Incoming::request(route, body, Peer::in_memory())).await
    }

    /// Handles an event made in this program; see [`Peer::in_memory`].
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    /// Dropping the future drops the handler's.
    pub async fn notify<R>(&self, route: R, body: impl Into<Body>) -> Result<(), Failure>
    where
        R: TryInto<Route, Error: Into<RouteError>>,
    {
        let route = route.try_into().map_err(|error| bad_route(error.into()))?;
        self.call(Incoming::event(route, body, Peer::in_memory())).await.map(drop)
    }
}

fn bad_route(error: RouteError) -> Failure {
    Failure::new(Code::InvalidArgument, error.to_string())
}

impl Handler for Router {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        self.entry.call(incoming)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("routes", &self.routes()).finish_non_exhaustive()
    }
}

/// The finished table. The hasher of std is keyed, so names chosen to collide cost nothing extra.
#[derive(Default)]
pub(crate) struct Table {
    requests: HashMap<Route, SharedHandler>,
    events: HashMap<Route, SharedHandler>,
    pub(crate) fallback: Option<SharedHandler>,
}

impl Table {
    pub(crate) fn insert(&mut self, kind: Kind, route: Route, handler: SharedHandler) {
        match kind {
            Kind::Request => self.requests.insert(route, handler),
            Kind::Event => self.events.insert(route, handler),
        };
    }
}

impl Handler for Table {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let handlers = match incoming.kind {
            Kind::Request => &self.requests,
            Kind::Event => &self.events,
        };
        match handlers.get(&incoming.route).or(self.fallback.as_ref()) {
            Some(handler) => handler.call(incoming),
            None => Box::pin(ready(Err(Failure::unrouted(incoming.kind, &incoming.route)))),
        }
    }
}
