//! Derived keys, kept while somebody uses them: deriving one takes tens of milliseconds and 16 MiB, and a program may have many
//! ends with one shared key.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use polywire_core::Secret;

use crate::config::Config;
use crate::seal::{Key, WeakKey};

/// Most keys that are kept.
const MOST: usize = 64;

static KEPT: Mutex<Vec<(Secret, WeakKey)>> = Mutex::new(Vec::new());

/// Held by whoever derives: ends that start at once with one secret derive it once, and those with many secrets hold the memory
/// of one derivation at a time.
static DERIVING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The key both directions of a connection begin with, derived off the runtime's threads unless an end with the same secret has it.
pub(crate) async fn derive(config: &Arc<Config>) -> io::Result<Key> {
    if !config.encryption {
        return Ok(Key::none());
    }
    if let Some(key) = kept(&config.key) {
        return Ok(key);
    }
    let _only = DERIVING.lock().await;
    if let Some(key) = kept(&config.key) {
        return Ok(key);
    }
    let secret = config.key.clone();
    let key = tokio::task::spawn_blocking(move || Key::derive(secret.expose())).await?;
    let Some(weak) = key.downgrade() else { return Err(io::Error::other("the key cannot be derived")) };
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() < MOST {
        all.push((config.key.clone(), weak));
    }
    Ok(key)
}

/// The key of this secret, if it is in use. Forgets those that are not.
fn kept(secret: &Secret) -> Option<Key> {
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, key)| key.upgrade().is_some());
    all.iter().find(|(known, _)| known.matches(secret.expose())).and_then(|(_, key)| key.upgrade())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn x16_ends_that_start_at_once_derive_their_key_once() {
        let config = Arc::new(Config::new("a secret of two ends"));
        let (first, second) = tokio::join!(derive(&config), derive(&config));
        assert!(first.unwrap().is_same(&second.unwrap()), "derived twice");
    }

    /// This runtime has one thread: were the key derived on it, nothing else would run meanwhile.
    #[tokio::test]
    async fn x16_a_key_is_derived_off_the_threads_of_the_runtime() {
        let config = Arc::new(Config::new("a secret that takes its time"));
        let mut turns = 0;
        let others = async {
            loop {
                tokio::task::yield_now().await;
                turns += 1;
            }
        };
        tokio::select! {
            biased;
            key = derive(&config) => assert!(key.unwrap().seals()),
            () = others => {}
        }
        assert!(turns > 0, "nothing else ran");
    }

    #[tokio::test]
    async fn x16_a_key_is_derived_once_while_it_is_in_use() {
        let config = Arc::new(Config::new("a secret of this test alone"));
        let first = derive(&config).await.unwrap();
        let second = derive(&config).await.unwrap();
        assert!(first.is_same(&second), "derived again");
        assert!(!derive(&Arc::new(Config::new("another secret"))).await.unwrap().is_same(&first));
        drop((first, second));
        assert!(kept(&config.key).is_none(), "kept for nobody");
        let plain = Config { encryption: false, ..Config::new("a secret of this test alone") };
        assert!(!derive(&Arc::new(plain)).await.unwrap().seals());
    }
}
