//! What this side knows of one connection: the link to a namespace below, calls and events above.

mod events;
mod link;
mod namespaces;
mod opening;
mod recovery;

pub use events::Events;
pub use link::Link;
pub use namespaces::Namespaces;
pub use recovery::Recovery;

use polywire_core::Gate;

/// Everything waits behind it until the namespace is granted.
pub(crate) const CONNECTED: Gate = Gate(0);
