//! The recorded bytes of `tests/vectors`.
//!
//! Bytes are written in one of two ways: `hex`, or `segments`, a list of `{"hex": …}` and
//! `{"repeat": hex, "count": n}` to be joined. Files differ in what surrounds them (their folder's README says
//! how); a test walks the parsed file itself or asks [`walk`] for every object in it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::place;

/// Why recorded bytes cannot be used: the file is damaged or the test asks for what it does not hold.
#[derive(Debug, PartialEq, Eq)]
pub struct VectorError(String);

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for VectorError {}

/// The folder of all vectors.
pub fn folder() -> PathBuf {
    place::tests().join("vectors")
}

/// Every vector file below [`folder`], as paths that [`load`] takes, in order of their names.
///
/// # Panics
/// When a folder cannot be listed.
pub fn files() -> Vec<PathBuf> {
    let mut folders = vec![folder()];
    let mut found = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("the vectors can be listed") {
            let path = entry.expect("the vectors can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "json") {
                found.push(path.strip_prefix(folder()).expect("it was found there").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Loads one file, named relative to [`folder`]: `sockhop/codec-binary-210.json`.
///
/// # Panics
/// When the file is missing or is not JSON: a test without its vectors must not pass.
pub fn load(file: impl AsRef<Path>) -> Value {
    let file = file.as_ref();
    let text = std::fs::read(folder().join(file))
        .unwrap_or_else(|error| panic!("vector file {} cannot be read: {error}", file.display()));
    serde_json::from_slice(&text)
        .unwrap_or_else(|error| panic!("vector file {} is not JSON: {error}", file.display()))
}

/// The list `name` of a loaded file: `units`, `items`, `cases`, `frames`, `entries`.
///
/// # Errors
/// When the file holds no such list or an empty one.
pub fn list<'a>(file: &'a Value, name: &str) -> Result<&'a [Value], VectorError> {
    match file.get(name).and_then(Value::as_array) {
        Some(list) if !list.is_empty() => Ok(list),
        Some(_) => Err(VectorError(format!("the list {name} is empty"))),
        None => Err(VectorError(format!("there is no list {name}"))),
    }
}

/// The bytes an object stands for, from its `hex` or `segments`.
///
/// # Errors
/// When it has neither or its hex is damaged.
pub fn bytes_of(object: &Value) -> Result<Vec<u8>, VectorError> {
    if let Some(hex) = object.get("hex").and_then(Value::as_str) {
        return decode_hex(hex);
    }
    let Some(segments) = object.get("segments").and_then(Value::as_array) else {
        return Err(VectorError("neither hex nor segments".to_owned()));
    };
    let mut bytes = Vec::new();
    for segment in segments {
        match (segment["hex"].as_str(), segment["repeat"].as_str(), segment["count"].as_u64()) {
            (Some(hex), None, None) => bytes.extend(decode_hex(hex)?),
            (None, Some(hex), Some(count)) => {
                let count = usize::try_from(count).map_err(|error| VectorError(error.to_string()))?;
                bytes.extend(decode_hex(hex)?.repeat(count));
            }
            _ => {
                return Err(VectorError(format!(
                    "a segment is neither hex nor repeat with count: {segment}"
                )));
            }
        }
    }
    Ok(bytes)
}

/// The bytes of a unit or frame list in one direction, joined: what that side put on the wire.
///
/// `marks` is the member that names the direction and its value: `("dir", "c2s")`, `("from", "client")`. Entries
/// without bytes (an end of stream) are passed over.
///
/// # Errors
/// When an entry is damaged.
pub fn stream(entries: &[Value], marks: (&str, &str)) -> Result<Vec<u8>, VectorError> {
    let mut bytes = Vec::new();
    for entry in entries {
        if entry[marks.0] == marks.1 && (entry["hex"].is_string() || entry["segments"][0].is_object()) {
            bytes.extend(bytes_of(entry)?);
        }
    }
    Ok(bytes)
}

/// The bytes written as lower-case or upper-case hex.
///
/// # Errors
/// When the text has an odd length or another character.
pub fn decode_hex(text: &str) -> Result<Vec<u8>, VectorError> {
    let digit = |at: usize| {
        let byte = text.as_bytes()[at];
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .ok_or_else(|| VectorError(format!("byte {byte:#04x} at {at} is not a hex digit")))
    };
    if !text.len().is_multiple_of(2) {
        return Err(VectorError(format!("{} hex digits are not whole bytes", text.len())));
    }
    (0..text.len()).step_by(2).map(|at| Ok(digit(at)? << 4 | digit(at + 1)?)).collect()
}

/// Calls `visit` with every object inside `value`, outer ones first.
pub fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(members);
            members.values().for_each(|member| walk(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}
