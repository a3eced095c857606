//! The switch to binary in our direction: nothing is lost, not even towards a peer that loses what shares a read with the
//! transition line.

use std::time::Duration;

use polywire_core::{Admit, Body, Close, Event, Outbound, Route, Session as _};
use polywire_size::cases;
use proptest::prelude::*;

use super::end::{End, Got, event, json, talk};
use crate::config::{Config, Mode, Switch};

fn config(switch: Switch) -> Config {
    Config { switch, ping_interval: None, ..Config::default() }
}

/// A server that reads as the 2.1.0 library does: one read is cut into lines before any of them is handled.
#[derive(Default)]
struct Stock {
    frames: bool,
    lines: Vec<u8>,
    input: Vec<u8>,
    replies: Vec<u8>,
    received: Vec<String>,
    errors: usize,
    /// Does it answer pings?
    dumb: bool,
}

impl Stock {
    fn read(&mut self, bytes: &[u8]) {
        if self.frames {
            return self.read_frames(bytes);
        }
        self.lines.extend_from_slice(bytes);
        let mut cut = Vec::new();
        while let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.lines.drain(..=end).collect();
            cut.push(line);
        }
        for line in cut {
            match serde_json::from_slice::<serde_json::Value>(&line) {
                Ok(value) => self.handle(&value),
                Err(_) => self.errors += 1,
            }
        }
        // What is left in `lines` after a transition is never looked at again.
    }

    fn read_frames(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.input.len() >= 5 {
            let length = u32::from_le_bytes(self.input[..4].try_into().unwrap()) as usize;
            if self.input.len() < 5 + length {
                return;
            }
            let frame: Vec<u8> = self.input.drain(..5 + length).collect();
            if !(10..=15).contains(&frame[4]) {
                self.errors += 1;
                continue;
            }
            let kind = usize::from(frame[5]);
            let name = String::from_utf8(frame[6..6 + kind].to_vec()).unwrap();
            if name != "SockhopPing" {
                self.received.push(name);
                continue;
            }
            assert!(!frame.contains(&b'\n'), "swallowed by a peer that reads lines, it would end one");
            let data = u32::from_le_bytes(frame[6 + kind..10 + kind].try_into().unwrap()) as usize;
            let data: serde_json::Value =
                serde_json::from_slice(&frame[10 + kind..10 + kind + data]).unwrap();
            self.pong(&data);
        }
    }

    fn pong(&mut self, ping: &serde_json::Value) {
        if !self.dumb {
            let text = format!("{{\"type\":\"SockhopPong\",\"data\":{{\"_id\":{}}}}}\n", ping["_id"]);
            self.replies.extend_from_slice(text.as_bytes());
        }
    }

    fn handle(&mut self, value: &serde_json::Value) {
        match value["type"].as_str().unwrap_or_default() {
            "SockhopHandshake" => {
                let id = &value["id"];
                let text = format!(
                    "{{\"type\":\"SockhopHandshake\",\"data\":{{\"request_binary_mode\":true}},\"id\":\"stock\"}}\n{{\"type\":\"Object\",\"data\":{{\"allow_binary_mode\":true}},\"callback_id\":{id}}}\n"
                );
                self.replies.extend_from_slice(text.as_bytes());
            }
            "SockhopBinaryModeTransition" => self.frames = true,
            "SockhopPing" => self.pong(&value["data"]),
            _ if value.get("callback_id").is_some() => {}
            kind => self.received.push(kind.to_owned()),
        }
    }
}

/// Carries everything that is on the way in one read each, until both are silent, also a moment later.
fn exchange(client: &mut End, stock: &mut Stock) {
    let mut silent = 0;
    while silent < 2 {
        let there = client.written();
        let back = std::mem::take(&mut stock.replies);
        if there.is_empty() && back.is_empty() {
            silent += 1;
            client.wait(Duration::from_millis(5));
        } else {
            silent = 0;
            stock.read(&there);
            client.feed(&back);
        }
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("n{number}")).collect()
}

#[test]
fn s14_a_stock_peer_gets_everything_in_order_when_we_switch_early() {
    let (mut client, mut stock) = (End::client(&config(Switch::Early)), Stock::default());
    for number in 0..100 {
        client.event(&format!("n{number}"), json("1"));
        if number % 3 == 0 {
            let there = client.written();
            stock.read(&there);
            client.feed(&std::mem::take(&mut stock.replies));
        }
    }
    exchange(&mut client, &mut stock);
    assert_eq!(stock.received, names(0..100));
    assert!(stock.frames && stock.errors == 0);
}

#[test]
fn we_stay_with_lines_until_a_typed_buffer_wants_to_leave() {
    let (mut client, mut stock) = (End::client(&config(Switch::Late)), Stock::default());
    exchange(&mut client, &mut stock);
    client.event("n0", json("1"));
    exchange(&mut client, &mut stock);
    assert!(!stock.frames);
    for number in 1..4 {
        client.event(&format!("n{number}"), Body::binary("typed", &b"\n\n"[..]));
    }
    assert_eq!(client.held.len(), 2, "the first one is held by the codec, the others by the gate");
    exchange(&mut client, &mut stock);
    assert_eq!((stock.received, stock.errors), (names(0..4), 0));
    assert!(stock.frames && client.held.is_empty());
}

#[test]
fn without_the_switch_nothing_typed_leaves_but_frames_still_come_in() {
    let mut client = End::client(&config(Switch::Never));
    assert!(client.text().contains("\"request_binary_mode\":false"));
    client.feed(b"{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true},\"id\":\"x\"}\n");
    assert!(client.text().contains("\"allow_binary_mode\":true"));
    client.event("typed", Body::binary("typed", &b"x"[..]));
    assert_eq!(client.refused.len(), 1);
}

#[test]
fn an_answer_to_an_empty_id_leaves_in_no_line_where_it_would_be_a_message() {
    let mut client = End::client(&config(Switch::Never));
    client.echo = true;
    client.feed(b"{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true},\"id\":\"x\"}\n");
    client.feed(b"{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n");
    client.written();
    for (id, answered) in [("", false), ("a", true)] {
        let mut frame = b"\x33\0\0\0\x0e\x04Blob\x06\0\0\0abcdef".to_vec();
        frame.extend_from_slice(id.as_bytes());
        frame.resize(5 + 0x33, 0);
        client.feed(&frame);
        assert_eq!(!client.written().is_empty(), answered, "id {id:?}");
    }
    assert_eq!(client.close_reason(), None);
}

#[test]
fn answers_during_the_fence_are_held_back_too() {
    let (mut client, mut stock) = (End::client(&config(Switch::Early)), Stock::default());
    client.echo = true;
    let there = client.written();
    stock.read(&there);
    // The handshake comes together with requests, so their answers fall right into the fence.
    for number in 0..5 {
        let line = format!("{{\"type\":\"n{number}\",\"data\":1,\"id\":\"{number}\"}}\n");
        stock.replies.extend_from_slice(line.as_bytes());
    }
    stock.replies.extend_from_slice(b"{\"type\":\"SockhopPing\",\"data\":{\"_id\":\"p\"}}\n");
    exchange(&mut client, &mut stock);
    assert!(stock.frames);
    assert_eq!(stock.errors, 0);
    // The answers go by the types of the requests, because the echo copies the meta; the pong went as a line before.
    assert_eq!(stock.received, [vec!["SockhopPong".to_owned()], names(0..5)].concat());
}

#[test]
fn s17_a_fence_holds_until_its_pong_comes_however_late() {
    let (mut client, mut stock) = (End::client(&config(Switch::Early)), Stock::default());
    // The handshake, then the ping that empties the wire, the fence and the frame: the pong of each step comes just in time.
    for _ in 0..4 {
        let there = client.written();
        stock.read(&there);
        client.event("n", json("1"));
        client.wait(Duration::from_millis(2_999));
        client.feed(&std::mem::take(&mut stock.replies));
    }
    exchange(&mut client, &mut stock);
    assert_eq!(
        (client.close_reason(), &stock.received[..], stock.errors),
        (None, &["n".into(), "n".into(), "n".into(), "n".to_owned()][..], 0)
    );
}

/// A client at the end of its fence: all that is left to come is the transition, cut behind the ping.
fn cut_fence() -> (End, Stock, Vec<u8>) {
    let (mut client, mut stock) = (End::client(&config(Switch::Early)), Stock::default());
    // The handshake and the ping that empties the wire.
    for _ in 0..2 {
        let there = client.written();
        stock.read(&there);
        client.feed(&std::mem::take(&mut stock.replies));
    }
    let mut fence = client.written();
    let rest = fence.split_off(fence.iter().position(|byte| *byte == b'\n').unwrap() + 10);
    stock.read(&fence);
    client.feed(&std::mem::take(&mut stock.replies));
    client.event("n0", json("1"));
    assert!(client.written().is_empty(), "the pong of the ping alone proves nothing");
    client.wait(Duration::from_millis(5));
    (client, stock, rest)
}

#[test]
fn s17_a_transition_cut_behind_the_ping_is_waited_for() {
    let (mut client, mut stock, rest) = cut_fence();
    stock.read(&rest);
    exchange(&mut client, &mut stock);
    assert_eq!((client.close_reason(), &stock.received[..], stock.errors), (None, &["n0".to_owned()][..], 0));
}

#[test]
fn s17_a_transition_cut_behind_the_ping_and_glued_to_the_first_frame_loses_only_a_ping() {
    let (mut client, mut stock, rest) = cut_fence();
    stock.read(&[rest, client.written()].concat());
    assert!(stock.frames && stock.replies.is_empty(), "swallowed");
    client.wait(Duration::from_secs(3));
    assert!(client.written().is_empty(), "another ping would complete what is left of the first");
    assert!(matches!(client.close_reason(), Some(Close::Dead(_))), "{:?}", client.got);
    assert_eq!((client.held.len(), stock.received.len(), stock.errors), (1, 0, 0));
}

#[test]
fn s17_a_fence_without_a_pong_ends_the_connection_and_what_waits_stays_queued() {
    let (mut client, mut stock) =
        (End::client(&config(Switch::Early)), Stock { dumb: true, ..Stock::default() });
    exchange(&mut client, &mut stock);
    client.event("n", json("1"));
    client.wait(Duration::from_secs(3));
    let Some(Close::Dead(why)) = client.close_reason() else { panic!("{:?}", client.got) };
    assert!(why.contains("handshake_timeout = 3s"), "{why}");
    assert_eq!((client.held.len(), stock.received.len()), (1, 0));
}

#[test]
fn s17_a_fence_whose_pong_is_not_read_waits() {
    let (mut client, mut stock) = (End::client(&config(Switch::Early)), Stock::default());
    client.reading = false;
    exchange(&mut client, &mut stock);
    let mut dumb = End::client(&config(Switch::Early));
    exchange(&mut dumb, &mut Stock { dumb: true, ..Stock::default() });
    dumb.reading = false;
    dumb.wait(Duration::from_secs(30));
    assert_eq!((client.close_reason(), dumb.close_reason()), (None, None));
    dumb.reading = true;
    dumb.wait(Duration::from_secs(3));
    assert!(matches!(dumb.close_reason(), Some(Close::Dead(_))), "{:?}", dumb.got);
}

#[test]
fn s17_the_fence_leaves_in_one_write_with_nothing_before_or_behind_it() {
    let (mut client, mut stock) = (End::client(&config(Switch::Early)), Stock::default());
    let there = client.written();
    stock.read(&there);
    client.feed(&std::mem::take(&mut stock.replies));
    let ping = client.text().split("\"_id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    client.feed(fence_pong(&ping).as_bytes());
    client.event("n0", json("1"));
    client.flush();
    let lines: Vec<String> =
        client.writes.iter().map(|write| String::from_utf8_lossy(write).into_owned()).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].lines().count(), 2);
    assert!(lines[0].starts_with("{\"type\":\"SockhopPing\""));
    assert!(lines[0].ends_with("{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n"));
}

fn fence_pong(id: &str) -> String {
    format!("{{\"type\":\"SockhopPong\",\"data\":{{\"_id\":\"{id}\"}}}}\n")
}

#[test]
fn two_ends_of_ours_fence_each_other_without_waiting_for_ever() {
    for (one, other) in
        [(Switch::Early, Switch::Early), (Switch::Early, Switch::Late), (Switch::Late, Switch::Early)]
    {
        let (mut client, mut server) = (End::client(&config(one)), End::server(&config(other)));
        talk(&mut client, &mut server);
        for number in 0..3 {
            client.event(&format!("n{number}"), Body::binary(format!("n{number}"), &b"x"[..]));
            server.event(&format!("n{number}"), Body::binary(format!("n{number}"), &b"x"[..]));
        }
        talk(&mut client, &mut server);
        let expected: Vec<Got> = (0..3)
            .map(|number| event(&format!("n{number}"), Body::binary(format!("n{number}"), &b"x"[..])))
            .collect();
        assert_eq!(client.delivered(), expected, "{one:?} {other:?}");
        assert_eq!(server.delivered(), expected, "{one:?} {other:?}");
        assert!(client.held.is_empty() && server.held.is_empty());
    }
}

#[test]
fn both_ends_wanting_a_typed_buffer_at_the_same_moment_get_it_through() {
    let (mut client, mut server) = (End::client(&config(Switch::Late)), End::server(&config(Switch::Late)));
    talk(&mut client, &mut server);
    for end in [&mut client, &mut server] {
        end.take();
        end.event("typed", Body::binary("typed", &b"x"[..]));
    }
    talk(&mut client, &mut server);
    let expected = [event("typed", Body::binary("typed", &b"x"[..]))];
    assert_eq!(client.delivered(), expected);
    assert_eq!(server.delivered(), expected);
}

#[test]
fn an_answer_whose_id_no_frame_can_hold_keeps_the_direction_in_lines() {
    let (mut client, mut stock) = (End::client(&config(Switch::Late)), Stock::default());
    exchange(&mut client, &mut stock);
    client.feed(b"{\"type\":\"q\",\"data\":1,\"id\":7}\n");
    let typed = || Outbound::Event(Event::new(Route::from_static("typed"), Body::binary("typed", &b"x"[..])));
    assert!(matches!(client.session.admit(&typed()), Admit::Hold(_)));
    client.send(typed());
    client.answer(json("1"));
    exchange(&mut client, &mut stock);
    assert!(stock.frames, "answered, and then switched");
    assert_eq!((&stock.received[..], stock.errors), (&["typed".to_owned()][..], 0));
    client.feed(b"{\"type\":\"q\",\"data\":1,\"id\":8}\n");
    assert!(client.replies.is_empty(), "refused: it could not be answered any more");
}

#[test]
fn a_typed_answer_switches_unless_its_id_needs_a_line() {
    let (mut client, mut stock) = (End::client(&config(Switch::Late)), Stock::default());
    exchange(&mut client, &mut stock);
    client.feed(b"{\"type\":\"q\",\"data\":1,\"id\":7}\n");
    client.answer(Body::binary("picture", &b"x"[..]));
    assert_eq!(client.text(), "{\"type\":\"Buffer\",\"data\":\"eA==\",\"callback_id\":7}\n");
    client.feed(b"{\"type\":\"q\",\"data\":1,\"id\":\"seven\"}\n");
    client.answer(Body::binary("picture", &b"x"[..]));
    exchange(&mut client, &mut stock);
    assert_eq!((stock.frames, stock.errors, &stock.received[..]), (true, 0, &["picture".to_owned()][..]));
}

#[test]
fn s04_transitions_come_unasked_twice_in_compat_and_glued_to_anything() {
    let transition = b"{\"type\":\"SockhopBinaryModeTransition\"}\n";
    let frame = b"\x0e\0\0\0\x0a\x06String\x03\0\0\0\"x\"";
    for mode in [Mode::Auto, Mode::Json, Mode::Compat] {
        let mut server = End::server(&Config { mode, ..config(Switch::Late) });
        server.feed(
            &[&transition[..], transition, b"{\"type\":\"String\",\"data\":\"x\"}\n", frame, frame].concat(),
        );
        let expected = event("String", json("\"x\""));
        assert_eq!(server.delivered(), [expected.clone(), expected.clone(), expected], "{mode:?}");
        server.feed(b"{\"type\":\"String\",\"data\":\"x\"}\n");
        assert!(matches!(server.close_reason(), Some(Close::Protocol(_))), "{mode:?}");
    }
}

#[test]
fn a_dumb_peer_does_not_hold_a_late_switcher_up() {
    let (mut client, mut stock) =
        (End::client(&config(Switch::Late)), Stock { dumb: true, ..Stock::default() });
    exchange(&mut client, &mut stock);
    for number in 0..10 {
        client.event(&format!("n{number}"), json("1"));
    }
    exchange(&mut client, &mut stock);
    assert_eq!(stock.received, names(0..10));
}

proptest! {
    #![proptest_config(cases::<256>())]

    /// A stock peer, and a wire that cuts and glues our bytes as it likes.
    #[test]
    fn s17_a_stock_peer_loses_nothing_however_the_wire_cuts(
        turns in proptest::collection::vec((0..4u8, 1..90usize), 1..200),
    ) {
        let (mut client, mut stock) = (End::client(&config(Switch::Early)), Stock::default());
        let (mut wire, mut sent) = (Vec::new(), 0);
        for (turn, size) in turns {
            wire.extend(client.written());
            match turn {
                0 => {
                    let piece: Vec<u8> = wire.drain(..size.min(wire.len())).collect();
                    stock.read(&piece);
                }
                1 => client.feed(&std::mem::take(&mut stock.replies)),
                2 => client.wait(Duration::from_millis(size as u64 / 8)),
                _ => {
                    client.event(&format!("n{sent}"), json("1"));
                    sent += 1;
                }
            }
        }
        stock.read(&wire);
        exchange(&mut client, &mut stock);
        client.wait(Duration::from_secs(10));
        prop_assert_eq!(stock.errors, 0);
        match client.close_reason() {
            None => prop_assert_eq!(&stock.received, &names(0..sent)),
            // The first frame shared its read with the transition, or a pong came too late: nothing else has left.
            Some(Close::Dead(_)) => {
                let lines = stock.received.len();
                prop_assert_eq!(&stock.received, &names(0..lines));
                prop_assert_eq!(client.held.len(), sent - lines);
            }
            Some(other) => prop_assert!(false, "{:?}", other),
        }
    }
}

proptest! {
    #![proptest_config(cases::<64>())]

    /// Two ends of ours, bytes in random pieces and random turns, both switching at random moments.
    #[test]
    fn s14_nothing_is_lost_or_doubled_whatever_the_turns(
        turns in proptest::collection::vec((0..6u8, 1..60usize), 1..400),
        early in any::<(bool, bool)>(),
    ) {
        let switch = |early| if early { Switch::Early } else { Switch::Late };
        let mut ends = [End::client(&config(switch(early.0))), End::server(&config(switch(early.1)))];
        let mut wires: [Vec<u8>; 2] = Default::default();
        let mut sent: [Vec<Got>; 2] = Default::default();
        for (turn, size) in turns {
            let side = usize::from(turn % 2);
            match turn / 2 {
                0 => {
                    let bytes = ends[side].written();
                    wires[side].extend(bytes);
                    let size = size.min(wires[side].len());
                    let piece: Vec<u8> = wires[side].drain(..size).collect();
                    ends[1 - side].feed(&piece);
                }
                1 => {
                    let body = json(&sent[side].len().to_string());
                    ends[side].event("json", body.clone());
                    sent[side].push(event("json", body));
                }
                _ => {
                    let body = Body::binary("typed", sent[side].len().to_string());
                    ends[side].event("typed", body.clone());
                    sent[side].push(event("typed", body));
                }
            }
        }
        for side in [0, 1] {
            let rest = std::mem::take(&mut wires[side]);
            ends[1 - side].feed(&rest);
        }
        let [client, server] = &mut ends;
        talk(client, server);
        for (side, end) in [(1, client), (0, server)] {
            prop_assert!(end.refused.is_empty());
            // Each name keeps its order; a typed buffer may wait while JSON goes on.
            let got = end.delivered();
            prop_assert_eq!(got.len(), sent[side].len());
            for name in ["json", "typed"] {
                let of = |list: &[Got]| -> Vec<Got> {
                    list.iter().filter(|got| matches!(got, Got::Event(event) if &*event.route == name)).cloned().collect()
                };
                prop_assert_eq!(of(&got), of(&sent[side]));
            }
        }
    }
}
