#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::proto::http1::fuzz_exchange(data));
