//! Requests, events, answers and failures, both ways.

use bytes::Bytes;
use polywire_core::{Body, ByteString, CallError, Code, Count, Failure, Meta, Outbound, Response};

use super::end::{End, Got, event, json, talk};
use crate::config::{Calls, Config, Mode, PeerType};
use crate::terminator::Terminator;
use crate::translate::TYPE;

fn quiet(mode: Mode) -> Config {
    Config { ping_interval: None, ..Config::with_mode(mode) }
}

/// Two ends of ours that have said everything about themselves.
fn pair(mode: Mode) -> (End, End) {
    let (mut client, mut server) = (End::client(&quiet(mode)), End::server(&quiet(mode)));
    talk(&mut client, &mut server);
    client.take();
    server.take();
    (client, server)
}

const MODES: [Mode; 4] = [Mode::Auto, Mode::Binary, Mode::Json, Mode::Compat];

#[test]
fn an_event_crosses_in_every_mode_both_ways() {
    for mode in MODES {
        for forth in [true, false] {
            let (mut one, mut other) = pair(mode);
            let (from, to) = if forth { (&mut one, &mut other) } else { (&mut other, &mut one) };
            for (route, body) in [
                ("Object", json(r#"{"a":[1,null,"x\n"],"b":12345678901234567890}"#)),
                ("job.started", json("\"text\"")),
                ("", json("1")),
                ("\"odd\" \\ route é", json("[]")),
                ("Buffer", Body::binary("Buffer", &b"\x00\x01\xff"[..])),
                ("Object", Body::null()),
            ] {
                from.event(route, body.clone());
                to.feed(&from.written());
                assert_eq!(to.delivered(), [event(route, body)], "{mode:?}");
            }
        }
    }
}

#[test]
fn no_body_arrives_as_an_empty_object_because_a_stock_peer_answers_so() {
    let (mut client, mut server) = pair(Mode::Json);
    client.event("Object", Body::Empty);
    server.feed(&client.written());
    assert_eq!(server.delivered(), [event("Object", json("{}"))]);
}

#[test]
fn a_call_is_answered_with_every_kind_of_value_in_every_mode() {
    for mode in MODES {
        let (mut client, mut server) = pair(mode);
        for value in ["{}", "[1]", "\"s\"", "-0.5e3", "true", "null"] {
            let call = client.call("question", json("1"));
            server.feed(&client.written());
            let Got::Request(request) = &server.delivered()[0] else { panic!("no request") };
            assert_eq!((&*request.route, &request.body), ("question", &json("1")));
            server.answer(json(value));
            client.feed(&server.written());
            let expected = Response { body: json(value), meta: Meta::default() };
            assert_eq!(client.delivered(), [Got::Response(call, Ok(expected))], "{mode:?} {value}");
        }
    }
}

#[test]
fn bytes_cross_typed_in_frames_and_as_a_plain_buffer_in_lines() {
    for (mode, kind) in [(Mode::Binary, "image/png"), (Mode::Json, "Buffer")] {
        let (mut client, mut server) = pair(mode);
        let call = client.call("Buffer", Body::binary("Buffer", &b"\x01"[..]));
        server.feed(&client.written());
        server.answer(Body::binary("image/png", &b"\x00\xff"[..]));
        client.feed(&server.written());
        let expected = Response::from(Body::binary(kind, &b"\x00\xff"[..]));
        assert_eq!(client.delivered(), [Got::Response(call, Ok(expected))]);
    }
}

#[test]
fn a_type_that_the_data_do_not_imply_comes_back_when_the_handler_copies_the_meta() {
    for mode in MODES {
        let (mut client, mut server) = pair(mode);
        server.echo = true;
        let call = client.call("Widget", json("{\"w\":1}"));
        talk(&mut client, &mut server);
        let meta = Meta::default().with(TYPE, ByteString::from_static("Widget"));
        let expected = Response { body: json("{\"w\":1}"), meta };
        assert_eq!(client.delivered(), [Got::Response(call, Ok(expected))], "{mode:?}");
        let plain = client.call("Array", json("[]"));
        talk(&mut client, &mut server);
        assert_eq!(client.delivered(), [Got::Response(plain, Ok(json("[]").into()))]);
    }
}

#[test]
fn an_echo_of_a_callback_without_data_or_without_a_name_is_the_same() {
    let (_, mut server) = pair(Mode::Json);
    server.echo = true;
    for (asked, answer) in [
        // A function, a symbol, an instance of a class without a name.
        (r#"{"type":"Function","id":"i"}"#, r#"{"type":"Function","callback_id":"i"}"#),
        (r#"{"type":"Symbol","id":"i"}"#, r#"{"type":"Symbol","callback_id":"i"}"#),
        (r#"{"type":"","data":{"x":1},"id":"i"}"#, r#"{"type":"","data":{"x":1},"callback_id":"i"}"#),
        (r#"{"type":"Number","data":null,"id":"i"}"#, r#"{"type":"Number","data":null,"callback_id":"i"}"#),
        // To a 1.x request an empty name is what the data imply, and nothing is an empty object.
        (
            r#"{"type":"SockhopRequest","data":{"uuid":"u","data":[1],"type":""}}"#,
            r#"{"type":"SockhopResponsePacket","data":{"uuid":"u","type":"Array","data":[1],"last":true}}"#,
        ),
        (
            r#"{"type":"SockhopRequest","data":{"uuid":"u","type":"Function"}}"#,
            r#"{"type":"SockhopResponsePacket","data":{"uuid":"u","type":"Function","data":{},"last":true}}"#,
        ),
    ] {
        server.feed(format!("{asked}\n").as_bytes());
        assert_eq!(server.text(), format!("{answer}\n"));
    }
    let (mut client, _) = pair(Mode::Json);
    let call = client.call("any", json("1"));
    let asked = client.text();
    let id = asked.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
    client.feed(format!("{{\"type\":\"Function\",\"callback_id\":\"{id}\"}}\n").as_bytes());
    let expected = Response { body: Body::Empty, meta: Meta::default().with(TYPE, "Function") };
    assert_eq!(client.delivered(), [Got::Response(call, Ok(expected))]);
}

#[test]
fn a_failure_crosses_in_every_mode() {
    for mode in MODES {
        let (mut client, mut server) = pair(mode);
        let call = client.call("missing", Body::Empty);
        server.feed(&client.written());
        let failure = Failure::new(Code::NotFound, "no such route");
        let reply = server.replies.pop_front().unwrap();
        server.send(Outbound::Response { reply, result: Err(failure.clone()) });
        client.feed(&server.written());
        assert_eq!(client.delivered(), [Got::Response(call, Err(CallError::Failure(failure)))], "{mode:?}");
    }
}

#[test]
fn white_space_that_would_end_a_line_leaves_and_everything_else_stays() {
    let (mut client, mut server) = pair(Mode::Json);
    client.event("Object", json("{ \"b\" : 1.50,\n\t\"a\":\"\\n x\" }\r\n"));
    server.feed(&client.written());
    assert_eq!(server.delivered(), [event("Object", json(r#"{"b":1.50,"a":"\n x"}"#))]);
    client.event("Object", json("{ \"b\" : 1.50 }"));
    server.feed(&client.written());
    assert_eq!(server.delivered(), [event("Object", json("{ \"b\" : 1.50 }"))]);
}

#[test]
fn each_direction_has_its_own_terminator() {
    let mut here = quiet(Mode::Compat);
    here.terminator =
        Terminator { receive: Bytes::from_static(b"\r\n"), transmit: Bytes::from_static(b"\0") };
    let mut there = here.clone();
    there.terminator =
        Terminator { receive: Bytes::from_static(b"\0"), transmit: Bytes::from_static(b"\r\n") };
    let (mut client, mut server) = (End::client(&here), End::server(&there));
    client.event("up", json("1"));
    server.event("down", json("2"));
    assert_eq!(client.text_then_feed(&mut server), "{\"type\":\"up\",\"data\":1}\0");
    assert_eq!(server.text_then_feed(&mut client), "{\"type\":\"down\",\"data\":2}\r\n");
    assert_eq!(server.delivered(), [event("up", json("1"))]);
    assert_eq!(client.delivered(), [event("down", json("2"))]);
}

#[test]
fn a_terminator_of_plain_text_ends_no_message_that_holds_it() {
    let config = Config { terminator: Terminator::both(";;"), ..quiet(Mode::Compat) };
    let (mut client, mut server) = (End::client(&config), End::server(&config));
    client.event("a;b", json("\"one;;two;\""));
    client.event("up", json("{\"k;;\":1}"));
    assert_eq!(
        client.text_then_feed(&mut server),
        r#"{"type":"a\u003bb","data":"one\u003b\u003btwo\u003b"};;{"type":"up","data":{"k\u003b\u003b":1}};;"#
    );
    let [Got::Event(one), Got::Event(two)] = &server.delivered()[..] else { panic!("two events") };
    assert_eq!((&*one.route, &*two.route), ("a;b", "up"));
    assert_eq!(one.body, json(r#""one\u003b\u003btwo\u003b""#), "the same text, in other words");
}

#[test]
fn a_member_names_the_route_when_told_so_and_the_type_travels_beside() {
    let mut server = End::server(&Config { name_from: Some("/method".into()), ..quiet(Mode::Compat) });
    server.feed(b"{\"type\":\"Object\",\"data\":{\"method\":\"go\",\"n\":1}}\n");
    let Got::Event(found) = &server.delivered()[0] else { panic!("no event") };
    assert_eq!(&*found.route, "go");
    assert_eq!(found.meta.get(TYPE).map(|kind| &**kind), Some("Object"));
    server.feed(b"{\"type\":\"Object\",\"data\":{\"n\":1}}\n{\"type\":\"plain\",\"data\":{\"method\":7}}\n");
    let routes: Vec<_> =
        server
            .delivered()
            .into_iter()
            .map(|got| {
                if let Got::Event(event) = got { event.route.as_str().to_owned() } else { panic!("{got:?}") }
            })
            .collect();
    assert_eq!(routes, ["Object", "plain"]);
}

#[test]
fn s01_lines_that_are_json_but_no_message_are_counted_and_the_connection_stays() {
    let mut server = End::server(&quiet(Mode::Auto));
    server.take();
    for line in ["null", "1", "\"x\"", "[]", "{}"] {
        server.feed(format!("{line}\n").as_bytes());
        assert_eq!(server.take(), [Got::Count(Count::Unexpected)], "{line}");
    }
    server.feed(b"{\"type\":\"still\",\"data\":1}\n");
    assert_eq!(server.delivered(), [event("still", json("1"))]);
    assert_eq!(server.text(), "");
}

#[test]
fn c10_of_equal_keys_the_last_counts() {
    let mut server = End::server(&quiet(Mode::Auto));
    server.take();
    server.feed(b"{\"type\":\"a\",\"data\":1,\"id\":\"x\",\"type\":\"b\",\"data\":2,\"id\":null}\n");
    assert_eq!(server.take(), [Got::Count(Count::Mended), event("b", json("2"))]);
    server.feed(b"{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true,\"request_binary_mode\":false},\"id\":\"h\"}\n");
    assert!(server.text().contains("{\"allow_binary_mode\":false}"));
}

#[test]
fn s02_an_answer_to_no_call_is_counted() {
    let (mut client, mut server) = pair(Mode::Json);
    client.call("question", Body::Empty);
    server.feed(&client.written());
    for id in ["\"__proto__\"", "\"toString\"", "7", "{}", "\"00000000-0000-4000-8000-000000000000\""] {
        client.feed(format!("{{\"type\":\"String\",\"data\":\"x\",\"callback_id\":{id}}}\n").as_bytes());
        assert_eq!(client.take(), [Got::Count(Count::OrphanReply)], "{id}");
    }
}

#[test]
fn s08_an_id_in_flight_is_answered_once() {
    let (_, mut server) = pair(Mode::Auto);
    let line = b"{\"type\":\"q\",\"data\":1,\"id\":\"a\"}\n";
    server.feed(line);
    assert_eq!(server.replies.len(), 1);
    server.take();
    server.feed(line);
    assert_eq!(server.take(), [Got::Count(Count::RepeatedId)]);
    server.answer(json("1"));
    assert_eq!(server.text(), "{\"type\":\"Number\",\"data\":1,\"callback_id\":\"a\"}\n");
    server.feed(line);
    assert_eq!(server.replies.len(), 1, "the id is free again");
    server.feed(format!("{{\"type\":\"q\",\"data\":1,\"id\":\"{}\"}}\n", "x".repeat(127)).as_bytes());
    assert_eq!(server.replies.len(), 1, "129 bytes are too long");
}

#[test]
fn s08_an_id_in_flight_is_answered_once_also_when_it_comes_again_without_a_usable_type() {
    let (_, mut server) = pair(Mode::Json);
    server.feed(b"{\"type\":\"q\",\"data\":1,\"id\":\"a\"}\n");
    server.feed(b"{\"type\":\"SockhopRequest\",\"data\":{\"uuid\":\"a\",\"type\":\"q\",\"data\":1}}\n");
    assert_eq!(server.replies.len(), 2, "ids of 1.x requests are ids of their own");
    server.take();
    server.text();
    for again in [
        "{\"data\":{},\"type\":5,\"id\":\"a\"}\n",
        "{\"type\":\"SockhopRequest\",\"data\":{\"uuid\":\"a\",\"type\":5}}\n",
    ] {
        server.feed(again.as_bytes());
        assert_eq!(server.take(), [Got::Count(Count::RepeatedId)], "{again}");
    }
    server.feed(b"{\"type\":\"SockhopHandshake\",\"data\":{},\"id\":\"a\"}\n");
    assert_eq!(server.text(), "", "a second answer to one id ends a stock peer");
}

#[test]
fn s07_types_that_name_nothing_are_refused_and_a_request_is_told() {
    let (_, mut server) = pair(Mode::Json);
    let long = "x".repeat(256);
    for kind in ["5", "null", "\"\\ud800\"", &format!("\"{long}\"")] {
        server.feed(format!("{{\"type\":{kind},\"data\":1}}\n").as_bytes());
        assert_eq!(server.take(), [Got::Count(Count::BadRoute)], "{kind}");
        server.feed(format!("{{\"type\":{kind},\"data\":1,\"id\":\"a\"}}\n").as_bytes());
        assert_eq!(server.take(), [Got::Count(Count::BadRoute)], "{kind}");
        assert!(
            server
                .text()
                .starts_with("{\"type\":\"Error\",\"data\":{\"error\":{\"code\":\"invalid_argument\"")
        );
    }
    let longest = "y".repeat(255);
    server.feed(format!("{{\"type\":\"{longest}\",\"data\":1}}\n").as_bytes());
    assert_eq!(server.delivered(), [event(&longest, json("1"))]);
}

#[test]
fn s07_names_of_the_protocol_are_refused_before_they_leave() {
    let (mut client, _) = pair(Mode::Auto);
    for route in [
        "SockhopHandshake",
        "SockhopBinaryModeTransition",
        "SockhopPing",
        "SockhopPong",
        "SockhopRequest",
        "SockhopResponsePacket",
    ] {
        client.event(route, json("{}"));
        client.call(route, json("{}"));
    }
    client.event("Buffer", json("\"text\""));
    assert_eq!(client.refused.len(), 13);
    assert!(client.refused.iter().all(|failure| failure.code == Code::InvalidArgument));
    assert_eq!(client.text(), "");
}

#[test]
fn s15_a_1x_peer_sends_before_anything_and_gets_no_typed_buffers() {
    let mut server = End::server(&quiet(Mode::Auto));
    server.feed(b"{\"type\":\"String\",\"data\":\"at once\"}\n{\"type\":\"q\",\"data\":1,\"id\":\"i\"}\n");
    assert!(matches!(&server.delivered()[..], [Got::Event(_), Got::Request(_)]));
    server.answer(json("2"));
    assert_eq!(server.text(), "{\"type\":\"Number\",\"data\":2,\"callback_id\":\"i\"}\n", "no handshake");
    server.event("image", Body::binary("image", &b"x"[..]));
    assert_eq!(server.held.len(), 1, "a handshake may come yet");
    server.wait(Config::default().handshake_timeout);
    assert_eq!(server.held.len(), 0);
    assert_eq!(server.refused[0].code, Code::Unimplemented);
    server.event("Buffer", Body::binary("", &b"x"[..]));
    assert_eq!(server.text(), "{\"type\":\"Buffer\",\"data\":\"eA==\"}\n");
}

#[test]
fn requests_of_the_1x_library_are_served_and_made() {
    let config = Config { calls: Calls::Request, ..quiet(Mode::Compat) };
    let (mut client, mut server) = (End::client(&config), End::server(&quiet(Mode::Auto)));
    let call = client.call("Object", json("{\"q\":1}"));
    let line = client.text();
    let uuid = line.split("\"uuid\":\"").nth(1).unwrap()[..36].to_owned();
    assert_eq!(
        line,
        format!(
            "{{\"type\":\"SockhopRequest\",\"data\":{{\"uuid\":\"{uuid}\",\"data\":{{\"q\":1}},\"type\":\"Object\"}}}}\n"
        )
    );
    server.feed(line.as_bytes());
    server.take();
    server.answer(json("[2]"));
    let answer = server.text();
    assert_eq!(
        answer,
        format!(
            "{{\"type\":\"SockhopResponsePacket\",\"data\":{{\"uuid\":\"{uuid}\",\"type\":\"Array\",\"data\":[2],\"last\":true}}}}\n"
        )
    );
    client.take();
    client.feed(answer.replace("true", "false").as_bytes());
    client.feed(answer.as_bytes());
    assert_eq!(
        client.delivered(),
        [Got::Progress(call, json("[2]")), Got::Response(call, Ok(json("[2]").into()))]
    );
    client.feed(b"{\"type\":\"SockhopResponsePacket\",\"data\":{\"uuid\":\"x\",\"last\":true}}\n");
    assert_eq!(client.take(), [Got::Count(Count::OrphanReply)]);
    client.call("Buffer", Body::binary("Buffer", &b"\x01\x02"[..]));
    assert!(client.text().contains("\"data\":{\"type\":\"Buffer\",\"data\":[1,2]},\"type\":\"Buffer\""));
    client.call("typed", Body::binary("typed", &b"\x01"[..]));
    assert_eq!(client.refused[0].code, Code::Unimplemented);
}

#[test]
fn the_1x_library_never_gets_a_request_or_an_answer_without_a_type() {
    let config = Config { calls: Calls::Request, ..quiet(Mode::Compat) };
    let (mut client, mut server) = (End::client(&config), End::server(&quiet(Mode::Auto)));
    // Where a type is empty the library asks the data for their constructor, and null has none.
    client.call("", Body::null());
    assert_eq!((client.refused[0].code, client.text().as_str()), (Code::InvalidArgument, ""));
    client.event("", json("null"));
    assert_eq!(client.text(), "{\"type\":\"\",\"data\":null}\n", "an event without a type is legal");
    server.feed(b"{\"type\":\"SockhopRequest\",\"data\":{\"uuid\":\"u\",\"data\":1,\"type\":\"q\"}}\n");
    server.take();
    server.answer(Response { body: Body::null(), meta: Meta::default().with(TYPE, "") });
    assert!(server.text().contains("\"type\":\"Object\",\"data\":null"));
}

#[test]
fn bare_json_peers_exchange_values_and_nothing_else() {
    let config = Config { peer_type: PeerType::Json, ..Config::default() };
    let mut client = End::client(&config);
    assert_eq!(client.text(), "", "no handshake");
    client.take();
    client.feed(b"{\"plain\":1}\n[1,2]\nnull\nnope\n");
    assert_eq!(
        client.take(),
        [
            event("Object", json("{\"plain\":1}")),
            event("Array", json("[1,2]")),
            event("Object", Body::null()),
            Got::Count(Count::Undecodable)
        ]
    );
    client.event("any", json("[ 1,\n2 ]"));
    assert_eq!(client.text(), "[1,2]\n");
    client.event("any", Body::null());
    client.event("any", Body::Empty);
    client.event("Buffer", Body::binary("", &b"x"[..]));
    client.call("any", json("1"));
    assert_eq!(client.refused.len(), 4);
    client.wait(std::time::Duration::from_secs(60));
    assert_eq!(client.text(), "", "no ping");
}

#[test]
fn s01_a_bare_peer_never_gets_a_value_that_it_dies_of_or_takes_for_the_protocols() {
    let mut client = End::client(&Config { peer_type: PeerType::Json, ..Config::default() });
    let deadly = [
        "null",
        " null\n",
        r#"{"type":"SockhopRequest"}"#,
        r#"{"type":"SockhopRequest","data":{"data":null}}"#,
        r#"{"type":"SockhopResponsePacket"}"#,
        r#"{"type":"SockhopPing","data":null}"#,
        r#"{"type":"SockhopPong"}"#,
        r#"{"a":1, "\u0074ype" : "Sockhop\u0050ing"}"#,
        r#"{"type":"fine","type":"SockhopPong","data":null}"#,
        r#"{"constructor":null}"#,
        r#"{ "constructor" : 1, "constructor" : null }"#,
    ];
    for (number, value) in deadly.into_iter().enumerate() {
        client.event("any", json(value));
        assert_eq!((client.refused.len(), client.text().as_str()), (number + 1, ""), "{value}");
        assert_eq!(client.refused[number].code, Code::InvalidArgument);
    }
    for value in [
        r#"{"type":"Sockhop"}"#,
        r#"{"type":null,"constructor":{"name":null}}"#,
        r#"{"type":"SockhopPing","type":1}"#,
        r#"[{"type":"SockhopPing","constructor":null}]"#,
        r#"{"inner":{"type":"SockhopRequest","constructor":null}}"#,
        r#""SockhopPing""#,
    ] {
        client.event("any", json(value));
        assert_eq!(client.text(), format!("{value}\n"));
    }
}
