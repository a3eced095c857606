//! How an async function becomes a handler: extract each argument, stop at the first rejection, call, convert the result.

use std::fmt;
use std::future::{Future, ready};
use std::marker::PhantomData;
use std::sync::Arc;

use tower_layer::Layer;

use crate::extract::{FromIncoming, FromIncomingRef};
use crate::failure::Failure;
use crate::handler::{Handler, HandlerFuture, Incoming};
use crate::reply::IntoAnswer;

/// A handler that can be shared and whose type is forgotten.
pub type SharedHandler = Arc<dyn Handler>;

/// What can be registered for a route: an async function of up to eight extractors, or a whole [`Handler`], such as the
/// [`Caller`](crate::Caller) of another wire.
///
/// `Args` tells the kinds of function apart and is always inferred; `S` is the state that [`State`](crate::State) gives.
///
/// ```
/// use polywire_core::{Body, Failure, Json, Peer, State};
///
/// async fn nothing() {}
/// async fn echo(body: Body) -> Body {
///     body
/// }
/// async fn add(State(offset): State<i64>, peer: Peer, Json(n): Json<i64>) -> Result<Json<i64>, Failure> {
///     let _ = peer.id();
///     Ok(Json(n + offset))
/// }
/// # fn check<A>(_: impl polywire_core::IntoHandler<A, i64>) {}
/// # check(nothing); check(echo); check(add);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle messages",
    label = "not a handler",
    note = "a handler is an async function of at most eight arguments that returns something that is `IntoAnswer`",
    note = "every argument but the last must be `FromIncomingRef`, the last one may be `FromIncoming`",
    note = "its future must be `Send`, and the types of its arguments must be written out in a closure"
)]
pub trait IntoHandler<Args, S>: Sized + Send + 'static {
    /// The handler, with its state.
    fn into_handler(self, state: &S) -> SharedHandler;

    /// The same handler inside `layer`, for this route alone.
    ///
    /// ```
    /// use polywire_core::{Body, IntoHandler, Router, layer::ConcurrencyLimit};
    ///
    /// async fn render(body: Body) -> Body {
    ///     body
    /// }
    /// let router = Router::new().handle("render", render.layer(ConcurrencyLimit::new(4))).build()?;
    /// # Ok::<(), polywire_core::RegistryError>(())
    /// ```
    fn layer<L>(self, layer: L) -> Layered<Self, L, Args, S>
    where
        L: Layer<SharedHandler> + Send + 'static,
        L::Service: Handler,
    {
        Layered { handler: self, layer, inferred: PhantomData }
    }
}

/// Says that a whole [`Handler`] was registered, not a function; see [`IntoHandler`].
#[derive(Debug)]
pub struct Whole(());

impl<H: Handler, S> IntoHandler<Whole, S> for H {
    fn into_handler(self, _state: &S) -> SharedHandler {
        Arc::new(self)
    }
}

/// A handler inside a layer of its own; see [`IntoHandler::layer`].
pub struct Layered<H, L, Args, S> {
    handler: H,
    layer: L,
    inferred: PhantomData<fn(&S) -> Args>,
}

impl<H, L, Args, S> IntoHandler<Args, S> for Layered<H, L, Args, S>
where
    H: IntoHandler<Args, S>,
    L: Layer<SharedHandler> + Send + 'static,
    L::Service: Handler,
    Args: 'static,
    S: 'static,
{
    fn into_handler(self, state: &S) -> SharedHandler {
        Arc::new(self.layer.layer(self.handler.into_handler(state)))
    }
}

impl<H, L, Args, S> fmt::Debug for Layered<H, L, Args, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layered")
    }
}

/// A plain function as a handler.
struct Function<F>(F);

impl<F> Handler for Function<F>
where
    F: Fn(Incoming) -> HandlerFuture + Send + Sync + 'static,
{
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        (self.0)(incoming)
    }
}

fn run<Fut>(future: Fut) -> HandlerFuture
where
    Fut: Future<Output: IntoAnswer> + Send + 'static,
{
    Box::pin(async move { future.await.into_answer() })
}

fn refuse(rejection: impl Into<Failure>) -> HandlerFuture {
    Box::pin(ready(Err(rejection.into())))
}

impl<F, Fut, S> IntoHandler<(), S> for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoAnswer> + Send + 'static,
{
    fn into_handler(self, _state: &S) -> SharedHandler {
        Arc::new(Function(move |_| run(self())))
    }
}

macro_rules! functions {
    ($(($($first:ident)*) $last:ident;)+) => {$(
        #[allow(non_snake_case, reason = "an argument is named after its type")]
        impl<F, Fut, S, M, $($first,)* $last> IntoHandler<(M, $($first,)* $last), S> for F
        where
            F: Fn($($first,)* $last) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoAnswer> + Send + 'static,
            S: Clone + Send + Sync + 'static,
            $($first: FromIncomingRef<S>,)*
            $last: FromIncoming<S, M>,
        {
            fn into_handler(self, state: &S) -> SharedHandler {
                let state = state.clone();
                Arc::new(Function(move |incoming: Incoming| {
                    $(let $first = match $first::from_incoming_ref(&incoming, &state) {
                        Ok(value) => value,
                        Err(rejection) => return refuse(rejection),
                    };)*
                    match $last::from_incoming(incoming, &state) {
                        Ok($last) => run(self($($first,)* $last)),
                        Err(rejection) => refuse(rejection),
                    }
                }))
            }
        }
    )+};
}

functions! {
    () T1;
    (T1) T2;
    (T1 T2) T3;
    (T1 T2 T3) T4;
    (T1 T2 T3 T4) T5;
    (T1 T2 T3 T4 T5) T6;
    (T1 T2 T3 T4 T5 T6) T7;
    (T1 T2 T3 T4 T5 T6 T7) T8;
}
