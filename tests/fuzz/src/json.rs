//! The JSON scan against serde_json, and its parts against each other.

use bytes::BytesMut;
use polywire_core::json::{self, Members};
use polywire_core::{JsonFault, JsonLimits};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::choices::Choices;
use crate::{seeds, trace, words};

/// Choices: the limits. Then the text.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let limits = JsonLimits {
        max_json_depth: choices.one_of(&[128, 1, 2, 16]),
        max_json_keys: choices.one_of(&[65_536, 1, 3]),
        max_json_number_bytes: choices.one_of(&[1_024, 1, 8]),
    };
    let text = choices.rest();
    let verdict = json::validate(text, &limits);
    trace::mark(verdict.as_ref().map_err(|error| (format!("{:?}", error.what), trace::size(error.offset))));
    match &verdict {
        Ok(()) => accepted(text),
        Err(error) => {
            assert!(error.offset <= text.len(), "the offset {} lies outside", error.offset);
            if !is_limit(error.what) {
                assert!(!is_json(text), "refused at {}: {}", error.offset, error.what);
            }
        }
    }
    members(text, &limits, verdict.is_ok());
    elements(text, &limits, verdict.is_ok());
}

fn is_limit(fault: JsonFault) -> bool {
    matches!(fault, JsonFault::TooDeep(_) | JsonFault::TooManyKeys(_) | JsonFault::NumberTooLong(_))
}

/// Does serde_json, which skips over values without bounds on depth or numbers, take it?
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

fn accepted(text: &[u8]) {
    assert!(is_json(text), "accepted what is no JSON");
    let mut compact = BytesMut::new();
    json::write_compact(&mut compact, text);
    assert!(is_json(&compact), "compact text is no JSON");
    let mut again = BytesMut::new();
    json::write_compact(&mut again, &compact);
    assert_eq!(compact, again, "compact text is made more compact");
    assert!(!compact.iter().any(|byte| *byte < 0x20), "compact text holds white space");
    let value = serde_json::from_slice::<Value>(text).ok();
    assert_eq!(value, serde_json::from_slice::<Value>(&compact).ok(), "compact text means something else");
    let string = json::as_string(text.trim_ascii());
    assert_eq!(string.as_deref(), value.as_ref().and_then(Value::as_str), "a string is read as another");
    if let Some(string) = string {
        let mut written = BytesMut::new();
        json::write_string(&mut written, &string);
        let back = serde_json::from_slice::<String>(&written).expect("a written string is JSON");
        assert_eq!(back, string, "a string is written as another");
    }
}

/// [`Members`] does not count its own object as a level, and assumes UTF-8.
fn members(text: &[u8], limits: &JsonLimits, valid: bool) {
    if json::check_utf8(text).is_err() {
        return;
    }
    let mut count = 0;
    let walked = Members::new(text, limits).and_then(|mut walk| {
        let mut end = 0;
        while let Some((key, place)) = walk.next()? {
            count += 1;
            assert!(place.start > end && place.end > place.start, "places do not ascend");
            end = place.end;
            assert!(json::validate(&text[place], limits).is_ok(), "a member's value is not valid");
            if let Some(name) = key.decode() {
                assert!(key.is(&name), "a name is not itself");
            }
        }
        Ok(())
    });
    trace::mark((walked.is_ok(), trace::size(count)));
    let object = text.trim_ascii_start().first() == Some(&b'{');
    match walked {
        Ok(()) if !valid => {
            let fault = json::validate(text, limits).expect_err("it is not valid").what;
            assert!(matches!(fault, JsonFault::TooDeep(_)), "walked through what is refused: {fault}");
        }
        Ok(()) => assert!(object, "walked through what is no object"),
        Err(error) => {
            assert!(error.offset <= text.len(), "the offset {} lies outside", error.offset);
            assert!(!valid || !object, "a valid object could not be walked through: {error}");
        }
    }
}

/// So does [`json::elements`], with its array.
fn elements(text: &[u8], limits: &JsonLimits, valid: bool) {
    if json::check_utf8(text).is_err() {
        return;
    }
    match json::elements(text, 1 << 20, limits) {
        Ok(places) => {
            let theirs = serde_json::from_slice::<Vec<&RawValue>>(text).expect("an array is an array");
            assert_eq!(places.len(), theirs.len(), "another number of elements");
            for (place, element) in places.into_iter().zip(theirs) {
                assert_eq!(&text[place], element.get().as_bytes(), "another element");
            }
        }
        Err(_) => {
            let array = text.trim_ascii_start().first() == Some(&b'[');
            assert!(!valid || !array, "a valid array could not be split");
        }
    }
}

/// Plain and odd texts, alone and nested.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut texts = words::JSON.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
    texts.push(br#" {"type":"x","d\u0061ta": [1, {"a":2}] ,"id":null} "#.to_vec());
    texts.push(b"[".repeat(128));
    texts.push([b"[".repeat(128), b"]".repeat(128)].concat());
    texts.push([b"{\"a\":".repeat(129), b"1".to_vec(), b"}".repeat(129)].concat());
    texts.push(b"\"abcdefgh\\u00e9ijkl\"".to_vec());
    texts.push(format!("[{}]", vec!["1"; 1_000].join(",")).into_bytes());
    seeds::behind(&[&[0, 0, 0], &[1, 1, 1]], &texts)
}
