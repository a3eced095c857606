//! Lines to messages and back, field for field.
//!
//! ```text
//! HELLO parley 1                  the side that listens, first of all: the version
//! LOGIN ann s3cret                the side that dialled: a name and a secret; LOGIN alone is a guest
//! WELCOME                         the login was right
//! REFUSED "wrong password"        it was not, and why, as a JSON string
//!
//! ASK 7 greet {"n":1}             a request: an id that is not in use, a name, and a body of JSON or none
//! OK 7 {"n":2}                    its answer
//! NO 7 not_found "no such thing"  its failure: a code in one word, and what happened as a JSON string
//! DROP 7                          no answer to that request is wanted any more; one may be under way, so the id is not used again
//! SAY moved [1,2]                 an event
//! BEAT                            a sign of life, at least every ten seconds
//! BYE                             the sender is leaving
//! ```
//!
//! A line is UTF-8 and ends in a line break. Its words stand one blank apart; names and secrets are single words. What stands
//! above the gap is the login, everything below comes after `WELCOME` and from either side.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use polywire_core::{ByteString, Count, Secret, json};

/// One line of the protocol.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Hello { version: u32 },
    Login(Option<(ByteString, Secret)>),
    Welcome,
    Refused { why: String },
    Ask { id: u64, name: ByteString, body: ByteString },
    Ok { id: u64, body: ByteString },
    No { id: u64, code: ByteString, why: String },
    Drop { id: u64 },
    Say { name: ByteString, body: ByteString },
    Beat,
    Bye,
}

// begin read
/// Reads a line, or tells under which reason it is counted.
pub(crate) fn read(line: &Bytes) -> Result<Message, Count> {
    let line = ByteString::try_from(line.clone()).map_err(|_| Count::Undecodable)?;
    let mut rest = Rest(line);
    let message = match &*rest.take() {
        "HELLO" if rest.take() == "parley" => Message::Hello { version: rest.number()? },
        "LOGIN" if rest.is_empty() => Message::Login(None),
        "LOGIN" => Message::Login(Some((rest.word()?, Secret::from(&*rest.word()?)))),
        "WELCOME" => Message::Welcome,
        "REFUSED" => Message::Refused { why: rest.text()? },
        "ASK" => Message::Ask { id: rest.number()?, name: rest.word()?, body: rest.body() },
        "OK" => Message::Ok { id: rest.number()?, body: rest.body() },
        "NO" => Message::No { id: rest.number()?, code: rest.word()?, why: rest.text()? },
        "DROP" => Message::Drop { id: rest.number()? },
        "SAY" => Message::Say { name: rest.word()?, body: rest.body() },
        "BEAT" => Message::Beat,
        "BYE" => Message::Bye,
        "HELLO" => return Err(Count::Undecodable),
        _ => return Err(Count::UnknownKind),
    };
    if rest.is_empty() { Ok(message) } else { Err(Count::Undecodable) }
}
// end read

/// What of a line was not read yet.
struct Rest(ByteString);

impl Rest {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next word; empty at the end and between two blanks.
    fn take(&mut self) -> ByteString {
        let (word, rest) = self.0.split_once(' ').unwrap_or((&self.0, ""));
        let (word, rest) = (self.0.slice_ref(word), self.0.slice_ref(rest));
        self.0 = rest;
        word
    }

    fn word(&mut self) -> Result<ByteString, Count> {
        Some(self.take()).filter(|word| !word.is_empty()).ok_or(Count::Undecodable)
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, Count> {
        self.take().parse().map_err(|_| Count::Undecodable)
    }

    /// A JSON string up to the end.
    fn text(&mut self) -> Result<String, Count> {
        let text = json::as_string(self.0.as_bytes()).ok_or(Count::Undecodable)?.into_owned();
        self.0 = ByteString::new();
        Ok(text)
    }

    /// Everything up to the end.
    fn body(&mut self) -> ByteString {
        std::mem::take(&mut self.0)
    }
}

impl Message {
    /// The line that says it.
    pub(crate) fn line(&self) -> Bytes {
        let line = match self {
            Message::Hello { version } => format!("HELLO parley {version}"),
            Message::Login(None) => "LOGIN".to_owned(),
            Message::Login(Some((name, secret))) => {
                return [&b"LOGIN "[..], name.as_bytes(), b" ", secret.expose()].concat().into();
            }
            Message::Welcome => "WELCOME".to_owned(),
            Message::Refused { why } => format!("REFUSED {}", quoted(why)),
            Message::Ask { id, name, body } => format!("ASK {id} {name}{}", after_blank(body)),
            Message::Ok { id, body } => format!("OK {id}{}", after_blank(body)),
            Message::No { id, code, why } => format!("NO {id} {code} {}", quoted(why)),
            Message::Drop { id } => format!("DROP {id}"),
            Message::Say { name, body } => format!("SAY {name}{}", after_blank(body)),
            Message::Beat => "BEAT".to_owned(),
            Message::Bye => "BYE".to_owned(),
        };
        line.into()
    }
}

/// Can this stand as one word?
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains([' ', '\n'])
}

fn after_blank(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(" {body}") }
}

fn quoted(text: &str) -> String {
    let mut quoted = BytesMut::new();
    json::write_string(&mut quoted, text);
    String::from_utf8_lossy(&quoted).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // begin golden
    #[test]
    fn every_golden_line_is_read_and_written_the_same() {
        for line in include_str!("../vectors/golden.txt").lines() {
            let message = read(&Bytes::from(line)).unwrap();
            assert_eq!(message.line(), line, "{message:?}");
        }
    }

    #[test]
    fn every_malformed_line_is_refused() {
        for line in include_bytes!("../vectors/malformed.txt").split(|byte| *byte == b'\n') {
            let read = read(&Bytes::copy_from_slice(line));
            assert!(read.is_err(), "{:?} was read as {read:?}", String::from_utf8_lossy(line));
        }
    }
    // end golden

    #[test]
    fn no_secret_is_seen() {
        let message = read(&Bytes::from_static(b"LOGIN ann s3cret")).unwrap();
        assert!(!format!("{message:?}").contains("s3cret"));
    }
}
