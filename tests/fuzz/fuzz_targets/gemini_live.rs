#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| observer::dialect::gemini_live::fuzz(data));
