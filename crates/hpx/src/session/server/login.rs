//! Logging in: who asks, whether that is judged now, and the session that comes of it.

use bytes::Bytes;
use polywire_core::{Action, ByteString, Credentials, Identity, Refusal, Secret, json};

use super::{Context, Refused, ServerSession};
use crate::config::ServerConfig;
use crate::wire::{self, AUTHENTICATED};

/// Longest name a user may have, in bytes: names that failed are remembered, and must stay small.
const MAX_NAME_BYTES: usize = 255;

/// A login that is being judged.
pub(super) struct Login {
    id: Option<Bytes>,
    subject: ByteString,
}

impl ServerSession {
    pub(super) fn login(
        &mut self,
        data: &Bytes,
        id: Option<&Bytes>,
        cx: Context<'_, '_>,
    ) -> Result<(), Refused> {
        let config = &self.shared.config;
        let limits = &config.wire.limits.json;
        let wrong = || Refused::new(411, "Wrong credentials");
        let field = |name: &'static str| match wire::member(data, name, limits) {
            None if !config.guests => Err(Refused::new(412, format!("JSON dict missing '{name}' key"))),
            None => Ok(None),
            Some(value) if matches!(&value[..], b"null" | b"\"\"") => Ok(None),
            Some(value) => json::as_string(&value).map(|text| Some(text.into_owned())).ok_or_else(wrong),
        };
        let (subject, password) = match (field("user")?, field("password")?) {
            (Some(subject), Some(password)) => (ByteString::from(subject), Secret::from(password)),
            (None, None) if config.guests => return self.logged_in(Identity::guest(), id, cx),
            (None, None) => return Err(Refused::login_required()),
            _ => return Err(wrong()),
        };
        if subject.len() > MAX_NAME_BYTES {
            let text = format!(
                "a user name of {} bytes exceeds the {MAX_NAME_BYTES} bytes it may have",
                subject.len()
            );
            return Err(Refused(411, text));
        }
        if !self.passwords {
            let text = "a password in clear text is only accepted from this machine: use TLS";
            return Err(Refused::new(407, text));
        }
        if let Some(pause) = self.shared.pause(&subject, self.address, cx.now()) {
            let ServerConfig { wire, max_failed_logins_per_name: name, .. } = self.shared.config();
            let text = format!(
                "too many failed logins (max_failed_logins_per_name = {name}, max_failed_logins = {} of one address): try again in {} s",
                wire.limits.max_failed_logins,
                pause.as_secs().saturating_add(1)
            );
            return Err(Refused(411, text));
        }
        self.login = Some(Login { id: id.cloned(), subject: subject.clone() });
        cx.act(Action::Authenticate(Credentials::new(subject, password)));
        Ok(())
    }

    fn logged_in(
        &mut self,
        identity: Identity,
        id: Option<&Bytes>,
        cx: Context<'_, '_>,
    ) -> Result<(), Refused> {
        let entry = self
            .shared
            .table
            .create(identity, self.address, cx.random(), cx.now())
            .map_err(|full| Refused(400, full.to_string()))?;
        self.seen = entry.quoted.clone();
        self.unknown_in_a_row = 0;
        self.establish(&entry.identity, cx);
        self.reply(&entry.quoted, AUTHENTICATED, id, cx);
        self.current = Some(entry);
        Ok(())
    }

    /// The judgement on the login.
    pub(super) fn judged(&mut self, verdict: Result<Identity, Refusal>, cx: Context<'_, '_>) {
        let Some(Login { id, subject }) = self.login.take() else { return };
        let done = match verdict {
            Ok(identity) => {
                // The failures of the address are not made good by one name.
                self.shared.failed_names.succeeded(&*subject);
                self.logged_in(identity, id.as_ref(), cx)
            }
            Err(refusal) => {
                self.shared.failed(&subject, self.address, cx.now());
                Err(Refused(411, refusal.reason))
            }
        };
        if let Err(refused) = done {
            self.refuse(&refused, id.as_ref(), cx);
        }
    }
}
