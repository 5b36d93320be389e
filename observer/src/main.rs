//! The binary: parse, run, print the error chain.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed: pieces of heads, bodies and tool arguments pass through many short-lived
/// buffers, and none of them is to be found in memory after its stream has ended.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    observer::cli::main()
}
