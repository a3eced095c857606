//! How a call ended, whoever made it, and whether that was expected.

use polywire_core::{BinaryForm, Body, CallError, Code, EmptyReply, Errors, Failure};

use super::control::{Bodies, Said, Word};
use super::mask::escape;
use super::step::{By, Expect};
use super::wire::Wire;

/// Characters of a body that are shown.
const MAX_SHOWN: usize = 160;

/// Bytes of a program's message that are shown.
const MAX_TOLD: usize = 400;

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ended {
    Answer(Body),
    Failure { code: Option<String>, message: String },
    NotSent(String),
    Unknown(String),
    GivenUp,
}

/// Why a client is not connected.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Apart {
    /// Its login was refused.
    Refused(String),
    /// Anything else.
    Failed(String),
}

impl Apart {
    /// The words for it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Refused(why) => format!("refused: {}", escape(why)),
            Self::Failed(why) => format!("failed: {}", escape(why)),
        }
    }
}

impl From<CallError> for Ended {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failure(failure) => Self::Failure {
                code: Some(failure.code.as_str().to_owned()),
                message: failure.message.into_owned(),
            },
            CallError::NotSent(failure) => Self::NotSent(failure.to_string()),
            CallError::Unknown(failure) => Self::Unknown(failure.to_string()),
        }
    }
}

impl Ended {
    /// What a program said of a call.
    ///
    /// # Errors
    /// When that is not how a call can end.
    pub(super) fn of(said: Said) -> Result<Self, String> {
        let message = told(said.message);
        Ok(match said.outcome {
            Word::Answer => Self::Answer(said.body.to_body()?),
            Word::Failure => Self::Failure { code: said.code, message },
            Word::NotSent => Self::NotSent(message),
            Word::Unknown => Self::Unknown(message),
            Word::GivenUp => Self::GivenUp,
            word => {
                let word = word.as_str();
                return Err(format!(
                    "it says that a call ended as `{word}`, and one ends as answer, failure, not_sent, unknown or given_up"
                ));
            }
        })
    }

    /// The words for it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Answer(body) => format!("the answer {}", shown(body)),
            Self::Failure { code: Some(code), message } => format!("the failure {code}: {}", escape(message)),
            Self::Failure { code: None, message } => format!("a failure: {}", escape(message)),
            Self::NotSent(why) => format!("not_sent: {}", escape(why)),
            Self::Unknown(why) => format!("unknown: {}", escape(why)),
            Self::GivenUp => "given_up".to_owned(),
        }
    }
}

/// The words of a program, as many of them as a report can bear.
pub(super) fn told(message: Option<String>) -> String {
    let Some(mut message) = message.filter(|message| !message.is_empty()) else {
        return "without a message".to_owned();
    };
    if message.len() > MAX_TOLD {
        let more = message.len() - message.floor_char_boundary(MAX_TOLD);
        message.truncate(message.floor_char_boundary(MAX_TOLD));
        message.push_str(&format!("… ({more} bytes more)"));
    }
    message
}

/// A body for people.
pub(super) fn shown(body: &Body) -> String {
    match body {
        Body::Empty => "without a body".to_owned(),
        Body::Json(text) => {
            let text = text.as_str();
            let end = text.floor_char_boundary(MAX_SHOWN);
            let more = text.len() - end;
            let head = escape(text.get(..end).unwrap_or_default());
            if more == 0 { head } else { format!("{head}… ({} bytes)", text.len()) }
        }
        Body::Binary(binary) => format!("of {} bytes of type {:?}", binary.bytes.len(), &*binary.kind),
    }
}

/// What is wanted of a call: what it sent, and how it is to end.
pub(super) struct Wanted<'a> {
    pub(super) by: By,
    pub(super) sent: &'a Body,
    pub(super) expect: Expect,
    pub(super) code: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    /// Did it take all the time it had?
    pub(super) lapsed: bool,
}

impl Wanted<'_> {
    /// Is this how it was to end?
    ///
    /// # Errors
    /// What was expected instead, in words.
    pub(super) fn judge(&self, got: &Ended, wire: &Wire) -> Result<(), String> {
        let held = match self.expect {
            Expect::Same => return self.same(got, wire),
            Expect::Failure => return self.failure(got, wire),
            Expect::Unserved => return self.unserved(got, wire),
            Expect::NotSent => matches!(got, Ended::NotSent(_)),
            Expect::Unknown => matches!(got, Ended::Unknown(_)),
            Expect::GivenUp => matches!(got, Ended::GivenUp),
            Expect::NoAnswer => !matches!(got, Ended::Answer(_)),
            Expect::Refused => !matches!(got, Ended::Answer(_)) && !self.lapsed,
            Expect::Done => false,
        };
        let words = match self.expect {
            Expect::NotSent => "not_sent",
            Expect::Unknown => "unknown",
            Expect::GivenUp => "given_up",
            Expect::Refused => "a refusal before its time is over",
            _ => "anything but an answer",
        };
        if held { Ok(()) } else { Err(words.to_owned()) }
    }

    /// The body that was sent, as this wire brings it there and back.
    fn same(&self, got: &Ended, wire: &Wire) -> Result<(), String> {
        let facts = &wire.particulars;
        let json = |text: &'static str| Body::Json(polywire_core::JsonText::from_validated(text.into()));
        let there = match self.sent {
            Body::Empty => facts.empty_request.map_or(Body::Empty, json),
            Body::Json(text) if text.as_bytes() == b"null" && self.by == By::Client => {
                json(facts.null_client_request)
            }
            body => body.clone(),
        };
        let back = match (&there, facts.empty_reply) {
            // Which of these it is, a program may choose: an answer of nothing, of null, or none.
            (Body::Empty, EmptyReply::Silence) => {
                let silent = matches!(got, Ended::Unknown(_));
                let null = *got == Ended::Answer(Body::null()) || *got == Ended::Answer(Body::Empty);
                return if silent || null { Ok(()) } else { Err("an answer of null, or none".to_owned()) };
            }
            (Body::Empty, EmptyReply::Value(text)) => json(text),
            _ => there,
        };
        match got {
            Ended::Answer(body) if is_same(&back, body, wire) => Ok(()),
            _ => Err(format!("the answer {}", shown(&back))),
        }
    }

    fn failure(&self, got: &Ended, wire: &Wire) -> Result<(), String> {
        let code = self.code.and_then(Code::from_name).unwrap_or(Code::Unknown);
        let code = (wire.particulars.code)(code).as_str();
        let wanted = self.message.unwrap_or_default();
        let Some((got_code, got_message)) = as_failure(got, wire) else {
            return Err(format!("the failure {code}: {wanted}"));
        };
        let same = is_code(got_code.as_deref(), code, wire) && got_message == wanted;
        if same { Ok(()) } else { Err(format!("the failure {code}: {wanted}")) }
    }

    fn unserved(&self, got: &Ended, wire: &Wire) -> Result<(), String> {
        let code = (wire.particulars.code)(Code::NotFound).as_str();
        match as_failure(got, wire) {
            Some((got_code, _)) if is_code(got_code.as_deref(), code, wire) => Ok(()),
            _ => Err(format!("a failure {code}")),
        }
    }
}

/// Is this the code? A program may leave out one that its wire does not tell.
fn is_code(got: Option<&str>, wanted: &str, wire: &Wire) -> bool {
    got.map_or(wire.capabilities.errors != Errors::Codes, |got| got == wanted)
}

/// Code and words of a failure. On wires that tell failures inside answers an end may hand that answer on.
fn as_failure(got: &Ended, wire: &Wire) -> Option<(Option<String>, String)> {
    match got {
        Ended::Failure { code, message } => Some((code.clone(), message.clone())),
        Ended::Answer(Body::Json(text)) if wire.capabilities.errors == Errors::InBody => {
            let Failure { code, message, .. } = Failure::from_json(text)?;
            Some((Some(code.as_str().to_owned()), message.into_owned()))
        }
        _ => None,
    }
}

/// Is this the body, as far as wire and program can tell?
pub(super) fn is_same(wanted: &Body, got: &Body, wire: &Wire) -> bool {
    match (wanted, got) {
        (Body::Json(wanted), Body::Json(got)) => {
            let text = wanted == got;
            match wire.bodies {
                Bodies::Text => text,
                Bodies::Values => text || value(wanted).is_some_and(|wanted| Some(wanted) == value(got)),
            }
        }
        (Body::Binary(wanted), Body::Binary(got)) => {
            let typed = wire.capabilities.binary == BinaryForm::Typed;
            wanted.bytes == got.bytes && (!typed || wanted.kind == got.kind)
        }
        (wanted, got) => wanted == got,
    }
}

/// The value of a JSON text as a language sees it whose numbers are doubles.
fn value(text: &polywire_core::JsonText) -> Option<serde_json::Value> {
    fn doubles(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Number(number) => {
                if let Some(double) = number.as_f64().and_then(serde_json::Number::from_f64) {
                    *number = double;
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(doubles),
            serde_json::Value::Object(members) => members.values_mut().for_each(doubles),
            _ => {}
        }
    }
    let mut value = text.parse().ok()?;
    doubles(&mut value);
    Some(value)
}
