//! HPX.

mod codec;
mod config;
mod gzip;
mod session;
#[cfg(test)]
mod tests;
mod translate;
mod wire;

pub use config::{ClientConfig, Dialect, NonFinite, ServerConfig, Version, Wire};
pub use session::ServerCommand;
pub use translate::failure;
