//! One stage for one case: a program that was just launched, our end, and the relay between them.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Body, Event, Random, Route, SystemRandom};
use tokio::task::JoinHandle;

use super::control::{Carried, Mode, What, Word};
use super::ours::Ours;
use super::outcome::{Apart, Ended, told};
use super::program::{Command, LaunchError, Program};
use super::service::Service;
use super::step::By;
use super::wire::Wire;
use crate::relay::Relay;

/// How long the first connection and every other may take.
const DIAL: Duration = Duration::from_secs(10);
/// How long the first word of a client may take.
const MEETING: Duration = Duration::from_secs(3);
/// How long anything else may take that is not a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes kept of what passes in one case, for its trace.
const KEPT_BYTES: usize = 256 << 10;

/// The two ends, and the relay between them.
pub(super) struct Stage<'a> {
    pub(super) wire: Wire,
    pub(super) mode: Mode,
    pub(super) ours: Arc<Ours>,
    pub(super) program: &'a Program,
    pub(super) relay: Relay,
}

/// A call that goes on.
pub(super) enum Running {
    Ours(JoinHandle<Ended>),
    Program(u64, JoinHandle<Result<super::control::Said, String>>),
}

/// A secret for one launch: 256 bits as hexadecimal digits.
pub(super) fn draw_secret() -> String {
    let mut bytes = [0_u8; 32];
    SystemRandom.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A program that said hello, and the wire it named.
pub(super) async fn launch(
    command: &Command,
    mode: Mode,
    secret: &str,
    find: &super::Find<'_>,
) -> Result<(Program, Wire), LaunchError> {
    let (program, hello) = Program::launch(command, mode, secret).await?;
    let wire = find(&hello.target)
        .map_err(|why| format!("the target of its hello is none: {why}"))
        .and_then(|found| Wire::of(&hello, found, mode));
    match wire {
        Ok(wire) => Ok((program, wire)),
        Err(what) => {
            program.end().await;
            Err(LaunchError::Hello { what: program.hide(&what), printed: program.printed() })
        }
    }
}

impl<'a> Stage<'a> {
    /// Our end and the relay for a program that said hello; `ours` is the secret of our end.
    ///
    /// # Errors
    /// One sentence on what stands in the way. It may hold the secret of the launch.
    pub(super) async fn set(
        program: &'a Program,
        wire: Wire,
        mode: Mode,
        ours: &str,
    ) -> Result<Self, String> {
        let service = Arc::new(Service::new(wire.event(mode == Mode::Client).to_owned()));
        let taken = |error: std::io::Error| format!("no port can be had on this machine: {error}");
        let (ours, relay) = match mode {
            Mode::Server => {
                let relay = Relay::start(wire.address(), KEPT_BYTES).await.map_err(taken)?;
                let target = wire.target(relay.address().to_string(), ours);
                (Ours::dials(Arc::clone(&wire.adapter), target, service), relay)
            }
            Mode::Client => {
                let target = wire.target("127.0.0.1:0".to_owned(), ours);
                let (ours, address) =
                    Ours::listens(Arc::clone(&wire.adapter), target, service).await.map_err(|error| {
                        format!("our end cannot listen with the options of its hello: {error}")
                    })?;
                (ours, Relay::start(address, KEPT_BYTES).await.map_err(taken)?)
            }
        };
        Ok(Self { wire, mode, ours: Arc::new(ours), program, relay })
    }

    /// Connects the two ends.
    ///
    /// # Errors
    /// One sentence on what stands in the way.
    pub(super) async fn join(&self) -> Result<(), String> {
        let who = if self.mode == Mode::Client { "the program" } else { "our client" };
        self.dial(DIAL).await?.map_err(|why| format!("{who} did not connect: {}", why.words()))?;
        self.meet().await
    }

    /// A first word of the client: without a login the end that listens may not know of it before. How it is answered is what
    /// cases are for.
    ///
    /// # Errors
    /// What the program did instead of saying how it went.
    pub(super) async fn meet(&self) -> Result<(), String> {
        let body = Body::json(&serde_json::json!({ "key": "" })).map_err(|error| error.to_string())?;
        self.begin(By::Client, Route::from_static("ran"), body, MEETING).ended().await?;
        Ok(())
    }

    /// The client connects, or comes back: `Ok(Err)` where it does not.
    ///
    /// # Errors
    /// What the program did instead of saying how it went.
    pub(super) async fn dial(&self, limit: Duration) -> Result<Result<(), Apart>, String> {
        if self.mode == Mode::Server {
            return Ok(self.ours.dial(limit).await);
        }
        let timeout_ms = millis(limit);
        let said = self
            .program
            .ask(What::Dial { address: self.relay.address().to_string(), timeout_ms }, limit)
            .await?;
        match said.outcome {
            Word::Done => Ok(Ok(())),
            Word::Refused => Ok(Err(Apart::Refused(told(said.message)))),
            Word::Failed => Ok(Err(Apart::Failed(told(said.message)))),
            word => Err(format!("it says `{}` of a dial, which is done, refused or failed", word.as_str())),
        }
    }

    /// Begins one call.
    pub(super) fn begin(&self, by: By, route: Route, body: Body, limit: Duration) -> Running {
        if by.is_program(self.mode) {
            let what = What::Call {
                route: route.to_string(),
                body: Carried::from(&body),
                timeout_ms: millis(limit),
            };
            let (id, said) = self.program.begin(what, limit);
            return Running::Program(id, said);
        }
        Running::Ours(tokio::spawn(Arc::clone(&self.ours).call(route, body, limit)))
    }

    /// Sends one event: `Ok(Err)` where it does not leave.
    ///
    /// # Errors
    /// What the program did instead of saying how it went.
    pub(super) async fn notify(&self, by: By, body: Body) -> Result<Result<(), String>, String> {
        let route = Route::from_static(self.wire.event(by == By::Client));
        if !by.is_program(self.mode) {
            return Ok(self.ours.notify(Event::new(route, body)).await.map_err(|error| error.to_string()));
        }
        let what = What::Notify { route: route.to_string(), body: Carried::from(&body) };
        let said = self.program.ask(what, PATIENCE).await?;
        match said.outcome {
            Word::Done => Ok(Ok(())),
            Word::NotSent => Ok(Err(format!("not sent: {}", told(said.message)))),
            word => Err(format!("it says `{}` of an event, which is done or not_sent", word.as_str())),
        }
    }

    /// The events an end heard, once there are `count` or the time is over.
    ///
    /// # Errors
    /// What the program did instead of reporting them.
    pub(super) async fn heard(
        &self,
        by: By,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<(String, Body)>, String> {
        if !by.is_program(self.mode) {
            return Ok(self.ours.service.heard(count, limit).await);
        }
        let what = What::Heard { count: count as u64, timeout_ms: millis(limit) };
        let said = self.program.ask(what, limit).await?;
        let (Word::Done, Some(events)) = (said.outcome, said.events) else {
            return Err(format!(
                "it says `{}` of what it heard, without events; it is done, with a list",
                said.outcome.as_str()
            ));
        };
        events.into_iter().map(|told| Ok((told.route, told.body.to_body()?))).collect()
    }

    /// An end closes in order.
    ///
    /// # Errors
    /// What the program did instead of saying that it did.
    pub(super) async fn close(&self, by: By) -> Result<(), String> {
        if !by.is_program(self.mode) {
            self.ours.close().await;
            return Ok(());
        }
        let said = self.program.ask(What::Close, PATIENCE).await?;
        match said.outcome {
            Word::Done => Ok(()),
            word => Err(format!("it says `{}` of a close, which is done", word.as_str())),
        }
    }

    /// How often `sleep` was begun with `key` at an end. A program is asked over the wire.
    ///
    /// # Errors
    /// What the program did instead of answering.
    pub(super) async fn ran(&self, at: By, key: &str) -> Result<u64, String> {
        if !at.is_program(self.mode) {
            return Ok(self.ours.service.ran(key));
        }
        #[derive(serde::Deserialize)]
        struct Ran {
            ran: u64,
        }
        let body = Body::json(&serde_json::json!({ "key": key })).map_err(|error| error.to_string())?;
        let ended = Arc::clone(&self.ours).call(Route::from_static("ran"), body, PATIENCE).await;
        match &ended {
            Ended::Answer(Body::Json(text)) => {
                let ran: Ran = text.parse().map_err(|error| format!("it answers `ran` with {error}"))?;
                Ok(ran.ran)
            }
            other => Err(format!("it answers `ran` with {}", other.words())),
        }
    }
}

impl Running {
    /// Waits for the end.
    ///
    /// # Errors
    /// What the program did instead of saying how it went.
    pub(super) async fn ended(self) -> Result<Ended, String> {
        match self {
            Self::Ours(call) => match call.await {
                Ok(ended) => Ok(ended),
                Err(error) if error.is_cancelled() => Ok(Ended::GivenUp),
                Err(_) => Err("our own end panicked".to_owned()),
            },
            Self::Program(_, said) => match said.await {
                Ok(said) => Ended::of(said?),
                Err(_) => Err("our own end panicked".to_owned()),
            },
        }
    }
}

/// A time on a control line.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
