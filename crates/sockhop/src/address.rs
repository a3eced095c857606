//! Where peers are: a TCP address or the path of a Unix socket.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where to listen or what to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`; port 0 to listen at any free one.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl From<&str> for Address {
    fn from(address: &str) -> Self {
        Self::Tcp(address.to_owned())
    }
}

impl From<String> for Address {
    fn from(address: String) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
