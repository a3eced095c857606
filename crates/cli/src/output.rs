//! Standard output: one JSON object per line, written by hand so that a body's JSON text stays as it came.

use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use polywire_core::{Body, CallError, Failure, JsonText, json};

use crate::exit::Fault;

/// One line of output while it is being written; members keep their order.
#[derive(Debug)]
pub(crate) struct Line(BytesMut);

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// An object without members.
    pub(crate) fn new() -> Self {
        Self(BytesMut::from(&b"{"[..]))
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.extend_from_slice(b",");
        }
        json::write_string(&mut self.0, name);
        self.0.extend_from_slice(b":");
    }

    /// Adds a string.
    #[must_use]
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        json::write_string(&mut self.0, value);
        self
    }

    /// Adds a number.
    #[must_use]
    pub(crate) fn number(self, name: &str, value: impl Into<u64>) -> Self {
        self.plain(name, &value.into().to_string())
    }

    /// Adds a number with three places.
    #[must_use]
    pub(crate) fn decimal(self, name: &str, value: f64) -> Self {
        let value = if value.is_finite() { value } else { 0.0 };
        self.plain(name, &format!("{value:.3}"))
    }

    /// Adds `true` or `false`.
    #[must_use]
    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.plain(name, if value { "true" } else { "false" })
    }

    /// Adds another object.
    #[must_use]
    pub(crate) fn object(mut self, name: &str, value: Self) -> Self {
        self.name(name);
        self.0.extend_from_slice(&value.close());
        self
    }

    /// Adds JSON text byte for byte. Only where it holds a line break, which can stand outside strings alone, its white space
    /// is left out.
    #[must_use]
    pub(crate) fn json(mut self, name: &str, value: &JsonText) -> Self {
        self.name(name);
        let text = value.as_bytes();
        if text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            json::write_compact(&mut self.0, text);
        } else {
            self.0.extend_from_slice(text);
        }
        self
    }

    /// Adds a body: JSON under `body`, bytes under `binary` as `{"type","b64"}`, nothing for no body.
    #[must_use]
    pub(crate) fn body(self, body: &Body) -> Self {
        match body {
            Body::Empty => self,
            Body::Json(text) => self.json("body", text),
            Body::Binary(binary) => {
                let encoded = STANDARD.encode(&binary.bytes);
                self.object("binary", Self::new().text("type", &binary.kind).text("b64", &encoded))
            }
        }
    }

    fn plain(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    fn close(mut self) -> BytesMut {
        self.0.extend_from_slice(b"}");
        self.0
    }

    /// Writes the line to standard output, at once.
    ///
    /// # Errors
    /// When standard output has gone.
    pub(crate) fn print(self) -> Result<(), Fault> {
        let mut line = self.close();
        line.extend_from_slice(b"\n");
        write_out(&line)
    }
}

/// Writes `bytes` to standard output, at once.
///
/// # Errors
/// When standard output has gone.
pub(crate) fn write_out(bytes: &[u8]) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Fault::output(&error))
}

/// Says something to people on standard error. When that has gone there is nobody to complain to, and the work goes on.
pub(crate) fn say(words: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "polywire: {words}");
}

/// The line for a call that has no response.
pub(crate) fn failed(error: &CallError) -> Line {
    let outcome = match error {
        CallError::Failure(_) => "failure",
        CallError::NotSent(_) => "not_sent",
        CallError::Unknown(_) => "unknown",
    };
    let Failure { code, message, detail, retry, unrouted: _ } = error.failure();
    let line = Line::new()
        .flag("ok", false)
        .text("outcome", outcome)
        .text("code", code.as_str())
        .text("message", message)
        .text("retry", retry.as_str());
    match detail {
        Some(detail) => line.json("detail", detail),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::{Code, JsonLimits};

    fn text(line: Line) -> String {
        String::from_utf8(line.close().to_vec()).unwrap()
    }

    #[test]
    fn a_body_keeps_its_text_and_stays_on_one_line() {
        let body =
            |json: &'static str| JsonText::new(json.as_bytes(), &JsonLimits::default()).unwrap().into();
        let same = r#"{"b": 9007199254740993, "a":1.0e2,"s":"\ud800"}"#;
        assert_eq!(text(Line::new().body(&body(same))), format!("{{\"body\":{same}}}"));
        assert_eq!(text(Line::new().body(&body("[1,\n \"a b\\n\"]"))), r#"{"body":[1,"a b\n"]}"#);
        assert_eq!(text(Line::new().flag("ok", true).body(&Body::Empty)), r#"{"ok":true}"#);
        let bytes = Body::binary("Pose", &[0_u8, 255][..]);
        assert_eq!(text(Line::new().body(&bytes)), r#"{"binary":{"type":"Pose","b64":"AP8="}}"#);
    }

    #[test]
    fn a_failure_says_outcome_code_and_whether_to_try_again() {
        let error = CallError::not_sent(Code::Unavailable, "a \"b\"");
        let expected =
            r#"{"ok":false,"outcome":"not_sent","code":"unavailable","message":"a \"b\"","retry":"safe"}"#;
        assert_eq!(text(failed(&error)), expected);
    }
}
