//! What a server must not send, and what becomes of the connection: the whole table of the protocol notes, column "client".

use std::time::Duration;

use polywire_core::{
    Body, CallError, Close, Code, Count, Delivery, Message, Meta, Outbound, Request, Response, Route,
};
use serde_json::Value;

use super::hand::Hand;
use crate::config::Config;
use crate::session::Recovery;

/// What a connected client makes of these texts.
fn after(texts: &[&str]) -> Hand {
    let mut hand = Hand::connected(Config::default());
    for text in texts {
        hand.say(text);
    }
    hand
}

fn is_error(hand: &Hand) -> bool {
    matches!(hand.closed, Some(Close::Protocol(_) | Close::Limit(_)))
}

#[test]
fn h04_h05_what_is_no_packet_ends_the_connection() {
    for text in [
        r#"0{"sid":"t","pingInterval":25000,"pingTimeout":20000}"#,
        "7",
        "x",
        "",
        "4",
        "47",
        "4x",
        "42{}",
        "42[]",
        "42[\"a\"",
        "42",
        "42[null]",
        "42[true]",
        "42[{}]",
        "42[\"connect\"]",
        "42[\"disconnecting\"]",
        "42-1[\"a\"]",
        "421.5[\"a\"]",
        "4299999999999999999999999999999999[\"a\"]",
        "429007199254740992[\"a\"]",
        "40[]",
        "40\"x\"",
        "40{",
        "431{}",
        "41{}",
        "44[1]",
        "42/unterminated",
    ] {
        assert!(is_error(&after(&[text])), "{text}");
    }
    let far = format!("42/{},[\"a\"]", "n".repeat(300));
    let why = after(&[&far]).closed.unwrap().to_string();
    assert_eq!(why, "frame of 257 bytes exceeds max_namespace_bytes = 256");
}

#[test]
fn what_means_nothing_is_counted_and_the_connection_lives() {
    let other = after(&[
        "43",
        "5",
        "6",
        "3",
        "40{\"sid\":\"again\"}",
        "42/other,[\"a\"]",
        "439[1]",
        "43[1]",
        "439",
        "44{}",
    ]);
    assert_eq!(other.closed, None);
    assert_eq!(other.counted.len(), 10);
    assert!(other.counted.iter().all(|count| matches!(count, Count::Unexpected | Count::OrphanReply)));
    let deep = format!("42[\"a\",{}{}]", "[".repeat(2_000), "]".repeat(2_000));
    let hand = after(&[&deep, "42[\"a\"]"]);
    assert_eq!((hand.closed, hand.counted, hand.delivered.len()), (None, vec![Count::BadBody], 1));
}

#[test]
fn a_request_beyond_the_limits_on_json_is_refused_and_an_answer_ends_its_call() {
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    let keys: Vec<_> = (0..=65_536).map(|key| format!("\"{key}\":0")).collect();
    for (beyond, limit) in [
        (deep, "nested deeper than max_json_depth = 128"),
        (format!("{{{}}}", keys.join(",")), "object with more members than max_json_keys = 65536"),
        ("1".repeat(1_025), "number longer than max_json_number_bytes = 1024"),
    ] {
        // With attachments and without.
        for binary in [false, true] {
            let packet = |kind: &str, id: &str, args: String| match (binary, kind) {
                (false, kind) => format!("4{kind}{id}[{args}]"),
                (true, kind) => {
                    let kind = if kind == "2" { "5" } else { "6" };
                    format!(r#"4{kind}1-{id}[{args},{{"_placeholder":true,"num":0}}]"#)
                }
            };
            let mut hand = Hand::connected(Config::default());
            let call = hand.call(Request::new(Route::from_static("q"), Body::Empty));
            assert_eq!(hand.wrote(), r#"420["q"]"#);
            let mut say = |text: String| {
                hand.say(&text);
                if binary {
                    hand.attach(&[1]);
                }
            };
            say(packet("2", "7", format!(r#""ask",{beyond}"#)));
            say(packet("2", "", format!(r#""told",{beyond}"#)));
            say(packet("3", "0", beyond.clone()));
            say(packet("3", "", beyond.clone()));
            let refused: Value = serde_json::from_str(hand.wrote().strip_prefix("437").unwrap()).unwrap();
            assert_eq!(refused[0]["error"]["code"], "invalid_argument");
            let told = refused[0]["error"]["message"].as_str().unwrap();
            assert!(told.ends_with(limit), "{told}");
            assert_eq!((&hand.closed, &hand.counted[..]), (&None, &[Count::BadBody; 3][..]));
            let Some(Delivery::Response { call: answered, outcome: Err(CallError::Unknown(failure)) }) =
                hand.delivered.pop_front()
            else {
                panic!()
            };
            assert_eq!((answered, failure.code), (call, Code::ResourceExhausted));
            assert!(failure.message.ends_with(limit), "{failure}");
            assert!(hand.delivered.is_empty() && hand.written.is_empty());
        }
    }
}

#[test]
fn h06_a_placeholder_100_000_levels_deep_costs_its_packet() {
    let mut hand = Hand::connected(Config::default());
    let (down, up) = ("[".repeat(100_000), "]".repeat(100_000));
    hand.say(&format!(r#"451-["a",{down}{{"_placeholder":true,"num":0}}{up}]"#));
    hand.attach(&[1]);
    hand.say(r#"42["b"]"#);
    assert_eq!((hand.closed, &hand.counted[..], hand.delivered.len()), (None, &[Count::BadBody][..], 1));
}

#[test]
fn a_request_and_an_event_beyond_the_limits_on_json_that_come_before_the_grant_wait_like_any_other() {
    let mut hand = Hand::new(Config::default(), None, Recovery::default());
    hand.say(r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":2000}"#);
    assert_eq!(hand.wrote(), "40");
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    hand.say(&format!(r#"427["ask",{deep}]"#));
    hand.say(&format!(r#"42["told",{deep}]"#));
    assert!(hand.written.is_empty() && hand.counted.is_empty());
    hand.say(r#"40{"sid":"S1"}"#);
    assert!(hand.wrote().starts_with(r#"437[{"error":{"code":"invalid_argument""#));
    assert_eq!((hand.counted, hand.closed), (vec![Count::BadBody; 2], None));
    assert!(hand.written.is_empty() && hand.delivered.is_empty());
}

#[test]
fn h06_attachments_come_as_announced_or_the_connection_ends() {
    let mark = r#"{"_placeholder":true,"num":0}"#;
    for header in [
        "45-[\"a\"]",
        "45x-[\"a\"]",
        "45-1-[\"a\"]",
        "451e3-[\"a\"]",
        "451[\"a\"]",
        "451-[]",
        "451-[\"connect\"]",
        "451-[\"a\",[",
    ] {
        assert!(is_error(&after(&[header])), "{header}");
    }
    let why = after(&[&format!("4511-[\"a\",{mark}]")]).closed.unwrap().to_string();
    assert_eq!(why, "frame with 11 attachments exceeds max_attachments = 10");
    assert!(is_error(&after(&["451000000000-[\"a\"]"])));
    assert!(is_error(&after(&["45999999999999999999999-[\"a\"]"])));
    assert!(is_error(&after(&[&format!("451-[\"a\",{mark}]"), "42[\"b\"]"])));
    let mut nothing_due = after(&[]);
    nothing_due.attach(&[1]);
    assert!(is_error(&nothing_due));
    for number in ["1", "-1", "\"0\"", "0.5", "null"] {
        let mut hand = after(&[&format!(r#"451-["a",{{"_placeholder":true,"num":{number}}}]"#)]);
        hand.attach(&[1]);
        assert!(is_error(&hand), "{number}");
    }
    // A sign of life between the parts is nothing to them.
    let mut hand = after(&[&format!("452-[\"a\",{mark},{{\"_placeholder\":true,\"num\":1}}]")]);
    hand.attach(&[1]);
    hand.say("2");
    hand.attach(&[2]);
    assert_eq!(
        (hand.closed, hand.delivered.len(), &*hand.written.pop_front().map_or_else(String::new, text)),
        (None, 1, "3")
    );
}

fn text(message: Message) -> String {
    match message {
        Message::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn h06_attachments_that_never_come_and_too_many_bytes_of_them() {
    let header = r#"452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let mut hand = after(&[header]);
    hand.wake();
    let why = hand.closed.unwrap().to_string();
    assert!(why.ends_with("did not come within attachment_timeout = 10s"), "{why}");
    static MUCH: [u8; 600_000] = [0; 600_000];
    let mut hand = after(&[header]);
    hand.attach(&MUCH);
    hand.attach(&MUCH);
    let why = hand.closed.unwrap().to_string();
    assert!(why.ends_with("with its attachments exceeds max_frame_bytes = 1048576"), "{why}");
}

#[test]
fn c10_of_equal_keys_of_an_opening_packet_the_last_counts() {
    let mut hand = Hand::new(Config::default(), None, Recovery::default());
    hand.say(
        r#"0{"sid":"","pingInterval":0,"pingTimeout":0,"sid":"s","pingInterval":25000,"pingTimeout":20000}"#,
    );
    assert_eq!(hand.closed, None);
    let mut hand = Hand::new(Config::default(), None, Recovery::default());
    hand.say(r#"0{"sid":"s","pingInterval":25000,"pingTimeout":20000,"sid":""}"#);
    assert_eq!(hand.closed.unwrap().to_string(), "protocol violation: the opening packet has no sid");
}

#[test]
fn h03_an_opening_packet_is_taken_within_its_bounds_only() {
    let opened = |open: &str| {
        let mut hand = Hand::new(Config::default(), None, Recovery::default());
        hand.say(open);
        hand.closed.map(|close| close.to_string())
    };
    let with = |interval: &str, timeout: &str| {
        opened(&format!(r#"0{{"sid":"s","pingInterval":{interval},"pingTimeout":{timeout}}}"#))
    };
    assert_eq!(with("1000", "300000"), None);
    for wrong in ["0", "-1", "999", "300001", "1000000000000", "\"25000\"", "1.5", "null"] {
        assert!(with(wrong, "20000").unwrap().contains("pingInterval of 1s to 300s"), "{wrong}");
        assert!(with("25000", wrong).unwrap().contains("pingTimeout of 1s to 300s"), "{wrong}");
    }
    for wrong in [
        "0",
        "0[]",
        "0{",
        r#"0{"pingInterval":25000,"pingTimeout":20000}"#,
        r#"0{"sid":"","pingInterval":25000,"pingTimeout":20000}"#,
        "40",
        "42[\"a\"]",
        "451-[\"a\"]",
    ] {
        assert!(opened(wrong).is_some(), "{wrong}");
    }
    for payload in ["0", "-5", "null"] {
        let open =
            format!(r#"0{{"sid":"s","pingInterval":25000,"pingTimeout":20000,"maxPayload":{payload}}}"#);
        assert_eq!(opened(&open), None);
    }
}

#[test]
fn h13_a_server_that_stops_pinging_is_dead_after_interval_and_timeout() {
    let mut hand = Hand::connected(Config::default());
    let start = hand.now;
    hand.now = start + Duration::from_secs(40);
    hand.say("42[\"not a ping\"]");
    hand.say("2abc");
    assert_eq!(hand.wrote(), "3abc");
    hand.wake();
    assert_eq!(hand.now, start + Duration::from_secs(85));
    assert_eq!(hand.closed, Some(Close::Dead("no ping for 45s".into())));
}

#[test]
fn h13_a_server_that_is_not_read_is_not_taken_for_dead() {
    let mut hand = Hand::connected(Config::default());
    hand.reading = false;
    hand.wake();
    hand.wake();
    hand.reading = true;
    hand.say("2");
    assert_eq!((hand.closed.clone(), hand.wrote().as_str()), (None, "3"));
    hand.wake();
    assert_eq!(hand.closed, Some(Close::Dead("no ping for 45s".into())));
}

#[test]
fn h10_a_flood_of_pings_ends_the_connection() {
    let mut hand = Hand::connected(Config::default());
    for _ in 0..100 {
        hand.say("2");
    }
    assert_eq!((hand.closed.clone(), hand.written.len()), (None, 100));
    hand.say("2");
    assert_eq!(hand.closed.unwrap().to_string(), "more than max_pings = 100 pings in a second");
}

#[test]
fn early_events_are_bounded() {
    let mut hand = Hand::new(Config { max_early_events: 2, ..Config::default() }, None, Recovery::default());
    hand.say(r#"0{"sid":"s","pingInterval":25000,"pingTimeout":20000}"#);
    for _ in 0..3 {
        assert_eq!(hand.closed, None);
        hand.say("42[\"a\"]");
    }
    let why = hand.closed.unwrap().to_string();
    assert_eq!(why, "more than max_early_events = 2 events before the namespace was granted");
}

#[test]
fn h07_a_binary_packet_without_attachments_ends_the_connection_and_is_never_written() {
    assert!(is_error(&after(&["450-[\"a\"]"])));
    let mut hand = after(&["427[\"ask\"]"]);
    let response = Response { body: Body::Empty, meta: Meta::default().with_attachments(Vec::new()) };
    hand.send(Outbound::Response { reply: 7, result: Ok(response) });
    assert_eq!(hand.wrote(), "437[]");
}

#[test]
fn a_refusal_without_words_is_one_too() {
    for (payload, reason) in [
        ("", "the server gives no reason"),
        ("\"nope\"", "nope"),
        ("{\"message\":\"stale\",\"data\":1}", "stale"),
        ("{}", "the server gives no reason"),
    ] {
        let mut hand = Hand::new(Config::default(), None, Recovery::default());
        hand.say(r#"0{"sid":"s","pingInterval":25000,"pingTimeout":20000}"#);
        hand.say(&format!("44{payload}"));
        let Some(Close::Refused(refusal)) = hand.closed else { panic!("{payload}") };
        assert_eq!(refusal.reason, reason);
    }
}

#[test]
fn the_ways_in_which_a_server_ends_it() {
    assert_eq!(after(&["1"]).closed, Some(Close::Peer));
    assert!(matches!(after(&["41"]).closed, Some(Close::Dismissed(_))));
    let mut hand = Hand::connected(Config { redial_when_dismissed: true, ..Config::default() });
    hand.say("41");
    assert_eq!(hand.closed, Some(Close::Peer));
    let mut hand = Hand::connected(Config::default());
    hand.receive(Message::Close(Some((1009, "".into()))));
    assert!(hand.closed.unwrap().to_string().contains("1009"));
}
