//! A folder for the files of one test, which is gone when the test has ended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("polywire-{}-scratch-{number}", std::process::id()));
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
    thread_local!(static FOLDER: Folder = Folder::new());
    FOLDER.with(|folder| folder.0.join(name))
}
