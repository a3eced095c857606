//! Commands to the server: sent like a call, answered by a word, by a greeting, or by the broadcast that they cause.

use bytes::Bytes;
use polywire_core::{Body, JsonText, Outcome, Part, Request};

use super::{ClientSession, Phase};
use crate::translate::{COMMAND, REQUEST_AUTH};
use crate::wire;

/// The session that a request goes out under. The greeting is asked for without one: an outdated session would be refused.
pub(super) fn session_for(request: &Request, session: Option<&Bytes>) -> Bytes {
    if request.meta.get(COMMAND).is_some() && &*request.route == REQUEST_AUTH {
        return Bytes::from_static(b"\"\"");
    }
    session.cloned().unwrap_or_default()
}

impl ClientSession {
    /// The command in flight.
    pub(super) fn command(&self) -> Option<&str> {
        let request = &self.call.as_ref()?.request;
        request.meta.get(COMMAND).map(|_| &*request.route)
    }

    /// A broadcast came: is it what a command of ours has caused?
    pub(super) fn has_ended_it(&self) -> bool {
        self.phase == Phase::Ready && self.command().is_some_and(|command| command != REQUEST_AUTH)
    }

    /// What `data` says to the command in flight; `None` when there is none, or when it says nothing to it. The word `ok` is what
    /// clients of the later dialects wait for. Read in source: the types of npm 3.5.2.
    pub(super) fn answer_to_command(&self, data: &Part) -> Option<Outcome> {
        if self.command()? == REQUEST_AUTH {
            wire::member(data, "version", self.limits())?;
            return Some(Ok(Body::Json(JsonText::from_part(data.clone())).into()));
        }
        (&data[..] == b"\"ok\"").then(|| Ok(Body::Empty.into()))
    }
}
