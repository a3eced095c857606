//! Sockhop for Rust: client and server over TCP and Unix sockets, for peers of the 1.x and 2.x libraries.

mod binary;
mod codec;
mod config;
mod control;
mod heartbeat;
mod id;
mod session;
mod tables;
mod translate;

#[cfg(test)]
mod tests;
mod wire;

pub use codec::{Codec, Frame, Framing};
pub use config::{Calls, Config, Mode, PeerType, Switch, Terminator};
pub use session::{Role, Session};
pub use tables::Reply;
pub use translate::{BUFFER, TYPE};
pub use wire::Message;
