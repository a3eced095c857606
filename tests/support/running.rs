//! Whether a process runs that is nobody's child here, by its number.

use std::process::Command;
use std::time::Duration;

/// How long one may take to end.
const LIMIT: Duration = Duration::from_secs(30);

/// Does this process run? One that has ended may still wait for somebody to look at its end.
///
/// # Panics
/// When there is no `ps`.
pub fn runs(id: &str) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", id]).output().expect("there is ps").stdout;
    !state.trim_ascii().is_empty() && !state.starts_with(b"Z")
}

/// Waits until this process has ended.
///
/// # Panics
/// When it takes longer than 30 seconds.
pub async fn gone(id: &str) {
    let gone = async {
        while runs(id) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("it is ended");
}
