//! File requests: read from the folder of the plugin that asks, a few at a time; everything else is handed on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use polywire_core::{Body, Code, Failure, Handler, HandlerFuture, Incoming, Kind, Response};
use tokio::sync::Semaphore;

use super::Folder;
use crate::plugin::FILE;

/// The folders of plugins, by id.
pub(super) struct Folders {
    known: Mutex<HashMap<String, Arc<Folder>>>,
    /// Files that may be read at a time.
    reads: Arc<Semaphore>,
}

impl Folders {
    pub(super) fn new(reads: usize) -> Self {
        Self { known: Mutex::default(), reads: Arc::new(Semaphore::new(reads)) }
    }

    pub(super) fn serve(&self, id: &str, folder: Folder) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), Arc::new(folder));
    }

    fn of(&self, id: &str) -> Option<Arc<Folder>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Reads a file of plugin `id`, when it is its turn.
    async fn read(&self, id: String, path: String) -> Result<Response, Failure> {
        let unreadable = || refused("File cannot be read");
        let folder = self.of(&id).ok_or_else(unreadable)?;
        let _one_of_few = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| unreadable())?;
        let read = tokio::task::spawn_blocking(move || folder.read(&path)).await;
        match read {
            Ok(Ok(bytes)) => Ok(Response::from(Body::binary("", bytes))),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(unreadable()),
        }
    }
}

/// Serves files where a plugin has a folder, and hands on everything else.
pub(super) struct Files {
    folders: Arc<Folders>,
    other: Arc<dyn Handler>,
}

impl Files {
    pub(super) fn new(folders: Arc<Folders>, other: Arc<dyn Handler>) -> Self {
        Self { folders, other }
    }
}

impl Handler for Files {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind != Kind::Request || incoming.route != FILE {
            return self.other.call(incoming);
        }
        let identity = incoming.identity().map(|identity| identity.subject.to_string());
        let Some(id) = identity.filter(|id| self.folders.of(id).is_some()) else {
            return self.other.call(incoming);
        };
        let folders = Arc::clone(&self.folders);
        Box::pin(async move {
            let path = match &incoming.body {
                Body::Json(path) => path.parse::<String>().ok(),
                _ => None,
            };
            match path {
                Some(path) => folders.read(id, path).await,
                None => Err(refused("Invalid file path")),
            }
        })
    }
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::new(Code::PermissionDenied, why.into())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::HostConfig;
    use crate::tests::scratch::Scratch;

    #[tokio::test(start_paused = true)]
    async fn h21_four_files_are_read_at_a_time() {
        let folders = Folders::new(HostConfig::default().max_file_reads);
        let place = Scratch::new("reads");
        std::fs::write(place.path().join("a"), "a").unwrap();
        folders.serve("demo", Folder::new(place.path(), 100).unwrap());
        let reading = Arc::clone(&folders.reads).try_acquire_many_owned(4).unwrap();
        let mut read = pin!(folders.read("demo".into(), "a".into()));
        let waits = timeout(Duration::from_secs(60), &mut read).await;
        assert!(waits.is_err(), "it waits for its turn");
        drop(reading);
        assert_eq!(read.await.unwrap().body, Body::binary("", &b"a"[..]));
    }
}
