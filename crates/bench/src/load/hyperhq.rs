//! Plugins that ask for data, many at a time, or hear what a host tells them all.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::stream::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Counted, Seen, sockhop};

/// Plugins that a host under measurement knows.
pub(crate) const MEMBERS: usize = 500;
/// Messages of one broadcast round.
const PORTION: u64 = 50;
/// A round that takes longer has lost a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// The id of plugin `number`.
pub(crate) fn plugin(number: usize) -> String {
    format!("plugin-{number}")
}

/// What plugin `number` shows to log in.
pub(crate) fn challenge(number: usize) -> String {
    format!("challenge-{number}")
}

/// One plugin after its login.
struct Plugin {
    socket: WebSocketStream<Counted>,
}

impl Plugin {
    async fn log_in(address: SocketAddr, number: usize, event: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://localhost:{}/socket.io/?EIO=4&transport=websocket", address.port());
        let (socket, _) =
            tokio_tungstenite::client_async(url, Counted::new(stream)).await.map_err(io::Error::other)?;
        let mut this = Self { socket };
        this.until("0{").await?;
        this.say("40").await?;
        this.until("40").await?;
        let (id, shown) = (plugin(number), challenge(number));
        this.say(&format!(r#"42["authenticate",{{"pluginId":"{id}","challenge":"{shown}"}}]"#)).await?;
        this.until(r#"42["authenticated","#).await?;
        if let Some(event) = event {
            this.say(&format!(r#"42["subscribeEvents",["{event}"]]"#)).await?;
            this.until(r#"42["eventsSubscribed""#).await?;
        }
        Ok(this)
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.feed(text)?;
        self.flush().await
    }

    fn feed(&mut self, text: &str) -> io::Result<()> {
        use futures_util::Sink;
        std::pin::Pin::new(&mut self.socket)
            .start_send(Message::text(text.to_owned()))
            .map_err(io::Error::other)
    }

    async fn flush(&mut self) -> io::Result<()> {
        use futures_util::SinkExt;
        self.socket.flush().await.map_err(io::Error::other)
    }

    /// The next message of Socket.IO; pings are answered.
    async fn hear(&mut self) -> io::Result<Utf8Bytes> {
        loop {
            let message = self.socket.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
            match message.map_err(io::Error::other)? {
                Message::Text(text) if text.as_str() == "2" => self.say("3").await?,
                Message::Text(text) => return Ok(text),
                _ => {}
            }
        }
    }

    async fn until(&mut self, beginning: &str) -> io::Result<()> {
        while !self.hear().await?.starts_with(beginning) {}
        Ok(())
    }
}

/// Asks for data `calls` times on each of `plugins` connections, `in_flight` at a time; an answer is whole when both of its
/// events have come.
///
/// # Errors
/// When the host cannot be reached or closes.
pub(crate) async fn data(
    address: SocketAddr,
    plugins: usize,
    in_flight: u64,
    calls: u64,
) -> io::Result<Seen> {
    let mut ready = Vec::new();
    for number in 0..plugins {
        ready.push(Plugin::log_in(address, number, None).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = ready.into_iter().map(|plugin| tokio::spawn(ask(plugin, in_flight, calls))).collect();
    let mut reads = 0;
    for task in tasks {
        reads += task.await.map_err(io::Error::other)??;
    }
    Ok(Seen { calls: calls * plugins as u64, reads, elapsed: start.elapsed() })
}

/// Says how many reads the answers took.
async fn ask(mut plugin: Plugin, in_flight: u64, calls: u64) -> io::Result<u64> {
    let before = plugin.socket.get_ref().reads();
    let body = sockhop::body(100);
    let (mut sent, mut heard) = (0, 0);
    while heard < 2 * calls {
        while sent < calls && 2 * sent < heard + 2 * in_flight {
            plugin.feed(&format!(
                r#"42["requestData",{{"requestId":"r{sent}","method":"getSystems","params":{body}}}]"#
            ))?;
            sent += 1;
        }
        plugin.flush().await?;
        // As many as are there already, one at least.
        for _ in 0..in_flight.min(2 * calls - heard) {
            let text = plugin.hear().await?;
            let right =
                text.starts_with(r#"42["dataResponse","#) || text.starts_with(r#"42["data_response","#);
            if !right || !text.contains("true") {
                return Err(io::Error::other(format!("the host said {text}")));
            }
            heard += 1;
        }
    }
    Ok(plugin.socket.get_ref().reads() - before)
}

/// Has the host tell `count` events to each of `members` plugins, in portions that every queue on the way holds; what is counted is
/// deliveries.
///
/// # Errors
/// When the host cannot be reached or closes, or an event does not come.
pub(crate) async fn broadcast(address: SocketAddr, members: usize, count: u64) -> io::Result<Seen> {
    let mut joined = Vec::new();
    for number in 0..members {
        joined.push(Plugin::log_in(address, number, Some("announcement")).await?);
    }
    let asked = format!(
        r#"42["requestData",{{"requestId":"a","method":"announce","params":{{"count":{PORTION},"body":{}}}}}]"#,
        sockhop::body(100)
    );
    let portions = count.div_ceil(PORTION);
    let reads =
        |members: &[Plugin]| members.iter().map(|member| member.socket.get_ref().reads()).sum::<u64>();
    let before = reads(&joined);
    let start = Instant::now();
    for _ in 0..portions {
        if let Some(first) = joined.first_mut() {
            first.say(&asked).await?;
        }
        let tasks: Vec<_> = joined.drain(..).map(|member| tokio::spawn(hear_portion(member))).collect();
        for task in tasks {
            joined.push(tokio::time::timeout(PATIENCE, task).await?.map_err(io::Error::other)??);
        }
    }
    let calls = portions * PORTION * members as u64;
    Ok(Seen { calls, reads: reads(&joined) - before, elapsed: start.elapsed() })
}

async fn hear_portion(mut member: Plugin) -> io::Result<Plugin> {
    let mut heard = 0;
    while heard < PORTION {
        heard += u64::from(member.hear().await?.starts_with(r#"42["hyperHqEvent","#));
    }
    Ok(member)
}
