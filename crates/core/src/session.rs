//! The seam: what one wire knows about one connection, from greeting to close.
//!
//! A [`Session`] is a value. Frames, verdicts, envelopes and the time go in; a list of [`Action`]s comes out. It never awaits,
//! never reads a clock, never touches a socket and never queues: the [connection engine](crate::Connection) does all of that, and
//! nothing of a wire. In a test the engine is a loop of three lines.
//!
//! Unstable: it changes until an adapter from outside this workspace has used it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::body::Body;
use crate::capability::Capabilities;
use crate::codec::Codec;
use crate::credentials::{Credentials, Identity, Refusal};
use crate::envelope::{CallId, Event, Request, Response};
use crate::failure::{CallError, Failure};
use crate::ledger::Count;
use crate::moment::{Moment, Random};

/// The frames a session reads and writes.
pub type FrameOf<S> = <<S as Session>::Codec as Codec>::Frame;
/// What a session may be given to send.
pub type OutboundOf<S> = Outbound<<S as Session>::Reply, <S as Session>::Command>;
/// The modes a session switches between.
pub type ModeOf<S> = <<S as Session>::Codec as Codec>::Mode;

/// What one wire knows about one connection. Pure: no await, no clock, no socket, no queue.
pub trait Session: Send + Sized + 'static {
    /// Frames, modes and the framing error; the engine holds it.
    type Codec: Codec;
    /// What a response must carry back: a wire id, the slot in a batch. Leaves with a delivered request, comes back once. Two are
    /// equal when they are of one request, where the wire has a [`Delivery::Cancel`].
    type Reply: Debug + PartialEq + Send + 'static;
    /// Inputs that only this adapter knows.
    type Command: Debug + Send + 'static;

    /// The connection is there. A wire without a login says [`Action::Established`] here: before it a client is not ready, and
    /// `login_timeout` and `max_login_bytes` hold.
    fn open(&mut self, cx: &mut Cx<'_, Self>);

    /// The next frame. It must end as a delivery, something written, a count, or a close.
    fn receive(&mut self, frame: FrameOf<Self>, cx: &mut Cx<'_, Self>);

    /// The judgement on an [`Action::Authenticate`]. No frame is received between the two. Nothing unless implemented: a side
    /// that dials, or a wire without a login, asks for none.
    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        let _ = (verdict, cx);
    }

    /// May this leave now? Must not change anything: it may be asked again. It is asked for requests and events alone; responses,
    /// cancelled calls and commands are sent without.
    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit;

    /// Something has begun to wait behind this gate, as [`Session::admit`] said. Nothing unless implemented, which is right where
    /// the peer opens the gate in its time. A session that can never open it closes here, as soon as it may, with
    /// [`Close::GivenUp`]: what waits then leaves on the next connection.
    fn held(&mut self, gate: Gate, cx: &mut Cx<'_, Self>) {
        let _ = (gate, cx);
    }

    /// Sends something that was just admitted, or need not be.
    ///
    /// A frame that the codec then cannot encode ends a request as `NotSent`; anything else ends the connection, because the peer
    /// would wait for it in vain.
    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>);

    /// Progress of a request that is being handled. Dropped and counted where the wire has none.
    fn progress(&mut self, reply: &Self::Reply, body: Body, cx: &mut Cx<'_, Self>) {
        let _ = (reply, body);
        cx.count(Count::ProgressDropped);
    }

    /// This side closes the connection though the session did not ask for it: its owner wants it closed, it was drained, a
    /// deadline passed. A wire that takes its leave writes its last frames here; whatever else it wants is ignored. Not called
    /// after an [`Action::Close`], nor when the peer is gone.
    fn close(&mut self, reason: &Close, cx: &mut Cx<'_, Self>) {
        let _ = (reason, cx);
    }

    /// The moment of the last [`Action::WakeAt`] has come.
    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx;
    }

    /// Does this connection go on where the one before it ended, with everything that the peer said in between? Then no gap is
    /// announced. Asked at [`Action::Established`]; false unless implemented, which is right where no peer keeps what was missed.
    fn resumes(&self) -> bool {
        false
    }

    /// Memory that the session keeps of what it will say, in bytes, for [`Memory`](crate::Memory): answers that it gathers. 0 unless
    /// implemented.
    fn keeps(&self) -> usize {
        0
    }

    /// Nothing has been going on for a while: memory that a burst needed can be given back.
    fn rest(&mut self) {}
}

/// Something to send.
#[derive(Debug)]
pub enum Outbound<Reply, Command> {
    /// A call of ours.
    Request {
        /// Its number: the answer is delivered under it.
        call: CallId,
        /// When it must have ended.
        deadline: Moment,
        /// What is asked.
        request: Request,
    },
    /// An event of ours.
    Event(Event),
    /// The answer to a request that was delivered.
    Response {
        /// What left with the request.
        reply: Reply,
        /// The handler's answer.
        result: Result<Response, Failure>,
    },
    /// A call of ours that is over for its caller after [`Session::send`]: the deadline passed, the caller went away, or a frame of it
    /// could not be encoded, and then the peer has not seen it. Its answer, should one come, is nobody's. A wire with a word for it
    /// tells the peer, who may not know the call.
    Cancel(CallId),
    /// An input that only this adapter knows.
    Command(Command),
}

/// May something leave now?
#[derive(Clone, Debug, PartialEq)]
pub enum Admit {
    /// Yes.
    Now,
    /// When this gate opens; others may leave before it.
    Hold(Gate),
    /// Never: the wire cannot carry it, and why.
    Refuse(Failure),
}

/// A reason to wait, numbered by the session: before login, one call in flight, this name is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gate(pub u64);

/// What a session wants done. Actions are applied in the order given, before the next frame is decoded.
#[derive(Debug)]
pub enum Action<S: Session> {
    /// Encode this frame now, under the write mode now in force.
    Write(FrameOf<S>, Flush),
    /// Hand something to a handler or a caller.
    Deliver(Delivery<S::Reply>),
    /// Read in this mode from the next byte on.
    ReadMode(ModeOf<S>),
    /// Write in this mode from the next frame on.
    WriteMode(ModeOf<S>),
    /// Have these credentials judged; no frame is decoded until the verdict is in.
    Authenticate(Credentials),
    /// Call [`Session::wake`] at this moment; `None` takes it back. There is one such alarm.
    WakeAt(Option<Moment>),
    /// Let go what waits behind this gate, in order, as far as `admit` lets it.
    Open(Gate),
    /// Stop decoding, or go on. That the peer has closed is noticed all the same, where the transport can tell.
    Reading(bool),
    /// Logged in, or as good as: the login deadline ends. `None` where the wire has no login.
    Established(Option<Identity>),
    /// This is what the connection can carry, where the peer has a say in that and has had it;
    /// [`Peer::capabilities`](crate::Peer::capabilities) tells it. It may be said again.
    Found(Capabilities),
    /// Count the frame being received under a reason (the first one counts, and none when the frame is delivered), or note
    /// something at any time.
    Count(Count),
    /// Write what is waiting, then close.
    Close(Close),
}

/// How a frame is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Together with whatever else is waiting.
    Coalesce,
    /// Everything up to and with this frame leaves in one write, before anything later.
    Barrier,
    /// In a write of its own: what waits leaves before it, what comes later after it.
    Alone,
}

/// Something for a handler or a caller.
#[derive(Debug)]
pub enum Delivery<Reply> {
    /// A request of the peer.
    Request {
        /// What is asked.
        request: Request,
        /// What the response must carry back.
        reply: Reply,
        /// Who asks, where a wire says so with each message; otherwise whoever logged in.
        identity: Option<Arc<Identity>>,
    },
    /// An event of the peer.
    Event(Event),
    /// How a call of ours ended.
    Response {
        /// Which call.
        call: CallId,
        /// How.
        outcome: Result<Response, CallError>,
    },
    /// The peer wants no answer any more to the request with this reply: the future of its handler is dropped, and no response
    /// comes back. Nothing when it was answered before. While `max_in_flight` holds reading up, a cancel waits like everything else.
    Cancel(Reply),
    /// A sign of life of one call, or of all of this connection.
    Progress {
        /// Which call; `None` for every pending one.
        call: Option<CallId>,
        /// What the peer said.
        body: Body,
    },
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Close {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Peer,
    /// The peer closed it and said why, with a code of its wire and perhaps a text.
    #[error("the peer closed the connection with code {code} {reason:?}")]
    Goodbye {
        /// The code, as the wire defines them.
        code: u16,
        /// What the peer adds for people; shown quoted, because it may be any text.
        reason: String,
    },
    /// This side asked for it.
    #[error("closed by this side")]
    Local,
    /// This side gave the connection up, and a client dials again: its state can no longer be known, or it is of no more use.
    #[error("given up by this side: {0}")]
    GivenUp(String),
    /// The peer sent this side away in order: a client does not dial again.
    #[error("dismissed by the peer: {0}")]
    Dismissed(String),
    /// This side is shutting down.
    #[error("shutting down")]
    Shutdown,
    /// The transport failed.
    #[error("transport failed: {0}")]
    Transport(String),
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// The peer exceeded a limit.
    #[error("{0}")]
    Limit(String),
    /// The login was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Not logged in within `login_timeout`.
    #[error("not logged in within login_timeout = {0:?}")]
    LoginTimeout(Duration),
    /// A frame was begun and not finished within `frame_timeout`.
    #[error("frame not finished within frame_timeout = {0:?}")]
    SlowFrame(Duration),
    /// Nothing could be written for `write_timeout`.
    #[error("no write progress within write_timeout = {0:?}")]
    SlowConsumer(Duration),
    /// All connections together keep too much memory, and this one keeps most of it.
    #[error("{0}")]
    Memory(String),
    /// The peer stopped answering heartbeats.
    #[error("no answer to heartbeats: {0}")]
    Dead(String),
}

/// The actions of a session, in order.
pub type Actions<S> = VecDeque<Action<S>>;

/// What a session sees of the world while it is called: the moment, chance, and the list it adds to.
pub struct Cx<'a, S: Session> {
    now: Moment,
    wall: &'a dyn Fn() -> SystemTime,
    random: &'a dyn Random,
    reading: bool,
    pins: usize,
    actions: &'a mut Actions<S>,
}

impl<'a, S: Session> Cx<'a, S> {
    /// A view of the world at `now`.
    pub fn new(
        now: Moment,
        wall: &'a dyn Fn() -> SystemTime,
        random: &'a dyn Random,
        actions: &'a mut Actions<S>,
    ) -> Self {
        Self { now, wall, random, reading: true, pins: 0, actions }
    }

    /// The same view of the world for another session, which adds to a list of its own: for a session made of two.
    pub fn nested<'b, T: Session>(&self, actions: &'b mut Actions<T>) -> Cx<'b, T>
    where
        'a: 'b,
    {
        let Self { now, wall, random, reading, pins, .. } = *self;
        Cx { now, wall, random, reading, pins, actions }
    }

    /// The same view of the world, with what [`Cx::is_reading`] says.
    #[must_use]
    pub fn reading(self, reading: bool) -> Self {
        Self { reading, ..self }
    }

    /// The same view of the world, with what [`Cx::pins`] says.
    #[must_use]
    pub fn pinning(self, pins: usize) -> Self {
        Self { pins, ..self }
    }

    /// The moment of this call.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The wall clock, for dates that the wire carries.
    pub fn wall(&self) -> SystemTime {
        (self.wall)()
    }

    /// Does this side take frames now? It does not while it has enough to do: at `max_in_flight`, when too much waits to be
    /// written, and when the session wants none. What the peer has sent meanwhile, signs of life too, is received later, so its
    /// silence is no sign of death then, nor in the first moment after.
    pub fn is_reading(&self) -> bool {
        self.reading
    }

    /// How much memory a slice of the frame being received keeps, in bytes, for [`Part::of`](crate::Part::of); 0 where that is just
    /// the length of the frame.
    pub fn pins(&self) -> usize {
        self.pins
    }

    /// Chance.
    pub fn random(&self) -> &'a dyn Random {
        self.random
    }

    /// Wants `action` done.
    pub fn act(&mut self, action: Action<S>) {
        self.actions.push_back(action);
    }

    /// Wants `frame` written.
    pub fn write(&mut self, frame: FrameOf<S>) {
        self.act(Action::Write(frame, Flush::Coalesce));
    }

    /// Wants `delivery` handed up.
    pub fn deliver(&mut self, delivery: Delivery<S::Reply>) {
        self.act(Action::Deliver(delivery));
    }

    /// Counts the frame under a reason, or notes something.
    pub fn count(&mut self, count: Count) {
        self.act(Action::Count(count));
    }

    /// Wants the connection closed.
    pub fn close(&mut self, reason: Close) {
        self.act(Action::Close(reason));
    }
}

impl<S: Session> Debug for Cx<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("now", &self.now).field("actions", &self.actions.len()).finish()
    }
}
