//! The body of a call as people write it: JSON text, `@file`, `-` for standard input, or `--type T --bytes @file`.

use std::io::Read;

use bytes::Bytes;
use polywire_core::{Body, JsonLimits, JsonText};

use crate::exit::{Exit, Fault};

/// Most bytes read for a body.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// What the command line says about a body.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct BodyArgs {
    /// The body: JSON text, @FILE, or - for standard input; none at all is an empty body
    #[arg(value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) json: Option<String>,
    /// Send bytes instead of JSON, from @FILE or - for standard input
    #[arg(long, value_name = "@FILE|-", conflicts_with = "json", allow_hyphen_values = true)]
    pub(crate) bytes: Option<String>,
    /// The type name of the bytes, where the wire carries one
    #[arg(long = "type", value_name = "NAME", requires = "bytes", default_value = "Buffer")]
    pub(crate) kind: String,
}

impl BodyArgs {
    /// Reads what is named and checks JSON text.
    ///
    /// # Errors
    /// A usage fault when a file cannot be read or the text is not JSON.
    pub(crate) fn load(&self) -> Result<Body, Fault> {
        match (&self.json, &self.bytes) {
            (_, Some(source)) => {
                let bytes = read(source)?.ok_or_else(|| {
                    Fault::usage("--bytes takes @FILE or -")
                        .hint("write the bytes to a file, or pipe them in")
                })?;
                Ok(Body::binary(self.kind.clone(), bytes))
            }
            (Some(text), None) => {
                let bytes = read(text)?.unwrap_or_else(|| Bytes::copy_from_slice(text.as_bytes()));
                let trimmed = bytes.slice_ref(bytes.trim_ascii());
                let text = JsonText::new(trimmed, &JsonLimits::default()).map_err(|error| {
                    let hint = "a string needs its own quotes: '\"text\"'; bytes go with --bytes @FILE";
                    Fault::usage(format_args!("the body is not JSON: {error}")).hint(hint)
                })?;
                Ok(text.into())
            }
            (None, None) => Ok(Body::Empty),
        }
    }
}

fn read(source: &str) -> Result<Option<Bytes>, Fault> {
    let mut bytes = Vec::new();
    let outcome = if source == "-" {
        std::io::stdin().lock().take(MAX_BODY_BYTES + 1).read_to_end(&mut bytes)
    } else if let Some(path) = source.strip_prefix('@') {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BODY_BYTES + 1).read_to_end(&mut bytes))
    } else {
        return Ok(None);
    };
    outcome.map_err(|error| Fault::usage(format_args!("cannot read the body from {source}: {error}")))?;
    if bytes.len() as u64 > MAX_BODY_BYTES {
        let why = format!("the body in {source} is longer than the {MAX_BODY_BYTES} bytes that are read");
        return Err(Fault::new(Exit::Limit, why));
    }
    Ok(Some(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_and_what_is_no_json_is_refused_with_advice() {
        let load = |json: &str| BodyArgs { json: Some(json.to_owned()), ..BodyArgs::default() }.load();
        let Body::Json(text) = load(" {\"n\": 9007199254740993}\n").unwrap() else { panic!("not JSON") };
        assert_eq!(text.as_str(), "{\"n\": 9007199254740993}");
        assert_eq!(BodyArgs::default().load().unwrap(), Body::Empty);
        let fault = load("hello").unwrap_err();
        assert!(fault.what.contains("not JSON") && fault.hint.unwrap().contains("quotes"));
        assert!(load("@/does/not/exist").unwrap_err().what.contains("/does/not/exist"));
    }
}
