//! The configuration: as typed (flags, environment, file), then as meant. Everything is checked here, once.
//!
//! Precedence: flag > `LLM_OBSERVER_*` > file > default. clap does the first two, `Settings::new` the rest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::Error as YamlError;

use crate::export::store::SeriesCaps;
use crate::sinks;
use capture::limits;
use dialects::{DIALECTS, DeclaredRoute};

/// Where `run` listens for `inspect`.
pub const SOCKET: &str = "/run/llm-observer/inspect.sock";

/// Where baselines are kept over a restart.
pub const STATE: &str = "/var/lib/llm-observer/baselines.json";

const PORT: &str = "9464";

/// What is wrong with a file. Each names the file, the line where there is one, and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: unknown key `{key}`{hint}")]
    UnknownKey { path: PathBuf, line: u64, key: String, hint: String },
    #[error("{path}:{line}: {problem}")]
    Yaml { path: PathBuf, line: u64, problem: String },
    #[error("{key} {problem}")]
    Value { key: &'static str, problem: String },
    #[error("detect.{key} {problem}")]
    Detect { key: String, problem: String },
}

/// The file as typed. Every key is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    web: Web,
    inspect: Inspect,
    host: Host,
    /// Processes, executables or cgroups to observe; empty: the whole host.
    targets: Vec<String>,
    #[serde(rename = "match")]
    matching: Vec<TypedExtra>,
    limits: Limits,
    qoe: Qoe,
    kernel: Kernel,
    state: State,
    detect: detectors::RawDetectorSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Web {
    listen_addresses: Vec<String>,
    config_file: Option<PathBuf>,
    telemetry_path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Inspect {
    socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Host {
    root: Option<PathBuf>,
}

/// One self-hosted gateway: which requests speak which API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedExtra {
    api: String,
    path_suffix: Option<String>,
    host: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    ended_streams: Option<usize>,
    connections: Option<usize>,
    idle_seconds: Option<f64>,
    label_values: Option<usize>,
    series: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Qoe {
    reader_chars_per_second: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kernel {
    ring_bytes: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct State {
    file: Option<PathBuf>,
}

/// What the command line and the environment say; absent is absent.
#[derive(Clone, Debug, Default)]
pub struct CommandFlags {
    pub config: Option<PathBuf>,
    pub listen_addresses: Vec<String>,
    pub web_config: Option<PathBuf>,
    pub telemetry_path: Option<String>,
    pub socket: Option<PathBuf>,
    pub targets: Vec<String>,
    pub state: Option<PathBuf>,
    pub host_root: Option<PathBuf>,
}

/// Everything as meant.
#[derive(Clone, Debug)]
pub struct DaemonSettings {
    pub listen_addresses: Vec<String>,
    pub web_config: Option<PathBuf>,
    pub telemetry_path: String,
    pub socket: PathBuf,
    /// Empty: the whole host.
    pub targets: Vec<ObservationTarget>,
    pub extras: Vec<DeclaredRoute>,
    pub ledger: ledger::CallLimits,
    pub connections: usize,
    pub sinks: sinks::SinkSettings,
    pub ring_bytes: u32,
    /// Where baselines are kept over a restart; `None`: nowhere.
    pub state: Option<PathBuf>,
    /// Where the host's root is mounted; `None`: found by itself.
    pub host_root: Option<PathBuf>,
}

/// What to observe, if not everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservationTarget {
    /// A process.
    Pid(u32),
    /// Every process of this executable: a path, or a name without slashes.
    Exe(String),
    /// Every process in this cgroup or below it: a path below /sys/fs/cgroup, as /proc/PID/cgroup shows it.
    Cgroup(String),
}

impl DaemonSettings {
    /// Reads the file that `flags` name, if any, and checks everything.
    pub fn new(flags: CommandFlags) -> Result<DaemonSettings, ConfigError> {
        let file: File = flags.config.as_deref().map(read_yaml).transpose()?.unwrap_or_default();
        let telemetry_path = flags.telemetry_path.or(file.web.telemetry_path).unwrap_or_else(|| "/metrics".into());
        if !telemetry_path.starts_with('/') || telemetry_path == "/" {
            return Err(value("web.telemetry-path", "must begin with / and be more than that"));
        }
        let targets = first_of(flags.targets, file.targets);
        Ok(DaemonSettings {
            listen_addresses: or(first_of(flags.listen_addresses, file.web.listen_addresses), || {
                vec![default_address()]
            }),
            web_config: flags.web_config.or(file.web.config_file),
            telemetry_path,
            socket: flags.socket.or(file.inspect.socket).unwrap_or_else(|| SOCKET.into()),
            targets: targets.iter().map(|target| ObservationTarget::parse(target)).collect::<Result<_, _>>()?,
            extras: file.matching.into_iter().map(TypedExtra::check).collect::<Result<_, _>>()?,
            ledger: file.limits.ledger()?,
            connections: at_least_one("limits.connections", file.limits.connections)?.unwrap_or(limits::CONNS),
            sinks: sinks::SinkSettings {
                caps: file.limits.caps()?,
                reader_rate: file.qoe.rate()?,
                detect: detectors::DetectorSettings::new(&file.detect)
                    .map_err(|detectors::config::ConfigFault { key, problem }| ConfigError::Detect { key, problem })?,
            },
            ring_bytes: file.kernel.ring()?,
            state: file.state.path(flags.state),
            host_root: file.host.root(flags.host_root)?,
        })
    }
}

impl ObservationTarget {
    /// `PID`, `EXE` or `CGROUP`: digits, a path below a cgroup tree, anything else.
    fn parse(text: &str) -> Result<ObservationTarget, ConfigError> {
        let cgroup = text.strip_prefix("/sys/fs/cgroup").map(|rest| rest.strip_prefix("/unified").unwrap_or(rest));
        match (text.parse(), cgroup) {
            _ if text.is_empty() => Err(value("--target", "is empty: give a PID, an executable or a cgroup path")),
            (Ok(0), _) => Err(value("--target", "0 is no process")),
            (Ok(pid), _) => Ok(ObservationTarget::Pid(pid)),
            (_, Some(path)) => Ok(ObservationTarget::Cgroup(path.to_owned())),
            _ if text.contains(".slice") || text.contains(".scope") || text.ends_with(".service") => {
                Ok(ObservationTarget::Cgroup(text.to_owned()))
            }
            _ => Ok(ObservationTarget::Exe(text.to_owned())),
        }
    }
}

impl TypedExtra {
    fn check(self) -> Result<DeclaredRoute, ConfigError> {
        let known: Vec<&str> = DIALECTS.iter().map(|row| row.api).collect();
        if !known.contains(&self.api.as_str()) {
            return Err(value("match.api", &format!("{:?} is unknown: {}", self.api, known.join(", "))));
        }
        if self.path_suffix.is_none() && self.host.is_none() {
            return Err(value("match", "a rule needs a path_suffix or a host"));
        }
        Ok(DeclaredRoute {
            path_suffix: self.path_suffix,
            host: self.host.map(|host| host.to_ascii_lowercase()),
            api: self.api,
        })
    }
}

impl Limits {
    fn ledger(&self) -> Result<ledger::CallLimits, ConfigError> {
        let default = ledger::CallLimits::default();
        let idle = match self.idle_seconds {
            None => Duration::from_nanos(default.idle_ns),
            Some(seconds) if (0.001..=86_400.0).contains(&seconds) => Duration::from_secs_f64(seconds),
            Some(_) => return Err(value("limits.idle_seconds", "must be between 0.001 and 86400")),
        };
        let idle_ns = u64::try_from(idle.as_nanos()).unwrap_or(default.idle_ns);
        Ok(ledger::CallLimits { ended: self.ended_streams.unwrap_or(default.ended), idle_ns })
    }

    fn caps(&self) -> Result<SeriesCaps, ConfigError> {
        let default = SeriesCaps::default();
        Ok(SeriesCaps {
            values: at_least_one("limits.label_values", self.label_values)?.unwrap_or(default.values),
            series: at_least_one("limits.series", self.series)?.unwrap_or(default.series),
        })
    }
}

impl Qoe {
    fn rate(&self) -> Result<f64, ConfigError> {
        match self.reader_chars_per_second {
            None => Ok(crate::export::metrics::READER_RATE),
            Some(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
            Some(_) => Err(value("qoe.reader_chars_per_second", "must be more than 0")),
        }
    }
}

impl Kernel {
    fn ring(&self) -> Result<u32, ConfigError> {
        match self.ring_bytes {
            None => Ok(observer_common::limits::DEFAULT_RING_BYTES),
            Some(bytes) if bytes.is_power_of_two() && bytes >= 64 * 1024 => Ok(bytes),
            Some(_) => Err(value("kernel.ring_bytes", "must be a power of two and at least 65536")),
        }
    }
}

impl Host {
    /// An empty name is none.
    fn root(self, flag: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
        match flag.or(self.root).filter(|path| !path.as_os_str().is_empty()) {
            Some(path) if !path.is_absolute() => {
                Err(value("host.root", "must be an absolute path: where the host's root is mounted"))
            }
            path => Ok(path),
        }
    }
}

impl State {
    /// An empty name is none.
    fn path(self, flag: Option<PathBuf>) -> Option<PathBuf> {
        Some(flag.or(self.file).unwrap_or_else(|| STATE.into())).filter(|path| !path.as_os_str().is_empty())
    }
}

/// Reads a YAML file strictly: an unknown key is refused with its line and the nearest key there is.
pub fn read_yaml<T: DeserializeOwned + Default>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(T::default());
    }
    serde_saphyr::from_str(&text).map_err(|error| explain(path, &error))
}

fn explain(path: &Path, error: &YamlError) -> ConfigError {
    let bare = error.without_snippet();
    let line = bare.location().map_or(0, |location| location.line());
    match bare {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            let hint = match nearest(field, expected) {
                Some((true, key)) => format!(": did you mean `{key}`?"),
                Some((false, key)) => {
                    format!(": the nearest known key is `{key}`, and all are {}", expected.join(", "))
                }
                None => String::new(),
            };
            ConfigError::UnknownKey { path: path.into(), line, key: field.clone(), hint }
        }
        // The message begins with what is wrong; further lines draw the place.
        other => {
            let problem = other.to_string().lines().next().unwrap_or_default().to_owned();
            ConfigError::Yaml { path: path.into(), line, problem }
        }
    }
}

/// The known key nearest to `key`, and whether it is so near that it must be meant: a typing error or an abbreviation.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<(bool, &'a str)> {
    let (errors, nearest) = known.iter().map(|candidate| (strsim::levenshtein(key, candidate), *candidate)).min()?;
    let mut letters = nearest.chars();
    let abbreviated = key.chars().count() > 2 && key.chars().all(|letter| letters.any(|l| l == letter));
    Some((abbreviated || errors <= 1 + key.chars().count() / 3, nearest))
}

/// In a container the port is for the pod's network; on a host only for the host itself.
fn default_address() -> String {
    if edge::identity::host::in_container() { format!(":{PORT}") } else { format!("127.0.0.1:{PORT}") }
}

fn value(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned() }
}

fn at_least_one(key: &'static str, number: Option<usize>) -> Result<Option<usize>, ConfigError> {
    match number {
        Some(0) => Err(value(key, "must be at least 1")),
        other => Ok(other),
    }
}

fn first_of(flag: Vec<String>, file: Vec<String>) -> Vec<String> {
    if flag.is_empty() { file } else { flag }
}

fn or(given: Vec<String>, default: impl FnOnce() -> Vec<String>) -> Vec<String> {
    if given.is_empty() { default() } else { given }
}

#[cfg(test)]
mod tests;
