//! Keys, sealed frames and names as the original makes them.

use std::fs;

use serde_json::Value;

use super::seal;
use crate::seal::Key;
use crate::wire::{camel, kebab};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/stonyx");

pub(super) fn load(name: &str) -> Value {
    let path = format!("{VECTORS}/{name}.json");
    serde_json::from_str(&fs::read_to_string(&path).expect(&path)).unwrap()
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().map(|digit| char::from(digit).to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

pub(super) fn key(text: &str) -> [u8; 32] {
    hex(text).try_into().unwrap()
}

#[test]
fn sealed_frames_open_and_seal_as_the_original_does() {
    let vectors = load("frames");
    let frames = vectors["frames"].as_array().unwrap();
    assert!(frames.len() >= 40);
    for frame in frames {
        let text = |name: &str| frame[name].as_str().unwrap();
        let (key, sealed) = (Key::new(&key(text("key_hex"))), hex(text("frame_hex")));
        assert_eq!(key.open(sealed.clone().into()).unwrap().1, text("plaintext"));
        let iv = hex(text("iv_hex")).try_into().unwrap();
        assert_eq!(seal(&key, iv, text("plaintext").as_bytes()), sealed);
    }
    for frame in vectors["must_reject"].as_array().unwrap() {
        let sealed = hex(frame["frame_hex"].as_str().unwrap());
        let key = Key::new(&key(frame["key_hex"].as_str().unwrap()));
        assert_eq!(key.open(sealed.into()), None, "{}", frame["what"]);
    }
}

#[test]
fn keys_are_derived_as_the_original_does() {
    let keys = load("keys");
    let keys = keys["keys"].as_array().unwrap();
    assert!(keys.len() >= 16);
    for known in keys {
        let derived = Key::derive(&hex(known["auth_key_utf8_hex"].as_str().unwrap()));
        let expected = Key::new(&key(known["key_hex"].as_str().unwrap()));
        assert_eq!(seal(&derived, [5; 12], b"x"), seal(&expected, [5; 12], b"x"), "{known}");
    }
}

#[test]
fn names_are_made_of_file_names_as_the_original_does() {
    let names = load("handler-names");
    for (file, name) in names["names"].as_object().unwrap() {
        let (Some(stem), Some(name)) = (file.strip_suffix(".js"), name.as_str()) else { continue };
        assert_eq!(camel(stem), name, "{file}");
    }
    for name in ["echo", "validateGame", "under_score", "x.test"] {
        assert_eq!(camel(&kebab(name)), name);
    }
}

/// Every sealed frame of the recordings, a few hundred. A thousand that another implementation seals while the test runs:
/// `tests/stonyx_sealed.rs`.
#[test]
fn g20_every_bit_of_every_recorded_frame_flipped_is_refused() {
    let mut recorded = Vec::new();
    for frame in load("frames")["frames"].as_array().unwrap() {
        let text = |name: &str| frame[name].as_str().unwrap();
        recorded.push((key(text("key_hex")), hex(text("frame_hex"))));
    }
    for revision in ["alpha1", "beta11", "beta39"] {
        let file = load(&format!("transcripts-{revision}-encrypted"));
        let frames = file["transcripts"].as_array().unwrap().iter();
        let frames = frames.flat_map(|transcript| transcript["connections"].as_array().unwrap());
        for frame in frames.flat_map(|connection| connection["frames"].as_array().unwrap()) {
            if let (Some(bytes), Some(with)) = (frame["payload_hex"].as_str(), frame["key_hex"].as_str()) {
                recorded.push((key(with), hex(bytes)));
            }
        }
    }
    assert!(recorded.len() >= 240, "{}", recorded.len());
    for (number, (key, sealed)) in recorded.into_iter().enumerate() {
        let key = Key::new(&key);
        assert!(key.open(sealed.clone().into()).is_some(), "frame {number}");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(flipped.into()).is_none(), "bit {bit} of frame {number}");
        }
    }
}
