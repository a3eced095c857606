//! What holds for every text: our output never holds the delimiter, any split gives the same frames, any text comes back.

use super::*;
use polywire_size::{cases, cases_up_to};
use proptest::prelude::*;

fn encode(text: &[u8], stored_up_to: usize) -> Bytes {
    let wire = Wire { stored_up_to, ..Wire::default() };
    let mut codec = HpxCodec::new(&wire, Trust::Known);
    let mut out = Outgoing::new();
    codec.encode(Frame::Text(Bytes::copy_from_slice(text)), &mut out).unwrap();
    out.take()
}

/// JSON strings in which the delimiter, and pieces of it, stand in every way; no more of them than this.
fn awkward(most: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<EOF>".to_owned()),
        Just("<EO".to_owned()),
        Just("F>".to_owned()),
        Just("<<EOF>EOF>".to_owned()),
        Just("\\\\<EOF>".to_owned()),
        Just("漢<EOF>é".to_owned()),
        "[a-z]{0,8}",
        "[\u{4e00}-\u{4eff}]{0,6}",
    ];
    prop::collection::vec(piece, 0..=most).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

proptest! {
    #![proptest_config(cases_up_to::<10_000, 10_000_000>())]

    #[test]
    fn p18_our_output_holds_the_delimiter_at_its_end_only(text in awkward(40), stored in any::<bool>()) {
        let bytes = encode(text.as_bytes(), if stored { 1 << 20 } else { 0 });
        let first = memchr::memmem::find(&bytes, DELIMITER).unwrap();
        prop_assert_eq!(first, bytes.len() - DELIMITER.len());
        let read = &plain_read(&bytes)[0];
        let value: Value = serde_json::from_slice(read).unwrap();
        prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
    }
}

proptest! {
    #![proptest_config(cases::<10_000>())]

    #[test]
    fn hostile_bytes_never_panic_and_a_split_changes_nothing(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(1_usize..20, 0..20),
        gzip_start in any::<bool>(),
        markers in prop::collection::vec(0_usize..200, 0..4),
    ) {
        if gzip_start {
            bytes.splice(0..0, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        }
        for marker in markers {
            let at = marker.min(bytes.len());
            bytes.splice(at..at, DELIMITER.iter().copied());
        }
        let whole = decode(&bytes, &[]);
        let split = decode(&bytes, &cuts);
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn a_server_survives_any_text_and_answers_in_strict_json(text in "[\\[\\]{}\":,a-z0-9 ]{0,60}", key in "session|name|data") {
        let mut desk = desk(&shared(true));
        let message = format!("{{\"{key}\":{text},\"session\":\"\",\"name\":\"\",\"data\":[{text}]}}");
        for text in [&text, &message] {
            desk.receive(&frame(text.as_bytes())).unwrap();
        }
        for reply in &desk.written {
            prop_assert!(serde_json::from_str::<Value>(reply).is_ok(), "{}", reply);
        }
    }
}

proptest! {
    #![proptest_config(cases::<10_000>())]

    /// Ten thousand streams, cut at random and at every byte; stored blocks hold the delimiter inside the gzip data of others.
    #[test]
    fn any_text_comes_back_whatever_the_split(
        // A frame of others may hold the delimiter eight times.
        texts in prop::collection::vec(awkward(8), 1..4),
        cuts in prop::collection::vec(1_usize..40, 0..10),
        who in 0..3_u8,
    ) {
        let bytes = |text: &String| match who {
            0 => encode(text.as_bytes(), 1 << 20).to_vec(),
            1 => encode(text.as_bytes(), 0).to_vec(),
            // As others may write it: the delimiter as it is, within their data.
            _ => [gzip(text.as_bytes(), 0), DELIMITER.to_vec()].concat(),
        };
        let stream: Vec<u8> = texts.iter().flat_map(bytes).collect();
        let whole = decode(&stream, &[]).unwrap();
        prop_assert_eq!(whole.len(), texts.len());
        for (frame, text) in whole.iter().zip(&texts) {
            let Frame::Text(read) = frame else { panic!("{frame:?}") };
            prop_assert_eq!(serde_json::from_slice::<Value>(read).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
        prop_assert_eq!(&decode(&stream, &cuts).unwrap(), &whole);
        prop_assert_eq!(&decode(&stream, &vec![1; stream.len()]).unwrap(), &whole);
    }
}

#[test]
fn p18_a_trailer_that_spells_the_delimiter_is_written_differently() {
    // The text of the recorded stream whose checksum and length spell the delimiter.
    let framing = vector("framing.json");
    let entries = framing["entries"].as_array().unwrap();
    for id in ["delimiter-in-crc-and-length", "delimiter-in-length-4081231"] {
        let entry = entries.iter().find(|entry| entry["id"] == id).unwrap();
        let frames = decode(&unhex(entry["stream_hex"].as_str().unwrap()), &[]).unwrap();
        let Frame::Text(text) = &frames[0] else { panic!() };
        for stored_up_to in [0, 8 << 20] {
            let bytes = encode(text, stored_up_to);
            assert_eq!(memchr::memmem::find(&bytes, DELIMITER), Some(bytes.len() - DELIMITER.len()), "{id}");
            let read = &plain_read(&bytes)[0];
            assert_eq!(read, &[&text[..], b" "].concat(), "{id}: a blank was appended");
        }
    }
}

#[test]
fn the_decoder_reads_what_every_level_writes_and_a_few_bytes_of_state_are_left() {
    let text = format!("[{}0]", (0..20_000).map(|n| format!("{},", n * 7919 % 104_729)).collect::<String>());
    for level in 0..=9 {
        let stream = [gzip(text.as_bytes(), level), DELIMITER.to_vec()].concat();
        for sizes in [vec![], vec![1_000; stream.len() / 1_000]] {
            assert_eq!(
                decode(&stream, &sizes).unwrap(),
                [Frame::Text(Bytes::from(text.clone()))],
                "level {level}"
            );
        }
    }
}

#[test]
fn by_default_a_text_of_a_hundred_bytes_goes_out_as_one_stored_block() {
    let text = format!("\"{}\"", "x".repeat(98));
    let bytes = encode(text.as_bytes(), Wire::default().stored_up_to);
    // The header of ten bytes; the last block, of type 0; its length and the complement of that.
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0b001, 100, 0, !100, !0];
    assert_eq!(bytes[..15], head);
    assert_eq!(&bytes[15..115], text.as_bytes(), "as it is");
    assert_eq!(bytes.len(), 15 + 100 + 8 + DELIMITER.len(), "checksum and length, and the delimiter");
}
