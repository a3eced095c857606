//! The table from route to handler while it is being built; what it becomes is a [`Router`].

mod error;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use crate::handler::{Handler, Kind};
use crate::into_handler::{IntoHandler, SharedHandler};
use crate::route::{Route, RouteError};
use crate::router::{Router, Table};

pub use error::RegistryError;

/// A table of handlers that still waits for its state `S`.
///
/// It is built in a chain, which keeps the first error for [`with_state`](Self::with_state) and [`build`](Self::build), or
/// entry by entry with the `try_` methods, which tell it at once.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use polywire_core::{Body, Event, Incoming, Json, Registry, Response, Router, State, Surroundings, layer};
///
/// type Systems = Arc<[&'static str]>;
///
/// async fn get_systems(State(systems): State<Systems>) -> Json<Vec<&'static str>> {
///     Json(systems.to_vec())
/// }
/// async fn game_launched(Json(game): Json<String>) {
///     println!("{game} runs");
/// }
/// fn tools<S: Clone + Send + Sync + 'static>() -> Registry<S> {
///     Registry::new().handle("echo", |body: Body| async move { body })
/// }
///
/// let router = Router::new()
///     .handle("getSystems", get_systems)
///     .on("gameLaunched", game_launched)
///     .merge(tools())
///     .layer(layer::Timeout::new(Duration::from_secs(5), &Surroundings::real()))
///     .with_state(Systems::from(["nes", "snes"]))?;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let answer = router.request("getSystems", Body::Empty).await;
/// assert_eq!(answer, Ok(Body::json(&["nes", "snes"]).unwrap().into()));
/// # });
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
#[must_use = "a registry serves nothing until `with_state` or `build` makes a router of it"]
pub struct Registry<S = ()> {
    routes: HashMap<Key, Pending<S>>,
    fallback: Option<Pending<S>>,
    /// Merged registries that have layers of their own.
    parts: Vec<Registry<S>>,
    /// From the innermost to the outermost.
    layers: Vec<LayerFn>,
    error: Option<RegistryError>,
}

/// What finds a handler. A request and an event may have the same name.
type Key = (Kind, Route);

/// A handler that waits for its state.
type Pending<S> = Box<dyn FnOnce(&S) -> SharedHandler + Send>;

type LayerFn = Box<dyn FnOnce(SharedHandler) -> SharedHandler + Send>;

impl<S: 'static> Registry<S> {
    /// An empty table.
    pub fn new() -> Self {
        Self { routes: HashMap::new(), fallback: None, parts: Vec::new(), layers: Vec::new(), error: None }
    }

    /// Answers requests on `route` with `handler`.
    pub fn handle<A: 'static, R>(self, route: R, handler: impl IntoHandler<A, S>) -> Self
    where
        R: TryInto<Route, Error: Into<RouteError>>,
    {
        self.chain(|registry| registry.try_handle(route, handler))
    }

    /// Gives events on `route` to `handler`. Its answer goes nowhere; a failure is counted.
    pub fn on<A: 'static, R>(self, route: R, handler: impl IntoHandler<A, S>) -> Self
    where
        R: TryInto<Route, Error: Into<RouteError>>,
    {
        self.chain(|registry| registry.try_on(route, handler))
    }

    /// Gives every request and event whose route has no handler to `handler`, which may ask for the
    /// [`Route`] or the whole [`Incoming`](crate::Incoming). Without one, they fail with `not_found`.
    pub fn fallback<A: 'static>(self, handler: impl IntoHandler<A, S>) -> Self {
        self.chain(|registry| registry.try_fallback(handler))
    }

    /// Adds everything in `other`, a registry that waits for the same state or a finished router, with its layers around
    /// its own handlers only.
    pub fn merge(self, other: impl Into<Registry<S>>) -> Self {
        self.chain(|registry| registry.try_merge(other))
    }

    /// Wraps the finished router in `layer`: every handler and the fallback, also those added later. The layer added last
    /// sees a message first.
    ///
    /// The layer is applied once, so a limit in it is one limit for the whole router.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<SharedHandler> + Send + 'static,
        L::Service: Handler,
    {
        self.layers.push(Box::new(move |inner| Arc::new(layer.layer(inner))));
        self
    }

    /// As [`handle`](Self::handle), with the error at once.
    ///
    /// # Errors
    /// [`RegistryError`]; the registry is unchanged.
    pub fn try_handle<A: 'static, R>(
        &mut self,
        route: R,
        handler: impl IntoHandler<A, S>,
    ) -> Result<(), RegistryError>
    where
        R: TryInto<Route, Error: Into<RouteError>>,
    {
        self.insert(Kind::Request, route.try_into().map_err(Into::into)?, handler)
    }

    /// As [`on`](Self::on), with the error at once.
    ///
    /// # Errors
    /// [`RegistryError`]; the registry is unchanged.
    pub fn try_on<A: 'static, R>(
        &mut self,
        route: R,
        handler: impl IntoHandler<A, S>,
    ) -> Result<(), RegistryError>
    where
        R: TryInto<Route, Error: Into<RouteError>>,
    {
        self.insert(Kind::Event, route.try_into().map_err(Into::into)?, handler)
    }

    /// As [`fallback`](Self::fallback), with the error at once.
    ///
    /// # Errors
    /// [`RegistryError::DuplicateFallback`]; the registry is unchanged.
    pub fn try_fallback<A: 'static>(&mut self, handler: impl IntoHandler<A, S>) -> Result<(), RegistryError> {
        if self.has_fallback() {
            return Err(RegistryError::DuplicateFallback);
        }
        self.fallback = Some(Box::new(move |state| handler.into_handler(state)));
        Ok(())
    }

    /// As [`merge`](Self::merge), with the error at once.
    ///
    /// # Errors
    /// The first conflict, or the error `other` has collected. All or nothing: the registry is then unchanged.
    pub fn try_merge(&mut self, other: impl Into<Registry<S>>) -> Result<(), RegistryError> {
        let other = other.into();
        if let Some(error) = other.error {
            return Err(error);
        }
        let taken = other.keys().into_iter().filter(|key| self.has(key));
        if let Some((kind, route)) = taken.min_by(|a, b| a.1.cmp(&b.1)) {
            return Err(RegistryError::Duplicate { kind, route });
        }
        if self.has_fallback() && other.has_fallback() {
            return Err(RegistryError::DuplicateFallback);
        }
        if other.layers.is_empty() {
            self.routes.extend(other.routes);
            self.fallback = self.fallback.take().or(other.fallback);
            self.parts.extend(other.parts);
        } else {
            self.parts.push(other);
        }
        Ok(())
    }

    /// The finished router, with `state` for every handler that asks for it.
    ///
    /// # Errors
    /// The first [`RegistryError`] of the chain.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "every handler keeps a clone; the original has no other use"
    )]
    pub fn with_state(self, state: S) -> Result<Router, RegistryError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.finish(&state)),
        }
    }

    fn chain(mut self, step: impl FnOnce(&mut Self) -> Result<(), RegistryError>) -> Self {
        if let Err(error) = step(&mut self) {
            self.error.get_or_insert(error);
        }
        self
    }

    fn insert<A: 'static>(
        &mut self,
        kind: Kind,
        route: Route,
        handler: impl IntoHandler<A, S>,
    ) -> Result<(), RegistryError> {
        let key = (kind, route);
        if self.parts.iter().any(|part| part.has(&key)) {
            return Err(RegistryError::Duplicate { kind, route: key.1 });
        }
        match self.routes.entry(key) {
            Entry::Occupied(entry) => Err(RegistryError::Duplicate { kind, route: entry.key().1.clone() }),
            Entry::Vacant(entry) => {
                entry.insert(Box::new(move |state| handler.into_handler(state)));
                Ok(())
            }
        }
    }

    fn has(&self, key: &Key) -> bool {
        self.routes.contains_key(key) || self.parts.iter().any(|part| part.has(key))
    }

    fn has_fallback(&self) -> bool {
        self.fallback.is_some() || self.parts.iter().any(Self::has_fallback)
    }

    fn keys(&self) -> Vec<Key> {
        self.routes.keys().cloned().chain(self.parts.iter().flat_map(Self::keys)).collect()
    }

    fn finish(self, state: &S) -> Router {
        let mut table = Table::default();
        for ((kind, route), pending) in self.routes {
            table.insert(kind, route, pending(state));
        }
        table.fallback = self.fallback.map(|pending| pending(state));
        for part in self.parts {
            let (handlers, fallback) = part.finish(state).into_parts();
            for (kind, route, handler) in handlers {
                table.insert(kind, route, handler);
            }
            table.fallback = table.fallback.or(fallback);
        }
        let layered = !self.layers.is_empty();
        let table = Arc::new(table);
        let entry =
            self.layers.into_iter().fold(Arc::clone(&table) as SharedHandler, |inner, layer| layer(inner));
        Router::new_finished(table, entry, layered)
    }
}

impl Registry<()> {
    /// The finished router, where no handler asks for state.
    ///
    /// # Errors
    /// The first [`RegistryError`] of the chain.
    pub fn build(self) -> Result<Router, RegistryError> {
        self.with_state(())
    }
}

impl<S: 'static> From<Router> for Registry<S> {
    fn from(router: Router) -> Self {
        let (handlers, fallback) = router.into_parts();
        let ready = |handler: SharedHandler| -> Pending<S> { Box::new(move |_| handler) };
        let routes =
            handlers.into_iter().map(|(kind, route, handler)| ((kind, route), ready(handler))).collect();
        Self { routes, fallback: fallback.map(ready), ..Self::new() }
    }
}

impl<S: 'static> Default for Registry<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for Registry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut routes: Vec<&Key> = self.routes.keys().collect();
        routes.sort_by(|a, b| a.1.cmp(&b.1));
        f.debug_struct("Registry")
            .field("routes", &routes)
            .field("parts", &self.parts)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
