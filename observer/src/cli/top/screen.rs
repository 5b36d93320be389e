//! The terminal, thinly: the alternate screen, keys, signals. What was changed is changed back when
//! `TerminalScreen` goes, however that comes.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::Sender;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Event;
use super::view::TerminalSize;

/// Alternate screen, no cursor, lines that are too long are cut; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// For terminals that do not know theirs.
const USUAL: TerminalSize = TerminalSize { columns: 80, rows: 24 };

/// Ctrl-C, where the terminal makes no signal of it.
const INTERRUPT: u8 = 3;

/// The terminal while it is ours.
pub(super) struct TerminalScreen {
    /// How keys were treated before, where they come from a terminal.
    before: Option<Termios>,
}

impl TerminalScreen {
    /// Takes the terminal.
    pub(super) fn enter() -> io::Result<Self> {
        let keys = io::stdin();
        let before = if keys.is_terminal() { Some(tcgetattr(&keys)?) } else { None };
        // From here on, dropped is restored.
        let screen = TerminalScreen { before };
        if let Some(before) = &screen.before {
            let mut each = before.clone();
            each.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            tcsetattr(&keys, OptionalActions::Now, &each)?;
        }
        put(ENTER)?;
        Ok(screen)
    }

    /// Its size now.
    pub(super) fn size() -> TerminalSize {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(USUAL, |size| TerminalSize { columns: size.ws_col.into(), rows: size.ws_row.into() })
    }

    /// Shows a text that fits, without a moment of emptiness.
    pub(super) fn show(&self, text: &str) -> io::Result<()> {
        let lines: Vec<&str> = text.lines().collect();
        // No line feed behind the last line: it would scroll.
        put(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")))
    }
}

impl Drop for TerminalScreen {
    fn drop(&mut self) {
        // The terminal may be gone: then there is nothing to restore.
        let _ = put(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Tells of keys that quit, for ever.
pub(super) fn keys(events: &Sender<Event>) {
    for key in io::stdin().lock().bytes() {
        match key {
            Ok(b'q' | b'Q' | INTERRUPT) if events.send(Event::Quit).is_err() => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Signals that matter to a screen. Made before the screen is taken: none is missed.
pub(super) struct ScreenSignals {
    runtime: tokio::runtime::Runtime,
    resized: Signal,
    quit: [Signal; 3],
}

impl ScreenSignals {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let guard = runtime.enter();
        let quit = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [first, second, third] = quit.map(signal);
        let (resized, quit) = (signal(SignalKind::window_change())?, [first?, second?, third?]);
        drop(guard);
        Ok(ScreenSignals { runtime, resized, quit })
    }

    /// Tells of them until nobody listens.
    pub(super) fn tell(self, events: &Sender<Event>) {
        let ScreenSignals { runtime, mut resized, quit: [mut interrupt, mut terminate, mut hangup] } = self;
        runtime.block_on(async move {
            loop {
                let event = tokio::select! {
                    _ = resized.recv() => Event::Resized,
                    _ = interrupt.recv() => Event::Quit,
                    _ = terminate.recv() => Event::Quit,
                    _ = hangup.recv() => Event::Quit,
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        });
    }
}
