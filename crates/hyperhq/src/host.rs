//! A host: the side that launches plugins and listens.

mod calls;
mod config;
mod farewell;
mod files;
mod folders;
mod group;
mod launch;
mod listen;
mod manifest;
mod plugins;
mod roster;
mod session;
mod told;

#[cfg(test)]
pub(crate) use calls::LOOK;
pub use config::{FileEncoding, HostConfig, Reauth};
pub use farewell::Farewell;
pub use files::{FileError, Folder};
pub use launch::{Launch, Line, Process};
pub(crate) use listen::serve_one;
pub use listen::{Host, HostError};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, Trait};
pub use plugins::Plugins;
pub use session::{HostReply, HostSession, STATUS};

/// The ports that are tried in order before any other. Read in the plugin guide.
pub const PORTS: std::ops::RangeInclusive<u16> = 52_789..=52_818;
