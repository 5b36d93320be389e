//! Prometheus rules in `docs/prometheus`: promtool checks and runs them, and they use metrics and
//! labels that there are.

use std::path::{Path, PathBuf};
use std::process::Command;

use observer::export::catalogue;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/prometheus")
}

/// promtool, where set-up has put it.
fn promtool() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let cache = std::env::var_os("LLM_OBSERVER_CACHE").map_or_else(|| home.join(".cache/llm-observer"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([cache.join("tools/usr/bin")]);
    let found = folders.map(|folder| folder.join("promtool")).find(|path| path.is_file());
    if found.is_none() {
        println!("SKIPPED: promtool is not installed (`cargo xtask setup` brings it)");
    }
    found
}

#[test]
fn promtool_runs_every_rule() {
    let Some(promtool) = promtool() else { return };
    for args in [&["check", "rules", "alerts.yml", "recording.yml"][..], &["test", "rules", "alerts_test.yml"]] {
        let output = Command::new(&promtool).args(args).current_dir(folder()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
    }
}

/// A rule over a metric that nobody feeds would be silent for ever.
#[test]
fn rules_use_metrics_that_there_are() {
    let mut used = 0;
    for file in ["alerts.yml", "recording.yml"] {
        let text = std::fs::read_to_string(folder().join(file)).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':') {
            if !word.starts_with("llm_") || word.contains(':') {
                continue;
            }
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            let known = catalogue::rows().any(|metric| metric.name == name || metric.name == word);
            assert!(known, "{file} uses {word}");
            used += 1;
        }
        for page in text.lines().filter_map(|line| line.trim().strip_prefix("runbook: observer/")) {
            assert!(folder().join("../..").join(page).is_file(), "{page} is no page");
        }
    }
    assert!(used > 20, "{used}");
}

/// Every alert has a test that it fires.
#[test]
fn every_alert_is_tested() {
    let tests = std::fs::read_to_string(folder().join("alerts_test.yml")).unwrap();
    let alerts = std::fs::read_to_string(folder().join("alerts.yml")).unwrap();
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name}");
    }
}
