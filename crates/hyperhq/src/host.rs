//! A host: the side that launches plugins and listens. Here is what it knows of a connection, of its plugins, and of their files;
//! whatever serves Socket.IO carries its packets.

mod config;
mod files;
mod plugins;
mod session;

pub use config::{FileEncoding, HostConfig, Reauth};
pub use files::{FileError, Folder};
pub use plugins::Plugins;
pub use session::{HostReply, HostSession};
