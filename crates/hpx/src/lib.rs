//! HPX.

mod adapter;
mod batch;
mod client;
mod codec;
mod config;
mod error;
mod gzip;
mod server;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod translate;
mod users;
mod wire;

pub use adapter::{ADAPTER, Hpx};
pub use batch::batch;
pub use client::HpxClient;
pub use codec::{Frame, HpxCodec, Trust};
pub use config::{ClientConfig, Dialect, NonFinite, ServerConfig, Version, Wire};
pub use error::Error;
pub use gzip::Fault;
pub use server::HpxServer;
pub use session::{ClientSession, Pool, ServerCommand, ServerSession, Shared, Turn, Wake};
pub use translate::failure;
pub use users::Users;
