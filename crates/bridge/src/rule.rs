//! One route at work: takes a message, gives it a name, a body and a deadline for the other wire, and brings the outcome back.

use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use polywire_core::{
    Answer, Body, Caller, Calling, Clock, Code, Due, Event, Failure, HandlerFuture, Incoming, Kind, Meta,
    Moment, Peer, Request, Response, Retry, Route,
};

use crate::config::Verb;
use crate::conversion::Conversion;
use crate::counts::{Ending, Seldom};
use crate::failure::told;
use crate::hops;
use crate::pattern::{Naming, Pattern};
use crate::port::{Emitted, Port};
use crate::stripes::Stripe;

/// Least time a call must have left to be sent at all.
const MIN_BUDGET: Duration = Duration::from_millis(50);

/// One route, bound to the way out it leads to.
pub(crate) struct Rule {
    pub(crate) title: String,
    pub(crate) pattern: Pattern,
    pub(crate) requests: bool,
    pub(crate) events: bool,
    pub(crate) naming: Naming,
    pub(crate) verb: Verb,
    pub(crate) timeout: Duration,
    pub(crate) conversion: Conversion,
    /// The member that lists bridges, and the name of this one.
    pub(crate) via: Option<(String, Arc<str>)>,
    pub(crate) port: Arc<Port>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seldom: Seldom,
}

impl Rule {
    /// Does this route take messages of this kind?
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        match kind {
            Kind::Request => self.requests,
            Kind::Event => self.events,
        }
    }

    /// Carries one message over, once: what was not sent is not sent again, and what was sent neither.
    ///
    /// Everything up to the moment it waits for the other side happens before the future is made, which keeps that small.
    pub(crate) fn carry(stripe: &Arc<Stripe>, incoming: Incoming) -> HandlerFuture {
        // Facts of one wire mean nothing on the other, and may be secrets of it: they stay here.
        let Incoming { kind, route, body, deadline, received, peer, meta, .. } = incoming;
        let this = &*stripe.rule;
        let mut underway = Underway::new(Arc::clone(stripe));
        if let Err(failure) = whole(&meta) {
            return refused(underway, Ending::Unsuitable, failure);
        }
        let (route, body) = match this.prepare(route, body) {
            Ok(ready) => ready,
            Err((ending, failure)) => return refused(underway, ending, failure),
        };
        let calls = match this.verb {
            Verb::Same => kind == Kind::Request,
            Verb::Call => true,
            Verb::Emit => false,
        };
        if !calls {
            let event = Event { route, body, meta: Meta::default() };
            return Box::pin(emit(underway, event, peer));
        }
        let Some(due) = budget(received.unwrap_or_else(|| this.clock.now()), deadline, this.timeout) else {
            let text = format!(
                "too little time was left to send the call on: timeout = {:?} of the route counts from when it came",
                this.timeout
            );
            let failure = Failure::new(Code::DeadlineExceeded, text).with_retry(Retry::Safe);
            return refused(underway, Ending::OutOfTime, failure);
        };
        let request = Request { route, body, due: Due::At(due), meta: Meta::default() };
        underway.to = this.port.next(&peer);
        Box::pin(SentOn(Caller::begin(underway, request)))
    }

    /// Name, hops and body, for the wire the message goes to.
    fn prepare(&self, route: Route, body: Body) -> Result<(Route, Body), (Ending, Failure)> {
        let body = match &self.via {
            Some((member, node)) => hops::list(body, member, node).map_err(|_| went_round())?,
            None => body,
        };
        let unsuitable = |failure| (Ending::Unsuitable, failure);
        let route = self.naming.apply(route, &self.pattern).map_err(|bytes| {
            let text = format!("name of {bytes} bytes exceeds the 255 bytes a name may have");
            unsuitable(Failure::new(Code::InvalidArgument, text))
        })?;
        let body = self.conversion.there(body).map_err(unsuitable)?;
        Ok((route, body))
    }
}

/// A body that is not whole without the bytes beside it crosses to no other wire.
fn whole(meta: &Meta) -> Result<(), Failure> {
    match meta.attachments().len() {
        0 => Ok(()),
        count => {
            let text = format!(
                "the message has {count} attachments inside its JSON, which no other wire carries: send bytes alone, or as text"
            );
            Err(Failure::new(Code::InvalidArgument, text))
        }
    }
}

/// A call that was sent on. It brings the outcome back.
///
/// Written by hand, because it is allocated once a call: it holds nothing that is not needed while it waits.
struct SentOn(Calling<Underway>);

impl Future for SentOn {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        let underway = self.0.by();
        let rule = underway.rule();
        let response = match outcome {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(route = %rule.title, %error, "call failed");
                let (ending, failure) = told(error, rule.port.absent(), rule.timeout);
                return Poll::Ready(Err(underway.refuse(ending, failure)));
            }
        };
        Poll::Ready(match whole(&response.meta).and_then(|()| rule.conversion.back(response.body)) {
            Ok(body) => {
                underway.ending = Ending::Answered;
                Ok(body.into())
            }
            Err(failure) => Err(underway.refuse(Ending::Unsuitable, failure)),
        })
    }
}

/// Hands the event on.
async fn emit(mut underway: Underway, event: Event, from: Peer) -> Answer {
    match underway.rule().port.emit(event, &from).await {
        Emitted::Queued { dropped } => {
            if dropped > 0 {
                underway.stripe.counts.copies_dropped.fetch_add(dropped, Ordering::Relaxed);
            }
            underway.ending = Ending::Delivered;
            Ok(Response::default())
        }
        Emitted::Overflow => {
            let failure = Failure::new(Code::ResourceExhausted, "no room: the receiver is too slow")
                .with_retry(Retry::Safe);
            Err(underway.refuse(Ending::Overflow, failure))
        }
        Emitted::Nobody => {
            let failure =
                Failure::new(Code::Unavailable, "nobody is connected to receive it").with_retry(Retry::Safe);
            Err(underway.refuse(Ending::NotSent, failure))
        }
    }
}

fn refused(mut underway: Underway, ending: Ending, failure: Failure) -> HandlerFuture {
    Box::pin(std::future::ready(Err(underway.refuse(ending, failure))))
}

/// One message on its way along a route. Dropped before it has an ending, it was abandoned.
struct Underway {
    stripe: Arc<Stripe>,
    /// The peer it goes to, where there is more than one; otherwise the port knows who takes it.
    to: Option<Caller>,
    ending: Ending,
}

impl Underway {
    fn new(stripe: Arc<Stripe>) -> Self {
        stripe.counts.receive();
        Self { stripe, to: None, ending: Ending::Abandoned }
    }

    fn rule(&self) -> &Rule {
        &self.stripe.rule
    }

    /// Notes how the message ended, and says so in the log, once in a while.
    fn refuse(&mut self, ending: Ending, failure: Failure) -> Failure {
        let rule = self.rule();
        if ending != Ending::Failed && rule.seldom.now(ending, rule.clock.now()) {
            tracing::warn!(route = %rule.title, ending = ending.as_str(), %failure, "messages do not cross; further ones of this kind are only counted for 10 s");
        }
        self.ending = ending;
        failure
    }
}

impl Borrow<Caller> for Underway {
    fn borrow(&self) -> &Caller {
        self.to.as_ref().unwrap_or_else(|| self.rule().port.caller())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.stripe.counts.end(self.ending);
    }
}

fn went_round() -> (Ending, Failure) {
    let text = "the message went round a loop of bridges";
    (Ending::Loop, Failure::new(Code::Unavailable, text).with_retry(Retry::Never))
}

/// When the call that is sent on must have ended, so that its outcome gets back in time; `None` when too little is left.
///
/// The total is what the caller has left, at most the timeout of the route. A fiftieth of it stays here, 20 ms at least and
/// 500 ms at most.
fn budget(now: Moment, deadline: Option<Moment>, timeout: Duration) -> Option<Moment> {
    let total = deadline.map_or(timeout, |deadline| deadline.since(now).min(timeout));
    let margin = (total / 50).clamp(Duration::from_millis(20), Duration::from_millis(500));
    let left = total.saturating_sub(margin);
    (left >= MIN_BUDGET).then(|| now + left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_waits_is_small() {
        assert!(size_of::<SentOn>() <= 96, "{} bytes are allocated for each", size_of::<SentOn>());
    }

    #[test]
    fn keeps_a_margin_and_sends_nothing_when_too_little_is_left() {
        let now = Moment::from_start(Duration::from_secs(100));
        let ms = Duration::from_millis;
        for (caller, timeout, left) in [
            (None, ms(15_000), Some(14_700)),
            (Some(ms(1_000)), ms(15_000), Some(980)),
            (Some(ms(10_000)), ms(2_000), Some(1_960)),
            (Some(ms(60_000)), ms(60_000), Some(59_500)),
            (Some(ms(70)), ms(15_000), Some(50)),
            (Some(ms(69)), ms(15_000), None),
            (Some(ms(0)), ms(15_000), None),
            (None, ms(60), None),
        ] {
            let deadline = caller.map(|span| now + span);
            let expected = left.map(|left| now + ms(left));
            assert_eq!(budget(now, deadline, timeout), expected, "{caller:?} {timeout:?}");
        }
    }
}
