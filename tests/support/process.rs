//! A child process spoken to line by line: foreign peers and our own programs.
//!
//! Every wait has a time limit and ends in an error that shows the last lines the child printed. The child is
//! killed when its [`Process`] is dropped, so no failed test leaves one behind.

use std::collections::VecDeque;
use std::fmt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes of one line; a longer one is cut, so a child that never ends its line cannot fill the memory.
const MAX_LINE_BYTES: u64 = 32 << 20;
/// Lines of one output waiting to be read. Standard output beyond that holds the child back, standard error is lost.
const MAX_WAITING_LINES: usize = 4096;
/// Lines of both outputs kept for error texts.
const MAX_KEPT_LINES: usize = 40;
/// Bytes of a line kept for error texts.
const MAX_KEPT_LINE_BYTES: usize = 400;

/// What went wrong with a child process, and the last lines it printed.
pub struct ProcessError {
    what: String,
    printed: String,
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the last it printed:\n{}", self.what, self.printed)
    }
}

// Test failures show errors by `Debug`; the text has to stay readable there.
impl fmt::Debug for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ProcessError {}

/// The last lines of both outputs.
#[derive(Default)]
struct Kept(Mutex<VecDeque<String>>);

impl Kept {
    fn push(&self, stream: &str, line: &str) {
        let end = line.floor_char_boundary(MAX_KEPT_LINE_BYTES);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MAX_KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(format!("  {stream}: {}", &line[..end]));
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() { "  (nothing)".to_owned() } else { Vec::from(lines.clone()).join("\n") }
    }
}

/// A running child with piped input and outputs.
pub struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    error_lines: mpsc::Receiver<String>,
    kept: Arc<Kept>,
    readers: [JoinHandle<()>; 2],
}

impl Process {
    /// Starts `command`; `name` is what error texts call it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self, ProcessError> {
        let kept = Arc::new(Kept::default());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ProcessError {
                what: format!("{name} could not be started: {error}"),
                printed: kept.text(),
            })?;
        let (sender, lines) = mpsc::channel(MAX_WAITING_LINES);
        let (error_sender, error_lines) = mpsc::channel(MAX_WAITING_LINES);
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let readers = [
            tokio::spawn(read_lines(stdout, "out", Arc::clone(&kept), sender, true)),
            tokio::spawn(read_lines(stderr, "err", Arc::clone(&kept), error_sender, false)),
        ];
        let name = name.to_owned();
        Ok(Self { name, input: child.stdin.take(), child, lines, error_lines, kept, readers })
    }

    /// The operating system's number of the child; `None` once it ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Writes one line to the child's input.
    ///
    /// # Errors
    /// When the child closed its input or ended.
    pub async fn send_line(&mut self, line: &str) -> Result<(), ProcessError> {
        let Some(input) = self.input.as_mut() else { return Err(self.error("its input is closed already")) };
        let written = async {
            input.write_all(line.as_bytes()).await?;
            input.write_all(b"\n").await?;
            input.flush().await
        };
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.error(&format!("its input cannot be written: {error}"))),
        }
    }

    /// Closes the child's input: programs that read commands end there.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Takes the next line of standard output.
    ///
    /// # Errors
    /// When none comes within `limit`, or the output ended.
    ///
    /// # Cancel safety
    /// No line is lost when the future is dropped.
    pub async fn next_line(&mut self, limit: Duration) -> Result<String, ProcessError> {
        match timeout(limit, self.lines.recv()).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.error("its output ended")),
            Err(_) => Err(self.error(&format!("no line within {limit:?}"))),
        }
    }

    /// Takes lines of standard output until one satisfies `wanted`, and returns that one.
    ///
    /// # Errors
    /// When none does within `limit`, or the output ended.
    pub async fn wait_for_line(
        &mut self,
        mut wanted: impl FnMut(&str) -> bool,
        limit: Duration,
    ) -> Result<String, ProcessError> {
        let found = first(&mut self.lines, &mut wanted, limit).await;
        found.map_err(|what| self.error(&format!("its output {what}")))
    }

    /// Takes lines of standard error until one satisfies `wanted`, and returns that one.
    ///
    /// # Errors
    /// When none does within `limit`, or the output ended.
    pub async fn wait_for_error_line(
        &mut self,
        mut wanted: impl FnMut(&str) -> bool,
        limit: Duration,
    ) -> Result<String, ProcessError> {
        let found = first(&mut self.error_lines, &mut wanted, limit).await;
        found.map_err(|what| self.error(&format!("its error output {what}")))
    }

    /// Takes lines until one is a JSON value that satisfies `wanted`; lines that are not JSON are passed over.
    ///
    /// # Errors
    /// When none does within `limit`, or the output ended.
    pub async fn wait_for_json(
        &mut self,
        mut wanted: impl FnMut(&Value) -> bool,
        limit: Duration,
    ) -> Result<Value, ProcessError> {
        let mut found = None;
        self.wait_for_line(
            |line| {
                found = serde_json::from_str(line).ok().filter(&mut wanted);
                found.is_some()
            },
            limit,
        )
        .await?;
        Ok(found.expect("the line waited for was parsed"))
    }

    /// Stops the child where it is: it lives, keeps its sockets, and does nothing any more.
    ///
    /// # Errors
    /// When it has ended, or the system knows no such thing.
    pub async fn freeze(&self) -> Result<(), ProcessError> {
        self.signal("STOP").await
    }

    /// Sends the child the signal of this name, such as `TERM`.
    ///
    /// # Errors
    /// When it has ended, or the system knows no such thing.
    pub async fn signal(&self, name: &str) -> Result<(), ProcessError> {
        let id = self.id().ok_or_else(|| self.error("it has ended"))?.to_string();
        let status = Command::new("kill").args([format!("-{name}"), id]).status().await;
        let taken = status.is_ok_and(|status| status.success());
        if taken { Ok(()) } else { Err(self.error(&format!("it took no signal {name}"))) }
    }

    /// Waits until the child ends by itself.
    ///
    /// # Errors
    /// When it has not ended within `limit`; it is killed then.
    pub async fn finish(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        match timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(self.error(&format!("its end cannot be awaited: {error}"))),
            Err(_) => {
                let error = self.error(&format!("it had not ended after {limit:?}"));
                self.kill().await;
                Err(error)
            }
        }
    }

    /// Kills the child and waits until it is gone.
    pub async fn kill(&mut self) {
        // An error means that it ended before.
        let _ = self.child.kill().await;
    }

    /// An error about this child that shows what it printed last.
    pub fn error(&self, what: &str) -> ProcessError {
        ProcessError { what: format!("{}: {what}", self.name), printed: self.kept.text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A grandchild may hold the pipes open; the readers must not outlive the test.
        for reader in &self.readers {
            reader.abort();
        }
    }
}

/// Takes lines until one satisfies `wanted`; the error ends a sentence that begins with the output's name.
async fn first(
    lines: &mut mpsc::Receiver<String>,
    wanted: &mut impl FnMut(&str) -> bool,
    limit: Duration,
) -> Result<String, String> {
    let end = Instant::now() + limit;
    loop {
        match timeout_at(end, lines.recv()).await {
            Ok(Some(line)) if wanted(&line) => return Ok(line),
            Ok(Some(_)) => {}
            Ok(None) => return Err("ended before the line waited for".to_owned()),
            Err(_) => return Err(format!("did not bring the line waited for within {limit:?}")),
        }
    }
}

/// Reads one output to its end, line by line.
async fn read_lines(
    output: impl AsyncRead + Unpin,
    stream: &'static str,
    kept: Arc<Kept>,
    lines: mpsc::Sender<String>,
    hold_back: bool,
) {
    let mut output = BufReader::new(output);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match (&mut output).take(MAX_LINE_BYTES).read_until(b'\n', &mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&buffer).trim_end_matches(['\n', '\r']).to_owned();
        kept.push(stream, &line);
        // Failing means that nobody waits for lines any more, or not for these: the child goes on all the same.
        if hold_back {
            let _ = lines.send(line).await;
        } else {
            let _ = lines.try_send(line);
        }
    }
}
