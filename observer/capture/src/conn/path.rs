//! What the network did to a socket, and which silences that explains.

use std::collections::VecDeque;

use super::tcp::SegmentOutcome;
use crate::limits;
use crate::record::{SockInfo, TcpSegment};
use crate::units::{Direction, Ns};

/// The least time until Linux sends again what nobody acknowledged.
const RESEND_LEAST_NS: u64 = 200_000_000;
/// Doublings of that time that are reckoned with: beyond, any silence is explained.
const RESENDS: u32 = 16;

/// Round trips in which a sender that begins with one packet sends 31 of full size, more than any
/// answer piles up in a minute …
const RUSH_TRIPS: u64 = 5;
/// … and the time it takes at least, where the round trip is short or not known.
const RUSH_LEAST_NS: u64 = 100_000_000;

/// A smoothed round-trip time this many times the least one …
const RTT_JUMP: u32 = 4;
/// … and of so many microseconds is a jump.
const RTT_JUMP_LEAST_US: u32 = 200_000;

/// Something the network did that delays bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A segment was lost or overtaken: what came after it waited.
    Hole,
    /// So many packets of the peer were lost on the way here.
    Missed(u32),
    /// The peer's timer ran out: what comes now had been lost before, once at least.
    TimedOut,
    /// The peer sent again what had come before: an acknowledgement was lost, or it lost patience.
    Again,
    /// This side had to send again.
    Retransmit,
    /// The round-trip time jumped.
    Rtt,
    /// This side had no room to receive: the application does not read.
    NoRoom,
}

impl NetworkEvent {
    /// It happens at one moment.
    fn is_point(self) -> bool {
        !matches!(self, NetworkEvent::Hole | NetworkEvent::NoRoom)
    }

    /// Packets that had to be sent once more.
    fn packets(self) -> u32 {
        match self {
            NetworkEvent::Missed(packets) => packets,
            NetworkEvent::TimedOut | NetworkEvent::Again | NetworkEvent::Retransmit => 1,
            NetworkEvent::Hole | NetworkEvent::Rtt | NetworkEvent::NoRoom => 0,
        }
    }
}

/// What the network did to a socket.
#[derive(Clone, Debug, Default)]
pub struct NetworkPath {
    /// It ends at a proxy: what the network does behind that is not seen.
    pub proxied: bool,
    /// Smoothed round-trip time, microseconds, and the least there was.
    pub srtt_us: Option<u32>,
    pub least_us: Option<u32>,
    /// Segments this side sent again, since the birth.
    pub retransmits: Option<u32>,
    /// Segments the peer sent again that we saw twice, and holes that were filled later.
    pub again: u64,
    pub holes: u64,
    /// Packets of the peer that never came, where it numbers them.
    pub missed: u64,
    /// Segments this side sent again, as they passed.
    resent: u32,
    /// Times this side closed its window, and how long it was closed in all, as far as it opened again.
    pub closed_window: u64,
    closed_ns: u64,
    troubles: VecDeque<(NetworkEvent, Ns, Ns)>,
    no_room_since: Option<Ns>,
}

impl NetworkPath {
    fn note(&mut self, trouble: NetworkEvent, from: Ns, to: Ns) {
        if self.troubles.len() >= limits::NETWORK_EVENTS {
            self.troubles.pop_front();
        }
        self.troubles.push_back((trouble, from, to));
    }

    /// What explains at least half of the silence between `from` and `to`, when bytes came again: a
    /// closed window, or what the network did in the meantime. `None`: nothing that was seen.
    ///
    /// A loss explains as much as it takes to send again, no more: a peer that paused for a second
    /// and whose first packet then was lost is not excused by it.
    #[must_use]
    pub fn explains(&self, from: Ns, to: Ns) -> Option<NetworkEvent> {
        let enough = ((to - from) / 2).max(1);
        let closed = self.no_room_since.map_or(0, |since| to - since.max(from));
        if self.lasted(NetworkEvent::NoRoom, from, to) + closed >= enough {
            return Some(NetworkEvent::NoRoom);
        }
        let within = self.troubles.iter().filter(|&&(_, _, at)| at > from && at <= to);
        let points = || within.clone().map(|(trouble, ..)| *trouble).filter(|trouble| trouble.is_point());
        if points().any(|trouble| trouble == NetworkEvent::Rtt) {
            return Some(NetworkEvent::Rtt);
        }
        if self.lasted(NetworkEvent::Hole, from, to) >= enough {
            return Some(NetworkEvent::Hole);
        }
        let lost = points().map(NetworkEvent::packets).fold(0, u32::saturating_add);
        points().next_back().filter(|_| self.resending_ns(lost) >= enough)
    }

    /// The peer's timer ran out in that time: it had sent, nobody knows how long before, what came late.
    #[must_use]
    pub fn timed_out(&self, from: Ns, to: Ns) -> bool {
        self.troubles.iter().any(|&(trouble, _, at)| trouble == NetworkEvent::TimedOut && at > from && at <= to)
    }

    /// How long a peer whose packets come through again needs for what has piled up, nanoseconds: a
    /// few round trips, for it begins with one packet and doubles.
    #[must_use]
    pub fn rush_ns(&self) -> u64 {
        RUSH_LEAST_NS + u64::from(self.srtt_us.unwrap_or(0)) * 1_000 * RUSH_TRIPS
    }

    /// How long a trouble that lasts was there between two moments; where it was there twice at once, it counts once.
    fn lasted(&self, wanted: NetworkEvent, from: Ns, to: Ns) -> u64 {
        let (mut sum, mut counted_from) = (0, to);
        for &(_, since, until) in self.troubles.iter().rev().filter(|(trouble, ..)| *trouble == wanted) {
            sum += until.min(counted_from) - since.max(from);
            counted_from = counted_from.min(since);
        }
        sum
    }

    /// How long it takes at least until a packet comes through of which `lost` were lost before it,
    /// one after the other: the timer of the sender doubles each time (RFC 6298, with the 200 ms
    /// that Linux waits at least).
    fn resending_ns(&self, lost: u32) -> u64 {
        let timer = RESEND_LEAST_NS + u64::from(self.srtt_us.unwrap_or(0)) * 4 * 1_000;
        timer.saturating_mul((1 << lost.min(RESENDS)) - 1)
    }

    /// Segments this side sent again: as TCP tells, or as they passed.
    #[must_use]
    pub fn retransmissions(&self) -> u32 {
        self.retransmits.unwrap_or(0).max(self.resent)
    }

    /// How long this side has left no room to send, nanoseconds.
    #[must_use]
    pub fn zero_window_ns(&self, now: Ns) -> u64 {
        self.closed_ns + self.no_room_since.map_or(0, |since| now - since)
    }

    /// A segment is about to go through its direction's order, where it is what `seen` says.
    pub(super) fn segment(&mut self, segment: &TcpSegment<'_>, seen: SegmentOutcome) {
        let at = segment.at;
        self.order(segment.direction, seen, at);
        if segment.direction == Direction::Read && segment.missed > 0 {
            self.missed += u64::from(segment.missed);
            self.note(NetworkEvent::Missed(segment.missed), at, at);
        }
        // What came twice tells the same.
        if segment.direction == Direction::Read && segment.timed_out && seen.again == 0 {
            self.note(NetworkEvent::TimedOut, at, at);
        }
        if segment.direction == Direction::Write && !segment.rst {
            self.room(segment.zero_window, at);
        }
    }

    /// What its place in the order tells.
    fn order(&mut self, direction: Direction, seen: SegmentOutcome, at: Ns) {
        match direction {
            Direction::Read => {
                if let Some(since) = seen.filled {
                    self.holes += 1;
                    self.note(NetworkEvent::Hole, since, at);
                }
                if seen.again > 0 {
                    self.again += 1;
                    self.note(NetworkEvent::Again, at, at);
                }
            }
            Direction::Write if seen.again > 0 => {
                self.resent = self.resent.saturating_add(1);
                self.note(NetworkEvent::Retransmit, at, at);
            }
            Direction::Write => {}
        }
    }

    fn room(&mut self, none: bool, at: Ns) {
        match (self.no_room_since, none) {
            (None, true) => {
                self.no_room_since = Some(at);
                self.closed_window += 1;
            }
            (Some(since), false) => {
                self.no_room_since = None;
                self.closed_ns += at - since;
                self.note(NetworkEvent::NoRoom, since, at);
            }
            _ => {}
        }
    }

    /// Takes over what TCP itself knows of the connection.
    pub(super) fn update_tcp_info(&mut self, info: &SockInfo) {
        if let (Some(before), Some(now)) = (self.retransmits, info.retransmits)
            && now > before
        {
            self.note(NetworkEvent::Retransmit, info.at, info.at);
        }
        self.retransmits = info.retransmits.or(self.retransmits);
        let Some(srtt) = info.srtt_us else { return };
        let least = self.least_us.map_or(srtt, |least| least.min(srtt));
        let jump = least.saturating_mul(RTT_JUMP).max(RTT_JUMP_LEAST_US);
        // Only the jump itself: a path that stays slow delays nothing that follows.
        if srtt > jump && self.srtt_us.is_none_or(|before| before <= jump) {
            self.note(NetworkEvent::Rtt, info.at, info.at);
        }
        (self.srtt_us, self.least_us) = (Some(srtt), Some(least));
    }
}
