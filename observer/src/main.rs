//! The binary: parse, run, print the error chain.

use std::process::ExitCode;

fn main() -> ExitCode {
    observer::cli::main()
}
