//! Recordings replayed, hostile rows, and both roles run by the engine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

#[path = "../../core/tests/pipe/mod.rs"]
mod pipe;

mod hand;
mod hostile;
mod replay;
mod run;
mod vectors;

use std::time::Duration;

use crate::config::Config;
use crate::seal::{HEAD, Key, Nonce};

/// The settings of these tests.
fn config() -> Config {
    Config { owed_for: Duration::from_secs(60), ..Config::new("shared") }
}

/// A sealed message.
fn seal(key: &Key, nonce: Nonce, text: &[u8]) -> bytes::Bytes {
    let mut sealed = bytes::BytesMut::zeroed(HEAD);
    sealed.extend_from_slice(text);
    key.seal(nonce, &mut sealed).unwrap();
    sealed.freeze()
}
