#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::proto::ws::fuzz(data));
