//! A folder of a test's own.

use std::fs;
use std::path::{Path, PathBuf};

/// An empty folder at first. Gone when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// The folder of the test with this name.
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("polywire-hyperhq-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
