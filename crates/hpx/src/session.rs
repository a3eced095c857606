//! What one end knows about one connection, from the greeting to the close; pure.
//!
//! Both roles answer one message at a time. The server's sessions outlive connections and are shared by them, so they live in a
//! [`table`] of their own; the client's one session is shared by the connections of its [`pool`].

mod client;
pub(crate) mod pool;
mod server;
mod table;

pub use client::{ClientSession, Wake};
pub use pool::Pool;
pub use server::{ServerSession, Shared, Turn};

use polywire_core::Flush;

use crate::config::Dialect;
use crate::translate::REQUEST_AUTH;

/// A command to the server, and what its broadcast says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCommand {
    /// Shut down.
    Quit,
    /// Shut down and start again.
    Restart,
}

impl ServerCommand {
    /// Its name, which is also the route of the broadcast event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "serverquit",
            Self::Restart => "serverrestart",
        }
    }

    /// Its number on the wire.
    pub(crate) const fn number(self) -> &'static [u8] {
        match self {
            Self::Quit => b"1",
            Self::Restart => b"2",
        }
    }

    /// The command that `data` is, by name in any case or by number; neither `true` nor `1.0` is one.
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        [Self::Quit, Self::Restart].into_iter().find(|command| {
            data == command.number() || inside(data).eq_ignore_ascii_case(command.as_str().as_bytes())
        })
    }
}

/// Does `data` ask for the greeting again?
pub(crate) fn is_request_auth(data: &[u8]) -> bool {
    data == b"3" || inside(data).eq_ignore_ascii_case(REQUEST_AUTH.as_bytes())
}

/// The text of a JSON string without escapes; empty when it is none.
fn inside(data: &[u8]) -> &[u8] {
    data.strip_prefix(b"\"").and_then(|data| data.strip_suffix(b"\"")).unwrap_or_default()
}

/// How messages leave: peers of dialect A take one frame from a read, so each leaves in a write of its own.
fn flush(dialect: Dialect) -> Flush {
    match dialect {
        Dialect::A => Flush::Alone,
        Dialect::Auto | Dialect::B => Flush::Coalesce,
    }
}
