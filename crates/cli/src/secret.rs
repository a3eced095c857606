//! Where secrets come from: the environment or a file, never the command line. A file may change while a verb runs.

use std::fs;
use std::io::Read;

use polywire_core::{Options, Secret};

/// Most bytes of a secret.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Reads the secret that `source` names: `env:NAME` or `file:PATH`. One line break at the end of a file is not part of it.
///
/// # Errors
/// One sentence for people. It never repeats `source` when that may be the secret itself.
pub(crate) fn load(source: &str) -> Result<Secret, String> {
    if matches!(source, "env:" | "file:") {
        return Err(format!("{source} names nothing; write env:NAME or file:PATH"));
    }
    let (place, secret) = if let Some(name) = source.strip_prefix("env:") {
        let value = std::env::var_os(name).ok_or_else(|| format!("the variable {name} is not set"))?;
        (format!("the variable {name}"), value.into_encoded_bytes())
    } else if let Some(path) = source.strip_prefix("file:") {
        let secret = from_file(path).map_err(|error| format!("cannot read the file {path}: {error}"))?;
        (format!("the file {path}"), secret)
    } else {
        return Err("must be env:NAME or file:PATH; a secret is never taken from the command line".to_owned());
    };
    if secret.is_empty() {
        return Err(format!("{place} is empty"));
    }
    Ok(Secret::new(secret))
}

/// Sets an option to the secret that `source` names, which was `loaded` from there. What stands in a plain file is read again before
/// every login; a variable does not change, and a pipe gives its secret once.
pub(crate) fn set(options: &mut Options, name: &str, loaded: Secret, source: &str) {
    let plain = |path: &str| fs::metadata(path).is_ok_and(|found| found.is_file());
    if source.strip_prefix("file:").is_some_and(plain) {
        let source = source.to_owned();
        options.set_secret_from(name, loaded, move || load(&source));
    } else {
        options.set_secret(name, loaded);
    }
}

fn from_file(path: &str) -> std::io::Result<Vec<u8>> {
    let mut secret = Vec::new();
    fs::File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_end(&mut secret)?;
    if secret.len() as u64 > MAX_SECRET_BYTES {
        let why = format!("it is longer than the {MAX_SECRET_BYTES} bytes a secret may have");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    }
    if secret.ends_with(b"\n") {
        secret.pop();
        if secret.ends_with(b"\r") {
            secret.pop();
        }
    }
    Ok(secret)
}
