//! From envelopes to frames.

use bytes::BytesMut;
use polywire_core::{Body, CallId, Code, Count, Event, Failure, Request, Response, Route, json};

use super::{Greeting, Sending, Session, SessionCx, is_typed};
use crate::codec::Frame;
use crate::config::Calls;
use crate::control;
use crate::id::Id;
use crate::tables::Reply;
use crate::translate::{self, Carrier};
use crate::wire::{Link, Message};

impl Session {
    /// Why something can never leave, if so.
    pub(super) fn refusal(&self, route: &Route, body: &Body, call: bool) -> Option<Failure> {
        let no = |why: &'static str| Some(Failure::new(Code::Unimplemented, why));
        if self.bare() {
            return match body {
                _ if call => no("peers of bare JSON values know no requests"),
                Body::Json(text) => translate::check_bare(text, &self.limits).err(),
                Body::Empty | Body::Binary(_) => no("peers of bare JSON values take JSON values only"),
            };
        }
        if let Err(failure) = translate::check(route, body) {
            return Some(failure);
        }
        if call && self.config.calls == Calls::Request && route.is_empty() {
            let why = "requests of the 1.x library need a name: it asks the data for one, and dies of null";
            return Some(Failure::new(Code::InvalidArgument, why));
        }
        if !is_typed(route, body) {
            return None;
        }
        if call && self.config.calls == Calls::Request {
            return no("requests of the 1.x library carry no typed buffers; use the route Buffer");
        }
        if !self.config.asks_binary() {
            return no(
                "typed buffers need binary mode, which mode, switch or peer_type of this end rules out",
            );
        }
        match self.greeting {
            Greeting::Done { binary: false } => {
                no("the peer refused binary mode, so it takes no typed buffers")
            }
            Greeting::Absent => no("the peer made no handshake, so it takes no typed buffers"),
            Greeting::Done { binary: true } | Greeting::Awaited | Greeting::Offered { .. } => None,
        }
    }

    pub(super) fn send_message(&mut self, route: Route, body: Body, link: Link, cx: &mut SessionCx<'_>) {
        if is_typed(&route, &body) {
            // Held back by the codec if a fence begins here; what comes later waits at the gate.
            self.switch(cx);
        }
        cx.write(Frame::Message(Message { kind: route, data: translate::from_body(body), link }));
    }

    pub(super) fn send_request(&mut self, call: CallId, request: Request, cx: &mut SessionCx<'_>) {
        let id = Id::own(self.own.id(call.0));
        match self.config.calls {
            Calls::Callback => self.send_message(request.route, request.body, Link::Ask(id), cx),
            Calls::Request => {
                let text = translate::to_text(translate::from_body(request.body));
                cx.write(Frame::Message(control::request(&id, &request.route, &text)));
            }
        }
    }

    pub(super) fn send_event(&mut self, event: Event, cx: &mut SessionCx<'_>) {
        match event.body {
            Body::Json(text) if self.bare() => {
                let mut compact = BytesMut::with_capacity(text.as_bytes().len());
                json::write_compact(&mut compact, text.as_bytes());
                cx.write(Frame::Line(compact.freeze()));
            }
            body => self.send_message(event.route, body, Link::None, cx),
        }
    }

    /// Answers a request. No gate holds an answer back, but during a fence the codec does.
    pub(super) fn respond(
        &mut self,
        reply: &Reply,
        result: Result<Response, Failure>,
        cx: &mut SessionCx<'_>,
    ) {
        if !reply.packet {
            let typed = matches!(&result, Ok(response) if translate::is_typed(&response.body));
            // Only a frame asks with an empty id.
            let unnamed = reply.id.is_empty();
            if (typed || unnamed) && reply.id.fits_frame() {
                // A line would lose the type, and with an empty id be no answer.
                self.switch(cx);
            }
            if unnamed && matches!(self.sending, Sending::Lines) {
                return cx.count(Count::AnswersDropped);
            }
        }
        let carrier = match self.sending {
            _ if reply.packet => Carrier::Packet,
            Sending::Lines => Carrier::Line,
            Sending::Draining | Sending::Fenced | Sending::Probing | Sending::Frames => Carrier::Frame,
        };
        let (kind, data) = translate::from_result(result, carrier);
        cx.write(Frame::Message(if reply.packet {
            control::response(&reply.id, &kind, &translate::to_text(data))
        } else {
            Message { kind, data, link: Link::Answer(reply.id.clone()) }
        }));
    }
}
