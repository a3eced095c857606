//! The handshake, in both roles, with peers of every kind.

use std::time::Duration;

use polywire_core::{BinaryForm, Body, Close, Code, Count, Outbound};

use super::end::{End, Got, json, talk};
use crate::config::{Config, Mode, PeerType, Switch};
use crate::session::Role;

const HELLO: &str = "{\"type\":\"SockhopHandshake\",\"data\":{\"protocol_version\":2,\"library_version\":\"2.1.0\",\"request_binary_mode\":true},\"id\":\"theirs\"}\n";
const YES: &str = "{\"type\":\"Object\",\"data\":{\"allow_binary_mode\":true},\"callback_id\":\"theirs\"}\n";

fn quiet(mode: Mode) -> Config {
    Config { ping_interval: None, ..Config::with_mode(mode) }
}

fn timeout() -> Duration {
    Config::default().handshake_timeout
}

/// The id of the handshake in what an end has written.
fn own_id(text: &str) -> String {
    text.split("\"id\":\"").nth(1).expect("a handshake")[..36].to_owned()
}

fn answer(id: &str, data: &str) -> String {
    format!("{{\"type\":\"Object\",\"data\":{data},\"callback_id\":\"{id}\"}}\n")
}

#[test]
fn who_dials_offers_at_once_byte_for_byte_as_the_library() {
    let text = End::client(&quiet(Mode::Auto)).text();
    let id = own_id(&text);
    assert_eq!(text, HELLO.replace("theirs", &id));
    assert_eq!((text.len(), id.len()), (155, 36));
    assert_eq!(End::client(&quiet(Mode::Json)).text().len(), 156);
    assert_eq!(End::client(&quiet(Mode::Compat)).text(), "");
}

#[test]
fn who_listens_waits_and_then_offers_before_it_answers() {
    let mut server = End::server(&quiet(Mode::Auto));
    assert_eq!(server.text(), "");
    server.feed(HELLO.as_bytes());
    let text = server.text();
    assert_eq!(text, format!("{}{YES}", HELLO.replace("theirs", &own_id(&text))));
}

#[test]
fn every_pair_of_modes_agrees_on_what_it_can() {
    use Mode::{Auto, Binary, Compat, Json};
    // May the client send typed buffers?
    for (ours, theirs, typed) in [
        (Auto, Auto, true),
        (Auto, Json, false),
        (Auto, Compat, false),
        (Json, Auto, false),
        (Compat, Auto, false),
        (Binary, Auto, true),
        (Auto, Binary, true),
        (Compat, Compat, false),
    ] {
        let (mut client, mut server) = (End::client(&quiet(ours)), End::server(&quiet(theirs)));
        talk(&mut client, &mut server);
        client.wait(timeout());
        client.event("typed", Body::binary("typed", &b"x"[..]));
        talk(&mut client, &mut server);
        let arrived = server.got.iter().any(|got| matches!(got, Got::Event(_)));
        assert_eq!((arrived, client.refused.is_empty()), (typed, typed), "{ours:?} {theirs:?}");
    }
}

#[test]
fn s03_odd_handshakes_are_answered_or_ignored_and_never_fatal() {
    let refused = YES.replace("true", "false");
    for (data, expected) in [
        ("{\"request_binary_mode\":true,\"protocol_version\":0}", Some(YES)),
        ("{\"request_binary_mode\":true,\"protocol_version\":99}", Some(YES)),
        ("{\"request_binary_mode\":true,\"protocol_version\":\"text\"}", Some(YES)),
        ("{\"request_binary_mode\":\"yes\"}", Some(YES)),
        ("{}", Some(refused.as_str())),
        ("null", None),
        ("7", None),
    ] {
        let mut server = End::server(&quiet(Mode::Auto));
        server.take();
        server.feed(
            format!("{{\"type\":\"SockhopHandshake\",\"data\":{data},\"id\":\"theirs\"}}\n").as_bytes(),
        );
        let text = server.text();
        match expected {
            Some(expected) => assert!(text.ends_with(expected), "{data}: {text}"),
            None => {
                assert_eq!(text, "", "{data}");
                assert_eq!(server.take(), [Got::Count(Count::Unexpected)]);
            }
        }
        assert_eq!(server.close_reason(), None);
    }
}

#[test]
fn s03_a_handshake_may_come_again_and_each_is_answered_once() {
    let mut server = End::server(&quiet(Mode::Auto));
    server.feed(HELLO.as_bytes());
    let id = own_id(&server.text());
    server.feed(HELLO.as_bytes());
    assert_eq!(server.text(), YES, "no second offer");
    server.feed(answer(&id, "{\"allow_binary_mode\":true}").as_bytes());
    server.take();
    server.feed(answer(&id, "{\"allow_binary_mode\":true}").as_bytes());
    assert_eq!(server.take(), [Got::Count(Count::OrphanReply)]);
    server.feed(HELLO.as_bytes());
    assert_eq!(server.text(), YES);
}

#[test]
fn s03_without_an_answer_auto_becomes_1x_and_binary_ends() {
    let mut client = End::client(&quiet(Mode::Auto));
    let id = own_id(&client.text());
    client.event("typed", Body::binary("typed", &b"x"[..]));
    client.event("plain", json("1"));
    assert_eq!(client.text(), "{\"type\":\"plain\",\"data\":1}\n", "JSON need not wait");
    client.wait(timeout());
    assert_eq!(client.refused[0].code, Code::Unimplemented);
    assert_eq!(client.close_reason(), None);
    client.take();
    client.feed(answer(&id, "{\"allow_binary_mode\":true}").as_bytes());
    assert_eq!(client.take(), [Got::Count(Count::OrphanReply)], "too late");

    let mut client = End::client(&quiet(Mode::Binary));
    client.event("plain", json("1"));
    assert_eq!(client.held.len(), 1);
    client.wait(timeout());
    assert!(
        matches!(client.close_reason(), Some(Close::Protocol(why)) if why.contains("handshake_timeout = 3s"))
    );
    assert_eq!(client.held.len(), 1, "still there for the next connection");
}

#[test]
fn s03_an_answer_of_any_shape_but_truth_refuses_binary() {
    for data in ["null", "\"yes\"", "{}", "{\"allow_binary_mode\":0}", "[true]"] {
        let mut client = End::client(&quiet(Mode::Auto));
        let id = own_id(&client.text());
        client.feed(HELLO.as_bytes());
        client.feed(answer(&id, data).as_bytes());
        assert_eq!(client.text(), YES);
        client.event("typed", Body::binary("typed", &b"x"[..]));
        assert_eq!(client.refused.len(), 1, "{data}");
    }
    let mut client = End::client(&quiet(Mode::Binary));
    let id = own_id(&client.text());
    client.feed(HELLO.as_bytes());
    client.feed(answer(&id, "{}").as_bytes());
    assert!(matches!(client.close_reason(), Some(Close::Refused(_))));
}

#[test]
fn a_slow_peer_may_still_greet_a_server_that_took_it_for_1x() {
    let mut server = End::server(&quiet(Mode::Auto));
    server.wait(timeout() * 2);
    server.feed(HELLO.as_bytes());
    let id = own_id(&server.text());
    server.feed(answer(&id, "{\"allow_binary_mode\":true}").as_bytes());
    server.event("typed", Body::binary("typed", &b"x"[..]));
    assert!(server.refused.is_empty() && server.text().contains("polywire-fence/"));
}

#[test]
fn what_a_peer_takes_is_found_at_the_end_of_the_handshake_and_again_when_it_comes_late() {
    let binary = |end: &End| end.found.map(|found| found.binary);
    for (here, there, found) in [
        (Mode::Auto, Mode::Auto, BinaryForm::Typed),
        (Mode::Binary, Mode::Auto, BinaryForm::Typed),
        (Mode::Auto, Mode::Json, BinaryForm::Plain),
        (Mode::Json, Mode::Auto, BinaryForm::Plain),
    ] {
        let (mut client, mut server) = (End::client(&quiet(here)), End::server(&quiet(there)));
        assert_eq!((binary(&client), binary(&server)), (None, None));
        talk(&mut client, &mut server);
        assert_eq!((binary(&client), binary(&server)), (Some(found), Some(found)), "{here:?} {there:?}");
    }
    assert_eq!(binary(&End::client(&quiet(Mode::Compat))), Some(BinaryForm::Plain));
    let bare = Config { peer_type: PeerType::Json, ..quiet(Mode::Auto) };
    assert_eq!(binary(&End::client(&bare)), Some(BinaryForm::None));
    // A peer that says nothing is a 1.x peer until it greets.
    let mut server = End::server(&quiet(Mode::Auto));
    server.wait(timeout());
    assert_eq!(binary(&server), Some(BinaryForm::Plain));
    let mut client = End::client(&quiet(Mode::Auto));
    talk(&mut client, &mut server);
    assert_eq!((binary(&client), binary(&server)), (Some(BinaryForm::Typed), Some(BinaryForm::Typed)));
}

#[test]
fn a_1x_application_that_answers_everything_is_no_2x_peer() {
    // Recorded in `peers-client210-server184-echo`: the application echoes the handshake, and none comes back.
    let mut client = End::client(&Config { switch: Switch::Early, ..quiet(Mode::Auto) });
    let hello = client.text();
    client.feed(
        answer(&own_id(&hello), "{\"request_binary_mode\":true,\"allow_binary_mode\":true}").as_bytes(),
    );
    client.wait(timeout());
    assert_eq!(client.text(), "", "no transition");
}

#[test]
fn a_compatible_end_swallows_handshakes() {
    let mut server = End::server(&quiet(Mode::Compat));
    server.feed(HELLO.as_bytes());
    assert_eq!(server.text(), "");
}

#[test]
fn established_at_once_unless_binary_is_required() {
    for mode in [Mode::Auto, Mode::Json, Mode::Compat] {
        assert_eq!(End::client(&quiet(mode)).take(), [Got::Established]);
    }
    let (mut client, mut server) = (End::client(&quiet(Mode::Binary)), End::server(&quiet(Mode::Binary)));
    assert_eq!((client.take(), server.take()), (vec![], vec![]));
    talk(&mut client, &mut server);
    assert!(client.take().contains(&Got::Established) && server.take().contains(&Got::Established));
}

#[test]
fn s11_four_pings_without_a_pong_end_a_peer_that_shook_hands() {
    let config = Config::default();
    let (mut client, mut server) = (End::client(&config), End::server(&config));
    talk(&mut client, &mut server);
    let interval = config.ping_interval.unwrap();
    for _ in 0..10 {
        client.wait(interval);
        server.wait(interval);
        talk(&mut client, &mut server);
    }
    assert_eq!((client.close_reason(), server.close_reason()), (None, None));
    client.wait(interval * 3);
    assert_eq!(client.close_reason(), None);
    client.wait(interval);
    assert!(matches!(client.close_reason(), Some(Close::Dead(_))));
    assert_eq!(client.text().matches("SockhopPing").count(), 3);
}

#[test]
fn s11_a_peer_that_is_not_read_is_not_taken_for_dead() {
    let config = Config::default();
    let (mut client, mut server) = (End::client(&config), End::server(&config));
    talk(&mut client, &mut server);
    let interval = config.ping_interval.unwrap();
    client.reading = false;
    client.wait(interval * 10);
    client.reading = true;
    assert_eq!(client.close_reason(), None);
    talk(&mut client, &mut server);
    client.wait(interval * 3);
    assert_eq!(client.close_reason(), None, "it has answered");
    client.wait(interval);
    assert!(matches!(client.close_reason(), Some(Close::Dead(_))));
}

#[test]
fn c17_an_hour_of_sleep_ends_no_live_peer_and_a_later_death_is_found_in_four_intervals() {
    let config = Config::default();
    let (mut client, mut server) = (End::client(&config), End::server(&config));
    let interval = config.ping_interval.unwrap();
    for _ in 0..5 {
        talk(&mut client, &mut server);
        client.wait(interval);
    }
    talk(&mut client, &mut server);
    client.text();
    client.now = client.now + Duration::from_secs(3_600);
    client.wait(Duration::ZERO);
    let written = client.text_then_feed(&mut server);
    assert_eq!(written.matches("SockhopPing").count(), 1, "what was slept through is not made up for");
    talk(&mut client, &mut server);
    client.wait(interval * 3);
    assert_eq!(client.close_reason(), None);
    client.wait(interval);
    assert!(matches!(client.close_reason(), Some(Close::Dead(_))));
}

#[test]
fn c17_after_a_sleep_a_dead_peer_is_found_in_one_interval() {
    let config = Config::default();
    let interval = config.ping_interval.unwrap();
    for before in 0..5 {
        let (mut client, mut server) = (End::client(&config), End::server(&config));
        talk(&mut client, &mut server);
        for _ in 0..before {
            client.wait(interval);
            talk(&mut client, &mut server);
        }
        // The server has gone meanwhile; what it answered before says nothing of that.
        client.now = client.now + Duration::from_secs(3_600);
        client.wait(Duration::ZERO);
        assert_eq!(client.close_reason(), None, "after {before} pings");
        client.wait(interval);
        assert!(matches!(client.close_reason(), Some(Close::Dead(_))), "after {before} pings");
    }
    // A pause that is shorter than the time in which a peer is found anyway changes nothing.
    let (mut client, mut server) = (End::client(&config), End::server(&config));
    talk(&mut client, &mut server);
    client.wait(interval);
    talk(&mut client, &mut server);
    client.now = client.now + interval * 4;
    client.wait(interval);
    assert_eq!(client.close_reason(), None);
}

#[test]
fn s11_c01_a_peer_that_never_spoke_is_not_ended_for_its_silence() {
    let mut server = End::server(&Config::default());
    server.wait(Duration::from_secs(3_600));
    assert_eq!(server.close_reason(), None);
    let text = server.text();
    let ping = text.lines().last().unwrap().split("\"_id\":\"").nth(1).unwrap()[..36].to_owned();
    server.take();
    server.feed(
        format!("{{\"type\":\"SockhopPong\",\"data\":{{\"_id\":\"{ping}\",\"_created\":\"forged\"}}}}\n")
            .as_bytes(),
    );
    assert_eq!(server.take(), [Got::Count(Count::Control)], "a pong of ours");
    server.feed(b"{\"type\":\"SockhopPong\",\"data\":{\"_id\":\"unasked\"}}\n{\"type\":\"SockhopPong\",\"data\":null}\n");
    let counts = [Count::Control, Count::Unexpected, Count::Control, Count::Unexpected];
    assert_eq!(server.take(), counts.map(Got::Count));
    server.wait(Duration::from_secs(25));
    assert!(matches!(server.close_reason(), Some(Close::Dead(_))), "it knows pings, and has stopped");
}

#[test]
fn s11_a_peer_that_goes_dark_in_its_handshake_is_found_by_pings() {
    let config = Config::default();
    let interval = config.ping_interval.unwrap();
    // It greeted, so it knows pings, and answers nothing any more.
    let mut server = End::server(&config);
    server.feed(HELLO.as_bytes());
    server.wait(timeout() + interval * 3);
    assert_eq!(server.close_reason(), None);
    server.wait(interval);
    assert!(matches!(server.close_reason(), Some(Close::Dead(_))));

    // It never said anything, and a call has waited for it in vain.
    let mut client = End::client(&config);
    let call = client.call("slow", json("{}"));
    client.wait(timeout() + interval * 10);
    assert_eq!(client.close_reason(), None);
    client.send(Outbound::Cancel(call));
    client.wait(interval);
    assert!(matches!(client.close_reason(), Some(Close::Dead(_))));
}

/// A peer that may know no pings, whose last word was an event or the connection itself.
#[test]
fn s11_a_peer_that_says_no_more_is_found_by_its_silence_in_both_roles() {
    let config = Config::default();
    let interval = config.ping_interval.unwrap();
    let tick = b"{\"type\":\"tick\",\"data\":1}\n";
    let dead_after = |mut end: End, pings: u32| {
        end.wait(interval * (pings - 1));
        assert_eq!(end.close_reason(), None);
        end.wait(interval);
        let Some(Close::Dead(why)) = end.close_reason() else { panic!("{:?}", end.got) };
        assert!(why.starts_with(&format!("no word through {pings} pings, ping_interval = 5s")), "{why}");
    };
    for role in [Role::Client, Role::Server] {
        // It has nothing to say for a long time.
        let mut end = End::new(&config, role);
        end.wait(timeout());
        for _ in 0..3 {
            end.wait(interval * 179);
            end.feed(tick);
        }
        assert_eq!(end.close_reason(), None);
        dead_after(end, 180);

        // It leaves a call without an answer.
        let mut end = End::new(&config, role);
        end.feed(tick);
        end.wait(timeout());
        let call = end.call("slow", json("{}"));
        end.send(Outbound::Cancel(call));
        dead_after(end, 4);

        // It leaves one without an answer, and says other things.
        let mut end = End::new(&config, role);
        end.wait(timeout());
        let call = end.call("slow", json("{}"));
        end.send(Outbound::Cancel(call));
        end.feed(tick);
        dead_after(end, 180);
    }
    // Nothing came when we offered to shake hands.
    let mut client = End::client(&config);
    client.wait(timeout());
    dead_after(client, 180);
}

#[test]
fn pings_are_answered_in_every_state() {
    let ping = b"{\"type\":\"SockhopPing\",\"data\":{\"_id\":\"p\"}}\n";
    for mode in [Mode::Auto, Mode::Binary, Mode::Json, Mode::Compat] {
        let mut end = End::server(&quiet(mode));
        end.feed(ping);
        assert!(end.text().starts_with("{\"type\":\"SockhopPong\",\"data\":{\"_id\":\"p\""), "{mode:?}");
    }
}
