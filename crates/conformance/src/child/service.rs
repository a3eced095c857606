//! The little service that both ends of every case serve. `CONTROL.md` has it as a table.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{Body, Code, Failure, GAP, Handler, HandlerFuture, Incoming, JsonText, Kind, Response};
use serde::Deserialize;
use tokio::sync::Notify;

/// Events kept until somebody looks, and the bytes of their bodies.
const MAX_HEARD: usize = 10_000;
const MAX_HEARD_BYTES: usize = 16 << 20;
/// Keys of `sleep` that are counted, and the bytes of one.
const MAX_KEYS: usize = 1_000;
const MAX_KEY_BYTES: usize = 200;
/// Longest `sleep`.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The service, what it heard and what it ran.
pub(super) struct Service {
    /// The name of events here. A wire that cannot tell an event from a request brings them as requests.
    event: String,
    heard: Mutex<Heard>,
    came: Notify,
    ran: Mutex<BTreeMap<String, u64>>,
}

#[derive(Default)]
struct Heard {
    events: Vec<(String, Body)>,
    bytes: usize,
}

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
    #[serde(default)]
    key: String,
}

#[derive(Deserialize)]
struct Fail {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Ran {
    key: String,
}

impl Service {
    pub(super) fn new(event: String) -> Self {
        Self { event, heard: Mutex::default(), came: Notify::new(), ran: Mutex::default() }
    }

    /// The events heard since the last look, once there are `count` or the time is over.
    pub(super) async fn heard(&self, count: usize, limit: Duration) -> Vec<(String, Body)> {
        let enough = async {
            loop {
                let came = self.came.notified();
                if self.heard.lock().unwrap_or_else(PoisonError::into_inner).events.len() >= count {
                    return;
                }
                came.await;
            }
        };
        // Too few is for whoever looks to judge.
        let _ = tokio::time::timeout(limit, enough).await;
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner)).events
    }

    /// How often `sleep` was begun with this key.
    pub(super) fn ran(&self, key: &str) -> u64 {
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(0)
    }

    fn begin(&self, key: String) {
        let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
        if key.len() <= MAX_KEY_BYTES && (ran.len() < MAX_KEYS || ran.contains_key(&key)) {
            *ran.entry(key).or_default() += 1;
        }
    }

    fn hear(&self, incoming: Incoming) {
        if incoming.route == GAP {
            return;
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = heard.bytes.saturating_add(incoming.body.len());
        if heard.events.len() < MAX_HEARD && bytes <= MAX_HEARD_BYTES {
            heard.bytes = bytes;
            heard.events.push((incoming.route.as_str().to_owned(), incoming.body));
        }
        drop(heard);
        // One looks at a time; a permit is kept when nobody does yet.
        self.came.notify_one();
    }

    fn serve(&self, incoming: Incoming) -> Result<(Response, Duration), Failure> {
        let now = |body: Body| Ok((Response::from(body), Duration::ZERO));
        match &*incoming.route {
            "echo" => now(incoming.body),
            "fail" => {
                let Fail { code, message } = read(&incoming.body)?;
                let code = Code::from_name(&code).unwrap_or(Code::Unknown);
                Err(Failure::new(code, message))
            }
            "sleep" => {
                let Sleep { ms, key } = read(&incoming.body)?;
                self.begin(key);
                Ok((Response::from(incoming.body), Duration::from_millis(ms).min(MAX_SLEEP)))
            }
            "ran" => {
                let Ran { key } = read(&incoming.body)?;
                let text = format!("{{\"ran\":{}}}", self.ran(&key));
                now(Body::Json(JsonText::from_validated(text.into())))
            }
            route if route == self.event => {
                self.hear(incoming);
                now(Body::Empty)
            }
            _ => Err(Failure::unrouted(incoming.kind, &incoming.route)),
        }
    }
}

fn read<T: for<'a> Deserialize<'a>>(body: &Body) -> Result<T, Failure> {
    let Body::Json(text) = body else {
        return Err(Failure::new(Code::InvalidArgument, "this takes an object"));
    };
    text.parse().map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()))
}

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event {
            self.hear(incoming);
            return Box::pin(async { Ok(Response::default()) });
        }
        let served = self.serve(incoming);
        Box::pin(async move {
            let (response, pause) = served?;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Ok(response)
        })
    }
}
