#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dialects::cohere_chat::fuzz(data));
