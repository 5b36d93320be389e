//! Requests and answers of a TLS connection nobody looks into: when they begin and end, by the records alone.
//!
//! ```text
//! idle ──the client sends much──▶ asked ──the server sends──▶ answering ──last chunk, or the next request──▶ idle
//! ```
//! A guess, and said to be one. Frames of HTTP/2's own (window updates, pings) are short; a request
//! to a model is not. The server's session tickets look like an answer: after a TLS 1.3 handshake,
//! what comes within a round trip or so is left out. The end of an answer shows only where the
//! server sends its last chunk by itself, as most do; otherwise it is the next request, or a long
//! silence. Several answers at once (HTTP/2) cannot be told apart: they count as one.

use super::{RecordOverhead, TlsHandshakeFacts, TlsRecord};
use crate::units::{Direction, Ns};

/// A client's burst of at least so many bytes of plaintext asks for something: the shortest call of
/// a model is longer, all control frames of HTTP/2 are shorter.
const REQUEST: u32 = 96;
/// `0\r\n\r\n`: the last chunk of HTTP/1.1.
const LAST_CHUNK: u32 = 5;
/// A DATA frame of HTTP/2 without data: only its END_STREAM matters.
const EMPTY_FRAME: u32 = 9;
/// A request this soon after a record of the answer before it is another stream of the same
/// connection, if HTTP/2 is possible.
const SOON_NS: u64 = 300_000_000;
/// An answer is over when the server has been silent for so long. Models think, but they send signs of life.
const SILENCE_NS: u64 = 120_000_000_000;
/// Tickets come within the handshake's time and a half, and this.
const TICKETS_NS: u64 = 5_000_000;
/// Servers send up to four.
const TICKETS: u32 = 4;
/// The usual overhead where the hellos were not seen.
const USUAL: u16 = 17;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeEnd {
    /// The server's last chunk was seen.
    Last,
    /// The next request shows that it was over.
    Next,
    /// Nothing came for long.
    Silence,
}

/// What a record turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeEvent {
    /// A request begins at `at`.
    Begin { at: Ns },
    /// A record of the answer: bytes of plaintext at most, when it was complete, and whether it may be taken for the
    /// first there was.
    Answer { bytes: u32, at: Ns, first: bool },
    /// The answer is over.
    End { at: Ns, how: ShapeEnd },
    /// Another request began before the answer was over.
    Several,
}

/// The requests of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestShape {
    state: State,
    /// Requests so far.
    requests: u64,
    /// Records left out as tickets.
    tickets: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    Asked,
    Answering {
        records: u64,
        last: Ns,
    },
}

impl RequestShape {
    /// A record that may carry application data.
    pub fn record(
        &mut self,
        direction: Direction,
        record: &TlsRecord,
        facts: &TlsHandshakeFacts,
        out: &mut dyn FnMut(ShapeEvent),
    ) {
        let plain = u32::from(record.len.saturating_sub(overhead(facts)));
        match direction {
            Direction::Write => self.asked(plain, record.first, facts, out),
            Direction::Read => self.answered(plain, record.at, facts, out),
        }
    }

    /// Time passed.
    pub fn tick(&mut self, now: Ns, out: &mut dyn FnMut(ShapeEvent)) {
        if let State::Answering { last, .. } = self.state
            && now - last >= SILENCE_NS
        {
            self.state = State::Idle;
            out(ShapeEvent::End { at: last, how: ShapeEnd::Silence });
        }
    }

    /// Something is asked or being answered.
    #[must_use]
    pub fn busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// When the server last sent a part of the answer.
    #[must_use]
    pub fn last(&self) -> Option<Ns> {
        if let State::Answering { last, .. } = self.state { Some(last) } else { None }
    }

    fn asked(&mut self, plain: u32, at: Ns, facts: &TlsHandshakeFacts, out: &mut dyn FnMut(ShapeEvent)) {
        if plain < REQUEST {
            return;
        }
        match self.state {
            // The request goes on.
            State::Asked => return,
            State::Answering { last, .. } if may_be_h2(facts) && at - last < SOON_NS => {
                return out(ShapeEvent::Several);
            }
            State::Answering { last, .. } => out(ShapeEvent::End { at: last, how: ShapeEnd::Next }),
            State::Idle => {}
        }
        self.state = State::Asked;
        self.requests += 1;
        out(ShapeEvent::Begin { at });
    }

    fn answered(&mut self, plain: u32, at: Ns, facts: &TlsHandshakeFacts, out: &mut dyn FnMut(ShapeEvent)) {
        let ticket_time = self.requests <= 1 && in_ticket_time(facts, at);
        let records = match self.state {
            State::Idle => return,
            State::Asked if ticket_time && self.tickets < TICKETS => {
                self.tickets += 1;
                return;
            }
            State::Asked => 0,
            State::Answering { records, .. } => records,
        };
        let last = records > 0 && known(facts) && matches!(plain, LAST_CHUNK | EMPTY_FRAME);
        self.state = if last { State::Idle } else { State::Answering { records: records + 1, last: at } };
        out(ShapeEvent::Answer { bytes: plain, at, first: records == 0 && !ticket_time });
        if last {
            out(ShapeEvent::End { at, how: ShapeEnd::Last });
        }
    }
}

fn overhead(facts: &TlsHandshakeFacts) -> u16 {
    if let RecordOverhead::Bytes(bytes) = facts.overhead() { bytes } else { USUAL }
}

/// The length of the plaintext is known (but for padding).
fn known(facts: &TlsHandshakeFacts) -> bool {
    matches!(facts.overhead(), RecordOverhead::Bytes(_))
}

/// The client offered HTTP/2, or nobody knows.
fn may_be_h2(facts: &TlsHandshakeFacts) -> bool {
    facts.hello.as_ref().is_none_or(|hello| hello.h2)
}

fn in_ticket_time(facts: &TlsHandshakeFacts, at: Ns) -> bool {
    let (Some(true), Some(ready), Some(hello)) = (facts.is_13(), facts.ready_at, facts.hello_at) else { return false };
    at - ready <= (ready - hello) * 3 / 2 + TICKETS_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::tls::{ClientHello, ServerHello};

    const MS: u64 = 1_000_000;

    /// Handshake from 1 ms to 3 ms; HTTP/2 offered or not.
    fn facts(h2: bool) -> TlsHandshakeFacts {
        TlsHandshakeFacts {
            hello: Some(ClientHello { sni: Some("api.openai.com".into()), h2 }),
            hello_at: Some(Ns(MS)),
            answer: Some(ServerHello { version: 0x0304, suite: 0x1301, retry: false }),
            ready_at: Some(Ns(3 * MS)),
            losses: 0,
        }
    }

    /// `>` the client, `<` the server, so many bytes of plaintext, at so many milliseconds.
    fn play(facts: &TlsHandshakeFacts, records: &[(char, u16, u64)]) -> Vec<String> {
        let (mut shape, mut heard) = (RequestShape::default(), Vec::new());
        for (who, plain, at) in records {
            let direction = if *who == '>' { Direction::Write } else { Direction::Read };
            let at = Ns(at * MS);
            let record = TlsRecord { kind: 23, len: plain + 17, first: at, at };
            shape.record(direction, &record, facts, &mut |seen| {
                heard.push(match seen {
                    ShapeEvent::Begin { at } => format!("begin {}", at.0 / MS),
                    ShapeEvent::Answer { bytes, at, first } => {
                        format!("{}{bytes} {}", if first { "first " } else { "" }, at.0 / MS)
                    }
                    ShapeEvent::End { at, how } => format!("end {} {how:?}", at.0 / MS),
                    ShapeEvent::Several => "several".into(),
                });
            });
        }
        heard
    }

    #[test]
    fn requests_are_what_the_client_sends_and_tickets_no_answers() {
        let heard = play(
            &facts(true),
            &[
                ('>', 64, 3),
                ('>', 700, 4),
                ('>', 3_000, 4),
                ('<', 233, 5),
                ('<', 233, 5),
                ('<', 9, 6),
                ('>', 13, 7),
                ('<', 300, 400),
                ('<', 50, 450),
                ('>', 13, 460),
                ('<', 50, 500),
                ('<', 9, 501),
                ('<', 17, 9_000),
            ],
        );
        assert_eq!(heard, ["begin 4", "first 300 400", "50 450", "50 500", "9 501", "end 501 Last"]);
    }

    #[test]
    fn on_a_used_connection_the_next_request_ends_an_answer_whose_end_did_not_show() {
        let records =
            [('>', 700, 100), ('<', 300, 200), ('<', 55, 250), ('>', 900, 260), ('<', 300, 300), ('<', 5, 301)];
        let heard = play(&facts(false), &records);
        let second = ["end 250 Next", "begin 260", "first 300 300", "5 301", "end 301 Last"];
        assert_eq!(heard[..3], ["begin 100", "first 300 200", "55 250"]);
        assert_eq!(heard[3..], second);
        assert_eq!(play(&facts(true), &records)[3], "several", "with HTTP/2 it may be another stream");
    }

    #[test]
    fn a_long_silence_ends_an_answer_and_nothing_else_does() {
        let mut shape = RequestShape::default();
        let mut heard = Vec::new();
        let at = Ns(100 * MS);
        let record = TlsRecord { kind: 23, len: 800, first: at, at };
        shape.record(Direction::Write, &record, &facts(false), &mut |_| {});
        shape.tick(Ns(at.0 + 10 * SILENCE_NS), &mut |seen| heard.push(seen));
        assert!(heard.is_empty() && shape.busy(), "nobody answered yet");
        shape.record(Direction::Read, &record, &facts(false), &mut |_| {});
        shape.tick(Ns(at.0 + SILENCE_NS - 1), &mut |seen| heard.push(seen));
        shape.tick(Ns(at.0 + SILENCE_NS), &mut |seen| heard.push(seen));
        assert_eq!(heard, [ShapeEvent::End { at, how: ShapeEnd::Silence }]);
        assert!(!shape.busy());
    }
}
