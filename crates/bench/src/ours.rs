//! polywire as a contender, and the measurements that need both of its ends in one program.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use polywire_core::{
    Adapter, Body, Client, Endpoint, Event, Handler, HandlerFuture, Incoming, Kind, Limits, Response, Route,
    Secret, Server, Target,
};
use polywire_hpx::{HpxServer, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::accounting::{own_nanos, repeat_strays};
use crate::report::{Bar, Figure, add};
use crate::{bare, bridge};

/// Which server to be.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The server.
    what: What,
    /// Where a bridge forwards to.
    #[arg(long)]
    upstream: Option<String>,
    /// Serve on one thread, as `polywire run` works.
    #[arg(long)]
    pub(crate) one_thread: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Sockhop,
    /// With limits that let messages of 64 MiB through.
    SockhopLarge,
    SockhopBare,
    Hpx,
    HpxBare,
    Stonyx,
    StonyxBare,
    StonyxBareBroadcast,
    Socketio,
    Socketioxide,
    Hyperhq,
    Bridge,
}

mod hyperhq;
pub(crate) mod socketio;
mod stonyx;

/// Bodies up to this size are answered stored by the bare HPX loop, as by ours.
const STORED_UP_TO: usize = 4 << 10;

/// Serves until standard input closes.
///
/// # Errors
/// When it cannot listen.
pub(crate) async fn serve(serve: Serve) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    match serve.what {
        What::SockhopBare
        | What::HpxBare
        | What::StonyxBare
        | What::StonyxBareBroadcast
        | What::Socketioxide => {
            let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
            println!("READY {}", listener.local_addr().map_err(text)?);
            let serving = async {
                match serve.what {
                    What::HpxBare => bare::hpx::serve(listener, STORED_UP_TO).await,
                    What::StonyxBare => bare::stonyx::serve(listener).await,
                    What::StonyxBareBroadcast => bare::stonyx::serve_broadcast(listener).await,
                    What::Socketioxide => bare::hyperhq::serve(listener).await,
                    _ => bare::sockhop::serve(listener).await,
                }
            };
            tokio::select! {
                end = serving => end.map_err(text),
                () = closed() => Ok(()),
            }
        }
        What::Hyperhq => hyperhq::serve().await,
        What::Bridge => bridge::serve(&serve.upstream.ok_or("a bridge needs --upstream")?).await,
        What::Hpx => {
            // A session for each of thousands of guests.
            let config = ServerConfig { guests: true, max_sessions: 1 << 16, ..ServerConfig::default() };
            let server = HpxServer::bind("127.0.0.1:0", config, Endpoint::new("hpx", Echo)).await;
            let server = server.map_err(|error| error.to_string())?;
            println!("READY {}", server.address());
            closed().await;
            server.shutdown().await;
            Ok(())
        }
        What::Stonyx => stonyx::serve().await,
        What::Sockhop | What::SockhopLarge | What::Socketio => {
            let adapter: &dyn Adapter = match serve.what {
                What::Socketio => &polywire_socketio::ADAPTER,
                _ => &polywire_sockhop::ADAPTER,
            };
            let mut endpoint = Endpoint::new(adapter.name(), Echo);
            if matches!(serve.what, What::SockhopLarge) {
                let (max_frame_bytes, max_queue_bytes) = (256 << 20, 256 << 20);
                endpoint.limits = Arc::new(Limits { max_frame_bytes, max_queue_bytes, ..Limits::default() });
            }
            let server = listen(adapter, endpoint).await?;
            println!("READY {}", server.address());
            closed().await;
            server.shutdown().await;
            Ok(())
        }
    }
}

/// Standard input has closed.
pub(crate) async fn closed() {
    let mut rest = Vec::new();
    // Whatever ends it ends this program.
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
}

/// Answers every request with its body, and counts events.
pub(crate) struct Echo;

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async move { Ok(Response { body: argument(incoming.body), meta: incoming.meta }) })
    }
}

/// The body, or on HPX the argument `value` of it.
fn argument(body: Body) -> Body {
    if let Body::Json(text) = &body
        && text.as_bytes().starts_with(b"{\"value\":")
    {
        let bytes = text.to_bytes();
        let inner = bytes.slice(b"{\"value\":".len()..bytes.len() - 1);
        return Body::Json(polywire_core::JsonText::from_validated(inner));
    }
    body
}

/// Listens on a free port of the loopback.
///
/// # Errors
/// When it cannot.
pub(crate) async fn listen(adapter: &dyn Adapter, endpoint: Endpoint) -> Result<Server, String> {
    let mut target = Target { address: "127.0.0.1:0".to_owned(), ..Target::default() };
    if adapter.name() == "sockhop" {
        // Both directions of a 2.x peer become binary after the handshake; the load without a handshake stays in lines.
        target.options.set("switch", "early");
    }
    adapter.listen(target, endpoint).await.map_err(|error| error.to_string())
}

/// Dials and waits until the login is done.
///
/// # Errors
/// When that fails.
pub(crate) async fn dial(adapter: &dyn Adapter, address: &str, endpoint: Endpoint) -> Result<Client, String> {
    let mut target = Target { address: address.to_owned(), ..Target::default() };
    if adapter.name() == "hpx" {
        target.options.set("connections", "1");
    }
    if adapter.name() == "stonyx" {
        target.options.set_secret("key", Secret::from(bare::stonyx::AUTH_KEY));
    }
    let client = adapter.dial(target, endpoint).await.map_err(|error| error.to_string())?;
    client.ready().await.map_err(|failure| failure.to_string())?;
    Ok(client)
}

const BUFFER: usize = 64 << 10;
const BUFFERS: u64 = 40_000;

struct Sink {
    seen: Arc<AtomicU64>,
    done: Arc<Notify>,
    until: u64,
}

impl Handler for Sink {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.until {
            self.done.notify_one();
        }
        Box::pin(async { Ok(Response::default()) })
    }
}

/// One-way typed buffers between our own ends, against a bare copy of the same bytes.
///
/// # Errors
/// When an end fails.
pub(crate) async fn typed_buffers(
    runs: usize,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let ours_once = async || copied(typed_buffers_ours).await;
    let bare_once =
        async || copied(async || typed_buffers_bare().await.map_err(|error| error.to_string())).await;
    for _ in 0..runs {
        ours.push(ours_once().await?);
        bare.push(bare_once().await?);
    }
    repeat_strays(&mut ours, |run| *run, ours_once).await?;
    repeat_strays(&mut bare, |run| *run, bare_once).await?;
    let scenario = "typed-buffers";
    let mut rates = Vec::new();
    for (contender, runs) in [("polywire", ours), ("bare copy", bare)] {
        let mut of =
            |what, which: usize| add(figures, scenario, contender, what, runs.iter().map(|run| run[which]));
        rates.push(of("MiB a second", 0));
        of("CPU us a buffer, both ends", 1);
    }
    bars.push(Bar::at_least(scenario, "share of a bare copy", rates[0] / rates[1], 0.7));
    Ok(())
}

/// The MiB a second of one copy, and microseconds of processor time for each buffer.
async fn copied(copy: impl AsyncFnOnce() -> Result<Duration, String>) -> Result<[f64; 2], String> {
    let nanos = || own_nanos().map_err(|error| error.to_string());
    let before = nanos()?;
    let elapsed = copy().await?;
    let cpu = (nanos()? - before) as f64 / 1e3 / BUFFERS as f64;
    let mebibytes = (BUFFER as u64 * BUFFERS) as f64 / f64::from(1 << 20);
    Ok([mebibytes / elapsed.as_secs_f64(), cpu])
}

async fn typed_buffers_ours() -> Result<Duration, String> {
    let (seen, done) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let sink = Sink { seen, done: Arc::clone(&done), until: BUFFERS };
    let server = listen(&polywire_sockhop::ADAPTER, Endpoint::new("sockhop", sink)).await?;
    let mut target = Target { address: server.address().to_owned(), ..Target::default() };
    target.options.set("mode", "binary");
    let client = polywire_sockhop::ADAPTER
        .dial(target, Endpoint::new("sockhop", Echo))
        .await
        .map_err(|error| error.to_string())?;
    client.ready().await.map_err(|failure| failure.to_string())?;
    let bytes = Bytes::from(vec![7_u8; BUFFER]);
    let route = Route::from_static("Frame");
    let start = Instant::now();
    for _ in 0..BUFFERS {
        let event = Event::new(route.clone(), Body::binary("Frame", bytes.clone()));
        client.caller().notify(event).await.map_err(|error| error.to_string())?;
    }
    done.notified().await;
    let elapsed = start.elapsed();
    client.shutdown().await;
    server.shutdown().await;
    Ok(elapsed)
}

async fn typed_buffers_bare() -> io::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let total = BUFFER as u64 * BUFFERS;
    let sink = tokio::spawn(bare::sockhop::sink(listener, BUFFER, total));
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let bytes = vec![7_u8; BUFFER];
    let start = Instant::now();
    for _ in 0..BUFFERS {
        stream.write_all(&bytes).await?;
    }
    sink.await.map_err(io::Error::other)??;
    Ok(start.elapsed())
}

/// Decode to handler to encoded answer, without a socket. Nothing waits there, so its time is processor time.
///
/// # Errors
/// When the system does not account processor time.
pub(crate) async fn in_process(
    runs: usize,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let calls = 400_000;
    let once = async || {
        let text = |error: io::Error| format!("in-process: {error}");
        let before = own_nanos().map_err(text)?;
        crate::in_process::run(black_box(calls));
        let after = own_nanos().map_err(text)?;
        Ok::<_, String>((after - before) as f64 / 1e3 / f64::from(calls))
    };
    let mut times = Vec::new();
    for _ in 0..runs {
        times.push(once().await?);
    }
    repeat_strays(&mut times, |time| [*time], once).await?;
    let scenario = "in-process";
    let time = add(figures, scenario, "polywire", "CPU us a call", times);
    bars.push(Bar::at_most(scenario, "decode to handler to encoded answer, us", time, 0.45));
    Ok(())
}
