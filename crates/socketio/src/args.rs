//! The arguments of one packet: a JSON array as its text, and the attachments beside it.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use polywire_core::json::{space_end, value_end};
use polywire_core::{JsonError, JsonFault, JsonLimits};

use crate::placeholder::places;

/// The arguments of an event, its name first, or of an acknowledgement.
///
/// The text is kept as it came. A clone shares all bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Args {
    text: Bytes,
    places: Places,
    attachments: Vec<Bytes>,
}

/// Where elements stand in the text of an array.
#[derive(Clone, PartialEq, Eq, Default)]
struct Places {
    /// The first two; empty where there is none.
    first: [Range<usize>; 2],
    /// The last one, and where the one before it ends.
    last: (usize, Range<usize>),
    count: usize,
}

impl Places {
    fn of(text: &[u8], limits: &JsonLimits) -> Result<Self, JsonError> {
        let mut first = [0..0, 0..0];
        let mut last = (0, 0..0);
        let mut count = 0;
        let mut at = space_end(text, 0);
        if text.get(at) != Some(&b'[') {
            return Err(expected(text, at, "an array"));
        }
        // The array itself is one level.
        let inner = JsonLimits { max_json_depth: limits.max_json_depth.saturating_sub(1), ..*limits };
        at = space_end(text, at + 1);
        if text.get(at) == Some(&b']') {
            at += 1;
        } else {
            loop {
                let end = value_end(text, at, &inner).map_err(|error| outer(error, limits))?;
                if let Some(place) = first.get_mut(count) {
                    *place = at..end;
                }
                last = (last.1.end, at..end);
                count += 1;
                at = space_end(text, end);
                match text.get(at) {
                    Some(b',') => at = space_end(text, at + 1),
                    Some(b']') => break at += 1,
                    _ => return Err(expected(text, at, "',' or ']'")),
                }
            }
        }
        let end = space_end(text, at);
        if end != text.len() {
            return Err(JsonError { offset: end, what: JsonFault::Trailing });
        }
        Ok(Self { first, last, count })
    }
}

impl Args {
    /// Validates `text`, which is UTF-8, as one JSON array.
    ///
    /// # Errors
    /// [`JsonError`] at the first fault.
    pub fn parse(text: Bytes, limits: &JsonLimits) -> Result<Self, JsonError> {
        Self::parse_or_return(text, limits).map_err(|(_, error)| error)
    }

    /// The same; the text comes back where it is none.
    pub(crate) fn parse_or_return(text: Bytes, limits: &JsonLimits) -> Result<Self, (Bytes, JsonError)> {
        match Places::of(&text, limits) {
            Ok(places) => Ok(Self { text, places, attachments: Vec::new() }),
            Err(error) => Err((text, error)),
        }
    }

    /// The empty array.
    pub fn none() -> Self {
        Self { text: Bytes::from_static(b"[]"), places: Places::default(), attachments: Vec::new() }
    }

    /// The same with attachments, each of which every placeholder must find.
    ///
    /// # Errors
    /// When a placeholder names none of them.
    pub fn with_attachments(
        mut self,
        attachments: Vec<Bytes>,
        limits: &JsonLimits,
    ) -> Result<Self, &'static str> {
        let found = |number: Option<usize>| number.is_some_and(|number| number < attachments.len());
        if !places(&self.text, limits).iter().all(|place| found(place.number)) {
            return Err("a placeholder names no attachment");
        }
        self.attachments = attachments;
        Ok(self)
    }

    /// An array that this side has just written, with what its placeholders stand for, in order. Nothing is looked at: such
    /// arguments are for sending, and have no places.
    pub fn written(text: Bytes, attachments: Vec<Bytes>) -> Self {
        Self { text, attachments, ..Self::none() }
    }

    /// The text of the array.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// The attachments, in the order in which they travel.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.places.count
    }

    /// Is the array empty?
    pub fn is_empty(&self) -> bool {
        self.places.count == 0
    }

    /// Where the element at `index`, 0 or 1, stands in the text.
    pub fn place(&self, index: usize) -> Option<Range<usize>> {
        self.places.first.get(index).filter(|place| !place.is_empty()).cloned()
    }

    /// The text of the element at `index`, 0 or 1.
    pub(crate) fn element(&self, index: usize) -> Option<&[u8]> {
        self.text.get(self.place(index)?)
    }

    /// The text of the last element behind the first one, if it is a string.
    pub(crate) fn last_string(&self) -> Option<Bytes> {
        let place = self.places.last.1.clone();
        let is_string = self.places.count > 1 && self.text.get(place.start) == Some(&b'"');
        is_string.then(|| self.text.slice(place))
    }

    /// The same without the last element, which is not the first.
    pub(crate) fn without_last(self) -> Self {
        let Places { mut first, last: (end, _), count } = self.places.clone();
        if count < 2 {
            return self;
        }
        let mut text = BytesMut::with_capacity(end + 1);
        text.extend_from_slice(self.text.get(..end).unwrap_or_default());
        text.extend_from_slice(b"]");
        if let Some(place) = first.get_mut(count - 1) {
            *place = 0..0;
        }
        // What the element before the last one is, nobody asks.
        let places = Places { first, last: (0, 0..0), count: count - 1 };
        Self { text: text.freeze(), places, attachments: self.attachments }
    }

    /// Takes the arguments apart into text and attachments.
    pub(crate) fn into_parts(self) -> (Bytes, Vec<Bytes>) {
        (self.text, self.attachments)
    }
}

/// An error of an element, in terms of the limits on the whole text.
fn outer(mut error: JsonError, limits: &JsonLimits) -> JsonError {
    if let JsonFault::TooDeep(max) = &mut error.what {
        *max = limits.max_json_depth;
    }
    error
}

fn expected(text: &[u8], offset: usize, what: &'static str) -> JsonError {
    let what = if offset < text.len() { JsonFault::Expected(what) } else { JsonFault::Truncated };
    JsonError { offset, what }
}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attachments: Vec<_> = self.attachments.iter().map(Bytes::len).collect();
        write!(f, "Args({} in {} bytes, attachments {attachments:?})", self.len(), self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Args, JsonError> {
        Args::parse(Bytes::from_static(text.as_bytes()), &JsonLimits::default())
    }

    #[test]
    fn knows_where_the_first_two_elements_stand() {
        let args = parse(r#" [ "foo" , {"a":1} ,3 ] "#).unwrap();
        assert_eq!(args.len(), 3);
        assert_eq!(args.element(0), Some(&br#""foo""#[..]));
        assert_eq!(args.element(1), Some(&br#"{"a":1}"#[..]));
        assert_eq!(args.element(2), None);
        assert_eq!(parse("[ ]").unwrap().element(0), None);
    }

    #[test]
    fn the_last_string_can_be_taken_off() {
        let args = parse(r#"["a", 1 , "off"]"#).unwrap();
        assert_eq!(args.last_string().as_deref(), Some(&b"\"off\""[..]));
        let args = args.without_last();
        assert_eq!((args.len(), &args.text()[..]), (2, &br#"["a", 1]"#[..]));
        let name = parse(r#"["a","off"]"#).unwrap().without_last();
        assert_eq!((name.len(), name.element(1), &name.text()[..]), (1, None, &br#"["a"]"#[..]));
        assert_eq!(parse(r#"["a"]"#).unwrap().last_string(), None);
        assert_eq!(parse(r#"["a",1]"#).unwrap().last_string(), None);
    }

    #[test]
    fn refuses_what_is_not_one_array() {
        for wrong in ["", "{}", "[", "[1", "[1,", "[1,]", "[]x", "[1 2]", "\"a\"", "[}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_array_counts_as_a_level() {
        let limits = JsonLimits { max_json_depth: 2, ..JsonLimits::default() };
        let parse = |text: &'static str| Args::parse(Bytes::from_static(text.as_bytes()), &limits);
        assert!(parse("[[1]]").is_ok());
        let error = parse("[[[1]]]").unwrap_err();
        assert_eq!(error.to_string(), "invalid JSON at byte 2: nested deeper than max_json_depth = 2");
    }
}
