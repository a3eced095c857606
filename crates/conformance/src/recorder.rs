//! A subscriber that reads everything that is logged on this thread, at every level, and looks for what must not be there.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What was logged; a clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    secrets: &'static [&'static str],
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    lines: u64,
    /// The first line with a secret in it.
    leak: Option<String>,
}

impl Recorder {
    pub(crate) fn new(secrets: &'static [&'static str]) -> Self {
        Self { secrets, seen: Arc::default() }
    }

    /// How many lines were logged.
    pub(crate) fn lines(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).lines
    }

    /// The first line with a secret in it, which is left out, and what came behind it too.
    pub(crate) fn leak(&self) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).leak.clone()
    }

    fn read(&self, name: &str, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(name.to_owned());
        record(&mut fields);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lines += 1;
        if seen.leak.is_none() {
            seen.leak = leak(self.secrets, &fields.0);
        }
    }
}

/// What stands in front of the first secret in a text, if there is one.
pub(crate) fn leak(secrets: &[&str], text: &str) -> Option<String> {
    let at = secrets.iter().filter_map(|secret| text.find(secret)).min()?;
    let before: Vec<char> = text[..at].chars().rev().take(100).collect();
    Some(before.into_iter().rev().collect())
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.read(attributes.metadata().name(), |fields| attributes.record(fields));
        // Spans are not told apart: all that is of interest is what is in them.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.read("", |fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.read(event.metadata().target(), |fields| event.record(fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
