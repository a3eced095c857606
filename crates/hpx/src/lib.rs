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

pub use adapter::{ADAPTER, HpxAdapter};
pub use batch::batch;
pub use client::HpxClient;
pub use config::{ClientConfig, Dialect, NonFinite, ServerConfig, Version, Wire};
pub use error::Error;
pub use server::HpxServer;
pub use session::ServerCommand;
pub use translate::failure;
pub use users::Users;
