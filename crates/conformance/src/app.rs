//! The program behind both ends: it notes everything that reaches it, and answers by the first word of the route.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use polywire_core::{
    Answer, Body, Code, Failure, Handler, HandlerFuture, Incoming, Kind, Response, Route, Router,
};
use tokio::sync::watch;

use crate::case::{Broken, within};

/// One message that reached a handler.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) kind: Kind,
    pub(crate) route: Route,
    pub(crate) body: Body,
}

/// What an app has been through.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) heard: Vec<Heard>,
    /// The turn of each message, among those that either end has heard.
    turns: Vec<usize>,
    /// Handlers that are running, and the most that ever were.
    pub(crate) running: usize,
    pub(crate) peak: usize,
}

/// What handlers that hold wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Held,
    Nudged,
    Released,
}

/// A handler; a clone is the same program.
///
/// | route begins with | answer |
/// |---|---|
/// | `echo` | the body |
/// | `hold` | the body, once [`App::release`] was called |
/// | `work` | the same, after a sign of progress once [`App::nudge`] was called |
/// | `hang` | none |
/// | `empty` | nothing |
/// | `null` | `null` |
/// | `fail.CODE` | that failure |
/// | `panic`, `stumble` | none: it panics at once, or when it goes on |
/// | `unserved` | that of a router without any route |
#[derive(Clone, Debug)]
pub(crate) struct App {
    log: Arc<watch::Sender<Log>>,
    stage: Arc<watch::Sender<Stage>>,
    /// Counts what both ends hear.
    turns: Arc<AtomicUsize>,
}

/// The words of a failure.
pub(crate) const NO: &str = "not you";

impl App {
    /// A program whose messages are counted together with those of the other end.
    pub(crate) fn new(turns: &Arc<AtomicUsize>) -> Self {
        Self { log: Arc::default(), stage: Arc::default(), turns: Arc::clone(turns) }
    }

    /// Whoever works gives a sign of it.
    pub(crate) fn nudge(&self) {
        self.stage.send_replace(Stage::Nudged);
    }

    /// Whoever holds may answer.
    pub(crate) fn release(&self) {
        self.stage.send_replace(Stage::Released);
    }

    /// What was heard so far, the suite's own messages aside.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.log.borrow().heard.clone()
    }

    /// The turn of the message of this number here, among those that both ends have heard.
    pub(crate) fn turn(&self, number: usize) -> Option<usize> {
        self.log.borrow().turns.get(number).copied()
    }

    /// How often this route was heard.
    pub(crate) fn times(&self, route: &str) -> usize {
        self.log.borrow().heard.iter().filter(|heard| *heard.route == *route).count()
    }

    /// The most handlers that ever ran at once.
    pub(crate) fn peak(&self) -> usize {
        self.log.borrow().peak
    }

    /// Waits until the log is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl FnMut(&Log) -> bool) -> Result<(), Broken> {
        let mut log = self.log.subscribe();
        // The sender lives as long as this app.
        within(what, log.wait_for(wanted)).await.map(|_| ())
    }

    /// Waits until so many messages have come, and gives them.
    pub(crate) async fn hear(&self, count: usize) -> Result<Vec<Heard>, Broken> {
        self.until(&format!("{count} messages at a handler"), |log| log.heard.len() >= count).await?;
        Ok(self.heard())
    }
}

/// A handler is running; tells the log when it is not any more.
struct Running(Arc<watch::Sender<Log>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|log| log.running -= 1);
    }
}

impl Handler for App {
    /// # Panics
    /// On purpose, when asked to.
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let Incoming { kind, route, body, .. } = incoming.clone();
        let verb = route.split('.').next().unwrap_or_default().to_owned();
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        self.log.send_modify(|log| {
            log.turns.push(turn);
            log.heard.push(Heard { kind, route: route.clone(), body: body.clone() });
            log.running += 1;
            log.peak = log.peak.max(log.running);
        });
        let running = Running(Arc::clone(&self.log));
        assert!(verb != "panic", "on purpose");
        let mut stage = self.stage.subscribe();
        Box::pin(async move {
            let answer: Answer = match &*verb {
                "hold" | "work" => {
                    // The sender lives as long as the app, and this is a part of it.
                    if verb == "work" && stage.wait_for(|stage| *stage >= Stage::Nudged).await.is_ok() {
                        incoming.progress(body.clone());
                    }
                    let _ = stage.wait_for(|stage| *stage == Stage::Released).await;
                    Ok(Response::from(body))
                }
                "hang" => std::future::pending().await,
                "stumble" => {
                    tokio::task::yield_now().await;
                    panic!("on purpose, later")
                }
                "empty" => Ok(Response::default()),
                "null" => Ok(Response::from(Body::null())),
                "unserved" => match Router::new().build() {
                    Ok(nobody) => nobody.call(incoming).await,
                    Err(error) => Err(Failure::new(Code::Internal, error.to_string())),
                },
                "fail" => {
                    let code = route.split('.').nth(1).and_then(Code::from_name).unwrap_or(Code::Unknown);
                    Err(Failure::new(code, NO))
                }
                _ => Ok(Response::from(body)),
            };
            drop(running);
            answer
        })
    }
}
