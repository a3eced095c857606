//! The scan itself: where one value ends, and whether it is JSON within bounds.

use super::{JsonError, JsonFault, JsonLimits};

/// Is there a control character? In wide steps, the last of which may look at some bytes again.
fn has_control(run: &[u8]) -> bool {
    let low = |chunk: &[u8; 16]| chunk.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < 0x20;
    let (chunks, _) = run.as_chunks::<16>();
    match run.last_chunk::<16>() {
        Some(last) => low(last) || chunks.iter().any(low),
        None => run.iter().any(|byte| *byte < 0x20),
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a> {
    pub(super) text: &'a [u8],
    pub(super) limits: &'a JsonLimits,
}

impl Scan<'_> {
    #[inline]
    pub(super) fn peek(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    pub(super) fn fault(&self, offset: usize, what: JsonFault) -> JsonError {
        JsonError { offset, what }
    }

    pub(super) fn expected(&self, at: usize, what: &'static str) -> JsonError {
        let what = if at < self.text.len() { JsonFault::Expected(what) } else { JsonFault::Truncated };
        self.fault(at, what)
    }

    pub(super) fn expect(&self, at: usize, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek(at) == Some(byte) { Ok(()) } else { Err(self.expected(at, what)) }
    }

    #[inline]
    pub(super) fn space(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek(at) {
            at = at.saturating_add(1);
        }
        at
    }

    /// Nothing but white space from `at` on.
    pub(super) fn end(&self, at: usize) -> Result<(), JsonError> {
        let at = self.space(at);
        if at == self.text.len() { Ok(()) } else { Err(self.fault(at, JsonFault::Trailing)) }
    }

    /// Validates one value at `at` and returns where it ends.
    pub(super) fn value(&self, at: usize) -> Result<usize, JsonError> {
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
    pub(super) fn rest_of_string(&self, mut at: usize) -> Result<usize, JsonError> {
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
    pub(super) fn plain(&self, at: usize) -> usize {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        // Most strings are short: only one that goes on is worth a search.
        for start in [at, at.saturating_add(8)] {
            let Some(Ok(chunk)) = self.text.get(start..start.saturating_add(8)).map(<[u8; 8]>::try_from)
            else {
                return self.long_plain(start);
            };
            let word = u64::from_le_bytes(chunk);
            let control = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS;
            let quote = zero_byte(word ^ ONES.wrapping_mul(u64::from(b'"')));
            let backslash = zero_byte(word ^ ONES.wrapping_mul(u64::from(b'\\')));
            let found = control | quote | backslash;
            if found != 0 {
                return start.saturating_add(found.trailing_zeros() as usize / 8);
            }
        }
        self.long_plain(at.saturating_add(16))
    }

    fn long_plain(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let run = rest.get(..end).unwrap_or_default();
        at.saturating_add(if has_control(run) {
            run.iter().position(|byte| *byte < 0x20).unwrap_or(end)
        } else {
            end
        })
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
