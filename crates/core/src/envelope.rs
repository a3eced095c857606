//! The core's only messages: request, response and event. The two controls, progress and cancel, are of one connection and pass
//! between engine and session alone: [`Delivery`](crate::Delivery) and [`Outbound`](crate::Outbound).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use crate::body::Body;
use crate::moment::Moment;
use crate::route::Route;

/// A message that wants exactly one [`Response`].
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which handler.
    pub route: Route,
    /// The application data.
    pub body: Body,
    /// When the call must have ended.
    pub due: Due,
    /// Facts only one wire has.
    pub meta: Meta,
}

impl Request {
    /// A request with the default deadline of whoever sends it.
    pub fn new(route: Route, body: impl Into<Body>) -> Self {
        Self { route, body: body.into(), due: Due::Default, meta: Meta::default() }
    }

    /// The same request, to end within `timeout` from the moment it is sent.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.due = Due::In(timeout);
        self
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The application data.
    pub body: Body,
    /// Facts only one wire has.
    pub meta: Meta,
}

impl<B: Into<Body>> From<B> for Response {
    fn from(body: B) -> Self {
        Self { body: body.into(), meta: Meta::default() }
    }
}

/// A message that wants no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Which handler.
    pub route: Route,
    /// The application data.
    pub body: Body,
    /// Facts only one wire has.
    pub meta: Meta,
}

impl Event {
    /// An event.
    pub fn new(route: Route, body: impl Into<Body>) -> Self {
        Self { route, body: body.into(), meta: Meta::default() }
    }
}

/// When a call must have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Due {
    /// After the sender's default timeout.
    #[default]
    Default,
    /// This long after it was handed over.
    In(Duration),
    /// At this moment.
    At(Moment),
}

impl Due {
    /// The moment meant, for a call handed over at `now` to a sender with this default.
    pub fn moment(self, now: Moment, default: Duration) -> Moment {
        self.moment_from(|| now, default)
    }

    /// The same, with a clock that is looked at only where it matters.
    pub(crate) fn moment_from(self, now: impl FnOnce() -> Moment, default: Duration) -> Moment {
        match self {
            Due::Default => now() + default,
            Due::In(timeout) => now() + timeout,
            Due::At(moment) => moment,
        }
    }
}

/// Core's number of one outbound call. A caller counts its calls up, across reconnects too, and uses no number twice.
///
/// A wire whose ids are numbers may carry it as its id; an answer under a number that nobody waits for is counted and goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Facts that only one wire has, under names with that adapter's prefix (`sockhop.type`), and bytes beside a JSON body.
///
/// Empty for nearly every message, and then it costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta(Option<Box<Facts>>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Facts {
    texts: Vec<(&'static str, ByteString)>,
    attachments: Vec<Bytes>,
}

impl Meta {
    /// The fact with this name.
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        let facts = self.0.as_ref()?;
        facts.texts.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Sets a fact.
    pub fn set(&mut self, name: &'static str, value: impl Into<ByteString>) {
        let facts = self.0.get_or_insert_default();
        facts.texts.retain(|(known, _)| *known != name);
        facts.texts.push((name, value.into()));
    }

    /// The same facts and one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<ByteString>) -> Self {
        self.set(name, value);
        self
    }

    /// Bytes that travel beside a JSON body, in whose text the wire has marked their places. Without them that body is not
    /// whole.
    pub fn attachments(&self) -> &[Bytes] {
        self.0.as_ref().map_or(&[], |facts| &facts.attachments)
    }

    /// The same facts with these bytes beside the body.
    #[must_use]
    pub fn with_attachments(mut self, attachments: Vec<Bytes>) -> Self {
        if self.0.is_some() || !attachments.is_empty() {
            self.0.get_or_insert_default().attachments = attachments;
        }
        self
    }

    /// How much memory the facts and the attachments keep, in bytes.
    pub(crate) fn pins(&self) -> usize {
        let Some(facts) = &self.0 else { return 0 };
        let texts = facts.texts.iter().map(|(_, text)| text.len());
        texts.chain(facts.attachments.iter().map(Bytes::len)).fold(0, usize::saturating_add)
    }

    /// Are there no facts?
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<_> = self.attachments.iter().map(Bytes::len).collect();
        f.debug_struct("Facts").field("texts", &self.texts).field("attachment_bytes", &bytes).finish()
    }
}
