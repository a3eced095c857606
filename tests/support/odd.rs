//! Odd but legal messages, made from a seed: the same seed, the same messages.
//!
//! They are what an adapter may be asked to send: names and bodies that JSON, a delimiter, a parser in another language or its
//! objects could stumble over.

use std::fmt::Write as _;

use bytes::Bytes;
use polywire_core::{Body, Code, Failure, JsonText, Meta};

/// Most messages of one round: what a foreign end keeps of them stays small.
const ROUND: usize = 10_000;

/// The rounds of a test, each with its seed and how many messages it has.
///
/// `POLYWIRE_SOAK_MESSAGES` says how many there are in all, else 10,000; `POLYWIRE_SOAK_SEED` which, else 1. The seed is printed,
/// so that a failure can be had again.
pub fn rounds(test: &str) -> impl Iterator<Item = (u64, usize)> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("POLYWIRE_SOAK_SEED").unwrap_or(1);
    let size = number("POLYWIRE_SOAK_MESSAGES").and_then(|size| usize::try_from(size).ok()).unwrap_or(ROUND);
    eprintln!("{test}: POLYWIRE_SOAK_SEED={seed}, {size} messages");
    (seed..).zip((0..size).step_by(ROUND).map(move |done| ROUND.min(size - done)))
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// A body.
    Body(Body),
    /// A failure, where it is an answer.
    Failure(Failure),
}

/// One message: the name of a call or event, or what an answer says.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The name of a call or event; answers have none.
    pub name: String,
    /// What it carries.
    pub load: Load,
    /// Facts of its wire, and what is beside its body.
    pub meta: Meta,
    /// Is it a call? Else it is an event.
    pub asks: bool,
}

impl Message {
    /// A call or event.
    #[must_use]
    pub fn new(name: String, body: Body, asks: bool) -> Self {
        Self { name, load: Load::Body(body), meta: Meta::default(), asks }
    }

    /// An answer.
    #[must_use]
    pub fn answer(load: Load) -> Self {
        Self { name: String::new(), load, meta: Meta::default(), asks: false }
    }

    /// Its body; a failure has none.
    #[must_use]
    pub fn body(&self) -> Body {
        match &self.load {
            Load::Body(body) => body.clone(),
            Load::Failure(_) => Body::Empty,
        }
    }
}

/// Names that mean something to a language, a library or a wire.
const NAMES: &[&str] = &[
    "",
    " ",
    "Object",
    "Array",
    "String",
    "Buffer",
    "Error",
    "Sockhop",
    "SockhopPing",
    "SockhopPingX",
    "__proto__",
    "constructor",
    "prototype",
    "hasOwnProperty",
    "toString",
    "valueOf",
    "then",
    "error",
    "message",
    "data",
    "ping",
    "pong",
    "close",
    "*",
    "auth",
    "heartBeat",
    "requestFile",
    "statusUpdate",
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
    "__disconnect_final",
    "null",
    "undefined",
    "NaN",
    "0",
    "-1",
    "[\"a\"]",
    "{}",
    "<EOF>",
    "a<EOF>b",
    "line\nbreak",
    "carriage\rreturn",
    "\r\n",
    "tab\tbed",
    "nul\0nul",
    "quoted \"name\"",
    "back\\slash",
    "\\u0041",
    "line\u{2028}separator",
    "\u{202e}right to left",
    "\u{feff}mark",
    "e\u{301} and \u{e9}",
    "grüß 你好",
    "🎮🚀",
    "/nsp,",
    "51-",
    "%00%0a",
    "../../etc",
    "a.b[c]",
    "\u{7f}\u{80}",
];

/// JSON values as they are spelled, each a thing that some reader has got wrong.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1.50",
    "1E+2",
    "1e-7",
    "1e308",
    "-1e-400",
    "9007199254740993",
    "12345678901234567890123",
    "-170141183460469231731687303715884105729",
    "0.1000000000000000055511151231257827",
    "\"\"",
    "\" \"",
    "\"NaN\"",
    "\"Infinity\"",
    "\"null\"",
    "\"<EOF>\"",
    "\"<EO\\u0046>\"",
    "\"<EOF><EOF><EOF><EOF><EOF><EOF><EOF><EOF><EOF>\"",
    "\"<EOF\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"x\\udfff\"",
    "\"\\ud83d\\ude80\"",
    "\"\u{1f680}\"",
    "\"\\u0000\"",
    "\"\\n\\r\\t\\b\\f\\/\\\\\\\"\"",
    "\"\u{2028}\u{2029}\u{feff}\u{7f}\"",
    "\"grüß 你好\"",
    "\"QQ==\"",
    "\"QQ=\"",
    "\"QQ\"",
    "\"Q\"",
    "\"-_-_\"",
    "\"====\"",
    "\"data:;base64,QQ==\"",
    "\"__proto__\"",
    "\"Authenticated\"",
    "\"requestauth\"",
    "\"serverquit\"",
    "\"wait\"",
    "\"success\"",
    "[]",
    "[[]]",
    "[null,null]",
    "[\"a\",1]",
    "{}",
    "{\"\":\"\"}",
    "{\"__proto__\":{\"polluted\":true}}",
    "{\"__proto__\":null}",
    "{\"constructor\":{\"prototype\":{\"polluted\":true}}}",
    "{\"toJSON\":1,\"then\":2,\"length\":-1}",
    "{\"a\":1,\"a\":2}",
    "{\"type\":\"Buffer\",\"data\":[1,2,3]}",
    "{\"type\":\"Buffer\",\"data\":\"QQ==\"}",
    "{\"_placeholder\":true,\"num\":0}",
    "{\"a\":[{\"_placeholder\":true,\"num\":7}]}",
    "{\"$bytes\":\"QQ==\"}",
    "{\"error\":\"no\"}",
    "{\"error\":{\"code\":403,\"msg\":\"no\"}}",
    "{\"code\":1,\"msg\":null}",
    "{\"id\":\"x\",\"callback_id\":\"y\",\"type\":\"SockhopPing\"}",
    "{\"request\":\"auth\",\"response\":true,\"sessionKey\":\"QQ==\"}",
    "{\"session\":\"\",\"name\":\"x\",\"data\":{}}",
    "{\"authKey\":\"x\",\"token\":\"x\",\"sessionToken\":\"x\"}",
    "{\"success\":false,\"error\":\"x\",\"requestId\":\"x\"}",
    "{ \"a\" : [ 1 ,\n\t2 ,\r\n {} ] }",
    " \n[ ]\r\n ",
    "\"\\u2028<!--</script>\"",
];

/// A source of odd messages.
#[derive(Clone, Debug)]
pub struct Odd(u64);

impl Odd {
    /// The messages of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number: SplitMix64.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a bound fits 64 bits");
        usize::try_from(self.draw() % bound).expect("below a usize")
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A name of at most 255 bytes.
    pub fn name(&mut self) -> String {
        match self.below(10) {
            0 => "x".repeat(255),
            1 => "漢".repeat(85),
            2 => format!("{}{}", self.pick(NAMES), self.pick(NAMES)),
            3..=5 => format!("name{}", self.below(100)),
            _ => self.pick(NAMES).to_owned(),
        }
    }

    /// JSON as it may be spelled, at most 100 levels deep.
    pub fn json(&mut self) -> String {
        let mut text = String::new();
        match self.below(200) {
            0 => self.deep(&mut text),
            1 => {
                let long = "long <EOF> \\ud83d\\ude80 漢 ".repeat(self.below(2_000));
                let _ = write!(text, "\"{long}\"");
            }
            2 => {
                let digits = "1234567890".repeat(1 + self.below(30));
                let _ = write!(text, "[{digits},-{digits}.{digits}]");
            }
            _ => self.value(&mut text, 3),
        }
        text
    }

    /// A JSON object.
    pub fn object(&mut self) -> String {
        let mut text = String::new();
        self.members(&mut text, 3);
        text
    }

    fn deep(&mut self, text: &mut String) {
        let levels = 1 + self.below(100);
        let brackets = if self.once_in(2) { ("[", "]") } else { ("{\"d\":", "}") };
        text.push_str(&brackets.0.repeat(levels));
        text.push_str(self.pick(VALUES));
        text.push_str(&brackets.1.repeat(levels));
    }

    fn value(&mut self, text: &mut String, depth: usize) {
        match self.below(if depth == 0 { 8 } else { 12 }) {
            0 => {
                let _ = write!(text, "{}", self.draw());
            }
            1 => {
                let _ = write!(text, "{:e}", f64::from_bits(self.draw() >> 2));
            }
            2..=7 => text.push_str(self.pick(VALUES)),
            8 | 9 => {
                text.push('[');
                for at in 0..self.below(4) {
                    text.push_str(if at > 0 { ", " } else { "" });
                    self.value(text, depth - 1);
                }
                text.push(']');
            }
            _ => self.members(text, depth - 1),
        }
    }

    fn members(&mut self, text: &mut String, depth: usize) {
        text.push('{');
        for at in 0..self.below(4) {
            text.push_str(if at > 0 { "," } else { "" });
            let key = serde_json::to_string(self.pick(NAMES)).expect("text is JSON");
            text.push_str(&key);
            text.push(':');
            self.value(text, depth.saturating_sub(1));
        }
        text.push('}');
    }

    /// Bytes: none, a few, a piece of a wire, rarely many.
    pub fn bytes(&mut self) -> Bytes {
        let pieces: &[&[u8]] = &[
            b"\n",
            b"<EOF>",
            b"\0",
            b"\x1f\x8b\x08",
            b"{}\n",
            b"null\n",
            b"\xff\xfe",
            b"QQ==",
            b"\x0a\0\0\0\x0a",
        ];
        let mut bytes = Vec::new();
        match self.below(12) {
            0 => {}
            1 => bytes.resize(1 + self.below(70_000), b'b'),
            2 => bytes.resize(35 + self.below(3), 0),
            3..=6 => {
                for _ in 0..self.below(6) {
                    bytes.extend_from_slice(pieces[self.below(pieces.len())]);
                }
            }
            _ => {
                for _ in 0..self.below(300) {
                    bytes.push(self.draw().to_le_bytes()[0]);
                }
            }
        }
        bytes.into()
    }

    /// A body; `binary` names how bytes are typed, `None` where there are none.
    pub fn body(&mut self, binary: Option<&str>) -> Body {
        match (self.below(10), binary) {
            (0, _) => Body::Empty,
            (1, Some(kind)) => Body::binary(kind.to_owned(), self.bytes()),
            _ => Body::Json(JsonText::from_validated(self.json().into())),
        }
    }

    /// A failure with an odd message.
    pub fn failure(&mut self) -> Failure {
        let code = Code::ALL[self.below(Code::ALL.len())];
        let failure = Failure::new(code, format!("{} is no {}", self.name(), self.name()));
        if self.once_in(3) {
            failure.with_detail(JsonText::from_validated(self.json().into()))
        } else {
            failure
        }
    }
}
