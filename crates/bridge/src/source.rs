//! The text of a bridge file, and where in it something stands.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::ReadError;

/// Largest bridge file in bytes.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// A bridge file that was read.
#[derive(Clone)]
pub struct Source {
    name: String,
    folder: PathBuf,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Source {
    /// Reads the file at `path`. Secrets given as `file:` are looked for next to it.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read, is not UTF-8, or is larger than [`MAX_FILE_BYTES`].
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        let failed = |source| ReadError::Io { file: name.clone(), source };
        let mut bytes = Vec::new();
        let limit = MAX_FILE_BYTES.saturating_add(1);
        File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
            return Err(ReadError::TooLarge { file: name });
        }
        let text = String::from_utf8(bytes).map_err(|_| ReadError::NotUtf8 { file: name.clone() })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Self::new(name, text).in_folder(folder))
    }

    /// A bridge file that the program holds; `name` stands in findings.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at.saturating_add(1))).collect();
        Self { name: name.into(), folder: PathBuf::new(), text, lines }
    }

    /// The same, with secrets given as `file:` looked for in `folder`.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// The name of the file, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where secrets given as `file:` are looked for.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub(crate) fn line(&self, offset: usize) -> u32 {
        let line = self.lines.partition_point(|start| *start <= offset);
        u32::try_from(line).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}
