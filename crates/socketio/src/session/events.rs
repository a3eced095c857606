//! The upper half of plain Socket.IO: an event that wants an acknowledgement is a request, one that wants none an event, an
//! acknowledgement is a response.

use std::sync::Arc;

use polywire_core::{
    Action, Admit, Body, CallError, CallId, Code, Count, Cx, Delivery, Event, Failure, Identity, JsonError,
    JsonLimits, JsonText, Meta, Outbound, OutboundOf, Request, Response, Route, Session, copied, json,
};

use super::CONNECTED;
use crate::args::Args;
use crate::config::{Arguments, Config};
use crate::packet::{Kind, Packet, RESERVED};
use crate::stack::{Packets, Upper};
use crate::translate::{args_of, body_of, check};

/// Calls and events of one namespace.
#[derive(Debug)]
pub struct Events {
    config: Arc<Config>,
    json: JsonLimits,
    connected: bool,
}

impl Events {
    /// A namespace that is not granted yet.
    pub fn new(config: Arc<Config>, json: JsonLimits) -> Self {
        Self { config, json, connected: false }
    }

    fn emitted(&mut self, id: Option<u64>, args: Args, cx: &mut Cx<'_, Self>) {
        let Some(route) = route_of(&args) else { return cx.count(Count::BadRoute) };
        let (body, meta) = body_of(args, 1, cx.pins(), self.config.arguments, &self.json);
        cx.deliver(match id {
            Some(reply) => {
                let request = Request { meta, ..Request::new(route, body) };
                Delivery::Request { request, reply, identity: None }
            }
            None => Delivery::Event(Event { route, body, meta }),
        });
    }

    fn acknowledged(&mut self, id: Option<u64>, args: Args, cx: &mut Cx<'_, Self>) {
        // The id is the number of the call; the engine knows whether it is still waited for.
        let Some(call) = id.map(CallId) else { return cx.count(Count::OrphanReply) };
        let failure = match args.place(0).filter(|_| self.config.errors_in_reply && args.len() == 1) {
            Some(place) => Failure::from_json(&JsonText::from_validated(args.text().slice(place))),
            None => None,
        };
        let (body, meta) = body_of(args, 0, cx.pins(), self.config.arguments, &self.json);
        let outcome = match failure {
            Some(failure) => Err(CallError::Failure(failure)),
            None => Ok(Response { body, meta }),
        };
        cx.deliver(Delivery::Response { call, outcome });
    }

    /// What cannot be looked into is answered all the same, and an answer ends its call.
    fn beyond(&self, ack: bool, id: Option<u64>, error: &JsonError, cx: &mut Cx<'_, Self>) {
        match id {
            Some(call) if ack => {
                let (call, outcome) = (CallId(call), Err(CallError::unread(error)));
                return cx.deliver(Delivery::Response { call, outcome });
            }
            Some(id) => self.answer(id, Err(Failure::new(Code::InvalidArgument, error.to_string())), cx),
            None => {}
        }
        cx.count(Count::BadBody);
    }

    fn args(&self, name: Option<&Route>, body: Body, meta: &Meta) -> Args {
        args_of(name, body, meta, self.config.arguments)
    }

    /// Can this leave?
    fn check(&self, body: &Body, meta: &Meta) -> Result<(), Failure> {
        let count = meta.attachments().len().max(usize::from(matches!(body, Body::Binary(_))));
        if count > self.config.max_attachments {
            let max = self.config.max_attachments;
            let why = format!("{count} attachments exceed max_attachments = {max}");
            return Err(Failure::new(Code::InvalidArgument, why));
        }
        check(body, meta, self.config.arguments, &self.json)
    }

    fn answer(&self, id: u64, result: Result<Response, Failure>, cx: &mut Cx<'_, Self>) {
        let result = result.and_then(|response| {
            let Response { body, meta } = &response;
            self.check(body, meta).map(|()| response)
        });
        let args = match result {
            Ok(Response { body, meta }) => self.args(None, body, &meta),
            Err(failure) if failure.unrouted && !self.config.answer_unrouted => return,
            Err(failure) => {
                // In every form of arguments the failure is the only one.
                args_of(None, Body::Json(failure.to_json()), &Meta::default(), Arguments::One)
            }
        };
        write(Kind::Ack { id: Some(id), args }, cx);
    }
}

fn write(kind: Kind, cx: &mut Cx<'_, Events>) {
    // The namespace is the link's.
    cx.write(Packet::main(kind));
}

/// The name of an event as a route: text as it is, a number as its digits.
fn route_of(args: &Args) -> Option<Route> {
    let place = args.place(0)?;
    match args.text().get(place)? {
        [b'"', inner @ .., b'"'] if inner.contains(&b'\\') => {
            Route::new(json::unescape(inner)?.into_owned()).ok()
        }
        [b'"', inner @ .., b'"'] => Route::from_bytes(copied(inner)).ok(),
        name => Route::from_bytes(copied(name)).ok(),
    }
}

impl Session for Events {
    type Codec = Packets;
    type Reply = u64;
    type Command = ();

    fn open(&mut self, _: &mut Cx<'_, Self>) {}

    fn receive(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        match packet.kind {
            Kind::Event { id, args } => self.emitted(id, args, cx),
            Kind::Ack { id, args } => self.acknowledged(id, args, cx),
            Kind::Beyond { ack, id, error, .. } => self.beyond(ack, id, &error, cx),
            Kind::Connect(_) | Kind::ConnectError(_) | Kind::Disconnect => cx.count(Count::Unexpected),
        }
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let (route, body, meta) = match outbound {
            Outbound::Request { request, .. } => (&request.route, &request.body, &request.meta),
            Outbound::Event(event) => (&event.route, &event.body, &event.meta),
            _ => return Admit::Now,
        };
        if RESERVED.contains(&&**route) {
            let why = format!("{:?} is a name that Socket.IO keeps for itself", &**route);
            return Admit::Refuse(Failure::new(Code::InvalidArgument, why));
        }
        if let Err(failure) = self.check(body, meta) {
            return Admit::Refuse(failure);
        }
        if self.connected { Admit::Now } else { Admit::Hold(CONNECTED) }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => {
                let args = self.args(Some(&request.route), request.body, &request.meta);
                write(Kind::Event { id: Some(call.0), args }, cx);
            }
            Outbound::Event(event) => {
                let args = self.args(Some(&event.route), event.body, &event.meta);
                write(Kind::Event { id: None, args }, cx);
            }
            Outbound::Response { reply, result } => self.answer(reply, result, cx),
            // Nothing to forget: an answer that comes late finds no call.
            Outbound::Cancel(_) | Outbound::Command(()) => {}
        }
    }
}

impl Upper for Events {
    fn connected(&mut self, identity: Identity, cx: &mut Cx<'_, Self>) {
        self.connected = true;
        cx.act(Action::Established(Some(identity)));
        cx.act(Action::Open(CONNECTED));
    }
}
