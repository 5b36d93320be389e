#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dialects::llama_cpp_completion::fuzz(data));
