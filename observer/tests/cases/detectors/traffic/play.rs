//! A call as records of a connection.

use std::sync::Arc;

use capture::record::Record;
use capture::units::Direction;
use edge::identity::ProcessIdentity;
use testkit::{FakeTlsConn, OwnedRecord};

use super::wire::framed;
use super::{Call, End, Step};

impl Call {
    /// The records of the call, begun `at_ms` after the boot; the second: when it ended.
    pub(super) fn records(&self, at_ms: u64, handle: u64) -> (Vec<OwnedRecord>, u64) {
        let mut script = FakeTlsConn::new(self.pid, handle);
        script.wait_ms(at_ms.saturating_sub(1000));
        self.play(&mut script, true);
        (self.of(&script), script.now().0 / 1_000_000)
    }

    /// The call on a connection; `last`: and the connection's end.
    pub(super) fn play(&self, script: &mut FakeTlsConn, last: bool) {
        let (head, body) = self.request();
        script.write(&head);
        match self.request_cut {
            None => script.write(&body),
            Some(kept) => script.write(body.get(..kept).unwrap()).lose(Direction::Write, (body.len() - kept) as u64),
        };
        script.wait_ms(self.think_ms);
        if self.status > 0 {
            script.read(self.head());
            self.answer(script);
        }
        if !last {
            return;
        }
        match self.end {
            End::Done(_) => script.wait_ms(1).close(),
            End::Cut => script.read_end(true).close(),
            End::Reset => script.read_end(false).close(),
            End::ResetLate(ms) => script.read_end(false).wait_ms(ms).close(),
            End::Cancel => script.close(),
            End::Exit => script.exit(),
        };
    }

    /// The records of a script, in the name of this call's program.
    pub(super) fn of(&self, script: &FakeTlsConn) -> Vec<OwnedRecord> {
        self.named(script.records())
    }

    pub(super) fn named(&self, records: &[OwnedRecord]) -> Vec<OwnedRecord> {
        let mut records = records.to_vec();
        for owned in &mut records {
            if let Record::Process { identity, .. } = &mut owned.record {
                let service = self.service.clone();
                *identity = Arc::new(ProcessIdentity {
                    pid: self.pid,
                    comm: "app".into(),
                    service,
                    ..ProcessIdentity::default()
                });
            }
        }
        records
    }

    pub(super) fn answer(&self, script: &mut FakeTlsConn) {
        let mut now = self.clone();
        if let Some(document) = &self.document {
            let mut lost = 0;
            // Sound may come late after its head, or not at all; any other document comes with it.
            for step in self.steps.iter().filter(|_| self.media) {
                match step {
                    Step::Wait(ms) => _ = script.wait_ms(*ms),
                    Step::Lose(bytes) => {
                        script.lose(Direction::Read, *bytes);
                        lost += usize::try_from(*bytes).unwrap();
                    }
                    _ => {}
                }
            }
            script.read(&document.as_bytes()[lost..]);
            return;
        }
        if let Some(opening) = self.opening() {
            script.read(framed(&opening));
        }
        let (mut together, mut held) = (0, String::new());
        for step in &self.steps {
            match step {
                Step::Wait(ms) => {
                    script.wait_ms(*ms);
                }
                Step::Together(events) => together = *events,
                Step::Lose(bytes) => {
                    script.lose(Direction::Read, *bytes);
                }
                Step::Model(name) => now.answered = (*name).into(),
                step => {
                    held += &framed(&now.event(step).expect("this API cannot say that"));
                    together = usize::saturating_sub(together, 1);
                    if together == 0 {
                        script.read(std::mem::take(&mut held));
                    }
                }
            }
        }
        if let End::Done(reason) = self.end {
            script.read(held + &framed(&now.closing(reason)) + "0\r\n\r\n");
        }
    }
}
