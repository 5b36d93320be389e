#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::identity::fuzz_container_state(data));
