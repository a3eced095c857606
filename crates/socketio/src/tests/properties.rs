//! Whatever the bytes: a packet that is read is written as it came, and no text does harm.

use bytes::{Bytes, BytesMut};
use polywire_core::{JsonLimits, Message};
use polywire_size::cases;
use proptest::prelude::*;

use super::hand::Hand;
use super::packet;
use crate::config::Config;
use crate::packet::{Packet, PacketLimits};
use crate::placeholder::places;

/// Texts that are nearly packets.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\"_placeholder\":true".to_owned()),
        Just("\"num\":0".to_owned()),
        "[0-9]{1,3}",
        "[\\[\\]{},:\"/-]",
        Just("\"a\"".to_owned()),
        Just("/n,".to_owned()),
        ".{0,3}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(cases::<256>())]

    #[test]
    fn any_text_is_read_or_refused(text in nearly(), kind in 0..10_u8) {
        let _ = Packet::parse(&Bytes::from(format!("{kind}{text}")), &PacketLimits::default());
    }

    #[test]
    fn places_are_found_in_valid_text_only_and_lie_within_it(text in nearly()) {
        let limits = JsonLimits::default();
        if polywire_core::json::validate(text.as_bytes(), &limits).is_ok() {
            for place in places(text.as_bytes(), &limits) {
                prop_assert!(polywire_core::json::validate(&text.as_bytes()[place.at], &limits).is_ok());
            }
        }
    }

    #[test]
    fn what_is_read_is_written_as_it_came(
        id in proptest::option::of(0..1_u64 << 53), name in "[a-z]{1,8}", namespace in "(/[a-z]{1,5})?", number in any::<i64>(),
    ) {
        let comma = if namespace.is_empty() { "" } else { "," };
        let shown = id.map_or(String::new(), |id| id.to_string());
        let text = format!("2{namespace}{comma}{shown}[\"{name}\",{number}]");
        let mut written = BytesMut::new();
        packet(&text).write(&mut written);
        prop_assert_eq!(&written[..], text.as_bytes());
    }

    #[test]
    fn a_session_outlives_any_message(messages in proptest::collection::vec((any::<bool>(), nearly()), 0..12)) {
        let mut hand = Hand::connected(Config::default());
        for (text, message) in messages {
            if hand.closed.is_some() {
                break;
            }
            let message = message.into_bytes();
            hand.receive(if text { Message::Text([b"42", &message[..]].concat().into()) } else { Message::Binary(message.into()) });
        }
    }
}
