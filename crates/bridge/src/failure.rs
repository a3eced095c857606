//! What the caller of a forwarded call is told when it fails.
//!
//! The code and the words of the other side go on, without control characters and at most 512 bytes, and its raw detail, such
//! as a number of its own, up to 4 KiB. What went wrong on the way is told in words of our own, because the engine's name
//! addresses. Identity ends at the bridge: a login of the bridge that was refused is `unavailable` to its callers.

use std::borrow::Cow;
use std::time::Duration;

use polywire_core::{CallError, Code, Failure, Retry};

use crate::counts::Ending;

/// Longest text of a failure in bytes.
const MAX_TEXT: usize = 512;
/// Longest detail of a failure in bytes; a longer one is left out.
const MAX_DETAIL: usize = 4 << 10;

/// How a call that failed counts, and what its caller is told.
///
/// `absent` says why the other side is not connected, in words of our own; `None` while it is. `timeout` is that of the route.
pub(crate) fn told(error: CallError, absent: Option<&str>, timeout: Duration) -> (Ending, Failure) {
    let deadline =
        || format!("the deadline (timeout = {timeout:?} of the route, or less where the caller gives less)");
    match error {
        CallError::Failure(failure) => (Ending::Failed, clean(failure)),
        CallError::NotSent(failure) => match failure.code {
            Code::InvalidArgument | Code::Unimplemented => (Ending::Unsuitable, clean(failure)),
            Code::ResourceExhausted => (Ending::NotSent, clean(failure)),
            Code::DeadlineExceeded => {
                let text = because(&format!("{} passed before the call could be sent", deadline()), absent);
                (Ending::OutOfTime, Failure::new(Code::DeadlineExceeded, text).with_retry(Retry::Safe))
            }
            _ => {
                let text = because(
                    "nothing was sent",
                    absent.or(Some("nobody else is there, or its connection has ended")),
                );
                (Ending::NotSent, Failure::new(Code::Unavailable, text).with_retry(Retry::Safe))
            }
        },
        CallError::Unknown(failure) => {
            let lost = match failure.code {
                Code::DeadlineExceeded => format!("no answer came before {}", deadline()),
                _ => "the connection was lost before the answer".to_owned(),
            };
            let text = format!("{lost}; the other side of the bridge may have acted");
            (Ending::Unknown, Failure::new(failure.code, text).with_retry(Retry::Unknown))
        }
    }
}

fn because(what: &str, absent: Option<&str>) -> String {
    match absent {
        Some(why) => format!("{what}: the other side of the bridge is not connected, {why}"),
        None => what.to_owned(),
    }
}

fn clean(failure: Failure) -> Failure {
    let detail = failure.detail.filter(|detail| detail.as_bytes().len() <= MAX_DETAIL);
    Failure { message: clean_text(failure.message), detail, ..failure }
}

/// The text of a peer as it may be shown: short, and without what moves a cursor.
pub(crate) fn clean_text(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= MAX_TEXT && !text.contains(char::is_control) {
        return text;
    }
    let mut short = String::with_capacity(text.len().min(MAX_TEXT));
    for character in text.chars().filter(|character| !character.is_control()) {
        if short.len().saturating_add(character.len_utf8()) > MAX_TEXT {
            break;
        }
        short.push(character);
    }
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::{JsonLimits, JsonText};

    #[test]
    fn tells_code_words_and_detail_of_the_peer_within_bounds_and_no_control_characters() {
        let text = format!("no such\r\n\u{1b}[31m {}é", "x".repeat(600));
        let failed = |detail: JsonText| {
            let failure = Failure::new(Code::NotFound, text.clone()).with_detail(detail);
            told(CallError::Failure(failure), None, Duration::ZERO)
        };
        let number = JsonText::new("{\"code\":303}", &JsonLimits::default()).unwrap();
        let (ending, told) = failed(number.clone());
        assert_eq!((ending, told.code, told.retry), (Ending::Failed, Code::NotFound, Retry::Never));
        assert_eq!(told.detail, Some(number));
        assert!(told.message.starts_with("no such[31m xxx") && told.message.len() == MAX_TEXT);
        assert_eq!(failed(JsonText::from_value(&"x".repeat(5_000)).unwrap()).1.detail, None);
    }

    #[test]
    fn says_whether_a_call_may_have_run_and_names_no_address() {
        let why = "cannot connect to 10.0.0.5:7007: refused";
        for (error, ending, code, retry) in [
            (CallError::not_sent(Code::Unavailable, why), Ending::NotSent, Code::Unavailable, Retry::Safe),
            (
                CallError::not_sent(Code::Unauthenticated, why),
                Ending::NotSent,
                Code::Unavailable,
                Retry::Safe,
            ),
            (
                CallError::not_sent(Code::DeadlineExceeded, why),
                Ending::OutOfTime,
                Code::DeadlineExceeded,
                Retry::Safe,
            ),
            (CallError::unknown(Code::Unavailable, why), Ending::Unknown, Code::Unavailable, Retry::Unknown),
            (
                CallError::unknown(Code::DeadlineExceeded, why),
                Ending::Unknown,
                Code::DeadlineExceeded,
                Retry::Unknown,
            ),
        ] {
            let shown = error.to_string();
            let (counted, told) = told(error, Some("it cannot be reached"), Duration::from_secs(15));
            assert_eq!((counted, told.code, told.retry), (ending, code, retry), "{shown}");
            assert!(!told.message.contains("10.0.0.5"), "{}", told.message);
            let says_why = counted != Ending::Unknown;
            assert_eq!(told.message.ends_with("not connected, it cannot be reached"), says_why, "{shown}");
            let names_the_limit = told.message.contains("timeout = 15s of the route");
            assert_eq!(names_the_limit, code == Code::DeadlineExceeded, "{}", told.message);
        }
    }
}
