//! The host's session by hand: what no recording shows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use polywire_core::{
    Action, Actions, Admit, Body, CallError, CallId, Clock, Close, Code, Count, Cx, Delivery, Event, Failure,
    Moment, Outbound, OutboundOf, Request, Response, Route, SeededRandom, Session, TokioClock,
};
use polywire_socketio::{Args, Kind, Packet};
use serde_json::Value;

use super::hand::{json as text_of, packet, text};
use crate::host::{HostConfig, HostReply, HostSession, LOOK, Plugins, Reauth};

const PORT: u16 = 52_789;

/// A clock that stands where the test puts it.
#[derive(Debug, Default)]
struct Hands(Mutex<Duration>);

impl Clock for Hands {
    fn now(&self) -> Moment {
        Moment::from_start(*self.0.lock().unwrap())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn alarm(&self) -> Box<dyn polywire_core::Alarm> {
        TokioClock.alarm()
    }
}

/// A host with one launched plugin.
pub(super) struct Host {
    config: Arc<HostConfig>,
    plugins: Arc<Plugins>,
    clock: Arc<Hands>,
    random: SeededRandom,
}

impl Host {
    fn new(config: HostConfig) -> Self {
        let clock = Arc::new(Hands::default());
        let plugins = Arc::new(Plugins::new(&config, Arc::clone(&clock) as _));
        assert!(plugins.admit("demo-plugin", "challenge-1".into(), clock.now()));
        Self { config: Arc::new(config), plugins, clock, random: SeededRandom::new(7) }
    }

    /// With a plugin whose launch had this challenge.
    pub(super) fn with_challenge(config: HostConfig, challenge: &'static str) -> Self {
        let host = Self::new(config);
        assert!(host.plugins.admit("demo-plugin", challenge.into(), host.clock.now()));
        host
    }

    /// It is this long after the beginning.
    pub(super) fn at(&self, time: Duration) {
        *self.clock.0.lock().unwrap() = time;
    }

    fn pass(&self, time: Duration) {
        *self.clock.0.lock().unwrap() += time;
    }

    pub(super) fn connect(&self) -> Line<'_> {
        let session = HostSession::new(Arc::clone(&self.config), Arc::clone(&self.plugins), PORT);
        Line {
            host: self,
            session,
            written: VecDeque::new(),
            delivered: VecDeque::new(),
            counted: Vec::new(),
            wake_at: None,
            closed: None,
        }
    }

    fn logged_in(&self) -> (Line<'_>, String) {
        let mut line = self.connect();
        line.say("authenticate", r#"{"pluginId":"demo-plugin","challenge":"challenge-1"}"#);
        let token = line.heard_login().unwrap();
        (line, token)
    }
}

/// One connection.
pub(super) struct Line<'a> {
    host: &'a Host,
    session: HostSession,
    pub(super) written: VecDeque<Packet>,
    pub(super) delivered: VecDeque<Delivery<HostReply>>,
    counted: Vec<Count>,
    wake_at: Option<Moment>,
    pub(super) closed: Option<Close>,
}

impl Line<'_> {
    /// Wakes the session if its alarm is due.
    pub(super) fn wakes_when_due(&mut self) {
        if self.wake_at.take_if(|at| *at <= self.host.clock.now()).is_some() {
            self.with(Session::wake);
        }
    }

    fn with(&mut self, call: impl FnOnce(&mut HostSession, &mut Cx<'_, HostSession>)) {
        let mut actions = Actions::new();
        let wall = || SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_176_056_636);
        call(&mut self.session, &mut Cx::new(self.host.clock.now(), &wall, &self.host.random, &mut actions));
        for action in actions {
            match action {
                Action::Write(packet, _) => self.written.push_back(packet),
                Action::Deliver(delivery) => self.delivered.push_back(delivery),
                Action::WakeAt(at) => self.wake_at = at,
                Action::Close(reason) => self.closed = Some(reason),
                Action::Count(count) => self.counted.push(count),
                _ => {}
            }
        }
    }

    pub(super) fn receive(&mut self, packet: Packet) {
        self.with(|session, cx| session.receive(packet, cx));
    }

    fn say(&mut self, name: &str, argument: &str) {
        self.receive(packet(&format!("2[\"{name}\",{argument}]"), Vec::new()));
    }

    pub(super) fn send(&mut self, outbound: OutboundOf<HostSession>) {
        assert_eq!(self.session.admit(&outbound), Admit::Now);
        self.with(|session, cx| session.send(outbound, cx));
    }

    fn wrote(&mut self) -> String {
        text(&self.written.pop_front().expect("something was written"))
    }

    /// The token of the login that was just answered, or why it was refused.
    fn heard_login(&mut self) -> Result<String, String> {
        let said = self.wrote();
        let (name, value): (String, Value) = serde_json::from_str(&said[1..]).unwrap();
        assert_eq!(name, "authenticated");
        match value["sessionToken"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => Err(value["error"].as_str().unwrap().to_owned()),
        }
    }
}

#[test]
fn h16_a_challenge_is_good_once_for_its_plugin_within_its_life() {
    let host = Host::new(HostConfig::default());
    let shown = |challenge: &str| format!(r#"{{"pluginId":"demo-plugin","challenge":"{challenge}"}}"#);
    let refused = |line: &mut Line<'_>, challenge: &str| {
        line.say("authenticate", &shown(challenge));
        line.heard_login().unwrap_err()
    };
    let mut guesser = host.connect();
    for guess in ["challenge-", "challenge-2", "challenge-11"] {
        assert_eq!(refused(&mut guesser, guess), "Invalid challenge");
    }
    assert!(matches!(guesser.closed, Some(Close::Refused(_))), "after three attempts it is closed at once");
    host.pass(Duration::from_secs(31));
    assert_eq!(refused(&mut host.connect(), "challenge-1"), "Challenge expired");
    let host = Host::new(HostConfig::default());
    host.pass(Duration::from_secs(29));
    let (first, _) = host.logged_in();
    assert_eq!(refused(&mut host.connect(), "challenge-1"), "Challenge already used");
    assert!(first.closed.is_none());
    // For another launch of the same plugin the old one is worth nothing.
    let fresh = host.plugins.launch("demo-plugin", host.clock.now(), &host.random).unwrap();
    assert_eq!(
        (fresh.expose().len(), refused(&mut host.connect(), "challenge-1")),
        (64, "Invalid challenge".into())
    );
    host.plugins.forget("demo-plugin");
    assert_eq!(
        refused(&mut host.connect(), std::str::from_utf8(fresh.expose()).unwrap()),
        "Invalid challenge"
    );
    assert!(!format!("{:?} {first:?}", host.plugins, first = first.session).contains("challenge-1"));
}

#[test]
fn h16_ten_thousand_guesses_are_refused_three_a_connection_and_keep_the_plugin_from_nothing() {
    let host = Host::new(HostConfig::default());
    let mut guesses = (0..10_000).map(|number| format!("challenge-0{number}"));
    let mut left = 10_000;
    while left > 0 {
        let mut guesser = host.connect();
        for guess in guesses.by_ref().take(3) {
            left -= 1;
            guesser.say("authenticate", &format!(r#"{{"pluginId":"demo-plugin","challenge":"{guess}"}}"#));
            assert_eq!(guesser.heard_login(), Err("Invalid challenge".to_owned()), "{guess}");
        }
        assert_eq!(guesser.closed.is_some(), left > 0, "three attempts end it, and the last had one");
    }
    host.logged_in();
}

#[test]
fn h17_a_token_lives_as_long_as_its_session_and_a_grace_and_every_login_makes_a_new_one() {
    let by_token = |token: &str| format!(r#"{{"pluginId":"demo-plugin","sessionToken":"{token}"}}"#);
    let login = |host: &Host, argument: &str| {
        let mut line = host.connect();
        line.say("authenticate", argument);
        line.heard_login()
    };
    let challenge = r#"{"pluginId":"demo-plugin","challenge":"challenge-1"}"#;
    for (reauth, token_works, challenge_works) in [
        (Reauth::Both, true, true),
        (Reauth::Token, true, false),
        (Reauth::Challenge, false, true),
        (Reauth::None, false, false),
    ] {
        let host = Host::new(HostConfig { reauth, ..HostConfig::default() });
        let (line, token) = host.logged_in();
        assert_eq!(login(&host, &by_token("made-up")).unwrap_err(), "Invalid session token");
        drop(line);
        host.pass(Duration::from_secs(59));
        assert_eq!(login(&host, challenge).is_ok(), challenge_works, "{reauth:?}");
        let host = Host::new(HostConfig { reauth, ..HostConfig::default() });
        let (line, token_of_other) = host.logged_in();
        drop(line);
        host.pass(Duration::from_secs(59));
        assert_eq!(login(&host, &by_token(&token_of_other)).is_ok(), token_works, "{reauth:?}");
        host.pass(Duration::from_secs(60));
        assert!(login(&host, &by_token(&token)).is_err());
        assert!(login(&host, challenge).is_err());
    }
    // While the session lives, its token takes it over; the old connection is nobody's from then on.
    let host = Host::new(HostConfig::default());
    let (mut old, token) = host.logged_in();
    let mut new = host.connect();
    new.say("authenticate", &by_token(&token));
    let newer = new.heard_login().unwrap();
    assert_ne!(newer, token);
    old.say("requestData", r#"{"method":"echo","requestId":"r"}"#);
    assert!(old.wrote().contains("Not authenticated") && old.delivered.is_empty());
    drop(old);
    host.pass(Duration::from_secs(120));
    new.say("requestData", &format!(r#"{{"method":"echo","requestId":"r","sessionToken":"{newer}"}}"#));
    assert_eq!(new.delivered.len(), 1, "the end of the old connection is not the end of the session");
    assert_eq!(login(&host, &by_token(&token)).unwrap_err(), "Invalid session token");
}

#[test]
fn an_id_that_is_too_long_to_be_kept_until_its_answer_is_told() {
    let host = Host::new(HostConfig::default());
    let (mut line, _) = host.logged_in();
    for (length, told) in [(253, None), (254, Some("The requestId is too long"))] {
        let id = "i".repeat(length);
        line.say("requestData", &format!(r#"{{"method":"echo","requestId":"{id}"}}"#));
        assert_eq!(line.delivered.pop_front().is_some(), told.is_none(), "{length}");
        if let Some(told) = told {
            assert!(line.wrote().contains(told));
            assert_eq!(line.counted, [Count::Undecodable]);
        }
    }
}

#[test]
fn of_a_challenge_and_a_token_the_challenge_counts_and_the_token_where_it_is_worth_nothing() {
    let host = Host::new(HostConfig::default());
    let login = |challenge: &str, token: &str| {
        let mut line = host.connect();
        let shown =
            format!(r#"{{"pluginId":"demo-plugin","challenge":"{challenge}","sessionToken":"{token}"}}"#);
        line.say("authenticate", &shown);
        line.heard_login().map(|token| (line, token))
    };
    let (first, token) = login("challenge-1", "made-up").unwrap();
    // While the session lives its challenge is worth nothing, and its token takes it over.
    assert_eq!(login("challenge-1", "made-up").err().unwrap(), "Invalid session token");
    let (second, newer) = login("challenge-1", &token).unwrap();
    drop(first);
    let (third, newest) = login("made-up", &newer).unwrap();
    drop((second, third));
    // With both worth something it is as with the challenge alone.
    assert!(login("challenge-1", &newest).is_ok());
    assert_eq!(login("made-up", "made-up").err().unwrap(), "Invalid session token");
    // The C# helper shows its challenge twice, under two names; under the second alone it counts as well.
    for names in [&["token", "challenge"][..], &["token"]] {
        let host = Host::new(HostConfig::default());
        let shown: String = names.iter().map(|name| format!(r#","{name}":"challenge-1""#)).collect();
        let mut line = host.connect();
        line.say("authenticate", &format!(r#"{{"pluginId":"demo-plugin"{shown}}}"#));
        assert!(line.heard_login().is_ok(), "{names:?}");
    }
    let mut line = host.connect();
    line.say("authenticate", r#"{"pluginId":"demo-plugin","token":"challenge-1","challenge":"made-up"}"#);
    assert_eq!(line.heard_login().unwrap_err(), "Invalid challenge", "the one that is named so counts");
}

#[test]
fn a_challenge_may_be_shown_again_within_its_life_where_that_is_allowed() {
    let host = Host::new(HostConfig { challenge_reuse_within_life: true, ..HostConfig::default() });
    let (_first, _) = host.logged_in();
    let (_second, _) = host.logged_in();
    host.pass(Duration::from_secs(31));
    let mut third = host.connect();
    third.say("authenticate", r#"{"pluginId":"demo-plugin","challenge":"challenge-1"}"#);
    assert_eq!(third.heard_login().unwrap_err(), "Challenge already used");
}

/// As the guide's sample in JavaScript, whose `initialize` connects anew and answers there.
#[test]
fn what_was_asked_on_one_connection_may_be_answered_on_the_next() {
    let host = Host::new(HostConfig { challenge_reuse_within_life: true, ..HostConfig::default() });
    let look = || Outbound::Event(Event::new(LOOK, Body::Empty));
    let (mut first, _) = host.logged_in();
    for number in 1..=3 {
        let request = Request::new(Route::from_static("initialize"), Body::Empty);
        first.send(Outbound::Request { call: CallId(number), deadline: host.clock.now(), request });
    }
    let (mut second, token) = host.logged_in();
    first.send(look());
    assert!(first.closed.is_none(), "answers to what was asked here may come");
    second.say("response", r#"{"id":"req-1","type":"response","data":"initialized"}"#);
    second.say("response", r#"{"id":"req-1","type":"response","data":"again"}"#);
    second.say("response", r#"{"id":"req-4","type":"response","data":"never asked"}"#);
    assert_eq!((second.delivered.len(), second.counted.len()), (0, 2));
    second.say("statusUpdate", r#"{"status":"working"}"#);
    first.send(look());
    assert!(matches!(first.delivered.pop_front(), Some(Delivery::Progress { call: None, .. })));
    let Some(Delivery::Response { call: CallId(1), outcome }) = first.delivered.pop_front() else { panic!() };
    assert_eq!(outcome, Ok(Response::from(text_of(r#""initialized""#))));
    // Who logs in again where it has left would be asked there no more: what is asked goes to the newer one.
    first.written.clear();
    first.say("authenticate", r#"{"pluginId":"demo-plugin","challenge":"challenge-1"}"#);
    assert_eq!(first.heard_login().unwrap_err(), "The session has moved to another connection");
    first.say("authenticate", &format!(r#"{{"pluginId":"demo-plugin","sessionToken":"{token}"}}"#));
    assert_eq!(first.heard_login().unwrap_err(), "The session has moved to another connection");
    assert!(first.closed.is_none());
    second.say("requestData", r#"{"requestId":"r","method":"echo"}"#);
    assert!(
        matches!(second.delivered.pop_back(), Some(Delivery::Request { .. })),
        "it is served where it was"
    );
    // It may answer where it was asked as well.
    first.say("response", r#"{"id":"req-2","type":"response","data":{"error":"no"}}"#);
    assert!(matches!(first.delivered.pop_front(), Some(Delivery::Response { call: CallId(2), .. })));
    assert!(first.closed.is_none() && first.written.is_empty());
    first.send(Outbound::Cancel(CallId(3)));
    assert_eq!(first.closed, Some(Close::Local), "nothing is open here any more");
    assert_eq!(first.written.pop_back(), Some(Packet::main(Kind::Disconnect)));
    second.say("response", r#"{"id":"req-3","type":"response"}"#);
    assert_eq!(second.counted, [Count::OrphanReply; 3]);
    // Another plugin's answer is none.
    assert!(host.plugins.admit("other", "challenge-2".into(), host.clock.now()));
    let request = Request::new(Route::from_static("test"), Body::Empty);
    second.send(Outbound::Request { call: CallId(1), deadline: host.clock.now(), request });
    let mut other = host.connect();
    other.say("authenticate", r#"{"pluginId":"other","challenge":"challenge-2"}"#);
    other.say("response", r#"{"id":"req-4","type":"response","data":true}"#);
    assert_eq!(other.counted, [Count::OrphanReply]);
    // An event of this name does nothing to whoever has not left.
    second.send(look());
    assert!(second.closed.is_none());
}

/// Where the queue of a connection is full it cannot be told to look: whatever comes out of the queue is as good.
#[test]
fn what_was_heard_elsewhere_is_looked_at_with_whatever_is_sent_next() {
    let host = Host::new(HostConfig { challenge_reuse_within_life: true, ..HostConfig::default() });
    let (mut first, _) = host.logged_in();
    for number in 1..=2 {
        let request = Request::new(Route::from_static("execute"), Body::Empty);
        first.send(Outbound::Request { call: CallId(number), deadline: host.clock.now(), request });
    }
    let any = || Outbound::Event(Event::new(Route::from_static("gameClosed"), Body::Empty));
    let (mut second, _) = host.logged_in();
    second.say("response", r#"{"id":"req-1","type":"response","data":true}"#);
    first.send(any());
    assert!(matches!(
        first.delivered.pop_front(),
        Some(Delivery::Response { call: CallId(1), outcome: Ok(_) })
    ));
    second.say("statusUpdate", r#"{"status":"working"}"#);
    first.send(any());
    assert!(matches!(first.delivered.pop_front(), Some(Delivery::Progress { call: None, .. })));
    // While something is open it looks by itself too, because what waits in its queue may wait for just that answer.
    second.say("response", r#"{"id":"req-2","type":"response","data":true}"#);
    host.pass(Duration::from_secs(1));
    first.wakes_when_due();
    assert!(matches!(
        first.delivered.pop_front(),
        Some(Delivery::Response { call: CallId(2), outcome: Ok(_) })
    ));
    assert_eq!(first.closed, Some(Close::Local), "nothing is open here any more");
    // Where nothing was open it leaves with whatever is sent next.
    let (_third, _) = host.logged_in();
    second.send(any());
    assert_eq!(second.closed, Some(Close::Local));
}

#[test]
fn plugins_are_bounded() {
    let host = Host::new(HostConfig { max_plugins: 2, ..HostConfig::default() });
    assert!(host.plugins.admit("second", "c".into(), host.clock.now()));
    assert!(host.plugins.admit("second", "again".into(), host.clock.now()));
    assert!(!host.plugins.admit("third", "c".into(), host.clock.now()));
}

#[test]
fn requests_to_a_plugin_are_matched_by_id_and_the_first_answer_counts() {
    let host = Host::new(HostConfig::default());
    let (mut line, _) = host.logged_in();
    let deadline = host.clock.now();
    for number in 1..=5 {
        let request = Request::new(Route::from_static("execute"), Body::Json(text_of(r#"{"action":"x"}"#)));
        line.send(Outbound::Request { call: CallId(number), deadline, request });
        assert_eq!(
            line.wrote(),
            format!(r#"2["request",{{"id":"req-{number}","method":"execute","data":{{"action":"x"}}}}]"#)
        );
    }
    line.say("response", r#"{"id":"req-2","type":"response","data":[1]}"#);
    line.say("plugin:response", r#"{"id":"req-1","type":"response","data":{"error":"no"}}"#);
    line.say("response", r#"{"id":"req-1","type":"response","data":"second"}"#);
    line.say("response", r#"{"id":"req-3","type":"error","data":"unknown method"}"#);
    line.say("response", r#"{"id":"req-4"}"#);
    line.send(Outbound::Cancel(CallId(5)));
    line.say("response", r#"{"id":"req-5","type":"response","data":"late"}"#);
    line.say("response", r#"{"id":7}"#);
    assert_eq!(line.counted, [Count::OrphanReply; 3]);
    let failed = |why: &str| Err(CallError::Failure(Failure::new(Code::Unknown, why.to_owned())));
    let wanted = [
        (2, Ok(Response::from(text_of("[1]")))),
        (1, failed("no")),
        (3, failed("the plugin gives no reason")),
        (4, Ok(Response::default())),
    ];
    for (number, outcome) in wanted {
        let Some(Delivery::Response { call, outcome: got }) = line.delivered.pop_front() else { panic!() };
        assert_eq!((call, got), (CallId(number), outcome));
    }
}

#[test]
fn h24_signs_of_life_go_on_ten_times_a_second_at_most() {
    let host = Host::new(HostConfig::default());
    let (mut line, _) = host.logged_in();
    for _ in 0..10_000 {
        line.say("statusUpdate", r#"{"status":"working"}"#);
        host.pass(Duration::from_micros(100));
    }
    // Each as what keeps requests alive, and as words for whoever serves the host.
    assert_eq!(line.delivered.len(), 20);
    assert!(matches!(line.delivered[0], Delivery::Progress { call: None, .. }));
    let Some(Delivery::Event(event)) = line.delivered.get(1) else { panic!() };
    assert_eq!((&*event.route, &event.body), ("statusUpdate", &text_of(r#"{"status":"working"}"#).into()));
}

#[test]
fn an_odd_sign_of_life_is_counted_and_ends_nothing() {
    let host = Host::new(HostConfig::default());
    let (mut line, _) = host.logged_in();
    let pace = Duration::from_millis(100);
    for odd in ["5", "true", "[{\"status\":\"working\"}]"] {
        line.say("statusUpdate", odd);
        assert_eq!(line.counted.pop(), Some(Count::Unexpected), "{odd}");
        assert!(line.delivered.is_empty(), "{odd}");
    }
    // It names no request, so whatever it says of one is its own affair; nor does its text end one.
    line.send(Outbound::Request {
        call: CallId(1),
        deadline: host.clock.now() + pace * 300,
        request: Request::new(Route::from_static("execute"), Body::Empty),
    });
    line.written.clear();
    for said in [
        r#"{"status":"complete","requestId":"none-of-ours"}"#,
        r#"{"status":"error","id":"req-1"}"#,
        "{}",
        r#""running""#,
        "null",
    ] {
        line.say("statusUpdate", said);
        assert!(matches!(line.delivered.pop_front(), Some(Delivery::Progress { call: None, .. })), "{said}");
        let Some(Delivery::Event(event)) = line.delivered.pop_front() else { panic!("{said}") };
        assert_eq!(event.body, text_of(said).into());
        host.pass(pace);
    }
    // None at all is as good as an empty one.
    line.receive(packet(r#"2["statusUpdate"]"#, Vec::new()));
    assert_eq!(line.delivered.drain(..).count(), 2);
    assert_eq!((line.counted.len(), line.closed.is_none()), (0, true));
    line.say("response", r#"{"id":"req-1","type":"response","data":1}"#);
    assert!(matches!(line.delivered.pop_front(), Some(Delivery::Response { outcome: Ok(_), .. })));
}

#[test]
fn events_reach_those_who_asked_for_them_in_the_order_of_telling() {
    let host = Host::new(HostConfig { max_subscriptions: 3, ..HostConfig::default() });
    let (mut line, _) = host.logged_in();
    let tell = |line: &mut Line<'_>, name: &'static str, number: usize| {
        let body = Body::Json(text_of(&format!("{{\"n\":{number}}}")));
        line.send(Outbound::Event(Event::new(Route::from_static(name), body)));
    };
    tell(&mut line, "gameLaunched", 0);
    assert!(line.written.is_empty());
    line.say("subscribeEvents", r#"["gameLaunched"]"#);
    line.say("subscribeEvents", r#"["gameClosed"]"#);
    line.written.clear();
    // One name after itself and after the other, and what nobody asked for in between.
    let names = ["gameClosed", "gameLaunched", "mediaProgress", "gameLaunched", "gameLaunched"];
    let told: Vec<_> = names.into_iter().cycle().take(1_000).enumerate().collect();
    for (number, name) in &told {
        tell(&mut line, name, *number);
    }
    for (number, name) in told.iter().filter(|(_, name)| *name != "mediaProgress") {
        let object = format!(r#"{{"type":"{name}","data":{{"n":{number}}},"timestamp":1795176056636}}"#);
        assert_eq!(line.wrote(), format!(r#"2["hyperHqEvent",{object}]"#));
    }
    assert!(line.written.is_empty());
    line.say("subscribeEvents", r#"["a","b"]"#);
    assert!(line.wrote().starts_with(r#"2["error",{"message":"more than max_subscriptions = 3 events"#));
}

#[test]
fn h15_nothing_is_served_before_the_login() {
    let host = Host::new(HostConfig::default());
    let mut line = host.connect();
    for name in [
        "requestData",
        "requestFile",
        "subscribeEvents",
        "statusUpdate",
        "response",
        "plugin:response",
        "thumbnail:created",
        "pluginLog",
    ] {
        line.say(name, r#"{"requestId":"r","method":"echo","id":"req-1","filePath":"a.txt"}"#);
    }
    assert!(line.delivered.is_empty());
    assert_eq!(line.counted, [Count::BeforeLogin; 8]);
}

#[test]
fn a_client_that_wants_acknowledgements_gets_empty_ones() {
    let host = Host::new(HostConfig::default());
    let (mut line, _) = host.logged_in();
    line.receive(packet(r#"27["subscribeEvents",[]]"#, Vec::new()));
    line.written.pop_front();
    let acknowledgement = Packet::main(Kind::Ack { id: Some(7), args: Args::none() });
    assert_eq!(line.written.pop_front(), Some(acknowledgement));
}

#[test]
fn a_request_is_acknowledged_behind_its_answer() {
    let host = Host::new(HostConfig { require_file_token: false, ..HostConfig::default() });
    let (mut line, _) = host.logged_in();
    let data = r#"27["requestData",{"method":"echo","requestId":"r1"}]"#;
    let alias = r#"28["request_data",{"method":"echo","requestId":"r2"}]"#;
    let file = r#"29["requestFile",{"filePath":"a.txt","requestId":"r3"}]"#;
    let given = || Ok(Response::from(Body::binary("", &b"abc"[..])));
    for (said, result, wanted) in [
        (data, Ok(Response::default()), &["dataResponse", "data_response", "37[]"][..]),
        (alias, Err(Failure::new(Code::NotFound, "none")), &["dataResponse", "data_response", "38[]"]),
        (file, given(), &["fileData", "39[]"]),
        (file, Err(Failure::new(Code::NotFound, "none")), &["fileData", "39[]"]),
    ] {
        line.receive(packet(said, Vec::new()));
        let Some(Delivery::Request { reply, .. }) = line.delivered.pop_front() else { panic!("{said}") };
        assert!(line.written.is_empty(), "{said} is not handled yet");
        line.send(Outbound::Response { reply, result });
        for wanted in wanted {
            let wrote = line.wrote();
            assert!(wrote.contains(wanted), "{wrote} in place of {wanted}");
        }
        assert!(line.written.is_empty(), "{said}");
    }
    // What is refused at once is handled at once.
    for (said, wanted) in [
        (r#"21["requestData",{"method":"echo"}]"#, &["error", "31[]"][..]),
        (r#"22["requestData",{"requestId":"r"}]"#, &["dataResponse", "data_response", "32[]"]),
        (r#"23["requestFile",{"requestId":"r"}]"#, &["fileData", "33[]"]),
    ] {
        line.receive(packet(said, Vec::new()));
        for wanted in wanted {
            let wrote = line.wrote();
            assert!(wrote.contains(wanted), "{wrote} in place of {wanted}");
        }
        assert!(line.written.is_empty() && line.delivered.is_empty(), "{said}");
    }
}

#[test]
fn a_file_is_an_attachment_where_its_request_says_so_and_base64_elsewhere() {
    let host = Host::new(HostConfig { require_file_token: false, ..HostConfig::default() });
    let (mut line, _) = host.logged_in();
    for (encoding, binary) in [
        (r#","encoding":"binary""#, true),
        ("", false),
        (r#","encoding":"base64""#, false),
        (r#","encoding":"Binary""#, false),
        (r#","encoding":["binary"]"#, false),
        (r#","encoding":null"#, false),
    ] {
        line.say("requestFile", &format!(r#"{{"filePath":"a.bin","requestId":"f1"{encoding}}}"#));
        let Some(Delivery::Request { reply, .. }) = line.delivered.pop_front() else { panic!("{encoding}") };
        let file = Response::from(Body::binary("", &b"\x00\xffa"[..]));
        line.send(Outbound::Response { reply, result: Ok(file) });
        let Some(packet) = line.written.pop_front() else { panic!("{encoding}") };
        let Kind::Event { args, .. } = &packet.kind else { panic!("{encoding}") };
        let attached = if binary { &[Bytes::from_static(b"\x00\xffa")][..] } else { &[] };
        assert_eq!(args.attachments(), attached, "{encoding}");
        let data = if binary { r#"{"_placeholder":true,"num":0}"# } else { r#""AP9h""# };
        let object =
            format!(r#"{{"requestId":"f1","filePath":"a.bin","success":true,"data":{data},"size":3}}"#);
        assert_eq!(args.text(), format!(r#"["fileData",{object}]"#).as_bytes(), "{encoding}");
    }
}

#[test]
fn a_host_that_is_asked_or_answered_beyond_the_limits_on_json_refuses_or_ends_its_call() {
    let host = Host::new(HostConfig::default());
    let (mut line, _) = host.logged_in();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let limit = "nested deeper than max_json_depth = 128";
    let refused = |line: &mut Line<'_>, expected: &str, id: Option<&str>| {
        let said = line.wrote();
        let (name, value): (String, Value) = serde_json::from_str(&said[1..]).unwrap();
        let why = value["error"].as_str().or(value["message"].as_str()).unwrap();
        assert!(why.starts_with("invalid JSON at byte ") && why.ends_with(limit), "{why}");
        assert_eq!((&*name, value["requestId"].as_str()), (expected, id));
    };
    for name in ["requestData", "request_data"] {
        line.say(name, &format!(r#"{{"method":"echo","params":{deep},"requestId":"r1"}}"#));
        refused(&mut line, "dataResponse", Some("r1"));
        refused(&mut line, "data_response", Some("r1"));
    }
    line.say("requestFile", &format!(r#"{{"requestId":"r2","filePath":{deep}}}"#));
    refused(&mut line, "fileData", Some("r2"));
    line.say("requestData", &format!(r#"{{"method":"echo","params":{deep}}}"#));
    refused(&mut line, "error", None);
    line.say("subscribeEvents", &deep);
    refused(&mut line, "error", None);
    line.receive(packet(&format!(r#"27["requestFile",{deep}]"#), Vec::new()));
    refused(&mut line, "fileData", None);
    assert_eq!(line.wrote(), "37[]", "a client that wants an acknowledgement gets one");
    // A newer plugin may say more than this host knows, and a log is not answered.
    line.say("pluginLog", &deep);
    line.say("statusUpdate", &deep);
    assert!(line.written.is_empty() && line.delivered.is_empty() && line.closed.is_none());
    assert_eq!(line.counted, [&[Count::BadBody; 6][..], &[Count::Unexpected, Count::BadBody]].concat());
    line.send(Outbound::Request {
        call: CallId(5),
        deadline: host.clock.now() + Duration::from_secs(30),
        request: Request::new(Route::from_static("execute"), Body::Empty),
    });
    line.wrote();
    for id in ["req-1", "req-2"] {
        line.say("response", &format!(r#"{{"id":"{id}","type":"response","data":{deep}}}"#));
    }
    let [Delivery::Response { call, outcome: Err(CallError::Unknown(failure)) }] =
        &line.delivered.make_contiguous()[..]
    else {
        panic!("{:?}", line.delivered)
    };
    assert_eq!((*call, failure.code), (CallId(5), Code::ResourceExhausted));
    assert!(failure.message.ends_with(limit), "{failure}");
    assert_eq!(line.counted.last(), Some(&Count::OrphanReply));
    let mut stranger = host.connect();
    stranger.say("requestData", &format!(r#"{{"method":"echo","params":{deep},"requestId":"r1"}}"#));
    assert!(stranger.wrote().contains(r#""success":false,"error":"Not authenticated""#));
    for name in ["statusUpdate", "response", "pluginLog"] {
        stranger.say(name, &deep);
    }
    assert_eq!(stranger.counted, [Count::BeforeLogin; 4]);
}
