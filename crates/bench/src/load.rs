//! The load generators: as little work of their own as possible, the same for every server.

pub(crate) mod hpx;
pub(crate) mod hyperhq;
pub(crate) mod sockhop;
pub(crate) mod stonyx;

use std::time::Duration;

/// What one run of a generator saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Calls that were answered.
    pub(crate) calls: u64,
    /// Reads that brought them.
    pub(crate) reads: u64,
    /// From the first byte sent to the last one received.
    pub(crate) elapsed: Duration,
}
