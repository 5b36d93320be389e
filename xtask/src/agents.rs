//! `cargo xtask agents`: real agents and clients, pinned, against the test provider; what was seen of
//! each, and what was logged. Not a part of the tests: it downloads a gigabyte, which stays in the
//! cache.
//!
//! The runs themselves are `tests/kernel/src/bin/llmo-agents`, each in a network namespace that has loopback alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{self, Scope};
use crate::test::cargo;
use crate::{apt, bpf_build, programs, progress};

/// A package of npm, or a wheel of PyPI.
struct Download {
    /// As its registry's client takes it: `name@version`, `name==version`.
    spec: &'static str,
    /// The file that the client leaves, below the folder of agents.
    file: &'static str,
    bytes: u64,
    sha256: &'static str,
}

const fn download(spec: &'static str, file: &'static str, bytes: u64, sha256: &'static str) -> Download {
    Download { spec, file, bytes, sha256 }
}

#[rustfmt::skip]
const DOWNLOADS: &[Download] = &[
    download("@anthropic-ai/claude-code-linux-x64@2.1.332", "anthropic-ai-claude-code-linux-x64-2.1.332.tgz", 186117258, "1c89f2f1e0bee93742cff8de9181fc07c702ce0651f1492bb3b97487d3a84af1"),
    download("@anthropic-ai/claude-code-linux-x64@2.1.113", "anthropic-ai-claude-code-linux-x64-2.1.113.tgz", 73849711, "0b703a2b15e2988138b1b8d86e73228ee2aab00253ac21ffcdc828becb42d010"),
    download("@openai/codex@0.171.0-linux-x64", "openai-codex-0.171.0-linux-x64.tgz", 172033439, "e13d67afb0533cc6160b5f4140e4ad07e2acd87adbaa081bbf69b82e90cf4e55"),
    download("@openai/codex@0.142.5-linux-x64", "openai-codex-0.142.5-linux-x64.tgz", 109292757, "a03e3116cb0909aebb033e39cd4018b3a1daf9d489631939b6163ffa907ade47"),
    download("opencode-linux-x64@1.18.33", "opencode-linux-x64-1.18.33.tgz", 60275143, "149a676b59224b196626abda2fdbd34c8329ac326b57c4891ba3de446f3ca3c1"),
    download("@github/copilot-linux-x64@1.0.102", "github-copilot-linux-x64-1.0.102.tgz", 129186882, "450d256c69526c1c30286d21df0f6e1a05412beb37fe4a5b5054905f5f8fbd3d"),
    download("@oven/bun-linux-x64@1.4.5", "oven-bun-linux-x64-1.4.5.tgz", 51946454, "0c72edca57b0cbf0a07a242daf0ea8ea96711827f042b80a1c383ce1cc51c771"),
    download("@oven/bun-linux-x64@1.1.30", "oven-bun-linux-x64-1.1.30.tgz", 37383432, "c15c1776dc4acf2f1dee31b9d7e5e3d37cab60a17766d327825e52e74577d7c4"),
    download("@deno/linux-x64-glibc@2.9.6", "deno-linux-x64-glibc-2.9.6.tgz", 42285097, "a6596af07f3570b4f1ffa6783bfee9942aac14a719a601baa6bf5b71bf0105e2"),
    download("curl_cffi==0.17.0", "wheels/curl_cffi-0.17.0-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", 14053278, "af0782d5e340b65fd76701630f0284a8f8243d77df5f2637efd09a4b009f4e24"),
    download("rnet==2.4.2", "wheels/rnet-2.4.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 3661678, "573c637accaf7f3c7aa6d2241224ed577444c00e8af4e631b243b3cae765c502"),
    download("primp==2.0.1", "wheels/primp-2.0.1-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 6585593, "9a7be373adfded677a9092ae2743873d5c8a9573148d617a189d26715f7d8ea5"),
];

/// What `demo --agents` shows.
pub(crate) const SHOWN: [&str; 2] = ["claude-2.1.332", "codex-openssl"];

/// Downloads what is missing, builds, and runs the clients whose names contain one of `wanted`; all when none is named.
/// True: all were seen exactly.
pub(crate) fn run(wanted: &[String]) -> Result<bool> {
    if !apt::is_root() {
        bail!("the agents are observed, which needs root: run it as root");
    }
    setup::run(Scope::Programs)?;
    let folder = bpf_build::cache_root().map_err(anyhow::Error::msg)?.join("agents");
    for one in DOWNLOADS {
        one.have(&folder)?;
    }
    let failure = "the daemon, the provider or the runner could not be built: see the compiler's error above";
    let mut build = cargo(&["build", "--package", "observer", "--package", "provider", "--package", "kernel-tests"]);
    progress::step("build: daemon and runner (minutes, the first time)", failure, &mut build)?;
    let mut agents = cargo(&["run", "--quiet", "--package", "kernel-tests", "--bin", "llmo-agents", "--"]);
    Ok(agents.args(wanted).env("LLM_OBSERVER_AGENTS", folder).status()?.success())
}

impl Download {
    /// Downloads and unpacks it, unless it is there.
    fn have(&self, folder: &Path) -> Result<()> {
        let file = folder.join(self.file);
        let unpacked = self.unpacked(folder);
        if unpacked.is_dir() {
            return Ok(());
        }
        let into = file.parent().context("a download has a folder")?;
        fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        if !file.is_file() {
            let failure = format!("{} could not be downloaded: see its client's reason above", self.spec);
            progress::step(&format!("download: {}", self.spec), &failure, &mut self.client(into)?)?;
        }
        self.check(&file)?;
        // Whoever is stopped in the midst of it begins anew.
        let fresh = unpacked.with_extension("unpacking");
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
        let mut unpack = Command::new(if self.is_wheel() { "python3" } else { "tar" });
        if self.is_wheel() {
            unpack.args(["-m", "zipfile", "-e"]).arg(&file).arg(&fresh);
        } else {
            unpack.arg("-xzf").arg(&file).arg("-C").arg(&fresh);
        }
        progress::step(&format!("unpack: {}", self.spec), "it could not be unpacked: see above", &mut unpack)?;
        fs::rename(&fresh, &unpacked).with_context(|| format!("cannot create {}", unpacked.display()))
    }

    fn is_wheel(&self) -> bool {
        Path::new(self.file).extension().is_some_and(|extension| extension == "whl")
    }

    fn unpacked(&self, folder: &Path) -> PathBuf {
        folder.join(self.file.trim_end_matches(".tgz").trim_end_matches(".whl"))
    }

    /// The registry's own client, so that mirrors and proxies are the machine's.
    fn client(&self, into: &Path) -> Result<Command> {
        let mut command = Command::new(if self.is_wheel() { "python3" } else { "npm" });
        if self.is_wheel() {
            command.args(["-m", "pip", "download", "--no-deps", "--no-input", "--dest"]).arg(into).arg(self.spec);
        } else {
            command.args(["pack", "--pack-destination"]).arg(into).arg(self.spec);
        }
        command.env("PATH", programs::path()?);
        Ok(command)
    }

    /// Size and digest are those that were pinned.
    fn check(&self, file: &Path) -> Result<()> {
        let bytes = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        ensure!(
            bytes == self.bytes,
            "{} has {bytes} bytes, not {}: remove it to download it again",
            file.display(),
            self.bytes
        );
        let sum = Command::new("sha256sum").arg(file).output().context("cannot run sha256sum")?;
        let right = String::from_utf8_lossy(&sum.stdout).starts_with(self.sha256);
        ensure!(right, "{} has another digest than pinned: remove it to download it again", file.display());
        Ok(())
    }
}
