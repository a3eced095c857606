//! A list of function calls: its entries run one after the other, and what they give is gathered into one reply.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Action, Code, Delivery, Failure, Identity, Request, Response, Retry, Route, copied, json,
};

use super::super::table::Entry;
use super::{Context, Refused, ServerSession, Turn};
use crate::translate;
use crate::wire::FunctionCall;

/// A list of function calls that is being worked off.
pub(super) struct Batch {
    id: Option<Bytes>,
    identity: Arc<Identity>,
    calls: std::vec::IntoIter<FunctionCall>,
    /// The name of the function that runs, as JSON text.
    running: Bytes,
    /// The reply so far.
    reply: BytesMut,
    /// From this size on an answer becomes a failure: no longer message is sent than this side would take.
    max_bytes: usize,
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
        self.batch = Some(Batch {
            id: id.cloned(),
            identity: Arc::clone(&entry.identity),
            calls: calls.into_iter(),
            running: Bytes::new(),
            reply,
            max_bytes: self.shared.config.wire.max_inflated_bytes,
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
                    batch.finished(&Err(failure));
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

    pub(super) fn finished(&mut self, result: &Result<Response, Failure>) {
        if self.reply.last() != Some(&b'[') {
            self.reply.extend_from_slice(b",");
        }
        let body = result.as_ref().map_or(0, |response| response.body.len());
        if self.reply.len().saturating_add(body) > self.max_bytes {
            let text = format!(
                "the function ran, and with its answer of {body} bytes the reply exceeds max_inflated_bytes = {}",
                self.max_bytes
            );
            let failure = Failure::new(Code::ResourceExhausted, text).with_retry(Retry::Never);
            return translate::write_result(&mut self.reply, &self.running, &Err(failure));
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
