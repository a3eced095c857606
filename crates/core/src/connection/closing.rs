//! How a connection ends: a last word, what is waiting is written, every call gets its outcome.

use std::task::{Context, Poll};

use crate::codec::FrameError;
use crate::failure::{CallError, Code};
use crate::ledger::Count;
use crate::session::{Action, Close, Session};
use crate::transport::{Transport, TransportError};

use super::{Connection, Ended, Stage};

impl<T, S> Connection<T, S>
where
    S: Session,
    T: Transport<S::Codec>,
{
    /// Closes without having been asked by the session, which may still take its leave.
    pub(super) fn close(&mut self, reason: Close) {
        if matches!(self.stage, Stage::Closing(_) | Stage::Ended) {
            return;
        }
        self.actions.clear();
        if !is_gone(&reason) {
            self.with_session(|session, cx| session.close(&reason, cx));
            for action in std::mem::take(&mut self.actions) {
                if let Action::Write(frame, flush) = action
                    && self.transport.send(frame, flush, &mut self.codec).is_ok()
                {
                    self.tally.add(Count::FramesSent);
                }
            }
        }
        self.close_now(reason);
    }

    pub(super) fn close_now(&mut self, reason: Close) {
        if matches!(self.stage, Stage::Closing(_) | Stage::Ended) {
            return;
        }
        self.stage = Stage::Closing(reason);
        self.actions.clear();
        self.judging = None;
        self.deadlines.close(self.now + self.endpoint.limits.write_timeout);
        for _ in 0..self.runs.abandon() {
            self.tally.add(Count::RequestsAbandoned);
        }
    }

    /// This connection keeps most of what is too much for all: it ends now, whatever it had still to say.
    pub(super) fn shed(&mut self, why: String) {
        self.tally.add(Count::ConnectionsShed);
        let reason = Close::Memory(why);
        if matches!(self.stage, Stage::Closing(_)) {
            self.stage = Stage::Closing(reason);
        } else {
            self.close(reason);
        }
    }

    pub(super) fn fail(&mut self, error: TransportError) {
        let reason = match error {
            TransportError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Close::Peer,
            TransportError::Io(error) => Close::Transport(error.to_string()),
            TransportError::Frame(error @ (FrameError::TooLarge { .. } | FrameError::TooMany { .. })) => {
                Close::Limit(error.to_string())
            }
            TransportError::Frame(error) => Close::Protocol(error.to_string()),
            TransportError::Layer(error) => Close::Transport(error.to_string()),
            TransportError::Ended(reason) => reason,
        };
        self.close(reason);
    }

    /// Writes what is waiting, closes the transport, and ends every call.
    pub(super) fn finish(&mut self, reason: Close, cx: &mut Context<'_>) -> Poll<Ended> {
        let gone = is_gone(&reason);
        let late = [self.deadlines.write, self.deadlines.over].into_iter().flatten().any(|at| at <= self.now)
            || self.endpoint.shutdown.is_stopped();
        if !gone && !late {
            let before = self.transport.unsent();
            let closed = match self.transport.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.transport.poll_close(cx).map(|_| ()),
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            };
            if closed.is_pending() {
                if self.transport.unsent() < before || self.deadlines.write.is_none() {
                    self.deadlines.write = Some(self.now + self.endpoint.limits.write_timeout);
                }
                self.end_calls(&reason);
                // Until there is nothing: only then is it told of the next one.
                while let Some(taken) = self.outbox.take(cx) {
                    self.outbox.asked = self.outbox.asked.take().or(taken.close);
                }
                self.reckon(cx);
                self.set_alarm(cx);
                return Poll::Pending;
            }
        }
        self.end(&reason);
        Poll::Ready(Ended { established: self.established.is_none(), reason })
    }
}

impl<T, S: Session> Connection<T, S> {
    /// Every call that was sent ends here: whether it ran nobody knows.
    fn end_calls(&mut self, reason: &Close) {
        self.wakes.wake();
        for answer in self.pending.drain() {
            self.tally.add(Count::CallsUnknown);
            answer.tell(Err(CallError::unknown(Code::Unavailable, format!("connection lost: {reason}"))));
        }
    }

    fn end(&mut self, reason: &Close) {
        if self.stage == Stage::Ended {
            return;
        }
        let opened = self.stage != Stage::New;
        self.stage = Stage::Ended;
        for _ in 0..self.runs.abandon() {
            self.tally.add(Count::RequestsAbandoned);
        }
        self.end_calls(reason);
        self.outbox.end(reason, &self.endpoint.ledger);
        if opened {
            self.tally.add(Count::Closed);
        }
        self.tally.settle(&self.endpoint.ledger);
        if let Some(observer) = &self.endpoint.observer {
            match self.established {
                None => observer.disconnected(&self.peer, reason),
                Some(_) => observer.turned_away(reason),
            }
        }
        tracing::debug!(wire = self.endpoint.wire, peer = self.peer.id(), %reason, "connection closed");
        self.charge.release();
    }
}

impl<T, S: Session> Drop for Connection<T, S> {
    fn drop(&mut self) {
        let reason = match &self.stage {
            Stage::Closing(reason) => reason.clone(),
            _ => Close::Local,
        };
        self.end(&reason);
    }
}

/// Does nobody read any more what is written, or is there no time to wait for that?
fn is_gone(reason: &Close) -> bool {
    matches!(
        reason,
        Close::Peer | Close::Transport(_) | Close::SlowConsumer(_) | Close::Memory(_) | Close::Dead(_)
    )
}
