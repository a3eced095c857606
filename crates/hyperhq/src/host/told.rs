//! The event that all plugins are being told, as its packet: it is written once, and every connection sends the same bytes.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use polywire_core::{Body, Event, Moment, Route};
use polywire_socketio::Packet;

use crate::message::Object;

/// A larger packet is written for each connection, so that the last one told is not kept.
const MAX_KEPT: usize = 64 << 10;

/// The last event told.
#[derive(Default)]
pub(super) struct Told(RwLock<Option<Last>>);

struct Last {
    route: Route,
    body: Body,
    /// The millisecond of the monotonic clock, which is at hand.
    at: u128,
    packet: Packet,
}

impl Told {
    /// The packet of `event` now. It shares the bytes of the one before if that was of the same event in the same millisecond.
    pub(super) fn packet(&self, event: Event, now: Moment, wall: impl FnOnce() -> SystemTime) -> Packet {
        let Event { route, body, .. } = event;
        let at = now.since_start().as_millis();
        if let Some(last) = &*self.0.read().unwrap_or_else(PoisonError::into_inner)
            && last.at == at
            && last.route == route
            && is_same(&last.body, &body)
        {
            return last.packet.clone();
        }
        let packet = written(&route, body.clone(), wall());
        let last = (body.len() <= MAX_KEPT).then(|| Last { route, body, at, packet: packet.clone() });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = last;
        packet
    }
}

fn written(route: &Route, body: Body, wall: SystemTime) -> Packet {
    let millis = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
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
    use std::time::Duration;

    use polywire_core::{JsonText, Limits};
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
        let launched = event("gameLaunched", "{\"id\":7}");
        let wall = || UNIX_EPOCH + Duration::from_millis(1_700);
        let packets: Vec<_> =
            (0..500).map(|_| told.packet(launched.clone(), Moment::default(), wall)).collect();
        let expected = br#"["hyperHqEvent",{"type":"gameLaunched","data":{"id":7},"timestamp":1700}]"#;
        assert_eq!(text(&packets[0]), expected);
        assert!(packets.iter().all(|packet| std::ptr::eq(text(packet), text(&packets[0]))));
    }

    #[test]
    fn another_event_another_moment_and_equal_bytes_elsewhere_are_written_anew() {
        let told = Told::default();
        let at = |millis| Moment::from_start(Duration::from_millis(millis));
        let wall = || UNIX_EPOCH + Duration::from_secs(1);
        let launched = event("gameLaunched", "1");
        let first = told.packet(launched.clone(), at(1), wall);
        for (other, now) in [
            (launched, at(2)),
            (event("gameClosed", "1"), at(2)),
            (event("gameClosed", "2"), at(2)),
            (event("gameClosed", "2"), at(2)),
            (Event::new(Route::from_static("gameClosed"), Body::Empty), at(2)),
            (Event::new(Route::from_static("gameClosed"), Body::binary("", &b"2"[..])), at(2)),
        ] {
            let again = told.packet(other.clone(), now, wall);
            assert!(!std::ptr::eq(text(&again), text(&first)));
            assert_eq!(text(&again), text(&written(&other.route, other.body, wall())));
        }
    }

    #[test]
    fn a_large_event_is_not_kept() {
        let told = Told::default();
        let large = event("gameLaunched", &format!("\"{}\"", "x".repeat(MAX_KEPT)));
        told.packet(large, Moment::default(), SystemTime::now);
        assert!(told.0.read().unwrap().is_none());
    }
}
