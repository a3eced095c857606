#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| polywire_fuzz::polling_payload::run(input));
