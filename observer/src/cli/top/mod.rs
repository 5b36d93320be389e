//! `top`: what is going on now, for whoever is on call. Asks the daemon's socket as `inspect` does.
//! On a terminal a live picture, elsewhere one table.

mod picture;
mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use self::picture::{AnswerRound, TopPicture};
use self::screen::{ScreenSignals, TerminalScreen};
use super::{Socket, output};
use crate::export::inspect::InspectQuestion;
use crate::export::inspect::client::{ClientError, all};
use crate::export::inspect::connection::ConnectionView;

/// How often the daemon is asked, and between the two rounds of a single table: events need two to be a rate.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct TopArgs {
    /// How far back ended streams count
    #[arg(long, value_name = "DUR", default_value = "15m", value_parser = super::duration)]
    since: Duration,
    #[command(flatten)]
    socket: Socket,
}

/// What the picture waits for.
enum Event {
    Answer(Result<AnswerRound, ClientError>),
    Resized,
    Quit,
}

pub(super) fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let path = &args.socket.path;
    let mut picture = TopPicture::new(args.since.as_secs_f64());
    // A daemon that cannot be asked at all is an error, as for `inspect`; one that goes away later
    // is part of the picture.
    picture.merge(round(path, picture.since(now()))?);
    if io::stdout().is_terminal() {
        live(path, picture)?;
    } else {
        thread::sleep(EVERY);
        picture.merge(round(path, picture.since(now()))?);
        output::print(&view::render(&picture, None, false, now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The picture until somebody quits.
fn live(path: &Path, mut picture: TopPicture) -> anyhow::Result<()> {
    let (tell, events) = channel();
    let signals = ScreenSignals::new()?;
    let asks = asker(path, tell.clone())?;
    let screen = TerminalScreen::enter()?;
    let (to_keys, colour) = (tell.clone(), output::style().colour);
    start("top-keys", move || screen::keys(&to_keys))?;
    start("top-signals", move || signals.tell(&tell))?;
    // A terminal that takes nothing any more is closed.
    let _ = watch(&screen, &mut picture, &events, &asks, colour);
    Ok(())
}

fn watch(
    screen: &TerminalScreen,
    picture: &mut TopPicture,
    events: &Receiver<Event>,
    asks: &Sender<f64>,
    colour: bool,
) -> io::Result<()> {
    let (mut due, mut waiting) = (Instant::now() + EVERY, false);
    loop {
        screen.show(&view::render(picture, Some(TerminalScreen::size()), colour, now()))?;
        match events.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Event::Quit) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(Event::Resized) => {}
            Ok(Event::Answer(answer)) => {
                waiting = false;
                match answer {
                    Ok(round) => picture.merge(round),
                    Err(error) => picture.failed(error.to_string()),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                due = Instant::now() + EVERY;
                // A daemon that is slow to answer is not asked again meanwhile; how old the picture is, is said.
                waiting = waiting || asks.send(picture.since(now())).is_ok();
            }
        }
    }
}

/// Asks in a thread of its own: keys must not wait for the daemon.
fn asker(path: &Path, tell: Sender<Event>) -> io::Result<Sender<f64>> {
    let (asks, asked) = channel();
    let path = path.to_owned();
    start("top-asks", move || {
        for since in asked {
            if tell.send(Event::Answer(round(&path, since))).is_err() {
                return;
            }
        }
    })?;
    Ok(asks)
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // They end with the process.
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Asks everything once.
fn round(path: &Path, since_seconds: f64) -> Result<AnswerRound, ClientError> {
    let streams = all(path, &InspectQuestion::Streams { since_seconds, follow: false, also: Vec::new() })?;
    let at = now();
    Ok(AnswerRound {
        at,
        streams,
        connections: all::<ConnectionView>(path, &InspectQuestion::Connections)?.len(),
        processes: all(path, &InspectQuestion::Processes)?,
        findings: all(path, &InspectQuestion::Findings { since_seconds: 0.0, id: None })?,
    })
}

/// Seconds since 1970.
fn now() -> f64 {
    jiff::Timestamp::now().as_nanosecond() as f64 / 1e9
}
