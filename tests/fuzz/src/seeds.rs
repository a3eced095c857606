//! The inputs that fuzzing begins with, from the recorded bytes.

use polywire_tests::vectors;

/// Longest seed taken from a recording: longer ones would only be slow.
const LONGEST: usize = 8 << 10;

/// Every run of bytes recorded of a wire (`sockhop`, `hpx`), and the streams that the runs of one file make in each direction.
///
/// # Panics
/// When the recordings are damaged.
pub fn recorded(wire: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in vectors::files().into_iter().filter(|path| path.starts_with(wire)) {
        let file = vectors::load(&path);
        let mut streams = [Vec::new(), Vec::new()];
        vectors::walk(&file, &mut |object| {
            for name in ["hex", "input_hex"] {
                let Some(bytes) = object.get(name).and_then(|hex| vectors::decode_hex(hex.as_str()?).ok())
                else {
                    continue;
                };
                let from = object.get("dir").or(object.get("from")).and_then(|from| from.as_str());
                match from {
                    Some("c2s" | "client") => streams[0].extend_from_slice(&bytes),
                    Some("s2c" | "server") => streams[1].extend_from_slice(&bytes),
                    _ => {}
                }
                found.push(bytes);
            }
        });
        found.extend(streams);
    }
    found.retain(|bytes| !bytes.is_empty() && bytes.len() <= LONGEST);
    found.sort();
    found.dedup();
    assert!(found.len() > 20, "there are only {} recordings of {wire}", found.len());
    found
}

/// `bodies`, each behind the choices in `heads`.
pub fn behind(heads: &[&[u8]], bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
    heads.iter().flat_map(|head| bodies.iter().map(|body| [head, &body[..]].concat())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::TARGETS;

    /// For each wire: its targets, a recorded session, and the name of its messages there.
    const RECORDED: &[(&[&str], &str, &str)] = &[
        (&["sockhop_codec", "sockhop_session", "connection"], "sockhop/peers-184-184.json", "hex"),
        (&["hpx_codec", "hpx_session", "connection"], "hpx/py-user-call.json", "hex"),
        (&["stonyx_open", "stonyx_session"], "stonyx/transcripts-beta39-plain.json", "plaintext"),
        (
            &["engineio_packet", "polling_payload", "socketio_packet", "socketio_session"],
            "socketio/transcripts/upgrade.json",
            "text",
        ),
        (&["hyperhq_session", "hyperhq_host"], "hyperhq/04-data-node.json", "text"),
    ];

    /// The messages of a recorded session; of HyperHQ the Socket.IO packets in them.
    fn messages(file: &str, key: &str) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        vectors::walk(&vectors::load(file), &mut |object| {
            let Some(text) = object.get(key).and_then(Value::as_str) else { return };
            found.extend(match key {
                "hex" => Some(vectors::decode_hex(text).expect("it is hex")),
                _ if file.starts_with("hyperhq") => text.strip_prefix('4').map(|text| text.into()),
                _ => Some(text.into()),
            });
        });
        found
    }

    fn is_in(seeds: &[Vec<u8>], bytes: &[u8]) -> bool {
        seeds.iter().any(|seed| seed.windows(bytes.len().max(1)).any(|part| part == bytes))
    }

    #[test]
    fn every_target_of_a_wire_begins_with_what_was_recorded_of_it() {
        for (targets, file, key) in RECORDED {
            let messages = messages(file, key);
            assert!(messages.len() >= 5, "{file} has only {}", messages.len());
            for name in *targets {
                let target =
                    TARGETS.iter().find(|target| target.name == *name).expect("there is such a target");
                let seeds = (target.seeds)();
                for message in messages.iter().filter(|message| !message.is_empty()) {
                    let shown = String::from_utf8_lossy(message);
                    assert!(is_in(&seeds, message), "{name} does not begin with {shown:?} of {file}");
                }
            }
        }
    }

    #[test]
    fn what_one_end_said_in_a_session_is_one_seed_too() {
        let file = vectors::load("sockhop/peers-184-184.json");
        let units = vectors::list(&file, "units").expect("it is a session");
        let said = units.iter().filter(|unit| unit["dir"] == "c2s").map(vectors::bytes_of);
        let stream = said.collect::<Result<Vec<_>, _>>().expect("it is hex").concat();
        assert!(recorded("sockhop").contains(&stream));
    }
}
