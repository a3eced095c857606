//! Tells the operator that the connection of an endpoint is out, why, what is done about it, and when it is back.
//!
//! An outage is told once in ten seconds while it lasts, however often it is dialled, and at once where it is for good. Its end is
//! told as a warning too, so that whoever is shown the one is shown the other.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Caller, ClientState, Clock, Endpoint, Moment, Reconnect, Shutdown};
use tokio::sync::watch;

use crate::failure::clean_text;

/// Least time between two lines that say out.
const PAUSE: Duration = Duration::from_secs(10);

/// Writes to the log how one client endpoint stands.
pub(crate) struct Teller {
    endpoint: String,
    reconnect: Reconnect,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

impl Teller {
    /// For the endpoint of this name.
    pub(crate) fn new(name: &str, endpoint: &Endpoint) -> Self {
        Self {
            endpoint: name.to_owned(),
            reconnect: endpoint.reconnect.clone(),
            clock: Arc::clone(&endpoint.surroundings.clock),
            shutdown: endpoint.shutdown.clone(),
        }
    }

    /// Tells until the client is over.
    pub(crate) async fn follow(self, caller: Caller, mut state: watch::Receiver<ClientState>) {
        let mut outage = Outage::default();
        loop {
            let stands = state.borrow_and_update().clone();
            if self.shutdown.is_draining() {
                return;
            }
            if let Some(line) = outage.line(&stands, caller.has_ended(), self.clock.now(), &self.reconnect) {
                tracing::warn!(endpoint = %self.endpoint, "{line}");
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What was told of one endpoint.
#[derive(Default)]
struct Outage {
    /// When the connection was lost, or was first not had.
    since: Option<Moment>,
    /// Has this outage been told?
    told: bool,
    /// When the next line about an outage may be written.
    next: Option<Moment>,
}

impl Outage {
    /// What is to be told of an endpoint that stands so, if anything; `over` when a refusal is its last word, as a close always is.
    fn line(
        &mut self,
        state: &ClientState,
        over: bool,
        now: Moment,
        reconnect: &Reconnect,
    ) -> Option<String> {
        let over = match state {
            ClientState::Closed(_) => true,
            ClientState::Refused(_) => over,
            _ => false,
        };
        let (why, then): (Cow<'static, str>, _) = match state {
            ClientState::Ready => {
                let since = self.since.take()?;
                let told = std::mem::take(&mut self.told);
                return told.then(|| format!("endpoint back after {:.1?}", now - since));
            }
            ClientState::Waiting(why) => (why.clone().into(), again(reconnect)),
            ClientState::Denied(refusal) => (refusal.to_string().into(), again(reconnect)),
            ClientState::Refused(refusal) => (
                refusal.to_string().into(),
                match reconnect.refused_pause {
                    Some(pause) if !over => format!("tries again in {pause:?}"),
                    _ => "does not try again".to_owned(),
                },
            ),
            ClientState::Closed(why) => (why.clone().into(), "does not try again".to_owned()),
            _ => return None,
        };
        self.since.get_or_insert(now);
        if !over && self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + PAUSE);
        self.told = true;
        Some(format!("endpoint out: {}; {then}", clean_text(why)))
    }
}

fn again(reconnect: &Reconnect) -> String {
    format!("tries again within {:?}", reconnect.max_pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::Refusal;

    #[test]
    fn an_outage_is_told_once_in_ten_seconds_and_its_end_once() {
        let reconnect = Reconnect { refused_pause: Some(Duration::from_secs(60)), ..Reconnect::default() };
        let line = |outage: &mut Outage, seconds, state: ClientState, over| {
            outage.line(&state, over, Moment::from_start(Duration::from_secs(seconds)), &reconnect)
        };
        let mut outage = Outage::default();
        let mut at = |seconds, state| line(&mut outage, seconds, state, false);
        let waits = |why: &str| ClientState::Waiting(why.to_owned());
        let refusal = || Refusal::new("wrong\u{1b}[31m password");
        assert_eq!(at(0, ClientState::Connecting), None);
        assert_eq!(at(1, ClientState::Ready), None, "nothing was out");
        let out = |why: &str, then: &str| Some(format!("endpoint out: {why}; tries again {then}"));
        assert_eq!(at(2, waits("nobody listens")), out("nobody listens", "within 30s"));
        assert_eq!(at(11, waits("nobody listens")), None);
        assert_eq!(
            at(12, ClientState::Denied(refusal())),
            out("login refused: wrong[31m password", "within 30s")
        );
        assert_eq!(
            at(30, ClientState::Refused(refusal())),
            out("login refused: wrong[31m password", "in 60s")
        );
        assert_eq!(at(32, ClientState::Ready).as_deref(), Some("endpoint back after 30.0s"));
        assert_eq!(at(33, waits("lost")), None, "too soon after the line before");
        assert_eq!(at(34, ClientState::Ready), None, "its loss was not told");
        assert_eq!(at(40, waits("lost")), out("lost", "within 30s"));
        assert!(at(70, waits(&"x".repeat(2_000))).unwrap().len() < 600, "a peer does not fill the log");
        let closed = at(71, ClientState::Closed("no such option".to_owned()));
        assert_eq!(
            closed.as_deref(),
            Some("endpoint out: no such option; does not try again"),
            "however soon"
        );
        let refused = line(&mut outage, 72, ClientState::Refused(Refusal::new("used up")), true);
        assert_eq!(refused.as_deref(), Some("endpoint out: login refused: used up; does not try again"));
        assert_eq!(line(&mut outage, 73, waits("lost"), true), None, "only a refusal can be the last word");
    }
}
