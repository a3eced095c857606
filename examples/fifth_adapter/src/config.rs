//! The settings of this adapter. What every wire bounds is in the endpoint's [`Limits`](polywire_core::Limits).

use polywire_core::LimitError;

/// The settings of one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Listening: may somebody log in without a name? Default no, because a wire that has a login has it for a reason.
    pub guests: bool,
    /// Beats in a row that a peer may miss before it is taken for dead, 2 to 60; default 3, which finds it within 40 s.
    /// One would be too few: clocks of two machines are never in step.
    pub max_missed_beats: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { guests: false, max_missed_beats: 3 }
    }
}

impl Config {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the first setting out of range.
    pub fn validate(&self) -> Result<(), LimitError> {
        if (2..=60).contains(&self.max_missed_beats) {
            return Ok(());
        }
        Err(LimitError {
            setting: "max_missed_beats",
            value: self.max_missed_beats.to_string(),
            rule: "2 to 60",
        })
    }
}
