//! What the in-memory wire knows about one connection. Both ends are the same session but for the login.

use std::collections::HashMap;

use bytes::Bytes;
use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Codec, Count, Credentials, Cx, Delivery, Due, Event,
    Failure, FrameError, Gate, Identity, JsonError, JsonLimits, Outbound, OutboundOf, Refusal, Request,
    Response, Session, json,
};

/// One message of the wire.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Shown by the side that dials, first of all.
    Login(Credentials),
    /// The login was taken.
    Welcome,
    /// The login was not taken.
    Refused(Refusal),
    Request(u64, Request),
    Response(u64, Result<Response, Failure>),
    Progress(u64, Body),
    Cancel(u64),
    Event(Event),
    /// What somebody sends who keeps to no protocol.
    Junk(Bytes),
}

impl Frame {
    /// What it counts for in limits.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Login(_)
            | Self::Welcome
            | Self::Refused(_)
            | Self::Cancel(_)
            | Self::Response(_, Err(_)) => 64,
            Self::Request(_, request) => request.route.len().saturating_add(request.body.len()),
            Self::Response(_, Ok(response)) => response.body.len(),
            Self::Progress(_, body) => body.len(),
            Self::Event(event) => event.route.len().saturating_add(event.body.len()),
            Self::Junk(bytes) => bytes.len(),
        }
    }
}

/// There is nothing to encode: all that is left of a codec is the limit.
#[derive(Debug)]
pub(crate) struct Envelopes {
    max_frame_bytes: usize,
}

impl Envelopes {
    pub(super) fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes }
    }

    /// # Errors
    /// When the frame is larger than this end takes or sends.
    pub(super) fn check(&self, bytes: usize) -> Result<(), FrameError> {
        if bytes <= self.max_frame_bytes {
            return Ok(());
        }
        Err(FrameError::TooLarge {
            got: bytes as u64,
            max: self.max_frame_bytes as u64,
            setting: "max_frame_bytes",
        })
    }
}

impl Codec for Envelopes {
    type Frame = Frame;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

/// Nothing but a login leaves before the login.
const LOGIN: Gate = Gate(0);

#[derive(Debug)]
pub(crate) struct MemorySession {
    stage: Stage,
    json: JsonLimits,
    next_id: u64,
    calls: HashMap<u64, CallId>,
}

#[derive(Debug)]
enum Stage {
    /// The side that dials has something to show.
    Shows(Credentials),
    /// Somebody has to log in, or has shown what is being judged.
    Waits,
    /// The side that dialled has shown it.
    Shown,
    Established,
}

impl MemorySession {
    pub(super) fn server(json: JsonLimits) -> Self {
        Self { stage: Stage::Waits, json, next_id: 1, calls: HashMap::new() }
    }

    pub(super) fn client(credentials: Credentials, json: JsonLimits) -> Self {
        Self { stage: Stage::Shows(credentials), ..Self::server(json) }
    }

    /// A body within the bounds of this end. There is nothing to parse here, but whoever gets it relies on them.
    fn bounded(&self, body: &Body) -> Result<(), JsonError> {
        match body {
            Body::Json(text) => json::validate(text.as_bytes(), &self.json),
            _ => Ok(()),
        }
    }

    fn established(&mut self, identity: Option<Identity>, cx: &mut Cx<'_, Self>) {
        self.stage = Stage::Established;
        cx.act(Action::Established(identity));
        cx.act(Action::Open(LOGIN));
    }
}

impl Session for MemorySession {
    type Codec = Envelopes;
    type Reply = u64;
    type Command = std::convert::Infallible;

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        if let Stage::Shows(credentials) = &mut self.stage {
            cx.write(Frame::Login(std::mem::take(credentials)));
            self.stage = Stage::Shown;
        }
    }

    fn receive(&mut self, frame: Frame, cx: &mut Cx<'_, Self>) {
        match (&self.stage, frame) {
            (Stage::Waits, Frame::Login(credentials)) => cx.act(Action::Authenticate(credentials)),
            (Stage::Shown, Frame::Welcome) => self.established(None, cx),
            (Stage::Shown, Frame::Refused(refusal)) => cx.close(Close::Refused(refusal)),
            (_, Frame::Junk(_)) => cx.count(Count::Undecodable),
            (Stage::Established, Frame::Request(reply, request)) => match self.bounded(&request.body) {
                Ok(()) => cx.deliver(Delivery::Request { request, reply, identity: None }),
                Err(error) => {
                    cx.count(Count::BadBody);
                    let failure = Failure::new(Code::InvalidArgument, error.to_string());
                    cx.write(Frame::Response(reply, Err(failure)));
                }
            },
            (Stage::Established, Frame::Response(id, answer)) => match self.calls.remove(&id) {
                Some(call) => {
                    let outcome = answer.map_err(CallError::Failure).and_then(|answer| {
                        let unreadable =
                            |error: JsonError| CallError::unknown(Code::Internal, error.to_string());
                        self.bounded(&answer.body).map_err(unreadable).map(|()| answer)
                    });
                    cx.deliver(Delivery::Response { call, outcome });
                }
                None => cx.count(Count::OrphanReply),
            },
            (Stage::Established, Frame::Progress(id, body)) => match self.calls.get(&id) {
                Some(call) => cx.deliver(Delivery::Progress { call: Some(*call), body }),
                None => cx.count(Count::OrphanReply),
            },
            (Stage::Established, Frame::Cancel(id)) => cx.deliver(Delivery::Cancel(id)),
            (Stage::Established, Frame::Event(event)) => match self.bounded(&event.body) {
                Ok(()) => cx.deliver(Delivery::Event(event)),
                Err(_) => cx.count(Count::BadBody),
            },
            (Stage::Established, Frame::Login(_) | Frame::Welcome | Frame::Refused(_)) => {
                cx.count(Count::Unexpected);
            }
            _ => cx.count(Count::BeforeLogin),
        }
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        match verdict {
            Ok(identity) => {
                cx.write(Frame::Welcome);
                self.established(Some(identity), cx);
            }
            Err(refusal) => {
                cx.write(Frame::Refused(refusal.clone()));
                cx.close(Close::Refused(refusal));
            }
        }
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        match (&self.stage, outbound) {
            (Stage::Established, _) => Admit::Now,
            (_, Outbound::Request { .. } | Outbound::Event(_)) => Admit::Hold(LOGIN),
            _ => Admit::Now,
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, mut request, .. } => {
                self.calls.insert(self.next_id, call);
                // The deadline is the caller's business, which progress may move; the callee has its own bound.
                request.due = Due::Default;
                cx.write(Frame::Request(self.next_id, request));
                self.next_id += 1;
            }
            Outbound::Event(event) => cx.write(Frame::Event(event)),
            Outbound::Response { reply, result } => cx.write(Frame::Response(reply, result)),
            Outbound::Cancel(call) => {
                let known = self.calls.extract_if(|_, known| *known == call).next();
                known.into_iter().for_each(|(id, _)| cx.write(Frame::Cancel(id)));
            }
            Outbound::Command(never) => match never {},
        }
    }

    fn progress(&mut self, reply: &u64, body: Body, cx: &mut Cx<'_, Self>) {
        cx.write(Frame::Progress(*reply, body));
    }
}
