//! A folder for the files of one test, which is gone when the test has ended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

struct Folder(PathBuf);

impl Folder {
    fn next() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self::new(NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    fn new(number: u64) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_that_was_killed_has_left_is_gone() {
        let Folder(path) = &Folder::new(u64::MAX);
        std::fs::write(path.join("left"), "").unwrap();
        let Folder(again) = &Folder::new(u64::MAX);
        assert_eq!(path, again);
        assert_eq!(std::fs::read_dir(again).unwrap().count(), 0);
    }
}
