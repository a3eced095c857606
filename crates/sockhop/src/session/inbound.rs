//! From frames to deliveries.

use std::borrow::Cow;

use bytes::Bytes;
use polywire_core::{
    ByteString, CallId, Code, Count, Delivery, Due, Event, Failure, JsonText, Meta, Request, Route, json,
};

use super::{Sending, Session, SessionCx};
use crate::control::{self, Control};
use crate::id::{Id, OwnIds};
use crate::tables::Reply;
use crate::translate;
use crate::wire::{self, Bad, Name, Received, Value, Wanted};

impl Session {
    pub(super) fn on_line(&mut self, text: Bytes, cx: &mut SessionCx<'_>) {
        let text = if json::check_utf8(&text).is_ok() {
            text
        } else {
            cx.count(Count::Mended);
            wire::mend(&text).into()
        };
        if self.bare() {
            return self.on_bare(text, cx);
        }
        let limits = self.limits;
        let read = wire::read_line(&text, &limits);
        self.on_read(read, &text, cx);
    }

    pub(super) fn on_bare(&mut self, text: Bytes, cx: &mut SessionCx<'_>) {
        let Ok(text) = JsonText::new(text, &self.limits) else { return cx.count(Count::Undecodable) };
        match self.route(&Name::Missing, Some(text.as_bytes())) {
            Some(route) => cx.deliver(Delivery::Event(Event::new(route, text))),
            None => cx.count(Count::BadRoute),
        }
    }

    pub(super) fn on_read(&mut self, read: Result<Received<'_>, Bad>, frame: &Bytes, cx: &mut SessionCx<'_>) {
        let received = match read {
            Ok(received) => received,
            Err(bad) => return cx.count(bad.count()),
        };
        if received.mended {
            cx.count(Count::Mended);
        }
        let control = match &received.kind {
            Name::Text(kind) => Control::named(kind),
            Name::Missing | Name::Odd => None,
        };
        match (control, received.link) {
            (Some(Control::Handshake), _) => self.on_handshake(&received, cx),
            (Some(Control::Transition), _) => self.on_transition(cx),
            (Some(Control::Ping), _) => self.on_ping(&received.data, cx),
            (Some(Control::Pong), _) => self.on_pong(&received.data, cx),
            (Some(Control::Request), _) => self.on_packet_request(&received.data, cx),
            (Some(Control::Response), _) => self.on_packet_response(&received.data, cx),
            (None, Wanted::Answer(id)) => match self.own.number(id.text()) {
                Some(OwnIds::HANDSHAKE) => self.on_handshake_answer(&received.data, cx),
                Some(number) => self.on_answer(CallId(number), received, frame, cx),
                None => cx.count(Count::OrphanReply),
            },
            (None, Wanted::Ask(id)) => match id.to_id() {
                Some(id) => self.on_request(Reply::new(id, false), received, frame, cx),
                None => cx.count(Count::Unexpected),
            },
            (None, Wanted::None) => self.on_event(received, frame, cx),
        }
    }

    pub(super) fn on_answer(
        &mut self,
        call: CallId,
        received: Received<'_>,
        frame: &Bytes,
        cx: &mut SessionCx<'_>,
    ) {
        let kind = match &received.kind {
            Name::Text(kind) => kind.as_ref(),
            // An answer without a usable type is what its data are.
            Name::Missing | Name::Odd => "",
        };
        let implied = received.data.json().map(translate::implied);
        let kind = if kind.is_empty() { implied.as_deref().unwrap_or_default() } else { kind };
        let body = translate::to_body(received.data, kind, frame, cx.pins(), &self.limits);
        let outcome = translate::to_outcome(kind, body, self.config.errors_in_reply, &self.limits);
        cx.deliver(Delivery::Response { call, outcome });
    }

    pub(super) fn on_request(
        &mut self,
        mut reply: Reply,
        received: Received<'_>,
        frame: &Bytes,
        cx: &mut SessionCx<'_>,
    ) {
        if self.sending != Sending::Lines && !reply.fits_frame() {
            return cx.count(Count::Unexpected);
        }
        if !self.running.begin(&mut reply) {
            return cx.count(Count::RepeatedId);
        }
        let Some(route) = self.route(&received.kind, received.data.json()) else {
            return self.refuse_route(&reply, cx);
        };
        let meta = meta(&received.kind, &received.data, &route, true);
        let kind = text_of(&received.kind);
        let body = translate::to_body(received.data, &kind, frame, cx.pins(), &self.limits);
        let request = Request { route, body, due: Due::Default, meta };
        cx.deliver(Delivery::Request { request, reply, identity: None });
    }

    /// A request whose type is no route is answered at once.
    fn refuse_route(&mut self, reply: &Reply, cx: &mut SessionCx<'_>) {
        self.running.end(reply);
        cx.count(Count::BadRoute);
        let failure =
            Failure::new(Code::InvalidArgument, "the type of the message is no text of at most 255 bytes");
        self.respond(reply, Err(failure), cx);
    }

    pub(super) fn on_event(&mut self, received: Received<'_>, frame: &Bytes, cx: &mut SessionCx<'_>) {
        if received.kind == Name::Missing && received.data == Value::Missing {
            return cx.count(Count::Unexpected);
        }
        let Some(route) = self.route(&received.kind, received.data.json()) else {
            return cx.count(Count::BadRoute);
        };
        let meta = meta(&received.kind, &received.data, &route, false);
        let kind = text_of(&received.kind);
        let body = translate::to_body(received.data, &kind, frame, cx.pins(), &self.limits);
        cx.deliver(Delivery::Event(Event { route, body, meta }));
    }

    /// The request of a 1.x peer: `{"uuid","data","type"}`.
    pub(super) fn on_packet_request(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        let limits = self.limits;
        let names = ["uuid", "type", "data"];
        let fields = data.json().and_then(|data| control::members(data, names, &limits));
        let Some([Some(uuid), kind, inner]) = fields else { return cx.count(Count::Unexpected) };
        let Some(id) = Id::from_json(uuid) else { return cx.count(Count::Unexpected) };
        let mut reply = Reply::new(id, true);
        if !self.running.begin(&mut reply) {
            return cx.count(Count::RepeatedId);
        }
        let kind = kind.map_or(Name::Missing, |kind| json::as_string(kind).map_or(Name::Odd, Name::Text));
        let Some(route) = self.route(&kind, inner) else {
            return self.refuse_route(&reply, cx);
        };
        let meta = meta(&kind, &inner.map_or(Value::Missing, Value::Line), &route, true);
        let body = translate::to_inner_body(inner, &text_of(&kind), &limits);
        let request = Request { route, body, due: Due::Default, meta };
        cx.deliver(Delivery::Request { request, reply, identity: None });
    }

    /// One answer of a 1.x peer; all but the last are progress.
    pub(super) fn on_packet_response(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        let limits = &self.limits;
        let names = ["uuid", "type", "data", "last"];
        let fields = data.json().and_then(|data| control::members(data, names, limits));
        let Some([Some(uuid), kind, inner, last]) = fields else { return cx.count(Count::Unexpected) };
        let own = json::as_string(uuid).and_then(|uuid| self.own.number(uuid.as_bytes()));
        let Some(call) = own.filter(|number| *number < OwnIds::RESERVED).map(CallId) else {
            return cx.count(Count::OrphanReply);
        };
        let kind = kind.and_then(json::as_string).unwrap_or_default();
        let body = translate::to_inner_body(inner, &kind, limits);
        if last.is_some_and(wire::is_truthy) {
            let outcome = translate::to_outcome(&kind, body, self.config.errors_in_reply, limits);
            cx.deliver(Delivery::Response { call, outcome });
        } else {
            cx.deliver(Delivery::Progress { call: Some(call), body });
        }
    }

    /// The route of a message: what `name_from` points at, else its type, else what the data imply.
    pub(super) fn route(&mut self, kind: &Name<'_>, data: Option<&[u8]>) -> Option<Route> {
        let config = &self.config;
        let pointed = config.name_from.as_deref().zip(data);
        if let Some(name) = pointed.and_then(|(at, data)| translate::text_at(at, data, &self.limits)) {
            return self.routes.get(&name).ok();
        }
        match kind {
            Name::Text(kind) => match data.map(translate::implied) {
                // The types of stock peers stand in the program: their names cost nothing to share.
                Some(implied) if implied.as_str() == kind => Some(implied),
                _ => self.routes.get(kind).ok(),
            },
            Name::Missing => data.map(translate::implied),
            Name::Odd => None,
        }
    }
}

fn text_of<'a>(kind: &'a Name<'_>) -> Cow<'a, str> {
    match kind {
        Name::Text(kind) => Cow::Borrowed(kind),
        Name::Missing | Name::Odd => Cow::Borrowed(""),
    }
}

/// The facts beside a body: its type, where the route does not tell it, and for a request also where the data do not.
fn meta(kind: &Name<'_>, data: &Value<'_>, route: &Route, request: bool) -> Meta {
    let Name::Text(kind) = kind else { return Meta::default() };
    let tells = match data {
        Value::Bytes(_) => true,
        data if request => data.json().is_some_and(|text| translate::implied(text).as_str() == kind),
        _ => route.as_str() == kind,
    };
    if tells {
        return Meta::default();
    }
    // The bytes of the route are there already.
    let shared = if route.as_str() == kind { ByteString::try_from(route.to_bytes()).ok() } else { None };
    Meta::default().with(translate::TYPE, shared.unwrap_or_else(|| kind.as_ref().into()))
}
