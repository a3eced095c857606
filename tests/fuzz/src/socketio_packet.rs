//! Socket.IO packets with their attachments: what is read is written as it came, apart from what may be spelled in two ways, and
//! bounds hold whatever is announced.

use bytes::{Bytes, BytesMut};
use polywire_socketio::{Kind, Packet, PacketLimits, Parsed};
use serde_json::Value;

use crate::choices::Choices;
use crate::{seeds, trace};

/// Choices: how many attachments come. Then the text of a packet.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let come = usize::from(choices.byte() % 12);
    let text = Bytes::from(String::from_utf8_lossy(choices.rest()).into_owned());
    let limits = PacketLimits::default();
    let packet = match Packet::parse(&text, &limits) {
        Ok(Parsed::Whole(packet)) => packet,
        Ok(Parsed::Awaits(packet, due)) => {
            assert!((1..=limits.max_attachments).contains(&due), "{due} attachments are awaited");
            let takes = matches!(packet.kind, Kind::Event { .. } | Kind::Ack { .. } | Kind::Beyond { .. });
            assert!(takes, "{packet:?}");
            let attachments = vec![Bytes::from_static(b"bytes"); due.min(come)];
            match packet.complete(attachments, &limits.json) {
                Ok(packet) => packet,
                Err(error) => return trace::mark(("incomplete", error.to_string())),
            }
        }
        Err(error) => return trace::mark(("refused", error.to_string())),
    };
    assert!(packet.namespace.len() <= limits.max_namespace_bytes, "{packet:?}");
    if let Kind::Event { args, .. } = &packet.kind {
        let names: Vec<Value> = serde_json::from_slice(args.text()).unwrap_or_default();
        // What our scan takes and the library does not are lone surrogates and numbers beyond its reach.
        if let Some(name) = names.first() {
            assert!(name.is_string() || name.is_number(), "{packet:?}");
            assert_eq!(names.len(), args.len(), "{packet:?}");
        }
    }
    let mut written = BytesMut::new();
    packet.write(&mut written);
    let again = match Packet::parse(&written.clone().freeze(), &limits) {
        Ok(Parsed::Whole(packet)) => packet,
        Ok(Parsed::Awaits(other, due)) => {
            assert_eq!(due, packet.attachments().len(), "{written:?}");
            other.complete(packet.attachments().to_vec(), &limits.json).expect("the same attachments")
        }
        other => panic!("{written:?} was written and is {other:?}"),
    };
    assert_eq!(again, packet, "{written:?}");
    trace::mark((std::mem::discriminant(&packet.kind), packet.attachments().len(), trace::size(text.len())));
}

/// The texts of the recorded packets.
pub fn texts() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in polywire_tests::vectors::files().into_iter().filter(|path| path.starts_with("socketio")) {
        let file = polywire_tests::vectors::load(&path);
        polywire_tests::vectors::walk(&file, &mut |object| {
            found.extend(object.get("text").and_then(|text| Some(text.as_str()?.as_bytes().to_vec())));
        });
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 100, "there are only {} recorded texts", found.len());
    found
}

/// Recorded packets, with as many attachments as they want and with none.
pub fn seeds() -> Vec<Vec<u8>> {
    seeds::behind(&[&[11], &[0]], &texts())
}
