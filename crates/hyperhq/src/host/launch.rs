//! Plugins as processes: started with what they must know, and ended with the host.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use polywire_core::Secret;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::group::{Group, lead};

/// Longest line of a plugin's output that is handed on, in bytes; the rest of it is dropped.
const MAX_LINE_BYTES: u64 = 8 << 10;
/// Lines that may wait to be read; further ones wait in the plugin.
const MAX_LINES: usize = 256;
/// How long the last lines of a plugin that has ended are waited for. What it started may hold its outputs open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What to start, and what it is told.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The folder it runs in.
    pub folder: Option<PathBuf>,
    /// `HYPERHQ_PLUGIN_ID`.
    pub id: String,
    /// `HYPERHQ_PLUGIN_NAME`.
    pub name: String,
    /// `HYPERHQ_PLUGIN_VERSION`.
    pub version: String,
    /// `HYPERHQ_SOCKET_PORT`.
    pub port: u16,
    /// `PLUGIN_DATA_DIR`, where there is one.
    pub data_folder: Option<PathBuf>,
    /// Sets the names that older plugins read too; default false.
    pub legacy_names: bool,
    /// What the plugin has started ends with it, where the system has groups of processes and as far as it has not left the
    /// plugin's; default false: a game that a plugin has launched outlives it.
    pub ends_children: bool,
}

impl Launch {
    /// This program as plugin `id` of a host at `port`, with what is known of it.
    pub fn new(program: impl AsRef<Path>, id: impl Into<String>, port: u16) -> Self {
        let id = id.into();
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            folder: None,
            name: id.clone(),
            id,
            version: "0.0.0".to_owned(),
            port,
            data_folder: None,
            legacy_names: false,
            ends_children: false,
        }
    }

    /// Starts it. The challenge is handed over by the environment only.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start(&self, challenge: &Secret) -> io::Result<Process> {
        let challenge = std::str::from_utf8(challenge.expose())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the challenge is not UTF-8 text"))?;
        let mut command = Command::new(&self.program);
        let port = self.port.to_string();
        command
            .args(&self.arguments)
            .env("HYPERHQ_PLUGIN_ID", &self.id)
            .env("HYPERHQ_SOCKET_PORT", &port)
            .env("HYPERHQ_AUTH_CHALLENGE", challenge)
            .env("HYPERHQ_PLUGIN_NAME", &self.name)
            .env("HYPERHQ_PLUGIN_VERSION", &self.version)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if self.legacy_names {
            command.env("HYPERAI_SOCKET_PORT", &port).env("HYPERAI_PLUGIN_CHALLENGE", challenge);
        }
        if let Some(folder) = &self.data_folder {
            command.env("PLUGIN_DATA_DIR", folder);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if self.ends_children {
            lead(&mut command);
        }
        let mut child = command.spawn()?;
        let group = self.ends_children.then(|| Group::of(&child)).flatten();
        let (say, lines) = mpsc::channel(MAX_LINES);
        if let Some(output) = child.stdout.take() {
            tokio::spawn(hand_on(output, Line::Output, say.clone()));
        }
        if let Some(errors) = child.stderr.take() {
            tokio::spawn(hand_on(errors, Line::Error, say));
        }
        Ok(Process { group, child, lines, over: None })
    }
}

/// A line that a plugin has printed, without its end; at most 8 KiB of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// On standard output.
    Output(String),
    /// On standard error.
    Error(String),
}

/// A plugin that was started. Dropped, it is killed.
///
/// Whoever keeps it reads its lines: while 256 of them wait, the plugin is held up in printing more.
#[derive(Debug)]
pub struct Process {
    /// Dropped as soon as the plugin has ended. Stands before the child, which may be waited for when it is dropped.
    group: Option<Group>,
    child: Child,
    lines: mpsc::Receiver<Line>,
    /// Until when its last lines are waited for, once it has ended.
    over: Option<Instant>,
}

impl Process {
    /// The next line that it prints; `None` when it prints no more, or has ended: what it started may print on.
    ///
    /// Its last lines are those that come within half a second of the call that finds it ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn line(&mut self) -> Option<Line> {
        if self.over.is_none() {
            tokio::select! {
                // The end first: behind a plugin's own lines those of what it started may come without a pause.
                biased;
                _ = self.child.wait() => self.group = None,
                line = self.lines.recv() => return line,
            }
        }
        let over = *self.over.get_or_insert_with(|| Instant::now() + LAST_WORDS);
        tokio::select! {
            biased;
            () = sleep_until(over) => self.lines.close(),
            line = self.lines.recv() => return line,
        }
        // Those that wait already.
        self.lines.recv().await
    }

    /// Waits for its end, and gives its exit code; `None` when a signal ended it.
    ///
    /// # Errors
    /// Whatever the operating system reports.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ended(&mut self) -> io::Result<Option<i32>> {
        let status = self.child.wait().await?;
        self.group = None;
        Ok(status.code())
    }

    /// Waits for its end up to `grace`, and kills it then; gives its exit code, `None` when it had to be killed.
    ///
    /// # Errors
    /// Whatever the operating system reports.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the process is killed when this value is dropped.
    pub async fn end(&mut self, grace: Duration) -> io::Result<Option<i32>> {
        if let Ok(code) = tokio::time::timeout(grace, self.ended()).await {
            return code;
        }
        self.group = None;
        self.child.kill().await?;
        Ok(None)
    }
}

/// Reads lines, and waits while nobody takes them.
async fn hand_on(from: impl AsyncRead + Unpin, line: fn(String) -> Line, say: mpsc::Sender<Line>) {
    let mut from = BufReader::new(from);
    loop {
        let mut bytes = Vec::new();
        match (&mut from).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let is_whole = bytes.ends_with(b"\n");
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
        if say.send(line(text)).await.is_err() {
            // Nobody listens any more; the plugin must not stop for that.
            let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
            return;
        }
        if !is_whole && !skip_line(&mut from).await {
            return;
        }
    }
}

/// Passes over the rest of a line; `false` at the end.
async fn skip_line(from: &mut (impl AsyncBufReadExt + Unpin)) -> bool {
    loop {
        let (used, found) = match from.fill_buf().await {
            Ok([]) | Err(_) => return false,
            Ok(buffered) => match buffered.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffered.len(), false),
            },
        };
        from.consume(used);
        if found {
            return true;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn shell(script: &str) -> Launch {
        let mut launch = Launch::new("/bin/sh", "demo", 52_789);
        launch.arguments = vec!["-c".to_owned(), script.to_owned()];
        launch
    }

    async fn lines(process: &mut Process) -> Vec<Line> {
        let mut all = Vec::new();
        while let Some(line) = process.line().await {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn a_plugin_is_told_by_its_environment_and_its_lines_are_handed_on() {
        let script = "echo id=$HYPERHQ_PLUGIN_ID port=$HYPERHQ_SOCKET_PORT challenge=$HYPERHQ_AUTH_CHALLENGE; \
            echo name=$HYPERHQ_PLUGIN_NAME version=$HYPERHQ_PLUGIN_VERSION folder=$PLUGIN_DATA_DIR; \
            echo legacy=$HYPERAI_SOCKET_PORT,$HYPERAI_PLUGIN_CHALLENGE; echo oh >&2; exit 7";
        let start = |launch: Launch| launch.start(&Secret::from("c0ffee")).unwrap();
        let said = |words: &str| Line::Output(words.to_owned());
        let mut plain = start(shell(script));
        let all = lines(&mut plain).await;
        for words in [
            "id=demo port=52789 challenge=c0ffee",
            // What is not known of it: its id stands for its name.
            "name=demo version=0.0.0 folder=",
            "legacy=,",
        ] {
            assert!(all.contains(&said(words)), "{words} in {all:?}");
        }
        assert!(all.contains(&Line::Error("oh".into())));
        assert_eq!(plain.ended().await.unwrap(), Some(7));
        let mut known = start(Launch {
            name: "Demo Plugin".to_owned(),
            version: "1.2.3".to_owned(),
            data_folder: Some("/data/demo".into()),
            legacy_names: true,
            ..shell(script)
        });
        let all = lines(&mut known).await;
        for words in ["name=Demo Plugin version=1.2.3 folder=/data/demo", "legacy=52789,c0ffee"] {
            assert!(all.contains(&said(words)), "{words} in {all:?}");
        }
    }

    #[tokio::test]
    async fn a_plugin_that_does_not_end_is_ended() {
        let mut stubborn =
            shell("trap '' TERM; echo up; while :; do sleep 1; done").start(&Secret::from("c")).unwrap();
        assert_eq!(stubborn.line().await, Some(Line::Output("up".into())));
        assert_eq!(stubborn.end(Duration::from_millis(50)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo short";
        let mut loud = shell(script).start(&Secret::from("c")).unwrap();
        let said = lines(&mut loud).await;
        let lengths: Vec<_> = said
            .iter()
            .map(|line| match line {
                Line::Output(text) | Line::Error(text) => text.len(),
            })
            .collect();
        assert_eq!(lengths, [8 << 10, 5]);
    }

    fn kill(id: &str) -> io::Result<()> {
        let process = id.parse().ok().and_then(rustix::process::Pid::from_raw);
        let process = process.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::process::kill_process(process, rustix::process::Signal::KILL)?)
    }

    #[tokio::test]
    async fn a_plugin_has_ended_though_what_it_started_holds_its_outputs_and_a_game_outlives_it() {
        let mut left = shell("sleep 1000 & echo $!; exit 3").start(&Secret::from("c")).unwrap();
        let said = lines(&mut left).await;
        assert_eq!(left.ended().await.unwrap(), Some(3));
        let [Line::Output(child)] = &said[..] else { panic!("{said:?}") };
        drop(left);
        // It runs on: a signal reaches it.
        kill(child).unwrap();
    }

    #[tokio::test]
    async fn a_plugin_has_ended_though_what_it_started_prints_without_a_pause() {
        let mut left = shell("yes & echo $! >&2; exit 3").start(&Secret::from("c")).unwrap();
        let mut child = None;
        let last = async {
            while let Some(line) = left.line().await {
                if let Line::Error(id) = line {
                    child = Some(id);
                }
            }
        };
        let last = timeout(Duration::from_secs(10), last).await;
        kill(&child.unwrap()).unwrap();
        last.expect("its lines have an end");
        assert_eq!(left.ended().await.unwrap(), Some(3));
    }

    #[tokio::test]
    async fn what_a_plugin_started_ends_with_it_where_that_is_asked_for() {
        let script = |last: &str| Launch { ends_children: true, ..shell(&format!("sleep 1000 & {last}")) };
        let start = |last| script(last).start(&Secret::from("c")).unwrap();
        // Its outputs are closed once nobody holds them.
        let closed = async |lines: &mut mpsc::Receiver<Line>| {
            timeout(Duration::from_secs(10), lines.recv()).await.expect("nobody is left").is_none()
        };
        let mut left = start("exit 3");
        assert_eq!(left.ended().await.unwrap(), Some(3));
        assert!(closed(&mut left.lines).await);
        // The number of its group may be somebody else's by now.
        assert!(left.group.is_none());
        let mut left = start("exit 3");
        assert_eq!(left.end(Duration::from_secs(10)).await.unwrap(), Some(3));
        assert!(closed(&mut left.lines).await);
        let mut stubborn = start("wait");
        assert_eq!(stubborn.end(Duration::ZERO).await.unwrap(), None);
        assert!(closed(&mut stubborn.lines).await);
        let mut dropped = start("wait");
        let mut lines = std::mem::replace(&mut dropped.lines, mpsc::channel(1).1);
        drop(dropped);
        assert!(closed(&mut lines).await);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told() {
        let error = Launch::new("/no/such/program", "demo", 1).start(&Secret::from("c")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
