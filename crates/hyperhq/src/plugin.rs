//! A plugin: the side that the host launches, and that dials.

mod environment;
mod file;
mod kept;
mod run;
mod session;
mod status;

pub use environment::{Environment, EnvironmentError};
pub use kept::Kept;
pub(crate) use run::{LEGACY, dialler, limits};
pub use run::{Plugin, PluginError};
pub use session::{FILE, PluginSession, Reply, Subscribe, TIMESTAMP};
pub(crate) use session::{RESERVED, SHUTDOWN, TOLD};
