//! A case of a vector's folder.

use std::path::{Path, PathBuf};

use capture::conn::Chunk;
use capture::proto::{ConnClosing, ExchangeId, ProtocolParser, ProtocolRow, Salt, recognise};
use capture::units::{Direction, Moment};
use serde_json::Value;

use super::transcript::Make;

/// One case as read from its folder.
pub(super) struct Case {
    pub folder: PathBuf,
    /// In the order in which the parties spoke.
    pub turns: Vec<(Direction, Vec<u8>)>,
    pub close: ConnClosing,
    /// The connection is seen from the middle.
    pub late: bool,
    /// The dialect expects JSON to be a stream of texts.
    json_stream: bool,
    /// What is said depends on what was said before, so that losing a part changes how the rest is put together.
    pub context: bool,
}

impl Case {
    pub(super) fn read(folder: &Path) -> Case {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let turns: Vec<_> = files
            .iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?;
                let direction = match () {
                    () if name.ends_with("client.bin") => Direction::Write,
                    () if name.ends_with("server.bin") => Direction::Read,
                    () => return None,
                };
                Some((direction, std::fs::read(path).unwrap()))
            })
            .collect();
        assert!(!turns.is_empty(), "no client.bin or server.bin in {}", folder.display());
        let options = std::fs::read_to_string(folder.join("case.json")).unwrap_or_else(|_| "{}".into());
        let options: Value = serde_json::from_str(&options).unwrap();
        let close = match options["close"].as_str().unwrap_or("peer") {
            "peer" => ConnClosing::Peer,
            "reset" => ConnClosing::Reset,
            "local" => ConnClosing::Local,
            "exit" => ConnClosing::ProcessExit,
            other => panic!("{}: close is {other:?}", folder.display()),
        };
        Case {
            folder: folder.into(),
            turns,
            close,
            late: options["late"] == true,
            json_stream: options["json_stream"] == true,
            context: options["context"] == true,
        }
    }

    pub(super) fn name(&self) -> String {
        self.folder.iter().rev().take(2).map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" of ")
    }

    /// Whether these bytes stand in an answer.
    pub(super) fn answers(&self, text: &str) -> bool {
        let mut answers = self.turns.iter().filter(|(direction, _)| *direction == Direction::Read);
        answers.any(|(_, bytes)| memchr::memmem::find(bytes, text.as_bytes()).is_some())
    }

    /// The parser that the table names for the first bytes; on a connection seen from the middle, for the first turn
    /// that is recognised.
    pub(super) fn parser(&self) -> Box<dyn ProtocolParser> {
        (self.row().make)(&Salt::random())
    }

    pub(super) fn hint(&self, parser: &mut dyn ProtocolParser) {
        (1..16).filter(|_| self.json_stream).for_each(|id| parser.expect_json_stream(ExchangeId(id)));
    }

    pub(super) fn row(&self) -> &'static ProtocolRow {
        let row = self.turns.iter().find_map(|(direction, bytes)| recognise(*direction, bytes).1);
        row.unwrap_or_else(|| panic!("{}: no protocol recognises it", self.name()))
    }

    /// A further request and its answer, in the case's protocol; of HTTP/2 one block each, from the static table.
    pub(super) fn after(&self) -> (&'static [u8], &'static [u8]) {
        match self.row().name {
            "http/2" => (b"\0\0\x02\x01\x05\x7f\xff\xff\xf1\x82\x84", b"\0\0\x01\x01\x05\x7f\xff\xff\xf1\x89"),
            _ => (b"GET /after HTTP/1.1\r\nHost: after\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        }
    }

    /// Whether nothing is left to close when the last turn is over: closing then says nothing.
    pub(super) fn ends_between_exchanges(&self, make: Make) -> bool {
        let heard = |close: bool| {
            let (mut parser, mut transcript) = (self.parser(), make());
            if self.late {
                return vec![Value::Null; usize::from(close)];
            }
            for (call, (direction, bytes)) in self.turns.iter().enumerate() {
                let at = Moment { call: call as u64, ..Moment::default() };
                parser.push(*direction, Chunk::Data(bytes), at, transcript.as_mut());
                transcript.json_streams().into_iter().for_each(|exchange| parser.expect_json_stream(exchange));
                self.hint(parser.as_mut());
            }
            if close {
                parser.close(self.close, Moment::default(), transcript.as_mut());
            }
            transcript.lines()
        };
        heard(false) == heard(true)
    }
}
