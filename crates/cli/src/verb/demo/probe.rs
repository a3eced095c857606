//! The work behind one row of the demo: the messages that go that way, and what is checked of them.

use std::time::Duration;

use polywire_core::{
    Audience, Body, CallError, Caller, Code, Event, Failure, Handler, HandlerFuture, Incoming, JsonLimits,
    JsonText, Kind, Request, Response, Route, Router,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::exit::{Exit, Fault};

use super::table::Row;

/// Longest wait for one answer or event.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Events that wait to be looked at.
const WAITING: usize = 64;
/// Events sent at once.
const BURST: u32 = 10;
/// What is checked of events.
const EVENTS: &str = "bursts of 10, all and in order";
/// JSON texts that a careless carrier changes: integers above 2^53, key order, spelling of numbers, escapes, white space.
const TEXTS: [&str; 4] = [
    r#"{"z":9007199254740993,"a":[1.0,1e2,-0.0],"n":null}"#,
    r#""añ \u00e9 🙂 \ud800""#,
    r#"[[],{},"",0,true,[[["deep"]]]]"#,
    r#"{"list":[18446744073709551615,0.1000],"empty":{"":""}}"#,
];

/// A row and the work behind it.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) row: Row,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Calls { caller: Caller, cases: Vec<Case> },
    Events { name: Route, source: Source, heard: mpsc::Receiver<Body> },
}

/// Who makes events come.
#[derive(Debug)]
enum Source {
    /// The service, which is asked for them.
    Asked(Caller),
    /// A server, which tells all its peers.
    Told(Audience),
}

/// What bodies are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON.
    Json,
    /// JSON, and bytes with the name of their type.
    Typed,
    /// JSON as the argument `value`, which the service at the other end takes by that name.
    ByName,
    /// The same towards a wire where arguments are an object like any other.
    Arguments,
}

/// One request and the only right answer to it.
#[derive(Debug)]
struct Case {
    route: Route,
    body: Body,
    /// The body, or any failure.
    expected: Option<Body>,
}

impl Probe {
    fn new(wire: &'static str, direction: &'static str, checked: &'static str, work: Work) -> Self {
        Self { row: Row::new(wire, direction, checked), work }
    }

    /// Calls whose bodies have to come back as they went, and one that has to fail.
    pub(super) fn calls(
        wire: &'static str,
        direction: &'static str,
        caller: Caller,
        form: Form,
    ) -> Result<Self, Fault> {
        let by_name = |text: &str| match form {
            Form::ByName | Form::Arguments => format!("{{\"value\":{text}}}"),
            Form::Json | Form::Typed => text.to_owned(),
        };
        let echo = Route::from_static("echo");
        let mut cases = Vec::new();
        for text in TEXTS {
            let body = json(by_name(text))?;
            let expected = if form == Form::ByName { json(text.to_owned())? } else { body.clone() };
            cases.push(Case { route: echo.clone(), body, expected: Some(expected) });
        }
        // What is no text, list or bytes cannot be reversed.
        let fail = json(by_name("1"))?;
        cases.push(Case { route: Route::from_static("reverse"), body: fail, expected: None });
        let mut checked = "JSON byte for byte, a failure";
        if form == Form::Typed {
            let bytes: Vec<u8> = (0..=u8::MAX).collect();
            let body = Body::binary("Pose", bytes);
            cases.push(Case { route: Route::from_static("Pose"), body: body.clone(), expected: Some(body) });
            checked = "JSON byte for byte, a failure, typed bytes";
        }
        Ok(Self::new(wire, direction, checked, Work::Calls { caller, cases }))
    }

    /// Events that the service is asked for and that have to come in order.
    pub(super) fn asked_events(
        wire: &'static str,
        direction: &'static str,
        name: Route,
        caller: Caller,
        heard: mpsc::Receiver<Body>,
    ) -> Self {
        let work = Work::Events { name, source: Source::Asked(caller), heard };
        Self::new(wire, direction, EVENTS, work)
    }

    /// Events that a server tells all its peers and that have to come in order.
    pub(super) fn told_events(
        wire: &'static str,
        direction: &'static str,
        name: Route,
        audience: Audience,
        heard: mpsc::Receiver<Body>,
    ) -> Self {
        let work = Work::Events { name, source: Source::Told(audience), heard };
        Self::new(wire, direction, EVENTS, work)
    }

    /// Makes so many calls, or has so many events sent.
    pub(super) async fn round(&mut self, count: u32) {
        let mut ends = Vec::new();
        match &mut self.work {
            Work::Calls { caller, cases } => {
                for case in cases.iter().cycle().take(count as usize) {
                    let start = Instant::now();
                    let request = Request::new(case.route.clone(), case.body.clone()).timeout(TIMEOUT);
                    let end = case.judge(caller.call(request).await);
                    ends.push((start.elapsed(), end));
                }
            }
            Work::Events { name, source, heard } => {
                for _ in 0..count.div_ceil(BURST) {
                    let start = Instant::now();
                    if let Err(wrong) = source.send(name, BURST).await {
                        ends.push((start.elapsed(), Err(wrong)));
                        break;
                    }
                    for n in 1..=BURST {
                        let end = listen(heard, n).await;
                        ends.push((start.elapsed(), end));
                    }
                }
            }
        }
        for (span, end) in ends {
            self.row.record(span, end);
        }
    }
}

impl Source {
    /// Has events `1` to `count` sent.
    async fn send(&self, name: &Route, count: u32) -> Result<(), String> {
        match self {
            Self::Asked(caller) => {
                let asked = serde_json::json!({"event": &**name, "count": count});
                let body = Body::json(&asked).map_err(|error| error.to_string())?;
                let request = Request::new(Route::from_static("emit"), body).timeout(TIMEOUT);
                let asked = caller.call(request).await;
                asked.map(drop).map_err(|error| format!("asking for events: {error}"))
            }
            Self::Told(audience) => {
                for n in 1..=count {
                    audience.broadcast(&Event::new(name.clone(), numbered(n)?));
                }
                Ok(())
            }
        }
    }
}

async fn listen(heard: &mut mpsc::Receiver<Body>, n: u32) -> Result<(), String> {
    let expected = numbered(n)?;
    match tokio::time::timeout(TIMEOUT, heard.recv()).await {
        Ok(Some(body)) if body == expected => Ok(()),
        Ok(Some(body)) => Err(format!("event {n} came as {}", show(&body))),
        _ => Err(format!("event {n} of {BURST} did not come within {TIMEOUT:?}")),
    }
}

impl Case {
    fn judge(&self, outcome: Result<Response, CallError>) -> Result<(), String> {
        match (&self.expected, outcome) {
            (Some(expected), Ok(response)) if response.body == *expected => Ok(()),
            (Some(expected), Ok(response)) => {
                Err(format!("{} came back as {}", show(expected), show(&response.body)))
            }
            (Some(expected), Err(error)) => Err(format!("{}: {error}", show(expected))),
            (None, Err(CallError::Failure(_))) => Ok(()),
            (None, Err(error)) => Err(format!("a failure came as something else: {error}")),
            (None, Ok(response)) => Err(format!("a failure came as an answer: {}", show(&response.body))),
        }
    }
}

fn json(text: String) -> Result<Body, Fault> {
    let text = JsonText::new(text, &JsonLimits::default());
    text.map(Body::from).map_err(|error| Fault::new(Exit::Bug, error))
}

/// The body of event number `n`, as the service makes it.
fn numbered(n: u32) -> Result<Body, String> {
    Body::json(&serde_json::json!({"n": n})).map_err(|error| error.to_string())
}

fn show(body: &Body) -> String {
    match body {
        Body::Empty => "no body".to_owned(),
        Body::Json(text) => text.as_str().chars().take(120).collect(),
        Body::Binary(binary) => format!("{binary:?}"),
    }
}

/// What serves a client of the demo: the service for calls back, and a channel for events.
#[derive(Clone, Debug)]
pub(super) struct Ears {
    calls: Router,
    name: Route,
    events: mpsc::Sender<Body>,
}

impl Ears {
    pub(super) fn new(calls: Router, name: Route) -> (Self, mpsc::Receiver<Body>) {
        let (events, heard) = mpsc::channel(WAITING);
        (Self { calls, name, events }, heard)
    }
}

impl Handler for Ears {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Request {
            return self.calls.call(incoming);
        }
        let (wanted, events) = (incoming.route == self.name, self.events.clone());
        Box::pin(async move {
            if wanted && events.send(incoming.body).await.is_err() {
                return Err(Failure::new(Code::Cancelled, "nobody listens any more"));
            }
            Ok(Response::default())
        })
    }
}
