//! The page and the types say the same.

use super::*;
use serde_json::Value;

/// The page that strangers read.
const PAGE: &str = include_str!("../../../CONTROL.md");

/// Its lines of the protocol.
fn lines() -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split("```json\n").skip(1);
    blocks.flat_map(|block| block.split("```").next().unwrap().lines())
}

/// Reads a line as the type and writes it again: a member that the type does not know would be lost.
fn whole<T: for<'a> Deserialize<'a> + Serialize>(line: &str) -> T {
    let read: T = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let before: Value = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), with_defaults(before, line), "{line}");
    read
}

/// What may be left out of a hello is written all the same.
fn with_defaults(mut value: Value, line: &str) -> Value {
    if line.contains("\"hello\"") && value.get("bodies").is_none() {
        value["bodies"] = "text".into();
    }
    value
}

#[test]
fn every_line_of_the_page_is_one_of_the_protocol_and_nothing_is_missing() {
    let (mut verbs, mut words, mut hellos) = (Vec::new(), Vec::new(), 0);
    for line in lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        if value.get("hello").is_some() {
            assert_eq!(whole::<Hello>(line).hello, PROTOCOL);
            hellos += 1;
        } else if let Some(verb) = value.get("do") {
            let ask: Ask = whole(line);
            assert_eq!(verb, ask.what.as_str());
            if let What::Call { body, .. } | What::Notify { body, .. } = &ask.what {
                body.to_body().unwrap();
            }
            verbs.push(verb.as_str().unwrap().to_owned());
        } else {
            let said: Said = whole(line);
            said.body.to_body().unwrap();
            words.push(said.outcome);
        }
    }
    assert!(hellos > 0);
    for verb in ["dial", "call", "notify", "heard", "give_up", "close", "end"] {
        assert!(verbs.iter().any(|shown| shown == verb), "{verb}");
    }
    for word in Word::ALL {
        assert!(words.contains(&word), "{word:?}");
    }
    for feature in Feature::ALL {
        assert!(PAGE.contains(&format!("| `{}` |", feature.as_str())), "{feature:?}");
    }
    for name in [MODE_VARIABLE, SECRET_VARIABLE] {
        assert!(PAGE.contains(name), "{name}");
    }
}

#[test]
fn a_member_that_nobody_knows_is_ignored_and_a_word_that_nobody_knows_is_refused() {
    let hello = r#"{"hello":1,"target":"x://y:1","can":["push"],"later":true}"#;
    assert_eq!(serde_json::from_str::<Hello>(hello).unwrap().can, [Feature::Push]);
    let wrong = serde_json::from_str::<Hello>(&hello.replace("push", "pull")).unwrap_err();
    assert!(wrong.to_string().contains("client_events"), "{wrong}");
    assert!(serde_json::from_str::<Said>(r#"{"id":1,"outcome":"maybe"}"#).is_err());
}

#[test]
fn bodies_keep_their_text_and_a_wrong_one_is_told_in_a_sentence() {
    let text = r#"{"n":1.0,"t":"\ud800"}"#;
    let body = Body::Json(JsonText::from_validated(text.into()));
    for body in [Body::Empty, Body::null(), body, Body::binary("T", &[0_u8, 255][..])] {
        let line = serde_json::to_string(&Carried::from(&body)).unwrap();
        assert_eq!(serde_json::from_str::<Carried>(&line).unwrap().to_body(), Ok(body), "{line}");
    }
    for wrong in [r#"{"body":"{"}"#, r#"{"bytes":{"b64":"*"}}"#, r#"{"body":"1","bytes":{"b64":""}}"#] {
        assert!(serde_json::from_str::<Carried>(wrong).unwrap().to_body().is_err(), "{wrong}");
    }
}
