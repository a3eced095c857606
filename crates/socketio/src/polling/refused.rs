//! What a server says instead of an answer.

use std::fmt;

use hyper::StatusCode;
use polywire_core::JsonLimits;
use polywire_core::json::{self, Members};

/// Most of the server's own words.
const MAX_WORDS: usize = 120;

/// An answer with a status other than 200.
///
/// Observed with engine.io 6.6: 400, or 403 for code 4, with `{"code":1,"message":"Session ID unknown"}`; with socketioxide
/// 0.18 the code is a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    status: StatusCode,
    code: Option<u64>,
    message: String,
}

impl Refused {
    /// From a status and as much of the body as is worth looking at.
    pub(crate) fn new(status: StatusCode, body: &[u8]) -> Self {
        let (mut code, mut message) = (None, String::new());
        let limits = JsonLimits::default();
        if let Ok(mut walk) = Members::new(body, &limits) {
            while let Ok(Some((key, place))) = walk.next() {
                let value = body.get(place).unwrap_or_default();
                let text = json::as_string(value);
                if key.is("code") {
                    let digits = text.as_deref().or_else(|| std::str::from_utf8(value).ok());
                    code = digits.and_then(|digits| digits.parse().ok());
                } else if key.is("message") {
                    message = text.unwrap_or_default().chars().take(MAX_WORDS).collect();
                }
            }
        }
        Self { status, code, message }
    }

    /// What it means.
    fn meaning(&self) -> Option<&'static str> {
        Some(match (self.code, self.status) {
            (Some(0), _) => "it does not offer this transport",
            (Some(1), _) => "it does not know this session, or has forgotten it",
            (Some(2), _) => "a session cannot begin with this method",
            (Some(3), _) => "it finds the request malformed",
            (Some(4), _) => "it does not let this client in",
            (Some(5), _) => "it does not speak version 4 of Engine.IO",
            (None, StatusCode::PAYLOAD_TOO_LARGE) => "a body exceeds its maxPayload",
            (None, StatusCode::NOT_FOUND) => "nothing answers under this path",
            (None, status) if status.is_redirection() => "it redirects, which is not followed",
            _ => return None,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server refuses with HTTP status {}", self.status.as_u16())?;
        if let Some(meaning) = self.meaning() {
            write!(f, ": {meaning}")?;
        }
        match (self.code, self.message.as_str()) {
            (Some(code), "") => write!(f, " (code {code})"),
            (Some(code), message) => write!(f, " (code {code}, {message:?})"),
            (None, "") => Ok(()),
            (None, message) => write!(f, " ({message:?})"),
        }
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> String {
        Refused::new(StatusCode::from_u16(status).unwrap_or_default(), body.as_bytes()).to_string()
    }

    #[test]
    fn h02_a_refusal_is_told_in_words_whether_its_code_is_a_number_or_a_string() {
        let unknown = "the server refuses with HTTP status 400: it does not know this session, or has forgotten it (code 1, \
                       \"Session ID unknown\")";
        assert_eq!(told(400, r#"{"code":1,"message":"Session ID unknown"}"#), unknown);
        assert_eq!(told(400, r#"{"code":"1","message":"Session ID unknown"}"#), unknown);
        let words = ["transport", "session", "method", "malformed", "let this client in", "version 4"];
        for (code, word) in words.into_iter().enumerate() {
            assert!(told(400, &format!("{{\"code\":{code}}}")).contains(word), "{code}");
        }
    }

    #[test]
    fn whatever_else_is_answered_is_told_too() {
        assert_eq!(told(413, ""), "the server refuses with HTTP status 413: a body exceeds its maxPayload");
        assert_eq!(
            told(404, "Cannot GET"),
            "the server refuses with HTTP status 404: nothing answers under this path"
        );
        assert_eq!(told(502, "<html>"), "the server refuses with HTTP status 502");
        for odd in ["[1]", "{\"code\":-1}", "{\"code\":{}}", "{\"code\":", "{\"code\":1e400}", "\u{0}"] {
            assert_eq!(told(400, odd), "the server refuses with HTTP status 400", "{odd}");
        }
        let long = format!("{{\"message\":\"{}\\n\"}}", "x".repeat(4_000));
        assert!(told(400, &long).len() < 200);
        assert!(told(400, "{\"message\":\"a\\r\\nb\"}").ends_with("(\"a\\r\\nb\")"));
    }
}
