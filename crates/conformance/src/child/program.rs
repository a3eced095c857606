//! The program under test: launched without a shell, asked line by line, ended with a grace.
//!
//! Nothing that it does can fill the memory or hang the runner: lines are bounded, at most one is held, and every wait has a limit.

mod group;
mod outputs;
mod talk;

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::control::{Hello, MODE_VARIABLE, Mode, SECRET_VARIABLE, Said, What};
use super::mask::Mask;
use group::Group;
use outputs::{ENDED, Shared, keep_errors, read_output};
use talk::Talk;

/// How long a program may take to say hello.
const HELLO: Duration = Duration::from_secs(15);
/// How long a program may take to end once it was told to and its input is closed.
const END: Duration = Duration::from_secs(3);
/// How long the rest of its standard error may take after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What to launch: a program and its arguments. No shell is between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Why there is no program to test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The cases cannot be read.
    #[error("the cases cannot be read: {0}")]
    Cases(#[from] toml::de::Error),
    /// It said nothing in time.
    #[error("the program said no hello within {HELLO:?}{}", last_words(.0))]
    Silent(Vec<String>),
    /// What it said is no hello.
    #[error("{what}{}", last_words(.printed))]
    Hello {
        /// What is wrong.
        what: String,
        /// The last lines of its standard error.
        printed: Vec<String>,
    },
}

/// The last lines of a program's standard error, as the end of a sentence.
fn last_words(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("; the last it printed: {}", lines.join(" | "))
}

/// A program that has said hello.
///
/// Dropping it kills the program and what it started, also while somebody waits for an answer of it.
pub(super) struct Program {
    child: Mutex<Option<Child>>,
    group: Group,
    talk: Arc<Talk>,
    tasks: [JoinHandle<()>; 3],
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ending {
    status: Option<ExitStatus>,
    killed: bool,
}

impl Ending {
    /// Did it end by itself, and not with code 0?
    pub(super) fn is_crash(&self) -> bool {
        !self.killed && self.status.is_some_and(|status| !status.success())
    }

    /// Did it end by itself, with code 0?
    pub(super) fn is_good(&self) -> bool {
        !self.killed && self.status.is_some_and(|status| status.success())
    }

    /// The words for it.
    pub(super) fn words(&self) -> String {
        match (self.killed, self.status) {
            (true, _) => format!("it still ran {END:?} after it was told to end, and was killed"),
            (false, Some(status)) => match (status.code(), signal_of(status)) {
                (Some(code), _) => format!("it ended with code {code}"),
                (None, Some(signal)) => format!("it was ended by signal {signal}"),
                (None, None) => "it was ended by a signal".to_owned(),
            },
            (false, None) => "nobody knows how it ended".to_owned(),
        }
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_: ExitStatus) -> Option<i32> {
    None
}

impl Program {
    /// Launches it and waits for its hello.
    ///
    /// # Errors
    /// [`LaunchError`], in one sentence.
    ///
    /// # Cancel safety
    /// Dropping the future kills the program.
    pub(super) async fn launch(
        command: &Command,
        mode: Mode,
        secret: &str,
    ) -> Result<(Self, Hello), LaunchError> {
        let mut launched = tokio::process::Command::new(&command.program);
        launched
            .args(&command.arguments)
            .env(MODE_VARIABLE, mode.as_str())
            .env(SECRET_VARIABLE, secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        group::lead(&mut launched);
        let mut child = launched
            .spawn()
            .map_err(|source| LaunchError::Start { program: command.program.clone(), source })?;
        let group = Group::of(&child);
        let shared = Arc::new(Shared::new(Mask::new(secret)));
        let (said, hello) = oneshot::channel();
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (talk, writing) = Talk::new(input, Arc::clone(&shared));
        let tasks = [
            tokio::spawn(writing),
            tokio::spawn(read_output(output, said, Arc::clone(&shared))),
            tokio::spawn(keep_errors(errors, Arc::clone(&shared))),
        ];
        let program = Self { child: Mutex::new(Some(child)), group, talk: Arc::new(talk), tasks };
        match timeout(HELLO, hello).await {
            Ok(Ok(hello)) => Ok((program, hello)),
            Ok(Err(_)) => {
                let why = shared.broken.borrow().clone().unwrap_or_default();
                let how = if why == ENDED { format!("; {}", program.ended().await) } else { String::new() };
                let what = format!("the program did not say hello: {why}{how}");
                Err(LaunchError::Hello { what, printed: shared.printed() })
            }
            Err(_) => Err(LaunchError::Silent(shared.printed())),
        }
    }

    /// Begins to ask: the number of the ask, and where its answer comes.
    pub(super) fn begin(&self, what: What, limit: Duration) -> (u64, JoinHandle<Result<Said, String>>) {
        let ask = self.talk.number(what);
        let (id, talk) = (ask.id, Arc::clone(&self.talk));
        (id, tokio::spawn(async move { talk.exchange(ask, limit).await }))
    }

    /// Asks, and waits for the one answer.
    ///
    /// # Errors
    /// One sentence on what the program did instead of answering.
    pub(super) async fn ask(&self, what: What, limit: Duration) -> Result<Said, String> {
        self.talk.exchange(self.talk.number(what), limit).await
    }

    /// Has it kept to the protocol so far?
    ///
    /// # Errors
    /// What it did instead.
    pub(super) fn check_whole(&self) -> Result<(), String> {
        self.talk.shared.broken.borrow().clone().map_or(Ok(()), Err)
    }

    /// A sentence without the secret of this launch.
    pub(super) fn hide(&self, text: &str) -> String {
        self.talk.shared.mask.plain(text)
    }

    /// The last lines it wrote to standard error, for people.
    pub(super) fn printed(&self) -> Vec<String> {
        self.talk.shared.printed()
    }

    /// How it ended, where it did.
    async fn ended(&self) -> String {
        self.wait(Instant::now() + END).await.words()
    }

    /// Tells it to end, waits for that, and kills it when it does not. What it started and left behind is killed in any case.
    pub(super) async fn end(&self) -> Ending {
        let limit = Instant::now() + END;
        // What it answers is not what counts: its end is. One that no longer reads is killed when its time is over.
        let _ = timeout_at(limit, self.talk.end()).await;
        self.wait(limit).await
    }

    async fn wait(&self, limit: Instant) -> Ending {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut child) = child else { return Ending { status: None, killed: false } };
        let ending = match timeout_at(limit, child.wait()).await {
            Ok(status) => Ending { status: status.ok(), killed: false },
            Err(_) => {
                // An error means that it has just ended.
                let _ = child.kill().await;
                Ending { status: None, killed: true }
            }
        };
        self.group.end();
        // Its last words are worth a moment. A child that left its group may hold the pipe longer than that.
        let mut errors = self.talk.shared.errors_ended.subscribe();
        let _ = timeout(LAST_WORDS, errors.wait_for(|ended| *ended)).await;
        ending
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.group.end();
        // A child that left its group may hold the pipes open.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
