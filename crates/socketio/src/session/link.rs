//! The lower half of a client: Engine.IO's opening and heartbeat, the way into one namespace, attachments put together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use polywire_core::json::{self, Members};
use polywire_core::{
    Admit, Body, ByteString, Close, Code, Count, Cx, Failure, FrameError, Identity, JsonText, Meta, Moment,
    Refusal, Session,
};

use super::opening::Opening;
use super::{Namespaces, Recovery};
use crate::args::Args;
use crate::codec::{Codec, Frame};
use crate::config::Config;
use crate::packet::{Kind, Packet, PacketLimits, Parsed};
use crate::stack::{Lower, Up};

/// The time in which pings are counted.
const SECOND: Duration = Duration::from_secs(1);
/// What a packet has besides body and name: type, counts, id, brackets, the namespace aside.
const OVERHEAD: usize = 64;
/// The words with which servers refuse a namespace that they do not have. Observed with npm `socket.io` and `socketioxide`.
const INVALID_NAMESPACE: &str = "Invalid namespace";
/// The status code of a peer that finds a message too large.
const TOO_LARGE: u16 = 1009;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Connecting,
    Connected,
}

/// A packet whose attachments are still to come.
#[derive(Debug)]
struct Assembling {
    packet: Packet,
    due: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
    until: Moment,
}

/// The way from one connection to one namespace.
pub struct Link {
    config: Arc<Config>,
    limits: PacketLimits,
    /// Most bytes of one packet with its attachments.
    max_packet_bytes: usize,
    namespace: ByteString,
    /// Where else the session may be, and how many of these have been tried.
    namespaces: Arc<Namespaces>,
    tried: usize,
    /// The one that was granted and left again, because nobody spoke in it.
    left: Option<ByteString>,
    auth: Option<JsonText>,
    recovery: Recovery,
    /// The session before has been given back.
    recovered: bool,
    state: State,
    /// How long after a ping the next one must have come.
    patience: Duration,
    dead_at: Option<Moment>,
    /// Pings since the moment.
    pings: (u32, Moment),
    /// Largest message the server takes.
    max_payload: usize,
    assembling: Option<Box<Assembling>>,
    /// Events that came before the namespace was granted.
    early: Vec<Packet>,
    /// Requests are numbered upwards: the first number that none has had.
    next_request: u64,
    /// Of the last event of ours that wants no answer, as long as nothing shows that it was read.
    unread: Option<Unread>,
}

/// What will show that an event was read that has no receipt.
struct Unread {
    /// The answer to this request or to a later one.
    request: u64,
    /// A ping, as a pong was written behind the event: a server pings again after it has read that.
    ponged: bool,
}

impl Link {
    /// A link of a connection that was just made. `auth` is the payload of its CONNECT, an object; `recovery` is shared by all
    /// connections of one client.
    pub fn new(
        config: Arc<Config>,
        limits: &polywire_core::Limits,
        auth: Option<JsonText>,
        recovery: Recovery,
    ) -> Self {
        Self {
            limits: PacketLimits {
                json: limits.json,
                max_attachments: config.max_attachments,
                ..PacketLimits::default()
            },
            max_packet_bytes: limits.max_frame_bytes,
            namespace: config.namespace.as_str().into(),
            namespaces: Arc::new(Namespaces::new([config.namespace.as_str().into()])),
            tried: 1,
            left: None,
            config,
            auth,
            recovery,
            recovered: false,
            state: State::Opening,
            patience: Duration::ZERO,
            dead_at: None,
            pings: (0, Moment::default()),
            max_payload: usize::MAX,
            assembling: None,
            early: Vec::new(),
            next_request: 0,
            unread: None,
        }
    }

    /// The same for a session that is in one of these namespaces, instead of the one of its configuration.
    #[must_use]
    pub fn in_one_of(mut self, namespaces: Arc<Namespaces>) -> Self {
        self.namespace = namespaces.first();
        self.namespaces = namespaces;
        self
    }

    /// Asks for the namespace.
    fn join<S: Session<Codec = Codec>>(&mut self, cx: &mut Cx<'_, S>) {
        self.state = State::Connecting;
        let is_last = self.tried == self.namespaces.count();
        let auth = if is_last { self.auth.take() } else { self.auth.clone() };
        let kind = Kind::Connect(self.recovery.payload(auth.as_ref()));
        self.write(&Packet { namespace: self.namespace.clone(), kind }, cx);
    }

    /// Asks for the next namespace; `false` when there is none left.
    fn join_next<S: Session<Codec = Codec>>(&mut self, cx: &mut Cx<'_, S>) -> bool {
        if self.tried == self.namespaces.count() {
            return false;
        }
        self.tried += 1;
        if self.state == State::Connected {
            self.left = Some(self.namespace.clone());
        }
        self.namespace = self.namespaces.after(&self.namespace);
        self.early.clear();
        self.join(cx);
        true
    }

    fn refused<S: Session<Codec = Codec>>(&mut self, data: Option<JsonText>, cx: &mut Cx<'_, S>) {
        let mut refusal = refusal(data);
        if refusal.reason == INVALID_NAMESPACE {
            if self.join_next(cx) {
                return;
            }
            if let Some(granted) = &self.left {
                // It is there, and only slow: the next connection asks it again.
                return cx.close(Close::GivenUp(format!("nobody answers the login in {granted}")));
            }
            if self.tried > 1 {
                let why = format!("the server has none of the namespaces {}", self.namespaces);
                refusal = Refusal { reason: why, ..refusal };
            }
        }
        cx.close(Close::Refused(refusal));
    }

    fn opened<S: Session<Codec = Codec>>(&mut self, text: &Bytes, cx: &mut Cx<'_, S>) {
        let open = match Opening::parse(text, self.config.min_heartbeat, &self.limits.json) {
            Ok(open) => open,
            Err(why) => return cx.close(Close::Protocol(why)),
        };
        self.patience = open.patience;
        self.dead_at = Some(cx.now() + self.patience);
        self.max_payload = open.max_payload;
        self.join(cx);
    }

    fn write<S: Session<Codec = Codec>>(&self, packet: &Packet, cx: &mut Cx<'_, S>) {
        let mut text = BytesMut::with_capacity(packet.text_bytes());
        text.extend_from_slice(b"4");
        packet.write(&mut text);
        cx.write(Frame::Write(text.freeze()));
    }

    fn pinged<S: Session<Codec = Codec>>(&mut self, payload: &Bytes, cx: &mut Cx<'_, S>) {
        let now = cx.now();
        let (count, since) = &mut self.pings;
        if now.since(*since) >= SECOND {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count > self.config.max_pings {
            let max = self.config.max_pings;
            return cx.close(Close::Limit(format!("more than max_pings = {max} pings in a second")));
        }
        if self.dead_at.is_some() {
            self.dead_at = Some(now + self.patience);
        }
        let pong =
            if payload.is_empty() { Bytes::from_static(b"3") } else { [b"3", &payload[..]].concat().into() };
        cx.write(Frame::Write(pong));
        // A server that pings again has read the pong before, and what stood before that.
        self.unread.take_if(|unread| std::mem::replace(&mut unread.ponged, true));
    }

    fn text<S: Session<Codec = Codec>>(&mut self, text: &Bytes, cx: &mut Cx<'_, S>, up: &mut Vec<Up>) {
        if self.assembling.is_some() {
            return cx.close(Close::Protocol("a text message while attachments are due".into()));
        }
        match Packet::parse(text, &self.limits) {
            Ok(Parsed::Whole(packet)) => self.packet(packet, cx, up),
            Ok(Parsed::Awaits(packet, due)) => {
                let until = cx.now() + self.config.attachment_timeout;
                let assembling =
                    Assembling { packet, due, attachments: Vec::new(), bytes: text.len(), until };
                self.assembling = Some(Box::new(assembling));
            }
            Err(error) => cx.close(close_of(&error)),
        }
    }

    fn attachment<S: Session<Codec = Codec>>(&mut self, bytes: Bytes, cx: &mut Cx<'_, S>, up: &mut Vec<Up>) {
        let Some(mut assembling) = self.assembling.take() else {
            return cx.close(Close::Protocol("an attachment that no packet announced".into()));
        };
        assembling.bytes = assembling.bytes.saturating_add(bytes.len());
        if assembling.bytes > self.max_packet_bytes {
            let (got, max) = (assembling.bytes, self.max_packet_bytes);
            let why = format!("packet of {got} bytes with its attachments exceeds max_frame_bytes = {max}");
            return cx.close(Close::Limit(why));
        }
        assembling.attachments.push(bytes);
        if assembling.attachments.len() < assembling.due {
            self.assembling = Some(assembling);
            return;
        }
        let Assembling { packet, attachments, .. } = *assembling;
        match packet.complete(attachments, &self.limits.json) {
            Ok(packet) => self.packet(packet, cx, up),
            Err(error) => cx.close(close_of(&error)),
        }
    }

    fn packet<S: Session<Codec = Codec>>(&mut self, packet: Packet, cx: &mut Cx<'_, S>, up: &mut Vec<Up>) {
        if packet.namespace != self.namespace {
            return cx.count(Count::Unexpected);
        }
        match (packet.kind, self.state) {
            (Kind::Connect(data), State::Connecting) => self.granted(data.as_ref(), up),
            (Kind::ConnectError(data), State::Connecting) => self.refused(data, cx),
            (Kind::Disconnect, _) => {
                // It was meant: nothing is kept for us.
                self.recovery.forget();
                cx.close(if self.config.redial_when_dismissed {
                    Close::Peer
                } else {
                    Close::Dismissed(format!("the server has closed namespace {}", self.namespace))
                });
            }
            (kind @ (Kind::Event { .. } | Kind::Ack { .. } | Kind::Beyond { .. }), State::Connected) => {
                if let Kind::Ack { id: Some(id), .. } | Kind::Beyond { ack: true, id: Some(id), .. } = &kind {
                    self.unread.take_if(|unread| *id >= unread.request);
                }
                let kind = self.note_offset(kind);
                up.push(Up::Packet(Packet { namespace: packet.namespace, kind }));
            }
            (kind @ (Kind::Event { .. } | Kind::Beyond { ack: false, .. }), _)
                if self.early.len() < self.config.max_early_events =>
            {
                self.early.push(Packet { namespace: packet.namespace, kind });
            }
            (Kind::Event { .. } | Kind::Beyond { ack: false, .. }, _) => {
                // More was missed than is taken here: asked for again it would come again.
                self.recovery.forget();
                let max = self.config.max_early_events;
                let why =
                    format!("more than max_early_events = {max} events before the namespace was granted");
                cx.close(Close::Limit(why));
            }
            (Kind::Connect(_) | Kind::ConnectError(_) | Kind::Ack { .. } | Kind::Beyond { .. }, _) => {
                cx.count(Count::Unexpected);
            }
        }
    }

    /// The namespace is ours.
    fn granted(&mut self, data: Option<&JsonText>, up: &mut Vec<Up>) {
        let (mut id, mut session) = (None, None);
        if let Some(mut walk) = data.and_then(|data| Members::new(data.as_bytes(), &self.limits.json).ok()) {
            while let (Ok(Some((key, place))), Some(data)) = (walk.next(), data) {
                let text = || {
                    json::as_string(data.as_bytes().get(place)?)
                        .map(|text| ByteString::from(text.into_owned()))
                };
                if key.is("sid") {
                    id = text();
                } else if key.is("pid") {
                    session = text().filter(|pid| !pid.is_empty());
                }
            }
        }
        self.recovered = self.recovery.granted(session);
        self.state = State::Connected;
        let told = JsonText::from_validated(Bytes::from_static(if self.recovered {
            b"{\"recovered\":true}"
        } else {
            b"{\"recovered\":false}"
        }));
        up.push(Up::Connected(Identity::user(id.unwrap_or_default()).with_data(told)));
        for Packet { namespace, kind } in std::mem::take(&mut self.early) {
            let kind = self.note_offset(kind);
            up.push(Up::Early(Packet { namespace, kind }));
        }
    }

    /// While the server keeps what is missed, events that want no answer end with an offset.
    fn note_offset(&self, kind: Kind) -> Kind {
        match kind {
            Kind::Event { id: None, args } if self.recovery.is_offered() => {
                let Some(offset) = args.last_string() else { return Kind::Event { id: None, args } };
                self.recovery.reached(offset);
                let args = if self.config.keep_offset { args } else { args.without_last() };
                Kind::Event { id: None, args }
            }
            other => other,
        }
    }
}

impl Lower for Link {
    type Codec = Codec;

    fn receive<S: Session<Codec = Codec>>(&mut self, frame: Frame, cx: &mut Cx<'_, S>, up: &mut Vec<Up>) {
        match (frame, self.state) {
            (Frame::Packet(text), State::Connecting | State::Connected) => self.text(&text, cx, up),
            (Frame::Attachment(bytes), State::Connecting | State::Connected) => {
                self.attachment(bytes, cx, up);
            }
            (Frame::Open(text), State::Opening) => self.opened(&text, cx),
            (Frame::Open(_), _) => {
                cx.close(Close::Protocol("the server has opened the session twice".into()));
            }
            (Frame::Ping(payload), _) => self.pinged(&payload, cx),
            (Frame::End, _) => cx.close(Close::Peer),
            (Frame::Closed(Some(TOO_LARGE)), _) => {
                let why = "the server closed with 1009: a message of ours exceeds what it takes";
                cx.close(Close::Transport(why.into()));
            }
            // The transport ends by itself after it.
            (Frame::Closed(_), _) => {}
            (Frame::Idle, _) => cx.count(Count::Unexpected),
            (Frame::Packet(_) | Frame::Attachment(_), State::Opening) => {
                cx.close(Close::Protocol("the server does not begin with an opening packet".into()));
            }
            (Frame::Write(_), _) => {}
        }
    }

    /// A DISCONNECT leaves the namespace for the next of those the session may be in; without one it is not sent.
    fn send<S: Session<Codec = Codec>>(&mut self, mut packet: Packet, cx: &mut Cx<'_, S>) {
        if packet.kind == Kind::Disconnect {
            if self.tried < self.namespaces.count() {
                self.write(&Packet { namespace: self.namespace.clone(), kind: Kind::Disconnect }, cx);
                self.join_next(cx);
            }
            return;
        }
        packet.namespace = self.namespace.clone();
        let fits = packet.text_bytes() <= self.max_payload
            && packet
                .attachments()
                .iter()
                .all(|bytes| self.config.transports.attachment_bytes(bytes.len()) <= self.max_payload);
        if !fits && let Kind::Ack { args, .. } = &mut packet.kind {
            let why = format!("the answer exceeds maxPayload = {} of the server", self.max_payload);
            let failure = Failure::new(Code::ResourceExhausted, why).to_json();
            let text: Bytes = [b"[", failure.as_bytes(), b"]"].concat().into();
            *args = Args::parse(text, &self.limits.json).unwrap_or_else(|_| Args::none());
        }
        match &packet.kind {
            Kind::Event { id: None, .. } => {
                self.unread = Some(Unread { request: self.next_request, ponged: false });
            }
            Kind::Event { id: Some(id), .. } => {
                self.next_request = self.next_request.max(id.saturating_add(1));
            }
            _ => {}
        }
        self.write(&packet, cx);
        for bytes in packet.attachments() {
            cx.write(Frame::Attachment(bytes.clone()));
        }
    }

    fn admit(&self, route_bytes: usize, body: &Body, meta: &Meta) -> Admit {
        // A name may need escapes.
        let beside = OVERHEAD + self.namespace.len() + route_bytes.saturating_mul(6);
        let attachment = |bytes: &Bytes| self.config.transports.attachment_bytes(bytes.len());
        let own = match body {
            Body::Binary(binary) => attachment(&binary.bytes),
            // Every message of a packet is held to it; the largest one decides.
            Body::Empty | Body::Json(_) => {
                meta.attachments().iter().map(attachment).fold(body.len(), usize::max)
            }
        };
        let bytes = own.saturating_add(beside);
        if bytes <= self.max_payload {
            return Admit::Now;
        }
        let why =
            format!("a message of {bytes} bytes exceeds maxPayload = {} of the server", self.max_payload);
        Admit::Refuse(Failure::new(Code::InvalidArgument, why))
    }

    fn close<S: Session<Codec = Codec>>(&mut self, reason: &Close, cx: &mut Cx<'_, S>) {
        if !matches!(reason, Close::Local | Close::Shutdown) {
            return;
        }
        self.recovery.forget();
        if self.unread.is_some() {
            // npm `socket.io` hands an event on one tick after it was read, and drops it when it has read a DISCONNECT by then
            // (observed): right behind an event it is the transport that tells the end, once everything is written.
            return;
        }
        if self.state == State::Connected {
            self.write(&Packet { namespace: self.namespace.clone(), kind: Kind::Disconnect }, cx);
        }
        cx.write(Frame::Write(Bytes::from_static(b"1")));
    }

    fn resumes(&self) -> bool {
        self.recovered
    }

    fn keeps(&self) -> usize {
        self.assembling.as_ref().map_or(0, |assembling| assembling.bytes)
    }

    fn wake_at(&self) -> Option<Moment> {
        let due = self.assembling.as_ref().map(|assembling| assembling.until);
        self.dead_at.into_iter().chain(due).min()
    }

    fn wake<S: Session<Codec = Codec>>(&mut self, cx: &mut Cx<'_, S>) {
        let now = cx.now();
        if self.dead_at.is_some_and(|at| at <= now) && !cx.is_reading() {
            // Its pings wait unread.
            self.dead_at = Some(now + self.patience);
        } else if self.dead_at.is_some_and(|at| at <= now) {
            self.dead_at = None;
            cx.close(Close::Dead(format!("no ping for {:?}", self.patience)));
        } else if self.assembling.take_if(|assembling| assembling.until <= now).is_some() {
            let limit = self.config.attachment_timeout;
            cx.close(Close::Protocol(format!(
                "announced attachments did not come within attachment_timeout = {limit:?}"
            )));
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("namespace", &self.namespace)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Why the namespace was refused.
fn refusal(data: Option<JsonText>) -> Refusal {
    let Some(data) = data else { return Refusal::new("the server gives no reason") };
    let limits = polywire_core::JsonLimits::default();
    let mut reason = json::as_string(data.as_bytes().trim_ascii()).map(|text| text.into_owned());
    if let Ok(mut walk) = Members::new(data.as_bytes(), &limits) {
        while let Ok(Some((key, place))) = walk.next() {
            if key.is("message") {
                reason = json::as_string(data.as_bytes().get(place).unwrap_or_default())
                    .map(|text| text.into_owned());
            }
        }
    }
    let reason = reason.unwrap_or_else(|| "the server gives no reason".to_owned());
    Refusal::new(reason.chars().take(200).collect::<String>()).with_data(data)
}

/// How a connection ends that has broken the protocol.
fn close_of(error: &FrameError) -> Close {
    match error {
        FrameError::TooLarge { .. } | FrameError::TooMany { .. } => Close::Limit(error.to_string()),
        _ => Close::Protocol(error.to_string()),
    }
}
