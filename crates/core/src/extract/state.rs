//! The state of the program.

use std::convert::Infallible;

use crate::handler::Incoming;

use super::FromIncomingRef;

/// A clone of the state given to [`Registry::with_state`](crate::Registry::with_state); usually an `Arc` or a struct of them.
///
/// ```
/// use std::sync::Arc;
/// use polywire_core::{Router, State};
///
/// async fn greet(State(name): State<Arc<str>>) -> String {
///     format!("hello from {name}")
/// }
///
/// let router = Router::new().handle("greet", greet).with_state(Arc::from("hall"))?;
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<S>(pub S);

impl<S: Clone> FromIncomingRef<S> for State<S> {
    type Rejection = Infallible;

    fn from_incoming_ref(_incoming: &Incoming, state: &S) -> Result<Self, Infallible> {
        Ok(Self(state.clone()))
    }
}
