//! WebSockets as a real client and server write them (the `tungstenite` crate: masks, lengths,
//! fragments, pings, close), cut at random and with parts lost: every message comes out as it was
//! meant.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::io::{Cursor, Read, Write};

use capture::conn::Chunk;
use capture::proto::{
    BodyEventKind, ConnClosing, ExchangeEnd, ExchangeId, Message, MessageSink, ProtocolParser, Salt, recognise,
};
use capture::units::{Direction, LossCause, Moment};
use proptest::prelude::*;
use tungstenite::WebSocket;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Message as Peer, Role};

const UP: &[u8] = b"GET /v1/responses HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// One message, in as many fragments as there are pieces; control frames stand between them.
#[derive(Clone, Debug)]
struct Plan {
    text: bool,
    pieces: Vec<String>,
    ping: bool,
}

impl Plan {
    fn whole(&self) -> (BodyEventKind, Vec<u8>) {
        (if self.text { BodyEventKind::Text } else { BodyEventKind::Binary }, self.pieces.concat().into_bytes())
    }
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let piece = prop_oneof![9 => "[ -~é]{0,140}", 1 => "[a-z]{65000,70000}"];
    let one = (any::<bool>(), prop::collection::vec(piece, 1..4), any::<bool>());
    let one = one.prop_map(|(text, pieces, ping)| Plan { text, pieces, ping });
    prop::collection::vec(one, 0..8)
}

/// A peer that only writes.
#[derive(Default)]
struct Tape(Vec<u8>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Tape {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        Cursor::new(&[]).read(bytes)
    }
}

/// What one side writes, a message a call.
fn written(role: Role, plans: &[Plan], close: bool) -> Vec<Vec<u8>> {
    let mut calls = Vec::new();
    let mut socket = WebSocket::from_raw_socket(Tape::default(), role, None);
    for plan in plans {
        for (index, piece) in plan.pieces.iter().enumerate() {
            let kind = match (index, plan.text) {
                (0, true) => Data::Text,
                (0, false) => Data::Binary,
                _ => Data::Continue,
            };
            let last = index + 1 == plan.pieces.len();
            let frame = Frame::message(piece.clone().into_bytes(), OpCode::Data(kind), last);
            socket.send(Peer::Frame(frame)).unwrap();
            if plan.ping {
                socket.send(Peer::Ping(b"p".to_vec().into())).unwrap();
            }
        }
        calls.push(std::mem::take(&mut socket.get_mut().0));
    }
    if close {
        let _ = socket.close(Some(CloseFrame { code: 1000.into(), reason: "bye".into() }));
        calls.push(std::mem::take(&mut socket.get_mut().0));
    }
    calls
}

#[derive(Default)]
struct Heard {
    sent: Vec<(BodyEventKind, Vec<u8>)>,
    received: Vec<(BodyEventKind, Vec<u8>)>,
    end: Option<ExchangeEnd>,
    odd: Vec<&'static str>,
}

impl MessageSink for Heard {
    fn message(&mut self, exchange: ExchangeId, _: Moment, message: Message<'_>) {
        assert!(exchange.0 <= 1);
        match message {
            Message::Sent { message, .. } => self.sent.push((message.kind, message.data.to_vec())),
            Message::Event(event) => self.received.push((event.kind, event.data.to_vec())),
            Message::End(end) => assert!(self.end.replace(end).is_none()),
            Message::Note(note) => self.odd.push(note.reason),
            Message::Body(_) => panic!("{message:?}"),
            _ => {}
        }
    }
}

/// A socket that has just been opened.
fn opened(heard: &mut Heard) -> Box<dyn ProtocolParser> {
    let mut parser = (recognise(Direction::Write, UP).1.unwrap().make)(&Salt::random());
    parser.push(Direction::Write, Chunk::Data(UP), Moment::default(), heard);
    parser.push(Direction::Read, Chunk::Data(OK), Moment::default(), heard);
    parser
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_real_peers_write_is_read(client in plans(), server in plans(), size in 1..3000usize, close: bool) {
        let mut heard = Heard::default();
        let mut parser = opened(&mut heard);
        for (direction, role, plans, close) in
            [(Direction::Write, Role::Client, &client, false), (Direction::Read, Role::Server, &server, close)]
        {
            for piece in written(role, plans, close).concat().chunks(size) {
                parser.push(direction, Chunk::Data(piece), Moment::default(), &mut heard);
            }
        }
        prop_assert_eq!(heard.end, close.then_some(ExchangeEnd::PeerClosed));
        parser.close(ConnClosing::Reset, Moment::default(), &mut heard);
        prop_assert_eq!(heard.sent, client.iter().map(Plan::whole).collect::<Vec<_>>());
        prop_assert_eq!(heard.received, server.iter().map(Plan::whole).collect::<Vec<_>>());
        prop_assert_eq!(heard.odd, [""; 0]);
        prop_assert!(heard.end.is_some());
    }

    #[test]
    fn after_losses_only_what_was_sent_is_read(
        plans in plans(),
        client: bool,
        size in 1..3000usize,
        lost in prop::collection::vec(prop::bool::weighted(0.1), 40),
        told: bool,
    ) {
        let (direction, role) = if client { (Direction::Write, Role::Client) } else { (Direction::Read, Role::Server) };
        let mut heard = Heard::default();
        let mut parser = opened(&mut heard);
        let mut lost = lost.iter().cycle();
        for (call, bytes) in written(role, &plans, false).iter().enumerate() {
            let at = Moment { call: call as u64 + 1, ..Moment::default() };
            for piece in bytes.chunks(size) {
                let gap = Chunk::Gap { bytes: told.then_some(piece.len() as u64), cause: LossCause::RingFull };
                let chunk = if *lost.next().unwrap() { gap } else { Chunk::Data(piece) };
                parser.push(direction, chunk, at, &mut heard);
            }
        }
        parser.close(ConnClosing::Local, Moment::default(), &mut heard);
        let mut meant = plans.iter().map(Plan::whole);
        for one in heard.sent.iter().chain(&heard.received) {
            prop_assert!(meant.any(|other| other == *one), "{} bytes were not sent, or not then", one.1.len());
        }
    }
}
