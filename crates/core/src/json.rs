//! One scan over JSON text: is it valid, where does a value end, is it within bounds.
//!
//! Bodies are carried as text, so this is the only JSON code on the forwarding path. The scan validates the grammar of
//! RFC 8259, bounds nesting, members per object and the length of a number, and never builds a value. Lone-surrogate escapes
//! (`\ud800`) are grammar and pass; text that is not UTF-8 does not. [`Members`] walks the members of one object, so an
//! adapter reads its envelope and validates the body inside it in the same pass.

mod scan;
mod text;

use std::borrow::Cow;
use std::ops::Range;

use scan::Scan;
pub use text::{as_string, unescape, write_compact, write_string};

/// Bounds on JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Deepest nesting of arrays and objects; default and maximum 128.
    pub max_json_depth: u32,
    /// Most members in one object; default 65 536.
    pub max_json_keys: u32,
    /// Longest spelling of one number in bytes; default 1 024.
    pub max_json_number_bytes: u32,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { max_json_depth: 128, max_json_keys: 65_536, max_json_number_bytes: 1_024 }
    }
}

/// Why a text is not JSON we accept, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON at byte {offset}: {what}")]
pub struct JsonError {
    /// Offset in bytes from the start of the text.
    pub offset: usize,
    /// What was wrong there.
    pub what: JsonFault,
}

/// What is wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// The text ends before the value does.
    #[error("the text ends too early")]
    Truncated,
    /// Something else was expected here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The text is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Nested deeper than allowed.
    #[error("nested deeper than max_json_depth = {0}")]
    TooDeep(u32),
    /// One object has more members than allowed.
    #[error("object with more members than max_json_keys = {0}")]
    TooManyKeys(u32),
    /// One number is spelled longer than allowed.
    #[error("number longer than max_json_number_bytes = {0}")]
    NumberTooLong(u32),
    /// Text after the value.
    #[error("text after the value")]
    Trailing,
}

/// Checks that `text` is exactly one JSON value, white space around it allowed.
///
/// # Errors
/// [`JsonError`] with the offset of the first fault.
pub fn validate(text: &[u8], limits: &JsonLimits) -> Result<(), JsonError> {
    check_utf8(text)?;
    validate_utf8(text, limits)
}

/// The same as [`validate`] for text that the caller knows to be UTF-8.
///
/// # Errors
/// [`JsonError`] with the offset of the first fault.
pub fn validate_utf8(text: &[u8], limits: &JsonLimits) -> Result<(), JsonError> {
    let scan = Scan { text, limits };
    let end = scan.value(scan.space(0))?;
    scan.end(end)
}

/// Checks that `text` is UTF-8, which [`Members`] assumes.
///
/// # Errors
/// [`JsonFault::NotUtf8`] at the first bad byte.
pub fn check_utf8(text: &[u8]) -> Result<(), JsonError> {
    if is_ascii(text) {
        return Ok(());
    }
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(bad) => Err(JsonError { offset: bad.valid_up_to(), what: JsonFault::NotUtf8 }),
    }
}

/// Is no byte above 0x7f? In wide steps, the last of which may look at some bytes again.
fn is_ascii(text: &[u8]) -> bool {
    let high = |chunk: &[u8; WIDE]| chunk.iter().fold(0, |all, byte| all | byte) > 0x7f;
    let (chunks, _) = text.as_chunks::<WIDE>();
    match text.last_chunk::<WIDE>() {
        Some(last) => !high(last) && !chunks.iter().any(high),
        None => text.is_ascii(),
    }
}

/// Bytes looked at in one step.
const WIDE: usize = 32;

/// Walks the members of one JSON object, validating every value on the way.
///
/// The caller has made sure that the text is UTF-8. After the last member the rest of the text was checked too, so a walk
/// that ends with `None` has validated the whole text.
#[derive(Debug)]
pub struct Members<'a> {
    scan: Scan<'a>,
    at: usize,
    seen: u32,
    done: bool,
}

/// The name of a member as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Key<'a> {
    /// Is this the name `name`, also when the text spells it with escapes?
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        if self.escaped { self.decode().is_some_and(|key| key == name) } else { self.raw == name.as_bytes() }
    }

    /// The name, unescaped; `None` when it holds a lone surrogate.
    pub fn decode(&self) -> Option<Cow<'a, str>> {
        unescape(self.raw)
    }
}

impl<'a> Members<'a> {
    /// Starts a walk over `text`, which must hold one object.
    ///
    /// # Errors
    /// [`JsonFault::Expected`] when the text does not begin with an object.
    pub fn new(text: &'a [u8], limits: &'a JsonLimits) -> Result<Self, JsonError> {
        let scan = Scan { text, limits };
        let at = scan.space(0);
        scan.expect(at, b'{', "an object")?;
        Ok(Self { scan, at: at.saturating_add(1), seen: 0, done: false })
    }

    /// The next member: its name and where its value stands in the text.
    ///
    /// # Errors
    /// [`JsonError`] at the first fault; the walk is over then.
    #[allow(
        clippy::should_implement_trait,
        reason = "a fallible walk reads better than an iterator of results"
    )]
    pub fn next(&mut self) -> Result<Option<(Key<'a>, Range<usize>)>, JsonError> {
        if self.done {
            return Ok(None);
        }
        let scan = &self.scan;
        let mut at = scan.space(self.at);
        if scan.peek(at) == Some(b'}') && self.seen == 0 {
            self.done = true;
            scan.end(at.saturating_add(1))?;
            return Ok(None);
        }
        if self.seen > 0 {
            match scan.peek(at) {
                Some(b',') => at = scan.space(at.saturating_add(1)),
                Some(b'}') => {
                    self.done = true;
                    scan.end(at.saturating_add(1))?;
                    return Ok(None);
                }
                _ => return Err(scan.expected(at, "',' or '}'")),
            }
        }
        scan.expect(at, b'"', "a member name")?;
        let name = at.saturating_add(1);
        let plain = scan.plain(name);
        let after = scan.rest_of_string(plain)?;
        let end = after.saturating_sub(1);
        let key = Key { raw: scan.text.get(name..end).unwrap_or_default(), escaped: plain != end };
        at = scan.space(after);
        scan.expect(at, b':', "':'")?;
        let start = scan.space(at.saturating_add(1));
        let end = scan.value(start)?;
        self.seen = self.seen.saturating_add(1);
        if self.seen > scan.limits.max_json_keys {
            return Err(scan.fault(start, JsonFault::TooManyKeys(scan.limits.max_json_keys)));
        }
        self.at = end;
        Ok(Some((key, start..end)))
    }
}

/// Validates the value that stands at byte `at` of `text` and returns where it ends: for a wire whose peers write their
/// envelopes in one known order, so that most messages need no walk. The caller has made sure that the text is UTF-8.
///
/// # Errors
/// [`JsonError`] at the first fault.
#[inline]
pub fn value_end(text: &[u8], at: usize, limits: &JsonLimits) -> Result<usize, JsonError> {
    Scan { text, limits }.value(at)
}

/// Where the white space ends that may stand at byte `at` of `text`.
#[inline]
pub fn space_end(text: &[u8], at: usize) -> usize {
    let limits = &JsonLimits { max_json_depth: 0, max_json_keys: 0, max_json_number_bytes: 0 };
    Scan { text, limits }.space(at)
}

/// The inside of the JSON string whose opening quote is just before byte `at` of `text`, if nothing in it is escaped.
#[inline]
pub fn plain_string(text: &[u8], at: usize) -> Option<&[u8]> {
    let limits = &JsonLimits { max_json_depth: 0, max_json_keys: 0, max_json_number_bytes: 0 };
    let end = Scan { text, limits }.plain(at);
    if text.get(end) == Some(&b'"') { text.get(at..end) } else { None }
}

/// Splits a JSON array into the places of its elements, validating every one.
///
/// # Errors
/// [`JsonError`] at the first fault, or when `text` is not one array of at most `most` elements.
pub fn elements(text: &[u8], most: usize, limits: &JsonLimits) -> Result<Vec<Range<usize>>, JsonError> {
    let scan = Scan { text, limits };
    let mut at = scan.space(0);
    scan.expect(at, b'[', "an array")?;
    at = scan.space(at.saturating_add(1));
    let mut found = Vec::new();
    if scan.peek(at) == Some(b']') {
        scan.end(at.saturating_add(1))?;
        return Ok(found);
    }
    loop {
        if found.len() >= most {
            return Err(scan.expected(at, "fewer elements"));
        }
        let end = scan.value(at)?;
        found.push(at..end);
        at = scan.space(end);
        match scan.peek(at) {
            Some(b',') => at = scan.space(at.saturating_add(1)),
            Some(b']') => break scan.end(at.saturating_add(1))?,
            _ => return Err(scan.expected(at, "',' or ']'")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
