//! A list of function calls: its entries run one after the other, and what they give is gathered into one reply.
//!
//! The reply is one frame, and most peers take none that this side would not take itself. Room for refusing each call is set
//! aside before the first runs, so that every call has its entry; an answer for which the rest has no room is refused.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use polywire_core::{Action, Code, Delivery, Failure, Identity, Request, Response, Route, copied, json};

use super::super::table::Entry;
use super::{Context, Refused, ServerSession, Turn};
use crate::codec::{escaped_len, longest_text};
use crate::config::Wire;
use crate::translate;
use crate::wire::{self, FunctionCall};

/// A list of function calls that is being worked off.
pub(super) struct Batch {
    id: Option<Bytes>,
    identity: Arc<Identity>,
    calls: std::vec::IntoIter<FunctionCall>,
    /// The name of the function that runs, as JSON text.
    running: Bytes,
    /// The reply so far.
    reply: BytesMut,
    /// Bytes that the reply has left if each function that has not run is refused.
    room: usize,
}

/// How long a reply may be, and what becomes of an answer that makes it longer.
pub(super) struct ReplyLimit {
    max_text: usize,
    setting: &'static str,
    max: usize,
    no_room: Failure,
    /// Bytes of an entry that says so, but for the function's name.
    no_room_bytes: usize,
}

impl ReplyLimit {
    /// The limit that readers with these settings apply: to a frame before it is inflated and to its text.
    pub(super) fn of(wire: &Wire) -> Self {
        let of_frame =
            (longest_text(wire.limits.max_frame_bytes), "max_frame_bytes", wire.limits.max_frame_bytes);
        let of_text = (wire.max_inflated_bytes, "max_inflated_bytes", wire.max_inflated_bytes);
        let (max_text, setting, max) = of_frame.min(of_text);
        let text = format!("the function ran, and the reply has no room for its answer: {setting} = {max}");
        let no_room = Failure::new(Code::ResourceExhausted, text);
        let mut entry = BytesMut::from(",");
        translate::write_result(&mut entry, b"", &Err(no_room.clone()));
        Self { max_text, setting, max, no_room, no_room_bytes: entry.len() }
    }

    /// What stands instead of a result for which there is no room: no longer than `no_room`.
    fn refusal(&self, result: &Result<Response, Failure>) -> Failure {
        match result {
            Ok(_) => self.no_room.clone(),
            // It may not have run.
            Err(failure) => Failure::new(failure.code, "failed, and the reply has no room for why"),
        }
    }

    /// Bytes of the entry that refuses the answer of `fname`.
    fn refusal_bytes(&self, fname: &[u8]) -> usize {
        self.no_room_bytes.saturating_add(escaped_len(fname))
    }

    /// What a reply has left that begins with `reply`, if all of `calls` are refused.
    fn room(&self, reply: &[u8], id: Option<&Bytes>, calls: &[FunctionCall]) -> Result<usize, Refused> {
        let mut end = BytesMut::from("]");
        wire::close(&mut end, id.map(|id| &id[..]));
        let refusals = calls.iter().map(|call| self.refusal_bytes(&call.fname));
        let least =
            refusals.fold(escaped_len(reply).saturating_add(escaped_len(&end)), usize::saturating_add);
        self.max_text.checked_sub(least).ok_or_else(|| {
            let (count, setting, max) = (calls.len(), self.setting, self.max);
            Refused(
                400,
                format!(
                    "a reply to {count} functions may have {least} bytes, which exceeds {setting} = {max}"
                ),
            )
        })
    }
}

impl ServerSession {
    pub(super) fn calls(
        &mut self,
        data: &Bytes,
        entry: &Entry,
        id: Option<&Bytes>,
        cx: Context<'_, '_>,
    ) -> Result<(), Refused> {
        let limits = &self.shared.config.wire.limits.json;
        let max = self.shared.config.max_batch;
        let calls = FunctionCall::read_list(data, max, limits)
            .map_err(|error| Refused::new(403, error.to_string()))?;
        let mut reply = self.begin(&entry.quoted);
        reply.extend_from_slice(b"[");
        let room = self.shared.reply_limit.room(&reply, id, &calls)?;
        self.batch = Some(Batch {
            id: id.cloned(),
            identity: Arc::clone(&entry.identity),
            calls: calls.into_iter(),
            running: Bytes::new(),
            reply,
            room,
        });
        cx.act(Action::Reading(false));
        self.next_call(cx);
        Ok(())
    }

    /// Hands over the next function of the list, or sends the reply when there is none left.
    pub(super) fn next_call(&mut self, cx: Context<'_, '_>) {
        let Some(batch) = &mut self.batch else { return };
        while let Some(FunctionCall { fname, arguments }) = batch.calls.next() {
            batch.running = fname;
            match route(&batch.running) {
                Some(route) => {
                    let identity = Some(Arc::clone(&batch.identity));
                    let request = Request::new(route, arguments);
                    cx.deliver(Delivery::Request { request, reply: Turn, identity });
                    return;
                }
                None => {
                    let failure = Failure::new(Code::NotFound, "no function has such a name");
                    batch.finished(&Err(failure), &self.shared.reply_limit);
                }
            }
        }
        if let Some(Batch { id, mut reply, .. }) = self.batch.take() {
            reply.extend_from_slice(b"]");
            self.write(reply, id.as_ref(), cx);
            cx.act(Action::Reading(true));
        }
    }
}

impl Batch {
    /// Memory that the reply so far takes.
    pub(super) fn keeps(&self) -> usize {
        self.reply.capacity()
    }

    pub(super) fn finished(&mut self, result: &Result<Response, Failure>, limit: &ReplyLimit) {
        let before = self.reply.len();
        self.write(result);
        let entry = escaped_len(self.reply.get(before..).unwrap_or_default());
        let room = self.room.saturating_add(limit.refusal_bytes(&self.running));
        match room.checked_sub(entry) {
            Some(left) => self.room = left,
            None => {
                self.reply.truncate(before);
                self.write(&Err(limit.refusal(result)));
            }
        }
    }

    fn write(&mut self, result: &Result<Response, Failure>) {
        if self.reply.last() != Some(&b'[') {
            self.reply.extend_from_slice(b",");
        }
        translate::write_result(&mut self.reply, &self.running, result);
    }
}

/// The route that a function's name is.
fn route(fname: &Bytes) -> Option<Route> {
    let inner = fname.len().checked_sub(1).and_then(|end| fname.get(1..end))?;
    if inner.contains(&b'\\') {
        return Route::new(json::as_string(fname)?.into_owned()).ok();
    }
    Route::from_bytes(copied(inner)).ok()
}
