#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::identity::fuzz_cgroup_tree(data));
