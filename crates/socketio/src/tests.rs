//! The pure parts against the recorded bytes, by hand, and with whatever a generator comes up with.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod cuts;
mod events;
mod hand;
mod malformed;
mod namespaces;
mod properties;
mod replay;
pub(crate) mod vectors;

use bytes::Bytes;
use polywire_core::{JsonLimits, JsonText};

use crate::packet::{Packet, PacketLimits, Parsed};

fn json(text: &str) -> JsonText {
    JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap()
}

/// A whole packet from its text.
fn packet(text: &str) -> Packet {
    match Packet::parse(&Bytes::from(text.to_owned()), &PacketLimits::default()) {
        Ok(Parsed::Whole(packet)) => packet,
        other => panic!("{other:?}"),
    }
}
