//! The call in flight: sent, sent again where it surely did not run, and answered or given up.

use bytes::Bytes;
use polywire_core::{
    Action, Body, CallError, CallId, Close, Code, Count, Failure, JsonText, Outcome, Part, Retry,
};

use super::{ClientSession, Context, Data, InFlight, Phase, is_refused_session, no_json};
use crate::config::{Dialect, NonFinite};
use crate::translate::{self, BATCH};
use crate::wire::{self, Message};

impl ClientSession {
    pub(super) fn send_call(&mut self, cx: Context<'_, '_>) {
        let Some(call) = self.call.take() else { return };
        let session = super::command::session_for(&call.request, self.session.as_ref());
        self.write(&session, |out| translate::write_request(out, &call.request), cx);
        self.call = Some(call);
    }

    pub(super) fn call_answered(
        &mut self,
        error: Option<Bytes>,
        data: &Data,
        message: &Message,
        cx: Context<'_, '_>,
    ) {
        if let Some(error) = error {
            let failure = translate::to_failure(&error, self.limits());
            if is_refused_session(translate::error_number(&error, self.limits())) {
                return self.renew(failure, cx);
            }
            return self.done(Err(CallError::Failure(failure)), cx);
        }
        let refused = message.mended.as_ref().filter(|_| self.config.wire.non_finite == NonFinite::Refuse);
        if let Some(outcome) = self.answer_to_command(&message.data()) {
            return self.done(refused.map_or(outcome, |error| Err(no_json(error))), cx);
        }
        match data {
            Data::Results if self.command().is_none() => {
                let outcome =
                    refused.map_or_else(|| self.outcome(&message.data()), |error| Err(no_json(error)));
                self.done(outcome, cx);
            }
            Data::Authenticated => self.taken_for_a_login(message, cx),
            Data::Wait => self.pause(cx),
            // A greeting, or talk of other things: the answer may still come.
            Data::Results | Data::Broadcast | Data::Other => cx.count(Count::Unexpected),
        }
    }

    /// The session was not accepted, so the call surely did not run: it is sent once more under another session.
    fn renew(&mut self, failure: Failure, cx: Context<'_, '_>) {
        match &mut self.call {
            Some(call) if !call.renewed => call.renewed = true,
            _ => return self.done(Err(translate::not_logged_in(failure)), cx),
        }
        self.enter_anew(cx);
    }

    /// The session that a guest was given in place of the one it showed; `None` for somebody with a name.
    pub(super) fn given_to_a_guest(&self, message: &Message) -> Option<Bytes> {
        let fresh = message.session().filter(|session| !session.is_empty())?;
        self.credentials.subject.is_none().then(|| wire::quoted(&fresh))
    }

    /// The server took the call for a guest's login, because it did not know the session. A guest takes the new session over;
    /// somebody with a name would have become a guest and logs in again.
    fn taken_for_a_login(&mut self, message: &Message, cx: Context<'_, '_>) {
        let failure = Failure::new(Code::Unauthenticated, "the server does not know the session any more");
        match (self.given_to_a_guest(message), &mut self.call) {
            (Some(fresh), Some(call)) if !call.renewed => {
                call.renewed = true;
                self.session = Some(self.pool.adopt(self.session.as_ref(), fresh));
                self.send_call(cx);
            }
            _ => self.renew(failure, cx),
        }
    }

    /// The server is not ready: the call did not run and is sent again later, if there is time for it.
    fn pause(&mut self, cx: Context<'_, '_>) {
        let again = cx.now() + self.config.wait_backoff;
        if self.call.as_ref().is_some_and(|call| call.deadline > again) {
            self.phase = Phase::CallPaused;
            cx.act(Action::WakeAt(Some(again)));
        } else {
            let failure = Failure::new(Code::Unavailable, "the server is not ready").with_retry(Retry::Safe);
            self.done(Err(CallError::NotSent(failure)), cx);
        }
    }

    fn outcome(&self, data: &Part) -> Outcome {
        let Some(InFlight { request, .. }) = &self.call else {
            return Err(CallError::unknown(Code::Internal, "nobody waits for this answer"));
        };
        if request.meta.get(BATCH).is_some() {
            return Ok(Body::Json(JsonText::from_part(data.clone())).into());
        }
        let in_order = self.config.wire.dialect == Dialect::B;
        let results = translate::results(data, 1, self.limits()).unwrap_or_default();
        let found = translate::match_results(&[&request.route], &results, self.limits(), in_order);
        match found.first().copied().flatten().and_then(|at| results.get(at)) {
            Some(result) => translate::outcome(result, self.limits()),
            None => Err(CallError::unknown(Code::Internal, "the reply has no entry for the call")),
        }
    }

    pub(super) fn give_up(&mut self, call: CallId, cx: Context<'_, '_>) {
        if self.call.as_ref().is_none_or(|known| known.call != call) {
            return;
        }
        self.call = None;
        match self.phase {
            Phase::Ready => {
                cx.close(Close::GivenUp(
                    "a call was given up, and its late answer would be taken for another's".to_owned(),
                ));
            }
            Phase::CallPaused => {
                cx.act(Action::WakeAt(None));
                self.ready(cx);
            }
            // It is not on the wire now: the connection goes on with what it does.
            Phase::Greeting | Phase::LoggingIn | Phase::LoginPaused | Phase::Waiting => {}
            // No call was taken yet.
            Phase::Proving | Phase::ProofPaused => {}
        }
    }
}
