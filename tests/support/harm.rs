//! One trial of what our ends do to somebody else's: odd messages leave, and the other side says what it heard, in which order, and
//! what went wrong there.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use polywire_core::{
    Answer, Body, Caller, Code, Event, Failure, Handler, HandlerFuture, Incoming, JsonLimits, JsonText,
    Outcome, Request, Response, Route,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::driver::Driver;
use crate::odd::{Load, Message, Odd};
use crate::process::ProcessError;
use crate::scratch::scratch;

/// How long anything may take that a trial waits for.
const LIMIT: Duration = Duration::from_secs(60);
/// Calls of ours that wait for their answers at once.
const CALLS: usize = 64;

/// A message, and how the other side has to hear it: a line for the command `spell` of its driver.
pub type Told = (Message, Value);

/// What is said and answered in one trial.
pub struct Trial {
    seed: u64,
    said: Vec<Told>,
    answers: Arc<[Told]>,
}

/// Answers question `{"n": i}` with answer `i` of a trial; everything else with nothing.
#[derive(Clone)]
pub struct Answers(Arc<[Told]>);

impl Answers {
    /// The answer to a question with this body.
    ///
    /// # Errors
    /// The failure that is the answer, or that there is no such question.
    pub fn to(&self, question: &Body) -> Answer {
        let answer = number(question, "n").and_then(|number| self.0.get(number));
        match answer.map(|(message, _)| (&message.load, &message.meta)) {
            Some((Load::Body(body), meta)) => Ok(Response { body: body.clone(), meta: meta.clone() }),
            Some((Load::Failure(failure), _)) => Err(failure.clone()),
            None => Err(Failure::new(Code::NotFound, "there is no such question")),
        }
    }
}

impl Handler for Answers {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(std::future::ready(self.to(&incoming.body)))
    }
}

/// The whole number that an object has under this name.
fn number(body: &Body, name: &str) -> Option<usize> {
    let Body::Json(text) = body else { return None };
    usize::try_from(text.parse::<Value>().ok()?.get(name)?.as_u64()?).ok()
}

impl Trial {
    /// A trial of `count` messages and `count` answers, made of `seed`.
    ///
    /// # Panics
    /// When a body made is not legal.
    pub fn new(
        seed: u64,
        count: usize,
        mut message: impl FnMut(&mut Odd) -> Told,
        mut answer: impl FnMut(&mut Odd) -> Told,
    ) -> Self {
        let mut odd = Odd::new(seed);
        let said: Vec<Told> = (0..count).map(|_| message(&mut odd)).collect();
        let answers: Arc<[Told]> = (0..count).map(|_| answer(&mut odd)).collect();
        said.iter().chain(&*answers).for_each(check);
        Self { seed, said, answers }
    }

    /// A trial of `count` messages to a side that asks nothing.
    ///
    /// # Panics
    /// When a body made is not legal.
    pub fn one_way(seed: u64, count: usize, mut message: impl FnMut(&mut Odd) -> Told) -> Self {
        let mut odd = Odd::new(seed);
        let said: Vec<Told> = (0..count).map(|_| message(&mut odd)).collect();
        said.iter().for_each(check);
        Self { seed, said, answers: Arc::new([]) }
    }

    /// A trial of `count` answers, of an end that says nothing unasked.
    ///
    /// # Panics
    /// When a body made is not legal.
    pub fn answers(seed: u64, count: usize, mut answer: impl FnMut(&mut Odd) -> Told) -> Self {
        let mut odd = Odd::new(seed);
        let answers: Arc<[Told]> = (0..count).map(|_| answer(&mut odd)).collect();
        answers.iter().for_each(check);
        Self { seed, said: Vec::new(), answers }
    }

    /// The handler of our end.
    #[must_use]
    pub fn handler(&self) -> Answers {
        Answers(Arc::clone(&self.answers))
    }

    /// Says and answers everything through `caller` and the handler, and holds what `driver` heard against it.
    ///
    /// # Errors
    /// When the other side died, reported trouble, or heard less.
    ///
    /// # Panics
    /// When it heard something else, or answered something else.
    pub async fn run(&self, caller: &Caller, driver: &mut Driver) -> Result<(), ProcessError> {
        let asked = driver.begin("ask", json!({ "count": self.answers.len() })).await?;
        self.say(caller).await;
        let heard = driver.run("heard", json!({ "count": self.said.len() })).await?;
        let answered = driver.answer(asked).await?;
        let answered = answered.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let after = driver.run("heard", json!({ "count": self.said.len() })).await?;
        assert_eq!(after, heard, "seed {}: nothing comes twice", self.seed);
        let trouble = driver.run("trouble", json!({})).await?;
        assert_eq!(trouble, json!([]), "seed {}", self.seed);
        // Last, because the other side is busy with it for long enough to miss a heartbeat.
        self.compare(driver, "messages", &self.said, &heard).await?;
        self.compare(driver, "answers", &self.answers, &answered).await
    }

    /// Says everything in order; calls have to be answered with their numbers.
    async fn say(&self, caller: &Caller) {
        let mut calls = JoinSet::new();
        for (number, (message, _)) in self.said.iter().enumerate() {
            let route = Route::new(message.name.clone()).expect("names are short");
            if !message.asks {
                let event = Event { route, body: message.body(), meta: message.meta.clone() };
                let sent = caller.notify(event).await;
                sent.unwrap_or_else(|error| panic!("seed {}: {number}: {error}: {message:?}", self.seed));
                continue;
            }
            if calls.len() >= CALLS {
                self.judge(calls.join_next().await);
            }
            let request = Request { meta: message.meta.clone(), ..Request::new(route, message.body()) };
            let (caller, request) = (caller.clone(), request.timeout(LIMIT));
            let mut call = Box::pin(async move { (number, caller.call(request).await) });
            // Polled once here, it is in the queue before the next message.
            let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
            match first {
                Poll::Ready(outcome) => self.judge(Some(Ok(outcome))),
                Poll::Pending => {
                    calls.spawn(call);
                }
            }
        }
        while let Some(outcome) = calls.join_next().await {
            self.judge(Some(outcome));
        }
    }

    fn judge(&self, outcome: Option<Result<(usize, Outcome), tokio::task::JoinError>>) {
        let Some(Ok((asked, outcome))) = outcome else { panic!("a call was lost") };
        let answered = match &outcome {
            Ok(response) => number(&response.body, "seq"),
            Err(_) => None,
        };
        assert_eq!(answered, Some(asked), "seed {}: {outcome:?} to {:?}", self.seed, self.said[asked]);
    }

    /// Holds digests of what was heard against those of what was told.
    async fn compare(
        &self,
        driver: &mut Driver,
        what: &str,
        told: &[Told],
        heard: &Value,
    ) -> Result<(), ProcessError> {
        let spelled = spell(driver, told.iter().map(|(_, line)| line)).await?;
        let (heard, spelled) = (list(heard), list(&spelled));
        let wrong = told.iter().zip(heard.iter().zip(spelled)).position(|(_, (heard, told))| heard != told);
        if let Some(at) = wrong {
            let shown: String = format!("{:?}", told[at]).chars().take(2_000).collect();
            panic!("seed {}: {what} {at} of {} came as something else: {shown}", self.seed, told.len());
        }
        assert_eq!(heard.len(), told.len(), "seed {}: {what}", self.seed);
        Ok(())
    }
}

/// What is made has to be legal: an adapter may trust that its caller hands it JSON.
fn check((message, _): &Told) {
    if let Body::Json(text) = message.body() {
        JsonText::new(text.to_bytes(), &JsonLimits::default()).expect("what is made is legal JSON");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list of digests")
}

/// The digests of described messages, in the language of the driver.
///
/// # Errors
/// When the driver ended, or cannot read them.
///
/// # Panics
/// When the folder for passing files is not writable.
pub async fn spell(driver: &mut Driver, lines: impl Iterator<Item = &Value>) -> Result<Value, ProcessError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let path = scratch(&format!("told-{}.jsonl", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, text).expect("the folder for passing files is writable");
    let spelled = driver.run("spell", json!({ "path": path })).await;
    std::fs::remove_file(&path).expect("it was just written");
    spelled
}

/// A body as the other side hears it under `name`: `nothing` stands for no body.
#[must_use]
pub fn heard(name: &str, body: &Body, nothing: Option<&str>) -> Value {
    match (body, nothing) {
        (Body::Json(text), _) => json!({ "name": name, "text": text.as_str() }),
        (Body::Binary(binary), _) => json!({ "name": name, "hex": hex(&binary.bytes) }),
        (Body::Empty, Some(nothing)) => json!({ "name": name, "text": nothing }),
        (Body::Empty, None) => json!({ "name": name }),
    }
}

/// Bytes as hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
