//! The suite can fail: the in-memory adapter with one flaw at a time, and the guarantee that finds it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use polywire_conformance::{Direction, Finding, Memory, Setup, Verdict, guarantees, show};
use polywire_core::{
    Adapter, AdapterError, Authenticate, BinaryForm, Body, BoxFuture, Capabilities, Client, Count,
    Credentials, Endpoint, GAP, Handler, HandlerFuture, Identity, Incoming, Kind, Limits, OptionSpec,
    Options, Response, Route, Secret, Server, Target,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Every handler runs twice.
    Twice,
    /// Every third answer is that of another call.
    Swapped,
    /// Numbers go through a float.
    Rounded,
    /// Every other event waits a while.
    Late,
    /// A gap is told as something else.
    Unnamed,
    /// Nobody is asked who they are.
    Open,
    /// Every login is logged.
    Talkative,
    /// The limits of the endpoint are not looked at.
    Boundless,
    /// A frame too many is counted.
    Miscounted,
    /// Bytes are carried and not declared.
    Undeclared,
    /// Events of the listening side are carried and not declared.
    Pushing,
}

#[derive(Clone, Debug)]
struct Flawed(Memory, Flaw);

impl Setup for Flawed {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(self.clone())
    }

    fn listen(&self, secret: &Secret) -> Target {
        Setup::listen(&self.0, secret)
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        if self.1 == Flaw::Talkative {
            let text = String::from_utf8_lossy(secret.expose()).into_owned();
            tracing::trace!("logs in with {text}");
        }
        Setup::dial(&self.0, address, secret)
    }

    fn authenticator(&self, secret: &Secret) -> Arc<dyn Authenticate> {
        match self.1 {
            Flaw::Open => Arc::new(|_: Credentials| async { Ok(Identity::user("anybody")) }),
            _ => self.0.authenticator(secret),
        }
    }

    fn join<'a>(
        &'a self,
        address: &'a str,
    ) -> BoxFuture<'a, std::io::Result<Box<dyn polywire_conformance::Joint>>> {
        self.0.join(address)
    }
}

impl Adapter for Flawed {
    fn name(&self) -> &'static str {
        "flawed"
    }

    fn about(&self) -> &'static str {
        "memory with a flaw"
    }

    fn options(&self) -> &'static [OptionSpec] {
        self.0.options()
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        let sound = self.0.capabilities(options)?;
        Ok(match self.1 {
            Flaw::Undeclared => Capabilities { binary: BinaryForm::None, ..sound },
            Flaw::Pushing => Capabilities { push: false, ..sound },
            _ => sound,
        })
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Adapter::listen(&self.0, target, self.flawed(endpoint))
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Adapter::dial(&self.0, target, self.flawed(endpoint))
    }
}

impl Flawed {
    fn flawed(&self, mut endpoint: Endpoint) -> Endpoint {
        match self.1 {
            Flaw::Boundless => endpoint.limits = Arc::new(Limits::default()),
            Flaw::Miscounted => endpoint.ledger.add(Count::FramesReceived, 1),
            flaw => {
                let inner = endpoint.handler;
                endpoint.handler = Arc::new(Wrong { flaw, inner, calls: AtomicUsize::new(0) });
            }
        }
        endpoint
    }
}

struct Wrong {
    flaw: Flaw,
    inner: Arc<dyn Handler>,
    calls: AtomicUsize,
}

impl Handler for Wrong {
    fn call(&self, mut incoming: Incoming) -> HandlerFuture {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.flaw {
            Flaw::Twice => drop(self.inner.call(incoming.clone())),
            Flaw::Unnamed if incoming.route == GAP => incoming.route = Route::from_static("note"),
            Flaw::Late if incoming.kind == Kind::Event && number.is_multiple_of(2) => {
                let inner = Arc::clone(&self.inner);
                return Box::pin(async move {
                    tokio::task::yield_now().await;
                    inner.call(incoming).await
                });
            }
            Flaw::Rounded => {
                let Body::Json(text) = &incoming.body else { return self.inner.call(incoming) };
                let value: Result<serde_json::Value, _> = text.parse();
                incoming.body = value.map_or(Body::Empty, |value| Body::json(&value).unwrap());
            }
            _ => {}
        }
        let answer = self.inner.call(incoming);
        let swapped = self.flaw == Flaw::Swapped && number % 3 == 2;
        Box::pin(async move {
            let answer = answer.await?;
            Ok(if swapped { Response::from(Body::null()) } else { answer })
        })
    }
}

fn found(flaw: Flaw, guarantee: &str, direction: Direction) -> Finding {
    let guarantee = guarantees().iter().find(|known| known.name == guarantee).unwrap();
    show(&Flawed(Memory::default(), flaw), guarantee, direction)
}

#[test]
fn every_flaw_is_found_by_its_guarantee_and_told() {
    use Direction::{Forward, Swapped};
    for (flaw, guarantee, direction, words) in [
        (Flaw::Twice, "call::every_call_has_one_outcome", Forward, "another number of times: 2 instead of 1"),
        (Flaw::Twice, "reconnect::a_call_runs_at_most_once", Forward, "has run 2 times"),
        (Flaw::Swapped, "call::no_answer_reaches_another_call", Swapped, "has the answer of another call"),
        (Flaw::Rounded, "body::json_arrives_as_it_was_written", Forward, "changed"),
        (Flaw::Late, "event::events_arrive_once_and_in_order", Forward, "is another one"),
        (Flaw::Late, "order::messages_arrive_in_the_order_they_were_sent", Swapped, "is another one"),
        (Flaw::Unnamed, "reconnect::a_gap_is_told_and_events_go_on", Forward, "hears something else first"),
        (Flaw::Open, "login::nothing_is_heard_before_the_login", Forward, "the client is ready"),
        (Flaw::Talkative, "secret::no_secret_is_seen", Forward, "in the log, behind"),
        (Flaw::Talkative, "cancel::a_call_that_is_given_up_is_nobodys", Forward, "in the log, behind"),
        (Flaw::Boundless, "limit::handlers_at_once_are_bounded", Forward, "50 handlers have run at once"),
        (Flaw::Boundless, "limit::a_body_above_the_limit_is_refused_by_name", Swapped, "ends as answered"),
        (Flaw::Boundless, "queue::calls_owed_are_bounded", Forward, "20 calls are owed"),
        (
            Flaw::Miscounted,
            "event::events_arrive_once_and_in_order",
            Forward,
            "1 frames are not accounted for",
        ),
        (Flaw::Undeclared, "body::bytes_arrive_whole", Forward, "which the wire cannot carry, end as Ok"),
    ] {
        let finding = found(flaw, guarantee, direction);
        assert_eq!(finding.verdict, Verdict::Failed, "{flaw:?} is not found by {guarantee}");
        let why = finding.why.unwrap_or_default();
        assert!(why.contains(words), "{flaw:?}, {guarantee}: {why}");
    }
}

#[test]
fn what_is_declared_is_what_is_shown() {
    let finding = found(Flaw::Pushing, "event::events_arrive_once_and_in_order", Direction::Swapped);
    assert_eq!(finding.verdict, Verdict::Failed, "a wire that pushes and does not declare it is not found");
    // The others are as sound as before.
    let finding = found(Flaw::Pushing, "event::events_arrive_once_and_in_order", Direction::Forward);
    assert_eq!((finding.verdict, finding.why), (Verdict::Held, None));
}
