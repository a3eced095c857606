//! What passes between host and plugin, printed as it passes, and what is remembered of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use polywire_core::{JsonLimits, JsonText};
use polywire_hyperhq::Line as Printed;
use polywire_socketio::{Kind, Packet};
use serde_json::value::RawValue;

use crate::output::{Line, write_out};

/// Characters of an argument that are shown to people.
const SHOWN: usize = 140;
/// Requests whose answers are counted, and names that are remembered.
const KEPT: usize = 1_024;
/// Digits in a row that may be a secret; they are not shown. Challenges and tokens have 64.
const SECRET: usize = 32;
/// What plugins say.
const KNOWN: [&str; 12] = [
    "authenticate",
    "requestData",
    "request_data",
    "requestFile",
    "subscribeEvents",
    "response",
    "plugin:response",
    "statusUpdate",
    "thumbnail:created",
    "thumbnail:progress",
    "thumbnail:complete",
    "hyperHqEvent",
];

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Host,
    Plugin,
}

/// What was remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// A connection was made.
    pub(super) connected: bool,
    /// How often it has asked to be let in.
    pub(super) logins: u32,
    /// It has printed what looks like a secret.
    pub(super) printed_secret: bool,
    /// Why the last login was refused.
    pub(super) refused: Option<String>,
    /// It has asked for a file and shown no token.
    pub(super) tokenless: bool,
    /// Names that no host knows.
    pub(super) unknown: BTreeSet<String>,
    /// How many requests had no id: with `--malformed` the host sends such.
    nameless: u32,
    /// How many answers named no request.
    strays: u32,
    /// The method of each request, and how often it was answered.
    requests: HashMap<String, (String, u32)>,
}

impl Seen {
    /// The methods that were answered more than once.
    pub(super) fn answered_again(&self) -> BTreeSet<&str> {
        let again = self.requests.values().filter(|(_, count)| *count > 1);
        again.map(|(method, _)| method.as_str()).collect()
    }

    /// How many answers named no request; each request without an id may have had one.
    pub(super) fn strays(&self) -> u32 {
        self.strays.saturating_sub(self.nameless)
    }
}

/// Prints at once; what cannot be printed is not kept.
#[derive(Debug)]
pub(super) struct Transcript {
    started: Instant,
    json: bool,
    seen: Mutex<Seen>,
}

impl Transcript {
    pub(super) fn new(json: bool) -> Self {
        Self { started: Instant::now(), json, seen: Mutex::default() }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A message that passes.
    pub(super) fn message(&self, speaker: Speaker, packet: &Packet) {
        let Kind::Event { args, .. } = &packet.kind else { return };
        let parts: Vec<Box<RawValue>> = serde_json::from_slice(args.text()).unwrap_or_default();
        let part = |index: usize| masked(parts.get(index).map_or("", |part| part.get()));
        let name: String = serde_json::from_str(&part(0)).unwrap_or_else(|_| part(0));
        let argument = part(1);
        self.remember(speaker, &name, &argument);
        if self.json {
            let line = self.line().text("from", speaker.name()).text("event", &name);
            let line = match JsonText::new(argument, &JsonLimits::default()) {
                Ok(argument) => line.json("argument", &argument),
                Err(_) => line,
            };
            return print(line);
        }
        let bytes: usize = args.attachments().iter().map(bytes::Bytes::len).sum();
        let attached = if bytes > 0 { format!(" and {bytes} bytes") } else { String::new() };
        self.words(speaker.arrow(), format!("{name} {}{attached}", cut(&argument)).trim_end());
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).connected = true;
        self.note("a connection");
    }

    fn remember(&self, speaker: Speaker, name: &str, argument: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let member = |member: &str| {
            let value = serde_json::from_str::<serde_json::Value>(argument).ok()?;
            value.get(member).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        match (speaker, name) {
            (Speaker::Host, "authenticated") => seen.refused = member("error"),
            (Speaker::Host, "request") => {
                let Some(id) = member("id") else {
                    seen.nameless += 1;
                    return;
                };
                if let Some(method) = member("method")
                    && seen.requests.len() < KEPT
                {
                    seen.requests.entry(id).or_insert((method, 0));
                }
            }
            (Speaker::Host, _) => {}
            (Speaker::Plugin, name) => {
                seen.logins += u32::from(name == "authenticate");
                seen.tokenless |= name == "requestFile" && shows_no_token(argument);
                if matches!(name, "response" | "plugin:response") {
                    let kept = seen.requests.len() < KEPT;
                    match member("id").and_then(|id| seen.requests.get_mut(&id)) {
                        Some((_, count)) => *count += 1,
                        None => seen.strays += u32::from(kept),
                    }
                }
                if !KNOWN.contains(&name) && seen.unknown.len() < KEPT {
                    seen.unknown.insert(name.to_owned());
                }
            }
        }
    }

    /// A line that the plugin printed.
    pub(super) fn printed(&self, line: &Printed) {
        let (name, mark, text) = match line {
            Printed::Output(text) => ("output", "out", text),
            Printed::Error(text) => ("error_output", "err", text),
        };
        let masked = masked(text);
        if masked != *text {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).printed_secret = true;
        }
        let text = masked;
        if self.json {
            return print(self.line().text(name, &text));
        }
        self.words(mark, &text);
    }

    /// Something worth knowing.
    pub(super) fn note(&self, text: &str) {
        if self.json {
            return print(self.line().text("note", text));
        }
        self.words("--", text);
    }

    fn line(&self) -> Line {
        Line::new().decimal("at", self.started.elapsed().as_secs_f64())
    }

    fn words(&self, mark: &str, text: &str) {
        let at = self.started.elapsed().as_secs_f64();
        // Nobody reads any more: the verdict is still the exit code.
        let _ = write_out(format!("{at:>8.3}  {mark:<3}  {text}\n").as_bytes());
    }
}

/// Is it without a token? What cannot be read may have one.
fn shows_no_token(argument: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(argument).is_ok_and(|argument| {
        argument.get("sessionToken").is_none_or(|token| token.is_null() || token.as_str() == Some(""))
    })
}

impl Speaker {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Plugin => "plugin",
        }
    }

    fn arrow(self) -> &'static str {
        match self {
            Self::Host => "->",
            Self::Plugin => "<-",
        }
    }
}

fn print(line: Line) {
    // Nobody reads any more: the verdict is still the exit code.
    let _ = line.print();
}

/// The text with every long row of hexadecimal digits left out.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let plain = rest[digits..].bytes().position(|byte| byte.is_ascii_hexdigit());
        let (row, other) = rest.split_at(digits);
        out.push_str(if digits >= SECRET { "…" } else { row });
        let end = plain.unwrap_or(other.len());
        out.push_str(&other[..end]);
        rest = &other[end..];
    }
    out
}

/// As much of a long text as people want to see.
fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_and_everything_else_stays() {
        let token = "0123456789abcdef".repeat(4);
        let text = format!("{{\"sessionToken\":\"{token}\",\"id\":\"req-12\",\"ü\":\"façade\"}}");
        assert_eq!(masked(&text), "{\"sessionToken\":\"…\",\"id\":\"req-12\",\"ü\":\"façade\"}");
        assert_eq!(masked(&token), "…");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn an_answer_to_a_request_without_id_is_no_stray() {
        let transcript = Transcript::new(true);
        for (speaker, name, argument) in [
            (Speaker::Host, "request", r#"{"method":"execute"}"#),
            (Speaker::Plugin, "response", r#"{"error":"no id"}"#),
            (Speaker::Host, "request", r#"{"id":"a","method":"execute"}"#),
            (Speaker::Plugin, "response", r#"{"id":"a"}"#),
        ] {
            transcript.remember(speaker, name, argument);
        }
        assert_eq!(transcript.seen().strays(), 0);
        transcript.remember(Speaker::Plugin, "response", r#"{"requestId":"a"}"#);
        assert_eq!(transcript.seen().strays(), 1);
    }

    #[test]
    fn only_what_can_be_read_is_said_to_show_no_token() {
        for (argument, tokenless) in [
            (r#"{"filePath":"a"}"#, true),
            (r#"{"filePath":"a","sessionToken":""}"#, true),
            (r#"{"filePath":"a","sessionToken":"t"}"#, false),
            (r#"{"n":1e999,"sessionToken":"t"}"#, false),
        ] {
            let transcript = Transcript::new(true);
            transcript.remember(Speaker::Plugin, "requestFile", argument);
            assert_eq!(transcript.seen().tokenless, tokenless, "{argument}");
        }
    }

    #[test]
    fn a_long_argument_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(SHOWN + 1);
        assert_eq!(cut(&long), format!("{}… (282 bytes)", "ü".repeat(SHOWN)));
    }
}
