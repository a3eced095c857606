//! What layers log. These tests have a process of their own, in which every thread that comes to an event has a subscriber: `tracing` asks
//! the thread that comes to it first whether anybody wants it, for all of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "toy/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests need one connection and nothing else of it")]
mod toy;

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use polywire_core::layer::{CatchPanic, Trace};
use polywire_core::{
    Alarm, Body, Clock, Code, Failure, Handler, HandlerFuture, Incoming, IntoHandler, Memory, Moment, Peer,
    Route, Surroundings, TokioClock,
};
use tower_layer::Layer;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

/// A subscriber that keeps every event as one line of text: level, current span with its fields, fields.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    spans: HashMap<u64, String>,
    entered: Vec<u64>,
    lines: Vec<String>,
}

impl Recorder {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        write!(self.0, "{space}{}={value:?}", field.name()).unwrap();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        let mut records = self.0.lock().unwrap();
        let id = records.spans.len() as u64 + 1;
        records.spans.insert(id, format!("{}{{{}}}", attributes.metadata().name(), fields.0));
        span::Id::from_u64(id)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let mut records = self.0.lock().unwrap();
        let id = event.parent().map(span::Id::into_u64).or(records.entered.last().copied());
        let span = id.and_then(|id| records.spans.get(&id).cloned()).unwrap_or_default();
        let line = format!("{} {span} {}", event.metadata().level(), fields.0);
        records.lines.push(line);
    }

    fn enter(&self, span: &span::Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, _span: &span::Id) {
        self.0.lock().unwrap().entered.pop();
    }
}

const ROUTE: Route = Route::from_static("a\nb");

async fn work(body: Body) -> Result<Body, Failure> {
    tokio::time::sleep(Duration::from_millis(30)).await;
    if body.is_empty() { Err(Failure::new(Code::NotFound, "secret message")) } else { Ok(body) }
}

#[tokio::test(start_paused = true)]
async fn b15_each_end_is_told_once_and_no_body_or_message_is() {
    let recorder = Recorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let handler = Trace::new(&Surroundings::seeded(1)).layer(IntoHandler::into_handler(work, &()));
    let secret = Body::json("secret body").unwrap();
    assert!(handler.call(Incoming::request(ROUTE, secret, Peer::in_memory())).await.is_ok());
    assert!(handler.call(Incoming::event(ROUTE, Body::Empty, Peer::in_memory())).await.is_err());
    drop(handler.call(Incoming::request(ROUTE, Body::Empty, Peer::in_memory())));
    drop(guard);
    assert_eq!(
        recorder.lines(),
        [
            r"DEBUG call{route=a\nb kind=request wire=memory peer=0} message=call ended outcome=ok elapsed=30ms",
            r"DEBUG call{route=a\nb kind=event wire=memory peer=0} message=call ended outcome=not_found elapsed=30ms",
            r"DEBUG call{route=a\nb kind=request wire=memory peer=0} message=call ended outcome=dropped elapsed=0ns",
        ]
    );
}

/// Tokio's clock and the seconds that handlers have spent without giving their thread back.
#[derive(Debug, Default)]
struct Spent(AtomicU64);

impl Clock for Spent {
    fn now(&self) -> Moment {
        TokioClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        TokioClock.wall()
    }

    fn alarm(&self) -> Box<dyn Alarm> {
        TokioClock.alarm()
    }
}

#[tokio::test(start_paused = true)]
async fn c16_a_handler_that_holds_its_thread_is_warned_of_once_in_a_while() {
    let clock = Arc::new(Spent::default());
    let mut surroundings = Surroundings::seeded(1);
    surroundings.clock = Arc::clone(&clock) as _;
    let recorder = Recorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let busy = move |body: Body| {
        let clock = Arc::clone(&clock);
        async move {
            let seconds = if body.is_empty() { 1 } else { 3 };
            clock.0.fetch_add(seconds, Ordering::Relaxed);
            // Waiting is not holding.
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok::<_, Failure>(body)
        }
    };
    let handler = Trace::new(&surroundings).layer(IntoHandler::into_handler(busy, &()));
    let warned = || recorder.lines().iter().filter(|line| line.starts_with("WARN")).count();
    let call = |body| handler.call(Incoming::request(ROUTE, body, Peer::in_memory()));
    call(Body::Empty).await.unwrap();
    assert_eq!(warned(), 0, "one second is not too long");
    call(Body::null()).await.unwrap();
    call(Body::null()).await.unwrap();
    assert_eq!(warned(), 1, "{:?}", recorder.lines());
    assert!(recorder.lines().iter().any(|line| line.contains("held=3s")), "{:?}", recorder.lines());
    call(Body::null()).await.unwrap();
    call(Body::null()).await.unwrap();
    drop(guard);
    assert_eq!(warned(), 2, "{:?}", recorder.lines());
}

fn boom() -> Incoming {
    Incoming::request(Route::from_static("boom"), Body::Empty, Peer::in_memory())
}

struct PanicsInCall;

impl Handler for PanicsInCall {
    fn call(&self, _incoming: Incoming) -> HandlerFuture {
        panic!("secret 1")
    }
}

async fn panics_later() {
    tokio::task::yield_now().await;
    panic!("{}", format!("secret {}", 2));
}

#[tokio::test]
async fn c15_a_panic_becomes_an_internal_failure_and_only_the_log_knows_more() {
    let opaque = Failure::new(Code::Internal, "the handler panicked");
    let recorder = Recorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    assert_eq!(CatchPanic.layer(PanicsInCall).call(boom()).await, Err(opaque.clone()));
    let handler = CatchPanic::new().layer(IntoHandler::into_handler(panics_later, &()));
    assert_eq!(handler.call(boom()).await, Err(opaque.clone()));
    assert_eq!(handler.call(boom()).await, Err(opaque), "it serves on");
    drop(guard);
    let lines = recorder.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("panic=secret 1")).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("panic=secret 2")).count(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("route=boom") && line.contains("wire=memory")));
}

#[tokio::test(start_paused = true)]
async fn c20_each_step_against_too_much_memory_is_told_as_it_begins_and_as_it_ends() {
    const UNIT: usize = 64 << 10;
    let recorder = Recorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let mut setup = toy::Setup::new();
    setup.endpoint.surroundings.memory = Arc::new(Memory::new(100 * UNIT));
    setup.limits.max_queue_bytes = 1 << 30;
    setup.pipe = 4_096;
    let rig = setup.start();
    let large = polywire_core::Event::new(
        Route::from_static("e"),
        toy::json(&format!("\"{}\"", "x".repeat(UNIT - 2))),
    );
    // Until this one, which keeps all of it, is closed.
    while rig.caller().notify(large.clone()).await.is_ok() {
        toy::settle().await;
    }
    rig.ended().await;
    drop(guard);
    let lines = recorder.lines();
    let steps: Vec<_> = lines.iter().filter(|line| line.contains("max_memory_bytes = 6553600")).collect();
    let told = |line: &String| line.split_whitespace().next().map(str::to_owned);
    let levels: Vec<_> =
        steps.iter().filter_map(|line| told(line)).filter(|level| level != "DEBUG").collect();
    assert_eq!(levels, ["WARN", "WARN", "WARN", "WARN", "INFO", "INFO", "INFO", "INFO"], "{steps:#?}");
    let first = "4587520 bytes that all connections keep reach 70 % of max_memory_bytes = 6553600: events for slow peers are dropped";
    assert!(steps[0].contains(first), "{steps:#?}");
    let last =
        "are below 65 % of max_memory_bytes = 6553600; this is over: events for slow peers are dropped";
    assert!(steps.last().unwrap().contains(last), "{steps:#?}");
}
