//! How a plugin takes its last request.

use polywire_core::{Body, CallError, Code, Outcome};

/// What became of a plugin's `shutdown`. It is complete with an answer or with the end of the connection, whichever comes first.
#[derive(Clone, Debug, PartialEq)]
pub enum Farewell {
    /// It answered with this.
    Answered(Body),
    /// It answered with an error, in these words.
    Failed(String),
    /// It left without an answer, which is no fault: plugins on the C# helper do.
    Left,
    /// It did neither in time.
    Silent,
    /// It could not be asked: it was not there.
    Absent,
}

impl From<Outcome> for Farewell {
    /// What the outcome of a call of `shutdown` means.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(response) => Self::Answered(response.body),
            Err(CallError::Failure(failure)) => Self::Failed(failure.message.into_owned()),
            Err(CallError::NotSent(_)) => Self::Absent,
            Err(CallError::Unknown(failure)) if failure.code == Code::DeadlineExceeded => Self::Silent,
            Err(CallError::Unknown(_)) => Self::Left,
        }
    }
}
