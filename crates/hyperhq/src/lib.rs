//! HyperHQ plugins in Rust.
//!
//! A plugin is a process that the host launches. It reads where the host listens from its environment, logs in once with a
//! challenge that lives for 30 s, answers the host's requests, and may ask for data and files and hear events. What the flow is
//! was read in the published plugin guide and in real plugins, and observed with peers written on the official Socket.IO
//! packages; the original host is closed and was not run.
//!
//! See [`Plugin`] for how one is written.
//!
//! A host launches them: see [`Host`].
//!
//! # What the flow does not give
//! Requests name no errors but a text. A status update names no request: it keeps all of them alive. An answer of the host comes
//! twice, under two names; the first counts. An event has no proof of delivery.

// Packets to envelopes.
mod message;
mod plugin;
mod host;
mod adapter;

#[cfg(test)]
mod tests;

pub use adapter::{ADAPTER, HyperHq, capabilities};
pub use host::{
    FileEncoding, FileError, Folder, Host, HostConfig, HostError, HostReply, HostSession, Launch, Line,
    MAX_MANIFEST_BYTES, Manifest, ManifestError, PORTS, Plugins, Process, Reauth, STATUS,
};
pub use plugin::{Environment, EnvironmentError, Kept, Plugin, PluginError, PluginSession, Reply, Subscribe};
pub use plugin::{FILE, TIMESTAMP};
