//! A child process that answers commands in JSON lines: every program of `tests/drivers`.
//!
//! A command is `{"id":1,"do":"name",…}`; its answer carries the same `id` and either `ok` or `error`. A line
//! with `event` instead of `id` tells of something nobody asked for; events wait here until they are taken.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::process::Command;
use tokio::time::Instant;

use crate::place;
use crate::process::{Process, ProcessError};

/// How long a driver may take for one command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long a driver may take to end once its input is closed.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Events and answers kept for a test that has not asked for them yet.
const MAX_WAITING_LINES: usize = 10_000;

/// A running driver.
pub struct Driver {
    process: Process,
    last_id: u64,
    waiting: VecDeque<Value>,
}

impl Driver {
    /// Starts a driver of `tests/drivers` on the package prepared in `package`.
    ///
    /// The file's ending selects Node.js (`.mjs`) or Python (`.py`).
    ///
    /// # Errors
    /// When the interpreter cannot be started.
    pub fn start(script: &str, package: &Path) -> Result<Self, ProcessError> {
        let path = place::tests().join("drivers").join(script);
        let mut command = if script.ends_with(".py") {
            let mut python = Command::new("python3");
            python.env("PYTHONPATH", package).env("PYTHONDONTWRITEBYTECODE", "1").arg("-u");
            python
        } else {
            Command::new("node")
        };
        command.arg(path).arg(package);
        Ok(Self { process: Process::start(script, command)?, last_id: 0, waiting: VecDeque::new() })
    }

    /// Runs one command and returns its answer: `Ok` of `ok`, `Err` of `error`.
    ///
    /// `arguments` is an object; its members become members of the command.
    ///
    /// # Errors
    /// The outer error: the driver ended, or did not answer within 60 s.
    pub async fn ask(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Result<Value, Value>, ProcessError> {
        let id = self.begin(command, arguments).await?;
        self.answer(id).await
    }

    /// Runs one command that has to succeed.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and when the command is answered with an error.
    pub async fn run(&mut self, command: &str, arguments: Value) -> Result<Value, ProcessError> {
        match self.ask(command, arguments).await? {
            Ok(value) => Ok(value),
            Err(error) => Err(self.process.error(&format!("command {command} failed: {error}"))),
        }
    }

    /// Writes one command without waiting for its answer and returns its id for [`answer`](Self::answer).
    ///
    /// # Errors
    /// When the driver ended.
    pub async fn begin(&mut self, command: &str, arguments: Value) -> Result<u64, ProcessError> {
        let mut members = match arguments {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            other => panic!("the arguments of {command} are not an object: {other}"),
        };
        self.last_id += 1;
        members.insert("id".to_owned(), self.last_id.into());
        members.insert("do".to_owned(), command.into());
        self.process.send_line(&Value::Object(members).to_string()).await?;
        Ok(self.last_id)
    }

    /// Waits for the answer of command `id`; answers and events may come in any order.
    ///
    /// # Errors
    /// When the driver ended, or did not answer within 60 s.
    pub async fn answer(&mut self, id: u64) -> Result<Result<Value, Value>, ProcessError> {
        let mut line = self.take(|line| line["id"] == id, COMMAND_LIMIT).await?;
        Ok(match line.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(line["ok"].take()),
        })
    }

    /// Takes the first event that satisfies `wanted`, waiting for it if it has not come yet.
    ///
    /// Other events stay for later calls.
    ///
    /// # Errors
    /// When none comes within `limit`, or the driver ended.
    pub async fn event(
        &mut self,
        wanted: impl Fn(&Value) -> bool,
        limit: Duration,
    ) -> Result<Value, ProcessError> {
        self.take(|line| line.get("event").is_some() && wanted(line), limit).await
    }

    /// The events that came so far and were not taken.
    pub fn waiting_events(&self) -> impl Iterator<Item = &Value> {
        self.waiting.iter().filter(|line| line.get("event").is_some())
    }

    /// Closes the driver's input and waits for its orderly end.
    ///
    /// # Errors
    /// When it does not end within 10 s, or ends with a failure.
    pub async fn finish(mut self) -> Result<(), ProcessError> {
        self.process.close_input();
        let status = self.process.finish(END_LIMIT).await?;
        if status.success() { Ok(()) } else { Err(self.process.error(&format!("it ended with {status}"))) }
    }

    /// Stops the driver where it is: it lives, and does nothing any more.
    ///
    /// # Errors
    /// When it has ended, or the system knows no such thing.
    pub async fn freeze(&mut self) -> Result<(), ProcessError> {
        self.process.freeze().await
    }

    /// Kills the driver at once, as a crash would.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Takes the first line that satisfies `wanted`, from those that wait or those to come.
    async fn take(
        &mut self,
        wanted: impl Fn(&Value) -> bool,
        limit: Duration,
    ) -> Result<Value, ProcessError> {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return Ok(self.waiting.remove(at).expect("the place was just found"));
        }
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.process.next_line(left).await?;
            let line = serde_json::from_str::<Value>(&line).map_err(|error| {
                self.process.error(&format!("it printed a line that is not JSON: {error}"))
            })?;
            if wanted(&line) {
                return Ok(line);
            }
            if self.waiting.len() == MAX_WAITING_LINES {
                return Err(self
                    .process
                    .error(&format!("{MAX_WAITING_LINES} lines wait and nobody takes them")));
            }
            self.waiting.push_back(line);
        }
    }
}
