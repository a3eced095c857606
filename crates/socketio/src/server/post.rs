//! What a request brings for its session, judged as it passes: the same as a WebSocket would bring, held to the same rules.
//!
//! Packets are looked at where they begin and where they end; nothing is kept of them, and nothing is copied. What ends the session
//! becomes a body that fails, so that the library ends its part of the session, too, and refuses the request.
//!
//! JSONP (`d=…`) is none of it: the library refuses it as no packet.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use polywire_core::{Alarm, Clock};

use super::clock::alarm_at;
use super::flood::Flood;
use super::gate::Gate;
use super::head::Head;
use super::verdict::Verdict;

/// Stands between two packets.
const SEPARATOR: u8 = 0x1e;

/// Looks at the packets of one request.
pub(super) struct Judge {
    gate: Arc<Gate>,
    flood: Arc<Mutex<Flood>>,
    /// The head of the packet at hand; `None` behind a separator.
    head: Option<Head>,
    /// The longest that its rest may take once that is waited for, and by which clock.
    limit: (Duration, Arc<dyn Clock>),
    late: Option<Box<dyn Alarm>>,
}

impl Judge {
    pub(super) fn new(gate: Arc<Gate>, flood: Arc<Mutex<Flood>>, limit: (Duration, Arc<dyn Clock>)) -> Self {
        Self { gate, flood, head: None, limit, late: None }
    }

    /// These bytes are handed on: of one packet, and of what stands behind it.
    fn look(&mut self, bytes: &[u8]) -> Result<(), Verdict> {
        let (packet, is_whole) = match bytes {
            [packet @ .., SEPARATOR] => (packet, true),
            part => (part, false),
        };
        for byte in packet {
            if self.head.is_some_and(|head| head.is_over()) {
                // The payload says nothing.
                break;
            }
            self.read(*byte)?;
        }
        if is_whole {
            self.end();
        }
        Ok(())
    }

    fn read(&mut self, byte: u8) -> Result<(), Verdict> {
        if self.head.is_none() {
            let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
            flood.packet(byte, || self.limit.1.now())?;
        }
        let head = self.head.get_or_insert_default();
        head.read(byte)?;
        match head.begin() {
            // The library refuses the request and reads nothing behind it, but does not end the session. Of a probe the beginning
            // is enough: no client says anything else that begins so.
            [Some(b'5' | b'6'), _] | [Some(b'2' | b'3'), Some(b'p')] => {
                Err(Verdict::Breach("a packet of an upgrade in a request"))
            }
            _ => Ok(()),
        }
    }

    /// The packet at hand is whole.
    fn end(&mut self) {
        match self.head.take() {
            Some(head) if head.begin()[0] == Some(b'b') => self.gate.attached(),
            Some(head) if head.due() > 0 => self.gate.announce(head.due()),
            _ => {}
        }
    }

    /// The rest is waited for: ready when that has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let (limit, clock) = &self.limit;
        let late = self.late.get_or_insert_with(|| alarm_at(&**clock, clock.now() + *limit));
        late.poll(cx).map(|()| Verdict::Slow(*limit))
    }

    /// The body has failed: broken off, unless what came of it was none.
    fn lose(&self, error: &(dyn Error + 'static)) {
        let kind = error.source().and_then(|cause| cause.downcast_ref()).map(io::Error::kind);
        if !matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)) {
            self.gate.condemn(Verdict::Gone);
        }
    }

    /// What follows is replaced by this error.
    fn refuse(&self, verdict: Verdict) -> Box<dyn Error + Send + Sync> {
        tracing::debug!("a client is sent away: {verdict:?}");
        // Before the library hears of it, and tells of something else.
        self.gate.condemn(verdict);
        "a request that breaks a rule".into()
    }
}

impl Drop for Judge {
    /// Nothing more comes of this request.
    fn drop(&mut self) {
        self.gate.tell();
    }
}

/// The body of a request, and what judges it where it is said to a session.
pub(super) struct Post<B> {
    body: B,
    /// What has come of it and was not handed on.
    ahead: Bytes,
    judge: Option<Judge>,
}

impl<B> Post<B> {
    pub(super) fn new(body: B, judge: Option<Judge>) -> Self {
        Self { body, ahead: Bytes::new(), judge }
    }
}

impl<B> Body for Post<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let body = Pin::new(&mut this.body);
        let Some(judge) = &mut this.judge else { return body.poll_frame(cx).map_err(Into::into) };
        if judge.gate.is_cut() {
            return Poll::Ready(Some(Err("the session has ended".into())));
        }
        if this.ahead.is_empty() {
            match body.poll_frame(cx) {
                Poll::Pending => {
                    let verdict = ready!(judge.poll_late(cx));
                    return Poll::Ready(Some(Err(judge.refuse(verdict))));
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = error.into();
                    judge.lose(&*error);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    this.ahead = frame.into_data().unwrap_or_default();
                }
                // What is no data is the end, for the library too.
                Poll::Ready(_) => {
                    judge.end();
                    return Poll::Ready(None);
                }
            }
        }
        // One packet at a time: the library has handled what stands before it when it is judged.
        let end = memchr::memchr(SEPARATOR, &this.ahead).map_or(this.ahead.len(), |at| at + 1);
        let packet = this.ahead.split_to(end);
        Poll::Ready(Some(match judge.look(&packet) {
            Ok(()) => Ok(Frame::data(packet)),
            Err(verdict) => Err(judge.refuse(verdict)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        // Its last packet is whole only once its end has been seen.
        self.judge.is_none() && self.body.is_end_stream()
    }
}

impl<B> fmt::Debug for Post<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

#[cfg(test)]
mod tests;
