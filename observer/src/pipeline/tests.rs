//! Whole exchanges through all stages, in virtual time.

use super::*;
use crate::conn::testing::{Owned, Script};
use crate::ledger::{Entry, Happening, Milestone, Outcome};
use crate::units::LossCause;

const MS: f64 = 1e-3;

/// Keeps what is said, by name.
#[derive(Default)]
struct Ear {
    said: Vec<String>,
    gaps: Vec<Option<f64>>,
    reads: Vec<u32>,
    stalls: Vec<f64>,
    lost: Vec<(Option<u64>, LossCause)>,
    debug: String,
}

impl Audience for Ear {
    fn hear(&mut self, happening: Happening<'_>) {
        self.debug.push_str(&format!("{happening:?}"));
        match happening {
            Happening::Opened(_) => self.said.push("opened".into()),
            Happening::Requested(_) => self.said.push("requested".into()),
            Happening::First { milestone, .. } => self.said.push(milestone.name().into()),
            Happening::Chunk { gap, .. } => self.gaps.push(gap),
            Happening::Read { events, .. } => self.reads.push(events),
            Happening::Stall { stall, .. } => self.stalls.push(stall.seconds),
            Happening::Closed(entry) => self.said.push(entry.outcome.unwrap().name().into()),
            Happening::Lost { bytes, cause } => self.lost.push((bytes, cause)),
            Happening::Odd(note) => self.said.push(format!("odd {} {}", note.protocol, note.reason)),
        }
    }
}

struct Run {
    pipeline: Pipeline<Ear>,
    verdicts: Vec<Verdict>,
}

fn run(records: &[Owned]) -> Run {
    let mut run = Run { pipeline: Pipeline::new(Settings::default(), Ear::default()), verdicts: Vec::new() };
    run.play(records);
    run
}

impl Run {
    fn play(&mut self, records: &[Owned]) {
        for record in records {
            self.pipeline.record(&record.get());
            self.verdicts.extend(self.pipeline.verdicts().map(|(_, verdict)| verdict));
        }
    }

    fn ended(&self) -> Vec<&Entry> {
        self.pipeline.book().ended().collect()
    }

    fn only(&self) -> &Entry {
        let all: Vec<&Entry> = self.pipeline.book().open().chain(self.pipeline.book().ended()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    fn ear(&self) -> &Ear {
        self.pipeline.audience()
    }
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer sk-secret\r\nContent-Type: application/json\r\nx-stainless-retry-count: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chat() -> String {
    request(
        "/v1/chat/completions",
        r#"{"model":"gpt-x","stream":true,"messages":[{"role":"user","content":"planted prompt"}]}"#,
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const DONE: &str = "e\r\ndata: [DONE]\n\n\r\n";
const LAST: &str = "0\r\n\r\n";

fn framed(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

fn delta(text: &str) -> String {
    framed(
        &format!(
            r#"data: {{"id":"chatcmpl-1","model":"gpt-x-2","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#
        )
        .replace("}]}", "}]}\n\n")
        .as_str()
        .to_owned(),
    )
}

fn finish(reason: &str) -> String {
    framed(&format!(
        "data: {{\"id\":\"chatcmpl-1\",\"model\":\"gpt-x-2\",\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n"
    ))
}

fn close_to(got: Option<f64>, want: f64) {
    let got = got.expect("known");
    assert!((got - want).abs() < 1e-4, "{got} for {want}");
}

#[test]
fn a_chat_stream_from_first_byte_to_end() {
    let mut script = Script::new(10, 1);
    script.write(chat()).wait_ms(100).read(HEAD);
    script.read_each(20, [delta("Hello"), delta(" world"), delta(". "), delta("Bye")]);
    script.wait_ms(20).read(finish("stop") + DONE + LAST).wait_ms(5).close();
    let run = run(script.records());
    let entry = run.only();
    assert_eq!(entry.outcome, Some(Outcome::Complete));
    assert_eq!((entry.events, entry.chunks, entry.reads, entry.visible_chars), (6, 4, 5, 16));
    assert_eq!((entry.api, entry.provider, entry.protocol), ("openai.chat", "openai", "http/1.1"));
    assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
    assert_eq!(entry.response_model.as_deref(), Some("gpt-x-2"));
    assert_eq!(entry.finish_reason.as_deref(), Some("stop"));
    assert_eq!((entry.attempt, entry.status, entry.streaming), (Some(1), Some(200), true));
    assert_eq!(entry.identity.service, "app.service");
    close_to(entry.firsts.byte, 100.0 * MS);
    close_to(entry.firsts.visible, 120.0 * MS);
    close_to(entry.firsts.sentence, 160.0 * MS);
    close_to(Some(entry.gap_stats().unwrap().p50), 20.0 * MS);
    close_to(entry.head_burst_ratio, 1.0);
    assert_eq!(run.ear().reads, [1, 1, 1, 1, 2]);
    assert_eq!(run.ear().gaps[0], None);
    assert_eq!(run.ear().said, ["opened", "requested", "byte", "event", "emitted", "visible", "sentence", "complete"]);
    assert_eq!(run.verdicts, [Verdict::Track]);
    assert_eq!(run.pipeline.connections(), 0);
    assert!(entry.firsts.get(Milestone::Tool).is_none());
}
