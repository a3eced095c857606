//! The recorded bytes are whole: every file loads, and what it says about its bytes is true of them.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use polywire_tests::vectors::{self, bytes_of, decode_hex, list, load, stream, walk};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The bytes as lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_file_loads_and_names_are_known() {
    let files = vectors::files();
    let folders = ["hpx", "hyperhq", "sockhop", "socketio", "stonyx"];
    for folder in folders {
        assert!(files.iter().any(|file| file.starts_with(folder)), "no vectors of {folder}");
    }
    for file in files {
        assert!(folders.iter().any(|folder| file.starts_with(folder)), "{} has no owner", file.display());
        assert!(load(&file).is_object(), "{} is not an object", file.display());
    }
}

#[test]
fn every_length_and_hash_agrees_with_its_bytes() {
    let (mut lengths, mut hashes) = (0, 0);
    for file in vectors::files() {
        walk(&load(&file), &mut |object| {
            let object = Value::Object(object.clone());
            // An `items` entry without bytes was refused by its sender; `segments` of HPX are read sizes.
            let Ok(bytes) = bytes_of(&object) else { return };
            if let Some(length) = object["len"].as_u64() {
                assert_eq!(bytes.len() as u64, length, "{}: {object}", file.display());
                lengths += 1;
            }
            if let Some(hash) = object["sha256"].as_str() {
                assert_eq!(hex(&Sha256::digest(&bytes)), hash, "{}", file.display());
                hashes += 1;
            }
        });
    }
    assert!(lengths > 500, "only {lengths} lengths were compared");
    assert!(hashes >= 12, "only {hashes} hashes were compared");
}

#[test]
fn every_hex_text_is_whole_bytes() {
    let mut texts = 0;
    for file in vectors::files() {
        walk(&load(&file), &mut |object| {
            for (name, value) in object {
                let is_hex = name == "hex" || name.ends_with("_hex");
                if let (true, Some(text)) = (is_hex, value.as_str())
                    // A decoded value that was shortened says so in words.
                    && !text.contains(['(', ' '])
                {
                    decode_hex(text).unwrap_or_else(|error| panic!("{}: {name}: {error}", file.display()));
                    texts += 1;
                }
            }
        });
    }
    assert!(texts > 2000, "only {texts} texts were read");
}

#[test]
fn hpx_gzip_captures_inflate_to_the_json_they_name() {
    let mut frames = 0;
    for file in vectors::files().iter().filter(|file| file.starts_with("hpx")) {
        let capture = load(file);
        if capture["format"] != "hpx-capture/1" || capture["dialect"] != "gzip-json" {
            continue;
        }
        for frame in list(&capture, "frames").unwrap().iter().filter(|frame| frame["hex"].is_string()) {
            let bytes = bytes_of(frame).unwrap();
            let body = bytes.strip_suffix(b"<EOF>").expect("a frame ends with the delimiter");
            let mut text = Vec::new();
            // Frames recorded as broken carry no JSON.
            if MultiGzDecoder::new(body).read_to_end(&mut text).is_err() {
                assert_eq!(frame["json"], Value::Null, "{}", file.display());
                continue;
            }
            if let Ok(value) = serde_json::from_slice::<Value>(&text) {
                assert_eq!(value, frame["json"], "{}", file.display());
                frames += 1;
            }
        }
    }
    assert!(frames > 100, "only {frames} frames were compared");
}

#[test]
fn stonyx_frames_have_the_length_they_name() {
    let mut frames = 0;
    for file in vectors::files().iter().filter(|file| file.starts_with("stonyx")) {
        walk(&load(file), &mut |frame| {
            if let (Some(length), Some(hex)) = (
                frame.get("length").and_then(Value::as_u64),
                frame.get("payload_hex").and_then(Value::as_str),
            ) {
                assert_eq!(decode_hex(hex).unwrap().len() as u64, length, "{}", file.display());
                frames += 1;
            }
        });
    }
    assert!(frames > 150, "only {frames} frames were compared");
}

#[test]
fn a_stream_joins_the_units_of_one_direction() {
    let session = load("sockhop/handshake-210-210-binary.json");
    let sent = stream(list(&session, "units").unwrap(), ("dir", "c2s")).unwrap();
    assert!(sent.starts_with(br#"{"type":"SockhopHandshake""#));
    assert_eq!(sent.len(), 155 + 105 + 49 + 38);
    assert!(sent[..155 + 105 + 49].ends_with(b"\"SockhopBinaryModeTransition\",\"data\":{}}\n"));
    assert_eq!(sent[309..313], 33_u32.to_le_bytes());
}

#[test]
fn damaged_bytes_are_refused() {
    assert!(bytes_of(&json!({"hex": "0"})).is_err());
    assert!(bytes_of(&json!({"hex": "zz"})).is_err());
    assert!(bytes_of(&json!({"segments": [{"count": 3}]})).is_err());
    assert!(bytes_of(&json!({})).is_err());
    let joined = bytes_of(&json!({"segments": [{"hex": "0A"}, {"repeat": "58", "count": 3}]}));
    assert_eq!(joined.unwrap(), b"\nXXX");
}
