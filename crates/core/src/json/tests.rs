//! The scan against serde_json, its bounds, and its cost.

use super::*;
use polywire_size::cases;
use proptest::prelude::*;

fn check(text: &str) -> Result<(), JsonError> {
    validate(text.as_bytes(), &JsonLimits::default())
}

#[test]
fn accepts_what_json_is() {
    for text in [
        "null",
        " true ",
        "false",
        "0",
        "-0",
        "-0.5e+10",
        "1E400",
        "12345678901234567890123",
        "\"\"",
        "\"\\ud800\"",
        "\"a\\u00e9\\n\\/\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,[2,{\"a\":[]}],\"x\"]",
        "{\"a\":{\"b\":[1,2]},\"a\":3}",
        "\"plain text longer than eight bytes, with \\\"quotes\\\" inside\"",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn c10_refuses_what_json_is_not() {
    for text in [
        "",
        " ",
        "nul",
        "nulL",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "- 1",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\u{1}\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "[1}",
        "{\"a\":1]",
        "1 2",
        "{} x",
        "\u{feff}1",
        "[",
        "{\"a\":[",
        "NaN",
        "\"abcdefgh\u{1f}\"",
    ] {
        assert!(check(text).is_err(), "{text:?}");
    }
    assert_eq!(validate(b"\"\xff\"", &JsonLimits::default()).unwrap_err().what, JsonFault::NotUtf8);
    assert_eq!(check("[1,2,x]").unwrap_err().offset, 5);
}

#[test]
fn c10_bounds_depth_keys_and_numbers() {
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert_eq!(check(&deep(128)), Ok(()));
    assert_eq!(check(&deep(129)).unwrap_err().what, JsonFault::TooDeep(128));
    assert_eq!(check(&deep(1_000_000)).unwrap_err().offset, 128);
    let keys = |n: usize| format!("{{{}}}", vec!["\"k\":1"; n].join(","));
    assert_eq!(check(&keys(65_536)), Ok(()));
    assert_eq!(check(&keys(65_537)).unwrap_err().what, JsonFault::TooManyKeys(65_536));
    assert_eq!(check(&"9".repeat(1_024)), Ok(()));
    assert_eq!(check(&"9".repeat(100_000)).unwrap_err().what, JsonFault::NumberTooLong(1_024));
}

/// Far more than work in proportion to these inputs takes on any machine, and far less than their square would.
const AMPLE: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
fn c10_large_texts_of_every_kind_do_not_cost_their_square() {
    let limits = JsonLimits { max_json_keys: 1 << 20, max_json_number_bytes: 64 << 10, ..Default::default() };
    let kinds: [fn(usize) -> String; 6] = [
        |n| format!("\"{}\"", "x".repeat(n * 34)),
        |n| format!("\"{}\"", "\\u00e9\\n".repeat(n)),
        |n| format!("[{}]", vec!["1e400,-0"; n].join(",")),
        |n| format!("{{{}}}", vec!["\"key\":1"; n * 2].join(",")),
        |n| format!("[{}]", vec!["[[[[{\"a\":[]}]]]]"; n].join(",")),
        |n| format!("[{}", " ".repeat(n * 8)),
    ];
    for (number, text) in kinds.into_iter().enumerate() {
        let text = text(500_000);
        let started = std::time::Instant::now();
        let _ = validate(text.as_bytes(), &limits);
        assert!(started.elapsed() < AMPLE, "kind {number}: {:?} for {} bytes", started.elapsed(), text.len());
    }
}

#[test]
fn c11_keys_made_to_collide_do_not_cost_their_square() {
    // Every key has the same sum and the same polynomial hash with base 31, as have "Aa" and "BB".
    let colliding = |number: u32| {
        let pair = |bit: u32| if number >> bit & 1 == 0 { "Aa" } else { "BB" };
        (0..17).map(pair).collect::<String>()
    };
    let object = |key: &dyn Fn(u32) -> String| {
        let members = (0..100_000).map(|number| format!("\"{}\":{number}", key(number)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let limits = JsonLimits { max_json_keys: 1 << 20, ..Default::default() };
    let text = object(&colliding);
    let started = std::time::Instant::now();
    let mut members = Members::new(text.as_bytes(), &limits).unwrap();
    while let Some((key, _)) = members.next().unwrap() {
        assert!(!key.is("type"));
    }
    let map: std::collections::HashMap<String, u32> = serde_json::from_str(&text).unwrap();
    assert_eq!(map.len(), 100_000);
    assert!(started.elapsed() < AMPLE, "{:?}", started.elapsed());
}

#[test]
fn c10_what_may_not_stand_in_a_string_is_found_wherever_it_stands() {
    for length in 1..90 {
        for at in 0..length {
            let with = |byte: u8| {
                let mut text = vec![b'"'];
                text.resize(length + 1, b'x');
                text.push(b'"');
                text[at + 1] = byte;
                text
            };
            let fault = |byte| validate(&with(byte), &JsonLimits::default()).unwrap_err();
            assert_eq!(fault(0x1f).offset, at + 1);
            assert_eq!(fault(0x80), JsonError { offset: at + 1, what: JsonFault::NotUtf8 });
            // Behind a quote the value is over; whatever follows it does not belong to it.
            let end = with(b'"');
            assert_eq!(value_end(&end, 0, &JsonLimits::default()), Ok(at + 2));
            assert_eq!(plain_string(&end, 1), Some(&end[1..=at]));
            assert_eq!(plain_string(&with(b'\\'), 1), None);
        }
    }
}

#[test]
fn walks_members_and_validates_the_rest() {
    let text = br#" {"type":"x","d\u0061ta": [1, {"a":2}] ,"id":null} "#;
    let limits = JsonLimits::default();
    let mut members = Members::new(text, &limits).unwrap();
    let (key, value) = members.next().unwrap().unwrap();
    assert!(key.is("type") && &text[value] == b"\"x\"");
    let (key, value) = members.next().unwrap().unwrap();
    assert!(key.is("data") && &text[value] == b"[1, {\"a\":2}]");
    assert!(members.next().unwrap().unwrap().0.is("id"));
    assert_eq!(members.next().unwrap(), None);
    let mut members = Members::new(b"{} x", &limits).unwrap();
    assert_eq!(members.next().unwrap_err().what, JsonFault::Trailing);
    assert!(Members::new(b"[]", &limits).is_err());
}

#[test]
fn splits_arrays() {
    let text = b"[1, [2,3] ,{}]";
    let found = elements(text, 10, &JsonLimits::default()).unwrap();
    let parts: Vec<&[u8]> = found.into_iter().map(|range| &text[range]).collect();
    assert_eq!(parts, [&b"1"[..], b"[2,3]", b"{}"]);
    assert!(elements(b"[1,2,3]", 2, &JsonLimits::default()).is_err());
    assert!(elements(b"[1,2", 9, &JsonLimits::default()).is_err());
}

#[test]
fn writes_strings_and_compact_text() {
    let mut out = bytes::BytesMut::new();
    write_string(&mut out, "a\"b\\c\n\u{1}é");
    assert_eq!(&out[..], "\"a\\\"b\\\\c\\n\\u0001é\"".as_bytes());
    let mut out = bytes::BytesMut::new();
    write_compact(&mut out, b" { \"a b\" : [ 1 , \"\\\" x\" ]\n} ");
    assert_eq!(&out[..], b"{\"a b\":[1,\"\\\" x\"]}");
}

proptest! {
    #![proptest_config(cases::<256>())]

    #[test]
    fn agrees_with_serde_json(text in "[\\[\\]{},:\"0-9eE.+\\-tfnrualse \\\\]{0,24}") {
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(check(&text).is_ok(), theirs, "{}", text);
    }

    #[test]
    fn any_written_string_reads_back(text in any::<String>()) {
        let mut out = bytes::BytesMut::new();
        write_string(&mut out, &text);
        let back = as_string(&out);
        prop_assert_eq!(back.as_deref(), Some(text.as_str()));
        prop_assert!(validate(&out, &JsonLimits::default()).is_ok());
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = validate(&bytes, &JsonLimits::default());
    }
}
