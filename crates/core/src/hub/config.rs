//! The bounds of a hub.

use crate::client::GAP;
use crate::limits::LimitError;
use crate::route::Route;

/// What a hub does for a slow member.
#[derive(Clone, Debug, PartialEq)]
pub struct HubConfig {
    /// Most events waiting for one member; default 256, at most 65 536.
    pub max_subscriber_messages: usize,
    /// Most bytes of routes, keys and bodies waiting for one member; default 1 MiB, at most 64 MiB. An event larger than this
    /// reaches only members that need not wait.
    pub max_subscriber_bytes: usize,
    /// Most groups one peer is a member of; default 256, at most 65 536.
    pub max_groups_per_subscriber: usize,
    /// What gives way when one of the two is reached; default [`Slow::DropOldest`].
    pub slow: Slow,
    /// The route of the event that tells a member how many it missed (`{"missed": 3, "reason": "…"}`); default
    /// [`GAP`], `None` sends none.
    pub gap: Option<Route>,
}

/// What gives way when the events waiting for a slow member reach a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slow {
    /// The event that has waited longest.
    #[default]
    DropOldest,
    /// The event that has just come.
    DropNewest,
    /// A waiting event of the same route and key, at once and not only at a bound: the newer one takes its place, which is
    /// counted but no gap. At a bound, the event that has waited longest.
    LatestPerKey,
    /// The member: its connection is closed.
    Disconnect,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            max_subscriber_messages: 256,
            max_subscriber_bytes: 1 << 20,
            max_groups_per_subscriber: 256,
            slow: Slow::default(),
            gap: Some(GAP),
        }
    }
}

impl HubConfig {
    pub(super) fn validate(&self) -> Result<(), LimitError> {
        for (setting, value, most, rule) in [
            ("max_subscriber_messages", self.max_subscriber_messages, 65_536, "1 to 65536"),
            ("max_subscriber_bytes", self.max_subscriber_bytes, 64 << 20, "1 to 64 MiB"),
            ("max_groups_per_subscriber", self.max_groups_per_subscriber, 65_536, "1 to 65536"),
        ] {
            if !(1..=most).contains(&value) {
                return Err(LimitError { setting, value: value.to_string(), rule });
            }
        }
        Ok(())
    }
}
