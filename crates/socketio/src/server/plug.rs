//! What carries the packets of one client in one namespace: a queue in, the library's own queue out.
//!
//! The library's queue takes a number of packets and refuses more. What it refuses waits here, where the connection sees that
//! it waits, and goes on when the stream has been flushed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::poll_fn;
use futures_util::stream::{FuturesUnordered, Stream};
use polywire_core::{BoxFuture, ByteString, Flush, FrameError, Limits, Transport, TransportError};
use polywire_net::websocket::BUFFER_BYTES;
use socketioxide::socket::DisconnectReason;
use socketioxide::{AckError, SocketError};
use socketioxide_core::packet::Packet as Sent;
use socketioxide_core::{Str, Value};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::config::ServerConfig;
use super::floor::{Answers, Floor};
use super::gate::Gate;
use super::inbound::{Came, parts_of};
use super::member::Member;
use super::verdict::Verdict;
use crate::args::Args;
use crate::packet::{Kind, MAIN, Packet, PacketLimits, Parts};
use crate::stack::Packets;

/// Packets handed over between two flushes of the stream. The library's pings go through the same queue, and a ping that finds
/// it full ends the session: it must not fill up because this side is fast.
const WINDOW: usize = 64;
/// The same for a session of requests, between two of them. Observed: python-engineio 4.15 ends a session whose server answers
/// with more than 16 packets at once. As many may have been handed over since the library looked and before this side knows that
/// it has, and a ping may join them.
const POLLED: usize = 7;
/// How long an answer may take; calls end before it.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Answers a client may owe, as a multiple of the calls that may wait for one: those whose callers have given up count too.
const OWED: usize = 16;

type Answer = (u64, Option<Value>);

/// What all clients of one server are held to.
pub(super) struct Terms {
    packets: PacketLimits,
    /// Most answers that a client may owe.
    max_owed: usize,
    ping_timeout: Duration,
}

impl Terms {
    pub(super) fn new(limits: &Limits, config: &ServerConfig) -> Self {
        let ServerConfig { max_attachments, ping_timeout, .. } = *config;
        Self {
            packets: PacketLimits { json: limits.json, max_attachments, ..PacketLimits::default() },
            max_owed: limits.max_pending.saturating_mul(OWED),
            ping_timeout,
        }
    }
}

/// One client in one namespace.
pub(super) struct Plug {
    member: Member,
    floor: Arc<Floor>,
    gate: Arc<Gate>,
    terms: Arc<Terms>,
    /// The namespace, as the library has it and as we do. The main one is not counted; of another this is its own copy, because to
    /// the count of one that all clients share every packet of every thread would write.
    name: Str,
    namespace: ByteString,
    max_bytes: (usize, &'static str),
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// An answer that waits until so many events have been taken: those that came before it.
    held: Option<(u64, Parts)>,
    taken: u64,
    waiting: VecDeque<Packet>,
    unsent: usize,
    /// How many messages of the session had been handed on when this side looked last, and whether it waits for the rest of
    /// the one that it waited for then.
    finished: u64,
    partial: bool,
    /// The flush after which packets are counted, and how many have been handed over since.
    window: (u64, usize),
    /// Tells the server that this one is still there.
    _counted: TaskTrackerToken,
}

impl Plug {
    pub(super) fn new(
        member: Member,
        floor: Arc<Floor>,
        terms: Arc<Terms>,
        counted: TaskTrackerToken,
    ) -> Self {
        let name = member.socket.ns();
        Self {
            floor,
            gate: Arc::clone(member.inbound.gate()),
            terms,
            namespace: if name == MAIN { ByteString::from_static(MAIN) } else { name.into() },
            name: if name == MAIN { MAIN.into() } else { Str::copy_from_slice(name) },
            max_bytes: (usize::MAX, "max_frame_bytes"),
            answers: FuturesUnordered::new(),
            held: None,
            taken: 0,
            waiting: VecDeque::new(),
            unsent: 0,
            finished: 0,
            partial: false,
            window: (0, 0),
            _counted: counted,
            member,
        }
    }

    /// Hands one packet to the library, or gives it back and has this task woken when there may be room.
    fn hand_over(&mut self, packet: Packet, cx: &mut Context<'_>) -> Result<Option<Packet>, TransportError> {
        if !self.has_window(&packet, cx) {
            return Ok(Some(packet));
        }
        let Some(packet) = self.emit(packet, cx)? else { return Ok(None) };
        // The queue is full, because another namespace fills it. Once more, so that a flush in between is not missed.
        self.gate.await_flush(cx);
        self.emit(packet, cx)
    }

    /// Hands one packet to the library; gives it back when there is no room.
    fn emit(&mut self, packet: Packet, cx: &mut Context<'_>) -> Result<Option<Packet>, TransportError> {
        if !self.member.present() {
            // Whoever left is reported by the queue in.
            return Ok(None);
        }
        let to = self.member.socket.id;
        let sent = match &packet.kind {
            Kind::Event { id: None, args } => {
                self.floor.send(to, Sent::event(self.name.clone(), value(args)?))
            }
            Kind::Event { id: Some(id), args } => {
                let answers = self.floor.request(to, Sent::event(self.name.clone(), value(args)?), PATIENCE);
                self.await_answer(*id, answers, cx)?
            }
            Kind::Ack { id: Some(id), args } => {
                let id = i64::try_from(*id).map_err(|_| FrameError::Corrupt("an id above 2^53 - 1"))?;
                self.floor.send(to, Sent::ack(self.name.clone(), value(args)?, id))
            }
            Kind::Disconnect => self.member.disconnect(),
            Kind::Ack { id: None, .. } | Kind::Connect(_) | Kind::ConnectError(_) | Kind::Beyond { .. } => {
                return Err(FrameError::Corrupt("a packet that is the server's own, or only read").into());
            }
        };
        match sent {
            Ok(()) | Err(SocketError::Closed) => Ok(None),
            Err(SocketError::InternalChannelFull) => Ok(Some(packet)),
        }
    }

    /// Looks at the answers once: a request that found no room says so at once.
    fn await_answer(
        &mut self,
        id: u64,
        answers: Answers,
        cx: &mut Context<'_>,
    ) -> Result<Result<(), SocketError>, TransportError> {
        let mut answers = Box::pin(answers);
        match answers.as_mut().poll_next(cx) {
            Poll::Ready(Some((_, Err(AckError::Socket(error))))) => return Ok(Err(error)),
            Poll::Ready(None) => return Ok(Err(SocketError::Closed)),
            // A client on the same machine may be that fast.
            Poll::Ready(Some((_, answer))) => {
                self.answers.push(Box::pin(std::future::ready((id, answer.ok()))));
                return Ok(Ok(()));
            }
            Poll::Pending => {}
        }
        if self.answers.len() >= self.terms.max_owed {
            let (got, max) = (self.answers.len() as u64, self.terms.max_owed as u64);
            let what = "answers owed, most of them to callers that have given up";
            return Err(FrameError::TooMany { what, got, max, setting: "max_pending" }.into());
        }
        self.answers.push(Box::pin(async move {
            let answer = poll_fn(|cx| answers.as_mut().poll_next(cx)).await;
            (id, answer.and_then(|(_, answer)| answer.ok()))
        }));
        Ok(Ok(()))
    }

    /// The next answer; `None` while there is none.
    fn answer(&mut self, cx: &mut Context<'_>) -> Option<Parts> {
        while !self.answers.is_empty() {
            match Pin::new(&mut self.answers).poll_next(cx) {
                Poll::Ready(Some((id, Some(value)))) => {
                    return Some(Parts { id: Some(id), ..parts_of(value, true, None) });
                }
                Poll::Ready(Some((_, None))) => {}
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        None
    }

    /// The client is gone: by this side's verdict, by what the library found, or because it wanted to.
    fn end(&self, reason: DisconnectReason) -> Result<Option<Packet>, TransportError> {
        let found = || Verdict::of(reason, self.terms.ping_timeout, self.gate.is_lost());
        // What the library finds where this side reads no more is this side's doing.
        let verdict = self.gate.verdict().or_else(|| if self.gate.is_cut() { None } else { found() });
        verdict.map_or(Ok(None), |verdict| Err(verdict.into()))
    }

    /// Is the rest of a message waited for? Not of the one before: the next one has its own time, which begins when this task comes
    /// back.
    fn look(&mut self, cx: &Context<'_>) {
        let (begun, finished) = (self.gate.has_begun(), self.gate.finished());
        let is_another = std::mem::replace(&mut self.finished, finished) != finished;
        self.partial = begun && !is_another;
        if begun && is_another {
            cx.waker().wake_by_ref();
        }
    }

    fn packet(&self, parts: Parts) -> Result<Packet, FrameError> {
        let (max, setting) = self.max_bytes;
        let got =
            parts.attachments.iter().fold(parts.text.len(), |sum, bytes| sum.saturating_add(bytes.len()));
        if got > max {
            return Err(FrameError::TooLarge { got: got as u64, max: max as u64, setting });
        }
        Packet::from_parts(parts, self.namespace.clone(), &self.terms.packets)
    }

    /// May another packet be handed over before the stream is flushed, or the client has asked again? If not, this task is woken
    /// by that.
    fn has_window(&mut self, packet: &Packet, cx: &Context<'_>) -> bool {
        let window = if self.member.streams() { WINDOW } else { POLLED };
        // One that is larger than the window has it for itself.
        let fits = |used: usize| used == 0 || used + messages(packet) <= window;
        if !fits(self.window.1) {
            // Before looking, so that a flush in between wakes this task.
            self.gate.await_flush(cx);
        }
        let flushes = self.gate.flushes();
        if flushes != self.window.0 {
            self.window = (flushes, 0);
        }
        fits(self.window.1)
    }
}

impl Transport<Packets> for Plug {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Packets,
    ) -> Poll<Result<Option<Packet>, TransportError>> {
        if self.held.is_none() {
            self.held = self.answer(cx).map(|answer| (self.member.inbound.pushed(), answer));
        }
        let taken = self.taken;
        let parts = match self.held.take_if(|(pushed, _)| *pushed <= taken) {
            Some((_, answer)) => answer,
            None => match self.member.inbound.poll_take(cx) {
                Poll::Ready(Came::Packet(parts)) => {
                    self.taken += 1;
                    self.finished = self.gate.finished();
                    parts
                }
                Poll::Ready(Came::Overflow(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Came::End(reason)) => return Poll::Ready(self.end(reason)),
                Poll::Pending => {
                    // Before looking, so that a cut in between wakes this task.
                    self.gate.await_begun(cx);
                    if self.gate.is_cut() {
                        // Another namespace has ended the session: nothing comes any more, not even the library's word.
                        return Poll::Ready(self.end(DisconnectReason::TransportClose));
                    }
                    self.look(cx);
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(Ok(Some(self.packet(parts)?)))
    }

    fn has_partial(&self) -> bool {
        self.partial
    }

    fn keeps(&self) -> usize {
        self.member.inbound.bytes()
    }

    /// Text is a slice of what the library has read.
    fn pins(&self) -> usize {
        BUFFER_BYTES
    }

    fn set_partial_limit(&mut self, max: usize, setting: &'static str) {
        self.max_bytes = (max, setting);
    }

    fn send(&mut self, packet: Packet, _: Flush, _: &mut Packets) -> Result<(), FrameError> {
        self.unsent = self.unsent.saturating_add(weight(&packet));
        self.waiting.push_back(packet);
        Ok(())
    }

    fn unsent(&self) -> usize {
        self.unsent
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        while let Some(packet) = self.waiting.pop_front() {
            let weight = weight(&packet);
            let messages = messages(&packet);
            if let Some(refused) = self.hand_over(packet, cx)? {
                self.waiting.push_front(refused);
                return Poll::Pending;
            }
            self.window.1 += messages;
            self.unsent = self.unsent.saturating_sub(weight);
        }
        Poll::Ready(Ok(()))
    }

    /// What was handed over leaves first, because the library drops what it has not written when it ends a session, and a session
    /// of requests is not found any more.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.window.1 > 0 && self.member.present() {
            // Before looking, so that a flush or a cut in between wakes this task.
            self.gate.await_flush(cx);
            if self.gate.flushes() == self.window.0 && !self.gate.is_cut() {
                return Poll::Pending;
            }
        }
        self.member.leave();
        Poll::Ready(Ok(()))
    }

    fn rest(&mut self) {
        self.member.inbound.rest();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

impl Drop for Plug {
    /// A client may join and leave as often as it likes.
    fn drop(&mut self) {
        self.gate.forget_watchers();
    }
}

impl std::fmt::Debug for Plug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plug").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The messages of the transport that it becomes.
fn messages(packet: &Packet) -> usize {
    1 + packet.attachments().len()
}

/// What a packet counts for while it waits.
fn weight(packet: &Packet) -> usize {
    packet.attachments().iter().fold(packet.text_bytes(), |sum, bytes| sum.saturating_add(bytes.len()))
}

/// Arguments as the library has them.
fn value(args: &Args) -> Result<Value, FrameError> {
    let text = std::str::from_utf8(args.text()).map_err(|_| FrameError::Corrupt("text that is not UTF-8"))?;
    let attachments = (!args.attachments().is_empty()).then(|| args.attachments().iter().cloned().collect());
    Ok(Value::Str(Str::copy_from_slice(text), attachments))
}
