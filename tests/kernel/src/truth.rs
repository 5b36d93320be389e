//! What really happened, from the provider's log: one `Exchange` per request.

use provider::clock::Stamp;
use provider::dialect::Api;
use provider::log::{Line, Part, Protocol, Request, WriteLine};
use provider::script::Kind;

use crate::ledger::Firsts;

/// One request and its answer, as the provider wrote it.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub request: Request,
    /// Every piece of the answer with the moment at which its last byte was handed to the kernel.
    pub parts: Vec<(Part, Stamp)>,
    /// The scripted fault, if one was played.
    pub fault: Option<String>,
    /// The client gave it up, and kept its connection.
    pub cancelled: bool,
    /// How the connection ended, if it ended.
    pub close: Option<String>,
}

/// The exchanges of one model name, in order of their requests.
#[must_use]
pub fn exchanges(lines: &[Line], model: &str) -> Vec<Exchange> {
    let requests = lines.iter().filter_map(|line| match line {
        Line::Request(request) if request.model == model => Some(request.clone()),
        _ => None,
    });
    let mut found: Vec<Exchange> = requests.map(|request| exchange(lines, request)).collect();
    found.sort_by_key(|exchange| exchange.request.first_byte);
    found
}

fn exchange(lines: &[Line], request: Request) -> Exchange {
    let ours = |write: &&WriteLine| write.conn == request.conn && write.request == request.request;
    let writes = lines.iter().filter_map(|line| if let Line::Write(write) = line { Some(write) } else { None });
    let parts = writes.filter(ours).flat_map(|write| write.parts.iter().map(|part| (*part, write.after))).collect();
    let fault = lines.iter().find_map(|line| match line {
        Line::Fault { conn, request: ordinal, fault, .. } if (*conn, *ordinal) == (request.conn, request.request) => {
            Some(fault.clone())
        }
        _ => None,
    });
    let close = lines.iter().find_map(|line| match line {
        Line::Close { conn, how, .. } if *conn == request.conn => Some(how.clone()),
        _ => None,
    });
    let cancelled = lines.iter().any(|line| {
        matches!(line, Line::Cancel { conn, request: ordinal, .. }
            if (*conn, *ordinal) == (request.conn, request.request))
    });
    Exchange { request, parts, fault, cancelled, close }
}

impl Exchange {
    /// Whether it is over: answered to the end, or broken.
    #[must_use]
    pub fn over(&self) -> bool {
        self.close.is_some()
            || self.fault.is_some()
            || self.cancelled
            || self.has(Kind::Trailer)
            || self.has(Kind::Body)
    }

    /// The answer was a stream of events.
    #[must_use]
    pub fn streamed(&self) -> bool {
        !self.has(Kind::Body)
    }

    /// Visible deltas.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.of(|kind| kind == Kind::Visible).count() as u64
    }

    /// Characters of one kind; a whole body's are visible.
    #[must_use]
    pub fn chars(&self, kind: Kind) -> u64 {
        self.of(|other| other == kind || (kind == Kind::Visible && other == Kind::Body))
            .map(|(part, _)| u64::from(part.chars))
            .sum()
    }

    /// Events of any kind, keep-alives excluded, end markers included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.of(is_event).count() as u64
    }

    /// Pings and comments.
    #[must_use]
    pub fn keepalives(&self) -> u64 {
        self.of(|kind| kind == Kind::Keepalive).count() as u64
    }

    /// Seconds from the arrival of the request's first byte to each milestone.
    #[must_use]
    pub fn firsts(&self) -> Firsts {
        // Sound goes up all the time: nobody asked at a moment.
        if self.request.api == Some(Api::Listen) {
            return Firsts::default();
        }
        let first = |wanted: fn(&Part) -> bool| {
            self.parts.iter().find(|(part, _)| wanted(part)).map(|(_, at)| self.seconds(*at))
        };
        Firsts {
            // A turn on a WebSocket has no head: its first message brings its first byte.
            byte: if self.request.protocol == Protocol::Websocket {
                first(|_| true)
            } else {
                first(|part| part.kind == Kind::Head)
            },
            event: first(|part| is_event(part.kind)),
            emitted: first(|part| is_sound(part) || is_delta(part.kind) && part.chars > 0),
            reasoning: first(|part| part.kind == Kind::Reasoning),
            visible: first(|part| part.kind == Kind::Visible),
            tool: first(|part| part.kind == Kind::Tool),
            audio: first(is_sound),
            sentence: first(|part| part.kind == Kind::Visible && part.full_stop),
        }
    }

    /// Seconds from the arrival of the request's first byte to each visible delta.
    #[must_use]
    pub fn visible_at(&self) -> Vec<f64> {
        self.of(|kind| kind == Kind::Visible).map(|(_, at)| self.seconds(*at)).collect()
    }

    /// Seconds between visible deltas.
    #[must_use]
    pub fn gaps(&self) -> Vec<f64> {
        self.visible_at().windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?)).collect()
    }

    /// How the ledger must say that it ended, where the provider's side decides it; `None` where the client does.
    #[must_use]
    pub fn outcome(&self) -> Option<&'static str> {
        if self.request.status.is_some_and(|status| status >= 400) {
            return Some("http_error");
        }
        if self.has(Kind::Error) {
            return Some("error_event");
        }
        if self.has(Kind::End) || self.has(Kind::Body) {
            return Some("complete");
        }
        match self.fault.as_deref() {
            Some("reset") => Some("reset"),
            Some("stall") => None,
            Some(_) => Some("truncated"),
            // Sound has no end marker but its body's.
            None if self.has(Kind::Sound) => self.has(Kind::Trailer).then_some("complete"),
            None => self.has(Kind::Trailer).then_some("truncated"),
        }
    }

    fn has(&self, kind: Kind) -> bool {
        self.parts.iter().any(|(part, _)| part.kind == kind)
    }

    fn of(&self, wanted: impl Fn(Kind) -> bool) -> impl Iterator<Item = &(Part, Stamp)> {
        self.parts.iter().filter(move |(part, _)| wanted(part.kind))
    }

    fn seconds(&self, at: Stamp) -> f64 {
        at.boot.saturating_sub(self.request.first_byte.boot) as f64 / 1e9
    }
}

/// As an event, or as it is.
fn is_sound(part: &Part) -> bool {
    matches!(part.kind, Kind::Audio | Kind::Sound)
}

fn is_delta(kind: Kind) -> bool {
    matches!(kind, Kind::Visible | Kind::Reasoning | Kind::Tool | Kind::Refusal | Kind::Audio)
}

fn is_event(kind: Kind) -> bool {
    is_delta(kind) || matches!(kind, Kind::Event | Kind::End | Kind::Error)
}
