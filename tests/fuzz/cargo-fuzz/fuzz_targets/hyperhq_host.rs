#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| polywire_fuzz::hyperhq_host::run(input));
