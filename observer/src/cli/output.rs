//! Writing for people and programs.

use std::io::{self, IsTerminal, Write};

use crate::export::inspect::client::ClientError;
use crate::export::inspect::table::TableStyle;

/// Whoever read our output has closed it.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub(super) struct OutputClosed;

/// Writes to stdout at once.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        other => Ok(other?),
    }
}

/// `print` for the client's row function.
pub(super) fn print_row(text: &str) -> Result<(), ClientError> {
    print(text).map_err(|_| ClientError::OutputClosed)
}

/// Colour and width, where stdout is a terminal and nobody said `NO_COLOR`.
pub(super) fn style() -> TableStyle {
    let terminal = io::stdout().is_terminal();
    TableStyle { colour: terminal && wants_colour(), width: if terminal { width() } else { None } }
}

/// Whether the log may be coloured.
pub(super) fn colour_on_stderr() -> bool {
    io::stderr().is_terminal() && wants_colour()
}

/// <https://no-color.org>: set and not empty.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
