//! The guarantees, one async function each, by topic.

pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod cancel;
pub(crate) mod close;
pub(crate) mod deadline;
pub(crate) mod drain;
pub(crate) mod event;
pub(crate) mod handler;
pub(crate) mod hostile;
pub(crate) mod ledger;
pub(crate) mod limit;
pub(crate) mod login;
pub(crate) mod nuisance;
pub(crate) mod order;
pub(crate) mod progress;
pub(crate) mod queue;
pub(crate) mod reconnect;
pub(crate) mod secret;

use std::time::Duration;

use polywire_core::{Body, JsonLimits, JsonText, Random, SeededRandom};

use crate::finding::Verdict;

/// How a case ends.
pub(crate) type Outcome = Result<Verdict, Broken>;

/// Why a guarantee does not hold, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl Broken {
    /// What was found instead of what is owed.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Ends the case unless this is so.
macro_rules! holds {
    ($so:expr, $($what:tt)+) => {
        if !$so {
            return Err($crate::case::Broken::new(format!($($what)+)));
        }
    };
}

/// Ends the case unless both are the same.
macro_rules! same {
    ($left:expr, $right:expr, $($what:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    let what = format!($($what)+);
                    return Err($crate::case::Broken::new(format!("{what}: {left:?} instead of {right:?}")));
                }
            }
        }
    };
}

pub(crate) use {holds, same};

/// The longest that anything is waited for in real time: long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// How often something is looked at that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(2);

/// Waits for something that must come.
pub(crate) async fn within<F: Future>(what: &str, work: F) -> Result<F::Output, Broken> {
    tokio::time::timeout(LIMIT, work).await.map_err(|_| Broken::new(format!("in vain was waited for {what}")))
}

/// Waits until something is so that tells nobody when it changes.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) -> Result<(), Broken> {
    let mut look = tokio::time::interval(LOOK);
    within(what, async {
        while !so() {
            look.tick().await;
        }
    })
    .await
}

/// Lets every task of this thread run that has something to do: what does not happen meanwhile was not about to.
pub(crate) async fn others() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// A body of JSON that the suite wrote.
pub(crate) fn json(text: impl Into<String>) -> Result<Body, Broken> {
    let text = JsonText::new(text.into(), &JsonLimits::default());
    text.map(Body::Json).map_err(|error| Broken::new(format!("the suite wrote what is no JSON: {error}")))
}

/// The object `{"n":number}`, which every wire carries.
pub(crate) fn numbered(number: usize) -> Body {
    Body::Json(JsonText::from_validated(format!("{{\"n\":{number}}}").into()))
}

/// An object of about so many bytes, which no compression makes much smaller; the same for the same size.
pub(crate) fn large(bytes: usize) -> Body {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = b"{\"t\":\"".to_vec();
    let mut noise = vec![0; bytes];
    SeededRandom::new(bytes as u64).fill(&mut noise);
    text.extend(noise.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 64))));
    text.extend_from_slice(b"\"}");
    Body::Json(JsonText::from_validated(text.into()))
}
