//! Coming by a session: the pool's, or one that this connection logs in for.

use bytes::Bytes;
use polywire_core::{Action, Close, Code, Count, Credentials, Failure, Refusal, json};

use super::super::pool::{Enter, Wake};
use super::{ClientSession, Context, Data, Phase};
use crate::translate;
use crate::wire::{self, Message};

impl ClientSession {
    /// Finds a session: the pool's, or one that this connection logs in for.
    pub(super) fn enter(&mut self, spent: Option<&Bytes>, cx: Context<'_, '_>) {
        match self.pool.enter(self.slot, spent) {
            Enter::Use(session) => {
                self.session = Some(session);
                if self.established { self.ready(cx) } else { self.prove(cx) }
            }
            Enter::Lead(lead) => {
                self.lead = Some(lead);
                self.log_in(cx);
            }
            Enter::Wait => self.phase = Phase::Waiting,
        }
    }

    /// The session in use is not accepted.
    pub(super) fn enter_anew(&mut self, cx: Context<'_, '_>) {
        let spent = self.session.take();
        self.enter(spent.as_ref(), cx);
    }

    pub(super) fn log_in(&mut self, cx: Context<'_, '_>) {
        self.phase = Phase::LoggingIn;
        let Credentials { subject, secret, .. } = self.credentials.clone();
        self.write(
            b"\"\"",
            |out| {
                let Some(subject) = subject else { return out.extend_from_slice(b"{}") };
                let password = secret.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()));
                out.extend_from_slice(b"{\"user\":");
                json::write_string(out, &subject);
                out.extend_from_slice(b",\"password\":");
                json::write_string(out, &password.unwrap_or_default());
                out.extend_from_slice(b"}");
            },
            cx,
        );
    }

    pub(super) fn login_answered(
        &mut self,
        error: Option<Bytes>,
        data: &Data,
        message: &Message,
        cx: Context<'_, '_>,
    ) {
        if let Some(error) = error {
            let failure = translate::to_failure(&error, self.limits());
            return self.login_failed(failure, cx);
        }
        match data {
            Data::Authenticated => match message.session().filter(|session| !session.is_empty()) {
                Some(session) => {
                    let session = wire::quoted(&session);
                    if let Some(lead) = self.lead.take() {
                        lead.won(session.clone());
                    }
                    self.session = Some(session);
                    self.ready(cx);
                }
                None => cx.close(Close::Protocol("the login was accepted without a session".to_owned())),
            },
            Data::Wait => {
                self.phase = Phase::LoginPaused;
                cx.act(Action::WakeAt(Some(cx.now() + self.config.wait_backoff)));
            }
            // A second greeting, or talk of other things.
            Data::Results | Data::Broadcast | Data::Other => cx.count(Count::Unexpected),
        }
    }

    fn login_failed(&mut self, failure: Failure, cx: Context<'_, '_>) {
        let refused = matches!(failure.code, Code::Unauthenticated | Code::PermissionDenied);
        let reason = failure.message.clone().into_owned();
        let lead = self.lead.take();
        self.phase = Phase::Waiting;
        // What waited for the login provably did not run.
        self.done(Err(translate::not_logged_in(failure)), cx);
        if refused {
            let refusal = Refusal::new(reason);
            if let Some(lead) = lead {
                lead.refused(refusal.clone());
            }
            cx.close(Close::Refused(refusal));
        } else {
            cx.close(Close::Protocol(format!("the login failed: {reason}")));
        }
    }

    pub(super) fn woken(&mut self, wake: Wake, cx: Context<'_, '_>) {
        if self.phase != Phase::Waiting {
            return;
        }
        match wake {
            Wake::Look => self.enter(None, cx),
            Wake::Refused(refusal) => {
                self.done(Err(translate::not_logged_in(refusal.clone().into())), cx);
                cx.close(Close::Refused(refusal));
            }
        }
    }
}
