//! How a run ends: the one table of exit codes, and the fault that leads to one of them.

use std::fmt;
use std::process::ExitCode;

use polywire_core::{AdapterError, CallError, Close, Code, Failure, JsonText};

macro_rules! exits {
    ($($name:ident = $number:literal, $about:literal;)+) => {
        /// The documented exit codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Exit {
            $(#[doc = $about] $name = $number,)+
        }

        impl Exit {
            /// Every code, from the lowest.
            pub const ALL: &'static [Exit] = &[$(Exit::$name),+];

            /// What it means, for people.
            pub const fn about(self) -> &'static str {
                match self { $(Exit::$name => $about,)+ }
            }
        }
    };
}

exits! {
    Ok = 0, "everything asked for was done";
    Remote = 1, "the peer answered, and the answer was an error";
    Usage = 2, "the command line or a file it names is wrong";
    Connect = 3, "could not connect, or could not listen";
    Outcome = 4, "the deadline passed, or nobody knows whether the call ran";
    Login = 5, "the login was refused";
    Denied = 6, "not allowed, or no such route";
    Limit = 7, "a limit was reached";
    Protocol = 8, "the peer broke the protocol";
    Findings = 9, "a check found problems";
    Bug = 70, "a fault of polywire itself";
}

impl Exit {
    /// The table as text, for `--help`.
    pub fn table() -> String {
        let row = |exit: &Exit| format!("  {:>2}  {}\n", *exit as u8, exit.about());
        let rows: String = Self::ALL.iter().map(row).collect();
        format!("Exit codes:\n{}", rows.trim_end())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb did not do what was asked: the code to end with, what happened, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Fault {
    /// The code to end with.
    pub(crate) exit: Exit,
    /// What happened and whose fault it is.
    pub(crate) what: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// What the peer adds for programs.
    pub(crate) detail: Option<JsonText>,
}

impl Fault {
    /// A fault without advice.
    pub(crate) fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: what.to_string(), hint: None, detail: None }
    }

    /// A mistake on the command line or in a file.
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The same fault with advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Standard output cannot be written. When its reader went away, as `head` does, that is no fault: the run ends with 0.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
        let exit = if gone { Exit::Ok } else { Exit::Usage };
        Self::new(exit, format_args!("cannot write to standard output: {error}"))
    }
}

impl From<AdapterError> for Fault {
    fn from(error: AdapterError) -> Self {
        match error {
            AdapterError::Listen { .. } => {
                Self::new(Exit::Connect, error).hint("choose another address, or port 0 for any free one")
            }
            _ => Self::usage(error),
        }
    }
}

/// The exit code for the outcome of a call.
pub(crate) fn exit_of(error: &CallError) -> Exit {
    match error {
        CallError::Failure(failure) => of_failure(failure),
        CallError::NotSent(failure) => match failure.code {
            Code::Unavailable => Exit::Connect,
            Code::DeadlineExceeded => Exit::Outcome,
            Code::InvalidArgument | Code::Unimplemented => Exit::Usage,
            _ => of_failure(failure),
        },
        CallError::Unknown(_) => Exit::Outcome,
    }
}

fn of_failure(failure: &Failure) -> Exit {
    match failure.code {
        Code::NotFound | Code::PermissionDenied => Exit::Denied,
        Code::Unauthenticated => Exit::Login,
        Code::DeadlineExceeded => Exit::Outcome,
        Code::ResourceExhausted => Exit::Limit,
        _ => Exit::Remote,
    }
}

/// The exit code for the end of a connection, where the end says more than that it is gone.
pub(crate) fn exit_of_close(close: &Close) -> Option<Exit> {
    match close {
        Close::Protocol(_) => Some(Exit::Protocol),
        Close::Limit(_) | Close::Memory(_) => Some(Exit::Limit),
        Close::Refused(_) => Some(Exit::Login),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_code() {
        let failed = |code| CallError::Failure(Failure::new(code, ""));
        for (error, exit) in [
            (failed(Code::InvalidArgument), Exit::Remote),
            (failed(Code::NotFound), Exit::Denied),
            (failed(Code::PermissionDenied), Exit::Denied),
            (failed(Code::Unauthenticated), Exit::Login),
            (failed(Code::DeadlineExceeded), Exit::Outcome),
            (failed(Code::ResourceExhausted), Exit::Limit),
            (failed(Code::Internal), Exit::Remote),
            (CallError::not_sent(Code::Unavailable, ""), Exit::Connect),
            (CallError::not_sent(Code::DeadlineExceeded, ""), Exit::Outcome),
            (CallError::not_sent(Code::Unimplemented, ""), Exit::Usage),
            (CallError::not_sent(Code::Unauthenticated, ""), Exit::Login),
            (CallError::unknown(Code::Unavailable, ""), Exit::Outcome),
        ] {
            assert_eq!(exit_of(&error), exit, "{error:?}");
        }
        assert_eq!(exit_of_close(&Close::Protocol(String::new())), Some(Exit::Protocol));
        assert_eq!(exit_of_close(&Close::Peer), None);
    }
}
