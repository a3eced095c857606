//! The login: token, then challenge, then an end.

use polywire_core::{Admit, Body, Close, Count, Event, Identity, Outbound, Route};
use polywire_socketio::{Kind, Upper};

use super::hand::{CHALLENGE, Hand, TOKEN};
use crate::plugin::{Kept, Subscribe};

fn shown(name: &str, secret: &str) -> String {
    format!(r#"2["authenticate",{{"pluginId":"demo-plugin","{name}":"{secret}"}}]"#)
}

fn refused(hand: &Hand) -> &str {
    match &hand.closed {
        Some(Close::Refused(refusal)) => &refusal.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_token_comes_first_then_the_challenge_once_then_it_is_over() {
    let kept = Kept::default();
    let mut first = Hand::new(&kept);
    assert_eq!(first.wrote(), shown("challenge", CHALLENGE));
    first.hear("authenticated", &format!(r#"{{"success":true,"sessionToken":"{TOKEN}"}}"#));
    let mut second = Hand::new(&kept);
    assert_eq!(second.wrote(), shown("sessionToken", TOKEN));
    second.hear("authenticated", r#"{"success":true,"sessionToken":"another"}"#);
    let mut third = Hand::new(&kept);
    assert_eq!(third.wrote(), shown("sessionToken", "another"));
    third.hear("authenticated", r#"{"success":false,"error":"Invalid session token"}"#);
    assert_eq!(third.wrote(), shown("challenge", CHALLENGE));
    third.hear("authenticated", r#"{"success":false,"error":"Invalid challenge"}"#);
    assert_eq!(refused(&third), "Invalid challenge");
    assert!(third.written.is_empty());
}

#[test]
fn h14_an_odd_answer_to_the_login_ends_the_connection_and_a_second_one_is_ignored() {
    for (answer, why) in [
        (r#"{"success":false}"#, "the host gives no reason"),
        ("null", "the host gives no reason"),
        (r#"{"success":1,"sessionToken":"t"}"#, "the host gives no reason"),
        (r#"{"success":true}"#, "the host sends no token"),
        (r#"{"success":true,"sessionToken":""}"#, "the host sends no token"),
        (r#"{"success":true,"sessionToken":7}"#, "the host sends no token"),
        (r#"{"success":true,"pluginId":"other","sessionToken":"t"}"#, "the host logged in another plugin"),
    ] {
        let mut hand = Hand::new(&Kept::default());
        hand.hear("authenticated", answer);
        assert_eq!((refused(&hand), hand.established), (why, false), "{answer}");
    }
    let mut hand = Hand::new(&Kept::default());
    hand.hear("authenticated", &format!(r#"{{"success":true,"sessionToken":"{}"}}"#, "t".repeat(1 << 20)));
    assert_eq!(refused(&hand), "the host's token is longer than 4096 bytes");
    let kept = Kept::default();
    let mut hand = Hand::logged_in(&kept);
    hand.hear("authenticated", r#"{"success":false,"error":"late"}"#);
    assert_eq!((hand.closed.is_none(), hand.counted), (true, vec![Count::Unexpected]));
    // A success without a token keeps the one there is.
    let mut again = Hand::new(&kept);
    again.hear("authenticated", r#"{"success":true}"#);
    assert!(again.established);
    assert_eq!(Hand::new(&kept).wrote(), shown("sessionToken", TOKEN));
}

#[test]
fn h14_an_answer_from_before_the_question_fails_the_login() {
    for early in [r#"{"success":true,"sessionToken":"t"}"#, r#"{"success":false}"#, "null"] {
        let kept = Kept::default();
        let mut hand = Hand::new(&kept);
        hand.early("request", r#"{"id":"req-1","method":"execute"}"#);
        assert_eq!((hand.counted.as_slice(), hand.delivered.len()), (&[Count::BeforeLogin][..], 0));
        hand.early("authenticated", early);
        assert_eq!(refused(&hand), "the host answers the login before it was asked");
        assert!(!hand.established);
        assert_eq!(Hand::new(&kept).wrote(), shown("challenge", CHALLENGE), "no token of it is kept");
    }
}

#[test]
fn h25_where_nobody_answers_the_other_namespace_is_asked_for_once() {
    let kept = Kept::default();
    let mut hand = Hand::new(&kept);
    assert_eq!(hand.wrote(), shown("challenge", CHALLENGE));
    hand.wake();
    // The link below leaves for the next namespace by this, and does nothing where there is none.
    assert!(matches!(hand.written.pop_front().unwrap().kind, Kind::Disconnect));
    assert_eq!((hand.wake_at, hand.closed.is_none()), (None, true));
    hand.with(|session, cx| Upper::connected(session, Identity::guest(), cx));
    assert_eq!(hand.wrote(), shown("challenge", CHALLENGE));
    hand.hear("authenticated", r#"{"success":true,"sessionToken":"t"}"#);
    assert_eq!((hand.wake_at, hand.established), (None, true));
}

#[test]
fn h15_a_request_before_the_login_is_answered_and_not_run() {
    let mut hand = Hand::new(&Kept::default());
    hand.written.clear();
    hand.hear("request", r#"{"id":"req-1","method":"execute","data":{}}"#);
    assert_eq!(
        hand.wrote(),
        r#"2["response",{"id":"req-1","type":"response","data":{"error":"not authenticated"}}]"#
    );
    for early in ["dataResponse", "hyperHqEvent", "eventsSubscribed", "error", "anything"] {
        hand.hear(early, r#"{"requestId":"x","type":"a"}"#);
    }
    assert!(hand.delivered.is_empty());
    assert_eq!(hand.counted, [Count::BeforeLogin; 6]);
    let event = Event::new(Route::from_static("thumbnail:created"), Body::Empty);
    assert!(matches!(hand.admit(&Outbound::Event(event)), Admit::Hold(_)));
}

#[test]
fn subscriptions_are_asked_for_after_every_login() {
    let kept = Kept::new(["a".to_owned()]);
    let mut hand = Hand::new(&kept);
    hand.written.clear();
    hand.with(|session, cx| {
        polywire_core::Session::send(session, Outbound::Command(Subscribe(vec!["b".into(), "a".into()])), cx);
    });
    assert!(hand.written.is_empty(), "not before the login");
    hand.hear("authenticated", r#"{"success":true,"sessionToken":"t"}"#);
    assert_eq!(hand.wrote(), r#"2["subscribeEvents",["a","b"]]"#);
    hand.send(Outbound::Command(Subscribe(vec!["b".into(), "c".into()])));
    assert_eq!(hand.wrote(), r#"2["subscribeEvents",["c"]]"#);
    let mut again = Hand::new(&kept);
    again.written.clear();
    again.hear("authenticated", r#"{"success":true,"sessionToken":"t"}"#);
    assert_eq!(again.wrote(), r#"2["subscribeEvents",["a","b","c"]]"#);
}
