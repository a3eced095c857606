//! Every deadline of one connection, behind one alarm.

use std::task::{Context, Poll, Waker};

use crate::failure::{CallError, Code, Failure};
use crate::ledger::Count;
use crate::moment::{Alarm, Moment};
use crate::session::{Close, Outbound, Session};
use crate::transport::Transport;

use super::{Connection, Stage};

pub(super) struct Deadlines {
    /// The session's own alarm.
    pub(super) session: Option<Moment>,
    pub(super) login: Option<Moment>,
    pub(super) frame: Option<Moment>,
    pub(super) write: Option<Moment>,
    pub(super) drain: Option<Moment>,
    /// The end of a drain: by then the connection is gone, whatever the peer does.
    pub(super) over: Option<Moment>,
    /// When to give memory back.
    pub(super) rest: Option<Moment>,
    alarm: Option<Box<dyn Alarm>>,
    /// When the alarm goes off; never after the first deadline, sometimes before it.
    set_for: Option<Moment>,
    /// Whom the alarm wakes.
    waker: Option<Waker>,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self {
            session: None,
            login: None,
            frame: None,
            write: None,
            drain: None,
            over: None,
            rest: None,
            alarm: None,
            set_for: None,
            waker: None,
        }
    }

    /// The connection is closing: all that is left to watch is the writing, until `write` at first.
    pub(super) fn close(&mut self, write: Moment) {
        (self.session, self.login, self.frame, self.drain, self.rest) = (None, None, None, None, None);
        self.write.get_or_insert(write);
    }

    /// Nothing is going on: an alarm that was set early for something that is over is given back.
    pub(super) fn rest(&mut self) {
        if self.first().is_none() {
            (self.alarm, self.set_for, self.waker) = (None, None, None);
        }
    }

    fn first(&self) -> Option<Moment> {
        let all = [self.session, self.login, self.frame, self.write, self.drain, self.over, self.rest];
        all.into_iter().flatten().min()
    }
}

impl<T, S> Connection<T, S>
where
    S: Session,
    T: Transport<S::Codec>,
{
    /// Does what is due, and says whether that was anything. Costs a comparison when nothing is.
    pub(super) fn meet_deadlines(&mut self, cx: &mut Context<'_>) -> bool {
        if self.deadlines.set_for.is_none_or(|at| at > self.now) {
            return false;
        }
        if let Some(alarm) = &mut self.deadlines.alarm
            && alarm.poll(cx).is_ready()
        {
            self.deadlines.set_for = None;
        }
        let now = self.now;
        let due = |deadline: &mut Option<Moment>| deadline.take_if(|at| *at <= now).is_some();
        let limits = &self.endpoint.limits;
        if self.deadlines.write.is_some_and(|at| at <= now) && !matches!(self.stage, Stage::Closing(_)) {
            // Kept: a close that cannot be written is over at once.
            self.close(Close::SlowConsumer(self.endpoint.limits.write_timeout));
        } else if due(&mut self.deadlines.login) {
            self.close(Close::LoginTimeout(limits.login_timeout));
        } else if due(&mut self.deadlines.frame) {
            self.close(Close::SlowFrame(limits.frame_timeout));
        } else if due(&mut self.deadlines.drain) {
            self.close(Close::Shutdown);
        }
        if matches!(self.stage, Stage::Closing(_)) {
            // What waits goes to the next connection, or is answered at the end; a deadline does not wait for that.
            if self.outbox.is_due(now) {
                self.sweep_outbox();
            }
            return true;
        }
        let mut worked = false;
        if due(&mut self.deadlines.rest) {
            self.rest();
        }
        if due(&mut self.deadlines.session) {
            worked = true;
            self.with_session(|session, cx| session.wake(cx));
            self.apply();
        }
        for reply in self.runs.expired(now) {
            worked = true;
            self.tally.add(Count::RequestsFailed);
            let max = self.endpoint.limits.handler_timeout;
            let why = format!(
                "the handler did not answer by its deadline (handler_timeout = {max:?}, or less if asked for) and may have acted: send again only what may run twice"
            );
            let failure = Failure::new(Code::DeadlineExceeded, why);
            self.send(Outbound::Response { reply, result: Err(failure) });
        }
        for (call, answer) in self.pending.expired(now) {
            worked = true;
            self.tally.add(Count::CallsUnknown);
            answer.tell(Err(CallError::unanswered(self.endpoint.limits.call_timeout)));
            self.send(Outbound::Cancel(call));
        }
        if self.outbox.is_due(now) {
            worked = true;
            self.sweep_outbox();
        }
        worked
    }

    /// Sets the alarm for the first deadline, if it is not set early enough already.
    pub(super) fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let others =
            [self.deadlines.first(), self.runs.earliest(), self.pending.earliest(), self.outbox.earliest()];
        let Some(first) = others.into_iter().flatten().min() else { return };
        let known = self.deadlines.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if known && self.deadlines.set_for.is_some_and(|at| at <= first) {
            return;
        }
        if !known {
            self.deadlines.waker = Some(cx.waker().clone());
        }
        let clock = &self.endpoint.surroundings.clock;
        let alarm = self.deadlines.alarm.get_or_insert_with(|| clock.alarm());
        alarm.set(first);
        self.deadlines.set_for = Some(first);
        if let Poll::Ready(()) = alarm.poll(cx) {
            // Due already: the next turn does it.
            cx.waker().wake_by_ref();
        }
    }
}
