//! Requests, answers, events and signs of life by hand.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Admit, Body, CallError, Close, Code, Count, Delivery, Event, Failure, Kind, Outbound, Request, Response,
    Route, Session,
};

use super::hand::{Hand, TOKEN, json, packet};
use crate::plugin::{Kept, TIMESTAMP};

fn hand() -> Hand {
    Hand::logged_in(&Kept::new(["gameLaunched".to_owned()]))
}

fn quiet(mut hand: Hand) -> Hand {
    hand.written.clear();
    hand
}

#[test]
fn h18_every_request_is_answered_under_its_id_and_none_runs_twice() {
    let mut hand = quiet(hand());
    hand.hear("request", r#"{"id":"req-1","method":"execute","data":{"action":"x"}}"#);
    hand.hear("request", r#"{"id":"req-1","method":"execute","data":{"action":"x"}}"#);
    assert_eq!((hand.delivered.len(), &*hand.counted), (1, &[Count::RepeatedId][..]));
    let (request, reply) = hand.asked();
    assert_eq!((&*request.route, request.body), ("execute", Body::Json(json(r#"{"action":"x"}"#))));
    hand.answer(reply, Body::Json(json("[1]")));
    let answered =
        format!(r#"2["response",{{"id":"req-1","type":"response","data":[1],"sessionToken":"{TOKEN}"}}]"#);
    assert_eq!(hand.wrote(), answered);
    // The id is free again.
    hand.hear("request", r#"{"id":"req-1","method":"test"}"#);
    let (request, reply) = hand.asked();
    assert_eq!(request.body, Body::Empty);
    let failure = Failure::unrouted(Kind::Request, &request.route);
    hand.send(Outbound::Response { reply, result: Err(failure) });
    assert!(hand.wrote().starts_with(
        r#"2["response",{"id":"req-1","type":"response","data":{"error":"nothing here handles"#
    ));
    for odd in [
        r#"{"method":"test"}"#,
        r#"{"id":7,"method":"test"}"#,
        r#"{"id":{},"method":"test"}"#,
        r#"{"id":"a"}"#,
        "null",
        "[]",
    ] {
        hand.hear("request", odd);
    }
    // An id is kept until its answer, so it has a bound.
    hand.hear("request", &format!(r#"{{"id":"{}","method":"test"}}"#, "i".repeat(254)));
    hand.hear("request", &format!(r#"{{"id":"long","method":"{}"}}"#, "m".repeat(300)));
    assert!(hand.delivered.is_empty());
    assert_eq!(hand.counted[1..], [&[Count::Undecodable; 7][..], &[Count::BadRoute]].concat());
}

#[test]
fn c10_of_equal_keys_of_a_request_the_last_counts() {
    let mut hand = quiet(hand());
    hand.hear("request", r#"{"id":1,"method":2,"data":1,"id":"req-1","method":"execute","data":2}"#);
    let (request, reply) = hand.asked();
    assert_eq!((&*request.route, request.body), ("execute", Body::Json(json("2"))));
    hand.answer(reply, Body::null());
    assert!(hand.wrote().contains(r#""id":"req-1""#));
}

#[test]
fn h18_after_a_shutdown_nothing_is_begun_and_its_answer_is_the_last_word() {
    let mut hand = quiet(hand());
    hand.hear("request", r#"{"id":"req-1","method":"execute"}"#);
    let (_, running) = hand.asked();
    hand.hear("request", r#"{"id":"req-2","method":"shutdown","data":{}}"#);
    let (_, reply) = hand.asked();
    hand.hear("request", r#"{"id":"req-3","method":"test"}"#);
    assert!(hand.delivered.is_empty());
    assert!(hand.wrote().contains(r#""id":"req-3","type":"response","data":{"error":"shutting down"}"#));
    hand.answer(running, Body::null());
    assert!(hand.wrote().contains("req-1"));
    let unrouted = Failure::unrouted(Kind::Request, &Route::from_static("shutdown"));
    hand.send(Outbound::Response { reply, result: Err(unrouted) });
    assert!(hand.wrote().contains(r#""id":"req-2","type":"response","data":"ok""#));
    assert!(matches!(hand.closed, Some(Close::Dismissed(_))));
}

#[test]
fn h19_the_first_answer_counts_and_every_other_is_nobodys() {
    let mut hand = quiet(hand());
    hand.call("getSystems", Body::Empty);
    let asked = hand.wrote();
    assert_eq!(
        asked,
        format!(
            r#"2["requestData",{{"method":"getSystems","params":{{}},"requestId":"07070707-1","sessionToken":"{TOKEN}"}}]"#
        )
    );
    hand.hear("data_response", r#"{"requestId":"07070707-1","success":true,"data":[1]}"#);
    hand.hear("dataResponse", r#"{"requestId":"07070707-1","success":false,"error":"differs"}"#);
    hand.hear("dataResponse", r#"{"requestId":"never asked","success":true}"#);
    hand.hear("dataResponse", "null");
    assert_eq!(hand.counted, [Count::OrphanReply; 3]);
    let [Delivery::Response { outcome: Ok(response), .. }] = &hand.delivered.make_contiguous()[..] else {
        panic!()
    };
    assert_eq!(response.body, Body::Json(json("[1]")));
    hand.delivered.clear();
    for (answer, outcome) in [
        (r#""success":true"#, Ok(Response::from(Body::null()))),
        (r#""success":false,"error":"no such system""#, Err("no such system")),
        (r#""data":[1]"#, Err("the host gives no reason")),
    ] {
        hand.call("getSystems", Body::Json(json("{\"a\":1}")));
        let id = format!(
            "07070707-{}",
            hand.wrote().split("07070707-").nth(1).unwrap().split('"').next().unwrap()
        );
        hand.hear("dataResponse", &format!(r#"{{"requestId":"{id}",{answer}}}"#));
        let Some(Delivery::Response { outcome: got, .. }) = hand.delivered.pop_front() else { panic!() };
        let outcome = outcome.map_err(|why| CallError::Failure(Failure::new(Code::Unknown, why)));
        assert_eq!(got, outcome);
    }
    // What the host says of a request in its event for errors ends it too.
    hand.call("getSystems", Body::Empty);
    hand.hear("error", r#"{"message":"Missing method","requestId":"07070707-5"}"#);
    assert!(matches!(hand.delivered.pop_front(), Some(Delivery::Response { outcome: Err(_), .. })));
    let call = hand.call("getSystems", Body::Empty);
    hand.send(Outbound::Cancel(call));
    hand.hear("dataResponse", r#"{"requestId":"07070707-6","success":true}"#);
    assert!(hand.delivered.is_empty());
}

#[test]
fn files_come_as_bytes_whatever_their_form() {
    let mut hand = quiet(hand());
    let file = |hand: &mut Hand, answer: &dyn Fn(&str) -> (String, Vec<Bytes>)| {
        hand.call("requestFile", Body::Json(json("\"a/b.bin\"")));
        let asked = hand.wrote();
        assert!(
            asked.starts_with(r#"2["requestFile",{"filePath":"a/b.bin","requestId":"07070707-"#),
            "{asked}"
        );
        let id = asked.split("\"requestId\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let (text, attachments) = answer(&id);
        hand.receive(packet(&text, attachments));
        match hand.delivered.pop_front() {
            Some(Delivery::Response { outcome, .. }) => outcome,
            other => panic!("{other:?}"),
        }
    };
    let as_text = |data: &'static str| {
        move |id: &str| {
            (
                format!(
                    r#"2["fileData",{{"requestId":"{id}","filePath":"a/b.bin","success":true,"data":{data},"size":2}}]"#
                ),
                vec![],
            )
        }
    };
    let as_bytes = |id: &str| {
        let data = r#"{"_placeholder":true,"num":0}"#;
        (
            format!(r#"51-["fileData",{{"requestId":"{id}","success":true,"data":{data}}}]"#),
            vec![Bytes::from_static(&[1, 2])],
        )
    };
    let right = Ok(Response::from(Body::binary("", vec![1, 2])));
    assert_eq!(file(&mut hand, &as_text("\"AQI=\"")), right);
    assert_eq!(file(&mut hand, &as_text(r#"{"type":"Buffer","data":[1,2]}"#)), right);
    assert_eq!(file(&mut hand, &as_bytes), right);
    assert!(matches!(file(&mut hand, &as_text("7")), Err(CallError::Failure(_))));
    for wrong in [Body::Empty, Body::Json(json("7")), Body::binary("", vec![1])] {
        let request = Request::new(crate::FILE, wrong);
        let outbound = Outbound::Request { call: polywire_core::CallId(0), deadline: hand.now, request };
        assert!(matches!(hand.admit(&outbound), Admit::Refuse(_)));
    }
}

#[test]
fn h20_events_that_nobody_subscribed_to_are_ignored_and_counted() {
    let mut hand = hand();
    hand.hear("hyperHqEvent", r#"{"type":"gameLaunched","data":{"gameId":"g"},"timestamp":1795176056636}"#);
    hand.hear("hyperHqEvent", r#"{"type":"gameClosed","data":{}}"#);
    hand.hear("hyperHqEvent", r#"{"data":{}}"#);
    assert_eq!(hand.counted, [Count::Unexpected, Count::Undecodable]);
    let Some(Delivery::Event(event)) = hand.delivered.pop_front() else { panic!() };
    assert_eq!((&*event.route, &event.body), ("gameLaunched", &Body::Json(json(r#"{"gameId":"g"}"#))));
    assert_eq!(event.meta.get(TIMESTAMP).map(|text| &**text), Some("1795176056636"));
    assert!(hand.delivered.is_empty());
}

/// An event may overtake the answer to the subscription that asked for it.
#[test]
fn h20_an_event_that_comes_before_its_confirmation_is_heard_at_once() {
    let mut hand = hand();
    for message in [
        ("hyperHqEvent", r#"{"type":"gameLaunched","data":1}"#),
        ("eventsSubscribed", r#"{"events":["gameLaunched"],"pluginId":"demo-plugin"}"#),
        ("hyperHqEvent", r#"{"type":"gameLaunched","data":2}"#),
    ] {
        hand.hear(message.0, message.1);
    }
    for number in ["1", "2"] {
        let Some(Delivery::Event(event)) = hand.delivered.pop_front() else { panic!("no event {number}") };
        assert_eq!((&*event.route, event.body), ("gameLaunched", Body::Json(json(number))));
    }
    assert!(hand.counted.is_empty() && hand.closed.is_none());
}

#[test]
fn h24_status_updates_leave_ten_times_a_second_at_most_and_the_last_one_leaves() {
    let mut hand = quiet(hand());
    hand.hear("request", r#"{"id":"req-1","method":"execute"}"#);
    let (_, reply) = hand.asked();
    for number in 0..1_000 {
        let body = Body::Json(json(&format!(r#"{{"status":"working","message":"{number}"}}"#)));
        hand.with(|session, cx| session.progress(&reply, body, cx));
        hand.now = hand.now + Duration::from_micros(99);
    }
    assert_eq!(hand.wrote(), r#"2["statusUpdate",{"status":"working","message":"0"}]"#);
    assert!(hand.written.is_empty());
    hand.wake();
    assert_eq!(hand.wrote(), r#"2["statusUpdate",{"status":"working","message":"999"}]"#);
    assert_eq!(hand.wake_at, None);
    // As an event, and in other shapes.
    hand.now = hand.now + Duration::from_secs(1);
    for (body, said) in [
        (Body::Json(json("\"scanning\"")), r#"{"status":"scanning"}"#),
        (Body::Empty, r#"{"status":"working"}"#),
    ] {
        hand.written.clear();
        hand.send(Outbound::Event(Event::new(Route::from_static("statusUpdate"), body)));
        assert_eq!(hand.wrote(), format!(r#"2["statusUpdate",{said}]"#));
        hand.now = hand.now + Duration::from_secs(1);
    }
}

#[test]
fn notifications_leave_under_their_names_and_none_of_the_flow_itself() {
    let mut hand = quiet(hand());
    let event = Event::new(Route::from_static("thumbnail:created"), Body::Json(json(r#"{"videoPath":"v"}"#)));
    hand.send(Outbound::Event(event));
    assert_eq!(hand.wrote(), r#"2["thumbnail:created",{"videoPath":"v"}]"#);
    let flow = ["authenticate", "response", "requestData", "request_data", "requestFile", "subscribeEvents"];
    // Over one of its own names the official server ends the connection.
    for reserved in flow.into_iter().chain(polywire_socketio::RESERVED) {
        let event = Event::new(Route::from_static(reserved), Body::Empty);
        assert!(matches!(hand.admit(&Outbound::Event(event)), Admit::Refuse(_)), "{reserved}");
    }
}

#[test]
fn a_plugin_that_is_asked_or_answered_beyond_the_limits_on_json_refuses_or_ends_its_call() {
    let mut hand = quiet(hand());
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let limit = "nested deeper than max_json_depth = 128";
    hand.hear("request", &format!(r#"{{"id":"req-1","method":"execute","data":{deep}}}"#));
    let refused = hand.wrote();
    let told = format!(r#"{limit}"}},"sessionToken":"{TOKEN}"}}]"#);
    assert!(refused.starts_with(
        r#"2["response",{"id":"req-1","type":"response","data":{"error":"invalid JSON at byte "#
    ));
    assert!(refused.ends_with(&told), "{refused}");
    // What runs under that id keeps its answer, and without an id there is none.
    hand.hear("request", r#"{"id":"req-2","method":"execute"}"#);
    hand.hear("request", &format!(r#"{{"id":"req-2","method":"execute","data":{deep}}}"#));
    hand.hear("request", &format!(r#"{{"method":"execute","data":{deep}}}"#));
    hand.hear("hyperHqEvent", &format!(r#"{{"type":"gameLaunched","data":{deep}}}"#));
    assert_eq!((hand.written.len(), &hand.counted[..]), (0, &[Count::BadBody; 4][..]));
    hand.delivered.clear();
    let call = hand.call("getSystems", Body::Empty);
    for name in ["dataResponse", "data_response"] {
        hand.hear(name, &format!(r#"{{"success":true,"data":{deep},"requestId":"07070707-1"}}"#));
    }
    let [Delivery::Response { call: answered, outcome: Err(CallError::Unknown(failure)) }] =
        &hand.delivered.make_contiguous()[..]
    else {
        panic!("{:?}", hand.delivered)
    };
    assert_eq!((*answered, failure.code), (call, Code::ResourceExhausted));
    assert!(failure.message.ends_with(limit), "{failure}");
    assert_eq!(hand.counted[4..], [Count::OrphanReply], "the alias is nobody's");
    hand.hear("error", &format!(r#"{{"message":{deep}}}"#));
    assert_eq!(hand.counted[5..], [Count::Unexpected]);
}

#[test]
fn an_answer_to_the_login_beyond_the_limits_on_json_ends_it_by_the_limit_s_name() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let mut hand = Hand::new(&Kept::default());
    hand.hear("request", &format!(r#"{{"id":"req-1","method":"execute","data":{deep}}}"#));
    hand.hear("hyperHqEvent", &deep);
    assert_eq!(hand.counted, [Count::BeforeLogin; 2]);
    hand.hear("authenticated", &format!(r#"{{"success":true,"more":{deep}}}"#));
    let Some(Close::Refused(refusal)) = &hand.closed else { panic!("{:?}", hand.closed) };
    assert!(refusal.reason.ends_with("nested deeper than max_json_depth = 128"), "{refusal:?}");
}
