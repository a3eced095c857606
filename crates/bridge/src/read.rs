//! Reads TOML tables key by key: a wrong type, unit or key becomes a finding with its line, and reading goes on.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use polywire_core::{parse_duration, parse_size};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::{Findings, Problem, near_or, nearest, suggest};
use crate::source::Source;

/// A value and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    /// From 1.
    pub(crate) line: u32,
}

/// A table, and what it is called in findings.
#[derive(Clone, Copy)]
pub(crate) struct Table<'t> {
    pub(crate) entries: &'t DeTable<'t>,
    pub(crate) place: &'t str,
    pub(crate) line: u32,
}

/// A value of a kind that adapters' options have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text(String),
    Number(String),
    Flag(bool),
    Other(&'static str),
}

impl Scalar {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Scalar::Text(_) => "text",
            Scalar::Number(_) => "a number",
            Scalar::Flag(_) => "true or false",
            Scalar::Other(name) => name,
        }
    }

    /// The text or number that was written.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Scalar::Text(text) | Scalar::Number(text) => Some(text),
            Scalar::Flag(_) | Scalar::Other(_) => None,
        }
    }

    /// The same where it has digits alone: a number that lacks a unit.
    pub(crate) fn digits(&self) -> Option<&str> {
        self.text().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl fmt::Display for Scalar {
    /// As it was written: text in quotes, a number without.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => write!(f, "{text:?}"),
            Scalar::Number(number) => f.write_str(number),
            Scalar::Flag(flag) => write!(f, "{flag}"),
            Scalar::Other(name) => f.write_str(name),
        }
    }
}

/// Reads values out of tables and notes what is wrong with them.
pub(crate) struct Reader<'a> {
    source: &'a Source,
    pub(crate) findings: Findings,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self { source, findings: Findings::default() }
    }

    pub(crate) fn line(&self, span: &Range<usize>) -> u32 {
        self.source.line(span.start)
    }

    /// Every key that is not one of `known`, as a finding.
    pub(crate) fn refuse_unknown(&mut self, table: Table<'_>, known: &[&str]) {
        for (key, _) in table.entries.iter().filter(|(key, _)| !known.contains(&&**key.get_ref())) {
            let line = self.line(&key.span());
            let name = key.get_ref();
            let text = format!("unknown key `{name}` in {}", table.place);
            self.findings.add(Problem::UnknownKey, line, text, suggest(name, known));
        }
    }

    /// Every entry whose key is not one of `known`.
    pub(crate) fn others(&self, table: Table<'_>, known: &[&str]) -> Vec<(String, At<Scalar>)> {
        let others = table.entries.iter().filter(|(key, _)| !known.contains(&&**key.get_ref()));
        let read = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let scalar = match value.get_ref() {
                DeValue::String(text) => Scalar::Text(text.to_string()),
                DeValue::Integer(number) => Scalar::Number(number.to_string()),
                DeValue::Boolean(flag) => Scalar::Flag(*flag),
                other => Scalar::Other(type_name(other)),
            };
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            (key.get_ref().to_string(), At { value: scalar, line: self.line(&key.span()) })
        };
        others.map(read).collect()
    }

    /// The value of a key and its line.
    pub(crate) fn value<'t>(&self, table: Table<'t>, key: &str) -> Option<At<&'t DeValue<'t>>> {
        let (_, value) = table.entries.iter().find(|(known, _)| known.get_ref() == key)?;
        Some(At { value: value.get_ref(), line: self.line(&value.span()) })
    }

    fn wrong_type(&mut self, table: Table<'_>, key: &str, found: &At<&DeValue<'_>>, wanted: &str) {
        let text =
            format!("`{key}` in {} is {}, which should be {wanted}", table.place, type_name(found.value));
        let example = match key {
            "address" | "listen" => "\"127.0.0.1:50000\"",
            _ => example(wanted),
        };
        self.findings.add(Problem::Type, found.line, text, format!("write {key} = {example}"));
    }

    pub(crate) fn text(&mut self, table: Table<'_>, key: &str) -> Option<At<String>> {
        let found = self.value(table, key)?;
        match found.value {
            DeValue::String(text) => Some(At { value: text.to_string(), line: found.line }),
            _ => {
                self.wrong_type(table, key, &found, "text");
                None
            }
        }
    }

    pub(crate) fn flag(&mut self, table: Table<'_>, key: &str) -> Option<bool> {
        let found = self.value(table, key)?;
        if let DeValue::Boolean(flag) = found.value {
            return Some(*flag);
        }
        self.wrong_type(table, key, &found, "true or false");
        None
    }

    /// What should be a number with a unit, as it was written.
    fn with_unit(&mut self, table: Table<'_>, key: &str, wanted: &str) -> Option<At<Scalar>> {
        let found = self.value(table, key)?;
        let value = match found.value {
            DeValue::String(text) => Scalar::Text(text.to_string()),
            DeValue::Integer(number) => Scalar::Number(number.to_string()),
            _ => {
                self.wrong_type(table, key, &found, wanted);
                return None;
            }
        };
        Some(At { value, line: found.line })
    }

    /// A size with a unit, of at least so many MiB.
    pub(crate) fn size(&mut self, table: Table<'_>, key: &str, least: usize) -> Option<usize> {
        let At { value: written, line } = self.with_unit(table, key, "a size with a unit")?;
        match written.text().and_then(parse_size) {
            Some(size) if size >> 20 >= least => Some(size),
            Some(_) => {
                let text = format!("{key} = {written} is out of range: at least {least}MiB");
                self.findings.add(Problem::Value, line, text, "write a size in this range");
                None
            }
            None => {
                let text = format!("{key} = {written} is no size with a unit");
                self.findings.add(Problem::Unit, line, text, size_fix(key, &written));
                None
            }
        }
    }

    /// A time with a unit that is more than nothing and at most `most`.
    pub(crate) fn duration(&mut self, table: Table<'_>, key: &str, most: Duration) -> Option<Duration> {
        let At { value: written, line } = self.with_unit(table, key, "a time with a unit")?;
        match written.text().and_then(parse_duration) {
            Some(span) if !span.is_zero() && span <= most => Some(span),
            Some(_) => {
                let most = most.as_secs();
                let text = format!("{key} = {written} is out of range: more than 0, at most {most}s");
                self.findings.add(Problem::Value, line, text, "write a time in this range");
                None
            }
            None => {
                let text = format!("{key} = {written} is no time with a unit");
                self.findings.add(Problem::Unit, line, text, time_fix(key, &written));
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        table: Table<'_>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<At<T>> {
        let found = self.text(table, key)?;
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        match words.iter().find(|(word, _)| *word == found.value) {
            Some((_, value)) => Some(At { value: *value, line: found.line }),
            None => {
                let text = format!("{key} = {:?} is not one of: {}", found.value, known.join(", "));
                self.findings.add(Problem::Value, found.line, text, one_of(&found.value, &known));
                None
            }
        }
    }

    /// A table inside a table.
    pub(crate) fn table<'t>(
        &mut self,
        table: Table<'t>,
        key: &str,
        place: &'t str,
        wanted: &str,
    ) -> Option<Table<'t>> {
        let found = self.value(table, key)?;
        if let DeValue::Table(entries) = found.value {
            return Some(Table { entries, place, line: found.line });
        }
        self.wrong_type(table, key, &found, wanted);
        None
    }

    pub(crate) fn missing(&mut self, table: Table<'_>, key: &str, example: &str) {
        let text = format!("{} has no `{key}`", table.place);
        let near = nearest(key, table.entries.keys().map(|key| &**key.get_ref()));
        let fix = match near {
            Some(near) => format!("write {key} instead of `{near}`"),
            None => format!("add {key} = {example}"),
        };
        self.findings.add(Problem::MissingKey, table.line, text, fix);
    }
}

/// What to write instead of a word that is not among those which the finding names.
pub(crate) fn one_of(word: &str, known: &[&str]) -> String {
    near_or(word, known.iter().copied(), || "write one of these words".to_owned())
}

/// What to write instead of a time without a unit.
pub(crate) fn time_fix(key: &str, written: &Scalar) -> String {
    match written.digits() {
        Some(number) => format!("write {key} = \"{number}ms\" or {key} = \"{number}s\""),
        None => format!("write {key} = \"250ms\", \"5s\", \"2min\" or \"1h\""),
    }
}

/// What to write instead of a size without a unit.
pub(crate) fn size_fix(key: &str, written: &Scalar) -> String {
    match written.digits() {
        Some(number) => format!("write {key} = \"{number}B\", \"{number}KiB\" or \"{number}MiB\""),
        None => format!("write {key} = \"512B\", \"64KiB\", \"16MiB\" or \"1GiB\""),
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn example(wanted: &str) -> &'static str {
    match wanted {
        "text" => "\"...\"",
        "true or false" => "true",
        "a time with a unit" => "\"5s\"",
        "a size with a unit" => "\"16MiB\"",
        "an endpoint and a name" => "{ endpoint = \"...\", match = \"...\" }",
        _ => "{ ... }",
    }
}
