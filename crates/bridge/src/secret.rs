//! Secrets are named in a bridge file, never written into it: `env:NAME` or `file:PATH`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use polywire_core::{Authenticate, BoxFuture, Credentials, Identity, Options, Refusal, Secret};
use std::collections::HashMap;

use crate::finding::{Findings, Problem};
use crate::read::{At, Scalar};

/// Largest secret in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Reads the secret that `value` names, or notes why that cannot be. No finding shows any part of a secret.
pub(crate) fn read(key: &str, value: &At<Scalar>, folder: &Path, findings: &mut Findings) -> Option<Secret> {
    let Scalar::Text(named) = &value.value else {
        let text = format!("`{key}` is {}, which should name a secret", value.value.type_name());
        findings.add(Problem::Type, value.line, text, format!("write {key} = \"env:NAME\" or \"file:PATH\""));
        return None;
    };
    let read = match named.split_once(':') {
        Some(("env", name)) => match std::env::var(name) {
            Ok(secret) if secret.is_empty() => {
                Err((format!("the variable {name} is empty"), "set it, or name another"))
            }
            Ok(secret) => Ok(Secret::from(secret)),
            Err(_) => {
                Err((format!("the variable {name} is not set, or is not UTF-8"), "set it, or name another"))
            }
        },
        Some(("file", path)) => read_file(key, &folder.join(path), value.line, findings),
        _ => {
            let text = format!("`{key}` holds a secret in clear text");
            let fix = format!("move it out of the file and write {key} = \"env:NAME\" or \"file:PATH\"");
            findings.add(Problem::SecretLiteral, value.line, text, fix);
            return None;
        }
    };
    match read {
        Ok(secret) => Some(secret),
        Err((why, fix)) => {
            findings.add(
                Problem::Secret,
                value.line,
                format!("the secret `{key}` cannot be had: {why}"),
                fix,
            );
            None
        }
    }
}

fn read_file(
    key: &str,
    path: &Path,
    line: u32,
    findings: &mut Findings,
) -> Result<Secret, (String, &'static str)> {
    let shown = path.display();
    let file = open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().map_err(|error| unreadable(path, &error))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let text = format!("the secret `{key}` in {shown} has mode {mode:04o}: others may read it");
            findings.add(Problem::SecretMode, line, text, format!("chmod 600 {shown}"));
        }
    }
    content(file, path)
}

/// Has an option whose secret stands in a plain file read it again before every login.
pub(crate) fn set(options: &mut Options, name: &str, secret: Secret, value: &At<Scalar>, folder: &Path) {
    let path = match &value.value {
        Scalar::Text(named) => named.strip_prefix("file:").map(|path| folder.join(path)),
        _ => None,
    };
    match path.filter(|path| path.is_file()) {
        Some(path) => options.set_secret_from(name, secret, move || {
            open(&path).and_then(|file| content(file, &path)).map_err(|(why, _)| why)
        }),
        None => options.set_secret(name, secret),
    }
}

fn open(path: &Path) -> Result<File, (String, &'static str)> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> (String, &'static str) {
    let fix = match error.kind() {
        std::io::ErrorKind::NotFound => "put it there; a path begins beside this file",
        _ => "make the file readable for the bridge",
    };
    (format!("{}: {error}", path.display()), fix)
}

fn content(file: File, path: &Path) -> Result<Secret, (String, &'static str)> {
    let shown = path.display();
    let mut text = String::new();
    file.take(MAX_SECRET_BYTES.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err((format!("{shown} is empty"), "write the secret into it"));
    }
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_SECRET_BYTES {
        return Err((
            format!("{shown} exceeds the {MAX_SECRET_BYTES} bytes of a secret"),
            "name another file",
        ));
    }
    Ok(Secret::from(secret))
}

/// Who may log in at a server endpoint: the names of its `users` table, and guests where the wire lets them come this far.
pub(crate) struct Users(pub(crate) HashMap<String, Secret>);

impl Authenticate for Users {
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        let refused = || Err(Refusal::new("unknown name or wrong password"));
        let verdict = match (&credentials.subject, &credentials.secret) {
            (None, None) => Ok(Identity::guest()),
            (None, Some(_)) => refused(),
            (Some(subject), shown) => {
                let shown = shown.as_ref().map_or(&b""[..], Secret::expose);
                match self.0.get(&**subject) {
                    Some(secret) if secret.matches(shown) => Ok(Identity::user(subject.clone())),
                    _ => refused(),
                }
            }
        };
        Box::pin(std::future::ready(verdict))
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::{CredentialSource, LoginOptions};

    use super::*;

    #[tokio::test]
    async fn what_a_file_holds_is_read_anew_before_every_login() {
        let folder = std::env::temp_dir();
        let name = format!("polywire-{}.secret", std::process::id());
        let write = |secret: &str| std::fs::write(folder.join(&name), format!("{secret}\n")).unwrap();
        write("first");
        let value = At { value: Scalar::Text(format!("file:{name}")), line: 1 };
        let secret = read("password", &value, &folder, &mut Findings::default()).unwrap();
        let mut options = Options::new();
        set(&mut options, "password", secret, &value, &folder);
        let make =
            |options: &Options| Ok(Credentials::new("ann", options.secret("password").unwrap().clone()));
        let login = LoginOptions::new(&options, "password", make).unwrap();
        for secret in ["first", "second"] {
            write(secret);
            let shown = CredentialSource::credentials(&login, 1).await.unwrap().secret.unwrap();
            assert!(shown.matches(secret.as_bytes()), "{secret}");
        }
        write("");
        let failure = CredentialSource::credentials(&login, 1).await.unwrap_err().to_string();
        assert!(failure.ends_with(&format!("{name} is empty")), "{failure}");
        std::fs::remove_file(folder.join(&name)).unwrap();
    }
}
