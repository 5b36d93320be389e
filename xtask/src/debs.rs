//! Packages that are unpacked into the cache and never installed: other suites' OpenSSL builds and kernels, and
//! programs whose package would start a service.
//!
//! Other suites are read by the machine's own apt with private state, so mirrors, proxies and signature checks are
//! the machine's: the mirror is the one that its own sources name.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::{apt, bpf_build, progress};

/// The Debian suites that kernels and OpenSSL builds are taken from, oldest first.
pub(crate) const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];

/// What is unpacked of each suite: programs with its OpenSSL.
pub(crate) const CLIENTS: [&str; 2] = ["openssl", "curl"];

/// Where the kernel matrix's own programs come from: one suite everywhere, so that every machine runs the same QEMU.
const MATRIX_SUITE: &str = "bookworm";
const MATRIX_TOOLS: [&str; 2] = ["qemu-system-x86", "busybox-static"];

/// What signs every suite.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian suite, read with private apt state under the cache.
pub(crate) struct Suite {
    name: String,
    config: PathBuf,
}

impl Suite {
    /// Writes the private configuration; fetches the package lists unless they are there.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let home = cache()?.join("apt").join(name);
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(home.join(folder)).with_context(|| format!("cannot write below {}", home.display()))?;
        }
        let suite = Self { name: name.to_owned(), config: home.join("apt.conf") };
        let listed = home.join("listed");
        if !listed.is_file() {
            suite.configure(&home)?;
            let failure = format!("the package lists of Debian {name} could not be fetched from this machine's mirror");
            // By default apt takes an unreachable mirror for a passing trouble and calls the update a success.
            let mut update = suite.apt("apt-get");
            update.args(["-o", "APT::Update::Error-Mode=any", "update"]);
            progress::step(&format!("Debian {name}: package lists"), &failure, &mut update)?;
            fs::write(&listed, "").with_context(|| format!("cannot write {}", listed.display()))?;
        }
        Ok(suite)
    }

    fn configure(&self, home: &Path) -> Result<()> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing, so Debian's packages cannot be checked: install debian-archive-keyring");
        }
        let source = format!("deb [signed-by={KEYRING}] {} {} main\n", mirror()?, self.name);
        let at = home.display();
        // Valid-Until is not asked for: a mirror that lags by weeks serves a test well, and signatures still hold.
        let config = format!(
            "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"-\";\nDir::State \"{at}/state\";\n\
             Dir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\nAPT::Sandbox::User \"root\";\n\
             APT::Architecture \"amd64\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
             Acquire::Check-Valid-Until \"false\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
        );
        for (name, text) in [("sources.list", source), ("status", String::new()), ("apt.conf", config)] {
            fs::write(home.join(name), text).with_context(|| format!("cannot write {name} below {at}"))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.env("APT_CONFIG", &self.config).env("LC_ALL", "C").arg("--quiet");
        apt
    }

    /// The packages with everything they depend on, unpacked into a root that a program can be run from.
    pub(crate) fn root(&self, packages: &[&str]) -> Result<PathBuf> {
        self.root_named(&self.name, packages)
    }

    /// Like `root`, in a root of its own name: what a suite is tested with stays apart from what tests it.
    fn root_named(&self, name: &str, packages: &[&str]) -> Result<PathBuf> {
        let root = cache()?.join("roots").join(name);
        let complete = root.join("complete");
        let wanted = packages.join(" ");
        if fs::read_to_string(&complete).is_ok_and(|had| had == wanted) {
            return Ok(root);
        }
        let archives = self.archives()?;
        let mut apt = self.apt("apt-get");
        apt.args(["install", "--download-only", "--yes", "--no-install-recommends"]).args(packages);
        let failure = format!("{wanted} of Debian {} could not be fetched", self.name);
        progress::step(&format!("Debian {}: {wanted}", self.name), &failure, &mut apt)?;
        merged_usr(&root)?;
        for package in debs_in(&archives)? {
            unpack(&package, &root)?;
        }
        relative_loader(&root)?;
        fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))?;
        fs::write(&complete, wanted).with_context(|| format!("cannot write {}", complete.display()))?;
        Ok(root)
    }

    /// The newest cloud kernel: its `vmlinuz`. The file's folder is named after the kernel's release.
    pub(crate) fn kernel(&self) -> Result<PathBuf> {
        let folder = cache()?.join("kernels").join(&self.name);
        if let Some(kernel) = vmlinuz_below(&folder) {
            return Ok(kernel);
        }
        let image = self.dependency("linux-image-cloud-amd64", "linux-image-")?;
        // Since 7.x the image package is empty and the kernel lies in linux-binary-….
        let binary = self.dependency(&image, "linux-binary-").unwrap_or(image);
        self.unpack_one(&binary, &folder)?;
        vmlinuz_below(&folder).ok_or_else(|| anyhow!("{binary} of Debian {} holds no vmlinuz", self.name))
    }

    /// A module of that kernel, by its file's name without `.ko`: cloud kernels have much of what
    /// is built in elsewhere as modules. It may be compressed.
    pub(crate) fn module(&self, name: &str) -> Result<PathBuf> {
        let folder = cache()?.join("kernels").join(&self.name);
        self.kernel()?;
        if let Some(module) = module_below(&folder, name) {
            return Ok(module);
        }
        // Since 7.x the modules have a package of their own.
        let image = self.dependency("linux-image-cloud-amd64", "linux-image-")?;
        let package = self.dependency(&image, "linux-modules-")?;
        self.unpack_one(&package, &folder)?;
        module_below(&folder, name).ok_or_else(|| anyhow!("{package} of Debian {} holds no module {name}", self.name))
    }

    /// The headers and archives of its OpenSSL, unpacked into a folder.
    pub(crate) fn static_openssl(&self, folder: &Path) -> Result<PathBuf> {
        if !folder.join("usr/lib/x86_64-linux-gnu/libssl.a").is_file() {
            self.unpack_one("libssl-dev", folder)?;
        }
        Ok(folder.to_owned())
    }

    /// Fetches a package alone and unpacks it into a folder.
    fn unpack_one(&self, package: &str, folder: &Path) -> Result<()> {
        let scratch = folder.join("deb");
        fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        let mut apt = self.apt("apt-get");
        apt.args(["download", package]).current_dir(&scratch);
        let failure = format!("{package} of Debian {} could not be fetched", self.name);
        progress::step(&format!("Debian {}: {package}", self.name), &failure, &mut apt)?;
        for package in debs_in(&scratch)? {
            unpack(&package, folder)?;
        }
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
    }

    /// The first dependency of a package whose name starts with `prefix`.
    fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let out = self.apt("apt-cache").args(["depends", package]).output().context("cannot start apt-cache")?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = names.map(str::to_owned).find(|name| name.starts_with(prefix));
        found.ok_or_else(|| anyhow!("Debian {}: {package} depends on no {prefix}… package", self.name))
    }

    fn archives(&self) -> Result<PathBuf> {
        let archives = cache()?.join("apt").join(&self.name).join("cache/archives");
        fs::create_dir_all(archives.join("partial")).context("cannot write apt's private cache")?;
        Ok(archives)
    }
}

/// Prometheus and promtool: unpacked, because installing the package would start a server on the user's machine.
pub(crate) fn prometheus() -> Result<()> {
    let tools = tools()?;
    if apt::on_path("prometheus") && apt::on_path("promtool") || tools.join("usr/bin/promtool").is_file() {
        return Ok(());
    }
    if apt::candidate("prometheus").is_none() && apt::has_apt() && apt::is_root() {
        apt::update()?;
    }
    let scratch = tools.join("deb");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "-o", "APT::Sandbox::User=root", "download", "prometheus"]).current_dir(&scratch);
    progress::step("apt: prometheus (unpacked only)", "apt could not fetch prometheus: check the network", &mut apt)?;
    for package in debs_in(&scratch)? {
        unpack(&package, &tools)?;
    }
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

/// QEMU and busybox for the kernel matrix, with their libraries: the root they were unpacked into. Never installed: apt
/// would have to remove a newer `qemu-utils` on machines that have one.
pub(crate) fn matrix() -> Result<PathBuf> {
    Suite::open(MATRIX_SUITE)?.root_named("matrix", &MATRIX_TOOLS)
}

/// Where unpacked programs live; their `usr/bin` belongs on a test's PATH.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(cache()?.join("tools"))
}

/// OpenSSL (and curl) as each suite builds it. What cannot be fetched is said, and its tests skip.
pub(crate) fn libssl_builds() {
    for name in SUITES {
        if let Err(reason) = Suite::open(name).and_then(|suite| suite.root(&CLIENTS)) {
            eprintln!("set-up: no OpenSSL of Debian {name}, so tests on it will skip: {reason:#}");
        }
    }
}

/// Container engines with their runtime: the packages would set up networks and services.
const ENGINE: [&str; 4] = ["podman", "runc", "conmon", "containerd"];

/// What the unpacked engine takes from this machine: another C library than the loader's own does not run.
const MACHINES_OWN: [&str; 7] =
    ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2", "libgcc_s.so.1"];

/// Podman and containerd, unless the machine has them. What cannot be fetched is said, and its tests skip.
pub(crate) fn engine() {
    if ["podman", "runc", "containerd"].into_iter().all(apt::on_path) {
        return;
    }
    let unpacked = Suite::open(MATRIX_SUITE).and_then(|suite| suite.root_named("engine", &ENGINE));
    match unpacked {
        Ok(root) => {
            for library in MACHINES_OWN {
                // Of an earlier run they are gone already.
                let _ = fs::remove_file(root.join("usr/lib/x86_64-linux-gnu").join(library));
            }
        }
        Err(reason) => eprintln!("set-up: no container engines, so their tests will skip: {reason:#}"),
    }
}

/// The base address of the Debian mirror that this machine's apt is set to.
fn mirror() -> Result<String> {
    if let Ok(mirror) = env::var("LLM_OBSERVER_DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
    let targets = Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output();
    let text = targets.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("Debian|Debian|")).map(str::to_owned).ok_or_else(|| {
        anyhow!("this machine's apt names no Debian mirror: set LLM_OBSERVER_DEBIAN_MIRROR to one, or add it to apt")
    })
}

/// The folders of a merged /usr, which older suites' packages expect as links and newer ones no longer ship.
fn merged_usr(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (folder, link) = (root.join("usr").join(name), root.join(name));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(format!("usr/{name}"), &link)
                .with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    Ok(())
}

/// Older C libraries link the loader by its absolute path, which leads out of the root unless one is inside it.
fn relative_loader(root: &Path) -> Result<()> {
    let link = root.join("usr/lib64/ld-linux-x86-64.so.2");
    let Some(target) = fs::read_link(&link).ok().filter(|target| target.is_absolute()) else { return Ok(()) };
    let inside = Path::new("../..").join(target.strip_prefix("/").unwrap_or(&target));
    let relinked = fs::remove_file(&link).and_then(|()| std::os::unix::fs::symlink(inside, &link));
    relinked.with_context(|| format!("cannot relink {}", link.display()))
}

fn unpack(package: &Path, root: &Path) -> Result<()> {
    let script = r#"dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1""#;
    let done = Command::new("sh").args(["-c", script]).arg(package).arg(root).status();
    let done = done.context("cannot start sh to unpack a package")?;
    if !done.success() {
        bail!("{} could not be unpacked into {}: is the disk full?", package.display(), root.display());
    }
    Ok(())
}

fn debs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|ext| ext == "deb")).collect())
}

fn vmlinuz_below(folder: &Path) -> Option<PathBuf> {
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let in_boot = entries(folder.join("boot")).find(|path| path.to_string_lossy().contains("vmlinuz-"));
    in_boot.or_else(|| entries(folder.join("usr/lib/modules")).map(|path| path.join("vmlinuz")).find(|p| p.is_file()))
}

fn module_below(folder: &Path, name: &str) -> Option<PathBuf> {
    let out = Command::new("find").arg(folder).arg("-name").arg(format!("{name}.ko*")).output().ok()?;
    String::from_utf8_lossy(&out.stdout).lines().next().map(PathBuf::from)
}

fn cache() -> Result<PathBuf> {
    bpf_build::cache_root().map_err(anyhow::Error::msg)
}
