//! The lines to a program and from it, which calls that go on share.
//!
//! One task writes them. Whoever stops waiting for an answer takes a whole line back or none, so a program that reads slowly never
//! finds half of one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::control::{Ask, Said, What};
use super::outputs::{ENDED, Shared};

/// How long a program may take beyond the time that an ask gives it.
const GRACE: Duration = Duration::from_secs(5);
/// Lines that may wait for a program to read them.
const MAX_WAITING: usize = 16;

/// The lines to a program and from it.
pub(super) struct Talk {
    /// `None` once the program was told to end.
    lines: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    pub(super) shared: Arc<Shared>,
    next: AtomicU64,
}

impl Talk {
    /// A talk, and the work that writes its lines to `input` and then closes it.
    pub(super) fn new(
        input: Option<impl AsyncWrite + Unpin>,
        shared: Arc<Shared>,
    ) -> (Self, impl Future<Output = ()>) {
        let (send, lines) = mpsc::channel(MAX_WAITING);
        let writing = write_lines(input, lines, Arc::clone(&shared));
        (Self { lines: Mutex::new(Some(send)), shared, next: AtomicU64::new(1) }, writing)
    }

    /// An ask with the next number.
    pub(super) fn number(&self, what: What) -> Ask {
        Ask { id: self.next.fetch_add(1, Ordering::Relaxed), what }
    }

    fn expect(&self, id: u64) -> oneshot::Receiver<Said> {
        let (tell, answer) = oneshot::channel();
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, tell);
        answer
    }

    /// Asks, and waits for the one answer, as long as the ask allows and a grace.
    ///
    /// # Errors
    /// One sentence on what the program did instead.
    pub(super) async fn exchange(&self, ask: Ask, limit: Duration) -> Result<Said, String> {
        let limit = limit + GRACE;
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
        let (id, verb) = (ask.id, ask.what.as_str());
        match outcome {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(why)) => Err(format!("at ask {id} (`{verb}`): {why}")),
            Err(_) => Err(format!("it did not answer ask {id} (`{verb}`) within {limit:?}")),
        }
    }

    /// Asks it to end, and has its input closed right behind that.
    pub(super) async fn end(&self) {
        let ask = self.number(What::End);
        // Nobody reads the answer; it is one all the same.
        drop(self.expect(ask.id));
        // One that no longer reads its input is killed.
        let _ = self.write(&ask).await;
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn write(&self, ask: &Ask) -> Result<(), String> {
        let mut line = serde_json::to_vec(ask).map_err(|error| format!("this cannot be asked: {error}"))?;
        line.push(b'\n');
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lines = lines.ok_or("its input is closed")?;
        lines.send(line).await.map_err(|_| "it no longer reads its standard input".to_owned())
    }
}

/// Writes every line whole, and closes the input behind the last.
async fn write_lines(
    input: Option<impl AsyncWrite + Unpin>,
    mut lines: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    let Some(mut input) = input else { return };
    while let Some(line) = lines.recv().await {
        let written = async {
            input.write_all(&line).await?;
            input.flush().await
        };
        if let Err(error) = written.await {
            return shared.break_with(&format!("it no longer reads its standard input: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mask::Mask;
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};

    /// The reader holds less than one line, so the first ask is under way when its time is over.
    #[tokio::test(start_paused = true)]
    async fn an_ask_whose_time_is_over_while_it_is_written_leaves_no_half_line() {
        let (near, far) = tokio::io::duplex(8);
        let (talk, writing) = Talk::new(Some(near), Arc::new(Shared::new(Mask::new(""))));
        tokio::spawn(writing);
        let late = talk.exchange(talk.number(What::Close), Duration::from_secs(1)).await;
        assert_eq!(late, Err("it did not answer ask 1 (`close`) within 6s".to_owned()));
        let mut lines = BufReader::new(far).lines();
        let ((), first) = tokio::join!(talk.end(), lines.next_line());
        assert_eq!(first.unwrap().as_deref(), Some("{\"id\":1,\"do\":\"close\"}"));
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("{\"id\":2,\"do\":\"end\"}"));
        assert_eq!(lines.next_line().await.unwrap(), None, "the input is closed behind it");
    }
}
