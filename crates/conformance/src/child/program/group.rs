//! A program and what it started, as the one group of processes that ends with it. Where there are no groups, only the program itself does.

use tokio::process::{Child, Command};

/// Has the program lead a group of its own.
pub(super) fn lead(command: &mut Command) {
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(not(unix))]
    let _ = command;
}

/// The group that a program leads.
#[cfg(unix)]
pub(super) struct Group(std::sync::Mutex<Option<rustix::process::Pid>>);

#[cfg(unix)]
impl Group {
    /// The group of a program that was just started.
    pub(super) fn of(child: &Child) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Self(std::sync::Mutex::new(number.and_then(rustix::process::Pid::from_raw)))
    }

    /// Kills whoever is left in it. Once: afterwards its number may be somebody else's.
    pub(super) fn end(&self) {
        use rustix::process::{Signal, kill_process_group};
        let leader = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(leader) = leader {
            // An error means that nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Group;

#[cfg(not(unix))]
impl Group {
    pub(super) fn of(_: &Child) -> Self {
        Self
    }

    pub(super) fn end(&self) {}
}
