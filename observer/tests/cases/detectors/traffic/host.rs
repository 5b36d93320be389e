//! Calls and other acts of any number of programs, put together on one host, and how the pipeline is driven by them.

use capture::record::{Record, SockOpen};
use capture::units::Ns;
use ledger::pipeline::{Pipeline, PipelineSettings};
use ledger::{EventSink, HostEvent};
use observer::sinks::{self, DaemonSinks};
use testkit::{FakeSocket, FakeTlsConn, OwnedRecord};

use super::{BOOT, Call, Delay, MINUTE, Ran};

/// What a process does besides its calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A program is started below it.
    Program,
    Connect(&'static str),
}

/// Calls of any number of programs.
pub(crate) struct Host {
    pub(super) records: Vec<OwnedRecord>,
    pub(super) next: u64,
    /// Noise, the same in every run.
    seed: u64,
    tick_ms: u64,
    pub wall: Option<i128>,
    /// When the CPU of a service was looked at, the cores it used since the look before, and seconds between the two.
    cpu: Vec<(u64, &'static str, f64, f64)>,
    /// When the wall clock is set, and by how much.
    steps: Vec<(u64, i128)>,
    /// When a TLS object's socket becomes known.
    pub(super) joins: Vec<(Ns, OwnedRecord)>,
    /// When it goes wrong; `None`: with the first call.
    wrong: Option<Ns>,
    /// When calls began.
    pub(super) calls: Vec<Ns>,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host {
            records: Vec::new(),
            next: 0x1000,
            seed: 7,
            tick_ms: 1000,
            wall: Some(BOOT),
            cpu: Vec::new(),
            steps: Vec::new(),
            joins: Vec::new(),
            wrong: None,
            calls: Vec::new(),
        }
    }

    /// A call that begins `at_ms` after the boot; when it ends.
    pub(crate) fn call(&mut self, at_ms: u64, call: &Call) -> u64 {
        self.next += 16;
        self.calls.push(Ns(at_ms.max(1000) * 1_000_000));
        let (records, end) = call.records(at_ms.max(1000), self.next);
        self.records.extend(records);
        end
    }

    /// Calls on one connection, `idle_ms` between them.
    pub(crate) fn calls_on_one(&mut self, at_ms: u64, idle_ms: u64, calls: &[Call]) {
        self.next += 16;
        let mut script = FakeTlsConn::new(calls[0].pid, self.next);
        script.wait_ms(at_ms.saturating_sub(1000));
        for (index, call) in calls.iter().enumerate() {
            if index > 0 {
                script.wait_ms(idle_ms);
            }
            self.calls.push(script.now());
            call.play(&mut script, index + 1 == calls.len());
        }
        self.records.extend(calls[0].of(&script));
    }

    /// A process does something; nobody: some of it was not seen.
    pub(crate) fn act(&mut self, at_ms: u64, pid: Option<u32>, act: Act) {
        let at = Ns(at_ms * 1_000_000);
        match act {
            Act::Program => {
                let record = Record::Started { tgid: pid, at };
                self.records.push(OwnedRecord { record, bytes: Vec::new() });
            }
            Act::Connect(peer) => {
                self.next += 16;
                let cable = FakeSocket::new(pid.unwrap(), self.next, peer.parse().unwrap());
                // A cable is plugged in at the beginning of time.
                let opens = cable.records().iter().filter_map(|owned| match owned.record {
                    Record::SockOpen(open) => Some(Record::SockOpen(SockOpen { at, ..open })),
                    _ => None,
                });
                self.records.extend(opens.map(|record| OwnedRecord { record, bytes: Vec::new() }));
            }
        }
    }

    /// A service's processes use `cores` from one minute to another.
    pub(crate) fn cpu(&mut self, service: &'static str, from: u64, to: u64, cores: f64) {
        self.cpu_each(1, service, from, to, cores);
    }

    /// The same, looked at once in so many minutes.
    pub(crate) fn cpu_each(&mut self, minutes: usize, service: &'static str, from: u64, to: u64, cores: f64) {
        let seconds = 60.0 * minutes as f64;
        self.cpu.extend((from..to).step_by(minutes).map(|minute| (minute * MINUTE, service, cores, seconds)));
    }

    /// The wall clock is set.
    pub(crate) fn step_wall(&mut self, at_ms: u64, by_ns: i128) {
        self.steps.push((at_ms, by_ns));
    }

    /// From here on it is as the detector should tell: what the delay of a verdict counts from.
    pub(crate) fn goes_wrong(&mut self, at_ms: u64) {
        self.wrong = Some(Ns(at_ms * 1_000_000));
    }

    /// From the beginning of what is wrong to the first verdict.
    fn delay(&self, told: Ns) -> Delay {
        let first = self.calls.iter().min().copied().unwrap_or_default();
        let wrong = self.wrong.unwrap_or(first);
        let streams = self.calls.iter().filter(|at| (wrong..=told).contains(at)).count();
        Delay { streams, seconds: told.seconds_since(wrong) }
    }

    /// A number below `below`, the same in every run.
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    /// What came so far, in the order of time: for traffic that is too long to be held.
    pub(crate) fn take(&mut self) -> Vec<OwnedRecord> {
        self.calls.clear();
        let mut records = std::mem::take(&mut self.records);
        records.sort_by_key(OwnedRecord::at);
        records
    }

    /// Everything through the pipeline, in the order of time.
    pub(crate) fn run(mut self) -> Ran {
        let own = self.records.drain(..).map(|owned| (owned.at(), owned));
        let mut records: Vec<(Ns, OwnedRecord)> = own.chain(self.joins.drain(..)).collect();
        records.sort_by_key(|(at, _)| *at);
        let mut pipeline =
            Pipeline::new(PipelineSettings::default(), DaemonSinks::new(&sinks::SinkSettings::default()));
        if let Some(wall) = self.wall {
            pipeline.sink_mut().detectors.set_wall(wall);
        }
        let mut told = None;
        let mut ticked = Ns(0);
        let mut cpu = self.cpu.iter().peekable();
        let mut steps = self.steps.iter().peekable();
        for (now, owned) in &records {
            while let Some((_, by)) = steps.next_if(|(at, _)| at * 1_000_000 <= now.0) {
                self.wall = self.wall.map(|wall| wall + by);
                pipeline.sink_mut().detectors.set_wall(self.wall.unwrap());
            }
            while let Some((_, service, cores, seconds)) = cpu.next_if(|(at, ..)| at * 1_000_000 <= now.0) {
                let (used, seconds) = (cores * seconds, *seconds);
                pipeline.sink_mut().on_host_event(&HostEvent::CpuUsed { service, used, seconds });
            }
            pipeline.record(&owned.get());
            if pipeline.now() - ticked >= self.tick_ms * 1_000_000 {
                ticked = pipeline.now();
                pipeline.tick(ticked);
                pipeline.verdicts().for_each(drop);
            }
            if told.is_none() && !pipeline.sink().detectors.findings().list().is_empty() {
                told = Some(pipeline.now());
            }
        }
        pipeline.tick(Ns(pipeline.now().0 + 2_000_000_000));
        if told.is_none() && !pipeline.sink().detectors.findings().list().is_empty() {
            told = Some(pipeline.now());
        }
        let now = pipeline.now();
        pipeline.show(|call_table, links, sockets, sinks| sinks.publish(call_table, links, sockets, now));
        let snapshot = pipeline.sink_mut().metrics.store.snapshot();
        Ran { pipeline, snapshot, delay: told.map(|told| self.delay(told)) }
    }
}
