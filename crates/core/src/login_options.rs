//! The login that the options of a target ask for, its secret read anew before every login.
//!
//! Adapters make one when they are dialled by a [`Target`](crate::Target); the supervisor asks it. What it reads again it does not keep.

use std::fmt;
use std::sync::Arc;

use crate::adapter::{AdapterError, Options};
use crate::credentials::{BoxFuture, CredentialSource, Credentials};
use crate::failure::{Code, Failure};

/// What makes credentials of options.
type Make = dyn Fn(&Options) -> Result<Credentials, AdapterError> + Send + Sync;

/// Credentials made of options. Their secret, where [`Options::set_secret_from`] has set it, is read again before every login, so
/// that a token that was renewed where it stands is the one that is shown; otherwise they are made once, and of the options nothing
/// is kept.
pub struct LoginOptions(Login);

enum Login {
    Same(Credentials),
    ReadAgain(Arc<Renewed>),
}

/// What credentials are made of anew.
struct Renewed {
    options: Options,
    secret: &'static str,
    make: Box<Make>,
}

impl LoginOptions {
    /// A login with what `make` makes of `options`, of which the one called `secret` may change.
    ///
    /// # Errors
    /// What `make` says of the options as they are now.
    pub fn new(
        options: &Options,
        secret: &'static str,
        make: impl Fn(&Options) -> Result<Credentials, AdapterError> + Send + Sync + 'static,
    ) -> Result<Self, AdapterError> {
        let credentials = make(options)?;
        if !options.may_change(secret) {
            return Ok(Self(Login::Same(credentials)));
        }
        let renewed = Renewed { options: options.clone(), secret, make: Box::new(make) };
        Ok(Self(Login::ReadAgain(Arc::new(renewed))))
    }
}

impl Renewed {
    fn credentials(&self) -> Result<Credentials, Failure> {
        let failed = |why: String| Failure::new(Code::Unavailable, why);
        let options = self.options.read_again(self.secret).map_err(failed)?;
        (self.make)(&options).map_err(|error| failed(error.to_string()))
    }
}

impl CredentialSource for LoginOptions {
    fn credentials(&self, _attempt: u32) -> BoxFuture<'_, Result<Credentials, Failure>> {
        let renewed = match &self.0 {
            Login::Same(credentials) => return Box::pin(std::future::ready(Ok(credentials.clone()))),
            Login::ReadAgain(renewed) => Arc::clone(renewed),
        };
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || renewed.credentials()).await;
            read.unwrap_or_else(|_| Err(Failure::new(Code::Internal, "reading the secret panicked")))
        })
    }
}

impl fmt::Debug for LoginOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginOptions")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::secret::Secret;

    fn password(options: &Options) -> Result<Credentials, AdapterError> {
        match options.secret("password") {
            Some(secret) if secret.expose() != b"worn" => Ok(Credentials::new("ann", secret.clone())),
            _ => Err(AdapterError::Settings("no password".to_owned())),
        }
    }

    #[tokio::test]
    async fn a_secret_that_changed_where_it_stands_is_shown_at_the_next_login_and_what_is_wrong_is_told() {
        let place = Arc::new(Mutex::new(Ok("first")));
        let there = Arc::clone(&place);
        let read = move || {
            let held: Result<&str, &str> = *there.lock().unwrap();
            held.map(Secret::from).map_err(str::to_owned)
        };
        let mut options = Options::new();
        options.set_secret_from("password", Secret::from("first"), read);
        let login = LoginOptions::new(&options, "password", password).unwrap();
        let shown = async || CredentialSource::credentials(&login, 1).await;
        for (held, expected) in [
            (Ok("first"), Ok("first")),
            (Ok("second"), Ok("second")),
            (Err("the file is gone"), Err("unavailable: password: the file is gone")),
            (Ok("worn"), Err("unavailable: no password")),
            (Ok("third"), Ok("third")),
        ] {
            *place.lock().unwrap() = held;
            match (shown().await, expected) {
                (Ok(credentials), Ok(secret)) => {
                    assert!(credentials.secret.unwrap().matches(secret.as_bytes()), "{secret}");
                }
                (Err(failure), Err(why)) => assert_eq!(failure.to_string(), why),
                (shown, expected) => panic!("{shown:?}, not {expected:?}"),
            }
        }
        assert!(!format!("{login:?}").contains("first"));
    }

    #[tokio::test]
    async fn what_cannot_change_is_made_once() {
        let mut options = Options::new();
        options.set_secret("password", Secret::from("first"));
        let made = Arc::new(Mutex::new(0));
        let count = Arc::clone(&made);
        let make = move |options: &Options| {
            *count.lock().unwrap() += 1;
            password(options)
        };
        let login = LoginOptions::new(&options, "password", make).unwrap();
        for attempt in 1..=2 {
            let shown = login.credentials(attempt).await.unwrap();
            assert!(shown.secret.unwrap().matches(b"first"));
        }
        assert_eq!(*made.lock().unwrap(), 1);
        // What makes them is not kept either.
        assert_eq!(Arc::strong_count(&made), 1);
        assert!(!format!("{login:?}").contains("first"));
    }

    #[test]
    fn what_is_wrong_from_the_beginning_is_told_at_once() {
        assert_eq!(
            LoginOptions::new(&Options::new(), "password", password).unwrap_err().to_string(),
            "no password"
        );
    }
}
