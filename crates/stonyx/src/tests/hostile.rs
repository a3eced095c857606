//! What a hostile or broken peer sends, row by row, to sessions fed by hand.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use polywire_core::{
    Admit, Body, CallId, Close, Code, Count, Credentials, Delivery, Event, Failure, Gate, Identity,
    JsonLimits, Kind, Message, Moment, Outbound, OutboundOf, Random, Request, Response, Route, SystemRandom,
};

use super::hand::Hand;
use super::{config, seal};
use crate::config::{Config, OnFailure};
use crate::guard::Nonces;
use crate::seal::Key;
use crate::session::{ClientSession, Reply, ServerSession};

const GLOBAL: [u8; 32] = [1; 32];
const SESSION: [u8; 32] = [2; 32];
const LOGIN: &str = r#"{"request":"auth","data":{"authKey":"shared"}}"#;

fn fresh() -> [u8; 12] {
    let mut nonce = [0; 12];
    SystemRandom.fill(&mut nonce);
    nonce
}

fn sealed(key: &[u8; 32], text: &str) -> Message {
    Message::Binary(seal(&Key::new(key), fresh(), text.as_bytes()))
}

fn stranger_with(config: Config, logins: &Arc<Nonces>) -> Hand<ServerSession> {
    let key = if config.encryption { Key::new(&GLOBAL) } else { Key::none() };
    let session = ServerSession::new(Arc::new(config), JsonLimits::default(), Arc::clone(logins));
    let mut hand = Hand::new(session, &key);
    hand.open();
    hand
}

/// A connection that has not logged in.
fn stranger() -> Hand<ServerSession> {
    stranger_with(config(), &Arc::default())
}

/// One that has, under [`SESSION`]; all members know the same.
fn member_of(config: Config) -> Hand<ServerSession> {
    let mut hand = stranger_with(config, &Arc::default());
    hand.receive(Message::Binary(seal(&Key::new(&GLOBAL), [1; 12], LOGIN.as_bytes())));
    hand.drawn.push(&SESSION);
    hand.drawn.push(&[2; 12]);
    hand.judge(Ok(Identity::guest()));
    hand.judging = None;
    hand.written.clear();
    assert!(hand.established);
    hand
}

fn member() -> Hand<ServerSession> {
    member_of(config())
}

fn ask(name: &str) -> Message {
    sealed(&SESSION, &format!(r#"{{"request":"{name}","data":1}}"#))
}

/// A client that waits for the answer to its login.
fn dialler() -> Hand<ClientSession> {
    dialler_with(config())
}

fn dialler_with(config: Config) -> Hand<ClientSession> {
    let key = if config.encryption { Key::new(&GLOBAL) } else { Key::none() };
    let session =
        ClientSession::new(Arc::new(config), JsonLimits::default(), Arc::default(), Credentials::guest());
    let mut hand = Hand::new(session, &key);
    hand.drawn.push(&fresh());
    hand.open();
    hand
}

fn welcome(key: &str) -> String {
    format!(r#"{{"request":"auth","response":"success","sessionKey":"{key}"}}"#)
}

/// Every failure looks alike from outside: an empty close and nothing written.
fn assert_refused<S>(hand: &Hand<S>, what: &str)
where
    S: polywire_core::Session<Codec = crate::codec::Codec> + std::fmt::Debug,
{
    assert!(matches!(hand.closed, Some(Close::Protocol(_))), "{what}: {:?}", hand.closed);
    assert!(hand.written.is_empty() && hand.delivered.is_empty(), "{what}");
}

/// A client that has logged in, under [`SESSION`].
fn client_of(config: Config) -> Hand<ClientSession> {
    let mut hand = dialler_with(config);
    hand.receive(sealed(&GLOBAL, &welcome(&STANDARD.encode(SESSION))));
    hand.written.clear();
    assert!(hand.established);
    hand
}

fn call(number: u64, name: &'static str) -> OutboundOf<ClientSession> {
    let request = Request::new(Route::from_static(name), crate::wire::literal("1"));
    Outbound::Request { call: CallId(number), deadline: Moment::default(), request }
}

#[test]
fn c10_of_equal_keys_the_last_counts_on_both_sides() {
    let mut server = member();
    server.receive(sealed(&SESSION, r#"{"request":1,"data":1,"request":"a","data":2}"#));
    let Some(Delivery::Request { request, .. }) = server.delivered.pop_front() else { panic!("a request") };
    assert_eq!(request, Request::new(Route::from_static("a"), crate::wire::literal("2")));
    assert_eq!(server.counted, [Count::Mended]);

    let mut client = client_of(config());
    client.counted.clear();
    client.drawn.push(&fresh());
    client.send(call(0, "a"));
    client.receive(sealed(&SESSION, r#"{"request":"b","response":1,"request":"a","response":2}"#));
    let Some(Delivery::Response { call, outcome }) = client.delivered.pop_front() else {
        panic!("an answer")
    };
    assert_eq!((call, outcome.unwrap().body), (CallId(0), crate::wire::literal("2")));
    assert_eq!(client.counted, [Count::Mended]);
}

#[test]
fn x01_frames_too_short_to_be_sealed_close() {
    for length in 0..=28 {
        for mut hand in [stranger(), member()] {
            hand.receive(Message::Binary(vec![0; length].into()));
            assert_refused(&hand, &format!("{length} bytes"));
        }
    }
}

/// A member is refused this message, which leaves nothing behind: not in the session, nor in the reason of the end.
fn assert_nothing_kept(sealed: &Bytes, why: &str, what: &str) -> (String, String) {
    let mut hand = member();
    let before = hand.known();
    hand.receive(Message::Binary(sealed.clone()));
    assert_refused(&hand, what);
    assert_eq!(hand.closed, Some(Close::Protocol(why.to_owned())), "{what}");
    assert!(sealed.is_unique(), "{what}: the message is kept");
    (before, hand.known())
}

#[test]
fn x02_what_was_changed_on_the_way_or_is_no_json_closes() {
    let good = seal(&Key::new(&SESSION), fresh(), br#"{"request":"a"}"#);
    let assert_shut = |sealed: Bytes, what: &str| {
        let (before, after) = assert_nothing_kept(&sealed, "a message that cannot be opened", what);
        assert_eq!(before, after, "{what}");
    };
    for byte in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[byte] ^= 1;
        assert_shut(bytes.into(), &format!("byte {byte}"));
    }
    for tag in [4, 8, 12, 13, 14, 15] {
        let mut bytes = good.to_vec();
        bytes.drain(12 + tag..28);
        assert_shut(bytes.into(), &format!("tag of {tag} bytes"));
    }
    assert_shut(seal(&Key::new(&GLOBAL), fresh(), b"{}"), "another key");
    // `Debug` shows how long a text is that is kept, and no two of these are equally long.
    let nonce = fresh();
    let knows = |text: &str| {
        let sealed = seal(&Key::new(&SESSION), nonce, text.as_bytes());
        assert_nothing_kept(&sealed, "a message that cannot be read", text).1
    };
    let of_nothing = knows("");
    for text in ["{", "null", r#"{"request":"a","data":1"#, r#""a" "b""#] {
        assert_eq!(knows(text), of_nothing, "{text}");
    }
}

#[test]
fn x03_a_login_recorded_on_another_connection_closes() {
    let logins = Arc::default();
    let login = sealed(&GLOBAL, LOGIN);
    let mut first = stranger_with(config(), &logins);
    first.receive(login.clone());
    assert!(first.judging.is_some());
    let mut second = stranger_with(config(), &logins);
    second.receive(login);
    assert!(second.judging.is_none());
    assert_refused(&second, "a login twice");
}

#[test]
fn x04_a_frame_repeated_within_a_connection_closes() {
    let mut hand = member();
    let frame = ask("a");
    hand.receive(frame.clone());
    assert_eq!(hand.delivered.drain(..).count(), 1);
    for _ in 0..200 {
        hand.receive(ask("b"));
    }
    hand.delivered.clear();
    hand.receive(frame);
    assert_refused(&hand, "a repeated frame");
}

#[test]
fn x05_our_own_frames_reflected_are_refused() {
    let mut client = dialler();
    let login = client.written.pop_front().unwrap();
    client.receive(login);
    assert!(client.closed.is_none() && !client.established, "dropped, and the login is still awaited");
    assert_eq!(client.counted, [Count::Undecodable]);

    let mut hand = member();
    hand.receive(ask("a"));
    let Some(Delivery::Request { reply, .. }) = hand.delivered.pop_front() else { panic!("delivered") };
    hand.drawn.push(&fresh());
    hand.send(Outbound::Response { reply, result: Ok(Response::from(Body::null())) });
    let ours = hand.written.pop_front().unwrap();
    hand.receive(ours);
    assert_refused(&hand, "our answer");

    let mut hand = member();
    hand.receive(sealed(&SESSION, r#"{"request":"a","response":1}"#));
    assert_refused(&hand, "an answer somebody else got");
}

#[test]
fn x06_only_a_login_is_heard_before_the_login_and_only_once() {
    let deep = format!(r#"{{"request":"echo","data":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for text in [r#"{"request":"echo"}"#, r#"{"request":"nobody"}"#, &deep] {
        let mut hand = stranger();
        hand.receive(sealed(&GLOBAL, text));
        assert_refused(&hand, text);
        assert_eq!(hand.counted, [Count::BeforeLogin]);
    }
    let mut hand = stranger();
    hand.receive(sealed(&[9; 32], LOGIN));
    assert_refused(&hand, "another key");
    let mut hand = member();
    hand.receive(sealed(&SESSION, LOGIN));
    assert_refused(&hand, "a second login");
}

#[test]
fn x07_a_message_of_the_wrong_kind_closes_a_server_and_is_dropped_by_a_client() {
    let mut hand = stranger();
    hand.receive(Message::Text(LOGIN.into()));
    assert_refused(&hand, "text where messages are sealed");
    let plain = Config { encryption: false, ..config() };
    let mut hand = stranger_with(plain.clone(), &Arc::default());
    hand.receive(Message::Binary(LOGIN.into()));
    assert_refused(&hand, "bytes where they are not");
    let mut client = dialler_with(plain);
    client.receive(Message::Binary(r#"{"request":"auth","response":"success"}"#.into()));
    assert!(client.closed.is_none() && !client.established);
}

#[test]
fn x08_a_login_answer_without_a_right_key_ends_the_connection() {
    let keys = [31, 33].map(|length| welcome(&STANDARD.encode(vec![7; length])));
    let missing = r#"{"request":"auth","response":"success"}"#.to_owned();
    for answer in keys.into_iter().chain([missing, welcome("no base64!")]) {
        let mut hand = dialler();
        hand.receive(sealed(&GLOBAL, &answer));
        assert!(matches!(hand.closed, Some(Close::Protocol(_))) && !hand.established, "{answer}");
    }
    let mut hand = dialler_with(Config { encryption: false, ..config() });
    hand.receive(Message::Text(welcome(&STANDARD.encode(SESSION)).into()));
    assert!(matches!(hand.closed, Some(Close::Protocol(_))), "a key where nothing is sealed");
}

#[test]
fn x09_names_of_no_handler_are_ignored_until_there_are_too_many_in_a_second() {
    let mut hand = member_of(Config { max_unknown_names: 3, ..config() });
    let ask_nobody = |hand: &mut Hand<ServerSession>, name: &str| {
        hand.receive(ask(name));
        let Some(Delivery::Request { request, reply, .. }) = hand.delivered.pop_front() else {
            panic!("delivered")
        };
        let failure = Failure::unrouted(Kind::Request, &request.route);
        hand.send(Outbound::Response { reply, result: Err(failure) });
    };
    for name in ["constructor", "__proto__", "toString"] {
        ask_nobody(&mut hand, name);
    }
    hand.now = hand.now + Duration::from_secs(1);
    for _ in 0..3 {
        ask_nobody(&mut hand, "nobody");
    }
    assert!(hand.closed.is_none() && hand.written.is_empty());
    ask_nobody(&mut hand, "nobody");
    let why = "more than max_unknown_names = 3 unknown names in a second";
    assert_eq!(hand.closed, Some(Close::Limit(why.into())));
}

#[test]
fn x09_a_client_never_asks_for_what_every_object_has() {
    // The original server closes the connection over such a name, and with it ends every call that waits.
    let hand = dialler_with(Config { kebab_routes: true, ..config() });
    for name in ["constructor", "__proto__", "toString", "to-string", "isPrototypeOf", "__lookupGetter__"] {
        let refused = hand.admits(&Outbound::Event(Event::new(Route::from_static(name), Body::Empty)));
        assert!(
            matches!(&refused, Admit::Refuse(failure) if failure.code == Code::InvalidArgument),
            "{name}"
        );
    }
    let held = hand.admits(&Outbound::Event(Event::new(Route::from_static("prototype"), Body::Empty)));
    assert!(matches!(held, Admit::Hold(_)), "the login is not answered yet");
}

#[test]
fn x10_a_handler_with_nothing_to_say_or_a_failure() {
    let reply = || Reply(Route::from_static("a"));
    let failure =
        || Outbound::Response { reply: reply(), result: Err(Failure::new(Code::NotFound, "no \"x\"")) };
    let text = |hand: &mut Hand<ServerSession>| match hand.written.pop_front() {
        Some(Message::Binary(bytes)) => {
            String::from_utf8(Key::new(&SESSION).open(bytes).unwrap().1.to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    };
    let mut hand = member();
    hand.send(Outbound::Response { reply: reply(), result: Ok(Response::default()) });
    assert!(hand.written.is_empty(), "silence");
    hand.drawn.push(&fresh());
    hand.send(failure());
    assert_eq!(
        text(&mut hand),
        r#"{"request":"a","response":{"error":{"code":"not_found","message":"no \"x\""}}}"#
    );
    let mut hand = member_of(Config { on_failure: OnFailure::Close, ..config() });
    hand.send(failure());
    assert!(matches!(hand.closed, Some(Close::GivenUp(why)) if why.ends_with("not_found: no \"x\"")));
    let Body::Json(empty_reply) = crate::wire::literal("true") else { panic!("JSON") };
    let mut hand = member_of(Config { empty_reply: Some(empty_reply), ..config() });
    hand.drawn.push(&fresh());
    hand.send(Outbound::Response { reply: reply(), result: Ok(Response::default()) });
    assert_eq!(text(&mut hand), r#"{"request":"a","response":true}"#);
}

#[test]
fn x11_a_server_asks_a_silent_peer_for_a_sign_of_life_and_gives_it_up() {
    let mut hand = member();
    hand.wake();
    assert!(hand.written.is_empty(), "it was heard of");
    hand.wake();
    assert_eq!(hand.written.pop_front(), Some(Message::Ping(Default::default())));
    hand.receive(Message::Pong(Default::default()));
    hand.wake();
    hand.wake();
    assert_eq!(hand.written.pop_front(), Some(Message::Ping(Default::default())));
    hand.wake();
    assert_eq!(hand.closed, Some(Close::Dead("heartbeat_timeout = 10s".into())));
    let mut hand = stranger();
    hand.receive(sealed(&GLOBAL, r#"{"request":"heartBeat"}"#));
    assert!(hand.closed.is_none() && hand.written.is_empty());
    assert_eq!(hand.counted, [Count::BeforeLogin]);
}

#[test]
fn x11_a_peer_that_is_not_read_is_not_taken_for_dead() {
    let mut hand = member();
    hand.wake();
    hand.reading = false;
    for _ in 0..10 {
        hand.wake();
    }
    assert_eq!((hand.closed.clone(), hand.written.len()), (None, 1), "it was asked once");
    hand.reading = true;
    hand.receive(Message::Pong(Default::default()));
    for _ in 0..3 {
        assert_eq!(hand.closed, None);
        hand.wake();
    }
    assert_eq!(hand.closed, Some(Close::Dead("heartbeat_timeout = 10s".into())));
}

#[test]
fn x11_a_server_whose_answer_is_not_read_is_not_taken_for_dead() {
    let mut hand = dialler_with(Config { encryption: false, ..config() });
    hand.receive(Message::Text(r#"{"request":"auth","response":"success"}"#.into()));
    assert!(hand.established);
    hand.reading = false;
    for _ in 0..10 {
        hand.wake();
    }
    hand.reading = true;
    assert_eq!(hand.closed, None);
    hand.wake();
    assert_eq!(hand.closed, Some(Close::Dead("heartbeat_timeout = 10s".into())));
}

#[test]
fn x11_every_sign_of_life_is_counted_towards_max_control_per_second() {
    let mut hand = member();
    hand.drawn.push(&fresh());
    hand.receive(Message::Pong(Default::default()));
    hand.receive(sealed(&SESSION, r#"{"request":"heartBeat"}"#));
    assert_eq!(hand.counted, [Count::Control, Count::Control]);
}

#[test]
fn x14_a_server_gives_a_key_up_once_its_requests_are_answered() {
    let mut hand = member_of(Config { max_messages_per_key: 3, ..config() });
    for _ in 0..3 {
        hand.receive(ask("a"));
    }
    assert!(hand.closed.is_none() && !hand.reading, "what was asked is answered, and nothing more is read");
    for _ in 0..3 {
        assert!(hand.closed.is_none());
        let Some(Delivery::Request { reply, .. }) = hand.delivered.pop_front() else { panic!("not served") };
        hand.drawn.push(&fresh());
        hand.send(Outbound::Response { reply, result: Ok(Response::from(crate::wire::literal("1"))) });
    }
    assert_eq!(hand.written.len(), 3);
    assert!(matches!(hand.closed, Some(Close::GivenUp(_))), "{:?}", hand.closed);
    assert_eq!(hand.counted, [Count::KeysWornOut], "once");
}

#[test]
fn x14_a_client_gives_a_key_up_once_its_calls_are_answered() {
    let mut hand = client_of(Config { max_messages_per_key: 2, ..config() });
    for (number, name) in ["a", "b"].into_iter().enumerate() {
        hand.drawn.push(&fresh());
        hand.send(call(number as u64, name));
    }
    assert_eq!(hand.admits(&call(2, "c")), Admit::Hold(Gate(2)), "a new call waits for the next connection");
    assert!(hand.closed.is_none());
    hand.receive(sealed(&SESSION, r#"{"request":"a","response":1}"#));
    assert!(hand.closed.is_none(), "b is in flight");
    hand.receive(sealed(&SESSION, r#"{"request":"b","response":1}"#));
    assert_eq!(hand.delivered.len(), 2);
    assert!(matches!(hand.closed, Some(Close::GivenUp(_))), "{:?}", hand.closed);
    assert_eq!(hand.counted, [Count::KeysWornOut], "once");
}

/// An answer carries its name alone, so a second one is what any message of that name is: a push.
#[test]
fn x12_a_second_answer_is_a_push_where_no_call_of_its_name_is_out() {
    let mut hand = client_of(config());
    hand.drawn.push(&fresh());
    hand.send(call(0, "a"));
    let answer = r#"{"request":"a","response":1}"#;
    hand.receive(sealed(&SESSION, answer));
    assert!(matches!(hand.delivered.pop_front(), Some(Delivery::Response { call: CallId(0), .. })));
    hand.receive(sealed(&SESSION, answer));
    assert!(matches!(hand.delivered.pop_front(), Some(Delivery::Event(_))));
    hand.drawn.push(&fresh());
    hand.send(call(1, "b"));
    hand.receive(sealed(&SESSION, answer));
    assert!(
        matches!(hand.delivered.pop_front(), Some(Delivery::Event(_))),
        "no call of another name gets it"
    );
}

#[test]
fn a_client_takes_pushes_of_every_revision_and_nothing_under_the_shared_key() {
    let mut hand = dialler();
    hand.receive(sealed(&GLOBAL, r#"{"request":"early","response":1}"#));
    assert_eq!((hand.counted.pop(), hand.delivered.len()), (Some(Count::BeforeLogin), 0));
    hand.receive(sealed(&GLOBAL, &welcome(&STANDARD.encode(SESSION))));
    assert!(hand.established);
    for text in
        [r#"{"request":"p","response":1}"#, r#"{"request":"p","data":1}"#, r#"{"data":1,"request":"p"}"#]
    {
        hand.receive(sealed(&SESSION, text));
        let Some(Delivery::Event(event)) = hand.delivered.pop_front() else { panic!("{text}") };
        assert_eq!(event, Event::new(Route::from_static("p"), crate::wire::literal("1")));
    }
}

#[test]
fn a_close_frame_instead_of_an_answer_to_the_login_is_a_refusal() {
    let mut hand = dialler();
    hand.receive(Message::Close(Some((1008, "who are you?".into()))));
    let Some(Close::Refused(refusal)) = hand.closed else { panic!("{:?}", hand.closed) };
    assert!(refusal.reason.contains("(1008 \"who are you?\")"), "{refusal:?}");
}

#[test]
fn what_a_peer_says_when_it_closes_is_told_and_cannot_be_taken_for_words_of_ours() {
    let mut hand = member();
    hand.receive(Message::Close(None));
    assert!(hand.closed.is_none(), "the transport says that it is over");
    let words = Some((4001, "restart\n2026 WARN".into()));
    let said = Some(Close::Goodbye { code: 4001, reason: "restart\n2026 WARN".into() });
    let shown = "the peer closed the connection with code 4001 \"restart\\n2026 WARN\"";
    assert_eq!(said.as_ref().unwrap().to_string(), shown);
    let mut hand = dialler();
    hand.receive(sealed(&GLOBAL, &welcome(&STANDARD.encode(SESSION))));
    hand.receive(Message::Close(words.clone()));
    assert_eq!(hand.closed, said);
    let mut hand = member();
    hand.receive(Message::Close(words));
    assert_eq!(hand.closed, said);
}

#[test]
fn what_is_deeper_than_the_limit_is_ignored_and_the_connection_lives() {
    let deep = format!(r#"{{"request":"a","data":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let mut hand = member();
    hand.receive(sealed(&SESSION, &deep));
    assert!(hand.closed.is_none() && hand.delivered.is_empty());
    assert_eq!(hand.counted, [Count::BadBody]);
}

#[test]
fn names_of_the_wire_itself_and_bytes_are_refused_before_they_leave() {
    use polywire_core::{Admit, Session};
    let session =
        ClientSession::new(Arc::new(config()), JsonLimits::default(), Arc::default(), Credentials::guest());
    for (name, body) in [("auth", Body::Empty), ("heartBeat", Body::Empty), ("a", Body::binary("", vec![1]))]
    {
        let request = Request::new(Route::from_static(name), body);
        let outbound = Outbound::Request { call: CallId(1), deadline: Default::default(), request };
        let Admit::Refuse(failure) = session.admit(&outbound) else { panic!("{name}") };
        assert_eq!(failure.code, Code::Unimplemented);
    }
}
