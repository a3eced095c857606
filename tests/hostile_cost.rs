//! What hostile peers can make us compute, measured as the processor time of this thread, so that a busy machine changes nothing.
//!
//! The figures of the rows are for optimised code and their full size, as in `cargo xtask soak`; in a test the size is a part of
//! that, and the time many times as much, because nothing is optimised.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::time::Duration;

use bytes::BytesMut;
use polywire_core::json::Members;
use polywire_core::{JsonLimits, StreamCodec};
use polywire_hpx::{Frame, HpxCodec, Trust, Wire};
use polywire_size::{is_full, size};
use polywire_tests::bomb::bomb;

/// The longest that something may take: as its row says at its full size, and in a test, where no code is optimised, 40 times as long.
fn longest(millis: u64) -> Duration {
    Duration::from_millis(if is_full() { millis } else { 40 * millis })
}

/// The processor time that this thread has had.
fn spent() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanos = times.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("the first number is the time on a processor"))
}

/// The processor time of `work`.
fn cost(work: impl FnOnce()) -> Duration {
    let before = spent();
    work();
    spent() - before
}

fn gzip(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(text).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[test]
fn p05_a_bomb_is_closed_within_half_a_second() {
    let mebibytes = size(80, 1_024);
    let bomb = bomb(mebibytes);
    let time = cost(|| {
        let mut codec = HpxCodec::new(&Wire::default(), Trust::Known);
        let mut input = BytesMut::new();
        let refused = bomb.chunks(16 << 10).find_map(|piece| {
            input.extend_from_slice(piece);
            codec.decode(&mut input).err()
        });
        let refused = refused.expect("it is refused").to_string();
        assert!(refused.ends_with("exceeds max_inflated_bytes = 67108864"), "{refused}");
    });
    println!("p05: a bomb of {mebibytes} MiB was refused after {time:?}");
    assert!(time < longest(500), "{time:?}");
}

#[test]
fn p06_sixteen_mebibytes_in_pieces_of_a_byte_cost_a_second() {
    const FULL: u64 = 16 << 20;
    let bytes = u32::try_from(size(FULL / 16, FULL)).expect("a small number");
    let digit = |n: u32| b'0' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 10;
    // Not compressed, so that as many bytes arrive; less what the blocks and the frame cost.
    let noise: Vec<u8> = (0..bytes - 4_096).map(digit).collect();
    let stream = [gzip(&noise, 0), b"<EOF>".to_vec()].concat();
    let time = cost(|| {
        let mut codec = HpxCodec::new(&Wire::default(), Trust::Known);
        let mut input = BytesMut::with_capacity(stream.len());
        let mut frames = 0;
        for byte in &stream {
            input.extend_from_slice(std::slice::from_ref(byte));
            let frame = codec.decode(&mut input).expect("it is within the limits");
            frames += usize::from(frame.is_some_and(|frame| matches!(frame, Frame::Text(_))));
        }
        assert_eq!((frames, input.len()), (1, 0));
    });
    println!("p06: {bytes} bytes one by one took {time:?}");
    // A sixteenth of the bytes has a sixteenth of the time.
    assert!(time < longest(1_000 * u64::from(bytes) / FULL), "{time:?}");
}

#[test]
fn c11_keys_made_to_collide_cost_at_most_three_times_as_much_as_others() {
    // Every key has the same sum and the same polynomial hash with base 31, as have "Aa" and "BB".
    let colliding = |number: u32| {
        let pair = |bit: u32| if number >> bit & 1 == 0 { "Aa" } else { "BB" };
        (0..17).map(pair).collect::<String>()
    };
    let random = |number: u32| {
        let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{mixed:016x}{mixed:016x}{:02x}", number % 256)
    };
    let object = |key: &dyn Fn(u32) -> String| {
        let members = (0..100_000).map(|number| format!("\"{}\":{number}", key(number)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let limits = JsonLimits { max_json_keys: 1 << 20, ..JsonLimits::default() };
    let read = |text: &str| {
        let times = (0..3).map(|_| {
            cost(|| {
                let mut members = Members::new(text.as_bytes(), &limits).expect("an object");
                while let Some((key, _)) = members.next().expect("it is within the limits") {
                    assert!(!key.is("fname"));
                }
                let map = serde_json::from_str::<std::collections::HashMap<String, u32>>(text);
                assert_eq!(map.expect("an object").len(), 100_000);
            })
        });
        times.min().expect("three times")
    };
    let (random, colliding) = (read(&object(&random)), read(&object(&colliding)));
    println!("c11: 100 000 keys that collide took {colliding:?}, as many others {random:?}");
    assert!(colliding < 3 * random, "{colliding:?} against {random:?}");
}
