//! What a handler's arguments are made of: the message, its sender, the program's state.
//!
//! Extraction is synchronous, because the whole message is there before a handler is called; what must be awaited belongs
//! in the handler or in a layer. An extractor that fails answers the caller itself: its rejection is a [`Failure`].

mod body;
mod deadline;
mod json;
mod message;
mod peer;
mod progress;
mod state;

use std::convert::Infallible;

use crate::failure::Failure;
use crate::handler::Incoming;

pub use body::BodyRejection;
pub use deadline::Deadline;
pub use json::{Json, JsonRejection};
pub use peer::IdentityRejection;
pub use progress::Progress;
pub use state::State;

/// Something that a look at the message gives; any argument of a handler may be of this kind.
///
/// ```
/// use polywire_core::{Body, Code, Failure, FromIncomingRef, Incoming, Router};
///
/// /// The subject of whoever asks, who must be an administrator.
/// struct Admin(String);
///
/// impl<S> FromIncomingRef<S> for Admin {
///     type Rejection = Failure;
///
///     fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, Failure> {
///         match incoming.identity() {
///             Some(who) if who.subject.starts_with("admin.") => Ok(Self(who.subject.to_string())),
///             _ => Err(Failure::new(Code::PermissionDenied, "this route is for administrators")),
///         }
///     }
/// }
///
/// let router = Router::new().handle("reset", |Admin(name): Admin| async move { name }).build()?;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let refused = router.request("reset", Body::Empty).await.unwrap_err();
/// assert_eq!(refused.code, Code::PermissionDenied);
/// # });
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a look at the message",
    note = "only the last argument of a handler may take the message or its body (`Json<T>`, `Body`, `Binary`, `JsonText`, \
            `Incoming`)",
    note = "`State<S>` needs the state type of the registry"
)]
pub trait FromIncomingRef<S>: Sized {
    /// Why it cannot be had, and what the caller is told.
    type Rejection: Into<Failure>;

    /// Takes it out of the message or the state.
    ///
    /// # Errors
    /// The rejection becomes the answer; the handler is not called.
    fn from_incoming_ref(incoming: &Incoming, state: &S) -> Result<Self, Self::Rejection>;
}

/// Something that uses the message up; only the last argument of a handler may be of this kind.
///
/// `M` only keeps the two kinds apart and is always inferred; implement it with the default.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a message",
    note = "extractors are `Json<T>`, `Body`, `Binary`, `JsonText`, `State<S>`, `Peer`, `Identity`, `Deadline`, `Progress`, \
            `Route`, `Meta`, `Incoming` and whatever implements `FromIncomingRef` or `FromIncoming`",
    note = "`Json<T>` needs `T: DeserializeOwned`, `State<S>` the state type of the registry"
)]
pub trait FromIncoming<S, M = ViaIncoming>: Sized {
    /// Why it cannot be had, and what the caller is told.
    type Rejection: Into<Failure>;

    /// Makes it of the message.
    ///
    /// # Errors
    /// The rejection becomes the answer; the handler is not called.
    fn from_incoming(incoming: Incoming, state: &S) -> Result<Self, Self::Rejection>;
}

/// Marks an extractor that uses the message up.
#[derive(Debug)]
pub struct ViaIncoming(());

/// Marks an extractor that only looks at the message.
#[derive(Debug)]
pub struct ViaRef(());

impl<S, T: FromIncomingRef<S>> FromIncoming<S, ViaRef> for T {
    type Rejection = T::Rejection;

    fn from_incoming(incoming: Incoming, state: &S) -> Result<Self, Self::Rejection> {
        T::from_incoming_ref(&incoming, state)
    }
}

impl From<Infallible> for Failure {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests;
