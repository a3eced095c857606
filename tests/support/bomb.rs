//! A frame of HPX that is small on the wire and large in memory.

use flate2::{Compress, Compression, FlushCompress};

/// A frame that inflates to so many MiB of blanks. Every MiB is the same deflated bytes, so that making it costs little.
///
/// # Panics
/// When flate2 is broken.
pub fn bomb(mebibytes: u64) -> Vec<u8> {
    let mut state = Compress::new(Compression::best(), false);
    let mut deflated = Vec::with_capacity(64 << 10);
    // Ends on a byte, and what follows does not look back.
    state
        .compress_vec(&vec![b' '; 1 << 20], &mut deflated, FlushCompress::Full)
        .expect("there is room for what blanks come to");
    let mut frame = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    for _ in 0..mebibytes {
        frame.extend_from_slice(&deflated);
    }
    // The last block, empty, and a trailer that nobody gets to look at.
    frame.extend_from_slice(b"\x03\0\0\0\0\0\0\0\0\0<EOF>");
    frame
}
