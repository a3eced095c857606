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
