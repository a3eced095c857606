//! A host: the side that launches plugins and listens. Here is what it knows of a connection, of its plugins, and of their files;
//! whatever serves Socket.IO carries its packets.

mod config;
mod files;
mod launch;
mod manifest;
mod origin;
mod plugins;
mod port;
mod session;

pub use config::{FileEncoding, HostConfig, Reauth};
pub use files::{FileError, Folder};
pub use launch::{Launch, Line, Process};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
pub use origin::check as check_origin;
pub use plugins::Plugins;
pub use port::{PORTS, listen as listen_by_rule};
pub use session::{HostReply, HostSession};
