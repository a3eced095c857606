//! One scan over JSON text: is it valid, where does a value end, is it within bounds.
//!
//! Bodies are carried as text, so this is the only JSON code on the forwarding path. The scan validates the grammar of
//! RFC 8259, bounds nesting, members per object and the length of a number, and never builds a value. Lone-surrogate escapes
//! (`\ud800`) are grammar and pass; text that is not UTF-8 does not. [`Members`] walks the members of one object, so an
//! adapter reads its envelope and validates the body inside it in the same pass.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::borrow::Cow;
use std::ops::Range;

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
    let scan = Scan { text, limits };
    let end = scan.value(scan.space(0))?;
    scan.end(end)
}

/// Checks that `text` is UTF-8, which [`Members`] assumes.
///
/// # Errors
/// [`JsonFault::NotUtf8`] at the first bad byte.
pub fn check_utf8(text: &[u8]) -> Result<(), JsonError> {
    if text.is_ascii() {
        return Ok(());
    }
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(bad) => Err(JsonError { offset: bad.valid_up_to(), what: JsonFault::NotUtf8 }),
    }
}

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

/// The text between the quotes of a JSON string, unescaped; `None` when it holds a lone surrogate or is no string body.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    if !raw.contains(&b'\\') {
        return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
    }
    let mut quoted = Vec::with_capacity(raw.len().saturating_add(2));
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
}

/// The value of a JSON string given with its quotes, unescaped; `None` when it is no string or holds a lone surrogate.
pub fn as_string(value: &[u8]) -> Option<Cow<'_, str>> {
    match value {
        [b'"', inner @ .., b'"'] => unescape(inner),
        _ => None,
    }
}

/// Appends `text` to `out` as a JSON string with its quotes.
pub fn write_string(out: &mut bytes::BytesMut, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\"");
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (special, tail) = tail.split_first().unwrap_or((&b' ', &[]));
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\"");
}

/// Appends the valid JSON in `text` without the white space outside its strings.
pub fn write_compact(out: &mut bytes::BytesMut, text: &[u8]) {
    let mut in_string = false;
    let mut escaped = false;
    let mut start = 0;
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if *byte == b'"' {
            in_string = true;
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            out.extend_from_slice(text.get(start..at).unwrap_or_default());
            start = at.saturating_add(1);
        }
    }
    out.extend_from_slice(text.get(start..).unwrap_or_default());
}

#[derive(Clone, Copy, Debug)]
struct Scan<'a> {
    text: &'a [u8],
    limits: &'a JsonLimits,
}

impl Scan<'_> {
    #[inline]
    fn peek(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn fault(&self, offset: usize, what: JsonFault) -> JsonError {
        JsonError { offset, what }
    }

    fn expected(&self, at: usize, what: &'static str) -> JsonError {
        let what = if at < self.text.len() { JsonFault::Expected(what) } else { JsonFault::Truncated };
        self.fault(at, what)
    }

    fn expect(&self, at: usize, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek(at) == Some(byte) { Ok(()) } else { Err(self.expected(at, what)) }
    }

    #[inline]
    fn space(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek(at) {
            at = at.saturating_add(1);
        }
        at
    }

    /// Nothing but white space from `at` on.
    fn end(&self, at: usize) -> Result<(), JsonError> {
        let at = self.space(at);
        if at == self.text.len() { Ok(()) } else { Err(self.fault(at, JsonFault::Trailing)) }
    }

    /// Validates one value at `at` and returns where it ends.
    fn value(&self, at: usize) -> Result<usize, JsonError> {
        // An object with too many members needs at least four bytes for each of them: shorter text need not be counted.
        let keys = usize::try_from(self.limits.max_json_keys).unwrap_or(usize::MAX);
        match self.peek(at) {
            Some(b'{' | b'[') if self.text.len() / 4 > keys => Nested::<true>::new(self).value(at),
            Some(b'{' | b'[') => Nested::<false>::new(self).value(at),
            _ => self.scalar(at),
        }
    }

    fn scalar(&self, at: usize) -> Result<usize, JsonError> {
        match self.peek(at) {
            Some(b'"') => self.string(at),
            Some(b'-' | b'0'..=b'9') => self.number(at),
            Some(b't') => self.literal(at, b"true"),
            Some(b'f') => self.literal(at, b"false"),
            Some(b'n') => self.literal(at, b"null"),
            _ => Err(self.expected(at, "a value")),
        }
    }

    fn literal(&self, at: usize, word: &'static [u8]) -> Result<usize, JsonError> {
        let end = at.saturating_add(word.len());
        match self.text.get(at..end) {
            Some(found) if found == word => Ok(end),
            Some(_) => Err(self.expected(at, "a value")),
            None => Err(self.fault(self.text.len(), JsonFault::Truncated)),
        }
    }

    /// `at` is the opening quote; returns the offset behind the closing one.
    #[inline]
    fn string(&self, at: usize) -> Result<usize, JsonError> {
        let end = self.plain(at.saturating_add(1));
        if self.peek(end) == Some(b'"') { Ok(end.saturating_add(1)) } else { self.rest_of_string(end) }
    }

    /// The same from somewhere inside the string.
    fn rest_of_string(&self, mut at: usize) -> Result<usize, JsonError> {
        loop {
            match self.peek(at) {
                Some(b'"') => return Ok(at.saturating_add(1)),
                Some(b'\\') => at = self.escape(at)?,
                Some(_) => return Err(self.expected(at, "no raw control character in a string")),
                None => return Err(self.fault(at, JsonFault::Truncated)),
            }
            at = self.plain(at);
        }
    }

    /// Skips characters that need no look, up to a quote, a backslash or a control character.
    #[inline]
    fn plain(&self, at: usize) -> usize {
        // Most strings are short: only one that goes on is worth the wide steps.
        let end = self.plain_by_eight(at, 2);
        if end < at.saturating_add(16) { end } else { self.plain_by_thirty_two(end) }
    }

    fn plain_by_thirty_two(&self, mut at: usize) -> usize {
        while let Some(chunk) = self.text.get(at..).and_then(<[u8]>::first_chunk::<32>) {
            // In numbers, not in branches: this becomes a few wide instructions.
            let special =
                |byte: &u8| u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
            if chunk.iter().fold(0, |found, byte| found | special(byte)) != 0 {
                break;
            }
            at = at.saturating_add(32);
        }
        self.plain_by_eight(at, usize::MAX)
    }

    /// Skips plain characters, at most `steps` times eight of them.
    #[inline]
    fn plain_by_eight(&self, mut at: usize, mut steps: usize) -> usize {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        while let Some(Ok(chunk)) = self.text.get(at..at.saturating_add(8)).map(<[u8; 8]>::try_from) {
            let word = u64::from_le_bytes(chunk);
            let control = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS;
            let quote = zero_byte(word ^ ONES.wrapping_mul(u64::from(b'"')));
            let backslash = zero_byte(word ^ ONES.wrapping_mul(u64::from(b'\\')));
            let found = control | quote | backslash;
            if found != 0 {
                return at.saturating_add(found.trailing_zeros() as usize / 8);
            }
            at = at.saturating_add(8);
            steps = steps.saturating_sub(1);
            if steps == 0 {
                return at;
            }
        }
        while let Some(byte) = self.peek(at) {
            if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
                break;
            }
            at = at.saturating_add(1);
        }
        at
    }

    /// `at` is the backslash; returns the offset behind the escape.
    fn escape(&self, at: usize) -> Result<usize, JsonError> {
        let next = at.saturating_add(1);
        match self.peek(next) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(next.saturating_add(1)),
            Some(b'u') => {
                let digits = next.saturating_add(1)..next.saturating_add(5);
                match self.text.get(digits.clone()) {
                    Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(digits.end),
                    Some(_) => Err(self.expected(at, "four hexadecimal digits")),
                    None => Err(self.fault(self.text.len(), JsonFault::Truncated)),
                }
            }
            _ => Err(self.expected(next, "an escape")),
        }
    }

    fn number(&self, start: usize) -> Result<usize, JsonError> {
        let mut at = start;
        if self.peek(at) == Some(b'-') {
            at = at.saturating_add(1);
        }
        at = match self.peek(at) {
            Some(b'0') => at.saturating_add(1),
            _ => self.digits(at)?,
        };
        if self.peek(at) == Some(b'.') {
            at = self.digits(at.saturating_add(1))?;
        }
        if let Some(b'e' | b'E') = self.peek(at) {
            at = at.saturating_add(1);
            if let Some(b'+' | b'-') = self.peek(at) {
                at = at.saturating_add(1);
            }
            at = self.digits(at)?;
        }
        let longest = self.limits.max_json_number_bytes;
        if at.saturating_sub(start) > longest as usize {
            return Err(self.fault(start, JsonFault::NumberTooLong(longest)));
        }
        Ok(at)
    }

    fn digits(&self, start: usize) -> Result<usize, JsonError> {
        let mut at = start;
        while let Some(b'0'..=b'9') = self.peek(at) {
            at = at.saturating_add(1);
        }
        if at == start { Err(self.expected(at, "a digit")) } else { Ok(at) }
    }
}

/// The walk through arrays and objects: one bit a level tells which it is, so no stack grows with the input.
struct Nested<'a, const COUNT: bool> {
    scan: &'a Scan<'a>,
    /// Bit 0 is the innermost level: set for an object.
    objects: u128,
    depth: u32,
    /// Members seen of each open object, outermost first; kept only when `COUNT`.
    members: Vec<u32>,
}

impl<'a, const COUNT: bool> Nested<'a, COUNT> {
    fn new(scan: &'a Scan<'a>) -> Self {
        Self { scan, objects: 0, depth: 0, members: Vec::new() }
    }

    fn enter(&mut self, at: usize, object: bool) -> Result<usize, JsonError> {
        let most = self.scan.limits.max_json_depth.min(128);
        if self.depth >= most {
            return Err(self.scan.fault(at, JsonFault::TooDeep(most)));
        }
        self.depth = self.depth.saturating_add(1);
        self.objects = (self.objects << 1) | u128::from(object);
        if COUNT {
            self.members.push(0);
        }
        Ok(self.scan.space(at.saturating_add(1)))
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
        if COUNT {
            self.members.pop();
        }
    }

    /// A member name and its colon; returns where the value starts.
    fn name(&mut self, at: usize) -> Result<usize, JsonError> {
        let scan = self.scan;
        if COUNT && let Some(seen) = self.members.last_mut() {
            *seen = seen.saturating_add(1);
            if *seen > scan.limits.max_json_keys {
                return Err(scan.fault(at, JsonFault::TooManyKeys(scan.limits.max_json_keys)));
            }
        }
        scan.expect(at, b'"', "a member name")?;
        let at = scan.space(scan.string(at)?);
        scan.expect(at, b':', "':'")?;
        Ok(scan.space(at.saturating_add(1)))
    }

    fn value(&mut self, start: usize) -> Result<usize, JsonError> {
        let scan = self.scan;
        let mut at = start;
        loop {
            // Here `at` is the first byte of a value.
            match scan.peek(at) {
                Some(b'{') => {
                    at = self.enter(at, true)?;
                    if scan.peek(at) != Some(b'}') {
                        at = self.name(at)?;
                        continue;
                    }
                    self.leave();
                    at = at.saturating_add(1);
                }
                Some(b'[') => {
                    at = self.enter(at, false)?;
                    if scan.peek(at) != Some(b']') {
                        continue;
                    }
                    self.leave();
                    at = at.saturating_add(1);
                }
                _ => at = scan.scalar(at)?,
            }
            // Here a value has just ended: close what ends with it, or go on to the next one.
            loop {
                if self.depth == 0 {
                    return Ok(at);
                }
                at = scan.space(at);
                let object = self.objects & 1 == 1;
                match (scan.peek(at), object) {
                    (Some(b','), true) => {
                        at = scan.space(at.saturating_add(1));
                        at = self.name(at)?;
                        break;
                    }
                    (Some(b','), false) => {
                        at = scan.space(at.saturating_add(1));
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.leave();
                        at = at.saturating_add(1);
                    }
                    (_, true) => return Err(scan.expected(at, "',' or '}'")),
                    (_, false) => return Err(scan.expected(at, "',' or ']'")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
