//! The control protocol as types: what the runner asks, and what a program says. `CONTROL.md` shows each on a line.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use polywire_core::{Binary, Body, JsonLimits, JsonText};
use serde::{Deserialize, Serialize};

/// The version of the control protocol that this runner speaks.
pub const PROTOCOL: u32 = 1;
/// The variable with the mode, `client` or `server`.
pub const MODE_VARIABLE: &str = "POLYWIRE_MODE";
/// The variable with the secret of this launch.
pub const SECRET_VARIABLE: &str = "POLYWIRE_SECRET";

/// The first line of a program: what it speaks, and what it can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the control protocol.
    pub hello: u32,
    /// The wire, where the program listens, and the options of the runner's end, as a URL without secrets.
    pub target: String,
    /// The options of the runner's end that have the secret of this launch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// What the program can do beyond serving and making calls.
    pub can: Vec<Feature>,
    /// How it reports bodies.
    #[serde(default)]
    pub bodies: Bodies,
    /// The largest message it takes, in bytes, where it has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<u64>,
}

/// What not every wire and not every program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// Events from the end that dials.
    ClientEvents,
    /// Events from the end that listens.
    Push,
    /// Calls from the end that listens.
    ServerCalls,
    /// Bodies that are bytes.
    Binary,
    /// Giving a call up before its answer.
    GiveUp,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Feature; 5] =
        [Self::ClientEvents, Self::Push, Self::ServerCalls, Self::Binary, Self::GiveUp];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientEvents => "client_events",
            Self::Push => "push",
            Self::ServerCalls => "server_calls",
            Self::Binary => "binary",
            Self::GiveUp => "give_up",
        }
    }
}

/// How a program carries and reports bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bodies {
    /// As the text that stood on the wire: compared byte for byte.
    #[default]
    Text,
    /// As values of its language, written anew: compared as values, numbers as doubles.
    Values,
}

/// One line to a program: a number, and what it is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The number, which the answer repeats.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub what: What,
}

/// What a program is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// Connect and log in; after a lost connection, do so again.
    Dial {
        /// `host:port`.
        address: String,
        /// How long it may take.
        timeout_ms: u64,
    },
    /// Make one call, and say how it ended.
    Call {
        /// The route.
        route: String,
        /// The body.
        #[serde(flatten)]
        body: Carried,
        /// How long it may take; its outcome is unknown then.
        timeout_ms: u64,
    },
    /// Send one event.
    Notify {
        /// The route.
        route: String,
        /// The body.
        #[serde(flatten)]
        body: Carried,
    },
    /// Report the events heard since the last report, as soon as there are `count`, or when the time is over.
    Heard {
        /// How many to wait for.
        count: u64,
        /// How long to wait for them.
        timeout_ms: u64,
    },
    /// Give a call up: it is answered `given_up`.
    GiveUp {
        /// The number of the call.
        call: u64,
    },
    /// Take nothing new, let what is in flight end, and close every connection.
    Close,
    /// End, with exit code 0.
    End,
}

impl What {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Dial { .. } => "dial",
            Self::Call { .. } => "call",
            Self::Notify { .. } => "notify",
            Self::Heard { .. } => "heard",
            Self::GiveUp { .. } => "give_up",
            Self::Close => "close",
            Self::End => "end",
        }
    }
}

/// The answer of a program to one [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The number of the ask.
    pub id: u64,
    /// How it went.
    pub outcome: Word,
    /// The body of an answer.
    #[serde(flatten)]
    pub body: Carried,
    /// The code of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The words of a failure, or why something could not be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The events heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Told>>,
}

impl Said {
    /// An answer of one word.
    pub fn word(id: u64, outcome: Word) -> Self {
        Self { id, outcome, body: Carried::default(), code: None, message: None, events: None }
    }
}

/// How something that was asked went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Word {
    /// A call was answered.
    Answer,
    /// A call was answered, and the answer was an error.
    Failure,
    /// A call or an event did not leave: the peer surely has not acted.
    NotSent,
    /// A call left and no answer came: the peer may have acted.
    Unknown,
    /// A call was given up.
    GivenUp,
    /// It is done.
    Done,
    /// The login was refused.
    Refused,
    /// It could not be done.
    Failed,
}

impl Word {
    /// Every word.
    pub const ALL: [Word; 8] = [
        Self::Answer,
        Self::Failure,
        Self::NotSent,
        Self::Unknown,
        Self::GivenUp,
        Self::Done,
        Self::Refused,
        Self::Failed,
    ];

    /// The word as it stands on a line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Failure => "failure",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::GivenUp => "given_up",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// An event that a program heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The route.
    pub route: String,
    /// The body.
    #[serde(flatten)]
    pub body: Carried,
}

/// A body on a control line: JSON as a string that holds its text, bytes as base64, neither for no body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The text of a JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<Base64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Base64 {
    #[serde(rename = "type", default)]
    kind: String,
    b64: String,
}

impl From<&Body> for Carried {
    fn from(body: &Body) -> Self {
        match body {
            Body::Empty => Self::default(),
            Body::Json(text) => Self { body: Some(text.as_str().to_owned()), bytes: None },
            Body::Binary(binary) => {
                let Binary { kind, bytes, .. } = &**binary;
                let bytes = Base64 { kind: kind.to_string(), b64: STANDARD.encode(bytes) };
                Self { body: None, bytes: Some(bytes) }
            }
        }
    }
}

impl Carried {
    /// The body that this stands for.
    ///
    /// # Errors
    /// One sentence, when the text is no JSON, the bytes are no base64, or both are there.
    pub fn to_body(&self) -> Result<Body, String> {
        match (&self.body, &self.bytes) {
            (None, None) => Ok(Body::Empty),
            (Some(text), None) => {
                JsonText::new(text.clone(), &JsonLimits::default()).map(Body::Json).map_err(|error| {
                    format!("its member body does not hold the text of one JSON value: {error}")
                })
            }
            (None, Some(bytes)) => STANDARD
                .decode(&bytes.b64)
                .map(|decoded| Body::binary(bytes.kind.clone(), decoded))
                .map_err(|error| format!("its member bytes.b64 is no base64: {error}")),
            (Some(_), Some(_)) => Err("it has both a body and bytes".to_owned()),
        }
    }
}

/// Which end the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It dials; our adapter listens.
    Client,
    /// It listens; our adapter dials.
    Server,
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests;
