//! A whole adapter over sockets whose codec never gives its thread back: it looks for the end of a frame and never moves on.

use std::convert::Infallible;
use std::hint::spin_loop;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use polywire_conformance::{Memory, Setup};
use polywire_core::{
    Accept, Action, Adapter, AdapterError, Admit, BoxFuture, ByteStream, Capabilities, Client, Codec,
    Credentials, Cx, Dial, DialError, Endpoint, FrameError, OptionSpec, Options, Outbound, OutboundOf,
    Outgoing, Parts, Secret, Server, Session, StreamCodec, Target,
};
use tokio::net::{TcpListener, TcpStream};

/// It goes on looking.
pub(crate) static SPINS: AtomicBool = AtomicBool::new(true);

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spinning;

/// Its codec.
#[derive(Debug)]
pub(crate) struct Endless;

impl Codec for Endless {
    type Frame = Bytes;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl StreamCodec for Endless {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        while !input.is_empty() && SPINS.load(Ordering::Relaxed) {
            spin_loop();
        }
        Ok(None)
    }

    fn encode(&mut self, frame: Bytes, out: &mut Outgoing) -> Result<(), FrameError> {
        out.put_bytes(frame);
        Ok(())
    }
}

/// Its session: whoever is connected is welcome, and what is said is the name of a request.
#[derive(Debug)]
pub(crate) struct Hello;

impl Session for Hello {
    type Codec = Endless;
    type Reply = ();
    type Command = Infallible;

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        cx.act(Action::Established(None));
    }

    fn receive(&mut self, _: Bytes, _: &mut Cx<'_, Self>) {}

    fn admit(&self, _: &OutboundOf<Self>) -> Admit {
        Admit::Now
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        if let Outbound::Request { request, .. } = outbound {
            cx.write(Bytes::copy_from_slice(request.route.as_bytes()));
        }
    }
}

type Stream = ByteStream<TcpStream>;

fn parts(stream: TcpStream) -> Parts<Hello, Stream> {
    Parts { transport: ByteStream::new(stream), codec: Endless, session: Hello }
}

impl Accept<TcpStream> for Spinning {
    type Session = Hello;
    type Transport = Stream;

    async fn accept(&self, stream: TcpStream) -> io::Result<Parts<Hello, Stream>> {
        Ok(parts(stream))
    }
}

/// Dials this address.
struct Dials(String);

impl Dial for Dials {
    type Session = Hello;
    type Transport = Stream;

    async fn dial(&self, _: Credentials) -> Result<Parts<Hello, Stream>, DialError> {
        let stream = TcpStream::connect(&self.0).await;
        stream.map(parts).map_err(|source| DialError::Unreachable { address: self.0.clone(), source })
    }

    fn address(&self) -> String {
        self.0.clone()
    }
}

impl Adapter for Spinning {
    fn name(&self) -> &'static str {
        "spinning"
    }

    fn about(&self) -> &'static str {
        "a codec that never gives its thread back"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        let wire = Memory::default().capabilities(options)?;
        Ok(Capabilities { login: false, ..wire })
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async move {
            let listener = TcpListener::bind(&target.address).await;
            let listener = listener.map_err(|error| AdapterError::Settings(error.to_string()))?;
            Ok(Server::start(listener, Self, endpoint))
        })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Box::pin(
            async move { Ok(Client::start(Dials(target.address), Arc::new(Credentials::guest()), endpoint)) },
        )
    }
}

impl Setup for Spinning {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(*self)
    }

    fn listen(&self, _: &Secret) -> Target {
        Target { address: "127.0.0.1:0".into(), ..Target::default() }
    }

    fn dial(&self, address: &str, _: &Secret) -> Target {
        Target { address: address.into(), ..Target::default() }
    }
}
