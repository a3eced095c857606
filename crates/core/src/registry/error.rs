//! Why a registry is refused.

use crate::handler::Kind;
use crate::route::{Route, RouteError};

/// Why a registry cannot become a router.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two handlers for the same kind of message under one name.
    #[error("route `{route}` has two handlers for {}s; remove or rename one", kind.as_str())]
    Duplicate {
        /// For requests or for events.
        kind: Kind,
        /// The name.
        route: Route,
    },
    /// Two fallbacks.
    #[error("the registry has two fallbacks; remove one")]
    DuplicateFallback,
    /// A name that is no route.
    #[error(transparent)]
    Route(#[from] RouteError),
}
