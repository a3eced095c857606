//! Both roles fed by hand: lines, verdicts and moments in, lines and deliveries out.

use std::time::SystemTime;

use polywire_core::{
    Actions, Body, Code, Event, Failure, JsonText, Moment, Request, Response, Route, SeededRandom,
    Session as _,
};

use super::*;

/// One session under test, and what it did.
struct Hand {
    session: Session,
    now: Moment,
    /// When it wants to be woken.
    alarm: Option<Moment>,
    done: Vec<String>,
}

impl Hand {
    fn new(role: Role) -> Self {
        let config = Config { guests: true, ..Config::default() };
        let session = Session::new(role, Arc::new(config), Arc::new(Limits::default()));
        let mut hand = Self { session, now: Moment::default(), alarm: None, done: Vec::new() };
        hand.with(|session, cx| session.open(cx));
        hand
    }

    fn friends(role: Role) -> Self {
        let mut hand = Self::new(role);
        match hand.session.role {
            Role::Client(_) => hand.hear("HELLO parley 1\nWELCOME"),
            Role::Server => hand.hear("LOGIN"),
        }
        hand.done.clear();
        hand
    }

    // begin engine
    /// The engine in these tests: calls the session, then does what it wants, in order.
    fn with(&mut self, call: impl FnOnce(&mut Session, &mut Cx<'_, Session>)) {
        let mut actions = Actions::new();
        let random = SeededRandom::new(7);
        call(&mut self.session, &mut Cx::new(self.now, &SystemTime::now, &random, &mut actions));
        for action in actions {
            match action {
                Action::Write(line, _) => self.done.push(format!("> {}", String::from_utf8_lossy(&line))),
                Action::Deliver(delivery) => self.done.push(told(delivery)),
                Action::WakeAt(at) => self.alarm = at,
                Action::Open(_) => {}
                other => self.done.push(format!("{other:?}")),
            }
        }
    }
    // end engine

    fn hear(&mut self, lines: &str) {
        for line in lines.lines() {
            let line = Bytes::copy_from_slice(line.as_bytes());
            self.with(|session, cx| session.receive(line, cx));
        }
    }

    fn send(&mut self, outbound: OutboundOf<Session>) {
        assert_eq!(self.session.admit(&outbound), Admit::Now);
        self.with(|session, cx| session.send(outbound, cx));
    }

    fn wake(&mut self) {
        self.now = self.alarm.take().unwrap();
        self.with(|session, cx| session.wake(cx));
    }

    fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }
}

fn told(delivery: Delivery<u64>) -> String {
    let body = |body: &Body| match body {
        Body::Json(text) => text.as_str().to_owned(),
        other => format!("{other:?}"),
    };
    match delivery {
        Delivery::Request { request, reply, .. } => {
            format!("? {reply} {} {}", request.route, body(&request.body))
        }
        Delivery::Event(event) => format!(". {} {}", event.route, body(&event.body)),
        Delivery::Response { call, outcome: Ok(response) } => {
            format!("! {} {}", call.0, body(&response.body))
        }
        Delivery::Response { call, outcome: Err(error) } => format!("! {} {error}", call.0),
        Delivery::Cancel(reply) => format!("- {reply}"),
        Delivery::Progress { .. } => "progress".to_owned(),
    }
}

fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &Default::default()).unwrap())
}

fn request(name: &'static str, body: Body) -> OutboundOf<Session> {
    let request = Request::new(Route::from_static(name), body);
    Outbound::Request { call: CallId(4), deadline: Moment::default(), request }
}

fn response(reply: u64, result: Result<Body, Failure>) -> OutboundOf<Session> {
    Outbound::Response { reply, result: result.map(Response::from) }
}

// begin dialog
#[test]
fn a_user_logs_in_when_the_verdict_is_in() {
    let mut server = Hand::new(Role::Server);
    server.hear("LOGIN ann s3cret");
    let done = server.done();
    assert_eq!(done[0], "> HELLO parley 1");
    assert!(done[1].starts_with("Authenticate"), "{done:?}");
    server.with(|session, cx| {
        session.authenticated(Ok(Identity::user("ann")), cx);
    });
    let done = server.done();
    assert_eq!(done[0], "> WELCOME");
    assert!(done[1].contains("Established") && done[1].contains("ann"), "{done:?}");
}
// end dialog

#[test]
fn a_refusal_is_told_and_ends_both_sides() {
    let mut server = Hand::new(Role::Server);
    server.hear("LOGIN ann s3cret");
    server.done();
    server.with(|session, cx| {
        session.authenticated(Err(Refusal::new("not you")), cx);
    });
    let done = server.done();
    assert_eq!(done[0], "> REFUSED \"not you\"");
    assert!(done[1].starts_with("Close(Refused("), "{done:?}");
    let mut client = Hand::new(Role::Client(Credentials::new("ann", "s3cret")));
    client.hear("HELLO parley 1\nREFUSED \"not you\"");
    let done = client.done();
    assert_eq!(done[0], "> LOGIN ann s3cret");
    assert!(done[1].starts_with("Close(Refused(") && done[1].contains("not you"), "{done:?}");
}

#[test]
fn nothing_is_heard_before_the_login_and_no_other_version() {
    for line in ["ASK 7 greet", "SAY moved", "WELCOME", "BEAT", "HELLO parley 1"] {
        let mut server = Hand::new(Role::Server);
        server.hear(line);
        assert!(server.done()[2].starts_with("Close(Protocol("), "{line}");
    }
    let mut client = Hand::new(Role::Client(Credentials::guest()));
    client.hear("HELLO parley 2");
    assert_eq!(client.done(), ["Close(Protocol(\"the peer speaks parley 2, this side parley 1\"))"]);
    assert_eq!(client.session.admit(&request("greet", Body::Empty)), Admit::Hold(LOGIN));
}

#[test]
fn requests_answers_and_events_go_both_ways() {
    for role in [Role::Server, Role::Client(Credentials::guest())] {
        let mut end = Hand::friends(role);
        end.hear("ASK 7 greet {\"n\":1}\nASK 8 greet\nSAY moved null");
        assert_eq!(end.done(), ["? 7 greet {\"n\":1}", "? 8 greet Empty", ". moved null"]);
        end.send(response(8, Ok(json("[1,\n 2]"))));
        end.send(response(7, Err(Failure::new(Code::NotFound, "no such thing"))));
        end.send(request("greet", Body::Empty));
        end.send(Outbound::Event(Event::new(Route::from_static("moved"), json("null"))));
        let sent =
            ["> OK 8 [1,2]", "> NO 7 not_found \"no such thing\"", "> ASK 4 greet", "> SAY moved null"];
        assert_eq!(end.done(), sent);
        end.hear("OK 4 2\nOK 5\nNO 6 not_found \"no\"\nNO 7 ENOENT \"no\"\nBYE");
        let heard = ["! 4 2", "! 5 Empty", "! 6 not_found: no", "! 7 unknown: ENOENT: no", "Close(Peer)"];
        assert_eq!(end.done(), heard);
    }
}

#[test]
fn a_request_that_was_dropped_is_cancelled_once() {
    let mut end = Hand::friends(Role::Server);
    end.hear("ASK 7 greet\nDROP 7\nDROP 7\nASK 8 greet");
    assert_eq!(end.done(), ["? 7 greet Empty", "- 7", "? 8 greet Empty"]);
    end.send(response(8, Ok(Body::Empty)));
    end.hear("DROP 8");
    assert_eq!(end.done(), ["> OK 8"], "it was answered before");
    end.send(Outbound::Cancel(CallId(4)));
    assert_eq!(end.done(), ["> DROP 4"]);
}

#[test]
fn an_id_in_use_is_counted_and_may_come_again_once_it_was_answered() {
    let mut end = Hand::friends(Role::Server);
    end.hear("ASK 7 greet\nASK 7 greet");
    assert_eq!(end.done(), ["? 7 greet Empty", "Count(RepeatedId)"]);
    end.send(response(7, Ok(Body::Empty)));
    end.hear("ASK 7 greet");
    assert_eq!(end.done(), ["> OK 7", "? 7 greet Empty"]);
}

#[test]
fn what_cannot_be_read_is_answered_where_somebody_waits_and_counted() {
    let mut end = Hand::friends(Role::Server);
    end.hear(&format!("ASK 7 greet {{\nASK 8 {}\nSAY moved nil\nOK 4 {{\nSHOUT\nWELCOME", "x".repeat(256)));
    assert_eq!(
        end.done(),
        [
            "Count(BadBody)",
            "> NO 7 invalid_argument \"invalid JSON at byte 1: the text ends too early\"",
            "Count(BadRoute)",
            "> NO 8 invalid_argument \"route of 256 bytes exceeds the 255 bytes a route may have\"",
            "Count(BadBody)",
            "! 4 outcome unknown: internal: the answer cannot be read: invalid JSON at byte 1: the text ends too early",
            "Count(UnknownKind)",
            "Count(Unexpected)",
        ]
    );
}

#[test]
fn every_loss_is_refused_and_none_is_silent() {
    let mut end = Hand::friends(Role::Server);
    let large = format!("\"{}\"", "x".repeat(Limits::default().max_frame_bytes));
    let bytes = || Body::binary("", &b"x"[..]);
    for (name, body, code) in [
        ("greet", bytes(), Code::Unimplemented),
        ("two words", Body::Empty, Code::InvalidArgument),
        ("", Body::Empty, Code::InvalidArgument),
        ("greet", json(&large), Code::ResourceExhausted),
    ] {
        let event = Outbound::Event(Event::new(Route::from_static(name), body.clone()));
        for outbound in [request(name, body), event] {
            match end.session.admit(&outbound) {
                Admit::Refuse(failure) => assert_eq!(failure.code, code, "{failure}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    end.hear("ASK 7 greet");
    end.send(response(7, Ok(bytes())));
    assert_eq!(end.done()[1], "> NO 7 unimplemented \"parley carries no bytes\"");
}

#[test]
fn the_largest_body_fits_into_a_line_behind_the_longest_head() {
    let max = Limits::default().max_frame_bytes;
    let body = json(&format!("\"{}\"", "x".repeat(translate::max_body_bytes(max) - 2)));
    assert_eq!(translate::unfit_body(&body, max), None);
    let route = Route::new("n".repeat(Route::MAX_BYTES)).unwrap();
    assert_eq!(translate::from_request(u64::MAX, Request::new(route, body)).line().len(), max);
}

// begin beats
#[test]
fn a_silent_peer_is_dead_after_the_beats_it_may_miss_and_any_line_is_a_sign_of_life() {
    let mut end = Hand::friends(Role::Server);
    end.wake();
    end.wake();
    end.hear("BEAT");
    for _ in 0..3 {
        end.wake();
    }
    end.wake();
    let beats = ["> BEAT", "> BEAT", "Count(Control)", "> BEAT", "> BEAT", "> BEAT"];
    assert_eq!(end.done()[..6], beats);
    assert_eq!((end.session.missed_beats, end.alarm), (3, None));
}
// end beats
