#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dialects::bedrock_invoke::fuzz(data));
