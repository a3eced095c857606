//! Runs the real binary: to its end, or until it says a line.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

#[allow(unreachable_pub, reason = "elsewhere it is a library's")]
#[path = "../../../../tests/support/scratch.rs"]
mod scratch;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Nothing here takes long; this only keeps a hang from lasting.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polywire"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// The only line of standard output, which is JSON.
    #[track_caller]
    pub(crate) fn line(&self) -> Value {
        let mut lines = self.stdout.lines();
        let line = lines.next().unwrap_or_else(|| panic!("no line: {self:?}"));
        assert_eq!(lines.next(), None, "{self:?}");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// Runs to the end.
pub(crate) fn polywire(args: &[&str]) -> Ran {
    fed(args, &[])
}

/// Runs to the end with this on standard input.
pub(crate) fn fed(args: &[&str], input: &[u8]) -> Ran {
    ran(command(args), input)
}

/// Runs to the end on a system that trusts the authorities in this file and nobody else.
pub(crate) fn trusting(authorities: &str, args: &[&str]) -> Ran {
    let mut command = command(args);
    command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
    ran(command, &[])
}

/// Runs to the end where this variable is set, or not set.
pub(crate) fn with_variable(name: &str, value: Option<&str>, args: &[&str]) -> Ran {
    let mut command = command(args);
    match value {
        Some(value) => command.env(name, value),
        None => command.env_remove(name),
    };
    ran(command, &[])
}

fn ran(mut command: Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that does not read it may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A run that goes on; it is killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    words: Receiver<String>,
}

/// Starts a run that goes on.
pub(crate) fn start(args: &[&str]) -> Running {
    begin(command(args).stdout(Stdio::piped()))
}

/// Starts a run that goes on and whose standard output is `terminal`.
pub(crate) fn start_on(args: &[&str], terminal: File) -> Running {
    begin(command(args).stdout(terminal))
}

fn begin(command: &mut Command) -> Running {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let (lines, words) = (read(child.stdout.take()), read(child.stderr.take()));
    Running { child, lines, words }
}

/// The lines of an output, as they come. It is read to its end, whether somebody looks at them or not.
fn read(output: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, lines) = channel();
    if let Some(output) = output {
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test may have ended.
                let _ = send.send(line);
            }
        });
    }
    lines
}

/// What comes out of a terminal up to and with the `times`th `mark`; the rest is read and dropped, so that nobody who writes waits.
pub(crate) fn read_until(mut terminal: File, mark: &str, times: usize) -> String {
    let (send, pieces) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = terminal.read(&mut piece) {
            // After the mark nobody listens.
            let _ = send.send(piece[..count].to_vec());
        }
    });
    let mut bytes = Vec::new();
    loop {
        bytes.extend(pieces.recv_timeout(PATIENCE).expect("the terminal shows something"));
        let text = String::from_utf8_lossy(&bytes);
        if let Some((at, _)) = text.match_indices(mark).nth(times - 1) {
            return text[..at + mark.len()].to_owned();
        }
    }
}

/// Serves the demo service at `url` and gives back the URL with the real address.
pub(crate) fn serve(url: &str) -> (Running, String) {
    let mut running = start(&["serve", url]);
    let url = running.line()["url"].as_str().unwrap().to_owned();
    (running, url)
}

impl Running {
    /// The next line of standard output, as it is.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the run says a line")
    }

    /// The next line of standard output, which is JSON.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Waits until standard error has a line with these words, and gives it back.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.words.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("never said {words:?}, but: {before:#?}"),
            }
        }
    }

    /// Kills it; gives back all that standard error has still to say.
    pub(crate) fn last_words(mut self) -> String {
        self.child.kill().unwrap();
        self.words.iter().collect::<Vec<_>>().join("\n")
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends SIGINT, as Ctrl-C does.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file in the folder of this test.
pub(crate) fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = scratch::scratch(name);
    // Put there whole: a run may read what is there now.
    let part = path.with_added_extension("part");
    std::fs::write(&part, content).unwrap();
    std::fs::rename(part, &path).unwrap();
    path
}
