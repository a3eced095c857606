//! The files of a plugin's own folder, and nothing else.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};

/// A folder whose files may be given. It is held open: what its name comes to mean later does not matter.
#[derive(Debug)]
pub struct Folder {
    root: Dir,
    max_bytes: u64,
}

/// Why a file is not given. The words name no path of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path is empty, or holds what no path holds.
    #[error("Invalid file path")]
    Invalid,
    /// The path does not begin in the folder.
    #[error("Access denied: absolute path")]
    Absolute,
    /// The path, or a link on it, leads out of the folder.
    #[error("Access denied: path leaves the plugin directory")]
    Outside,
    /// There is nothing.
    #[error("File not found")]
    Missing,
    /// There is something else than a file.
    #[error("Not a file")]
    NotAFile,
    /// It is larger than `max_file_bytes`.
    #[error("File too large")]
    TooLarge,
    /// It cannot be read.
    #[error("File cannot be read")]
    Unreadable,
}

impl Folder {
    /// The files in `root` of at most `max_bytes` bytes.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn new(root: &Path, max_bytes: u64) -> io::Result<Self> {
        let root = Dir::open_ambient_dir(root, ambient_authority())?;
        Ok(Self { root, max_bytes })
    }

    fn open(&self, relative: &Path) -> Result<File, FileError> {
        self.root.open_with(relative, &options()).map_err(|error| fault(&error))
    }

    /// Reads the file at `path`, with `/` or `\` between names. Every step is taken from the folder's own handle, and no link
    /// may lead out of it. Blocks: run it where blocking is allowed.
    ///
    /// # Errors
    /// [`FileError`]; nothing outside of the folder was opened.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let relative = relative(path)?;
        // Looked at before it is opened, because to open some things is to do something to them.
        if !self.root.metadata(&relative).map_err(|error| fault(&error))?.is_file() {
            return Err(FileError::NotAFile);
        }
        let file = self.open(&relative)?;
        let metadata = file.metadata().map_err(|error| fault(&error))?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile);
        }
        if metadata.len() > self.max_bytes {
            return Err(FileError::TooLarge);
        }
        let mut bytes = Vec::new();
        // A file may grow while it is read.
        let most = self.max_bytes.saturating_add(1);
        file.take(most).read_to_end(&mut bytes).map_err(|error| fault(&error))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > self.max_bytes {
            return Err(FileError::TooLarge);
        }
        Ok(bytes)
    }
}

/// How a file is opened: a pipe that has come to be in its place is not waited for.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options
}

fn fault(error: &io::Error) -> FileError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::Missing,
        // An attempt to leave is refused before the system is asked.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => FileError::Outside,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => FileError::Invalid,
        _ => FileError::Unreadable,
    }
}

/// The path below the folder, judged before any disk is touched, and alike on every system.
fn relative(path: &str) -> Result<PathBuf, FileError> {
    if path.is_empty()
        || path.len() > 4_096
        || path.contains(['\0', '\u{7f}'])
        || path.chars().any(char::is_control)
    {
        return Err(FileError::Invalid);
    }
    let has_drive = path.as_bytes().get(1) == Some(&b':');
    if path.starts_with(['/', '\\']) || has_drive {
        return Err(FileError::Absolute);
    }
    let mut relative = PathBuf::new();
    for name in path.split(['/', '\\']) {
        match name {
            "" | "." => {}
            ".." => return Err(FileError::Outside),
            name => {
                if !is_plain(name) {
                    return Err(FileError::Invalid);
                }
                relative.push(name);
            }
        }
    }
    let only_names = relative.components().all(|part| matches!(part, Component::Normal(_)));
    match only_names {
        false => Err(FileError::Outside),
        true if relative.as_os_str().is_empty() => Ok(PathBuf::from(".")),
        true => Ok(relative),
    }
}

/// Names that mean something else on Windows are none anywhere: streams, devices, trailing dots and spaces.
fn is_plain(name: &str) -> bool {
    const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            rest.chars().count() == 1
                && rest.chars().all(|c| c.is_ascii_digit() || matches!(c, '¹' | '²' | '³'))
        })
    };
    let is_device = DEVICES.contains(&&*stem) || numbered("com") || numbered("lpt");
    !(name.contains(':') || name.ends_with(['.', ' ']) || is_device)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tests::scratch::Scratch;

    /// A folder with files, and a secret beside it.
    struct Place(Scratch);

    impl Place {
        fn new(name: &str) -> Self {
            let scratch = Scratch::new(name);
            let place = scratch.path();
            fs::create_dir_all(place.join("plugin/sub")).unwrap();
            fs::write(place.join("secret.txt"), "secret").unwrap();
            fs::write(place.join("plugin/a.txt"), "abc").unwrap();
            fs::write(place.join("plugin/sub/b..txt"), "b").unwrap();
            fs::write(place.join("plugin/large.bin"), vec![0; 101]).unwrap();
            Self(scratch)
        }

        fn folder(&self) -> Folder {
            Folder::new(&self.0.path().join("plugin"), 100).unwrap()
        }
    }

    #[test]
    fn h21_files_of_the_folder_are_given_however_their_path_is_spelled() {
        let place = Place::new("given");
        for path in ["a.txt", "./a.txt", ".\\a.txt", "sub/../a.txt", "sub//b..txt", "sub\\b..txt", "a.txt/"] {
            let given = place.folder().read(path);
            let wanted = !path.contains("..") || path.contains("b..txt");
            assert_eq!(given.is_ok(), wanted, "{path}: {given:?}");
        }
        assert_eq!(place.folder().read("a.txt").unwrap(), b"abc");
        for (path, why) in [
            ("large.bin", FileError::TooLarge),
            ("sub", FileError::NotAFile),
            ("zzz", FileError::Missing),
            (".", FileError::NotAFile),
            ("a.txt/b", FileError::Missing),
        ] {
            assert_eq!(place.folder().read(path), Err(why), "{path}");
        }
    }

    #[test]
    fn h21_no_spelling_of_a_path_leads_out_of_the_folder() {
        let place = Place::new("outside");
        let mut paths = vec![
            "/etc/hostname".to_owned(),
            "\\etc\\hostname".into(),
            "C:\\x".into(),
            "c:x".into(),
            "\\\\server\\share\\x".into(),
            "//server/share".into(),
            "\\\\?\\C:\\x".into(),
            "\\\\.\\pipe\\x".into(),
            "a.txt:stream".into(),
            "a.txt::$DATA".into(),
            "a.txt.".into(),
            "a.txt ".into(),
            "a\0.txt".into(),
            "a\n.txt".into(),
            String::new(),
            "x".repeat(5_000),
            "..".into(),
            "..\\".into(),
            "sub/../../secret.txt".into(),
            "sub\\..\\..\\secret.txt".into(),
            "./../secret.txt".into(),
        ];
        for device in ["con", "CON", "nul.txt", "prn", "aux.", "com1", "COM9.log", "lpt¹", "com²", "sub/nul"]
        {
            paths.push(device.into());
        }
        let up = [
            "..",
            "%2e%2e",
            "..%2f",
            "%252e%252e",
            "..%5c",
            "..\u{2215}",
            "..\u{29f5}",
            ".\u{202e}.",
            "\u{ff0e}\u{ff0e}",
            "..;",
            "...",
            "....",
            ". .",
            ".. ",
        ];
        for dots in up {
            for between in ["/", "\\", "//", "/./", "\\/"] {
                for before in ["", "sub/", "./"] {
                    paths.push(format!("{before}{dots}{between}secret.txt"));
                }
            }
        }
        assert!(paths.len() >= 200, "{}", paths.len());
        for path in paths {
            let given = place.folder().read(&path);
            assert!(given.is_err(), "{path:?} gave {given:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn h21_links_that_lead_out_pipes_and_devices_are_not_given() {
        use std::os::unix::fs::symlink;
        let place = Place::new("links");
        let folder = place.0.path().join("plugin");
        symlink(place.0.path().join("secret.txt"), folder.join("escape.txt")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("a.txt", folder.join("inside.txt")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        assert_eq!(place.folder().read("inside.txt").unwrap(), b"abc");
        assert_eq!(place.folder().read("escape.txt"), Err(FileError::Outside));
        assert_eq!(place.folder().read("up/secret.txt"), Err(FileError::Outside));
        assert_eq!(place.folder().read("zero"), Err(FileError::Outside));
        assert!(place.folder().read("loop").is_err());
        let pipe = folder.join("pipe");
        let made =
            std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success());
        assert!(made, "mkfifo is part of every Unix");
        assert_eq!(place.folder().read("pipe"), Err(FileError::NotAFile));
        // One that came after the look is opened without waiting for its writer.
        assert!(!place.folder().open(Path::new("pipe")).unwrap().metadata().unwrap().is_file());
    }

    #[cfg(unix)]
    #[test]
    fn h21_a_file_or_a_folder_that_has_become_a_link_since_the_look_is_not_opened() {
        use std::os::unix::fs::symlink;
        let place = Place::new("swapped");
        let (files, folder) = (place.folder(), place.0.path().join("plugin"));
        fs::write(folder.join("sub/secret.txt"), "abc").unwrap();
        for (name, outside, path) in [("a.txt", "../secret.txt", "a.txt"), ("sub", "..", "sub/secret.txt")] {
            assert_eq!(files.read(path).unwrap(), b"abc", "{path}");
            fs::rename(folder.join(name), folder.join("kept")).unwrap();
            for target in [PathBuf::from(outside), folder.join(outside)] {
                symlink(&target, folder.join(name)).unwrap();
                assert_eq!(fs::read(folder.join(path)).unwrap(), b"secret", "the link leads there");
                assert_eq!(files.open(Path::new(path)).unwrap_err(), FileError::Outside, "{path}");
                fs::remove_file(folder.join(name)).unwrap();
            }
            fs::rename(folder.join("kept"), folder.join(name)).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn h21_a_folder_whose_name_comes_to_mean_another_gives_its_own_files() {
        let place = Place::new("moved");
        let (files, folder) = (place.folder(), place.0.path().join("plugin"));
        fs::create_dir(place.0.path().join("other")).unwrap();
        fs::write(place.0.path().join("other/a.txt"), "secret").unwrap();
        fs::rename(&folder, place.0.path().join("moved")).unwrap();
        std::os::unix::fs::symlink("other", &folder).unwrap();
        assert_eq!(fs::read(folder.join("a.txt")).unwrap(), b"secret", "the link leads there");
        assert_eq!(files.read("a.txt").unwrap(), b"abc");
    }

    /// How many bytes this thread has read so far.
    #[cfg(target_os = "linux")]
    fn bytes_read() -> u64 {
        let said = fs::read_to_string("/proc/thread-self/io").unwrap();
        said.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn h21_ten_gigabytes_are_refused_unread() {
        let place = Place::new("huge");
        let huge = fs::File::create(place.0.path().join("plugin/huge.bin")).unwrap();
        huge.set_len(10_000_000_000).unwrap();
        let folder = Folder::new(&place.0.path().join("plugin"), 16 << 20).unwrap();
        let before = bytes_read();
        assert_eq!(folder.read("huge.bin"), Err(FileError::TooLarge));
        let read = bytes_read() - before;
        assert!(read < 10_000, "{read} bytes were read");
    }
}
