//! A plugin and what it started, as one group of processes. Where there are no groups, there is the plugin alone.

use tokio::process::{Child, Command};

/// Has the plugin lead a group of its own.
pub(super) fn lead(command: &mut Command) {
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(not(unix))]
    let _ = command;
}

/// The group that a plugin leads. Dropped, whoever is left in it is killed.
///
/// Dropped when its leader was just waited for, or runs: later its number may be somebody else's.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Group(rustix::process::Pid);

/// There is none.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) enum Group {}

impl Group {
    /// The group of a plugin that was just started.
    #[cfg(unix)]
    pub(super) fn of(child: &Child) -> Option<Self> {
        let number = i32::try_from(child.id()?).ok()?;
        rustix::process::Pid::from_raw(number).map(Self)
    }

    /// The group of a plugin that was just started.
    #[cfg(not(unix))]
    pub(super) fn of(_: &Child) -> Option<Self> {
        None
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        use rustix::process::{Signal, kill_process_group};
        // An error means that nobody is left.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}
