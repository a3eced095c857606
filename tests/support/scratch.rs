//! A folder for the files of one test, which is gone when the test has ended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder itself; its test stands in the one library that uses this, not in every program that does.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    fn next() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self::new(NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn new(number: u64) -> Self {
        let path = std::env::temp_dir().join(format!("polywire-{}-scratch-{number}", std::process::id()));
        // A run that was killed may have left one of this name.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the folder for passing files is writable");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is no reason to fail a test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The path of a file of this name in the folder of the test that asks. A test has a thread of its own: the folder goes with it.
#[must_use]
pub fn scratch(name: &str) -> PathBuf {
    thread_local!(static FOLDER: Folder = Folder::next());
    FOLDER.with(|folder| folder.0.join(name))
}
