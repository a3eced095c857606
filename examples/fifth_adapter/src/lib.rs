//! Parley, a toy line protocol, as a whole adapter of polywire: a pattern to copy for a wire of your own.
//!
//! It stands outside of core, bridge and command and uses only what they make public. The page beside it, `README.md`, leads
//! through its files in the order in which they were written.
//!
//! ```no_run
//! use fifth_adapter::{Config, dial, listen};
//! use polywire_core::{Body, Credentials, Endpoint, Request, Route, Router};
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::new("parley", Router::new().fallback(|body: Body| async { body }).build()?);
//! let config = Config { guests: true, ..Config::default() };
//! let server = listen("127.0.0.1:0", config.clone(), endpoint.clone()).await?;
//! let client = dial(server.address(), config, Credentials::guest(), endpoint)?;
//! let answer = client.caller().call(Request::new(Route::from_static("echo"), Body::json(&[1, 2, 3])?)).await?;
//! # let _ = answer; Ok(()) }
//! ```

// Bytes to frames to envelopes.
mod codec;
mod wire;
mod session;
mod translate;
// The two ends.
mod server;
mod client;
mod adapter;
// The notes.
mod config;
mod error;

pub use adapter::{ADAPTER, Parley, capabilities};
pub use client::dial;
pub use codec::Codec;
pub use config::Config;
pub use error::Error;
pub use server::{Make, listen};
pub use session::{Role, Session};
