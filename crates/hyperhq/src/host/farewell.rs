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
    /// It could not be asked: it was not there, or was just going to another connection.
    Absent,
}

impl From<Outcome> for Farewell {
    /// What the outcome of a call of `shutdown` means.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(response) => Self::Answered(response.body),
            Err(CallError::Failure(failure)) => Self::Failed(failure.message.into_owned()),
            // It took no more requests, or it took this one and said nothing.
            Err(CallError::NotSent(failure) | CallError::Unknown(failure))
                if failure.code == Code::DeadlineExceeded =>
            {
                Self::Silent
            }
            Err(CallError::NotSent(_)) => Self::Absent,
            Err(CallError::Unknown(_)) => Self::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_is_who_was_not_there_and_silent_is_who_took_nothing_in_time() {
        for (code, farewell) in [
            (Code::Unavailable, Farewell::Absent),
            (Code::ResourceExhausted, Farewell::Absent),
            (Code::DeadlineExceeded, Farewell::Silent),
        ] {
            assert_eq!(Farewell::from(Err(CallError::not_sent(code, "why"))), farewell, "{code:?}");
        }
    }
}
