//! Names and passwords that a server knows: a ready-made judge of logins.
//!
//! Passwords are kept as slow salted hashes, and a name that does not exist costs as much time as one that does.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use polywire_core::{
    Authenticate, BoxFuture, ByteString, Credentials, Identity, Random, Refusal, Secret, SystemRandom,
};
use scrypt::{Params, scrypt};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// Memory of one hash is 128 · 8 · 2^15 bytes = 32 MiB, its time some 60 ms.
const DEFAULT_COST: u8 = 15;
/// Hashes computed at once, which bounds the memory that logins can cause.
const AT_ONCE: usize = 2;

/// Users and their passwords.
#[derive(Clone)]
pub struct Users {
    known: HashMap<ByteString, Stored>,
    params: Params,
    nobody: Stored,
    turns: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
struct Stored {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl Users {
    /// Nobody yet, at the default cost.
    pub fn new() -> Self {
        Self::with_cost(DEFAULT_COST)
    }

    /// Nobody yet; one hash takes time and memory in proportion to 2^`log_n` (5 to 20). Lower it for tests only.
    pub fn with_cost(log_n: u8) -> Self {
        let params = Params::new(log_n.clamp(5, 20), 8, 1).unwrap_or(Params::RECOMMENDED);
        let nobody = Stored { salt: [0; 16], hash: [0; 32] };
        Self { known: HashMap::new(), params, nobody, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Adds a user, or replaces the password of one. Takes the time of one hash.
    #[must_use]
    pub fn with(mut self, name: impl Into<ByteString>, password: &Secret) -> Self {
        let mut stored = Stored { salt: [0; 16], hash: [0; 32] };
        SystemRandom.fill(&mut stored.salt);
        stored.hash = hash(&self.params, &stored.salt, password);
        self.known.insert(name.into(), stored);
        self
    }
}

impl Default for Users {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.known.len())
    }
}

impl Authenticate for Users {
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        let subject = credentials.subject.unwrap_or_default();
        let password = credentials.secret.unwrap_or_else(|| Secret::from(""));
        let known = self.known.get(&subject).copied();
        let (stored, params, turns) = (known.unwrap_or(self.nobody), self.params, Arc::clone(&self.turns));
        Box::pin(async move {
            let _turn = turns.acquire_owned().await;
            let right = tokio::task::spawn_blocking(move || {
                hash(&params, &stored.salt, &password).ct_eq(&stored.hash).into()
            });
            if known.is_some() & right.await.unwrap_or(false) {
                Ok(Identity::user(subject))
            } else {
                Err(Refusal::new("Wrong credentials"))
            }
        })
    }
}

fn hash(params: &Params, salt: &[u8; 16], password: &Secret) -> [u8; 32] {
    let mut hash = [0; 32];
    if scrypt(password.expose(), salt, params, &mut hash).is_err() {
        // Only a hash of a wrong length fails; should it ever, nothing equals it.
        SystemRandom.fill(&mut hash);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p16_the_right_password_of_a_known_name_alone_is_accepted() {
        let users = Users::with_cost(5).with("alice", &Secret::from("s3cret"));
        let judge = |name: &'static str, password: &'static str| {
            users.authenticate(Credentials::new(name, Secret::from(password)))
        };
        assert_eq!(judge("alice", "s3cret").await, Ok(Identity::user("alice")));
        for (name, password) in [("alice", "s3cre"), ("alice", ""), ("bob", "s3cret"), ("", "")] {
            let refusal = judge(name, password).await.unwrap_err();
            assert_eq!(refusal.to_string(), "login refused: Wrong credentials");
        }
        assert_eq!(format!("{users:?}"), "Users(1)");
    }
}
