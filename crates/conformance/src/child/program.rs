//! The program under test: launched without a shell, asked line by line, ended with a grace.
//!
//! Nothing that it does can fill the memory or hang the runner: lines are bounded, at most one is held, and every wait has a limit.

mod outputs;

use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::control::{Ask, Hello, MODE_VARIABLE, Mode, SECRET_VARIABLE, Said, What};
use super::mask::Mask;
use outputs::{ENDED, Shared, keep_errors, read_output};

/// How long a program may take to say hello.
const HELLO: Duration = Duration::from_secs(15);
/// How long a program may take beyond the time that an ask gives it.
const GRACE: Duration = Duration::from_secs(5);
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
/// Dropping it kills the program, also while somebody waits for an answer of it.
pub(super) struct Program {
    child: Mutex<Option<Child>>,
    talk: Arc<Talk>,
    readers: [JoinHandle<()>; 2],
}

/// The lines to a program and from it, which calls that go on share.
struct Talk {
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    shared: Arc<Shared>,
    next: AtomicU64,
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
            (false, Some(status)) => match status.code() {
                Some(code) => format!("it ended with code {code}"),
                None => "it was ended by a signal".to_owned(),
            },
            (false, None) => "nobody knows how it ended".to_owned(),
        }
    }
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
        let mut child = tokio::process::Command::new(&command.program)
            .args(&command.arguments)
            .env(MODE_VARIABLE, mode.as_str())
            .env(SECRET_VARIABLE, secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| LaunchError::Start { program: command.program.clone(), source })?;
        let shared = Arc::new(Shared::new(Mask::new(secret)));
        let (said, hello) = oneshot::channel();
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let readers = [
            tokio::spawn(read_output(output, said, Arc::clone(&shared))),
            tokio::spawn(keep_errors(errors, Arc::clone(&shared))),
        ];
        let program = Self {
            child: Mutex::new(Some(child)),
            talk: Arc::new(Talk {
                input: tokio::sync::Mutex::new(input),
                shared: Arc::clone(&shared),
                next: AtomicU64::new(1),
            }),
            readers,
        };
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
        (id, tokio::spawn(async move { talk.exchange(ask, limit + GRACE).await }))
    }

    /// Asks, and waits for the one answer.
    ///
    /// # Errors
    /// One sentence on what the program did instead of answering.
    pub(super) async fn ask(&self, what: What, limit: Duration) -> Result<Said, String> {
        self.talk.exchange(self.talk.number(what), limit + GRACE).await
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

    /// Tells it to end, waits for that, and kills it when it does not.
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
        // Its last words are worth a moment. A child of its own may hold the pipe longer than that.
        let mut errors = self.talk.shared.errors_ended.subscribe();
        let _ = timeout(LAST_WORDS, errors.wait_for(|ended| *ended)).await;
        ending
    }
}

impl Talk {
    fn number(&self, what: What) -> Ask {
        Ask { id: self.next.fetch_add(1, Ordering::Relaxed), what }
    }

    fn expect(&self, id: u64) -> oneshot::Receiver<Said> {
        let (tell, answer) = oneshot::channel();
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, tell);
        answer
    }

    async fn exchange(&self, ask: Ask, limit: Duration) -> Result<Said, String> {
        let answer = self.expect(ask.id);
        let mut broken = self.shared.broken.subscribe();
        let exchanged = async {
            tokio::select! {
                biased;
                answer = async { self.write(&ask).await?; answer.await.map_err(|_| ENDED.to_owned()) } => answer,
                why = broken.wait_for(Option::is_some) => Err(why.ok().and_then(|why| why.clone()).unwrap_or_default()),
            }
        };
        let outcome = timeout(limit, exchanged).await;
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ask.id);
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("it did not answer ask {} within {limit:?}", ask.id)),
        }
    }

    /// Asks it to end, and closes its input right behind that.
    async fn end(&self) -> Result<(), String> {
        let ask = self.number(What::End);
        // Nobody reads the answer; it is one all the same.
        drop(self.expect(ask.id));
        let written = self.write(&ask).await;
        self.input.lock().await.take();
        written
    }

    async fn write(&self, ask: &Ask) -> Result<(), String> {
        let mut line = serde_json::to_vec(ask).map_err(|error| format!("this cannot be asked: {error}"))?;
        line.push(b'\n');
        let mut input = self.input.lock().await;
        let Some(input) = input.as_mut() else { return Err("its input is closed".to_owned()) };
        let written = async {
            input.write_all(&line).await?;
            input.flush().await
        };
        written.await.map_err(|error| format!("it no longer reads its standard input: {error}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A child of the program may hold the pipes open.
        for reader in &self.readers {
            reader.abort();
        }
    }
}
