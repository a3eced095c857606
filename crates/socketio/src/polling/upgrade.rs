//! From polling to a WebSocket, pure: what is said when, and when polling has to stop.
//!
//! Read in the Engine.IO 4 protocol document and recorded with engine.io 6.6: a WebSocket is opened for the same session, `2probe`
//! is sent over it and `3probe` is the answer. Then nothing new is asked over HTTP; once the request that hangs there has
//! been answered, which the server does with a `6`, `5` goes over the WebSocket, and from then on everything does. The server gives
//! this 10 s. Until the `5` is said polling remains whole, so whatever fails before leaves the session as it is.

use polywire_core::{Message, Moment};

/// The first message over the WebSocket.
pub(crate) const PROBE: &[u8] = b"2probe";
/// The server's answer to it.
const ANSWER: &[u8] = b"3probe";
/// The last message that belongs to the upgrade.
pub(crate) const UPGRADE: &[u8] = b"5";

/// One attempt.
#[derive(Debug)]
pub(crate) struct Upgrade {
    stage: Stage,
    until: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The WebSocket is being opened.
    Opening,
    /// `2probe` was sent.
    Probing,
    /// The server has answered; what is under way over HTTP must end.
    Pausing,
}

impl Upgrade {
    /// An attempt that has failed unless it is through at `until`.
    pub(crate) fn new(until: Moment) -> Self {
        Self { stage: Stage::Opening, until }
    }

    /// When it has failed.
    pub(crate) fn until(&self) -> Moment {
        self.until
    }

    /// The WebSocket is open; [`PROBE`] is to be sent.
    pub(crate) fn opened(&mut self) {
        self.stage = Stage::Probing;
    }

    /// The server has said something over the WebSocket.
    ///
    /// # Errors
    /// Why the attempt has failed.
    pub(crate) fn heard(&mut self, message: &Message) -> Result<(), &'static str> {
        match (self.stage, message) {
            (Stage::Probing, Message::Text(text)) if text == ANSWER => {
                self.stage = Stage::Pausing;
                Ok(())
            }
            (Stage::Probing, _) => Err("the server answers the probe with something else"),
            (Stage::Opening | Stage::Pausing, _) => Err("the server speaks before the upgrade"),
        }
    }

    /// Must nothing new be asked over HTTP?
    pub(crate) fn is_pausing(&self) -> bool {
        self.stage == Stage::Pausing
    }

    /// May [`UPGRADE`] be said, given that something is still under way over HTTP?
    pub(crate) fn may_switch(&self, under_way: bool) -> bool {
        self.is_pausing() && !under_way
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(text: &'static str) -> Message {
        Message::Text(text.into())
    }

    fn probing() -> Upgrade {
        let mut upgrade = Upgrade::new(Moment::from_start(Duration::from_secs(10)));
        assert!(!upgrade.is_pausing() && !upgrade.may_switch(false));
        upgrade.opened();
        upgrade
    }

    #[test]
    fn polling_stops_at_the_answer_and_the_switch_waits_for_it() {
        let mut upgrade = probing();
        assert!(!upgrade.is_pausing() && !upgrade.may_switch(false), "polling goes on during the probe");
        assert_eq!(upgrade.heard(&text("3probe")), Ok(()));
        assert!(upgrade.is_pausing());
        assert!(!upgrade.may_switch(true) && upgrade.may_switch(false));
    }

    #[test]
    fn anything_but_the_answer_is_a_failure() {
        let binary = Message::Binary("3probe".into());
        for message in
            [text("3"), text("3probe!"), text("2probe"), text("6"), text(""), binary, Message::Close(None)]
        {
            let mut upgrade = probing();
            assert!(upgrade.heard(&message).is_err(), "{message:?}");
            assert!(!upgrade.is_pausing());
        }
    }

    #[test]
    fn nothing_may_come_before_the_upgrade_is_said() {
        let mut upgrade = probing();
        assert!(upgrade.heard(&text("3probe")).is_ok());
        assert!(upgrade.heard(&text("3probe")).is_err());
        let mut early = Upgrade::new(Moment::default());
        assert!(early.heard(&text("3probe")).is_err());
    }
}
