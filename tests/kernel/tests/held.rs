//! Nothing of a container is held: what it mounted can be unmounted and mounted again, and what was
//! attached for it goes.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kernel_tests::clients::Run;
use kernel_tests::daemon::another_runs;
use kernel_tests::exact::{assert_exact, rows};
use kernel_tests::helper::Helper;
use kernel_tests::kmsg::Kmsg;
use kernel_tests::overlay::{Overlay, Tmpfs, Way};
use kernel_tests::rig::Rig;
use kernel_tests::watch::Footprint;
use kernel_tests::{library, places, skipped, wait_for};
use provider::script::{Reply, Scenario, answer, deltas};
use rustix::io::Errno;

/// How soon after its programs are gone a mount must be free: less than an engine's patience.
const FREE: Duration = Duration::from_secs(1);

/// How soon what nobody maps any more must be released: the grace that the daemon states (a minute), and its own pace.
const RELEASED: Duration = Duration::from_secs(90);

/// How soon `doctor` beside the daemon tells what is lost: the daemon looks at itself every half a
/// minute. The log tells at once.
const TOLD: Duration = Duration::from_secs(40);

fn rig_of(rig: Rig) -> Rig {
    rig.provider.register("quick", Scenario::always(Reply::of(answer(vec![deltas(5, 12, 5_000)], "stop"))));
    rig
}

/// A layer with a library of its own, and where a container finds it.
fn layer(base: &Path, name: &str) -> (PathBuf, String) {
    let folder = format!("/opt/{}", base.file_name().unwrap().to_str().unwrap());
    let layer = base.join(name);
    library::copy_into(&layer.join(folder.trim_start_matches('/'))).unwrap();
    (layer, folder)
}

fn base() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("llmo-held-").tempdir().unwrap()
}

fn call(run: Run, models: &[String]) {
    let (said, status) = run.start(models).unwrap().finish().unwrap();
    assert!(status.success() && said.iter().all(|line| line.error.is_none()), "{status}: {said:?}");
}

/// Another daemon on this host, perhaps of an older version, may hold mounts itself: then this says nothing about ours.
fn alone(rig: &Rig) -> bool {
    let alone =
        wait_for("other daemons' end", Duration::from_secs(120), || (!another_runs(Some(&rig.daemon))).then_some(()));
    if alone.is_err() {
        println!("SKIPPED: another daemon observes this host and may hold the mounts");
    }
    alone.is_ok()
}

/// Tries until `limit`; how long it took.
fn free(limit: Duration, mut attempt: impl FnMut() -> Result<(), Errno>) -> Result<Duration, Errno> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(Errno::BUSY) if began.elapsed() < limit => std::thread::sleep(Duration::from_millis(10)),
            other => return other.map(|()| began.elapsed()),
        }
    }
}

#[test]
fn a_container_is_stopped_and_started_again_and_the_kernel_has_nothing_to_say() {
    if skipped() {
        return;
    }
    let rig = rig_of(Rig::new().unwrap());
    if !alone(&rig) {
        return;
    }
    let base = base();
    let (layer, folder) = layer(base.path(), "layer");
    for options in ["index=on", "", "index=on,nfs_export=on", "metacopy=on"] {
        let mut container = Overlay::over(&[&layer], options).unwrap();
        let mut asked = Vec::new();
        let mut kernel = Kmsg::from_now().unwrap();
        for turn in 0..4 {
            let way = if turn == 2 { Way::Chroot } else { Way::Namespaces };
            let run = rig.run("curl-chat").unwrap().env("LD_LIBRARY_PATH", &folder);
            let models: Vec<String> =
                (0..2).map(|number| format!("scenario:quick#restart-{options}{turn}.{number}")).collect();
            call(run.within(container.command(way).unwrap()), &models);
            // The very first may come before the probes.
            asked.extend(models.into_iter().skip(usize::from(turn == 0)));
            let freed = free(FREE, || container.unmount_all());
            assert!(freed.is_ok(), "{options:?}, turn {turn}: umount: {freed:?}\n{}", rig.daemon.log());
            let again = container.mount();
            assert!(again.is_ok(), "{options:?}, turn {turn}: {:?}\n{}", again.err(), rig.daemon.log());
        }
        container.unmount_all().unwrap();
        let said = kernel.about(&["overlayfs", "VFS:", "Busy inodes", "BUG", "WARNING"]).unwrap();
        assert!(said.is_empty(), "{options:?}: the kernel said {said:#?}");
        assert_exact(&rig, &asked);
    }
}

#[test]
fn a_file_system_with_a_probed_library_is_unmounted_once_its_programs_are_gone() {
    if skipped() {
        return;
    }
    let rig = rig_of(Rig::new().unwrap());
    if !alone(&rig) {
        return;
    }
    let mut kernel = Kmsg::from_now().unwrap();
    let mut tmpfs = Tmpfs::mounted().unwrap();
    use_library(&rig, tmpfs.path(), "tmpfs");
    let freed = free(FREE, || tmpfs.unmount());
    assert!(freed.is_ok(), "umount of the tmpfs: {freed:?}\n{}", rig.daemon.log());
    let dir = base();
    match Loop::mounted(dir.path()) {
        Err(reason) => println!("no loop device, so the tmpfs has to do: {reason}"),
        Ok(disk) => {
            use_library(&rig, &disk.at, "disk");
            let freed = free(FREE, || rustix::mount::unmount(&disk.at, rustix::mount::UnmountFlags::empty()));
            assert!(freed.is_ok(), "umount of the disk: {freed:?}\n{}", rig.daemon.log());
            // Whatever still refers to the file system keeps its device.
            wait_for("the device's release", RELEASED, || disk.detached().then_some(())).unwrap();
        }
    }
    let said = kernel.about(&["VFS:", "Busy inodes", "BUG", "WARNING", "EXT4-fs error"]).unwrap();
    assert!(said.is_empty(), "the kernel said {said:#?}");
}

/// Two calls through a library of its own, and rows that say so.
fn use_library(rig: &Rig, place: &Path, name: &str) {
    let library = library::copy_into(&place.join(name)).unwrap();
    let run = rig.run("curl-chat").unwrap().env("LD_LIBRARY_PATH", library.parent().unwrap().to_str().unwrap());
    let mut models: Vec<String> = (0..3).map(|number| format!("scenario:quick#{name}-{number}")).collect();
    call(run, &models);
    models.remove(0);
    assert_exact(rig, &models);
}

/// A file system in a file.
struct Loop {
    image: PathBuf,
    at: PathBuf,
}

impl Loop {
    fn mounted(dir: &Path) -> Result<Self, String> {
        let (image, at) = (dir.join("disk.img"), dir.join("disk"));
        let script = r#"set -e; truncate -s 64M "$0"; mkfs.ext4 -q "$0"; mkdir "$1"; mount -o loop "$0" "$1""#;
        let output = Command::new("sh").args(["-c", script]).arg(&image).arg(&at).output().unwrap();
        if output.status.success() {
            return Ok(Self { image, at });
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    fn detached(&self) -> bool {
        Command::new("losetup").arg("-j").arg(&self.image).output().unwrap().stdout.is_empty()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn two_hundred_container_starts_of_twenty_images_leave_everything_flat() {
    if skipped() {
        return;
    }
    starts(200);
}

/// `cargo test -p kernel-tests --test held -- --ignored`: some four minutes.
#[test]
#[ignore = "minutes: run it by hand"]
fn two_thousand_container_starts_of_twenty_images_leave_everything_flat() {
    if skipped() {
        return;
    }
    starts(2_000);
}

/// Images of their own library each, started in turn, four at a time, each for one call.
fn starts(count: usize) {
    const IMAGES: usize = 20;
    const TOGETHER: usize = 4;
    // Ended calls that the daemon keeps for whoever asks, and models that have series of their own: so
    // few that they are all there when the first figure is taken. The defaults would fill up all
    // through the test.
    const KEPT: usize = 2 * IMAGES;
    let rig = rig_of(Rig::tuned(&format!("limits: {{ended_streams: {KEPT}, label_values: {IMAGES}}}\n")).unwrap());
    let base = base();
    let images: Vec<(PathBuf, String)> =
        (0..IMAGES).map(|number| layer(base.path(), &format!("image{number}"))).collect();
    let mut turns = images.iter().cycle();
    let tag = base.path().file_name().unwrap().to_str().unwrap().to_owned();
    let idle = Footprint::of(&rig.daemon).unwrap();
    let mut settled = None;
    let mut asked = Vec::new();
    for turn in 0..count / TOGETHER {
        let containers: Vec<(Overlay, String)> = (0..TOGETHER)
            .map(|place| {
                let number = turn * TOGETHER + place;
                let (layer, _) = turns.next().unwrap();
                (Overlay::over(&[layer], "").unwrap(), format!("scenario:quick#start-{number}"))
            })
            .collect();
        let clients: Vec<_> = containers
            .iter()
            .map(|(container, model)| {
                let run = rig.run("curl-chat").unwrap().env("LD_LIBRARY_PATH", &format!("/opt/{tag}"));
                run.within(container.command(Way::Namespaces).unwrap()).start(std::slice::from_ref(model)).unwrap()
            })
            .collect();
        for client in clients {
            client.finish().unwrap();
        }
        if turn * TOGETHER >= 2 * IMAGES {
            settled.get_or_insert_with(|| Footprint::of(&rig.daemon).unwrap());
            asked.extend(containers.iter().map(|(_, model)| model.clone()));
        }
        // As many as the daemon keeps are judged at a time, and all of them in the end.
        if asked.len() >= KEPT {
            assert_exact(&rig, &std::mem::take(&mut asked));
        }
        for (mut container, _) in containers {
            let _ = container.unmount();
        }
    }
    let (settled, end) = (settled.unwrap(), Footprint::of(&rig.daemon).unwrap());
    println!("idle {idle:?}\nafter {} starts {settled:?}\nafter {count} {end:?}", 2 * IMAGES);
    assert_exact(&rig, &asked);
    // Some descriptors belong to this moment's connections and looks into /proc, and another program of this host may
    // have brought a library or two of its own meanwhile, of eight rows each. 2,000 starts would leave 16,000.
    assert!(end.descriptors <= settled.descriptors + 24, "descriptors: {settled:?}, then {end:?}");
    assert!(end.probe_rows <= settled.probe_rows + 16, "probe rows: {settled:?}, then {end:?}");
    assert!(end.series <= settled.series + 4, "series: {settled:?}, then {end:?}");
    // Detectors remember the turns and calls of the last minutes, some hundred bytes each: of two
    // thousand calls in two minutes a few megabytes. A mount that was kept, or a table that never
    // forgets, takes more.
    assert!(end.resident_kib <= settled.resident_kib * 28 / 25, "memory, by more than 12 %: {settled:?}, then {end:?}");
    drop(base);
    // The images are removed, and nobody maps them: all that was attached for them goes. Other
    // programs of this host may have brought libraries of their own meanwhile, with a descriptor
    // for each of their rows.
    let released = wait_for("the release of what nobody maps", RELEASED, || {
        let now = Footprint::of(&rig.daemon).ok()?;
        let others = now.probe_rows.saturating_sub(idle.probe_rows);
        let rows = ["ssl_read", "ssl_write"].iter().map(|probe| rows(&rig, probe, &tag).map_or(1, |rows| rows.len()));
        (rows.sum::<usize>() == 0 && now.descriptors <= idle.descriptors + others + 8).then_some(now)
    });
    let left = rows(&rig, "ssl_read", &tag).unwrap();
    assert!(released.is_ok(), "before {idle:?}, now {:?}; rows left: {left:#?}", Footprint::of(&rig.daemon));
}

/// Libraries of one's own, in folders of their own.
fn libraries(dir: &Path, count: usize) -> Vec<PathBuf> {
    (0..count).map(|number| library::copy_into(&dir.join(format!("lib{number}"))).unwrap()).collect()
}

fn mapper(rig: &Rig, mode: &[&str], files: &[PathBuf]) -> Helper {
    let mut command = Command::new(rig.clients.python());
    command.arg(places::programs().join("mapper.py")).args(mode).args(files).env("CLIENT_PACE", "0.02");
    Helper::start(&mut command).unwrap().0
}

fn through(rig: &Rig, library: &Path, name: &str) -> Vec<String> {
    let run = rig.run("curl-chat").unwrap().env("LD_LIBRARY_PATH", library.parent().unwrap().to_str().unwrap());
    let models: Vec<String> = (0..3).map(|number| format!("scenario:quick#{name}-{number}")).collect();
    call(run, &models);
    models
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    if skipped() {
        return;
    }
    let rig = rig_of(Rig::through(&["prlimit", "--nofile=1024:4096"]).unwrap());
    let limits = fs::read_to_string(format!("/proc/{}/limits", rig.daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(soft, 4_096, "{line}");
    let dir = base();
    let libraries = libraries(dir.path(), 150);
    drop(mapper(&rig, &["--once"], &libraries));
    let models = through(&rig, &library::copy_into(&dir.path().join("last")).unwrap(), "last");
    assert_exact(&rig, &models[1..]);
}

#[test]
fn without_descriptors_it_drops_what_is_idle_first_and_says_so() {
    if skipped() {
        return;
    }
    let rig = rig_of(Rig::through(&["prlimit", "--nofile=256:256"]).unwrap());
    let dir = base();
    let host = |name: &str| {
        let models: Vec<String> = (0..2).map(|number| format!("scenario:quick#{name}-{number}")).collect();
        call(rig.run("curl-chat").unwrap(), &models);
        models
    };
    let mut asked = host("before");
    let daemon = rig.daemon.pid();
    // What this host's own programs have mapped takes more than half of so few where there are many.
    let enough = (kernel_tests::watch::descriptors(daemon).unwrap() + 24).max(256 / 2);
    let libraries = libraries(dir.path(), 80);
    // Nobody maps these any more: they are dropped for those that are used.
    drop(mapper(&rig, &["--once"], &libraries));
    // It makes room for who comes next before he comes.
    let roomy = || kernel_tests::watch::descriptors(daemon).is_ok_and(|open| open < enough).then_some(());
    wait_for("room for new files", RELEASED / 3, roomy).unwrap();
    let used = library::copy_into(&dir.path().join("used")).unwrap();
    asked.extend(through(&rig, &used, "used").into_iter().skip(1));
    asked.extend(host("after-idle"));
    // All these are mapped at once: not all can be probed.
    let held = mapper(&rig, &[], &libraries);
    let told = wait_for("doctor's word about descriptors", TOLD, || {
        let (code, found) = rig.daemon.doctor().ok()?;
        let text = found.to_string().to_lowercase();
        (code == Some(1) && (text.contains("descriptor") || text.contains("nofile"))).then_some(found)
    });
    assert!(told.is_ok(), "{:?}\n{}", rig.daemon.doctor(), rig.daemon.log());
    let log = rig.daemon.log().to_lowercase();
    assert!(log.contains("descriptor") || log.contains("nofile"), "{log}");
    assert_eq!(rig.daemon.get("/healthz").unwrap().0, 200);
    asked.extend(host("with-too-many"));
    drop(held);
    assert_exact(&rig, &asked);
    let open = kernel_tests::watch::descriptors(rig.daemon.pid()).unwrap();
    assert!(open < 256, "{open} descriptors: nothing is left for connections");
}
