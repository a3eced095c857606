//! A session that may be in one of several namespaces.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use polywire_core::{Action, Actions, Close, Cx, Limits, Moment, SystemRandom};

use crate::codec::Frame;
use crate::config::Config;
use crate::packet::{Kind, MAIN, Packet};
use crate::session::{Events, Link, Namespaces, Recovery};
use crate::stack::{Lower, Stack};

type Any = Stack<Link, Events>;

/// How a link ends that is granted `/`, leaves it when it `leaves`, and learns that `/plugin` does not exist.
fn end(leaves: bool) -> Option<Close> {
    let namespaces = Arc::new(Namespaces::new([MAIN.into(), "/plugin".into()]));
    let config = Arc::new(Config::default());
    let mut link = Link::new(config, &Limits::default(), None, Recovery::default()).in_one_of(namespaces);
    let (mut actions, mut up) = (Actions::<Any>::new(), Vec::new());
    let wall = || SystemTime::UNIX_EPOCH;
    let mut cx = Cx::new(Moment::from_start(Duration::from_secs(1)), &wall, &SystemRandom, &mut actions);
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let open = r#"{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#;
    link.receive(Frame::Open(text(open)), &mut cx, &mut up);
    if leaves {
        link.receive(Frame::Packet(text(r#"0{"sid":"S1"}"#)), &mut cx, &mut up);
        link.send(Packet::main(Kind::Disconnect), &mut cx);
    } else {
        link.receive(Frame::Packet(text(r#"4{"message":"Invalid namespace"}"#)), &mut cx, &mut up);
    }
    link.receive(Frame::Packet(text(r#"4/plugin,{"message":"Invalid namespace"}"#)), &mut cx, &mut up);
    actions.into_iter().find_map(|action| match action {
        Action::Close(reason) => Some(reason),
        _ => None,
    })
}

#[test]
fn h25_a_namespace_that_was_granted_and_left_is_no_refusal_when_the_other_is_not_there() {
    assert!(matches!(end(true), Some(Close::GivenUp(why)) if why == "nobody answers the login in /"));
    let Some(Close::Refused(refusal)) = end(false) else { panic!("neither is there") };
    assert!(refusal.reason.starts_with("the server has none of the namespaces"), "{refusal:?}");
}
