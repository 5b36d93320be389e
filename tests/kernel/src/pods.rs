//! Real pods: containerd's CRI, without an API server (`tests/programs/pods.py`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::Clients;
use crate::helper::Helper;
use crate::places;

/// A containerd of one's own, with one image.
pub struct Pods {
    helper: Helper,
    // Behind the helper: it goes when that has ended.
    _state: TempDir,
}

impl Pods {
    /// Sets it up.
    ///
    /// # Errors
    /// Why it cannot be used on this machine.
    pub fn set_up(clients: &Clients) -> Result<Self> {
        let own = places::cache().join("roots/engine");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .chain([own.join("usr/bin"), own.join("usr/sbin")])
            .collect();
        for program in ["containerd", "ctr", "runc", "cc"] {
            let there = folders.iter().any(|folder| folder.join(program).is_file());
            ensure!(there, "no {program}: `cargo xtask setup` unpacks the engine, a C compiler is the machine's");
        }
        let root = places::roots().into_iter().next().context("no root of a suite to make an image of")?;
        let state = tempfile::Builder::new().prefix("llmo-pods-").tempdir()?;
        let mut command = Command::new(clients.python());
        command.arg(places::programs().join("pods.py")).arg(state.path()).arg(root);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PATH", std::env::join_paths(folders)?);
        if own.is_dir() {
            command.env("ENGINE_LIBRARIES", own.join("usr/lib/x86_64-linux-gnu"));
        }
        let (helper, _) = Helper::start(&mut command)
            .with_context(|| std::fs::read_to_string(state.path().join("containerd.log")).unwrap_or_default())?;
        Ok(Self { helper, _state: state })
    }

    /// A sandbox; its id.
    ///
    /// # Errors
    /// What containerd says.
    pub fn pod(&mut self, name: &str) -> Result<String> {
        text(&self.helper.tell(&json!({"do": "pod", "name": name}))?, "pod")
    }

    /// A container that runs these words; its id.
    ///
    /// # Errors
    /// What containerd says.
    pub fn start(&mut self, pod: &str, name: &str, words: &[String], mounts: &[&Path]) -> Result<String> {
        let what = json!({"do": "start", "pod": pod, "name": name, "args": words, "mounts": mounts});
        text(&self.helper.tell(&what)?, "container")
    }

    /// Waits for a container's end; its exit code.
    ///
    /// # Errors
    /// What containerd says.
    pub fn wait(&mut self, container: &str) -> Result<i64> {
        let said = self.helper.tell(&json!({"do": "wait", "container": container}))?;
        said.get("exit").and_then(Value::as_i64).context("no exit code")
    }

    /// Stops and removes a pod with all that is in it.
    ///
    /// # Errors
    /// What containerd says.
    pub fn remove(&mut self, pod: &str) -> Result<()> {
        self.helper.tell(&json!({"do": "remove", "pod": pod})).map(drop)
    }

    /// A pod of one container for each of these, so many at a time; their exit codes.
    ///
    /// # Errors
    /// What containerd says.
    pub fn churn(&mut self, words: &[Vec<String>], together: usize, mounts: &[&Path]) -> Result<Vec<i64>> {
        let what = json!({"do": "churn", "args": words, "together": together, "mounts": mounts});
        let said = self.helper.tell(&what)?;
        Ok(said.get("exits").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_i64).collect())
    }
}

fn text(said: &Value, field: &str) -> Result<String> {
    said.get(field).and_then(Value::as_str).map(str::to_owned).with_context(|| format!("no {field}: {said}"))
}
