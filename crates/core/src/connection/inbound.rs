//! From frames to handlers, and from handlers back to frames.

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::client::missed_event;
use crate::codec::Codec;
use crate::credentials::{Identity, Refusal};
use crate::envelope::{Event, Request};
use crate::failure::{CallError, Code, Failure, Retry};
use crate::handler::{Incoming, Kind, RunId};
use crate::ledger::Count;
use crate::limits::too_large;
use crate::runs::Finished;
use crate::session::{Action, Close, Delivery, FrameOf, Outbound, Session};
use crate::transport::Transport;

use super::fate::Fate;
use super::{Connection, Stage};

/// Written bytes waiting from which on no more requests are read, unless we wait for answers on this connection ourselves.
const UNSENT_PAUSE: usize = 256 << 10;
/// Most frames handled before the task lets others run.
const FRAMES_PER_TURN: usize = 64;
/// Bytes of bodies after which the task lets others run: large frames take as long as many small ones.
const BYTES_PER_TURN: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What one turn has taken from the peer.
#[derive(Default)]
pub(super) struct Taken {
    frames: usize,
    bytes: usize,
    /// One frame more than a turn may handle was there.
    more: bool,
}

impl Taken {
    /// Is it the turn of others? After so many frames only if there is one more, after so many bytes in any case.
    pub(super) fn is_over(&self) -> bool {
        self.more || self.bytes >= BYTES_PER_TURN
    }
}

impl<T, S> Connection<T, S>
where
    S: Session,
    T: Transport<S::Codec>,
{
    /// Decodes and handles frames until there are none, this turn is over, or the peer has to wait.
    ///
    /// That enough frames were handled shows in one too many, which the next turn begins with: whoever comes back at once for nothing
    /// has paid more than a read in vain costs.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut worked = false;
        while !self.taken.is_over() && self.wants_frames() {
            let next = match self.ahead.take() {
                Some(frame) => Poll::Ready(Ok(Some(frame))),
                None => self.transport.poll_receive(cx, &mut self.codec),
            };
            match next {
                Poll::Ready(Ok(Some(frame))) => {
                    worked = true;
                    self.deadlines.frame = None;
                    if self.taken.frames == FRAMES_PER_TURN {
                        self.ahead = Some(frame);
                        self.taken.more = true;
                    } else {
                        self.taken.frames += 1;
                        self.receive_one(frame);
                    }
                }
                Poll::Ready(Ok(None)) => {
                    self.close(Close::Peer);
                    return true;
                }
                Poll::Ready(Err(error)) => {
                    self.fail(error);
                    return true;
                }
                Poll::Pending => {
                    if !self.transport.has_partial() {
                        self.deadlines.frame = None;
                    } else if self.deadlines.frame.is_none() {
                        self.deadlines.frame = Some(self.now + self.endpoint.limits.frame_timeout);
                    }
                    return worked;
                }
            }
        }
        // Not reading by our own choice: the peer is not to blame for what it has begun.
        self.deadlines.frame = None;
        self.look_ahead(cx) || worked
    }

    /// Has the peer said anything that was not handled yet?
    fn has_more(&self) -> bool {
        self.ahead.is_some() || self.transport.has_partial()
    }

    /// While no frame is wanted a peer may leave all the same, and then nobody waits for what its handlers do.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> bool {
        if !matches!(self.stage, Stage::Open { .. }) || self.wants_frames() {
            return false;
        }
        match self.transport.poll_end(cx) {
            Poll::Pending => return false,
            // At a limit of ours: what it said before it left comes first, for it may be events.
            Poll::Ready(_) if self.reading && self.judging.is_none() && self.has_more() => {
                return false;
            }
            Poll::Ready(Ok(())) => self.close(Close::Peer),
            Poll::Ready(Err(error)) => self.fail(error),
        }
        true
    }

    /// Does this side take frames now?
    pub(super) fn wants_frames(&self) -> bool {
        if !matches!(self.stage, Stage::Open { .. }) || !self.reading || self.judging.is_some() {
            return false;
        }
        let limits = &self.endpoint.limits;
        if self.pending.is_empty() {
            self.runs.len() < limits.max_in_flight
                && self.runs.bytes() < limits.max_in_flight_bytes
                && self.transport.unsent() < UNSENT_PAUSE
        } else {
            // The peer may be waiting for us as we wait for it: go on reading, refuse what is too much.
            self.transport.unsent() < limits.max_queue_bytes
        }
    }

    fn receive_one(&mut self, frame: FrameOf<S>) {
        self.tally.add(Count::FramesReceived);
        self.with_session(|session, cx| session.receive(frame, cx));
        let fate = self.apply();
        self.account(fate);
    }

    /// Applies the actions of the session in order. Says what they made of the frame, where they came of one.
    pub(super) fn apply(&mut self) -> Fate {
        let mut fate = Fate::Used;
        if std::mem::replace(&mut self.applying, true) {
            // An action called back into the session: whoever applies that action goes on with what was added. However many
            // answers a frame causes, the stack stays as deep as one.
            return fate;
        }
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Write(frame, flush) => {
                    if let Err(error) = self.transport.send(frame, flush, &mut self.codec) {
                        self.unwritable(&error);
                    } else {
                        self.tally.add(Count::FramesSent);
                    }
                }
                Action::Deliver(delivery) => self.deliver(delivery, &mut fate),
                Action::ReadMode(mode) => self.codec.set_read_mode(mode),
                Action::WriteMode(mode) => self.codec.set_write_mode(mode),
                Action::Authenticate(credentials) => {
                    self.judging = Some(match &self.endpoint.authenticator {
                        Some(authenticator) => authenticator.authenticate(credentials),
                        None => Box::pin(ready(Err(Refusal::new("nobody may log in here")))),
                    });
                }
                Action::WakeAt(at) => self.deadlines.session = at,
                Action::Open(gate) => self.outbox.open(gate),
                Action::Reading(on) => self.reading = on,
                Action::Established(identity) => self.established(identity),
                Action::Found(capabilities) => {
                    self.peer.find(capabilities);
                    if let Some(observer) = &self.endpoint.observer {
                        observer.found(&self.peer);
                    }
                }
                Action::Count(count) if count.is_reason() => fate.ignore(count),
                Action::Count(count) => {
                    self.tally.add(count);
                    if count == Count::Control {
                        self.control();
                    }
                }
                Action::Close(reason) => self.close_now(reason),
            }
        }
        self.applying = false;
        self.answered = 0;
        fate
    }

    fn account(&mut self, fate: Fate) {
        match fate {
            Fate::Used => self.tally.add(Count::FramesUsed),
            Fate::Delivered => self.tally.add(Count::FramesDelivered),
            Fate::Ignored(reason) => {
                self.tally.add(reason);
                if matches!(
                    reason,
                    Count::Undecodable | Count::UnknownKind | Count::BadRoute | Count::BadBody
                ) {
                    self.bad();
                    return;
                }
            }
        }
        self.bad_in_a_row = 0;
    }

    /// A message was of no use. A peer may send some, but not many in a row nor within a minute.
    fn bad(&mut self) {
        self.bad_in_a_row += 1;
        let lately = self.bad_lately.count(self.now, MINUTE);
        let limits = &self.endpoint.limits;
        let text = if self.bad_in_a_row >= limits.max_bad_messages {
            let max = limits.max_bad_messages;
            format!("{} unusable messages in a row reach max_bad_messages = {max}", self.bad_in_a_row)
        } else if lately >= limits.max_bad_per_minute {
            let max = limits.max_bad_per_minute;
            format!("{lately} unusable messages within a minute reach max_bad_per_minute = {max}")
        } else {
            return;
        };
        self.close_now(Close::Limit(text));
    }

    /// The peer sent something only to be seen.
    fn control(&mut self) {
        let lately = self.control_lately.count(self.now, SECOND);
        let max = self.endpoint.limits.max_control_per_second;
        if lately > max {
            let text =
                format!("{lately} control frames within a second exceed max_control_per_second = {max}");
            self.close(Close::Limit(text));
        }
    }

    fn deliver(&mut self, delivery: Delivery<S::Reply>, fate: &mut Fate) {
        match delivery {
            Delivery::Request { request, reply, identity } => self.deliver_request(request, reply, identity),
            Delivery::Event(event) => self.deliver_event(event),
            Delivery::Response { call, outcome } => {
                let answer = match self.pending.answered(call) {
                    Ok(answer) => answer,
                    Err(reason) => return fate.ignore(reason),
                };
                self.taken.bytes += outcome.as_ref().map_or(0, |response| response.body.len());
                self.tally.add(match &outcome {
                    Ok(_) => Count::CallsAnswered,
                    Err(CallError::Failure(_)) => Count::CallsFailed,
                    Err(CallError::NotSent(_)) => Count::CallsNotSent,
                    Err(CallError::Unknown(_)) => Count::CallsUnknown,
                });
                // The caller may be gone already.
                let (_, waker) = answer.put(outcome);
                self.wakes.add(waker);
            }
            Delivery::Cancel(reply) => {
                if !self.runs.cancel(&reply) {
                    return;
                }
                self.tally.add(Count::RequestsAbandoned);
            }
            Delivery::Progress { call, body: _ } => {
                self.pending.extend(call, self.now, self.endpoint.limits.progress_timeout);
            }
        }
        fate.deliver();
    }

    fn deliver_request(&mut self, request: Request, reply: S::Reply, speaker: Option<Arc<Identity>>) {
        let limits = &self.endpoint.limits;
        let refusal = if matches!(self.stage, Stage::Open { draining: true }) {
            Some((Count::RequestsRefused, Failure::new(Code::Unavailable, "shutting down")))
        } else if self.refuses {
            Some((Count::RequestsShed, Failure::new(Code::ResourceExhausted, self.charge.why())))
        } else if self.runs.requests() >= limits.max_in_flight {
            let text = format!("too many requests at once: max_in_flight = {}", limits.max_in_flight);
            Some((Count::RequestsRefused, Failure::new(Code::ResourceExhausted, text)))
        } else if self.runs.bytes() >= limits.max_in_flight_bytes {
            let (bytes, max) = (self.runs.bytes(), limits.max_in_flight_bytes);
            let text = format!("{bytes} bytes that bodies in hand keep reach max_in_flight_bytes = {max}");
            Some((Count::RequestsRefused, Failure::new(Code::ResourceExhausted, text)))
        } else {
            None
        };
        if let Some((count, failure)) = refusal {
            // It never reached a handler.
            let failure = failure.with_retry(Retry::Safe);
            tracing::debug!(wire = self.endpoint.wire, peer = self.peer.id(), %failure, "request refused");
            self.tally.add(count);
            return self.send(Outbound::Response { reply, result: Err(failure) });
        }
        self.tally.add(Count::Requests);
        let Request { route, body, due, meta, .. } = request;
        let timeout = limits.handler_timeout;
        let deadline = due.moment(self.now, timeout).min(self.now + timeout);
        let received = Some(self.now);
        let peer = self.peer.clone();
        let handler = &self.endpoint.handler;
        self.taken.bytes += body.len();
        let bytes = body.pins().saturating_add(meta.pins());
        let call = |run: RunId| {
            handler.call(Incoming {
                kind: Kind::Request,
                route,
                body,
                meta,
                deadline: Some(deadline),
                received,
                peer,
                speaker,
                run,
            })
        };
        let held_up = self.is_full();
        if let Some(finished) = self.runs.start(Some(reply), Some(deadline), bytes, held_up, call) {
            self.finished(finished);
        }
    }

    fn deliver_event(&mut self, event: Event) {
        let limits = &self.endpoint.limits;
        if self.refuses {
            self.missed = self.missed.saturating_add(1);
            return self.tally.add(Count::EventsShed);
        }
        let events = self.runs.len() - self.runs.requests();
        if events >= limits.max_in_flight || self.runs.bytes() >= limits.max_in_flight_bytes {
            // Only while we wait for answers of this peer: otherwise it would not have been read.
            self.missed = self.missed.saturating_add(1);
            return self.tally.add(Count::EventsRefused);
        }
        self.hand_on(event);
    }

    /// Starts the handler of an event, told first of those that were dropped before it.
    pub(super) fn hand_on(&mut self, event: Event) {
        if self.missed > 0 {
            let gap = missed_event(std::mem::take(&mut self.missed), &self.endpoint.limits);
            self.start_event(gap);
        }
        self.start_event(event);
    }

    fn start_event(&mut self, event: Event) {
        let limits = &self.endpoint.limits;
        self.tally.add(Count::Events);
        let Event { route, body, meta } = event;
        let deadline = self.now + limits.handler_timeout;
        let received = Some(self.now);
        let peer = self.peer.clone();
        let handler = &self.endpoint.handler;
        self.taken.bytes += body.len();
        let bytes = body.pins().saturating_add(meta.pins());
        let call = |run: RunId| {
            handler.call(Incoming {
                kind: Kind::Event,
                route,
                body,
                meta,
                deadline: None,
                received,
                peer,
                speaker: None,
                run,
            })
        };
        let held_up = self.is_full();
        if let Some(finished) = self.runs.start(None, Some(deadline), bytes, held_up, call) {
            self.finished(finished);
        }
    }

    /// Answers what handlers have finished since the last turn, as far as there is room: with so much waiting to be written as may,
    /// handlers are not polled. A flush that makes room leads back here.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>) -> bool {
        let mut worked = false;
        while !self.is_full()
            && let Poll::Ready(finished) = self.runs.poll_finished(cx)
        {
            worked = true;
            self.finished(finished);
        }
        worked
    }

    /// Does as much wait to be written as may? Then no handler goes on.
    fn is_full(&self) -> bool {
        self.transport.unsent().saturating_add(self.answered) >= self.endpoint.limits.max_queue_bytes
    }

    fn finished(&mut self, finished: Finished<S::Reply>) {
        match (finished.reply, finished.answer) {
            (Some(reply), mut result) => {
                let max = self.endpoint.limits.max_frame_bytes;
                if let Ok(response) = &result
                    && let Some(failure) = too_large("answer", response.body.len(), max)
                {
                    result = Err(failure);
                }
                if let Ok(response) = &result
                    && self.applying
                {
                    self.answered = self.answered.saturating_add(response.body.len());
                }
                self.tally.add(if result.is_ok() { Count::RequestsAnswered } else { Count::RequestsFailed });
                self.send(Outbound::Response { reply, result });
            }
            (None, Ok(_)) => {}
            (None, Err(_)) => self.tally.add(Count::EventsFailed),
        }
    }
}
