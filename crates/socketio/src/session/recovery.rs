//! Connection state recovery: what a client shows to get back its session and what it has missed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::json::write_string;
use polywire_core::{ByteString, JsonText};

/// How far a client has got, kept from one connection to the next. A clone is the same.
#[derive(Clone, Default)]
pub struct Recovery(Arc<Mutex<Option<Point>>>);

#[derive(Clone)]
struct Point {
    /// The private id of the session, a secret of both ends.
    session: ByteString,
    /// The offset of the last event, as the JSON string that came.
    offset: Option<Bytes>,
}

impl Recovery {
    fn lock(&self) -> MutexGuard<'_, Option<Point>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the server keep what is missed?
    pub(crate) fn is_offered(&self) -> bool {
        self.lock().is_some()
    }

    /// The server has granted a session under this private id, or one that it does not keep. Was it the one asked for?
    pub(crate) fn granted(&self, session: Option<ByteString>) -> bool {
        let mut point = self.lock();
        let recovered = match (&*point, &session) {
            (Some(had), Some(session)) => had.session == *session,
            _ => false,
        };
        if !recovered {
            *point = session.map(|session| Point { session, offset: None });
        }
        recovered
    }

    /// An event came with this offset.
    pub(crate) fn reached(&self, offset: Bytes) {
        if let Some(point) = &mut *self.lock() {
            point.offset = Some(offset);
        }
    }

    /// There is nothing to come back to.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    /// The payload of a CONNECT: the session to recover, if there is one, in front of the members of `auth`, an object.
    pub(crate) fn payload(&self, auth: Option<&JsonText>) -> Option<JsonText> {
        let Some(point) = self.lock().clone() else { return auth.cloned() };
        let mut text = BytesMut::new();
        text.put_slice(b"{\"pid\":");
        write_string(&mut text, &point.session);
        if let Some(offset) = &point.offset {
            text.put_slice(b",\"offset\":");
            text.put_slice(offset);
        }
        let members = auth.map_or(&[][..], |auth| auth.as_bytes().trim_ascii());
        match members.strip_prefix(b"{") {
            Some(members) if members.trim_ascii_start() != b"}" => {
                text.put_u8(b',');
                text.put_slice(members);
            }
            _ => text.put_u8(b'}'),
        }
        Some(JsonText::from_validated(text.freeze()))
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recovery(offered: {})", self.is_offered())
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::JsonLimits;

    use super::*;

    fn payload(recovery: &Recovery, auth: &str) -> String {
        let auth = JsonText::new(auth.to_owned(), &JsonLimits::default()).unwrap();
        recovery.payload(Some(&auth)).unwrap().as_str().to_owned()
    }

    #[test]
    fn what_is_shown_stands_in_front_of_the_login() {
        let recovery = Recovery::default();
        assert_eq!(recovery.payload(None), None);
        assert_eq!(payload(&recovery, "{\"token\":1}"), "{\"token\":1}");
        assert!(!recovery.granted(Some("P1".into())));
        assert_eq!(payload(&recovery, "{\"token\":1}"), "{\"pid\":\"P1\",\"token\":1}");
        recovery.reached(Bytes::from_static(b"\"O1\""));
        assert_eq!(payload(&recovery, " { } "), "{\"pid\":\"P1\",\"offset\":\"O1\"}");
        assert_eq!(recovery.payload(None).unwrap().as_str(), "{\"pid\":\"P1\",\"offset\":\"O1\"}");
        assert!(recovery.granted(Some("P1".into())));
        assert_eq!(payload(&recovery, "{\"a\":1}"), "{\"pid\":\"P1\",\"offset\":\"O1\",\"a\":1}");
        // Another session: the offset of the old one means nothing.
        assert!(!recovery.granted(Some("P2".into())));
        assert_eq!(payload(&recovery, "{}"), "{\"pid\":\"P2\"}");
        assert!(!recovery.granted(None));
        assert_eq!(payload(&recovery, "{}"), "{}");
    }
}
