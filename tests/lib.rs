//! Shared parts of the workspace tests: foreign packages, child processes, recorded bytes.
//!
//! Nothing here touches an adapter, so everything here can judge one.
//!
//! | module | gives |
//! |---|---|
//! | [`place`] | folders of the workspace |
//! | [`install`] | npm and PyPI packages in exact versions, prepared once per machine |
//! | [`books`] | what must be true of a ledger at rest |
//! | [`bomb`] | a frame of HPX that is small on the wire and large in memory |
//! | [`framed`] | a frame of HPX as its peers make it |
//! | [`log`] | what this process logs, to be read |
//! | [`memory`] | the memory this process holds |
//! | [`plugin_folder`] | the files that a HyperHQ plugin asks for |
//! | [`running`] | whether a process that is no child of this one still runs |
//! | [`scratch`] | a folder for the files of one test |
//! | [`skip`] | the one way to leave out a test whose foreign peer is missing |
//! | [`process`] | a child process spoken to line by line |
//! | [`driver`] | a child process that answers commands in JSON lines: every program of `tests/drivers` |
//! | [`peer`] | the foreign peers of `tests/peers`, started |
//! | [`odd`] | odd but legal messages, made from a seed |
//! | [`ends`] | the WebSocket wires with somebody else's program at the other end |
//! | [`harm`] | a trial of what our ends do to somebody else's |
//! | [`socketio`] | what the tests of the Socket.IO client share |
//! | [`vectors`] | the recorded bytes of `tests/vectors` |

#[path = "support/bomb.rs"]
pub mod bomb;
#[path = "support/books.rs"]
pub mod books;
#[path = "support/driver.rs"]
pub mod driver;
#[path = "support/ends.rs"]
pub mod ends;
#[path = "support/framed.rs"]
pub mod framed;
#[path = "support/harm.rs"]
pub mod harm;
#[path = "support/install.rs"]
pub mod install;
#[path = "support/log.rs"]
pub mod log;
#[path = "support/memory.rs"]
pub mod memory;
#[path = "support/odd.rs"]
pub mod odd;
#[path = "support/peer.rs"]
pub mod peer;
#[path = "support/place.rs"]
pub mod place;
#[path = "support/plugin_folder.rs"]
pub mod plugin_folder;
#[path = "support/process.rs"]
pub mod process;
#[path = "support/running.rs"]
pub mod running;
#[path = "support/scratch.rs"]
pub mod scratch;
#[path = "support/skip.rs"]
pub mod skip;
#[path = "support/socketio.rs"]
pub mod socketio;
#[path = "support/vectors.rs"]
pub mod vectors;

#[cfg(test)]
mod tests {
    use crate::scratch::Folder;

    #[test]
    fn what_a_run_that_was_killed_has_left_in_a_folder_for_scratch_files_is_gone() {
        let Folder(path) = &Folder::new(u64::MAX);
        std::fs::write(path.join("left"), "").unwrap();
        let Folder(again) = &Folder::new(u64::MAX);
        assert_eq!(path, again);
        assert_eq!(std::fs::read_dir(again).unwrap().count(), 0);
    }
}
