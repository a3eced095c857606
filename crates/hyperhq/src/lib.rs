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
//!
//! An event whose JSON is beyond our limits (levels, keys, digits of a number) is not handed on, and counted as `bad_body` where
//! it would have been heard. Of a request or an answer the id is looked for all the same: who asked is refused with the limit's
//! name, and a call whose answer is beyond them ends as unknown. Of a request without an id a host says so in an `error`, or in a
//! `fileData` without one where it was for a file; a plugin says nothing.
//!
//! # Decisions, with the road not taken
//! - **The original host was never run.** What the published guide leaves open follows real plugins and peers written
//!   on the official packages; the vectors say which is which.
//! - **The token of the last login first, then the challenge once, then a definite end**: the guide contradicts
//!   itself, and this order is right under every reading of it. A plugin that was refused does not try again.
//! - **The namespace is found on one connection**: `/` first, then `/plugin` when the host has no `/` or says nothing there
//!   for 5 s, because the official server has `/` whoever is in it. The challenge that nobody looked at is still good.
//! - **What the other side does not know ends nothing**: real plugins log by events that no host listens to. A status
//!   update that is neither an object nor a text is counted, and keeps nothing alive.
//! - **A request id that is in flight is not run again, and after a shutdown nothing is begun**; the answer to the
//!   shutdown is the last word.
//! - **Only events that were asked for reach handlers**, and they are asked for again after every login.
//! - **Status updates leave at most every 100 ms, and the last one always does.** They name no request, so which one
//!   they are about is not said.
//! - **A plugin's session lives in the host, not in its connection**: challenges, tokens and the grace after a lost
//!   connection are one table that the connections share. A newer login takes the session over, and the older
//!   connection is served no more, nor can it log in again. What was asked there may be answered on the newer one,
//!   because the guide's sample does that; the older one is closed once nothing is open on it. What is closed is its
//!   namespace: a plugin that ignores that and goes on answering pings keeps its WebSocket, and its place among
//!   `max_connections`, until it or the host ends.
//! - **Guesses do not pause a plugin.** A challenge has 256 random bits; pausing its plugin would let any local
//!   program keep it out.
//! - **An event for all is written once**: plugins that are told it in the same millisecond share its bytes and its
//!   timestamp.
//! - **A host is the upper half alone**, over packets that the Socket.IO server delivers: the same session runs in
//!   its tests without any server.
//! - **Both loopbacks, one port**: by the rule of ports on IPv4, and the same number on IPv6 where it can be had. No
//!   `Origin` is let in unless it is named, and no `Host` but the loopback's, so that no page of a browser can reach
//!   a plugin's host.
//! - **No TLS, in neither role.** The flow belongs to one machine: the guide forbids plugins every other host, a plugin is
//!   told a port and no name, and a [`Host`] listens on the loopback alone. A certificate would have to be trusted by every
//!   plugin there is. A host on another machine is reached through a tunnel, or over a bridge on another wire.
//! - **Files are opened from the folder's own handle**, step by step, by a library made for that: a path that is
//!   judged and then opened can change in between.
//! - **An answer counts once.** Hosts say it twice, under two names, and late ones look the same.
//! - **A connection is one plugin**, and only the one that holds its session is served: a launch and `forget` close the
//!   older one at once, a newer login when what was asked there has ended. A launch that fails changes nothing.
//! - **A host that stops asks its plugins for `shutdown`**, all at once, and waits up to 5 s: nothing else in the flow
//!   tells them, and a plugin that dials again is refused, because its challenge and its token die with the host. What
//!   [`ADAPTER`] listens with, for `polywire serve` or a bridge, closes its one connection without a word: it hands requests
//!   on and makes none of its own.
//! - **A request that comes twice is run twice once it was answered.** Ids of the original host are not known to be
//!   unique; only what is in progress is not begun again. `polywire fake` tells authors when their plugin does that.
//! - **`polywire fake` wraps the host's session** instead of having a switch for each fault inside it, and judges
//!   what a plugin's author can see: logins, answers, the end. Long rows of hexadecimal digits are never shown,
//!   whoever prints them.

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Packets to envelopes.
mod message;
mod skim;
mod plugin;
mod host;
mod adapter;

#[cfg(test)]
mod tests;

pub use adapter::{ADAPTER, HyperHq, capabilities};
pub use host::{
    Farewell, FileEncoding, FileError, Folder, Host, HostConfig, HostError, HostReply, HostSession, Launch,
    Line, MAX_MANIFEST_BYTES, Manifest, ManifestError, PORTS, Plugins, Process, Reauth, STATUS, Trait,
};
pub use plugin::{Environment, EnvironmentError, Kept, Plugin, PluginError, PluginSession, Reply, Subscribe};
pub use plugin::{FILE, TIMESTAMP};
