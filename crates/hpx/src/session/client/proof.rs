//! Shows a server the session that another connection logged in for, before any call depends on it.
//!
//! A server may cut a connection that has shown no session for a while, and ours does. A list without functions shows it and
//! runs nothing, so no call is at stake whatever the answer is.

use bytes::Bytes;
use polywire_core::{Action, Count};

use super::{ClientSession, Context, Data, Phase, is_refused_session};
use crate::translate;
use crate::wire::Message;

impl ClientSession {
    pub(super) fn prove(&mut self, cx: Context<'_, '_>) {
        self.phase = Phase::Proving;
        let session = self.session.clone().unwrap_or_default();
        self.write(&session, |out| out.extend_from_slice(b"[]"), cx);
    }

    /// A refused session costs one login, which shows enough by itself.
    pub(super) fn proof_answered(
        &mut self,
        error: Option<Bytes>,
        data: &Data,
        message: &Message,
        cx: Context<'_, '_>,
    ) {
        if let Some(error) = error {
            if is_refused_session(translate::error_number(&error, self.limits())) {
                return self.enter_anew(cx);
            }
            // The session is good; it is the empty list that this server does not take.
            return self.ready(cx);
        }
        match data {
            Data::Results => self.ready(cx),
            Data::Authenticated => match self.given_to_a_guest(message) {
                Some(fresh) => {
                    self.session = Some(self.pool.adopt(self.session.as_ref(), fresh));
                    self.ready(cx);
                }
                None => self.enter_anew(cx),
            },
            Data::Wait => {
                self.phase = Phase::ProofPaused;
                cx.act(Action::WakeAt(Some(cx.now() + self.config.wait_backoff)));
            }
            // A second greeting, or talk of other things.
            Data::Broadcast | Data::Other => cx.count(Count::Unexpected),
        }
    }
}

impl Drop for ClientSession {
    /// A session that was shown and found no answer counts as spent, so the next connection logs in. A server that has no answer
    /// to an empty list would never get further otherwise.
    fn drop(&mut self) {
        if let (Phase::Proving, Some(session)) = (self.phase, &self.session) {
            self.pool.spend(session);
        }
    }
}
