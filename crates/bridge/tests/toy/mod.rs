//! A wire made for these tests: one line a message, over pipes in memory, so that time can be simulated.
//!
//! `Q id name body`, `P id`, `A id body`, `F id code message`, `E name body`; a body is `-`, `j` and JSON, or `b`, a type, `:` and
//! bytes in hexadecimal.

#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test support file: a fault of its own should stop the test")]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Accept, Adapter, AdapterError, Admit, BinaryForm, Body, BoxFuture, ByteStream, CallError, CallId,
    Capabilities, Client, Close, Code, Codec, Correlation, Credentials, Cx, Delivery, Dial, DialError, Due,
    Endpoint, Errors, Event, Failure, FrameError, JsonLimits, JsonText, Limits, Listener, Meta, OptionKind,
    OptionSpec, Options, Outbound, OutboundOf, Outgoing, Particulars, Parts, ProgressForm, Request, Response,
    Route, Server, Session, StreamCodec, Target,
};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// The pipes between who listens and who dials, by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wires(Arc<Mutex<HashMap<String, mpsc::Sender<DuplexStream>>>>);

/// A wire with the capabilities a test wants.
#[derive(Clone, Debug)]
pub(crate) struct Toy {
    pub(crate) name: &'static str,
    pub(crate) capabilities: Capabilities,
    pub(crate) particulars: Particulars,
    pub(crate) limits: Limits,
    pub(crate) wires: Wires,
}

pub(crate) const FULL: Capabilities = Capabilities {
    correlation: Correlation::Id,
    max_concurrent_calls: 1_024,
    server_calls: true,
    client_events: true,
    push: true,
    errors: Errors::Codes,
    binary: BinaryForm::Typed,
    progress: ProgressForm::None,
    cancel: false,
    order: true,
    login: false,
    object_arguments: false,
    empty_body: true,
    max_route_bytes: 255,
    max_body_bytes: 1 << 20,
};

/// As JSON-only wires with one call at a time and no events are.
pub(crate) const PLAIN: Capabilities = Capabilities {
    correlation: Correlation::Order,
    max_concurrent_calls: 1,
    server_calls: false,
    client_events: false,
    push: false,
    binary: BinaryForm::None,
    login: true,
    object_arguments: true,
    empty_body: false,
    ..FULL
};

const fn option(name: &'static str, takes: OptionKind) -> OptionSpec {
    OptionSpec { name, takes, default: "", about: "" }
}

const OPTIONS: &[OptionSpec] = &[
    option("mode", OptionKind::OneOf(&["auto", "binary", "json"])),
    option("password", OptionKind::Secret),
    option("guests", OptionKind::Flag),
    option("connections", OptionKind::Number),
    option("max_frame_bytes", OptionKind::Size),
    option("ping_interval", OptionKind::Duration),
    option("name_from", OptionKind::Text),
];

impl Toy {
    pub(crate) fn new(name: &'static str, capabilities: Capabilities) -> Self {
        Self {
            name,
            capabilities,
            particulars: Particulars::default(),
            limits: Limits::default(),
            wires: Wires::default(),
        }
    }

    /// Another wire over the same pipes.
    pub(crate) fn twin(&self, name: &'static str, capabilities: Capabilities) -> Self {
        Self { name, capabilities, ..self.clone() }
    }

    /// The same wire, which does this besides.
    pub(crate) fn with(mut self, particulars: Particulars) -> Self {
        self.particulars = particulars;
        self
    }
}

impl Adapter for Toy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "a wire for tests"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        self.limits().with_options(options)?;
        if options.number("connections")? == Some(0) {
            return Err(AdapterError::option("connections", "0", "1 to 64"));
        }
        Ok(self.capabilities)
    }

    fn particulars(&self, _: &Options) -> Result<Particulars, AdapterError> {
        Ok(self.particulars)
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn reserved_routes(&self) -> &'static [&'static str] {
        &["ToyPing"]
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        let (accepted, incoming) = mpsc::channel(64);
        let taken = self.wires.0.lock().unwrap().insert(target.address.clone(), accepted);
        if taken.is_some_and(|taken| !taken.is_closed()) {
            let source = io::ErrorKind::AddrInUse.into();
            return Box::pin(async { Err(AdapterError::Listen { address: target.address, source }) });
        }
        let listener = Pipes { address: target.address, incoming };
        Box::pin(async { Ok(Server::start(listener, AcceptToy, endpoint)) })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        let dial = DialToy { address: target.address, wires: self.wires.clone() };
        Box::pin(async { Ok(Client::start(dial, Arc::new(Credentials::guest()), endpoint)) })
    }
}

struct Pipes {
    address: String,
    incoming: mpsc::Receiver<DuplexStream>,
}

impl Listener for Pipes {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<String>)> {
        match self.incoming.recv().await {
            Some(pipe) => Ok((pipe, None)),
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

struct AcceptToy;

impl Accept<DuplexStream> for AcceptToy {
    type Session = ToySession;
    type Transport = ByteStream<DuplexStream>;

    async fn accept(&self, pipe: DuplexStream) -> io::Result<Parts<ToySession, Self::Transport>> {
        Ok(parts(pipe))
    }
}

struct DialToy {
    address: String,
    wires: Wires,
}

impl Dial for DialToy {
    type Session = ToySession;
    type Transport = ByteStream<DuplexStream>;

    async fn dial(&self, _: Credentials) -> Result<Parts<ToySession, Self::Transport>, DialError> {
        let listener = self.wires.0.lock().unwrap().get(&self.address).cloned();
        let unreachable = || DialError::Unreachable {
            address: self.address.clone(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        let (near, far) = tokio::io::duplex(64 << 10);
        listener.ok_or_else(unreachable)?.send(far).await.map_err(|_| unreachable())?;
        Ok(parts(near))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

fn parts(pipe: DuplexStream) -> Parts<ToySession, ByteStream<DuplexStream>> {
    Parts { transport: ByteStream::new(pipe), codec: Lines, session: ToySession::default() }
}

pub(crate) struct Lines;

impl Codec for Lines {
    type Frame = String;
    type Mode = ();

    fn set_read_mode(&mut self, _: ()) {}

    fn set_write_mode(&mut self, _: ()) {}
}

impl StreamCodec for Lines {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<String>, FrameError> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = input.split_to(end + 1);
        Ok(Some(String::from_utf8(line[..end].to_vec()).unwrap()))
    }

    fn encode(&mut self, frame: String, out: &mut Outgoing) -> Result<(), FrameError> {
        out.put_slice(frame.as_bytes());
        out.put_slice(b"\n");
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct ToySession {
    next: u64,
    calls: HashMap<u64, CallId>,
}

impl Session for ToySession {
    type Codec = Lines;
    type Reply = u64;
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        cx.act(polywire_core::Action::Established(None));
    }

    fn receive(&mut self, frame: String, cx: &mut Cx<'_, Self>) {
        let (kind, rest) = frame.split_once(' ').unwrap();
        match kind {
            "Q" => {
                let (id, rest) = rest.split_once(' ').unwrap();
                let (name, body) = rest.split_once(' ').unwrap();
                let request = Request {
                    route: Route::try_from(name).unwrap(),
                    body: read_body(body),
                    due: Due::Default,
                    meta: Meta::default(),
                };
                cx.deliver(Delivery::Request { request, reply: id.parse().unwrap(), identity: None });
            }
            "P" => {
                let call = self.calls.get(&rest.parse().unwrap()).copied();
                cx.deliver(Delivery::Progress { call, body: Body::Empty });
            }
            "A" | "F" => {
                let (id, rest) = rest.split_once(' ').unwrap();
                let Some(call) = self.calls.remove(&id.parse().unwrap()) else {
                    return cx.count(polywire_core::Count::OrphanReply);
                };
                let outcome = if kind == "A" {
                    Ok(Response::from(read_body(rest)))
                } else {
                    let (code, text) = rest.split_once(' ').unwrap();
                    Err(CallError::Failure(Failure::new(Code::from_name(code).unwrap(), text.to_owned())))
                };
                cx.deliver(Delivery::Response { call, outcome });
            }
            "E" => {
                let (name, body) = rest.split_once(' ').unwrap();
                cx.deliver(Delivery::Event(Event::new(Route::try_from(name).unwrap(), read_body(body))));
            }
            _ => cx.close(Close::Protocol(frame)),
        }
    }

    fn admit(&self, _: &OutboundOf<Self>) -> Admit {
        Admit::Now
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => {
                self.next += 1;
                self.calls.insert(self.next, call);
                cx.write(format!("Q {} {} {}", self.next, request.route, write_body(&request.body)));
            }
            Outbound::Event(event) => cx.write(format!("E {} {}", event.route, write_body(&event.body))),
            Outbound::Response { reply, result: Ok(response) } => {
                cx.write(format!("A {reply} {}", write_body(&response.body)));
            }
            Outbound::Response { reply, result: Err(failure) } => {
                cx.write(format!("F {reply} {} {}", failure.code, failure.message));
            }
            Outbound::Cancel(call) => self.calls.retain(|_, known| *known != call),
            Outbound::Command(()) => {}
        }
    }

    fn progress(&mut self, reply: &u64, _: Body, cx: &mut Cx<'_, Self>) {
        cx.write(format!("P {reply}"));
    }
}

fn read_body(text: &str) -> Body {
    match text.split_at(1) {
        ("j", json) => Body::Json(JsonText::new(json.to_owned(), &JsonLimits::default()).unwrap()),
        ("b", rest) => {
            let (kind, hex) = rest.split_once(':').unwrap();
            let digits: Vec<u8> = hex
                .bytes()
                .map(|digit| u8::try_from((digit as char).to_digit(16).unwrap()).unwrap())
                .collect();
            let bytes: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] << 4) | pair[1]).collect();
            Body::binary(kind.to_owned(), Bytes::from(bytes))
        }
        _ => Body::Empty,
    }
}

fn write_body(body: &Body) -> String {
    match body {
        Body::Empty => "-".to_owned(),
        Body::Json(text) => format!("j{}", text.as_str()),
        Body::Binary(binary) => {
            let hex: String = binary.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("b{}:{hex}", &*binary.kind)
        }
    }
}
