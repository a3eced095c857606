//! A frame of HPX as its peers make it.

use std::io::Write;

/// This text, compressed, and the delimiter.
///
/// # Panics
/// Never: it is written to memory.
pub fn framed(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_ref()).expect("memory takes it");
    [&encoder.finish().expect("memory takes it")[..], b"<EOF>"].concat()
}
