#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::proto::grpc::fuzz(data));
