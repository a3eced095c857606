//! Calls and events by hand: bodies and arguments, answers, failures, and the limits on both.

use bytes::Bytes;
use polywire_core::{
    Admit, Body, ByteString, CallError, Code, Count, Delivery, Event, Failure, Message, Meta, Outbound,
    Request, Response, Route,
};

use super::hand::Hand;
use super::json;
use crate::config::{Arguments, Config};
use crate::session::Recovery;
use crate::translate::SEVERAL;

fn heard(hand: &mut Hand) -> (Body, Meta) {
    match hand.delivered.pop_front() {
        Some(Delivery::Event(Event { body, meta, .. })) => (body, meta),
        Some(Delivery::Request { request, .. }) => (request.body, request.meta),
        other => panic!("{other:?}"),
    }
}

fn emit(hand: &mut Hand, body: impl Into<Body>, meta: Meta) -> String {
    hand.send(Outbound::Event(Event { route: Route::from_static("x"), body: body.into(), meta }));
    hand.wrote()
}

#[test]
fn arguments_become_bodies_and_bodies_the_same_arguments() {
    let mut hand = Hand::connected(Config::default());
    for (text, body) in [
        (r#"42["x"]"#, Body::Empty),
        (r#"42["x",null]"#, Body::null()),
        (r#"42["x",{"a":[1,2]}]"#, Body::Json(json(r#"{"a":[1,2]}"#))),
        (r#"42["x",[]]"#, Body::Json(json("[]"))),
    ] {
        hand.say(text);
        let (got, meta) = heard(&mut hand);
        assert_eq!((&got, meta.is_empty()), (&body, true), "{text}");
        assert_eq!(emit(&mut hand, got, meta), text);
    }
    hand.say(r#"42["x", 1,"two" ]"#);
    let (body, meta) = heard(&mut hand);
    assert_eq!(body, Body::Json(json(r#"[1,"two" ]"#)));
    assert_eq!(meta.get(SEVERAL), Some(&ByteString::from_static("2")));
    assert_eq!(emit(&mut hand, body, meta), r#"42["x",1,"two" ]"#);
}

#[test]
fn a_list_of_arguments_needs_no_fact() {
    let mut hand = Hand::connected(Config { arguments: Arguments::List, ..Config::default() });
    for (text, body) in [(r#"42["x"]"#, "[]"), (r#"42["x",[1]]"#, "[[1]]"), (r#"42["x",1,2]"#, "[1,2]")] {
        hand.say(text);
        let (got, meta) = heard(&mut hand);
        assert_eq!((&got, meta.is_empty()), (&Body::Json(json(body)), true), "{text}");
        assert_eq!(emit(&mut hand, got, Meta::default()), text);
    }
    let event = Event::new(Route::from_static("x"), Body::null());
    let Admit::Refuse(failure) = hand.admit(&Outbound::Event(event)) else { panic!() };
    assert_eq!(failure.message, "a body that stands for several arguments is a JSON array");
}

#[test]
fn bytes_alone_are_bytes_and_bytes_in_json_stay_beside_it() {
    let mut hand = Hand::connected(Config::default());
    let mark = r#"{"_placeholder":true,"num":0}"#;
    for (argument, kind) in [(mark.to_owned(), ""), (format!(r#"{{"type":"T","data":{mark}}}"#), "T")] {
        let text = format!(r#"451-["x",{argument}]"#);
        hand.say(&text);
        hand.attach(&[1, 2]);
        let (body, meta) = heard(&mut hand);
        assert_eq!(body, Body::binary(kind, &[1, 2][..]));
        assert_eq!(emit(&mut hand, body, meta), text);
        assert!(hand.written.pop_front().is_some_and(|message| message.len() == 2));
    }
    let text = r#"452-["x",{"a":{"_placeholder":true,"num":0},"b":[{"_placeholder":true,"num":1}]}]"#;
    hand.say(text);
    hand.attach(&[1]);
    hand.attach(&[]);
    let (body, meta) = heard(&mut hand);
    assert_eq!(meta.attachments(), [&[1][..], &[]]);
    assert_eq!(emit(&mut hand, body, meta), text);
    assert_eq!(hand.written.drain(..).map(|message| message.len()).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn an_attachment_stays_in_the_memory_that_it_came_in_until_it_has_left_again() {
    let mut hand = Hand::connected(Config::default());
    let mark = r#"{"_placeholder":true,"num":0}"#;
    for argument in
        [mark.to_owned(), format!(r#"{{"type":"T","data":{mark}}}"#), format!(r#"{{"a":{mark}}}"#)]
    {
        let text = format!(r#"451-["x",{argument}]"#);
        hand.say(&text);
        let came = Bytes::from(vec![7; (1 << 10) + 1]);
        hand.receive(Message::Binary(came.clone()));
        let (body, meta) = heard(&mut hand);
        let got = match &body {
            Body::Binary(binary) => &binary.bytes,
            _ => &meta.attachments()[0],
        };
        assert_eq!(got.as_ptr_range(), came.as_ptr_range(), "{text}");
        assert_eq!(emit(&mut hand, body, meta), text);
        let Some(Message::Binary(left)) = hand.written.pop_front() else { panic!("{text}") };
        assert_eq!(left.as_ptr_range(), came.as_ptr_range(), "{text}");
    }
}

#[test]
fn attachments_that_no_place_waits_for_are_not_sent() {
    let hand = Hand::connected(Config::default());
    let admit = |body: Body, count: usize| {
        let meta = Meta::default().with_attachments(vec![vec![0].into(); count]);
        match hand.admit(&Outbound::Event(Event { route: Route::from_static("x"), body, meta })) {
            Admit::Refuse(failure) => failure.message.into_owned(),
            other => format!("{other:?}"),
        }
    };
    let mark = |number: usize| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
    let wrong = |count| {
        format!("{count} attachments need as many placeholders in the JSON, numbered in order from 0")
    };
    assert_eq!(admit(Body::Json(json(&format!("[{},{}]", mark(0), mark(1)))), 2), "Now");
    assert_eq!(admit(Body::Json(json(&format!("[{},{}]", mark(1), mark(0)))), 2), wrong(2));
    assert_eq!(admit(Body::Json(json(&mark(0))), 2), wrong(2));
    assert_eq!(admit(Body::Empty, 1), wrong(1));
    let eleven: Vec<_> = (0..11).map(mark).collect();
    let body = Body::Json(json(&format!("[{}]", eleven.join(","))));
    assert_eq!(admit(body, 11), "11 attachments exceed max_attachments = 10");
}

#[test]
fn an_acknowledgement_answers_its_request_once() {
    let mut hand = Hand::connected(Config::default());
    let [first, second] = [0, 1].map(|id| {
        let call = hand.call(Request::new(Route::from_static("echo"), Body::Empty));
        assert_eq!(hand.wrote(), format!(r#"42{id}["echo"]"#));
        call
    });
    hand.say(r#"431[7]"#);
    hand.say(r#"430[{"error":{"code":"not_found","message":"gone"}}]"#);
    let answers: Vec<_> = hand.delivered.drain(..).collect();
    let [Delivery::Response { call, outcome }, Delivery::Response { call: other, outcome: failed }] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!((*call, outcome), (second, &Ok(Response::from(json("7")))));
    assert_eq!((*other, failed), (first, &Err(CallError::Failure(Failure::new(Code::NotFound, "gone")))));
    for nobodys in [r#"431[7]"#, r#"439[7]"#, r#"43[7]"#] {
        hand.say(nobodys);
    }
    assert_eq!(hand.counted, [Count::OrphanReply; 3]);
    let call = hand.call(Request::new(Route::from_static("echo"), Body::Empty));
    hand.send(Outbound::Cancel(call));
    hand.say("432[]");
    assert_eq!(hand.counted.len(), 4);
    assert!(hand.delivered.is_empty());
}

#[test]
fn requests_of_the_server_are_acknowledged_unless_nothing_handles_them() {
    let mut hand = Hand::connected(Config::default());
    hand.say(r#"427["ask",1]"#);
    let Some(Delivery::Request { reply, request, .. }) = hand.delivered.pop_front() else { panic!() };
    assert_eq!((reply, &*request.route), (7, "ask"));
    hand.send(Outbound::Response { reply, result: Ok(Response::default()) });
    assert_eq!(hand.wrote(), "437[]");
    let failure = Failure::new(Code::InvalidArgument, "no");
    hand.send(Outbound::Response { reply, result: Err(failure) });
    assert_eq!(hand.wrote(), r#"437[{"error":{"code":"invalid_argument","message":"no"}}]"#);
    let unrouted = Failure::unrouted(polywire_core::Kind::Request, &request.route);
    hand.send(Outbound::Response { reply, result: Err(unrouted.clone()) });
    assert!(hand.written.is_empty());
    let mut hand = Hand::connected(Config { answer_unrouted: true, ..Config::default() });
    hand.send(Outbound::Response { reply, result: Err(unrouted) });
    assert!(hand.wrote().starts_with(r#"437[{"error":{"code":"not_found""#));
}

#[test]
fn names_are_text_or_numbers() {
    let mut hand = Hand::connected(Config::default());
    hand.say(r#"42[42,"x"]"#);
    hand.say(r#"42["a\u0062",1]"#);
    let names: Vec<_> = hand
        .delivered
        .drain(..)
        .map(|delivery| match delivery {
            Delivery::Event(event) => event.route.as_str().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["42", "ab"]);
    hand.say(&format!("42[\"{}\"]", "n".repeat(300)));
    hand.say(r#"42["\ud800"]"#);
    assert_eq!(hand.counted, [Count::BadRoute; 2]);
    for reserved in crate::RESERVED {
        let event = Event::new(Route::new(reserved).unwrap(), Body::Empty);
        assert!(matches!(hand.admit(&Outbound::Event(event)), Admit::Refuse(_)), "{reserved}");
    }
}

#[test]
fn what_the_server_does_not_take_fails_here() {
    let mut hand = Hand::connected(Config::default());
    let large = || Body::Json(json(&format!("\"{}\"", "x".repeat(1_990))));
    let event = Event::new(Route::from_static("x"), large());
    let Admit::Refuse(failure) = hand.admit(&Outbound::Event(event)) else { panic!() };
    assert!(failure.message.ends_with("exceeds maxPayload = 2000 of the server"), "{failure}");
    hand.say(r#"427["ask"]"#);
    hand.send(Outbound::Response { reply: 7, result: Ok(large().into()) });
    assert!(hand.wrote().starts_with(r#"437[{"error":{"code":"resource_exhausted""#));
}

/// All that was written since.
fn words(hand: &mut Hand) -> Vec<String> {
    let count = hand.written.len();
    std::iter::repeat_with(|| hand.wrote()).take(count).collect()
}

/// The official server drops an event that it reads together with what ends its namespace.
#[test]
fn no_disconnect_is_sent_right_behind_an_event() {
    let mut hand = Hand::connected(Config::new("/"));
    hand.send(Outbound::Event(Event::new(Route::from_static("last"), Body::Empty)));
    assert_eq!(hand.wrote(), r#"42["last"]"#);
    hand.leave();
    assert!(hand.written.is_empty(), "{:?}", hand.written);
    // An event has no receipt. Of what the server says, only the answer to a request behind it shows that it was read.
    for (heard, in_order) in [(r#"42["heard"]"#, false), ("430[]", false), ("431[]", true), ("432[]", true)] {
        let mut hand = Hand::connected(Config::new("/"));
        let ask = |hand: &mut Hand| {
            hand.call(Request::new(Route::from_static("q"), Body::Empty));
            assert!(hand.wrote().ends_with(r#"["q"]"#));
        };
        ask(&mut hand);
        hand.send(Outbound::Event(Event::new(Route::from_static("last"), Body::Empty)));
        assert_eq!(hand.wrote(), r#"42["last"]"#);
        ask(&mut hand);
        ask(&mut hand);
        hand.say(heard);
        hand.leave();
        assert_eq!(words(&mut hand), if in_order { &["41", "1"][..] } else { &[] }, "{heard}");
    }
    // Nor does a ping, which may have been on its way, but the next one: it follows the pong that stands behind the event.
    for (pings, in_order) in [(1, false), (2, true)] {
        let mut hand = Hand::connected(Config::new("/"));
        hand.say("2");
        hand.send(Outbound::Event(Event::new(Route::from_static("last"), Body::Empty)));
        (0..pings).for_each(|_| hand.say("2"));
        assert_eq!(words(&mut hand), [&["3", "42[\"last\"]"][..], &vec!["3"; pings]].concat());
        hand.leave();
        assert_eq!(words(&mut hand), if in_order { &["41", "1"][..] } else { &[] }, "{pings} pings");
    }
}

#[test]
fn nothing_leaves_before_the_namespace_is_granted() {
    let mut hand = Hand::new(Config::new("/n"), Some(json("{\"token\":1}")), Recovery::default());
    let event = || Outbound::Event(Event::new(Route::from_static("x"), Body::Empty));
    assert!(matches!(hand.admit(&event()), Admit::Hold(_)));
    hand.say(r#"0{"sid":"s","pingInterval":25000,"pingTimeout":20000}"#);
    assert_eq!(hand.wrote(), "40/n,{\"token\":1}");
    assert!(matches!(hand.admit(&event()), Admit::Hold(_)));
    // Whatever comes early is kept until then.
    hand.say(r#"42/n,["early",1]"#);
    assert!(hand.delivered.is_empty());
    hand.say("40/n,");
    assert_eq!(hand.admit(&event()), Admit::Now);
    assert!(matches!(hand.delivered.pop_front(), Some(Delivery::Event(_))));
    hand.leave();
    assert_eq!((hand.wrote(), hand.wrote()), ("41/n,".to_owned(), "1".to_owned()));
}
