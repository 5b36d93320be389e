//! HTTP/2 as a real client and server speak it (the `h2` crate: Huffman code, dynamic tables, flow control, its own
//! order of frames), overheard and cut at random: every exchange comes out as it was meant.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use capture::conn::Chunk;
use capture::proto::{ConnClosing, ExchangeEnd, ExchangeId, Message, MessageSink, Salt, recognise};
use capture::units::{Direction, LossCause, Moment};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// What one exchange says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exchange {
    path: String,
    agent: Option<String>,
    request: Vec<u8>,
    status: u16,
    id: Option<String>,
    events: Vec<String>,
    ends: u32,
}

fn exchanges() -> impl Strategy<Value = Vec<Exchange>> {
    let texts = prop::collection::vec("[ -~é]{1,200}", 0..12);
    let one = ("/v1/[a-c]{1,2}", "(python|node)/[0-3]", "[a-z]{0,300}", "r-[0-9]{1,3}", texts, any::<bool>());
    let one = one.prop_map(|(path, agent, request, id, events, fine)| Exchange {
        path,
        agent: Some(agent),
        request: request.into_bytes(),
        status: if fine { 200 } else { 429 },
        id: Some(id),
        events: events.into_iter().map(|text| text.trim_start().to_owned()).filter(|text| !text.is_empty()).collect(),
        ends: 1,
    });
    prop::collection::vec(one, 1..20)
}

/// Everything both sides wrote, in order.
type Tape = Arc<Mutex<Vec<(Direction, Vec<u8>)>>>;

/// Passes bytes on, and keeps them.
async fn overhear(near: DuplexStream, far: DuplexStream, tape: Tape) {
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
        (tokio::io::split(near), tokio::io::split(far));
    let (mut up, mut down) = (vec![0; 4096], vec![0; 4096]);
    loop {
        let (direction, read) = tokio::select! {
            read = near_read.read(&mut up) => (Direction::Write, read),
            read = far_read.read(&mut down) => (Direction::Read, read),
        };
        let (Ok(count @ 1..), to) = (read, direction) else { return };
        let bytes = if to == Direction::Write { &up[..count] } else { &down[..count] };
        tape.lock().unwrap().push((direction, bytes.to_vec()));
        let sent = match direction {
            Direction::Write => far_write.write_all(bytes).await,
            Direction::Read => near_write.write_all(bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Answers each request as the plan says that its number wants; streams run side by side.
async fn serve(stream: DuplexStream, plans: Vec<Exchange>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else { return };
        let number: usize = request.headers()["x-number"].to_str().unwrap().parse().unwrap();
        let plan = plans[number].clone();
        tokio::spawn(async move {
            let head = http::Response::builder()
                .status(plan.status)
                .header("content-type", "text/event-stream")
                .header("x-request-id", plan.id.unwrap())
                .body(())
                .unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            for event in plan.events {
                body.send_data(format!("data: {event}\n\n").into(), false).unwrap();
                tokio::task::yield_now().await;
            }
            body.send_data(Bytes::new(), true).unwrap();
        });
    }
}

async fn ask(stream: DuplexStream, plans: Vec<Exchange>) {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let mut answers = Vec::new();
    for (number, plan) in plans.into_iter().enumerate() {
        let head = http::Request::post(format!("https://api.example{}", plan.path))
            .header("user-agent", plan.agent.unwrap())
            .header("authorization", "Bearer planted")
            .header("x-number", number.to_string())
            .body(())
            .unwrap();
        sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(head, false).unwrap();
        body.send_data(plan.request.into(), true).unwrap();
        answers.push(tokio::spawn(async move {
            let mut body = answer.await.unwrap().into_body();
            while let Some(data) = body.data().await {
                let count = data.unwrap().len();
                body.flow_control().release_capacity(count).unwrap();
            }
        }));
    }
    for answer in answers {
        answer.await.unwrap();
    }
    drop(sender);
    let _ = driver.await.unwrap();
}

fn tape(plans: &[Exchange]) -> Vec<(Direction, Vec<u8>)> {
    let tape = Tape::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ((client, near), (far, server)) = (duplex(4096), duplex(4096));
        let middle = tokio::spawn(overhear(near, far, tape.clone()));
        let end = tokio::spawn(serve(server, plans.to_vec()));
        ask(client, plans.to_vec()).await;
        middle.abort();
        end.abort();
    });
    drop(runtime);
    Arc::into_inner(tape).unwrap().into_inner().unwrap()
}

/// Puts together what is heard.
#[derive(Default)]
struct Heard(BTreeMap<u64, Exchange>);

impl MessageSink for Heard {
    fn message(&mut self, exchange: ExchangeId, _: Moment, message: Message<'_>) {
        if let Message::Note(note) = message {
            panic!("{note:?}");
        }
        let heard = self.0.entry(exchange.0).or_default();
        match message {
            Message::Request(head) => {
                assert!(head.credential_hash.is_some() && head.host.as_deref() == Some("api.example"));
                heard.path.clone_from(&head.path);
                heard.agent = head.header("user-agent").map(str::to_owned);
            }
            Message::RequestBody(bytes) => heard.request.extend_from_slice(bytes),
            Message::RequestEnd { lost } => assert!(!lost),
            Message::Response(head) => {
                heard.status = head.status;
                heard.id = head.header("x-request-id").map(str::to_owned);
            }
            Message::Event(event) => heard.events.push(String::from_utf8(event.data.to_vec()).unwrap()),
            Message::End(end) => {
                assert_eq!(end, ExchangeEnd::Complete);
                heard.ends += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The same where parts were lost: what is said must be right, and be said of the right stream.
struct Remains<'a>(&'a [Exchange]);

impl MessageSink for Remains<'_> {
    fn message(&mut self, exchange: ExchangeId, _: Moment, message: Message<'_>) {
        if exchange == ExchangeId::CONNECTION {
            return;
        }
        let plan = &self.0[usize::try_from(exchange.0 / 2).unwrap()];
        match message {
            Message::Request(head) => {
                assert!(head.path.is_empty() || head.path == plan.path, "{head:?} of {plan:?}");
                let agent = head.header("user-agent");
                assert!(agent.is_none() || agent == plan.agent.as_deref(), "{head:?} of {plan:?}");
            }
            Message::Response(head) => {
                // 0: the head that told it was lost.
                assert!(head.status == 0 || head.status == plan.status, "{head:?} of {plan:?}");
                let id = head.header("x-request-id");
                assert!(id.is_none() || id == plan.id.as_deref(), "{head:?} of {plan:?}");
            }
            Message::RequestBody(bytes) => assert!(memchr::memmem::find(&plan.request, bytes).is_some()),
            Message::Event(event) => {
                let said = std::str::from_utf8(event.data).unwrap();
                assert!(plan.events.iter().any(|event| event == said), "{said:?} of {plan:?}");
            }
            Message::Body(_) => panic!("{plan:?} has no such body"),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_a_real_client_and_server_meant_is_heard(plans in exchanges(), size in 1..500usize) {
        let tape = tape(&plans);
        let row = recognise(Direction::Write, &tape[0].1).1.unwrap();
        prop_assert_eq!(row.name, "http/2");
        let (mut parser, mut heard) = ((row.make)(&Salt::random()), Heard::default());
        for (direction, bytes) in &tape {
            for piece in bytes.chunks(size) {
                parser.push(*direction, Chunk::Data(piece), Moment::default(), &mut heard);
            }
        }
        parser.close(ConnClosing::Local, Moment::default(), &mut heard);
        let heard: Vec<Exchange> = heard.0.into_values().collect();
        prop_assert_eq!(heard, plans);
    }

    #[test]
    fn after_losses_nothing_wrong_is_heard(
        plans in exchanges(),
        size in 1..500usize,
        lost in prop::collection::vec(prop::bool::weighted(0.05), 100),
        told: bool,
        from in 0..4usize,
    ) {
        let tape = tape(&plans);
        let row = recognise(Direction::Write, &tape[0].1).1.unwrap();
        let (mut parser, mut heard) = ((row.make)(&Salt::random()), Remains(&plans));
        // Joined in the middle, perhaps.
        for direction in [Direction::Write, Direction::Read].into_iter().filter(|_| from > 0) {
            let gap = Chunk::Gap { bytes: None, cause: LossCause::LateAttach };
            parser.push(direction, gap, Moment::default(), &mut heard);
        }
        let mut lost = lost.iter().cycle();
        for (call, (direction, bytes)) in tape.iter().enumerate().skip(from * 2) {
            let at = Moment { call: call as u64 + 1, ..Moment::default() };
            for piece in bytes.chunks(size) {
                let bytes = told.then_some(piece.len() as u64);
                let gap = Chunk::Gap { bytes, cause: LossCause::RingFull };
                let chunk = if *lost.next().unwrap() { gap } else { Chunk::Data(piece) };
                parser.push(*direction, chunk, at, &mut heard);
            }
        }
        parser.close(ConnClosing::Local, Moment::default(), &mut heard);
    }
}
