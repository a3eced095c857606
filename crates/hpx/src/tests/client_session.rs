//! The client's side of a connection, at moments of the test's choosing.

use super::*;
use crate::config::{ClientConfig, Dialect, NonFinite};
use crate::session::pool::Pool;
use crate::session::{ClientSession, Wake};
use polywire_core::{Admit, CallError, CallId, Code, Gate, Meta, OutboundOf, Route, Secret};
use std::sync::Mutex;

/// A connection of a client, and what the pool told whom.
pub(super) struct Dialled {
    pub(super) engine: Engine<ClientSession>,
    pool: Arc<Pool>,
    told: Arc<Mutex<Vec<(usize, Wake)>>>,
}

fn greeting() -> Value {
    json!({"session": "", "name": "s", "data": {"version": {"core": [0, 3, 0]}, "guest_allowed": true}})
}

fn welcome(session: &str) -> Value {
    json!({"session": session, "name": "s", "data": "Authenticated"})
}

pub(super) fn result(name: &str, data: u32) -> Value {
    json!({"session": "s1", "name": "s", "data": [{"fname": name, "data": data}]})
}

fn error(code: u32) -> Value {
    json!({"session": "s1", "name": "s", "data": null, "error": {"code": code, "msg": "words"}})
}

fn client(
    pool: &Arc<Pool>,
    slot: usize,
    credentials: Credentials,
    dialect: Dialect,
) -> Engine<ClientSession> {
    client_with(Wire { dialect, ..Wire::default() }, pool, slot, credentials)
}

fn client_with(wire: Wire, pool: &Arc<Pool>, slot: usize, credentials: Credentials) -> Engine<ClientSession> {
    let config = Arc::new(ClientConfig { wire, ..ClientConfig::default() });
    let codec = HpxCodec::new(&config.wire, Trust::Known);
    Engine::new(ClientSession::new(config, Arc::clone(pool), slot, credentials), codec, reference)
}

/// A guest's connection that has not heard anything.
pub(super) fn fresh() -> Dialled {
    let pool = Arc::new(Pool::default());
    let told: Arc<Mutex<Vec<(usize, Wake)>>> = Arc::default();
    let note = Arc::clone(&told);
    pool.set_tell(move |slot, wake| note.lock().unwrap().push((slot, wake)));
    let engine = client(&pool, 0, Credentials::guest(), Dialect::Auto);
    Dialled { engine, pool, told }
}

/// A guest's connection that is logged in.
pub(super) fn dialled() -> Dialled {
    let mut dialled = fresh();
    dialled.engine.message(&greeting());
    assert_eq!(dialled.engine.next(), json!({"session": "", "name": "polywire", "data": {}}));
    dialled.engine.message(&welcome("s1"));
    assert!(dialled.engine.established.as_ref().unwrap().guest);
    dialled
}

fn alice() -> Credentials {
    Credentials::new("alice", Secret::from("s3cret"))
}

impl Engine<ClientSession> {
    fn request(&self, call: u64, route: &str, body: &'static str) -> OutboundOf<ClientSession> {
        let request = Request::new(
            Route::new(route.to_owned()).unwrap(),
            JsonText::from_validated(Bytes::from_static(body.as_bytes())),
        );
        Outbound::Request { call: CallId(call), deadline: self.now + Duration::from_secs(10), request }
    }

    /// Sends a call that must be admitted.
    pub(super) fn call(&mut self, call: u64, route: &str, body: &'static str) {
        let outbound = self.request(call, route, body);
        assert_eq!(self.session.admit(&outbound), Admit::Now);
        self.with(|session, cx| session.send(outbound, cx));
    }

    /// Greeted while the pool has a session, it shows the session with a list of nothing, which the server answers.
    fn proven(&mut self) {
        self.message(&greeting());
        assert!(self.established.is_none() && self.opened == 0, "the server has not seen the session here");
        assert_eq!(self.next(), json!({"session": "s1", "name": "polywire", "data": []}));
        self.message(&json!({"session": "s1", "name": "s", "data": []}));
        assert!(self.established.is_some() && self.opened == 1 && self.written.is_empty());
    }

    fn woken(&mut self, wake: Wake) {
        self.with(|session, cx| session.send(Outbound::Command(wake), cx));
    }

    fn outcome(&mut self) -> Outcome {
        assert_eq!(self.outcomes.len(), 1);
        self.outcomes.remove(0)
    }
}

#[test]
fn nothing_leaves_before_the_login_and_one_call_at_a_time_after_it() {
    let Dialled { mut engine, .. } = fresh();
    assert!(engine.written.is_empty());
    assert_eq!(engine.session.admit(&engine.request(1, "f", "{}")), Admit::Hold(Gate(0)));
    engine.message(&greeting());
    assert_eq!(engine.session.admit(&engine.request(1, "f", "{}")), Admit::Hold(Gate(0)));
    engine.message(&welcome("s1"));
    assert_eq!(engine.opened, 1);
    engine.written.clear();
    engine.call(1, "f", r#"{"a":1}"#);
    assert_eq!(engine.next(), json!({"session": "s1", "name": "polywire", "data": [{"fname": "f", "a": 1}]}));
    assert_eq!(engine.session.admit(&engine.request(2, "g", "{}")), Admit::Hold(Gate(0)));
    engine.message(&result("f", 7));
    assert_eq!(
        engine.outcome().unwrap().body,
        Body::Json(JsonText::from_validated(Bytes::from_static(b"7")))
    );
    assert_eq!(engine.opened, 2);
    engine.call(2, "g", "{}");
}

#[test]
fn p01_greetings_of_every_kind() {
    // None: the login deadline is the engine's.
    let Dialled { mut engine, .. } = fresh();
    engine.receive(b"").unwrap();
    assert!(engine.written.is_empty() && engine.closed.is_none());
    // Not gzip, not JSON, an error.
    for bytes in [b"hello<EOF>".to_vec(), frame(b"{"), frame(error(100).to_string().as_bytes())] {
        let Dialled { mut engine, .. } = fresh();
        engine.receive(&bytes).unwrap();
        assert!(matches!(engine.closed, Some(Close::Protocol(_))), "{:?}", engine.closed);
    }
    // Fields missing or odd, and more than are known.
    for odd in [
        json!({"session": "", "name": 5, "data": null, "new": 1}),
        json!({}),
        json!({"data": {"version": 3}}),
    ] {
        let Dialled { mut engine, .. } = fresh();
        engine.message(&odd);
        assert_eq!(engine.next()["data"], json!({}));
    }
    // Twice: before the login is answered, and afterwards.
    let Dialled { mut engine, .. } = fresh();
    engine.message(&greeting());
    engine.message(&greeting());
    engine.message(&welcome("s1"));
    engine.message(&greeting());
    assert_eq!(engine.counts, [Count::Unexpected, Count::OrphanReply]);
    assert!(engine.established.is_some() && engine.closed.is_none());
}

#[test]
fn a_name_and_its_password_are_sent_and_a_refusal_is_definite() {
    let pool = Arc::new(Pool::default());
    let mut engine = client(&pool, 0, alice(), Dialect::Auto);
    engine.message(&greeting());
    let login = json!({"session": "", "name": "polywire", "data": {"user": "alice", "password": "s3cret"}});
    assert_eq!(engine.next(), login);
    engine.message(&error(411));
    assert_eq!(engine.closed, Some(Close::Refused(Refusal::new("words"))));
    let mut engine = client(&pool, 0, alice(), Dialect::Auto);
    engine.message(&greeting());
    engine.message(&error(400));
    assert!(matches!(engine.closed, Some(Close::Protocol(_))), "a full server is no refusal");
}

#[test]
fn dialect_b_counts_its_messages_and_ignores_answers_to_others() {
    let pool = Arc::new(Pool::default());
    let mut engine = client(&pool, 3, Credentials::guest(), Dialect::B);
    engine.message(&greeting());
    assert_eq!(engine.next()["__id__"], "3_msg_1");
    engine.message(&welcome("s1"));
    engine.call(1, "f", "{}");
    assert_eq!(engine.next()["__id__"], "3_msg_2");
    let with_id = |id: &str| {
        let mut reply = result("f", 1);
        reply["__id__"] = json!(id);
        reply
    };
    engine.message(&with_id("3_msg_1"));
    assert_eq!((engine.outcomes.len(), &engine.counts[..]), (0, &[Count::OrphanReply][..]));
    engine.message(&with_id("3_msg_2"));
    assert!(engine.outcome().is_ok());
}

#[test]
fn p14_a_refused_session_is_renewed_once_and_the_call_sent_again() {
    for code in [407, 408, 411, 412] {
        let Dialled { mut engine, .. } = dialled();
        engine.call(1, "f", r#"{"a":1}"#);
        engine.written.clear();
        engine.message(&error(code));
        assert_eq!(engine.next(), json!({"session": "", "name": "polywire", "data": {}}));
        engine.message(&welcome("s2"));
        assert_eq!(
            engine.next(),
            json!({"session": "s2", "name": "polywire", "data": [{"fname": "f", "a": 1}]})
        );
        engine.message(&error(code));
        let Err(CallError::NotSent(failure)) = engine.outcome() else { panic!("it provably did not run") };
        assert_eq!(failure.code, Code::Unauthenticated);
        assert!(engine.closed.is_none());
    }
}

#[test]
fn p14_a_guest_adopts_the_session_it_is_given_and_a_user_does_not_become_a_guest() {
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    engine.written.clear();
    engine.message(&welcome("s2"));
    assert_eq!(engine.next()["session"], "s2");
    engine.message(&result("f", 1));
    assert!(engine.outcome().is_ok());

    let pool = Arc::new(Pool::default());
    let mut engine = client(&pool, 0, alice(), Dialect::Auto);
    engine.message(&greeting());
    engine.message(&welcome("s1"));
    engine.call(1, "f", "{}");
    engine.written.clear();
    engine.message(&welcome("guest session"));
    assert_eq!(engine.next()["data"]["user"], "alice");
    engine.message(&welcome("s3"));
    assert_eq!(engine.next()["session"], "s3");
}

#[test]
fn p14_a_session_given_unasked_is_adopted_while_another_connection_logs_in() {
    let Dialled { mut engine, pool, .. } = dialled();
    let mut other = client(&pool, 1, Credentials::guest(), Dialect::Auto);
    other.proven();
    other.call(1, "f", "{}");
    other.written.clear();
    engine.call(1, "f", "{}");
    // The session expires; while the first connection gets another one, the second is given one.
    engine.message(&error(408));
    other.message(&welcome("s2"));
    assert_eq!(other.next()["session"], "s2");
}

#[test]
fn p14_one_connection_logs_in_for_all() {
    let Dialled { mut engine, pool, told } = dialled();
    let mut others: Vec<_> =
        (1..4).map(|slot| client(&pool, slot, Credentials::guest(), Dialect::Auto)).collect();
    for other in &mut others {
        other.proven();
        other.call(1, "f", "{}");
        other.written.clear();
    }
    engine.call(1, "f", "{}");
    engine.written.clear();
    // The session expires under all four.
    engine.message(&error(408));
    for other in &mut others {
        other.message(&error(408));
        assert!(other.written.is_empty());
    }
    assert_eq!(engine.next()["data"], json!({}));
    engine.message(&welcome("s2"));
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(told, [(1, Wake::Look), (2, Wake::Look), (3, Wake::Look)]);
    for other in &mut others {
        other.woken(Wake::Look);
        assert_eq!(other.next()["session"], "s2");
    }
}

/// A connection beside one that is logged in; it has shown the session and waits for what comes of it.
fn proving(credentials: &Credentials) -> (Dialled, Engine<ClientSession>) {
    let mut dialled = fresh();
    dialled.engine = client(&dialled.pool, 0, credentials.clone(), Dialect::Auto);
    dialled.engine.message(&greeting());
    dialled.engine.message(&welcome("s1"));
    let mut spare = client(&dialled.pool, 1, credentials.clone(), Dialect::Auto);
    spare.message(&greeting());
    assert_eq!(spare.next()["data"], json!([]));
    assert_eq!(spare.session.admit(&spare.request(1, "f", "{}")), Admit::Hold(Gate(0)));
    assert!(spare.established.is_none());
    (dialled, spare)
}

#[test]
fn p14_a_session_that_is_refused_when_it_is_shown_costs_one_login() {
    for code in [407, 408, 411, 412] {
        let (Dialled { mut engine, .. }, mut spare) = proving(&alice());
        spare.message(&error(code));
        assert_eq!(spare.next()["data"]["user"], "alice", "{code}");
        spare.message(&welcome("s2"));
        assert!(spare.established.is_some() && spare.written.is_empty(), "a login shows enough");
        spare.call(1, "f", "{}");
        assert_eq!(spare.next()["session"], "s2");
        // The other one hears of it at its next call.
        engine.written.clear();
        engine.call(1, "f", "{}");
        engine.message(&error(code));
        assert_eq!((&engine.next()["session"], &engine.next()["session"]), (&json!("s1"), &json!("s2")));
    }
    // Both find it spent: one logs in, the other shows what came of that.
    let (dialled, mut spare) = proving(&Credentials::guest());
    let mut third = client(&dialled.pool, 2, Credentials::guest(), Dialect::Auto);
    third.message(&greeting());
    third.next();
    spare.message(&error(408));
    third.message(&error(408));
    assert!(third.written.is_empty());
    assert_eq!(spare.next()["data"], json!({}));
    spare.message(&welcome("s2"));
    assert_eq!(std::mem::take(&mut *dialled.told.lock().unwrap()), [(2, Wake::Look)]);
    third.woken(Wake::Look);
    assert_eq!(third.next(), json!({"session": "s2", "name": "polywire", "data": []}));
    third.message(&json!({"session": "s2", "name": "s", "data": []}));
    assert!(third.established.is_some());
}

#[test]
fn p14_a_session_that_is_taken_for_a_login_when_it_is_shown() {
    let (Dialled { mut engine, .. }, mut spare) = proving(&Credentials::guest());
    spare.message(&welcome("s2"));
    assert!(spare.established.is_some() && spare.written.is_empty());
    spare.call(1, "f", "{}");
    assert_eq!(spare.next()["session"], "s2", "a guest takes the fresh one over");
    engine.written.clear();
    engine.call(1, "f", "{}");
    engine.message(&error(408));
    assert_eq!((&engine.next()["session"], &engine.next()["session"]), (&json!("s1"), &json!("s2")));

    let (_, mut spare) = proving(&alice());
    spare.message(&welcome("guest session"));
    assert!(spare.established.is_none());
    assert_eq!(spare.next()["data"]["user"], "alice", "a user does not become a guest");
    spare.message(&welcome("s3"));
    assert!(spare.established.is_some());
}

#[test]
fn p14_other_answers_to_a_session_that_is_shown() {
    // The session is good; the server has no use for a list of nothing.
    let (_, mut spare) = proving(&Credentials::guest());
    spare.message(&error(403));
    assert!(spare.established.is_some() && spare.opened == 1);
    // Not ready: it is shown again later.
    let (_, mut spare) = proving(&Credentials::guest());
    spare.message(&json!({"session": "", "name": "s", "data": {"msg": "wait"}}));
    assert_eq!(spare.alarm, Some(spare.now + Duration::from_secs(1)));
    assert_eq!(spare.session.admit(&spare.request(1, "f", "{}")), Admit::Hold(Gate(0)));
    spare.message(&json!({"session": "s1", "name": "s", "data": []}));
    assert_eq!((spare.counts.pop(), spare.established.is_none()), (Some(Count::OrphanReply), true));
    spare.with(|session, cx| session.wake(cx));
    assert_eq!(spare.next(), json!({"session": "s1", "name": "polywire", "data": []}));
    // Talk of other things, and a call that was never made.
    spare.message(&greeting());
    spare.with(|session, cx| session.send(Outbound::Cancel(CallId(1)), cx));
    assert_eq!((spare.counts.pop(), spare.closed.is_none()), (Some(Count::Unexpected), true));
    spare.message(&json!({"session": "s1", "name": "s", "data": []}));
    assert!(spare.established.is_some());
    // What cannot be read, or nothing at all: the next connection logs in, and is not stopped by the same again.
    for answer in [&b""[..], &frame(b"{")] {
        let (dialled, mut spare) = proving(&Credentials::guest());
        spare.receive(answer).unwrap();
        assert_eq!(matches!(spare.closed, Some(Close::Protocol(_))), !answer.is_empty());
        drop(spare);
        let mut next = client(&dialled.pool, 1, Credentials::guest(), Dialect::Auto);
        next.message(&greeting());
        assert_eq!(next.next()["data"], json!({}));
    }
    // A server that goes.
    let (_, mut spare) = proving(&Credentials::guest());
    spare.message(&json!({"session": "s1", "name": "s", "data": 1}));
    assert_eq!(spare.closed, Some(Close::Peer));
}

#[test]
fn p14_a_login_that_fails_or_is_lost_frees_the_others() {
    let Dialled { mut engine, pool, told } = dialled();
    let mut other = client(&pool, 1, Credentials::guest(), Dialect::Auto);
    other.proven();
    other.call(1, "f", "{}");
    other.written.clear();
    engine.call(1, "f", "{}");
    engine.message(&error(408));
    other.message(&error(408));
    // The connection that logs in is lost: the next that looks takes over.
    drop(engine);
    assert_eq!(std::mem::take(&mut *told.lock().unwrap()), [(1, Wake::Look)]);
    other.woken(Wake::Look);
    assert_eq!(other.next()["data"], json!({}));
    let mut third = client(&pool, 2, Credentials::guest(), Dialect::Auto);
    third.message(&greeting());
    other.message(&error(411));
    let Err(CallError::NotSent(_)) = other.outcome() else { panic!("it provably did not run") };
    assert!(matches!(other.closed, Some(Close::Refused(_))));
    let refused = std::mem::take(&mut *told.lock().unwrap());
    assert!(matches!(&refused[..], [(2, Wake::Refused(_))]), "{refused:?}");
    third.woken(refused[0].1.clone());
    assert!(matches!(third.closed, Some(Close::Refused(_))));
}

#[test]
fn p14_wait_backs_off_within_the_deadline() {
    let wait = json!({"session": "", "name": "s", "data": {"msg": "wait"}});
    let Dialled { mut engine, .. } = fresh();
    engine.message(&greeting());
    engine.written.clear();
    engine.message(&wait);
    assert_eq!(engine.alarm, Some(engine.now + Duration::from_secs(1)));
    engine.with(|session, cx| session.wake(cx));
    assert_eq!(engine.next()["data"], json!({}));
    engine.message(&welcome("s1"));
    engine.call(1, "f", "{}");
    engine.written.clear();
    for _ in 0..3 {
        engine.message(&wait);
        engine.now = engine.alarm.unwrap();
        engine.with(|session, cx| session.wake(cx));
        assert_eq!(engine.next()["data"], json!([{"fname": "f"}]));
    }
    engine.now = engine.now + Duration::from_secs(7);
    engine.message(&wait);
    let Err(CallError::NotSent(failure)) = engine.outcome() else { panic!("it provably did not run") };
    assert_eq!((failure.code, &*failure.message), (Code::Unavailable, "the server is not ready"));
}

#[test]
fn p12_a_broadcast_is_no_answer_and_the_connection_leaves_after_its_call() {
    for data in [json!(1), json!(2), json!("serverquit"), json!("ServerRestart")] {
        let Dialled { mut engine, .. } = dialled();
        engine.call(1, "f", "{}");
        engine.message(&json!({"session": "s1", "name": "s", "data": data}));
        assert!(engine.outcomes.is_empty() && engine.closed.is_none());
        engine.message(&result("f", 1));
        assert!(engine.outcome().is_ok());
        assert_eq!(engine.closed, Some(Close::Peer));
        let Dialled { mut engine, .. } = dialled();
        engine.message(&json!({"session": "s1", "name": "s", "data": data}));
        assert_eq!(engine.closed, Some(Close::Peer));
    }
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    engine.message(&json!({"session": "s1", "name": "s", "data": "notice"}));
    assert_eq!((engine.outcomes.len(), &engine.counts[..]), (0, &[Count::Unexpected][..]));
    engine.message(&result("f", 1));
    assert!(engine.outcome().is_ok());
}

#[test]
fn p13_a_call_that_was_given_up_closes_its_socket() {
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    engine.with(|session, cx| session.send(Outbound::Cancel(CallId(0)), cx));
    assert!(engine.closed.is_none(), "another call");
    engine.with(|session, cx| session.send(Outbound::Cancel(CallId(1)), cx));
    assert!(matches!(engine.closed, Some(Close::GivenUp(_))));
    // While the call is not on the wire its connection is as good as before.
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    engine.message(&json!({"session": "", "name": "s", "data": {"msg": "wait"}}));
    engine.with(|session, cx| session.send(Outbound::Cancel(CallId(1)), cx));
    assert!(engine.closed.is_none() && engine.alarm.is_none());
    engine.call(2, "g", "{}");
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    engine.message(&error(408));
    engine.with(|session, cx| session.send(Outbound::Cancel(CallId(1)), cx));
    engine.message(&welcome("s2"));
    assert!(engine.closed.is_none());
    engine.call(2, "g", "{}");
}

#[test]
fn p11_answers_of_every_shape() {
    let answer = |data: Value| {
        let Dialled { mut engine, .. } = dialled();
        engine.call(1, "f", "{}");
        engine.message(&json!({"session": "s1", "name": "s", "data": data}));
        engine.outcome()
    };
    let other = json!({"fname": "g", "data": 9});
    for (data, wanted) in [
        (json!([{"fname": "f", "data": 1}]), "1"),
        (json!([other, {"fname": "f", "data": 1}]), "1"),
        (json!([{"fname": "f", "data": 1}, {"fname": "f", "data": 2}]), "1"),
        (json!([{"fname": "f", "data": 1, "error": null}, {"fname": "old", "error": {"code": 403}}]), "1"),
        (json!([{"fname": "f"}]), "null"),
    ] {
        let Body::Json(text) = answer(data.clone()).unwrap().body else { panic!("{data}") };
        assert_eq!(text.as_str(), wanted, "{data}");
    }
    for data in
        [json!([]), json!([other]), json!([1]), json!([{"data": 1}]), json!([{"fname": 1, "data": 1}])]
    {
        let Err(CallError::Unknown(failure)) = answer(data.clone()) else { panic!("{data}") };
        assert_eq!(failure.message, "the reply has no entry for the call", "{data}");
    }
    let Err(CallError::Failure(failure)) =
        answer(json!([{"fname": "f", "data": 1, "error": {"code": 303, "msg": "m"}}]))
    else {
        panic!("an error wins over data")
    };
    assert_eq!((failure.code, &*failure.message), (Code::Unknown, "m"));
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    engine.message(&json!({"session": "s1", "name": "s", "data": [{"fname": "f", "data": 1}], "error": {"code": 100, "msg": ""}}));
    let Err(CallError::Failure(failure)) = engine.outcome() else { panic!("a root error wins over data") };
    assert_eq!(failure.code, Code::Internal);
}

#[test]
fn c10_of_equal_keys_of_an_answer_the_last_counts() {
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    let error = r#"{"code":303,"msg":"m"}"#;
    let text = format!(
        r#"{{"session":"s1","name":"s","error":{error},"data":1,"error":null,"data":[{{"fname":"g","error":{error},"data":1,"fname":"f","error":null,"data":2}}]}}"#
    );
    engine.receive(&frame(text.as_bytes())).unwrap();
    let Body::Json(body) = engine.outcome().unwrap().body else { panic!("the answer is JSON") };
    assert_eq!(body.as_str(), "2");
    assert_eq!(engine.counts, [Count::Mended]);
}

#[test]
fn p10_python_literals_and_lone_surrogates_in_an_answer() {
    let data = r#"[NaN,-Infinity,"NaN \" Infinity \ud800",123456789012345678901234567890]"#;
    let answer = format!(r#"{{"session":"s1","name":"s","data":[{{"fname":"f","data":{data}}}]}}"#);
    let Dialled { mut engine, .. } = dialled();
    engine.call(1, "f", "{}");
    engine.receive(&frame(answer.as_bytes())).unwrap();
    let Err(CallError::Failure(failure)) = engine.outcome() else { panic!("it is refused by default") };
    let place = format!("at byte {}", answer.find("NaN").unwrap());
    assert!(failure.message.contains(&place) && failure.message.contains("lenient_python"), "{failure}");
    assert_eq!(failure.code, Code::InvalidArgument);
    engine.call(2, "f", "{}");
    engine.message(&result("f", 2));
    assert!(engine.outcome().is_ok(), "the connection goes on");

    let wire = Wire { non_finite: NonFinite::Null, ..Wire::default() };
    let mut engine = client_with(wire, &Arc::default(), 0, Credentials::guest());
    engine.message(&greeting());
    engine.message(&welcome("s1"));
    engine.call(1, "f", "{}");
    engine.receive(&frame(answer.as_bytes())).unwrap();
    let Body::Json(text) = engine.outcome().unwrap().body else { panic!() };
    assert_eq!(text.as_str(), r#"[null,null,"NaN \" Infinity \ud800",123456789012345678901234567890]"#);
    assert_eq!(engine.counts, [Count::Mended]);
}

#[test]
fn p02_eight_empty_frames_in_a_row_close() {
    let Dialled { mut engine, .. } = dialled();
    for _ in 0..7 {
        engine.receive(DELIMITER).unwrap();
    }
    engine.message(&greeting());
    for _ in 0..7 {
        engine.receive(DELIMITER).unwrap();
    }
    assert!(engine.closed.is_none());
    engine.receive(DELIMITER).unwrap();
    let text = engine.closed.unwrap().to_string();
    assert_eq!(text, "8 empty frames in a row reach max_empty_frames = 8");
}

#[test]
fn what_the_wire_cannot_carry_is_refused() {
    let Dialled { engine, .. } = dialled();
    let admit = |outbound| engine.session.admit(&outbound);
    assert!(
        matches!(admit(engine.request(1, "f", "[1]")), Admit::Refuse(failure) if failure.code == Code::InvalidArgument)
    );
    let event = polywire_core::Event::new(Route::from_static("f"), Body::Empty);
    assert!(
        matches!(admit(Outbound::Event(event)), Admit::Refuse(failure) if failure.code == Code::Unimplemented)
    );
    let mut batch =
        Request::new(Route::from_static("f"), JsonText::from_validated(Bytes::from_static(b"[]")));
    batch.meta = Meta::default().with(crate::translate::BATCH, "1");
    let outbound = Outbound::Request { call: CallId(1), deadline: at(2_000), request: batch };
    assert_eq!(admit(outbound), Admit::Now);
}
