//! The server's side of a connection, at moments of the test's choosing.

use super::*;
use crate::config::Dialect;
use crate::session::ServerCommand;
use polywire_core::{Admit, Code, Event, Limits, Route};

fn login(user: &str, password: &str) -> Value {
    json!({"session": "", "name": "t", "data": {"user": user, "password": password}})
}

fn call(session: &str, data: &Value) -> Value {
    json!({"session": session, "name": "t", "data": data})
}

fn code(reply: &Value) -> u64 {
    reply["error"]["code"].as_u64().unwrap_or(0)
}

fn with(config: ServerConfig) -> (Arc<Shared>, Engine<ServerSession>) {
    let shared = Arc::new(Shared::new(config));
    let desk = desk(&shared);
    (shared, desk)
}

/// A connection whose user is logged in, and the session.
fn alice(config: ServerConfig) -> (Arc<Shared>, Engine<ServerSession>, String) {
    let (shared, mut desk) = with(config);
    desk.message(&login("alice", "s3cret"));
    desk.next();
    let session = desk.next()["session"].as_str().unwrap().to_owned();
    (shared, desk, session)
}

#[test]
fn the_greeting_comes_first_and_a_login_gives_a_session() {
    let (_, mut desk) = with(server_config(false));
    let greeting = desk.next();
    assert_eq!(greeting["data"]["guest_allowed"], false);
    assert_eq!(
        greeting["data"]["version"],
        json!({"core": [0, 3, 0], "db": [0, 2, 0], "torrent": [0, 0, 0]})
    );
    desk.message(&login("alice", "wrong"));
    assert_eq!(code(&desk.next()), 411);
    assert!(desk.established.is_none());
    desk.message(&login("alice", "s3cret"));
    let reply = desk.next();
    assert_eq!(reply["data"], "Authenticated");
    assert_eq!(reply["session"].as_str().unwrap().len(), 32);
    assert_eq!(desk.established, Some(Identity::user("alice")));
}

#[test]
fn no_frame_is_read_while_a_login_is_judged() {
    let (_, mut desk) = with(server_config(false));
    desk.judge = None;
    desk.written.clear();
    let two = [frame(login("alice", "s3cret").to_string().as_bytes()), frame(b"[")].concat();
    desk.receive(&two).unwrap();
    assert!(desk.written.is_empty() && desk.judging.take().is_some());
    desk.with(|session, cx| session.authenticated(Ok(Identity::user("alice")), cx));
    desk.receive(b"").unwrap();
    assert_eq!(desk.next()["data"], "Authenticated");
    assert_eq!(code(&desk.next()), 900);
}

#[test]
fn a_session_is_shared_by_connections_and_its_identity_travels_with_each_call() {
    let (shared, mut first, session) = alice(server_config(true));
    let mut second = desk(&shared);
    second.written.clear();
    second.message(&call(&session, &json!([{"fname": "get_version"}])));
    assert_eq!(second.next()["data"][0]["fname"], "get_version");
    assert_eq!(second.established, Some(Identity::user("alice")));
    // Another login on the same connection does not change the older session.
    second.message(&json!({"session": "", "name": "t", "data": {}}));
    let guest = second.next()["session"].as_str().unwrap().to_owned();
    for (session, subject) in [(&guest, ""), (&session, "alice")] {
        second.message(&call(session, &json!([{"fname": "get_version"}])));
        assert_eq!(second.next()["session"], **session);
        let (_, _, identity) = second.requests.last().unwrap();
        assert_eq!(&*identity.as_ref().unwrap().subject, subject);
    }
    drop(first.session);
    second.message(&call(&session, &json!([])));
    assert_eq!(second.next()["data"], json!([]), "a session outlives the connection that made it");
    first.written.clear();
}

#[test]
fn a_list_of_nothing_under_a_good_session_is_a_login() {
    let (shared, _first, session) = alice(server_config(false));
    let mut second = desk(&shared);
    second.written.clear();
    second.message(&call("", &json!([])));
    assert_eq!((code(&second.next()), &second.established), (407, &None));
    second.message(&call(&session, &json!([])));
    assert_eq!(second.next(), json!({"session": session, "name": "reference-server", "data": []}));
    assert_eq!(second.established, Some(Identity::user("alice")));
    assert!(second.requests.is_empty() && second.reading);
}

#[test]
fn an_unused_session_expires_and_a_new_login_works_on_the_same_connection() {
    let (_, mut desk, session) = alice(server_config(false));
    desk.now = desk.now + Duration::from_secs(3_599);
    desk.message(&call(&session, &json!([])));
    assert_eq!(code(&desk.next()), 0);
    desk.now = desk.now + Duration::from_secs(3_600);
    desk.message(&call(&session, &json!([{"fname": "get_version"}])));
    let reply = desk.next();
    assert_eq!((code(&reply), &reply["session"]), (408, &json!(session)));
    assert!(desk.requests.is_empty());
    desk.message(&login("alice", "s3cret"));
    assert_eq!(desk.next()["data"], "Authenticated");
}

#[test]
fn p15_guessed_sessions_run_nothing_and_close_after_ten() {
    let (_, mut desk, session) = alice(server_config(true));
    for guess in 0..9 {
        desk.message(&call(&format!("{guess:032x}"), &json!([{"fname": "get_version"}])));
        assert_eq!(code(&desk.next()), 407);
    }
    desk.message(&call(&session, &json!([])));
    desk.next();
    for guess in 0..10 {
        assert!(desk.closed.is_none(), "a good session starts the count anew");
        desk.message(&call(&format!("{guess:032x}"), &json!([{"fname": "get_version"}])));
        assert_eq!(code(&desk.next()), 407);
    }
    let text = desk.closed.unwrap().to_string();
    assert_eq!(text, "10 unknown sessions in a row reach max_unknown_sessions = 10");
    assert!(desk.requests.is_empty());
    // Ten thousand guesses take a thousand connections.
    let shared = shared(false);
    for connection in 0..1_000 {
        let mut desk = self::desk(&shared);
        desk.message(&login("alice", "s3cret"));
        for guess in 0..10 {
            assert!(desk.closed.is_none());
            desk.message(&call(&format!("{connection:028x}{guess:04x}"), &json!([{"fname": "get_version"}])));
        }
        assert!(desk.closed.is_some() && desk.requests.is_empty());
    }
    // A session that the client chose at login is ignored.
    let (_, mut desk) = with(server_config(true));
    desk.written.clear();
    let chosen = "c".repeat(32);
    desk.message(&json!({"session": chosen, "name": "t", "data": {}}));
    assert_ne!(desk.next()["session"], json!(chosen));
}

/// A connection over TLS from another machine.
fn elsewhere(shared: &Arc<Shared>, last: u8) -> Engine<ServerSession> {
    let address = Some(std::net::IpAddr::from([192, 0, 2, last]));
    let codec = HpxCodec::new(&Wire::default(), Trust::Stranger);
    let mut desk = Engine::new(ServerSession::new(Arc::clone(shared), address, true), codec, reference);
    desk.written.clear();
    desk
}

#[test]
fn p15_a_session_may_be_used_from_another_address_than_it_was_made_at() {
    let shared = shared(false);
    let mut first = elsewhere(&shared, 7);
    first.message(&login("alice", "s3cret"));
    let session = first.next()["session"].as_str().unwrap().to_owned();
    for mut desk in [elsewhere(&shared, 8), desk(&shared)] {
        desk.written.clear();
        desk.message(&call(&session, &json!([{"fname": "get_version"}])));
        assert_eq!(desk.next()["data"][0]["fname"], "get_version");
        assert_eq!(desk.established, Some(Identity::user("alice")));
    }
}

#[test]
fn p16_an_address_that_guesses_pauses_and_another_does_not() {
    let shared = shared(false);
    for guess in 0..20 {
        let mut desk = elsewhere(&shared, 7);
        desk.message(&login(&format!("user {guess}"), "guess"));
        assert_eq!(desk.next()["error"]["msg"], "Wrong credentials", "{guess}");
    }
    let mut guesser = elsewhere(&shared, 7);
    guesser.message(&login("alice", "s3cret"));
    let limits = "max_failed_logins_per_name = 5, max_failed_logins = 20 of one address";
    let text = format!("too many failed logins ({limits}): try again in 7 s");
    assert_eq!(guesser.next()["error"]["msg"], text);
    for mut desk in [elsewhere(&shared, 8), desk(&shared)] {
        desk.written.clear();
        desk.message(&login("alice", "s3cret"));
        assert_eq!(desk.next()["data"], "Authenticated");
    }
}

#[test]
fn p16_failed_logins_pause_and_strangers_have_four_messages() {
    let shared = shared(false);
    for round in 0..5 {
        let mut desk = desk(&shared);
        desk.written.clear();
        desk.message(&login("alice", "wrong"));
        assert_eq!(desk.next()["error"]["msg"], "Wrong credentials", "{round}");
    }
    let mut paused = desk(&shared);
    paused.written.clear();
    paused.message(&login("alice", "s3cret"));
    assert_eq!(
        paused.next()["error"],
        json!({"code": 411, "msg": "too many failed logins (max_failed_logins_per_name = 5, max_failed_logins = 20 of one address): try again in 61 s"})
    );
    paused.now = paused.now + Duration::from_secs(60);
    paused.message(&login("alice", "s3cret"));
    assert_eq!(paused.next()["data"], "Authenticated");

    let mut desk = desk(&self::shared(false));
    for _ in 0..4 {
        desk.message(&json!({"session": "", "name": "t", "data": "requestauth"}));
    }
    assert!(desk.closed.is_none());
    desk.message(&login("alice", "s3cret"));
    let text = desk.closed.unwrap().to_string();
    assert_eq!(text, "5 messages before the login exceed max_login_messages = 4");
}

#[test]
fn p16_of_ten_thousand_wrong_passwords_in_a_thousand_seconds_a_few_are_judged() {
    let shared = shared(false);
    let (mut judged, mut paused) = (0, 0);
    let mut desk = desk(&shared);
    for attempt in 0..10_000_u32 {
        // A stranger has four messages on a connection.
        if attempt % 4 == 0 {
            desk = self::desk(&shared);
            desk.written.clear();
        }
        desk.now = at(60) + Duration::from_millis(100) * attempt;
        desk.message(&login("alice", "wrong"));
        let reply = desk.next();
        match reply["error"]["msg"].as_str().unwrap() {
            "Wrong credentials" => judged += 1,
            text => {
                assert!(text.starts_with("too many failed logins"), "{reply}");
                paused += 1;
            }
        }
    }
    assert_eq!(judged + paused, 10_000);
    // Five, then a pause of a minute, and so on.
    assert!((5..=5 * (1_000 / 60 + 1)).contains(&judged), "{judged} were judged");
}

#[test]
fn p17_a_password_in_clear_text_from_elsewhere_is_refused() {
    let elsewhere = Some(std::net::IpAddr::from([192, 0, 2, 7]));
    for (allow, secure, wanted) in [(false, false, 407), (true, false, 0), (false, true, 0)] {
        let shared = Arc::new(Shared::new(ServerConfig { allow_plaintext: allow, ..server_config(false) }));
        let codec = HpxCodec::new(&Wire::default(), Trust::Stranger);
        let mut desk = Engine::new(ServerSession::new(shared, elsewhere, secure), codec, reference);
        desk.written.clear();
        desk.message(&login("alice", "s3cret"));
        assert_eq!(code(&desk.next()), wanted);
    }
}

#[test]
fn p07_dialect_a_refuses_other_keys_and_the_others_echo_the_id() {
    for (dialect, wanted) in [(Dialect::A, 403), (Dialect::Auto, 0), (Dialect::B, 0)] {
        let mut config = server_config(true);
        config.wire.dialect = dialect;
        let (_, mut desk) = with(config);
        desk.written.clear();
        for id in [json!("x1"), json!(7), json!({"a": [1]}), Value::Null] {
            desk.message(&json!({"__id__": id, "session": "", "name": "t", "data": "requestauth"}));
            let reply = desk.next();
            assert_eq!(code(&reply), wanted, "{dialect:?}");
            assert_eq!(reply.get("__id__"), (wanted == 0).then_some(&id), "{dialect:?}");
        }
    }
    let (_, mut desk) = with(server_config(true));
    desk.written.clear();
    desk.message(&json!({"__id__": "x", "data": {}, "name": "t"}));
    let reply = desk.next();
    assert_eq!((code(&reply), &reply["__id__"]), (403, &json!("x")), "errors carry the id too");
}

#[test]
fn p08_commands_need_a_user_who_may() {
    let forms = [json!(1), json!(2), json!("serverquit"), json!("ServerRestart")];
    let may = |names: &[&str]| ServerConfig {
        may_command: names.iter().map(|name| (*name).into()).collect(),
        ..server_config(true)
    };
    for form in &forms {
        let (shared, mut desk) = with(may(&["", "alice"]));
        desk.written.clear();
        desk.message(&call("", form));
        assert_eq!(code(&desk.next()), 407);
        desk.message(&json!({"session": "", "name": "t", "data": {}}));
        let guest = desk.next()["session"].as_str().unwrap().to_owned();
        desk.message(&call(&guest, form));
        assert_eq!(code(&desk.next()), 406);
        assert_eq!(*shared.commands().borrow(), None);
        let (shared, mut desk, session) = alice(may(&[]));
        desk.message(&call(&session, form));
        assert_eq!(code(&desk.next()), 406);
        assert_eq!(*shared.commands().borrow(), None);
        let (shared, mut desk, session) = alice(may(&["alice"]));
        desk.message(&call(&session, form));
        assert!(desk.written.is_empty() && shared.commands().borrow().is_some());
    }
    let (shared, mut desk, session) = alice(may(&["alice"]));
    for other in [json!(true), json!(1.0), json!("1"), json!("serverquit ")] {
        desk.message(&call(&session, &other));
        assert_eq!(code(&desk.next()), 403, "{other}");
    }
    assert_eq!(*shared.commands().borrow(), None);
    let quit = Event::new(Route::from_static(ServerCommand::Quit.as_str()), Body::Empty);
    assert_eq!(desk.session.admit(&Outbound::Event(quit.clone())), Admit::Now);
    desk.with(|session, cx| session.send(Outbound::Event(quit), cx));
    assert_eq!(desk.next(), json!({"session": session, "name": "reference-server", "data": 1}));
    let other = Event::new(Route::from_static("news"), Body::Empty);
    assert!(
        matches!(desk.session.admit(&Outbound::Event(other)), Admit::Refuse(why) if why.code == Code::Unimplemented)
    );
}

#[test]
fn p09_lists_of_every_shape() {
    let (_, mut desk, session) = alice(server_config(false));
    let many = |count: usize| json!(vec![json!({"fname": "get_version"}); count]);
    let bad = [json!([1]), json!([{}]), json!([{"fname": null}]), json!([{"fname": ["x"]}])];
    for bad in bad.into_iter().chain([many(257), many(100_000)]) {
        desk.message(&call(&session, &bad));
        assert_eq!(code(&desk.next()), 403);
    }
    assert!(desk.requests.is_empty(), "nothing of a bad list runs");
    desk.message(&call(&session, &many(256)));
    assert_eq!(desk.next()["data"].as_array().unwrap().len(), 256);
    desk.requests.clear();
    let name = "n".repeat(256);
    desk.message(&call(
        &session,
        &json!([{"fname": name}, {"fname": "x_echo", "value": 1}, {"fname": "x_echo"}]),
    ));
    let entries = desk.next()["data"].clone();
    assert_eq!(
        entries[0],
        json!({"fname": name, "data": null, "error": {"code": 403, "msg": "no function has such a name"}})
    );
    assert_eq!((&entries[1]["data"], &entries[2]["data"]), (&json!(1), &Value::Null));
    let repeated = format!(
        r#"{{"session":"{session}","name":"t","data":[{{"fname":"a","value":1,"fname":"x_echo"}}]}}"#
    );
    desk.receive(&frame(repeated.as_bytes())).unwrap();
    assert_eq!(desk.next()["data"][0]["fname"], "x_echo", "the last of equal keys wins");
    assert_eq!(desk.requests.last().unwrap().1, r#"{"value":1}"#);
}

#[test]
fn p09_the_reply_of_a_batch_stays_within_max_frame_bytes() {
    let config = |max_frame_bytes: usize| {
        let mut config = server_config(false);
        config.wire.limits = Arc::new(Limits { max_frame_bytes, ..Limits::default() });
        config
    };
    let echo = |value: &str| json!({"fname": "x_echo", "value": value});
    let (_, mut desk, session) = alice(config(16 << 10));
    for large in ["x".repeat(4_000), "<EOF>".repeat(400)] {
        let calls: Vec<Value> = (0..10).flat_map(|n| [echo(&large), echo(&n.to_string())]).collect();
        desk.sent.clear();
        desk.message(&call(&session, &json!(calls)));
        let reply = desk.next();
        assert!(desk.written.is_empty(), "one frame");
        assert!(desk.sent.len() <= (16 << 10) + DELIMITER.len(), "{} bytes", desk.sent.len());
        let no_room = json!({"code": 400, "msg": "the function ran, and the reply has no room for its answer: max_frame_bytes = 16384"});
        let entries = reply["data"].as_array().unwrap();
        assert_eq!(entries.len(), 20);
        let mut refused = Vec::new();
        for (n, two) in entries.chunks(2).enumerate() {
            assert_eq!(two[1], json!({"fname": "x_echo", "data": n.to_string()}), "a small one fits behind");
            let error = two[0].get("error");
            refused.push(error.is_some());
            match error {
                None => assert_eq!(two[0]["data"], json!(large)),
                Some(error) => assert_eq!(*error, no_room),
            }
        }
        assert!(refused.is_sorted() && !refused[2] && refused[3], "{refused:?}");
    }
    // What refusing each would take is too much already: none runs.
    desk.requests.clear();
    desk.message(&call(&session, &json!(vec![echo(""); 200])));
    let error = desk.next()["error"].take();
    let text = error["msg"].as_str().unwrap();
    assert!(error["code"] == 400 && text.ends_with("exceeds max_frame_bytes = 16384"), "{error}");
    assert!(desk.requests.is_empty() && desk.closed.is_none());

    let mut config = config(16 << 10);
    config.wire.max_inflated_bytes = 10_000;
    let (_, mut desk, session) = alice(config);
    desk.message(&call(&session, &json!(vec![echo(&"x".repeat(4_000)); 3])));
    let why = "the function ran, and the reply has no room for its answer: max_inflated_bytes = 10000";
    assert_eq!(desk.next()["data"][2]["error"]["msg"], why, "the smaller of the two counts");

    let unknown = json!({"fname": "y".repeat(200)});
    desk.message(&call(&session, &json!([vec![echo(&"x".repeat(4_000))], vec![unknown; 14]].concat())));
    let reply = desk.next();
    let errors: Vec<_> = reply["data"].as_array().unwrap()[1..].iter().map(|entry| &entry["error"]).collect();
    assert!(errors[0]["msg"].as_str().unwrap().starts_with("Function not found"), "{reply}");
    assert_eq!(*errors[13], json!({"code": 403, "msg": "failed, and the reply has no room for why"}));
}

#[test]
fn c10_of_equal_keys_of_a_request_the_last_counts() {
    let (_, mut desk, session) = alice(server_config(false));
    desk.counts.clear();
    let text = format!(
        r#"{{"session":"x","name":1,"data":1,"session":"{session}","name":"t","data":[{{"fname":"f","value":1,"fname":"x_echo","value":2}}]}}"#
    );
    desk.receive(&frame(text.as_bytes())).unwrap();
    let reply = desk.next();
    assert_eq!((&reply["data"][0]["fname"], &reply["data"][0]["data"]), (&json!("x_echo"), &json!(2)));
    assert_eq!(desk.counts, [Count::Mended]);
}

#[test]
fn arguments_and_results_keep_their_spelling() {
    let (_, mut desk, session) = alice(server_config(false));
    let odd = r#"{"z":1e400,"a":-0,"n":123456789012345678901,"s":"\ud800 <EOF>"}"#;
    let text =
        format!(r#"{{"session":"{session}","name":"t","data":[{{ "value" : {odd} , "fname":"x_echo" }}]}}"#);
    desk.receive(&frame(text.as_bytes())).unwrap();
    assert_eq!(desk.requests[0].1, format!(r#"{{"value" : {odd}}}"#));
    let reply = desk.written.pop_front().unwrap();
    assert!(reply.contains(&odd.replace("<EOF>", "\\u003cEOF>")), "{reply}");
}

#[test]
fn p10_python_literals_are_read_or_refused_by_option() {
    let text_of_call = |session: &str| {
        format!(
            r#"{{"session":"{session}","name":"t","data":[{{"fname":"x_echo","value":[NaN,-Infinity]}}]}}"#
        )
    };
    let text = |session: &str| frame(text_of_call(session).as_bytes());
    let (_, mut desk, session) = alice(server_config(false));
    desk.receive(&text(&session)).unwrap();
    let refused = desk.next();
    assert_eq!(code(&refused), 900);
    let place = text_of_call(&session).find("NaN").unwrap();
    assert!(refused["error"]["msg"].as_str().unwrap().contains(&format!("at byte {place}")), "{refused}");
    assert!(desk.requests.is_empty() && desk.closed.is_none());
    let mut config = server_config(false);
    config.wire.non_finite = crate::NonFinite::Null;
    let (_, mut desk, session) = alice(config);
    desk.receive(&text(&session)).unwrap();
    assert_eq!(desk.next()["data"][0]["data"], json!([null, null]));
    assert!(desk.counts.contains(&Count::Mended));
}

#[test]
fn c10_json_of_every_kind_is_refused_with_its_code() {
    let (_, mut desk, _) = alice(server_config(false));
    let deep = "[".repeat(129) + &"]".repeat(129);
    let texts: [(&[u8], u64); 7] = [
        (b"{", 900),
        (b"\xef\xbb\xbf{}", 900),
        (b"{} x", 900),
        (b"\"\xff\"", 100),
        (deep.as_bytes(), 100),
        (b"[]", 403),
        (b"1", 403),
    ];
    for (text, wanted) in texts {
        desk.receive(&frame(text)).unwrap();
        assert_eq!(code(&desk.next()), wanted, "{}", String::from_utf8_lossy(text));
    }
    assert!(desk.closed.is_none());
}

#[test]
fn p02_eight_empty_frames_in_a_row_close() {
    let (_, mut desk, _) = alice(server_config(false));
    for _ in 0..8 {
        assert!(desk.closed.is_none());
        desk.receive(DELIMITER).unwrap();
        assert_eq!(code(&desk.next()), 900);
    }
    assert_eq!(desk.closed.unwrap().to_string(), "8 empty frames in a row reach max_empty_frames = 8");
}

#[test]
fn debug_shows_no_session_and_no_call() {
    let (shared, desk, session) = alice(server_config(false));
    let shown = format!("{shared:?} {:?}", desk.session);
    assert!(shown.contains("established: true") && !shown.contains(&session), "{shown}");
    let digits = format!("{:?}", session.as_bytes());
    assert!(!shown.contains(digits.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn p16_a_name_that_is_too_long_is_refused_before_it_is_judged_or_remembered() {
    let (_, mut desk) = with(server_config(false));
    desk.next();
    desk.judge = None;
    desk.message(&login(&"n".repeat(256), "s3cret"));
    let reply = desk.next();
    assert_eq!(code(&reply), 411);
    assert_eq!(reply["error"]["msg"], "a user name of 256 bytes exceeds the 255 bytes it may have");
    assert!(desk.judging.is_none());
    desk.message(&login(&"n".repeat(255), "s3cret"));
    assert!(desk.judging.is_some());
}
