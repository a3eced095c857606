//! The steps of a case, as data.

use serde::Deserialize;

use super::control::Mode;

/// One of the two ends of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// The end that dials.
    #[default]
    Client,
    /// The end that listens.
    Server,
}

impl By {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// Is this end the program's?
    pub(super) const fn is_program(self, mode: Mode) -> bool {
        matches!((self, mode), (Self::Client, Mode::Client) | (Self::Server, Mode::Server))
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// One step of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Step {
    /// Calls, and compares what comes back.
    Call(Call),
    /// Begins a call of `sleep`, and waits until it runs at the other end.
    Begin(Begin),
    /// Gives up the call that was begun.
    GiveUp,
    /// Compares how the call that was begun ends.
    Ends(Ends),
    /// Sends events.
    Notify(Notify),
    /// Compares the events that were heard.
    Heard(Heard),
    /// Cuts every connection.
    Cut,
    /// The client connects and logs in.
    Dial(Dial),
    /// An end closes in order.
    Close(Close),
    /// How often `sleep` began with this key.
    Ran(Ran),
    /// Bytes that are not of this wire, from a stranger to a program that listens, from an impostor to one that dials.
    Hostile(Hostile),
    /// The program ends.
    End,
}

/// Calls: one body, each of several, or one many times at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    #[serde(default)]
    pub(super) by: By,
    pub(super) route: String,
    pub(super) body: Option<String>,
    /// Bodies, one after the other.
    pub(super) each: Option<Vec<String>>,
    /// Objects with a string of so many bytes.
    pub(super) sizes: Option<Vec<usize>>,
    /// So many bytes.
    pub(super) bytes: Option<Vec<usize>>,
    /// An object that is larger than the limit of the end that listens, also where it is compressed.
    #[serde(default)]
    pub(super) beyond_limit: bool,
    /// Half of the largest body that wire and program take.
    pub(super) within_limit: Option<Form>,
    /// So many at once; `$n` in the body counts them, `$r` jumps about.
    #[serde(default = "one")]
    pub(super) times: u32,
    #[serde(default = "patience")]
    pub(super) timeout_ms: u64,
    #[serde(default)]
    pub(super) expect: Expect,
    /// The code of a failure that is expected.
    pub(super) code: Option<String>,
    /// Its words.
    pub(super) message: Option<String>,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// An object with a long string.
    Object,
    /// Bytes.
    Bytes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    #[serde(default)]
    pub(super) by: By,
    pub(super) ms: u64,
    pub(super) key: String,
    #[serde(default = "patience")]
    pub(super) timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ends {
    pub(super) expect: Expect,
    /// How soon.
    #[serde(default = "patience")]
    pub(super) within_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    #[serde(default)]
    pub(super) by: By,
    pub(super) body: Option<String>,
    pub(super) each: Option<Vec<String>>,
    #[serde(default = "one")]
    pub(super) times: u32,
    /// `done` or `not_sent`.
    #[serde(default = "done")]
    pub(super) expect: Expect,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heard {
    #[serde(default)]
    pub(super) by: By,
    pub(super) body: Option<String>,
    pub(super) each: Option<Vec<String>>,
    #[serde(default = "one")]
    pub(super) times: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dial {
    /// `done` or `refused`.
    #[serde(default = "done")]
    pub(super) expect: Expect,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Close {
    pub(super) by: By,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ran {
    pub(super) key: String,
    pub(super) times: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hostile {
    /// The bytes, with the escapes of TOML.
    #[serde(default)]
    pub(super) text: String,
    /// The bytes in hexadecimal digits.
    #[serde(default)]
    pub(super) hex: String,
    /// So often.
    #[serde(default = "one")]
    pub(super) times: u32,
    /// Close at once, instead of staying.
    #[serde(default)]
    pub(super) leave: bool,
}

impl Hostile {
    /// The bytes; `None` when the digits are not hexadecimal.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut once = self.text.clone().into_bytes();
        for pair in self.hex.as_bytes().chunks(2) {
            once.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
        }
        Some(once.repeat(usize::try_from(self.times).ok()?))
    }
}

/// What is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Expect {
    /// An answer with the body that was sent, as far as the wire tells nothing from null.
    #[default]
    Same,
    /// A failure with this code and these words.
    Failure,
    /// The failure of a name that nobody serves.
    Unserved,
    /// It did not leave.
    NotSent,
    /// It left, and nobody knows.
    Unknown,
    /// It was given up.
    GivenUp,
    /// Anything but an answer.
    NoAnswer,
    /// It was done.
    Done,
    /// A login that is refused; a call that ends without an answer before its time is over.
    Refused,
}

fn one() -> u32 {
    1
}

fn patience() -> u64 {
    5_000
}

fn done() -> Expect {
    Expect::Done
}

/// The bodies of a step, in order, as JSON text: `each` of them, or one for each of `times`.
pub(super) fn texts(body: Option<&String>, each: Option<&Vec<String>>, times: u32) -> Vec<String> {
    if let Some(each) = each {
        return each.clone();
    }
    let body = body.map_or("{}", String::as_str);
    (1..=times)
        .map(|n| body.replace("$n", &n.to_string()).replace("$r", &(n * 37 % 61).to_string()))
        .collect()
}
