//! The event that all plugins are being told, as its packet: it is written once, and every connection sends the same bytes.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{Body, Event, Route};
use polywire_socketio::Packet;

use crate::message::Object;

/// A larger packet is written for each connection, so that the last one told is not kept.
const MAX_KEPT: usize = 64 << 10;

/// The last event told.
#[derive(Default)]
pub(super) struct Told(Mutex<Option<Last>>);

struct Last {
    route: Route,
    body: Body,
    millis: u128,
    packet: Packet,
}

impl Told {
    /// `event` at a time since 1970. Its packet shares the bytes of the one before if that was of the same event in the same
    /// millisecond.
    pub(super) fn packet(&self, event: Event, since: Duration) -> Packet {
        let Event { route, body, .. } = event;
        let millis = since.as_millis();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.millis == millis
            && last.route == route
            && is_same(&last.body, &body)
        {
            return last.packet.clone();
        }
        let packet = written(&route, body.clone(), millis);
        *last = (body.len() <= MAX_KEPT).then(|| Last { route, body, millis, packet: packet.clone() });
        packet
    }
}

fn written(route: &Route, body: Body, millis: u128) -> Packet {
    let object = Object::new().text("type", route).body("data", body, b"null");
    object.raw("timestamp", millis.to_string().as_bytes()).event("hyperHqEvent")
}

/// Are these the same bytes in memory? Both are held, so no others can have taken their place.
fn is_same(one: &Body, other: &Body) -> bool {
    match (one, other) {
        (Body::Json(one), Body::Json(other)) => std::ptr::eq(one.as_bytes(), other.as_bytes()),
        (Body::Binary(one), Body::Binary(other)) => std::ptr::eq(&*one.bytes, &*other.bytes),
        (Body::Empty, Body::Empty) => true,
        _ => false,
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::JsonText;
    use polywire_core::Limits;
    use polywire_socketio::Kind;

    use super::*;

    fn text(packet: &Packet) -> &[u8] {
        let Kind::Event { args, .. } = &packet.kind else { panic!("an event was told") };
        args.text()
    }

    fn event(route: &'static str, data: &str) -> Event {
        let data = JsonText::new(data.to_owned(), &Limits::default().json).unwrap();
        Event::new(Route::from_static(route), Body::Json(data))
    }

    #[test]
    fn one_event_for_many_is_written_once() {
        let told = Told::default();
        let (launched, at) = (event("gameLaunched", "{\"id\":7}"), Duration::from_millis(1_700));
        let packets: Vec<_> = (0..500).map(|_| told.packet(launched.clone(), at)).collect();
        let expected = br#"["hyperHqEvent",{"type":"gameLaunched","data":{"id":7},"timestamp":1700}]"#;
        assert_eq!(text(&packets[0]), expected);
        assert!(packets.iter().all(|packet| std::ptr::eq(text(packet), text(&packets[0]))));
    }

    #[test]
    fn another_event_another_moment_and_equal_bytes_elsewhere_are_written_anew() {
        let told = Told::default();
        let at = Duration::from_millis;
        let launched = event("gameLaunched", "1");
        let first = told.packet(launched.clone(), at(1));
        for (other, since) in [
            (launched.clone(), at(2)),
            (event("gameClosed", "1"), at(2)),
            (event("gameClosed", "2"), at(2)),
            (event("gameClosed", "2"), at(2)),
            (Event::new(Route::from_static("gameClosed"), Body::Empty), at(2)),
            (Event::new(Route::from_static("gameClosed"), Body::binary("", &b"2"[..])), at(2)),
        ] {
            let again = told.packet(other.clone(), since);
            assert!(!std::ptr::eq(text(&again), text(&first)));
            assert_eq!(text(&again), text(&written(&other.route, other.body, since.as_millis())));
        }
    }

    #[test]
    fn a_large_event_is_not_kept() {
        let told = Told::default();
        let large = event("gameLaunched", &format!("\"{}\"", "x".repeat(MAX_KEPT)));
        told.packet(large, Duration::ZERO);
        assert!(told.0.lock().unwrap().is_none());
    }
}
