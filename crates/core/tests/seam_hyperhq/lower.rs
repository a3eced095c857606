//! The lower half: Engine.IO and Socket.IO, from WebSocket messages to packets of one namespace, on the side that dials.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Close, Codec, Count, Cx, FrameError, Message, MessageCodec, Moment, Refusal, Session};
use serde_json::Value;

use super::packet::{Kind, Packet};
use super::stack::{Lower, Up};

/// An attachment that was announced must come within this time.
const ATTACHMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Events that came before the namespace was connected.
const MAX_HELD_BACK: usize = 256;

#[derive(Debug)]
pub(crate) enum Frame {
    /// An Engine.IO packet: its type, and what follows.
    Text(u8, Bytes),
    /// An attachment.
    Binary(Bytes),
    Bad(&'static str),
}

pub(crate) struct EngineCodec;

impl Codec for EngineCodec {
    type Frame = Frame;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl MessageCodec for EngineCodec {
    fn decode(&mut self, message: Message) -> Result<Option<Frame>, FrameError> {
        Ok(Some(match message {
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Text(text) => match text.first() {
                Some(kind @ b'0'..=b'6') => Frame::Text(*kind, text.slice(1..)),
                Some(_) => Frame::Bad("an unknown type of Engine.IO packet"),
                None => Frame::Bad("an empty message"),
            },
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(None),
        }))
    }

    fn encode(&mut self, frame: Frame, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        match frame {
            Frame::Text(kind, rest) => out(Message::Text([&[kind], &rest[..]].concat().into())),
            Frame::Binary(bytes) => out(Message::Binary(bytes)),
            Frame::Bad(what) => return Err(FrameError::Corrupt(what)),
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Opening,
    Connecting,
    Connected,
}

#[derive(Debug)]
pub(crate) struct SocketIo {
    namespace: String,
    state: State,
    /// How long after a ping the next one must have come.
    patience: Duration,
    watch: Option<Moment>,
    assembling: Option<(Packet, usize, Moment)>,
    held_back: Vec<Packet>,
}

impl SocketIo {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            state: State::Opening,
            patience: Duration::ZERO,
            watch: None,
            assembling: None,
            held_back: Vec::new(),
        }
    }

    fn opened<S: Session<Codec = EngineCodec>>(&mut self, text: &Bytes, cx: &mut Cx<'_, S>) {
        let open: Value = serde_json::from_slice(text).unwrap_or_default();
        let span = |name: &str| open[name].as_u64().filter(|ms| (1_000..=300_000).contains(ms));
        let (Some(_), Some(interval), Some(timeout)) =
            (open["sid"].as_str(), span("pingInterval"), span("pingTimeout"))
        else {
            return cx.close(Close::Protocol("the opening packet cannot be used".into()));
        };
        self.patience = Duration::from_millis(interval + timeout);
        self.watch = Some(cx.now() + self.patience);
        self.state = State::Connecting;
        let connect = Packet {
            kind: Kind::Connect,
            namespace: self.namespace.clone(),
            id: None,
            data: None,
            attachments: Vec::new(),
        };
        cx.write(Frame::Text(b'4', connect.text()));
    }

    fn text<S: Session<Codec = EngineCodec>>(
        &mut self,
        text: &Bytes,
        cx: &mut Cx<'_, S>,
        up: &mut Vec<Up<Packet>>,
    ) {
        if self.assembling.is_some() {
            return cx.close(Close::Protocol("text while attachments are due".into()));
        }
        match Packet::parse(text) {
            Ok((packet, 0)) => self.packet(packet, cx, up),
            Ok((packet, due)) => self.assembling = Some((packet, due, cx.now() + ATTACHMENT_TIMEOUT)),
            Err(what) => cx.close(Close::Protocol(what.into())),
        }
    }

    fn attachment<S: Session<Codec = EngineCodec>>(
        &mut self,
        bytes: Bytes,
        cx: &mut Cx<'_, S>,
        up: &mut Vec<Up<Packet>>,
    ) {
        let Some((mut packet, due, until)) = self.assembling.take() else {
            return cx.close(Close::Protocol("an attachment that no packet announced".into()));
        };
        packet.attachments.push(bytes);
        if packet.attachments.len() < due {
            self.assembling = Some((packet, due, until));
            return;
        }
        match packet.check_placeholders() {
            Ok(()) => self.packet(packet, cx, up),
            Err(what) => cx.close(Close::Protocol(what.into())),
        }
    }

    fn packet<S: Session<Codec = EngineCodec>>(
        &mut self,
        packet: Packet,
        cx: &mut Cx<'_, S>,
        up: &mut Vec<Up<Packet>>,
    ) {
        if packet.namespace != self.namespace {
            return cx.count(Count::Unexpected);
        }
        match (packet.kind, &self.state) {
            (Kind::Connect, State::Connecting) => {
                self.state = State::Connected;
                up.push(Up::Connected);
                up.extend(self.held_back.drain(..).map(Up::Packet));
            }
            (Kind::ConnectError, State::Connecting) => {
                let data: Value =
                    serde_json::from_slice(packet.data.as_deref().unwrap_or_default()).unwrap_or_default();
                let why = data["message"].as_str().or(data.as_str()).unwrap_or("no reason given");
                cx.close(Close::Refused(Refusal::new(why)));
            }
            (Kind::Disconnect, _) => cx.close(Close::Peer),
            (Kind::Event, State::Connected) => up.push(Up::Packet(packet)),
            (Kind::Event, _) if self.held_back.len() < MAX_HELD_BACK => self.held_back.push(packet),
            (Kind::Event, _) => {
                cx.close(Close::Limit(format!("more than {MAX_HELD_BACK} events before CONNECT")));
            }
            // Nobody here asks for acknowledgements.
            (Kind::Ack, _) => cx.count(Count::OrphanReply),
            (Kind::Connect | Kind::ConnectError, _) => cx.count(Count::Unexpected),
        }
    }
}

impl Lower for SocketIo {
    type Codec = EngineCodec;
    type Packet = Packet;

    fn receive<S: Session<Codec = EngineCodec>>(
        &mut self,
        frame: Frame,
        cx: &mut Cx<'_, S>,
        up: &mut Vec<Up<Packet>>,
    ) {
        match frame {
            Frame::Text(b'0', text) if self.state == State::Opening => self.opened(&text, cx),
            Frame::Text(b'0', _) => cx.close(Close::Protocol("opened twice".into())),
            Frame::Text(b'1', _) => cx.close(Close::Peer),
            Frame::Text(b'2', payload) => {
                self.watch = Some(cx.now() + self.patience);
                cx.write(Frame::Text(b'3', payload));
            }
            Frame::Text(b'4', text) => self.text(&text, cx, up),
            Frame::Text(..) => cx.count(Count::Unexpected),
            Frame::Binary(bytes) => self.attachment(bytes, cx, up),
            Frame::Bad(what) => cx.close(Close::Protocol(what.into())),
        }
    }

    fn send<S: Session<Codec = EngineCodec>>(&mut self, packet: Packet, cx: &mut Cx<'_, S>) {
        cx.write(Frame::Text(b'4', packet.text()));
        for bytes in packet.attachments {
            cx.write(Frame::Binary(bytes));
        }
    }

    fn wake_at(&self) -> Option<Moment> {
        let due = self.assembling.as_ref().map(|(_, _, until)| *until);
        self.watch.into_iter().chain(due).min()
    }

    fn wake<S: Session<Codec = EngineCodec>>(&mut self, cx: &mut Cx<'_, S>) {
        let now = cx.now();
        if self.watch.is_some_and(|at| at <= now) {
            cx.close(Close::Dead(format!("no ping for {:?}", self.patience)));
        } else if self.assembling.as_ref().is_some_and(|(_, _, until)| *until <= now) {
            cx.close(Close::Protocol("announced attachments did not come".into()));
        }
    }
}
