//! The last stage: from the first audio of a voice to its first byte on the way to who listens,
//! where the process sends it on over a WebSocket that it opened itself.

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;
use std::sync::Arc;

use super::Config;
use crate::common::{median, quiet_ns};
use crate::{DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use capture::identity::ProcessIdentity;
use capture::limits;
use capture::units::Ns;

/// The stage's name.
pub(super) const STAGE: &str = "first_audio_to_media_out";

/// Messages below this are control, not sound: 20 ms of telephone sound are 160 bytes.
const SOUND: usize = 160;

/// What is sent in a row is one flow: media that never pauses so long (silence is sent, too) tells nothing of a turn.
const PAUSE_NS: u64 = 200_000_000;

/// Turns kept of one service.
const WINDOW: usize = 200;

#[derive(Debug)]
pub(super) struct VoiceMedia {
    processes: RecentMap<u32, Process>,
    services: RecentMap<Box<str>, Service>,
}

#[derive(Debug, Default)]
struct Process {
    last_sent: Option<Ns>,
    waiting: Option<Waiting>,
}

/// A turn whose voice has begun to speak to this process.
#[derive(Debug)]
struct Waiting {
    audio: Ns,
    subject: Arc<CallLabels>,
    stream: String,
}

#[derive(Debug, Default)]
struct Service {
    turns: VecDeque<(f64, String)>,
    over: bool,
}

impl Default for VoiceMedia {
    fn default() -> Self {
        VoiceMedia { processes: RecentMap::new(limits::TOOLS), services: RecentMap::new(limits::PRESSURE_SERVICES) }
    }
}

impl VoiceMedia {
    /// The first audio of a turn came.
    pub(super) fn audio(
        &mut self,
        pid: u32,
        audio: Ns,
        subject: Arc<CallLabels>,
        stream: String,
        out: &mut DetectorOutput<'_>,
    ) {
        let process = self.processes.touch(pid, Process::default);
        if process.waiting.take().is_some() {
            out.withheld("media_unseen");
        }
        if process.last_sent.is_some_and(|sent| audio - sent < PAUSE_NS) {
            return out.withheld("media_flows");
        }
        process.waiting = Some(Waiting { audio, subject, stream });
    }

    /// A process sent something on.
    pub(super) fn sent(
        &mut self,
        identity: &ProcessIdentity,
        bytes: usize,
        at: Ns,
        config: &Config,
        out: &mut DetectorOutput<'_>,
    ) {
        if bytes < SOUND {
            return;
        }
        let Some(process) = self.processes.get_mut(&identity.pid) else { return };
        process.last_sent = Some(at);
        let Some(turn) = process.waiting.take_if(|turn| turn.audio <= at) else { return };
        let seconds = at.seconds_since(turn.audio);
        if seconds > config.chain_seconds {
            return out.withheld("media_unseen");
        }
        out.evaluated();
        out.observe(metrics::VOICE_STAGE.of(&turn.subject, &[STAGE]), seconds);
        let service = self.services.touch(turn.subject.service.clone(), Service::default);
        service.take(seconds, turn, config, out);
    }

    /// Turns whose sound was not seen to go on.
    pub(super) fn tick(&mut self, config: &Config, out: &mut DetectorOutput<'_>) {
        let now = out.now().at;
        for (_, process) in self.processes.iter_mut() {
            let late = |turn: &mut Waiting| now.seconds_since(turn.audio) > config.chain_seconds;
            if process.waiting.take_if(late).is_some() {
                out.withheld("media_unseen");
            }
        }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.processes.forgotten() + self.services.forgotten()
    }

    pub(super) fn held(&self) -> usize {
        self.processes.len() + self.services.iter().map(|(_, service)| service.turns.len()).sum::<usize>()
    }
}

impl Service {
    fn take(&mut self, seconds: f64, turn: Waiting, config: &Config, out: &mut DetectorOutput<'_>) {
        self.turns.push_back((seconds, turn.stream));
        if self.turns.len() > WINDOW {
            self.turns.pop_front();
        }
        let wanted = config.turns as usize;
        let newest: Vec<&(f64, String)> = self.turns.iter().rev().take(wanted).collect();
        if newest.len() < wanted {
            return;
        }
        let over = newest.iter().filter(|(seconds, _)| *seconds > config.media_seconds).count();
        let share = over as f64 / wanted as f64;
        let key = format!("media|{}", turn.subject.service);
        if share < config.over_share {
            if std::mem::replace(&mut self.over, false) {
                out.end(&key);
            }
            return;
        }
        self.over = true;
        let typical = median(newest.iter().map(|(seconds, _)| *seconds).collect()).unwrap_or(0.0);
        out.report(FindingReport {
            key: &key,
            kind: "slow_media_out",
            severity: FindingSeverity::Warning,
            since: out.now().at,
            subject: &turn.subject,
            verdict: format!("the first audio of the voice waits {typical:.2} s in this process before it is sent on"),
            inputs: vec![(STAGE, number(typical)), ("share_over_budget", number(share)), ("turns", wanted.into())],
            baseline: vec![("budget_seconds", number(config.media_seconds))],
            excluded: vec![
                "turns during which media flowed already (fillers, silence that is sent)",
                "messages too short to be sound",
            ],
            streams: newest.iter().take(4).map(|(_, stream)| stream.clone()).collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}
