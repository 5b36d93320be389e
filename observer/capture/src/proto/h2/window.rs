//! Flow control (RFC 9113, 5.2): how much each side may still send, as far as both have said. A side that used up its
//! window waits for the other's reader, which no silence on the wire tells apart from a slow provider; so it is noted.

use crate::units::Direction;

/// The window of streams and connection before anything is said.
const DEFAULT: i64 = 65_535;

/// The identifier of the setting that changes the window of streams.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// What one direction may still carry on one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowWindow {
    left: i64,
    /// That it is used up was said, and it has not been opened since.
    told: bool,
}

/// The windows of the connection, and what those of its streams begin with.
#[derive(Clone, Debug)]
pub(super) struct FlowWindows {
    /// By direction: read, write.
    connection: [FlowWindow; 2],
    initial: [i64; 2],
    /// Everything that was said about them was heard.
    sure: bool,
}

/// The windows of one stream, by direction.
pub(super) type FlowWindowPair = [FlowWindow; 2];

impl Default for FlowWindows {
    fn default() -> Self {
        let window = FlowWindow { left: DEFAULT, told: false };
        FlowWindows { connection: [window; 2], initial: [DEFAULT; 2], sure: true }
    }
}

/// Index of a direction.
fn way(direction: Direction) -> usize {
    usize::from(direction == Direction::Write)
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Read => Direction::Write,
        Direction::Write => Direction::Read,
    }
}

impl FlowWindows {
    /// Something was not heard: nothing is known any more.
    pub(super) fn lose(&mut self) {
        self.sure = false;
    }

    /// The windows of a stream that begins.
    pub(super) fn open(&self) -> FlowWindowPair {
        self.initial.map(|left| FlowWindow { left, told: false })
    }

    /// Data was sent. True if that was all there was room for, and it was not said yet.
    pub(super) fn sent(&mut self, direction: Direction, bytes: u32, stream: &mut FlowWindowPair) -> bool {
        let way = way(direction);
        let mut told = false;
        for window in self.connection.get_mut(way).into_iter().chain(stream.get_mut(way)) {
            window.left = window.left.saturating_sub(i64::from(bytes));
            told |= window.left <= 0 && !std::mem::replace(&mut window.told, true);
        }
        told && self.sure
    }

    /// Data was sent on a stream that we do not follow.
    pub(super) fn sent_elsewhere(&mut self, direction: Direction, bytes: u32) {
        if let Some(window) = self.connection.get_mut(way(direction)) {
            window.left = window.left.saturating_sub(i64::from(bytes));
        }
    }

    /// A WINDOW_UPDATE that `direction` carried opens the other one.
    pub(super) fn update(&mut self, direction: Direction, payload: &[u8], stream: Option<&mut FlowWindowPair>) {
        let Some(bytes) = payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff) else { return };
        let way = way(other(direction));
        let window = match stream {
            Some(pair) => pair.get_mut(way),
            None => self.connection.get_mut(way),
        };
        if let Some(window) = window {
            window.open(i64::from(bytes));
        }
    }

    /// SETTINGS that `direction` carried: by how much the windows of streams in the other one change.
    pub(super) fn settings(&mut self, direction: Direction, payload: &[u8]) -> Option<i64> {
        let way = way(other(direction));
        let mut change = None;
        for setting in payload.chunks_exact(6) {
            let &[i1, i0, v3, v2, v1, v0] = setting else { continue };
            if u16::from_be_bytes([i1, i0]) == INITIAL_WINDOW_SIZE {
                let initial = self.initial.get_mut(way)?;
                let new = i64::from(u32::from_be_bytes([v3, v2, v1, v0]));
                change = Some(change.unwrap_or(0) + new - std::mem::replace(initial, new));
            }
        }
        change
    }
}

/// The windows of a stream change with the setting.
pub(super) fn change(pair: &mut FlowWindowPair, direction: Direction, by: i64) {
    if let Some(window) = pair.get_mut(way(other(direction))) {
        window.open(by);
    }
}

impl FlowWindow {
    fn open(&mut self, by: i64) {
        self.left = self.left.saturating_add(by);
        self.told &= self.left <= 0;
    }
}
