//! A Unix socket to listen at: only a dead one is replaced, only its owner may connect, and it is removed in the end.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use polywire_core::Listener;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::error::Error;

/// Peers that may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A listening socket and the file that stands for it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that another's file is never removed.
    file: Option<(u64, u64)>,
}

impl SocketFile {
    /// Listens at `path` with mode 0600.
    ///
    /// # Errors
    /// [`Error::Path`] when something is there that is not a dead socket of this user, [`Error::Listen`] with what the
    /// operating system says, for example that the path is too long.
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        make_room(path)?;
        let listen = |source| Error::Listen { address: path.display().to_string(), source };
        let socket = UnixSocket::new_stream().map_err(listen)?;
        socket.bind(path).map_err(listen)?;
        // Nobody can connect before it listens, so nobody meets the mode that the umask gave it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(listen)?;
        let file = fs::symlink_metadata(path).ok().map(|file| identity(&file));
        let listener = socket.listen(BACKLOG).map_err(listen)?;
        Ok(Self { listener, path: path.to_owned(), file })
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Removes the socket that a process left behind; refuses anything else.
fn make_room(path: &Path) -> Result<(), Error> {
    let refuse = |why| Err(Error::Path { path: path.display().to_string(), why });
    let listen = |source| Error::Listen { address: path.display().to_string(), source };
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(listen(error)),
    };
    if file.file_type().is_symlink() {
        return refuse("it is a link");
    }
    if !file.file_type().is_socket() {
        return refuse("it is a file, not a socket");
    }
    if own_user().is_some_and(|user| user != file.uid()) {
        return refuse("it is a socket of another user");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(listen)
        }
        Ok(_) => refuse("somebody listens there already"),
        Err(error) => Err(listen(error)),
    }
}

/// The user this process acts as, where the system tells.
fn own_user() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|file| file.uid())
}

impl Listener for SocketFile {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Option<String>)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, None))
    }

    fn address(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path).ok().map(|file| identity(&file));
        if there.is_some() && there == self.file {
            // Another process may have been quicker.
            let _ = fs::remove_file(&self.path);
        }
    }
}
