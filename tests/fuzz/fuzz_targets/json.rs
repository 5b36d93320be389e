#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dialects::json::scan::fuzz(data));
