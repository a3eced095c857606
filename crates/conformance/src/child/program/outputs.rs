//! What a program writes: lines of the protocol on standard output, words for people on standard error.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::{oneshot, watch};

use super::super::control::{Hello, PROTOCOL, Said};
use super::super::mask::Mask;

/// Longest line of a program.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Lines of standard error that are kept for reports.
const MAX_KEPT_LINES: usize = 12;
/// Bytes of such a line.
const MAX_KEPT_BYTES: u64 = 400;

/// Why nothing comes any more.
pub(super) const ENDED: &str = "its standard output ended";

/// What the readers of its outputs and those who ask share.
pub(super) struct Shared {
    pub(super) waiting: Mutex<BTreeMap<u64, oneshot::Sender<Said>>>,
    /// Why nothing more can be expected of it.
    pub(super) broken: watch::Sender<Option<String>>,
    errors: Mutex<VecDeque<String>>,
    /// Is its standard error over?
    pub(super) errors_ended: watch::Sender<bool>,
    pub(super) mask: Mask,
}

impl Shared {
    /// Nothing was written yet.
    pub(super) fn new(mask: Mask) -> Self {
        Self {
            waiting: Mutex::default(),
            broken: watch::Sender::new(None),
            errors: Mutex::default(),
            errors_ended: watch::Sender::new(false),
            mask,
        }
    }

    pub(super) fn break_with(&self, why: &str) {
        let why = self.mask.plain(why);
        self.broken.send_if_modified(|broken| broken.is_none() && broken.replace(why).is_none());
    }

    fn take(&self, line: &[u8]) {
        let said: Said = match serde_json::from_slice(line) {
            Ok(said) => said,
            Err(error) => {
                let shown = self.mask.shown(line.trim_ascii_end());
                let hint = if line.starts_with(b"{") { "" } else { "; logs belong on standard error" };
                return self.break_with(&format!(
                    "a line of its standard output is no answer ({error}{hint}): {shown}"
                ));
            }
        };
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&said.id);
        match waiting {
            // Whoever asked may have stopped waiting.
            Some(waiting) => drop(waiting.send(said)),
            None => self.break_with(&format!(
                "it answered ask {}, which is not open: it was answered before, it is over, or there is none",
                said.id
            )),
        }
    }

    pub(super) fn printed(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

pub(super) async fn read_output(
    output: Option<impl AsyncRead + Unpin>,
    hello: oneshot::Sender<Hello>,
    shared: Arc<Shared>,
) {
    let Some(output) = output else { return };
    let mut output = BufReader::new(output);
    let mut hello = Some(hello);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut output).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            return shared.break_with(ENDED);
        }
        if !line.ends_with(b"\n") && line.len() as u64 == MAX_LINE_BYTES {
            let most = MAX_LINE_BYTES >> 20;
            return shared.break_with(&format!("a line of its standard output is longer than {most} MiB"));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match hello.take() {
            None => shared.take(&line),
            Some(tell) => match greeting(&line) {
                // Nobody listens when the time for it is over.
                Ok(hello) => drop(tell.send(hello)),
                Err(why) => {
                    let shown = shared.mask.shown(line.trim_ascii_end());
                    return shared.break_with(&format!("its first line {why}: {shown}"));
                }
            },
        }
    }
}

fn greeting(line: &[u8]) -> Result<Hello, String> {
    let hello: Hello = serde_json::from_slice(line).map_err(|error| format!("is no hello ({error})"))?;
    if hello.hello != PROTOCOL {
        return Err(format!(
            "speaks version {} of the control protocol, and this is {PROTOCOL}",
            hello.hello
        ));
    }
    Ok(hello)
}

pub(super) async fn keep_errors(errors: Option<impl AsyncRead + Unpin>, shared: Arc<Shared>) {
    let Some(errors) = errors else { return };
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A longer line is kept in pieces.
        let read = (&mut errors).take(MAX_KEPT_BYTES).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            shared.errors_ended.send_replace(true);
            return;
        }
        let shown = shared.mask.shown(line.trim_ascii_end());
        let mut kept = shared.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(shown);
    }
}
