//! The settings of a client, with their ranges.

use std::time::Duration;

use polywire_core::LimitError;

use crate::packet::MAIN;

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The namespace to join; default `/`.
    pub namespace: String,
    /// The path that the server answers under; default `/socket.io/`. A missing slash at the end is added.
    pub path: String,
    /// What carries the connection; default [`Transports::WebSocket`].
    pub transports: Transports,
    /// Further parts of the query, such as `room=7&lang=en`, already in percent form; default none.
    pub query: String,
    /// How the arguments of a message become one body; default [`Arguments::One`].
    pub arguments: Arguments,
    /// A request that nothing here handles is answered with a failure; default false, as the originals: they do not answer.
    pub answer_unrouted: bool,
    /// An answer `{"error":…}` is a failure; default true.
    pub errors_in_reply: bool,
    /// Dial again when the server has sent this side away; default false, as the originals.
    pub redial_when_dismissed: bool,
    /// While the server keeps what is missed for a recovery, hand handlers the offset that ends each event's arguments;
    /// default false.
    pub keep_offset: bool,
    /// Most attachments of one message that comes; default 10, 1 to 1 000.
    pub max_attachments: usize,
    /// Most events that may come before the namespace is granted; default 256. A server that recovers a session sends what was
    /// missed there: of more the connection ends, and the next one begins a new session, with a gap.
    pub max_early_events: usize,
    /// Longest time for the attachments of one message to come; default 10 s.
    pub attachment_timeout: Duration,
    /// Shortest ping interval and ping timeout that a server may announce; default 1 s. The longest is 5 min.
    pub min_heartbeat: Duration,
    /// Most pings of the server in one second; default 100.
    pub max_pings: u32,
    /// With [`Transports::WebSocketFirst`]: longest time for the WebSocket to open before polling is tried; default 4 s.
    #[cfg(feature = "polling")]
    pub websocket_timeout: Duration,
    /// Longest time for the upgrade from polling to a WebSocket; default 10 s, which is what engine.io waits too.
    #[cfg(feature = "polling")]
    pub upgrade_timeout: Duration,
    /// Largest body of one answer while polling, which holds any number of messages, bytes as base64; default 32 MiB, 1 KiB to
    /// 1 GiB.
    #[cfg(feature = "polling")]
    pub max_poll_bytes: usize,
}

/// What carries the connection.
///
/// While polling is possible, bytes count towards the server's `maxPayload` as the base64 that they would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transports {
    /// A WebSocket from the first byte on. Needs one request less than everything else, and no sticky load balancer.
    #[default]
    WebSocket,
    /// A WebSocket; HTTP long-polling where the server is there, but no WebSocket opens. Every connect tries the WebSocket first.
    #[cfg(feature = "polling")]
    WebSocketFirst,
    /// HTTP long-polling, and a WebSocket takes over when the server offers one and it can be opened: what the originals do. If it
    /// cannot, polling goes on.
    #[cfg(feature = "polling")]
    PollingFirst,
    /// HTTP long-polling.
    #[cfg(feature = "polling")]
    Polling,
}

impl Transports {
    /// Every choice by its name: what the originals call the same list.
    #[cfg(feature = "polling")]
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("websocket", Self::WebSocket),
        ("websocket,polling", Self::WebSocketFirst),
        ("polling,websocket", Self::PollingFirst),
        ("polling", Self::Polling),
    ];
    /// Every choice by its name.
    #[cfg(not(feature = "polling"))]
    pub(crate) const NAMES: [(&'static str, Self); 1] = [("websocket", Self::WebSocket)];

    /// How many bytes an attachment may come to on its way.
    pub(crate) fn attachment_bytes(self, bytes: usize) -> usize {
        match self {
            Self::WebSocket => bytes,
            #[cfg(feature = "polling")]
            Self::WebSocketFirst | Self::PollingFirst | Self::Polling => {
                bytes.div_ceil(3).saturating_mul(4).saturating_add(1)
            }
        }
    }
}

/// How the arguments of a message become one body, and a body arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arguments {
    /// One argument is the body, none is an empty one. Several are a JSON array, and the fact
    /// [`SEVERAL`](crate::SEVERAL) says so.
    #[default]
    One,
    /// Every body is the JSON array of all arguments, whatever their number: what a bridge between two Socket.IO peers needs so
    /// that nothing is lost.
    List,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: MAIN.to_owned(),
            path: "/socket.io/".to_owned(),
            transports: Transports::WebSocket,
            query: String::new(),
            arguments: Arguments::One,
            answer_unrouted: false,
            errors_in_reply: true,
            redial_when_dismissed: false,
            keep_offset: false,
            max_attachments: 10,
            max_early_events: 256,
            attachment_timeout: Duration::from_secs(10),
            min_heartbeat: Duration::from_secs(1),
            max_pings: 100,
            #[cfg(feature = "polling")]
            websocket_timeout: Duration::from_secs(4),
            #[cfg(feature = "polling")]
            upgrade_timeout: Duration::from_secs(10),
            #[cfg(feature = "polling")]
            max_poll_bytes: 32 << 20,
        }
    }
}

/// The longest ping interval and ping timeout that are taken.
pub(crate) const MAX_HEARTBEAT: Duration = Duration::from_secs(300);

impl Config {
    /// The defaults in this namespace.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..Self::default() }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the setting.
    pub fn validate(&self) -> Result<(), LimitError> {
        let refuse = |setting, value: &dyn std::fmt::Display, rule| {
            Err(LimitError { setting, value: value.to_string(), rule })
        };
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.namespace.starts_with('/')
            || self.namespace.len() > 256
            || self.namespace.contains(|c: char| c == ',' || c.is_control())
        {
            let rule = "a name of at most 256 bytes that begins with / and has no comma in it";
            return refuse("namespace", &self.namespace, rule);
        }
        if !self.path.starts_with('/') || self.path.contains(['?', '#']) || !visible(&self.path) {
            return refuse("path", &self.path, "a path that begins with / and needs no percent form");
        }
        if !visible(&self.query) || self.query.contains('#') {
            return refuse("query", &self.query, "a query in percent form");
        }
        if !(1..=1_000).contains(&self.max_attachments) {
            return refuse("max_attachments", &self.max_attachments, "1 to 1000");
        }
        if self.max_early_events > 65_536 {
            return refuse("max_early_events", &self.max_early_events, "0 to 65536");
        }
        let (least, most) = (Duration::from_millis(1), MAX_HEARTBEAT);
        for (setting, value) in [
            ("attachment_timeout", self.attachment_timeout),
            ("min_heartbeat", self.min_heartbeat),
            #[cfg(feature = "polling")]
            ("websocket_timeout", self.websocket_timeout),
            #[cfg(feature = "polling")]
            ("upgrade_timeout", self.upgrade_timeout),
        ] {
            if !(least..=most).contains(&value) {
                return refuse(setting, &format_args!("{value:?}"), "1 ms to 5 min");
            }
        }
        if self.max_pings == 0 {
            return refuse("max_pings", &self.max_pings, "at least 1");
        }
        #[cfg(feature = "polling")]
        if !(1 << 10..=1 << 30).contains(&self.max_poll_bytes) {
            return refuse("max_poll_bytes", &self.max_poll_bytes, "1 KiB to 1 GiB");
        }
        Ok(())
    }

    /// The path with its slash: Node.js does not answer under one without (observed).
    pub(crate) fn path_with_slash(&self) -> String {
        let slash = if self.path.ends_with('/') { "" } else { "/" };
        format!("{}{slash}", self.path)
    }
}
