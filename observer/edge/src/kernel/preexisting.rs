//! Our hand in the kernel's table of sockets: those that were open when the observer came are put
//! into it, so that their next request is seen, and after a loss it is asked what it has not told.

use std::collections::HashMap as Table;

use aya::maps::{Array, HashMap, MapData};
use observer_common::record::{DIR_READ, DIR_WRITE};
use observer_common::sock::{Address, STAGE_MID, SockState, mark};

use super::followed_sockets::lost;
use super::sock_diag::{self, ClientSocket};
use crate::coverage::{ProbeRow, ProbeState};
use crate::identity::IdentityReader;
use capture::record::{Record, SocketCookie};
use capture::units::{Direction, Ns};

/// Our half of the kernel's table of sockets.
pub(super) struct PreexistingSockets {
    socks: HashMap<MapData, u64, WireSock>,
    marks: Array<MapData, u32>,
    /// Cookies that a mark of ours stands for.
    marked: Vec<u64>,
    next: Ns,
}

/// `SockState` as a map value.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct WireSock(SockState);
// SAFETY: repr(C) without padding, every bit pattern valid.
unsafe impl aya::Pod for WireSock {}

/// How often marks of sockets that are gone are taken back.
const EVERY_NS: u64 = 30_000_000_000;

/// Do not replace: a socket that the kernel side knows already was seen from its birth.
const NO_EXIST: u64 = 1;

impl PreexistingSockets {
    #[must_use]
    pub(super) fn new(socks: HashMap<MapData, u64, WireSock>, marks: Array<MapData, u32>) -> Self {
        Self { socks, marks, marked: Vec::new(), next: Ns(0) }
    }

    /// Picks up the host's client connections; the row for `inspect probes`. After the programs are attached, so that a
    /// socket is seen by one or the other.
    pub(super) fn pick_up(&mut self) -> ProbeRow {
        let row = |state, reason, lost, hits| ProbeRow {
            probe: "sock_diag",
            target: "open connections".into(),
            build_id: None,
            placement: "once, at start".into(),
            reason,
            lost,
            state,
            hits,
            ..ProbeRow::default()
        };
        match sock_diag::clients() {
            Ok(clients) => {
                let reader = IdentityReader::default();
                let mut starts = Table::new();
                let count = clients.found.iter().filter(|one| self.adopt(one, &reader, &mut starts)).count();
                row(ProbeState::Ok, clients.left_out(), None, Some(count as u64))
            }
            Err(error) => {
                let lost = "connections that were open before, until they are made anew";
                row(ProbeState::Unsupported, format!("the kernel does not list its sockets: {error}"), Some(lost), None)
            }
        }
    }

    fn adopt(&mut self, found: &ClientSocket, reader: &IdentityReader, starts: &mut Table<u32, Option<u64>>) -> bool {
        let start = starts.entry(found.pid).or_insert_with(|| reader.start(found.pid));
        let Some(start_ns) = *start else { return false };
        let state = SockState {
            start_ns,
            tgid: found.pid,
            stage: STAGE_MID,
            peer: Address::from(found.peer),
            ..SockState::default()
        };
        let adopted = self.socks.insert(found.cookie, WireSock(state), NO_EXIST).is_ok();
        if adopted {
            self.mark(found.cookie, true);
            self.marked.push(found.cookie);
        }
        adopted
    }

    /// What the kernel's table says of a followed socket: what it lost and has not told, or that the socket is closed.
    pub(super) fn look_up(&self, sock: SocketCookie, at: Ns) -> Vec<Record<'static>> {
        let Ok(WireSock(state)) = self.socks.get(&sock.0, 0) else { return vec![Record::SockClose { sock, at }] };
        let ways = [(Direction::Read, DIR_READ), (Direction::Write, DIR_WRITE)];
        let untold = ways.into_iter().filter_map(|(direction, way)| {
            let (from, len) = (state.lost_from.get(usize::from(way))?, state.lost_len.get(usize::from(way))?);
            (*len > 0).then(|| Record::Segment(lost(sock, direction, at, *from, *len)))
        });
        untold.collect()
    }

    /// Removes the marks of sockets that the kernel side let go.
    pub(super) fn sweep(&mut self, now: Ns) {
        if now < self.next {
            return;
        }
        self.next = Ns(now.0 + EVERY_NS);
        let (kept, gone): (Vec<u64>, Vec<u64>) =
            std::mem::take(&mut self.marked).into_iter().partition(|cookie| self.socks.get(cookie, 0).is_ok());
        self.marked = kept;
        for cookie in gone {
            self.mark(cookie, false);
        }
    }

    fn mark(&mut self, cookie: u64, more: bool) {
        let index = mark(cookie);
        let count = self.marks.get(&index, 0).unwrap_or(0);
        let _ = self.marks.set(index, if more { count + 1 } else { count.saturating_sub(1) }, 0);
    }
}
