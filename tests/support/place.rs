//! Where things lie in the workspace.

use std::path::PathBuf;

/// The folder of the workspace tests: peers, drivers and vectors lie under it.
pub fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder that holds prepared foreign packages and the record of skipped tests.
///
/// `CARGO_TARGET_DIR` when that is set, else `target` at the top of the workspace.
pub fn foreign() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(named) => tests().join("..").join(named),
        None => tests().join("../target"),
    };
    target.join("foreign")
}

/// The file that names every test that was skipped and why: one line each, a tab between the two.
pub fn skipped() -> PathBuf {
    foreign().join("skipped.log")
}
