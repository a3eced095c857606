//! A call on its way: the future of its one outcome.

use std::borrow::Borrow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::caller::{Caller, Way};
use crate::cell::Awaited;
use crate::credentials::BoxFuture;
use crate::envelope::{CallId, Request};
use crate::failure::{CallError, Outcome};
use crate::queue::Rejected;

/// A call that [`Caller::begin`] has made. `C` is what leads to the caller: a borrow of it, or something that owns it.
///
/// Polled again after its outcome, it is pending for ever.
///
/// # Cancel safety
/// Dropping it gives the call up: unsent it is removed, sent its answer is nobody's.
pub struct Calling<C: Borrow<Caller>> {
    caller: C,
    stage: Stage,
}

enum Stage {
    /// Queued, or on its way.
    Underway(CallId, Awaited),
    /// There is no room for it yet, or it goes a way of its own. Rare, and large: boxed, so that every other call stays small.
    Apart(BoxFuture<'static, Outcome>),
    Refused(Box<CallError>),
    Over,
}

impl<C: Borrow<Caller>> Calling<C> {
    pub(crate) fn new(caller: C, request: Request) -> Self {
        let stage = match caller.borrow().way() {
            Way::Custom(call) => {
                let call = Arc::clone(call);
                Stage::Apart(Box::pin(async move { call.call(request).await }))
            }
            Way::Queue(way) => {
                let deadline = request.due.moment_from(|| way.surroundings.clock.now(), way.timeout);
                match way.outlet.request(request, deadline) {
                    Ok((call, outcome)) => Stage::Underway(call, outcome),
                    Err((back, Rejected::Full { .. })) => {
                        let way = Arc::clone(way);
                        Stage::Apart(Box::pin(async move {
                            let (call, outcome) = way.wait_for_room(back, deadline).await?;
                            let caller = Caller::from(way);
                            Calling { caller, stage: Stage::Underway(call, outcome) }.await
                        }))
                    }
                    Err((_, rejected)) => Stage::Refused(Box::new(rejected.into_error())),
                }
            }
        };
        Self { caller, stage }
    }

    /// What leads to the caller. It must go on leading to the same one: a call that is dropped is given up there, by a number
    /// that another caller has given to a call of its own.
    pub fn by(&mut self) -> &mut C {
        &mut self.caller
    }
}

/// Nothing in it is ever pinned in place.
impl<C: Borrow<Caller>> Unpin for Calling<C> {}

impl<C: Borrow<Caller>> Future for Calling<C> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = match &mut self.stage {
            Stage::Underway(_, outcome) => ready!(outcome.poll(cx)),
            Stage::Apart(apart) => ready!(apart.as_mut().poll(cx)),
            Stage::Refused(_) | Stage::Over => match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Refused(error) => Err(*error),
                _ => return Poll::Pending,
            },
        };
        self.stage = Stage::Over;
        Poll::Ready(outcome)
    }
}

impl<C: Borrow<Caller>> Drop for Calling<C> {
    fn drop(&mut self) {
        // First of all it is plain that nobody waits: a call that is about to be written is then left out.
        if let Stage::Underway(call, outcome) = &mut self.stage
            && outcome.leave()
            && let Way::Queue(way) = self.caller.borrow().way()
        {
            way.outlet.cancel(*call);
        }
    }
}

impl<C: Borrow<Caller>> fmt::Debug for Calling<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calling")
    }
}
