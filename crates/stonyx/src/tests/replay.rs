//! Recorded sessions of the originals, three revisions, sealed and plain, replayed in both roles.
//!
//! Everything our side writes is compared byte for byte with what the original wrote in its place: ivs and session keys are
//! drawn as the original drew them.

use std::sync::Arc;

use bytes::Bytes;
use polywire_core::{
    Body, CallId, Close, Credentials, Delivery, Event, Failure, Identity, JsonLimits, JsonText, Kind,
    Message, Moment, Outbound, Refusal, Request, Response, Route, Secret, Session,
};
use serde_json::Value;
use std::time::Duration;

use super::hand::Hand;
use super::seal;
use super::vectors::{hex, key, load};
use crate::codec::Codec;
use crate::config::Config;
use crate::seal::Key;
use crate::session::{ClientSession, Reply, ServerSession};
use crate::wire::take_text;

const REVISIONS: [&str; 3] = ["alpha1", "beta11", "beta39"];

/// One recorded connection.
struct Recording<'a> {
    revision: &'static str,
    encrypted: bool,
    server_key: &'a str,
    connection: &'a Value,
}

impl<'a> Recording<'a> {
    fn config(&self) -> Arc<Config> {
        let heartbeat = Duration::from_millis(60);
        Arc::new(Config { encryption: self.encrypted, heartbeat, ..Config::new(self.server_key) })
    }

    fn server(&self) -> Hand<ServerSession> {
        Hand::new(ServerSession::new(self.config(), JsonLimits::default(), Arc::default()), &self.key())
    }

    fn client(&self, credentials: Credentials) -> Hand<ClientSession> {
        let json = JsonLimits::default();
        Hand::new(ClientSession::new(self.config(), json, Arc::default(), credentials), &self.key())
    }

    fn frames(&self) -> &'a [Value] {
        self.connection["frames"].as_array().unwrap()
    }

    fn key(&self) -> Key {
        let keys = load("keys");
        let known = keys["keys"].as_array().unwrap().iter().find(|key| key["auth_key"] == self.server_key);
        if self.encrypted { Key::new(&key(known.unwrap()["key_hex"].as_str().unwrap())) } else { Key::none() }
    }

    /// Written under the key of a connection before this one: early clients did that after a reconnect, and were closed.
    fn is_stale(&self, frame: &Value) -> bool {
        self.encrypted && frame["opcode"] != "close" && frame["plaintext"].is_null()
    }

    /// The message as our server writes it: a push has `response` where the oldest revision has `data`, which no client of any
    /// revision reads.
    fn as_we_push(&self, frame: &Value) -> Message {
        let text = plain(frame);
        if self.revision != "alpha1" || member(frame, "data").is_none() {
            return message(frame);
        }
        let text = text.replacen(",\"data\":", ",\"response\":", 1);
        if !self.encrypted {
            return Message::Text(text.into());
        }
        let nonce = hex(frame["iv_hex"].as_str().unwrap()).try_into().unwrap();
        let key = Key::new(&key(frame["key_hex"].as_str().unwrap()));
        Message::Binary(seal(&key, nonce, text.as_bytes()))
    }

    /// What the original drew before it wrote this frame.
    fn draw<S: Session<Codec = Codec> + std::fmt::Debug>(&self, frame: &Value, hand: &Hand<S>) {
        if !self.encrypted {
            return;
        }
        let text: Value = serde_json::from_str(plain(frame)).unwrap();
        if let Some(key) = text["sessionKey"].as_str() {
            let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, key).unwrap();
            hand.drawn.push(&key);
        }
        hand.drawn.push(&hex(frame["iv_hex"].as_str().unwrap()));
    }
}

fn plain(frame: &Value) -> &str {
    frame["plaintext"].as_str().unwrap()
}

/// The message as it crossed the wire.
fn message(frame: &Value) -> Message {
    match frame["opcode"].as_str().unwrap() {
        "binary" => Message::Binary(hex(frame["payload_hex"].as_str().unwrap()).into()),
        _ => Message::Text(Bytes::from(plain(frame).to_owned())),
    }
}

/// A member of a recorded message, spelled as it was; JSON of the recorder's language would change numbers.
fn member(frame: &Value, name: &str) -> Option<Body> {
    let text = Bytes::from(plain(frame).to_owned());
    let limits = JsonLimits::default();
    let mut members = polywire_core::json::Members::new(&text, &limits).unwrap();
    while let Some((key, at)) = members.next().unwrap() {
        if key.is(name) {
            return Some(Body::Json(JsonText::new(text.slice(at), &limits).unwrap()));
        }
    }
    None
}

fn name(frame: &Value) -> Route {
    let text: Value = serde_json::from_str(plain(frame)).unwrap();
    Route::new(text["request"].as_str().unwrap().to_owned()).unwrap()
}

/// We serve; what the recorded client sent comes in, what the recorded server sent must come out.
fn replay_server(recording: &Recording<'_>) -> Hand<ServerSession> {
    let mut hand = recording.server();
    let mut unanswered: Vec<Reply> = Vec::new();
    hand.open();
    for frame in recording.frames() {
        let from_client = frame["dir"] == "c2s";
        match (from_client, frame["opcode"].as_str().unwrap()) {
            (_, "close") if from_client => break,
            (_, "close") => {
                assert!(hand.closed.is_some(), "the original refused by now: {frame}");
                break;
            }
            (true, _) if hand.closed.is_some() => {}
            (true, _) => {
                // What the server draws for its answer stands in the next frame it wrote.
                let at = recording.frames().iter().position(|other| other == frame).unwrap();
                let answer = recording.frames()[at..].iter().find(|other| other["dir"] == "s2c");
                let by_itself = |frame: &&Value| {
                    frame["opcode"] != "close" && matches!(&*name(frame), "auth" | "heartBeat")
                };
                if let Some(answer) = answer.filter(by_itself) {
                    recording.draw(answer, &hand);
                }
                hand.receive(message(frame));
                if let Some(credentials) = hand.judging.take() {
                    let right = credentials
                        .secret
                        .is_some_and(|secret| secret.matches(recording.server_key.as_bytes()));
                    hand.judge(if right { Ok(Identity::guest()) } else { Err(Refusal::new("another key")) });
                }
                if let Some(Delivery::Request { request, reply, .. }) = hand.delivered.pop_front() {
                    assert_eq!(Some(request.body), Some(member(frame, "data").unwrap_or_default()));
                    unanswered.push(reply);
                }
            }
            (false, _) => {
                if hand.written.is_empty() {
                    recording.draw(frame, &hand);
                    let route = name(frame);
                    let owed = unanswered.iter().position(|reply| reply.0 == route);
                    match (owed, member(frame, "response")) {
                        (Some(at), Some(body)) => {
                            let reply = unanswered.remove(at);
                            hand.send(Outbound::Response { reply, result: Ok(Response::from(body)) });
                        }
                        (_, body) => {
                            let body = body.or_else(|| member(frame, "data")).unwrap_or_default();
                            hand.send(Outbound::Event(Event::new(route, body)));
                        }
                    }
                }
                assert_eq!(hand.written.pop_front(), Some(recording.as_we_push(frame)), "{frame}");
            }
        }
    }
    // Handlers with nothing to say, and names that nobody knows: the original wrote nothing for them, and so do we.
    let nobody = Failure::unrouted(Kind::Request, &Route::from_static("x"));
    let silence = [Ok(Response::default()), Err(nobody)];
    for (reply, result) in unanswered.into_iter().zip(silence.into_iter().cycle()) {
        hand.send(Outbound::Response { reply, result });
    }
    assert_eq!(hand.written, []);
    hand
}

/// We dial; what the recorded server sent comes in, what the recorded client sent must come out.
fn replay_client(recording: &Recording<'_>) -> Hand<ClientSession> {
    let first = &recording.frames()[0];
    let Some(Body::Json(auth)) = member(first, "data") else { panic!("a login is first") };
    let (secret, data) = take_text(&auth, "authKey", &JsonLimits::default());
    let mut hand = recording.client(Credentials { subject: None, secret: secret.map(Secret::from), data });
    recording.draw(first, &hand);
    hand.open();
    let mut calls = Vec::new();
    for frame in recording.frames() {
        match (frame["dir"] == "c2s", frame["opcode"].as_str().unwrap()) {
            (_, "close") => break,
            _ if recording.is_stale(frame) => break,
            (true, _) => {
                if hand.written.is_empty() {
                    recording.draw(frame, &hand);
                    let route = name(frame);
                    if &*route == "heartBeat" {
                        let before = hand.now;
                        hand.wake();
                        assert_eq!(hand.now - before, Duration::from_millis(60));
                    } else {
                        let request = Request::new(route.clone(), member(frame, "data").unwrap_or_default());
                        let call = CallId(calls.len() as u64);
                        calls.push((call, route));
                        hand.send(Outbound::Request { call, deadline: Moment::default(), request });
                    }
                }
                assert_eq!(hand.written.pop_front(), Some(message(frame)), "{frame}");
            }
            (false, _) => {
                hand.receive(message(frame));
                let route = name(frame);
                let value = member(frame, "response").or_else(|| member(frame, "data"));
                match hand.delivered.pop_front() {
                    Some(Delivery::Response { call, outcome }) => {
                        assert_eq!(calls[usize::try_from(call.0).unwrap()], (call, route));
                        assert_eq!(outcome.unwrap().body, value.unwrap());
                    }
                    Some(Delivery::Event(event)) => {
                        assert_eq!((event.route, event.body), (route, value.unwrap_or_default()));
                    }
                    other => assert!(other.is_none() && matches!(&*route, "auth" | "heartBeat"), "{other:?}"),
                }
            }
        }
    }
    assert_eq!(hand.written, []);
    hand
}

/// Replays every connection of the transcripts with these names, and says how many frames that were.
fn replay(names: &[&str], sealed: &[bool], run: impl Fn(&Recording<'_>)) -> usize {
    let mut frames = 0;
    for revision in REVISIONS {
        for encrypted in sealed.iter().copied() {
            let mode = if encrypted { "encrypted" } else { "plain" };
            let file = load(&format!("transcripts-{revision}-{mode}"));
            for name in names {
                let transcripts = file["transcripts"].as_array().unwrap();
                let transcript = transcripts.iter().find(|transcript| transcript["name"] == *name);
                for connection in transcript.unwrap()["connections"].as_array().unwrap() {
                    let server_key = file["server_auth_key"].as_str().unwrap();
                    let recording = Recording { revision, encrypted, server_key, connection };
                    run(&recording);
                    frames += recording.frames().len();
                }
            }
        }
    }
    frames
}

/// Login, requests, pushes, heartbeats, and both kinds of end.
const WHOLE: [&str; 4] = ["session", "broadcast", "reconnect", "server-close"];

/// Logins that the original answers with something else than its word, or with nothing.
const UNDECIDED: [&str; 3] =
    ["auth-handler-returns-value", "auth-handler-returns-false", "auth-handler-returns-null"];

#[test]
fn we_serve_what_the_recorded_clients_asked() {
    let frames = replay(&WHOLE, &[true, false], |recording| {
        let hand = replay_server(recording);
        let stale = recording.frames().iter().any(|frame| recording.is_stale(frame));
        assert_eq!((hand.established, hand.closed.is_some()), (true, stale));
    });
    assert!(frames > 300, "{frames}");
}

#[test]
fn we_ask_what_the_recorded_clients_asked() {
    let frames = replay(&WHOLE, &[true, false], |recording| {
        let hand = replay_client(recording);
        assert!(hand.established && hand.closed.is_none());
    });
    assert!(frames > 300, "{frames}");
}

#[test]
fn a_login_that_is_refused_is_refused_without_a_word() {
    replay(&["rejected-by-handler"], &[true], |recording| {
        assert!(matches!(replay_server(recording).closed, Some(Close::Refused(_))));
    });
    replay(&["rejected-wrong-key"], &[true], |recording| {
        assert!(
            matches!(replay_server(recording).closed, Some(Close::Protocol(_))),
            "it cannot even be opened"
        );
    });
    replay(&["rejected-wrong-key"], &[false], |recording| {
        assert!(matches!(replay_server(recording).closed, Some(Close::Refused(_))));
    });
}

#[test]
fn what_comes_before_the_login_is_ignored_or_closes() {
    replay(&["unauthenticated"], &[true, false], |recording| {
        let hand = replay_server(recording);
        assert!(hand.closed.is_some() && !hand.established && hand.delivered.is_empty());
    });
}

#[test]
fn an_answer_that_is_not_success_refuses_us() {
    for (name, sealed) in
        [("auth-handler-returns-value", &[true, false][..]), ("auth-handler-returns-false", &[false])]
    {
        replay(&[name], sealed, |recording| {
            assert!(matches!(replay_client(recording).closed, Some(Close::Refused(_))), "{name}");
        });
    }
}

/// The original answers such a login, or says nothing and waits; with us whoever is not let in is sent away.
#[test]
fn a_login_that_the_original_leaves_undecided_is_refused() {
    replay(&UNDECIDED, &[true, false], |recording| {
        let mut hand = recording.server();
        hand.open();
        hand.receive(message(&recording.frames()[0]));
        let credentials = hand.judging.take().unwrap();
        assert!(!credentials.secret.unwrap().matches(recording.server_key.as_bytes()));
        hand.judge(Err(Refusal::new("another key")));
        assert_eq!(hand.written, []);
        assert!(matches!(hand.closed, Some(Close::Refused(_))) && !hand.established);
    });
}

/// The original makes a new key for it, which its client cannot follow.
#[test]
fn a_second_login_ends_the_connection_of_a_server_and_changes_nothing_for_a_client() {
    replay(&["second-auth"], &[true, false], |recording| {
        let mut hand = recording.server();
        hand.open();
        recording.draw(&recording.frames()[1], &hand);
        hand.receive(message(&recording.frames()[0]));
        hand.judging.take().unwrap();
        hand.judge(Ok(Identity::guest()));
        assert_eq!(hand.written.pop_front(), Some(message(&recording.frames()[1])));
        hand.receive(message(&recording.frames()[2]));
        assert_eq!((hand.written.len(), hand.judging.is_none()), (0, true));
        assert!(matches!(hand.closed, Some(Close::Protocol(_))));

        let mut hand = recording.client(Credentials::guest());
        hand.drawn.push(&[9; 12]);
        hand.open();
        hand.written.clear();
        hand.receive(message(&recording.frames()[1]));
        assert!(hand.established);
        hand.receive(message(&recording.frames()[3]));
        assert!(hand.closed.is_none() && hand.delivered.is_empty());
    });
}

/// The original closes where messages are sealed, because it has no key yet; its clients read an answer under the shared one.
#[test]
fn an_open_route_is_answered_before_the_login() {
    replay(&["skip-auth-with-response"], &[true, false], |recording| {
        let config =
            Config { open_routes: vec![Route::from_static("openValue")], ..(*recording.config()).clone() };
        let session = ServerSession::new(Arc::new(config), JsonLimits::default(), Arc::default());
        let mut hand = Hand::new(session, &recording.key());
        hand.open();
        hand.receive(message(&recording.frames()[0]));
        let Some(Delivery::Request { reply, .. }) = hand.delivered.pop_front() else { panic!("not served") };
        let text = r#"{"open":true,"authenticated":false}"#;
        let body = Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap());
        let nonce = [3; 12];
        hand.drawn.push(&nonce);
        hand.send(Outbound::Response { reply, result: Ok(Response::from(body)) });
        let answer = format!(r#"{{"request":"openValue","response":{text}}}"#);
        let expected = match recording.encrypted {
            true => Message::Binary(seal(&recording.key(), nonce, answer.as_bytes())),
            false => message(&recording.frames()[1]),
        };
        assert_eq!(hand.written.pop_front(), Some(expected));
        assert!(hand.closed.is_none() && !hand.established);
    });
}

/// The oldest revision answers both, later ones close without a word: here the second waits for the verdict.
#[test]
fn a_plain_request_behind_the_login_is_served_after_it() {
    replay(&["pipelined-after-auth"], &[false], |recording| {
        let mut hand = recording.server();
        hand.open();
        hand.receive(message(&recording.frames()[0]));
        hand.judging.take().unwrap();
        hand.judge(Ok(Identity::guest()));
        hand.receive(message(&recording.frames()[1]));
        let Some(Delivery::Request { request, .. }) = hand.delivered.pop_front() else {
            panic!("not served")
        };
        assert_eq!(Some(request.body), member(&recording.frames()[1], "data"));
        assert_eq!((hand.written.len(), hand.closed), (1, None));
    });
}

/// Every transcript is replayed by one of these tests.
#[test]
fn no_transcript_is_left_out() {
    let others = [
        "rejected-by-handler",
        "rejected-wrong-key",
        "unauthenticated",
        "second-auth",
        "skip-auth-with-response",
        "pipelined-after-auth",
    ];
    let known = [&WHOLE[..], &UNDECIDED, &others].concat();
    for (revision, mode) in REVISIONS.into_iter().flat_map(|of| [(of, "encrypted"), (of, "plain")]) {
        let file = load(&format!("transcripts-{revision}-{mode}"));
        for transcript in file["transcripts"].as_array().unwrap() {
            let name = transcript["name"].as_str().unwrap();
            assert!(known.contains(&name), "{revision}, {mode}: {name}");
        }
    }
}

#[test]
fn a_message_under_the_old_key_behind_the_login_closes() {
    replay(&["pipelined-after-auth"], &[true], |recording| {
        let mut hand = recording.server();
        hand.open();
        hand.drawn.push(&[7; 32]);
        hand.drawn.push(&[8; 12]);
        hand.receive(message(&recording.frames()[0]));
        hand.judging.take().unwrap();
        hand.judge(Ok(Identity::guest()));
        assert_eq!(hand.written.len(), 1);
        hand.receive(message(&recording.frames()[1]));
        assert!(matches!(hand.closed, Some(Close::Protocol(_))), "there is no overlap of keys");
    });
}
