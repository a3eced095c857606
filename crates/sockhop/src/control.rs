//! The messages with names of their own: handshake, transition, ping, pong, and the requests of the 1.x library.
//!
//! Their data are read member by member and written by hand. `data` of a handshake or a ping is always an object, because
//! anything else ends a stock peer (observed in `malformed`). Called by `session`.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::{JsonLimits, Route, json};

use crate::id::Id;
use crate::wire::{Data, Link, Message, is_truthy};

const HANDSHAKE: Route = Route::from_static("SockhopHandshake");
const PING: Route = Route::from_static("SockhopPing");
const PONG: Route = Route::from_static("SockhopPong");
const REQUEST: Route = Route::from_static("SockhopRequest");
const RESPONSE: Route = Route::from_static("SockhopResponsePacket");
const OBJECT: Route = Route::from_static("Object");

/// The line after which a direction is binary.
pub(crate) const TRANSITION: &[u8] = br#"{"type":"SockhopBinaryModeTransition","data":{}}"#;

/// What the `_id` of a ping begins with that stands in front of a transition.
///
/// A stock peer echoes it and thinks nothing of it. A peer that sends such a ping, or answers one with [`EXACT`], is no stock
/// peer and reads its frames from the exact byte behind our transition: towards it nothing needs to be held back.
pub(crate) const FENCE: &str = "polywire-fence/";
/// The member that says so in a pong. A stock peer never sends it, and is never sent it.
const EXACT: &str = "exact";

/// A type that is never an application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Handshake,
    Transition,
    Ping,
    Pong,
    /// A request of the 1.x library.
    Request,
    /// One answer to a request of the 1.x library.
    Response,
}

impl Control {
    /// The control message with this type.
    pub(crate) fn named(kind: &str) -> Option<Self> {
        Some(match kind.strip_prefix("Sockhop")? {
            "Handshake" => Self::Handshake,
            "BinaryModeTransition" => Self::Transition,
            "Ping" => Self::Ping,
            "Pong" => Self::Pong,
            "Request" => Self::Request,
            "ResponsePacket" => Self::Response,
            _ => return None,
        })
    }
}

/// The values of some members of a JSON object, as text; `None` when `text` is no object.
pub(crate) fn members<'a, const N: usize>(
    text: &'a [u8],
    names: [&str; N],
    limits: &JsonLimits,
) -> Option<[Option<&'a [u8]>; N]> {
    let mut found = [None; N];
    let mut walk = json::Members::new(text, limits).ok()?;
    while let Some((key, place)) = walk.next().ok()? {
        for (slot, name) in found.iter_mut().zip(names) {
            if key.is(name) {
                *slot = text.get(place.clone());
            }
        }
    }
    Some(found)
}

/// Our handshake. Both numbers are never read by a stock peer and never by us.
pub(crate) fn handshake(request_binary_mode: bool, id: Id) -> Message {
    let data: &[u8] = if request_binary_mode {
        br#"{"protocol_version":2,"library_version":"2.1.0","request_binary_mode":true}"#
    } else {
        br#"{"protocol_version":2,"library_version":"2.1.0","request_binary_mode":false}"#
    };
    Message { kind: HANDSHAKE, data: Data::Json(Bytes::from_static(data)), link: Link::Ask(id) }
}

/// Does this handshake ask for binary mode? `None` when the data are no object.
pub(crate) fn asks_binary(data: &[u8], limits: &JsonLimits) -> Option<bool> {
    let [asked] = members(data, ["request_binary_mode"], limits)?;
    Some(asked.is_some_and(is_truthy))
}

/// The answer to a handshake.
pub(crate) fn handshake_answer(allow_binary_mode: bool, id: Id) -> Message {
    let data: &[u8] =
        if allow_binary_mode { br#"{"allow_binary_mode":true}"# } else { br#"{"allow_binary_mode":false}"# };
    Message { kind: OBJECT, data: Data::Json(Bytes::from_static(data)), link: Link::Answer(id) }
}

/// Does this answer to our handshake allow binary mode? Data of any other shape do not.
pub(crate) fn allows_binary(data: Option<&[u8]>, limits: &JsonLimits) -> bool {
    let found = data.and_then(|data| members(data, ["allow_binary_mode"], limits));
    matches!(found, Some([Some(allowed)]) if is_truthy(allowed))
}

/// A ping with this `_id`, which needs no escaping.
pub(crate) fn ping(id: &str, now: SystemTime) -> Message {
    let mut data = BytesMut::with_capacity(128);
    data.put_slice(b"{\"_id\":\"");
    data.put_slice(id.as_bytes());
    data.put_slice(b"\",\"_created\":\"");
    data.put_slice(&date(now));
    data.put_slice(b"\",\"_returned\":null,\"_finished\":null}");
    Message { kind: PING, data: Data::Json(data.freeze()), link: Link::None }
}

/// The pong to a ping: members that are not true become null, except that `_returned` becomes the time.
///
/// Data that are no object are answered as an empty one; stock peers die of null, and a pong ends nobody. The pong to the ping
/// of a fence says besides that we read exactly.
pub(crate) fn pong(ping: Option<&[u8]>, now: SystemTime, limits: &JsonLimits) -> Message {
    const NAMES: [&str; 4] = ["_id", "_created", "_returned", "_finished"];
    let values = ping.and_then(|ping| members(ping, NAMES, limits)).unwrap_or([None; 4]);
    let mut data = BytesMut::with_capacity(160);
    for (name, value) in NAMES.into_iter().zip(values) {
        data.put_slice(if data.is_empty() { b"{\"" } else { b",\"" });
        data.put_slice(name.as_bytes());
        data.put_slice(b"\":");
        match value.filter(|value| is_truthy(value)) {
            Some(value) => data.put_slice(value),
            None if name == "_returned" => {
                data.put_u8(b'"');
                data.put_slice(&date(now));
                data.put_u8(b'"');
            }
            None => data.put_slice(b"null"),
        }
    }
    if ping_id(ping, limits).is_some_and(|id| id.starts_with(FENCE)) {
        data.put_slice(b",\"exact\":true");
    }
    data.put_u8(b'}');
    Message { kind: PONG, data: Data::Json(data.freeze()), link: Link::None }
}

/// The `_id` of a ping or pong, when it is plain text.
pub(crate) fn ping_id<'a>(data: Option<&'a [u8]>, limits: &JsonLimits) -> Option<&'a str> {
    let [id] = members(data?, ["_id"], limits)?;
    match id? {
        [b'"', inner @ .., b'"'] => std::str::from_utf8(inner).ok(),
        _ => None,
    }
}

/// Does this pong say that the peer reads from the exact byte behind a transition?
pub(crate) fn reads_exactly(data: Option<&[u8]>, limits: &JsonLimits) -> bool {
    let found = data.and_then(|data| members(data, [EXACT], limits));
    matches!(found, Some([Some(b"true")]))
}

/// A request of the 1.x library around data that are JSON text already.
pub(crate) fn request(id: &Id, kind: &str, data: &[u8]) -> Message {
    let mut text = BytesMut::with_capacity(data.len().saturating_add(kind.len()).saturating_add(96));
    text.put_slice(b"{\"uuid\":");
    id.write_json(&mut text);
    text.put_slice(b",\"data\":");
    text.put_slice(data);
    text.put_slice(b",\"type\":");
    json::write_string(&mut text, kind);
    text.put_u8(b'}');
    Message { kind: REQUEST, data: Data::Json(text.freeze()), link: Link::None }
}

/// The last answer to a request of the 1.x library.
pub(crate) fn response(id: &Id, kind: &str, data: &[u8]) -> Message {
    let mut text = BytesMut::with_capacity(data.len().saturating_add(kind.len()).saturating_add(112));
    text.put_slice(b"{\"uuid\":");
    id.write_json(&mut text);
    text.put_slice(b",\"type\":");
    json::write_string(&mut text, kind);
    text.put_slice(b",\"data\":");
    text.put_slice(data);
    text.put_slice(b",\"last\":true}");
    Message { kind: RESPONSE, data: Data::Json(text.freeze()), link: Link::None }
}

/// The time as the original writes it: ISO 8601 with milliseconds and Z.
fn date(now: SystemTime) -> Bytes {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days, after Howard Hinnant's algorithm; years count from March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let milli = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn text(message: &Message) -> &str {
        match &message.data {
            Data::Json(text) => std::str::from_utf8(text).unwrap(),
            Data::Bytes(_) | Data::Missing => panic!("{message:?}"),
        }
    }

    #[test]
    fn writes_dates_as_the_original_does() {
        for (seconds, milli, expected) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, 7, "2000-02-28T23:59:59.007Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000Z"),
            (1_735_787_045, 678, "2025-01-02T03:04:05.678Z"),
            (4_107_542_400, 999, "2100-03-01T00:00:00.999Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(milli);
            assert_eq!(&date(moment)[..], expected.as_bytes());
        }
    }

    #[test]
    fn s11_a_pong_copies_what_is_true_and_puts_the_time_in() {
        let limits = JsonLimits::default();
        let now = UNIX_EPOCH;
        for (ping, expected) in [
            (
                Some(r#"{"_id":"p1","_created":1,"_returned":2,"_finished":3,"x":4}"#),
                r#"{"_id":"p1","_created":1,"_returned":2,"_finished":3}"#,
            ),
            (
                Some(r#"{"_id":"","_created":0}"#),
                r#"{"_id":null,"_created":null,"_returned":"1970-01-01T00:00:00.000Z","_finished":null}"#,
            ),
            (
                Some("null"),
                r#"{"_id":null,"_created":null,"_returned":"1970-01-01T00:00:00.000Z","_finished":null}"#,
            ),
            (None, r#"{"_id":null,"_created":null,"_returned":"1970-01-01T00:00:00.000Z","_finished":null}"#),
        ] {
            assert_eq!(text(&pong(ping.map(str::as_bytes), now, &limits)), expected);
        }
    }

    #[test]
    fn s17_only_the_pong_of_a_fence_says_that_we_read_exactly() {
        let limits = JsonLimits::default();
        let says = |id: &str| {
            let ping = ping(id, UNIX_EPOCH);
            let pong = pong(Some(text(&ping).as_bytes()), UNIX_EPOCH, &limits);
            reads_exactly(Some(text(&pong).as_bytes()), &limits)
        };
        assert!(says("polywire-fence/1"));
        assert!(
            !says("1") && !reads_exactly(Some(br#"{"exact":1}"#), &limits) && !reads_exactly(None, &limits)
        );
    }

    #[test]
    fn s03_only_an_object_is_a_handshake_and_only_truth_asks_for_binary() {
        let limits = JsonLimits::default();
        let asked = |data: &str| asks_binary(data.as_bytes(), &limits);
        assert_eq!(asked(r#"{"request_binary_mode":true,"protocol_version":99}"#), Some(true));
        assert_eq!(asked(r#"{"request_binary_mode":"yes"}"#), Some(true));
        assert_eq!(asked("{}"), Some(false));
        assert_eq!(asked("null"), None);
        assert!(allows_binary(Some(br#"{"allow_binary_mode":1}"#), &limits));
        for refused in
            [Some(&b"null"[..]), Some(b"\"yes\""), Some(b"{}"), Some(br#"{"allow_binary_mode":0}"#), None]
        {
            assert!(!allows_binary(refused, &limits));
        }
    }
}
