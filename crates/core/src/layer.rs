//! Wrappers of handlers, composed by [`tower_layer::Layer`]: each takes a [`Handler`](crate::Handler) and is one.
//!
//! | layer | a message that goes wrong here ends as |
//! |---|---|
//! | [`Trace`] | – (says how each ended) |
//! | [`CatchPanic`] | `internal` |
//! | [`OwnTask`] | – (runs it beside the connection) |
//! | [`Timeout`] | `deadline_exceeded` |
//! | [`ConcurrencyLimit`], [`RateLimit`] | `resource_exhausted` |
//!
//! A limit belongs to the layer value: a clone of it, or using it on several routes, shares the one limit. With the feature
//! `tower`, any tower middleware is a layer too, through `from_tower_layer`.
//!
//! A layer of one's own is a struct and two implementations:
//!
//! ```
//! use polywire_core::{Code, Failure, Handler, HandlerFuture, Incoming, Router};
//! use tower_layer::Layer;
//!
//! #[derive(Clone)]
//! struct MembersOnly;
//!
//! impl<H: Handler> Layer<H> for MembersOnly {
//!     type Service = Members<H>;
//!
//!     fn layer(&self, inner: H) -> Members<H> {
//!         Members(inner)
//!     }
//! }
//!
//! struct Members<H>(H);
//!
//! impl<H: Handler> Handler for Members<H> {
//!     fn call(&self, incoming: Incoming) -> HandlerFuture {
//!         if incoming.identity().is_some_and(|who| !who.guest) {
//!             return self.0.call(incoming);
//!         }
//!         Box::pin(async { Err(Failure::new(Code::PermissionDenied, "this is for members")) })
//!     }
//! }
//!
//! let router = Router::new().handle("news", || async { "none" }).layer(MembersOnly).build()?;
//! # Ok::<(), polywire_core::RegistryError>(())
//! ```

mod catch_panic;
mod concurrency;
mod own_task;
mod rate;
mod timeout;
mod trace;

pub use catch_panic::{CatchPanic, CatchPanicHandler};
pub use concurrency::{ConcurrencyLimit, ConcurrencyLimitHandler};
pub use own_task::{OwnTask, OwnTaskHandler};
pub use rate::{RateLimit, RateLimitHandler};
pub use timeout::{Timeout, TimeoutHandler};
pub use trace::{Trace, TraceHandler};

use std::future::ready;

use crate::failure::{Code, Failure, Retry};
use crate::handler::HandlerFuture;

/// The answer of a limit: names the limit, the value and the setting.
fn exhausted(message: String) -> HandlerFuture {
    Box::pin(ready(Err(Failure::new(Code::ResourceExhausted, message).with_retry(Retry::Safe))))
}
