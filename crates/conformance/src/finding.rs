//! How one guarantee came out for one adapter, as a line that programs read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which side calls or tells; the other serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The side that dialled.
    Forward,
    /// The side that listens.
    Swapped,
}

impl Direction {
    /// The word for it: `forward` or `swapped`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Swapped => "swapped",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a guarantee came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Held,
    /// The wire declares that it cannot do this, and does what is owed then: it refuses by name and loses nothing. Or it has nothing
    /// on which this could fail.
    Refused,
    /// It does not hold.
    Failed,
}

impl Verdict {
    /// The word for it: `held`, `refused` or `failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one guarantee came out for one adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The adapter's name.
    pub adapter: String,
    /// The guarantee's name, `topic::name`.
    pub guarantee: String,
    /// Which side called.
    pub direction: Direction,
    /// How it came out.
    pub verdict: Verdict,
    /// What went wrong, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
