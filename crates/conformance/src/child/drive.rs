//! The steps of a case, one after the other, and what is wrong with the first that does not hold.

use std::time::Duration;

use polywire_core::{Body, JsonLimits, JsonText, Random, Route, SeededRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::control::{Mode, What, Word};
use super::ours::LISTENER_LIMIT;
use super::outcome::{Apart, Wanted, is_same, shown};
use super::stage::{Running, Stage};
use super::step::{Begin, By, Call, Ends, Expect, Form, Heard, Hostile, Notify, Step, texts};

/// How long events may take.
const EVENTS: Duration = Duration::from_secs(5);
/// How long a dial may take; a dial of an impostor.
const DIAL: Duration = Duration::from_secs(10);
const IMPOSTOR: Duration = Duration::from_millis(600);
/// How long a program has to react to a stranger.
const REACTION: Duration = Duration::from_millis(500);
/// How often it is asked whether a call runs at the other end.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// How long that may take.
const BEGINS: Duration = Duration::from_secs(5);

/// A call that was begun, and what it sent.
struct Begun {
    by: By,
    body: Body,
    running: Running,
}

/// What goes on between the steps of one case.
pub(super) struct Drive<'a> {
    stage: &'a Stage<'a>,
    begun: Option<Begun>,
    /// Strangers that stay to the end.
    strangers: Vec<TcpStream>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(stage: &'a Stage<'a>) -> Self {
        Self { stage, begun: None, strangers: Vec::new() }
    }

    /// Does one step.
    ///
    /// # Errors
    /// What was expected and what was had instead.
    pub(super) async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Call(call) => self.call(call).await,
            Step::Begin(begin) => self.begin(begin).await,
            Step::GiveUp => self.give_up().await,
            Step::Ends(ends) => self.ends(ends).await,
            Step::Notify(told) => self.notify(told).await,
            Step::Heard(heard) => self.heard(heard).await,
            Step::Cut => {
                self.stage.relay.cut();
                Ok(())
            }
            Step::Dial(dial) => match (self.stage.dial(DIAL).await?, dial.expect) {
                (Ok(()), Expect::Done) => self.stage.meet().await,
                (Err(Apart::Refused(_)), Expect::Refused) => Ok(()),
                // Where the wire does not tell a refusal, nobody can say more than that there is no connection.
                (Err(Apart::Failed(_)), Expect::Refused) if self.stage.wire.particulars.silent_refusal => {
                    Ok(())
                }
                (Err(why), Expect::Refused) => {
                    Err(format!("the login of the client is to be refused, and it says {}", why.words()))
                }
                (Ok(()), _) => Err("the client is to be refused, and it was let in".to_owned()),
                (Err(why), _) => Err(format!("the client is to connect, and it did not: {}", why.words())),
            },
            Step::Close(close) => self.stage.close(close.by).await,
            Step::Ran(ran) => {
                let count = self.stage.ran(By::Server, &ran.key).await?;
                if count == ran.times {
                    return Ok(());
                }
                Err(format!("`sleep` is to have begun {} times, and it did {count} times", ran.times))
            }
            Step::Hostile(hostile) => self.hostile(hostile).await,
            Step::End => {
                let ending = self.stage.program.end().await;
                if ending.is_good() {
                    return Ok(());
                }
                Err(format!("the program is to end with code 0: {}", ending.words()))
            }
        }
    }

    /// Calls one after the other, or the same many times at once.
    async fn call(&self, call: &Call) -> Result<(), String> {
        let bodies = self.bodies(call)?;
        let at_once = call.times > 1;
        let mut going = Vec::new();
        let began = Instant::now();
        for body in bodies {
            let running = self.stage.begin(
                call.by,
                Route::new(call.route.clone()).map_err(|error| error.to_string())?,
                body.clone(),
                Duration::from_millis(call.timeout_ms),
            );
            if at_once {
                going.push((body, running));
            } else {
                self.compare(call, &body, running, began).await?;
            }
        }
        for (body, running) in going {
            self.compare(call, &body, running, began).await?;
        }
        Ok(())
    }

    async fn compare(
        &self,
        call: &Call,
        sent: &Body,
        running: Running,
        began: Instant,
    ) -> Result<(), String> {
        let got = running.ended().await?;
        let wanted = Wanted {
            by: call.by,
            sent,
            expect: call.expect,
            code: call.code.as_deref(),
            message: call.message.as_deref(),
            lapsed: began.elapsed() >= Duration::from_millis(call.timeout_ms),
        };
        wanted.judge(&got, &self.stage.wire).map_err(|wanted| {
            let (by, route, got) = (call.by.as_str(), &call.route, got.words());
            format!("the {by} calls `{route}` {}: expected {wanted}; got {got}", with(sent))
        })
    }

    /// The bodies that a step sends.
    fn bodies(&self, call: &Call) -> Result<Vec<Body>, String> {
        if let Some(sizes) = &call.sizes {
            return sizes.iter().map(|size| object_of(*size)).collect();
        }
        if let Some(sizes) = &call.bytes {
            return Ok(sizes.iter().map(|size| bytes_of(&call.route, *size)).collect());
        }
        if let Some(form) = call.within_limit {
            let size = self.stage.wire.most_bytes() / 2;
            return match form {
                Form::Object => object_of(size).map(|body| vec![body]),
                Form::Bytes => Ok(vec![bytes_of(&call.route, size)]),
            };
        }
        if call.beyond_limit {
            let declared = self.stage.wire.max_message_bytes.and_then(|most| usize::try_from(most).ok());
            let limit = match self.stage.mode {
                Mode::Client => LISTENER_LIMIT,
                Mode::Server => declared.unwrap_or(LISTENER_LIMIT),
            };
            return Ok(vec![noise(limit.saturating_mul(2))?]);
        }
        if call.body.is_none() && call.each.is_none() {
            return Ok(vec![Body::Empty]);
        }
        texts(call.body.as_ref(), call.each.as_ref(), call.times).into_iter().map(json).collect()
    }

    async fn begin(&mut self, begin: &Begin) -> Result<(), String> {
        let body = Body::json(&serde_json::json!({ "ms": begin.ms, "key": begin.key }))
            .map_err(|error| error.to_string())?;
        let limit = Duration::from_millis(begin.timeout_ms);
        let running = self.stage.begin(begin.by, Route::from_static("sleep"), body.clone(), limit);
        self.begun = Some(Begun { by: begin.by, body, running });
        let end = Instant::now() + BEGINS;
        while self.stage.ran(begin.by.other(), &begin.key).await? == 0 {
            if Instant::now() > end {
                return Err(format!("a call of `sleep` did not begin within {BEGINS:?}"));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }

    async fn give_up(&mut self) -> Result<(), String> {
        match &self.begun {
            None => Err("no call was begun".to_owned()),
            Some(Begun { running: Running::Ours(call), .. }) => {
                call.abort();
                Ok(())
            }
            Some(Begun { running: Running::Program(id, _), .. }) => {
                let said = self.stage.program.ask(What::GiveUp { call: *id }, DIAL).await?;
                match said.outcome {
                    Word::Done => Ok(()),
                    word => Err(format!("it says `{}` of giving a call up", word.as_str())),
                }
            }
        }
    }

    async fn ends(&mut self, ends: &Ends) -> Result<(), String> {
        let Some(Begun { by, body, running }) = self.begun.take() else {
            return Err("no call was begun".to_owned());
        };
        let within = Duration::from_millis(ends.within_ms);
        let got = timeout(within, running.ended())
            .await
            .map_err(|_| format!("the call that was begun did not end within {within:?}"))??;
        let wanted =
            Wanted { by, sent: &body, expect: ends.expect, code: None, message: None, lapsed: false };
        wanted.judge(&got, &self.stage.wire).map_err(|wanted| {
            format!("the call of `sleep` that was begun: expected {wanted}; got {}", got.words())
        })
    }

    async fn notify(&self, told: &Notify) -> Result<(), String> {
        for text in texts(told.body.as_ref(), told.each.as_ref(), told.times) {
            match (self.stage.notify(told.by, json(text)?).await?, told.expect) {
                (Ok(()), Expect::Done) | (Err(_), Expect::NotSent) => {}
                // Our end may take it and count it as not sent; that nothing is heard is what the program shows.
                (Ok(()), Expect::NotSent) if !told.by.is_program(self.stage.mode) => {}
                (Ok(()), _) => return Err("an event is to be refused, and it was sent".to_owned()),
                (Err(why), _) => return Err(format!("an event is to be sent: {why}")),
            }
        }
        Ok(())
    }

    async fn heard(&self, wanted: &Heard) -> Result<(), String> {
        let by = wanted.by;
        let name = self.stage.wire.event(by == By::Server);
        let texts = texts(wanted.body.as_ref(), wanted.each.as_ref(), wanted.times);
        let heard = self.stage.heard(by, texts.len(), EVENTS).await?;
        for (place, text) in texts.iter().enumerate() {
            let body = json(text.clone())?;
            let Some((route, got)) = heard.get(place) else {
                let (count, got) = (texts.len(), heard.len());
                return Err(format!("the {} is to hear {count} events, and it heard {got}", by.as_str()));
            };
            if route != name || !is_same(&body, got, &self.stage.wire) {
                let number = place + 1;
                return Err(format!(
                    "event {number} at the {}: expected `{name}` {text}; got `{route}` {}",
                    by.as_str(),
                    shown(got)
                ));
            }
        }
        match heard.get(texts.len()) {
            None => Ok(()),
            Some((route, got)) => {
                Err(format!("the {} heard one event more: `{route}` {}", by.as_str(), shown(got)))
            }
        }
    }

    async fn hostile(&mut self, hostile: &Hostile) -> Result<(), String> {
        let bytes = hostile.to_bytes().ok_or("a case has bytes that are none")?;
        match self.stage.mode {
            Mode::Server => self.stranger(&bytes, hostile.leave).await,
            Mode::Client => self.impostor(bytes, hostile.leave).await,
        }
    }

    /// Somebody else dials the program.
    async fn stranger(&mut self, bytes: &[u8], leaves: bool) -> Result<(), String> {
        let address = self.stage.relay.address();
        let said = async {
            let mut stranger = TcpStream::connect(address).await?;
            stranger.write_all(bytes).await?;
            if !leaves {
                // What comes back is not judged. It tells that the bytes were read, and a program may say nothing.
                let _ = timeout(REACTION, stranger.read(&mut [0; 64])).await;
            }
            Ok::<_, std::io::Error>(stranger)
        };
        // A program that closes at the first bytes does well.
        if let Ok(Ok(stranger)) = timeout(EVENTS, said).await
            && !leaves
        {
            self.strangers.push(stranger);
        }
        Ok(())
    }

    /// The program dials somebody else, then our end again.
    async fn impostor(&self, bytes: Vec<u8>, leaves: bool) -> Result<(), String> {
        let stage = self.stage;
        stage.relay.impersonate(&bytes, leaves);
        stage.relay.cut();
        // On a wire without a login this may work; a call must not.
        let _ = stage.dial(IMPOSTOR).await?;
        let route = Route::from_static("echo");
        let call = stage.begin(By::Client, route, object_of(0)?, IMPOSTOR).ended().await?;
        if let super::outcome::Ended::Answer(body) = call {
            return Err(format!("nobody is to answer, and there was the answer {}", shown(&body)));
        }
        stage.relay.be_honest();
        stage.relay.cut();
        let back = stage.dial(DIAL).await?;
        back.map_err(|why| format!("the client is to come back, and did not: {}", why.words()))
    }
}

fn json(text: String) -> Result<Body, String> {
    JsonText::new(text, &JsonLimits::default()).map(Body::Json).map_err(|error| error.to_string())
}

/// An object with a string of so many bytes.
fn object_of(size: usize) -> Result<Body, String> {
    Body::json(&serde_json::json!({ "s": "a".repeat(size) })).map_err(|error| error.to_string())
}

/// So many bytes. Some wires have one word for a route and for a type of bytes.
fn bytes_of(route: &str, size: usize) -> Body {
    Body::binary(route.to_owned(), (0_u8..=u8::MAX).cycle().take(size).collect::<Vec<_>>())
}

/// An object with a string of so many bytes that no compression makes half of.
fn noise(size: usize) -> Result<Body, String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = vec![0; size];
    SeededRandom::new(1).fill(&mut bytes);
    let text: String = bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte % 64)])).collect();
    Body::json(&serde_json::json!({ "s": text })).map_err(|error| error.to_string())
}

fn with(body: &Body) -> String {
    match body {
        Body::Empty => shown(body),
        body => format!("with {}", shown(body)),
    }
}
