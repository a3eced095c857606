//! Whether a process that is no child of this one still runs, by its number.

use std::time::Duration;

/// How long one may take to end.
const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Does this process run? One that has ended may still wait for somebody to look at its end.
///
/// # Panics
/// When there is no `ps` where the system has no `/proc`.
pub fn runs(id: &str) -> bool {
    state(id).is_some_and(|state| state != 'Z')
}

/// The letter of its state, while it has one.
#[cfg(target_os = "linux")]
fn state(id: &str) -> Option<char> {
    let told = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Behind its name, which may hold whatever a name may.
    told.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The letter of its state, while it has one.
#[cfg(not(target_os = "linux"))]
fn state(id: &str) -> Option<char> {
    let told = std::process::Command::new("ps").args(["-o", "stat=", "-p", id]).output();
    let told = told.expect("there is ps").stdout;
    told.trim_ascii().first().copied().map(char::from)
}

/// Waits until this process has ended.
///
/// # Panics
/// When it takes longer than 30 seconds.
pub async fn gone(id: &str) {
    let gone = async {
        while runs(id) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("it is ended");
}
