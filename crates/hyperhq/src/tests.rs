//! The plugin's session against the recordings, and by hand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod cut;
mod hand;
mod host;
mod host_replay;
mod host_stream;
mod login;
mod messages;
mod ports;
mod recording;
pub(crate) mod scratch;
mod stacked;
mod tolerant;
mod replay;
