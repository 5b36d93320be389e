//! Voice: where the time to the first audio goes in a pipeline of speech to text, model, text to
//! speech. The model's first token is one stage of it, and rarely the longest.
//!
//! `observer/docs/detectors/voice.md` has the rules for operators.

mod media;

use crate::metrics;
use ledger::CallLabels;
use std::collections::VecDeque;
use std::sync::Arc;

use self::media::VoiceMedia;
use super::common::{median, quiet_ns};
use super::config::{ConfigSection, thresholds, within};
use super::{Detector, DetectorOutput, FindingReport, FindingSeverity, RecentMap, number};
use capture::limits;
use capture::units::Ns;
use ledger::{CallEvent, CallEventKind, CallMilestone, CallOutcome, Entry, HostEvent};

thresholds! {
    /// Thresholds of voice.
    pub struct Config, RawConfig {
        /// Time from the request to the model to the first audio, seconds, that users put up with.
        budget_seconds: f64 = 0.8, within(0.05..=60.0);
        /// Turns that a verdict rests on, and the share of them over the budget.
        turns: u32 = 20, within(5..=200);
        over_share: f64 = 0.5, within(0.05..=1.0);
        /// Time from the first audio of the voice to its way on, seconds, that users put up with.
        media_seconds: f64 = 0.2, within(0.02..=60.0);
        /// Calls that are further apart do not belong to one turn.
        chain_seconds: f64 = 10.0, within(0.5..=120.0);
        quiet_minutes: f64 = 60.0, within(1.0..=100_000.0);
    }
}

/// The stages that are seen, in order.
const STAGES: [&str; 5] = [
    "stt_final_to_llm_request",
    "llm_request_to_first_visible",
    "first_visible_to_first_sentence",
    "first_sentence_to_tts_request",
    "tts_request_to_first_audio",
];

/// Turns kept.
const WINDOW: usize = 200;

/// The turn of one program that is under way.
#[derive(Debug, Default)]
struct Turn {
    stt: Option<Ns>,
    llm: Option<(Ns, String, Arc<CallLabels>)>,
    visible: Option<f64>,
    sentence: Option<f64>,
}

/// How long each stage of a turn took.
type Stages = [Option<f64>; 5];

#[derive(Debug, Default)]
struct Service {
    subject: Arc<CallLabels>,
    turns: VecDeque<(f64, Stages, String)>,
    over: bool,
}

pub(crate) struct VoiceDetector {
    config: ConfigSection<Config>,
    turns: RecentMap<u32, Turn>,
    services: RecentMap<Box<str>, Service>,
    media: VoiceMedia,
}

pub(crate) fn new(config: ConfigSection<Config>) -> VoiceDetector {
    VoiceDetector {
        config,
        turns: RecentMap::new(limits::TOOLS),
        services: RecentMap::new(limits::PRESSURE_SERVICES),
        media: VoiceMedia::default(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TurnStage {
    Stt,
    Llm,
    Tts,
}

fn part(entry: &Entry) -> Option<TurnStage> {
    match entry.api {
        "openai.transcription" | "deepgram.listen" => Some(TurnStage::Stt),
        "openai.speech" | "deepgram.speak" => Some(TurnStage::Tts),
        api if api.starts_with("elevenlabs") => Some(TurnStage::Tts),
        // Speech in, speech out over one socket: nothing of it can be told apart.
        api if api.contains("realtime") => None,
        _ => Some(TurnStage::Llm),
    }
}

impl Detector for VoiceDetector {
    fn on_host_event(&mut self, event: &HostEvent<'_>, out: &mut DetectorOutput<'_>) {
        if let HostEvent::SentOn { identity, bytes, at } = *event
            && let Some(config) = self.config.on(&identity.service)
        {
            self.media.sent(identity, bytes, at, config, out);
        }
    }

    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>) {
        let entry = event.entry;
        let Some(part) = part(entry) else { return };
        let Some(config) = self.config.on(&entry.identity.service).cloned() else { return };
        let pid = entry.identity.pid;
        match (part, event.what) {
            (TurnStage::Stt, CallEventKind::Closed) if entry.outcome == Some(CallOutcome::Complete) => {
                self.turns.touch(pid, Turn::default).stt = entry.ended;
            }
            (TurnStage::Llm, CallEventKind::Opened) => {
                let turn = self.turns.touch(pid, Turn::default);
                let stt = turn.stt.take();
                *turn = Turn {
                    stt,
                    llm: Some((entry.started, entry.id.clone(), Arc::clone(&entry.labels))),
                    ..Turn::default()
                };
            }
            (TurnStage::Llm, CallEventKind::First { milestone, seconds }) => self.milestone(entry, milestone, seconds),
            // Not the head of the answer: a voice that must be made first sends it at once.
            (TurnStage::Tts, CallEventKind::First { milestone: CallMilestone::Audio, seconds }) => {
                self.audio(entry, seconds, &config, out);
            }
            (TurnStage::Tts, CallEventKind::Closed) if entry.status.is_some_and(|status| status < 400) => {
                self.silent(entry, out);
            }
            _ => {}
        }
    }

    fn tick(&mut self, out: &mut DetectorOutput<'_>) {
        self.media.tick(self.config.base(), out);
    }

    fn forgotten(&self) -> u64 {
        self.media.forgotten() + self.turns.forgotten() + self.services.forgotten()
    }

    fn held(&self) -> usize {
        self.media.held()
            + self.turns.len()
            + self.services.iter().map(|(_, service)| service.turns.len()).sum::<usize>()
    }
}

impl VoiceDetector {
    fn milestone(&mut self, entry: &Entry, milestone: CallMilestone, seconds: f64) {
        let Some(turn) = self.turns.get_mut(&entry.identity.pid) else { return };
        let Some((_, id, subject)) = &mut turn.llm else { return };
        if *id != entry.id {
            return;
        }
        *subject = Arc::clone(&entry.labels);
        match milestone {
            CallMilestone::Visible => turn.visible = Some(seconds),
            CallMilestone::Sentence => turn.sentence = Some(seconds),
            _ => {}
        }
    }

    /// Speech ended of which no first audio is known: its turn cannot be judged, nor by a later piece.
    fn silent(&mut self, entry: &Entry, out: &mut DetectorOutput<'_>) {
        let turn = self.turns.get_mut(&entry.identity.pid).filter(|_| entry.firsts.audio.is_none());
        if turn.and_then(|turn| turn.llm.take()).is_some() {
            out.withheld(if entry.lost.is_empty() { "no_audio" } else { "lost_bytes" });
        }
    }

    /// The first bytes of audio came, so many seconds after they were asked for.
    fn audio(&mut self, entry: &Entry, audio: f64, config: &Config, out: &mut DetectorOutput<'_>) {
        let Some(turn) = self.turns.get_mut(&entry.identity.pid) else { return out.withheld("no_turn") };
        // One turn has one first audio: later pieces of speech find no turn.
        let Some((asked, id, subject)) = turn.llm.take() else { return out.withheld("no_turn") };
        let (visible, sentence, stt) = (turn.visible, turn.sentence, turn.stt.take());
        let request = entry.started.seconds_since(asked);
        let Some(visible) = visible.filter(|visible| *visible <= request) else {
            return out.withheld("audio_before_text");
        };
        if request > config.chain_seconds {
            return out.withheld("apart");
        }
        out.evaluated();
        let whole = sentence.filter(|sentence| *sentence <= request);
        let stages = [
            stt.filter(|at| *at <= asked).map(|at| asked.seconds_since(at)).filter(|s| *s <= config.chain_seconds),
            Some(visible),
            whole.map(|sentence| sentence - visible),
            whole.map(|sentence| request - sentence),
            Some(audio),
        ];
        for (stage, seconds) in STAGES.into_iter().zip(stages) {
            if let Some(seconds) = seconds {
                out.observe(metrics::VOICE_STAGE.of(&subject, &[stage]), seconds);
            }
        }
        out.observe(metrics::VOICE_TTFA.of(&subject, &[]), request + audio);
        self.media.audio(entry.identity.pid, entry.last_activity, subject.clone(), id.clone(), out);
        let service = self.services.touch(subject.service.clone(), Service::default);
        service.subject = subject;
        service.take((request + audio, stages, id), config, out);
    }
}

impl Service {
    fn take(&mut self, turn: (f64, Stages, String), config: &Config, out: &mut DetectorOutput<'_>) {
        self.turns.push_back(turn);
        if self.turns.len() > WINDOW {
            self.turns.pop_front();
        }
        let wanted = config.turns as usize;
        if self.turns.len() < wanted {
            return;
        }
        let newest: Vec<&(f64, Stages, String)> = self.turns.iter().rev().take(wanted).collect();
        let over = newest.iter().filter(|(total, ..)| *total > config.budget_seconds).count();
        let share = over as f64 / wanted as f64;
        let key = format!("ttfa|{}", self.subject.service);
        if share < config.over_share {
            if std::mem::replace(&mut self.over, false) {
                out.end(&key);
            }
            return;
        }
        self.over = true;
        let stage =
            |n: usize| median(newest.iter().filter_map(|(_, stages, _)| stages.get(n).copied().flatten()).collect());
        let medians: Vec<(&'static str, f64)> =
            STAGES.into_iter().enumerate().filter_map(|(n, name)| Some((name, stage(n)?))).collect();
        let worst = medians.iter().max_by(|a, b| a.1.total_cmp(&b.1)).copied().unwrap_or(("unknown", 0.0));
        let total = median(newest.iter().map(|(total, ..)| *total).collect()).unwrap_or(0.0);
        let mut inputs = vec![("time_to_first_audio", number(total)), ("share_over_budget", number(share))];
        inputs.extend(medians.iter().map(|(name, seconds)| (*name, number(*seconds))));
        out.report(FindingReport {
            key: &key,
            kind: "slow_first_audio",
            severity: FindingSeverity::Warning,
            since: newest.last().map_or(out.now().at, |_| out.now().at),
            subject: &self.subject,
            verdict: format!(
                "the first audio comes {total:.2} s after the request to the model; {:.2} s of it are {}",
                worst.1,
                worst.0.replace('_', " ")
            ),
            inputs,
            baseline: vec![("budget_seconds", number(config.budget_seconds))],
            excluded: vec!["audio that came before any text of the model (fillers)", "calls of other processes"],
            streams: newest.iter().take(4).map(|(.., id)| id.clone()).collect(),
            quiet_ns: Some(quiet_ns(config.quiet_minutes)),
        });
    }
}
