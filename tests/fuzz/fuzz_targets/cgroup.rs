#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::identity::fuzz_cgroup(data));
