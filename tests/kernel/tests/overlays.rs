//! Containers of one image, images of common layers, and one library seen through many mounts: a
//! file is its real inode, so every stream is exact and each library has one set of probes. Overlay
//! mounts need no container engine.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kernel_tests::clients::{Client, Run};
use kernel_tests::exact::{assert_exact, rows};
use kernel_tests::layer::{Layer, finish, warm};
use kernel_tests::overlay::{Overlay, Tmpfs, Way};
use kernel_tests::rig::Rig;
use kernel_tests::{library, skipped};
use provider::script::{Reply, Scenario, answer, deltas};

/// 100 ms from request to end, and 2.5 s.
fn rig() -> Rig {
    let rig = Rig::new().unwrap();
    rig.provider.register("quick", Scenario::always(Reply::of(answer(vec![deltas(5, 12, 20_000)], "stop"))));
    rig.provider.register("steady", Scenario::always(Reply::of(answer(vec![deltas(125, 12, 20_000)], "stop"))));
    rig
}

/// Models of one scenario, told apart by the client's name.
fn models(scenario: &str, name: &str, calls: usize) -> Vec<String> {
    (0..calls).map(|call| format!("scenario:{scenario}#{name}-{call}")).collect()
}

fn start(run: Run, models: &[String]) -> Client {
    run.start(models).unwrap()
}

#[test]
fn three_containers_of_one_image_beside_the_host_are_exact_and_probed_once() {
    if skipped() {
        return;
    }
    let (rig, layer) = (rig(), Layer::new().unwrap());
    let containers: Vec<(Overlay, Way)> = [Way::Chroot, Way::Namespaces, Way::Namespaces]
        .map(|way| (Overlay::over(&[layer.path()], "").unwrap(), way))
        .into_iter()
        .collect();
    warm(layer.run(&rig, "curl-chat", &containers[0].0, Way::Chroot).unwrap()).unwrap();
    let mut asked = Vec::new();
    for (number, (container, way)) in containers.iter().enumerate() {
        // One after the other, as they come; the first one's library is known when the second one starts.
        let mut running = Vec::new();
        for kind in ["curl-chat", "stdlib"] {
            let inside = models("quick", &format!("{number}-{kind}"), 3);
            running.push(start(layer.run(&rig, kind, container, *way).unwrap(), &inside));
            asked.extend(inside);
        }
        for kind in ["openai-sync-chat", "openai-node-chat", "curl-chat"] {
            let host = models("quick", &format!("host{number}-{kind}"), 2);
            running.push(start(rig.run(kind).unwrap(), &host));
            asked.extend(host);
        }
        finish(running).unwrap();
    }
    assert_exact(&rig, &asked);
    let rows = rows(&rig, "ssl_read", &layer.folder).unwrap();
    assert_eq!(rows.len(), 1, "one file, one row: {rows:#?}");
}

#[test]
fn the_hosts_own_library_through_containers_is_the_hosts() {
    if skipped() {
        return;
    }
    let rig = rig();
    warm(rig.run("curl-chat").unwrap()).unwrap();
    let before = rows(&rig, "ssl_read", "").unwrap().len();
    let mut asked = Vec::new();
    let mut containers = Vec::new();
    for number in 0..3 {
        let way = if number == 1 { Way::Chroot } else { Way::Namespaces };
        let container = Overlay::of_the_host().unwrap();
        let mut running = Vec::new();
        for (place, kind) in
            [("in", "curl-chat"), ("in", "debian-python"), ("in", "openai-node-chat"), ("out", "curl-chat")]
        {
            let asks = models("quick", &format!("{place}{number}-{kind}"), 2);
            let run = rig.run(kind).unwrap();
            let run = if place == "in" { run.within(container.command(way).unwrap()) } else { run };
            running.push(start(run, &asks));
            asked.extend(asks);
        }
        finish(running).unwrap();
        containers.push(container);
    }
    assert_exact(&rig, &asked);
    let after = rows(&rig, "ssl_read", "").unwrap();
    // Node's own OpenSSL may be new; libssl is not.
    assert!(after.len() <= before + 1, "{before} rows before: {after:#?}");
}

#[test]
fn twenty_five_containers_of_one_image_are_exact() {
    if skipped() {
        return;
    }
    let (rig, layer) = (rig(), Layer::new().unwrap());
    let containers: Vec<Overlay> = (0..25).map(|_| Overlay::over(&[layer.path()], "").unwrap()).collect();
    warm(layer.run(&rig, "curl-chat", &containers[0], Way::Namespaces).unwrap()).unwrap();
    let mut asked = Vec::new();
    for (turn, some) in containers.chunks(4).enumerate() {
        let mut running = Vec::new();
        for (number, container) in some.iter().enumerate() {
            let inside = models("quick", &format!("{turn}.{number}"), 2);
            running.push(start(layer.run(&rig, "curl-chat", container, Way::Namespaces).unwrap(), &inside));
            asked.extend(inside);
        }
        finish(running).unwrap();
    }
    assert_exact(&rig, &asked);
    assert_eq!(rows(&rig, "ssl_read", &layer.folder).unwrap().len(), 1);
}

#[test]
fn a_stream_that_runs_while_a_second_container_starts_stays_exact() {
    if skipped() {
        return;
    }
    let (rig, layer) = (rig(), Layer::new().unwrap());
    let [first, second] = [(); 2].map(|()| Overlay::over(&[layer.path()], "").unwrap());
    warm(layer.run(&rig, "stdlib", &first, Way::Namespaces).unwrap()).unwrap();
    let mut asked = models("steady", "running", 1);
    let running = start(layer.run(&rig, "stdlib", &first, Way::Namespaces).unwrap(), &asked);
    rig.stream_when(&asked[0], "its first chunks", |ledger| ledger.chunks >= 5).unwrap();
    for kind in ["stdlib", "curl-chat"] {
        let inside = models("quick", &format!("second-{kind}"), 2);
        finish(vec![start(layer.run(&rig, kind, &second, Way::Namespaces).unwrap(), &inside)]).unwrap();
        asked.extend(inside);
    }
    assert!(rig.truth(&asked[0]).iter().all(|truth| !truth.over()), "it ended too soon: this tested nothing");
    finish(vec![running]).unwrap();
    assert_exact(&rig, &asked);
}

/// Eight images with a library each, then two that share one of the layers, all at once.
#[test]
fn images_with_libraries_of_their_own_and_with_common_layers_are_told_apart() {
    if skipped() {
        return;
    }
    let rig = rig();
    let base = tempfile::Builder::new().prefix("llmo-layers-").tempdir().unwrap();
    let tag = base.path().file_name().unwrap().to_str().unwrap();
    let folder = format!("/opt/{tag}");
    let layer = |number: usize| base.path().join(format!("layer{number}"));
    for number in 0..8 {
        library::copy_into(&layer(number).join(folder.trim_start_matches('/'))).unwrap();
    }
    let empty = base.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut images: Vec<Overlay> = (0..8).map(|number| Overlay::over(&[&layer(number)], "").unwrap()).collect();
    // Another image above the same layer, and one whose upper layers hide it below an identical path.
    images.push(Overlay::over(&[&empty, &layer(3)], "").unwrap());
    images.push(Overlay::over(&[&layer(5), &layer(3), &layer(0)], "").unwrap());
    let run = |image: &Overlay, kind: &str| {
        let run = rig.run(kind).unwrap().env("LD_LIBRARY_PATH", &folder);
        run.within(image.command(Way::Namespaces).unwrap())
    };
    for image in &images {
        warm(run(image, "curl-chat")).unwrap();
    }
    let mut asked = Vec::new();
    for (turn, some) in images.chunks(5).enumerate() {
        let mut running = Vec::new();
        for (number, image) in some.iter().enumerate() {
            let inside = models("quick", &format!("image{turn}.{number}"), 3);
            let kind = if number % 2 == 0 { "curl-chat" } else { "stdlib" };
            running.push(start(run(image, kind), &inside));
            asked.extend(inside);
        }
        finish(running).unwrap();
    }
    assert_exact(&rig, &asked);
    let rows = rows(&rig, "ssl_read", tag).unwrap();
    assert_eq!(rows.len(), 8, "eight files: {rows:#?}");
}

#[test]
fn layers_may_have_any_name_and_be_many_or_relative() {
    if skipped() {
        return;
    }
    let (rig, layer) = (rig(), Layer::new().unwrap());
    let odd = layer.path().join(r"a:b,c d\e=f é");
    fs::create_dir_all(&odd).unwrap();
    let inner = odd.join(layer.folder.trim_start_matches('/'));
    library::copy_into(&inner).unwrap();
    // Long option strings: engines have their layers' names shortened, the kernel takes a page of them.
    let padding: Vec<PathBuf> =
        (0..40).map(|number| layer.path().join(format!("padding-of-a-long-name-{number}"))).collect();
    for folder in &padding {
        fs::create_dir(folder).unwrap();
    }
    let many: Vec<&Path> = padding.iter().map(PathBuf::as_path).chain([odd.as_path()]).collect();
    let short = layer.path().file_name().unwrap().to_str().unwrap().to_owned();
    let containers = [
        Overlay::over(&[&odd], "").unwrap(),
        Overlay::over(&many, "").unwrap(),
        Overlay::relative(layer.path().parent().unwrap(), &[&short]).unwrap(),
        Overlay::relative(&padding[0], &["./.."]).unwrap(),
    ];
    for container in [&containers[0], &containers[2]] {
        warm(layer.run(&rig, "curl-chat", container, Way::Namespaces).unwrap()).unwrap();
    }
    let mut asked = Vec::new();
    for (number, container) in containers.iter().enumerate() {
        for (kind, way) in [("curl-chat", Way::Namespaces), ("stdlib", Way::Chroot)] {
            let inside = models("quick", &format!("odd{number}-{kind}"), 2);
            finish(vec![start(layer.run(&rig, kind, container, way).unwrap(), &inside)]).unwrap();
            asked.extend(inside);
        }
    }
    assert_exact(&rig, &asked);
    // Two inodes: the one with the odd name, and the layer's own.
    let rows = rows(&rig, "ssl_read", &short).unwrap();
    assert_eq!(rows.len(), 2, "{rows:#?}");
}

/// What a container changes is its own file from then on; what only looks changed is not.
#[test]
fn a_library_that_a_container_copied_up_is_another_file() {
    if skipped() {
        return;
    }
    for options in ["", "index=on", "metacopy=on,redirect_dir=on", "redirect_dir=on,xino=on"] {
        let (rig, layer) = (rig(), Layer::new().unwrap());
        let [plain, changed] = [(); 2].map(|()| Overlay::over(&[layer.path()], options).unwrap());
        warm(layer.run(&rig, "curl-chat", &plain, Way::Namespaces).unwrap()).unwrap();
        let mut asked = Vec::new();
        for (turn, touched) in [false, true].into_iter().enumerate() {
            if touched {
                // A change of its mode: the whole file is copied up, or with `metacopy` its inode alone.
                let library = changed.inside(&layer.folder).join(layer.library().unwrap().file_name().unwrap());
                assert!(Command::new("chmod").arg("0711").arg(&library).status().unwrap().success());
                warm(layer.run(&rig, "curl-chat", &changed, Way::Namespaces).unwrap()).unwrap();
            }
            for (name, container) in [("plain", &plain), ("changed", &changed)] {
                let inside = models("quick", &format!("{name}{turn}"), 2);
                finish(vec![start(layer.run(&rig, "curl-chat", container, Way::Namespaces).unwrap(), &inside)])
                    .unwrap();
                asked.extend(inside);
            }
        }
        println!("{options:?}");
        assert_exact(&rig, &asked);
        let rows = rows(&rig, "ssl_read", &layer.folder).unwrap();
        let files = if options.contains("metacopy") { 1 } else { 2 };
        assert_eq!(rows.len(), files, "{options:?}: {rows:#?}");
    }
}

#[test]
fn layers_on_a_tmpfs_are_files_like_others() {
    if skipped() {
        return;
    }
    let rig = rig();
    let tmpfs = Tmpfs::mounted().unwrap();
    let layer = Layer::below(tmpfs.path()).unwrap();
    let containers = [(); 3].map(|()| Overlay::over(&[layer.path()], "").unwrap());
    warm(layer.run(&rig, "curl-chat", &containers[0], Way::Namespaces).unwrap()).unwrap();
    let mut asked = Vec::new();
    for (number, container) in containers.iter().enumerate() {
        let inside = models("quick", &format!("tmpfs{number}"), 2);
        finish(vec![start(layer.run(&rig, "stdlib", container, Way::Namespaces).unwrap(), &inside)]).unwrap();
        asked.extend(inside);
    }
    assert_exact(&rig, &asked);
    assert_eq!(rows(&rig, "ssl_read", &layer.folder).unwrap().len(), 1);
}

#[test]
fn a_library_bound_to_many_places_is_one() {
    if skipped() {
        return;
    }
    let (rig, layer) = (rig(), Layer::new().unwrap());
    let library = layer.library().unwrap();
    let folder = library.parent().unwrap();
    let asks = |name: &str, folder: &Path, bind: bool| {
        let asked = models("quick", name, 2);
        let run = rig.run("curl-chat").unwrap().env("LD_LIBRARY_PATH", folder.to_str().unwrap());
        let mut own = Command::new("unshare");
        own.args(["--mount", "sh", "-c", r#"[ "$0" = - ] || mount --bind "$0" "$1"; shift; exec "$@""#]);
        own.arg(if bind { folder_of(&library) } else { "-".to_owned() }).arg(folder);
        (run.within(own), asked)
    };
    warm(asks("warm", folder, false).0).unwrap();
    let mut asked = Vec::new();
    for number in 0..4 {
        let place = layer.path().join(format!("bound{number}"));
        fs::create_dir(&place).unwrap();
        for (run, models) in
            [asks(&format!("bound{number}"), &place, true), asks(&format!("own{number}"), folder, false)]
        {
            finish(vec![start(run, &models)]).unwrap();
            asked.extend(models);
        }
    }
    // A hard link is the same inode too.
    let linked = layer.path().join("linked");
    fs::create_dir(&linked).unwrap();
    for file in fs::read_dir(folder).unwrap().flatten() {
        fs::hard_link(file.path(), linked.join(file.file_name())).unwrap();
    }
    let (run, models) = asks("linked", &linked, false);
    finish(vec![start(run, &models)]).unwrap();
    asked.extend(models);
    assert_exact(&rig, &asked);
    assert_eq!(rows(&rig, "ssl_read", layer.path().file_name().unwrap().to_str().unwrap()).unwrap().len(), 1);
}

fn folder_of(file: &Path) -> String {
    file.parent().unwrap().display().to_string()
}

/// Touched, overwritten with the same bytes, and replaced by rename, while a stream runs and between calls.
#[test]
fn a_library_that_is_touched_rewritten_or_replaced_stays_exact() {
    if skipped() {
        return;
    }
    let rig = rig();
    let dir = tempfile::Builder::new().prefix("llmo-library-").tempdir().unwrap();
    let library = library::copy_into(&dir.path().join("lib")).unwrap();
    let (path, folder) = (library.to_str().unwrap().to_owned(), library.parent().unwrap().to_owned());
    let run = |kind: &str| rig.run(kind).unwrap().env("LD_LIBRARY_PATH", folder.to_str().unwrap());
    warm(run("stdlib")).unwrap();
    let same = dir.path().join("same");
    fs::copy(&library, &same).unwrap();
    let shell = |script: &str| {
        let status = Command::new("sh").args(["-ec", script, &path]).arg(&same).status().unwrap();
        assert!(status.success(), "{script}");
    };
    let changes = [
        ("touched", r#"touch "$0""#),
        ("backdated", r#"touch -d 2001-01-01 "$0""#),
        ("rewritten", r#"dd if="$1" of="$0" conv=notrunc status=none"#),
        ("rechmodded", r#"chmod 0755 "$0""#),
        ("replaced", r#"cp "$1" "$0.new" && mv "$0.new" "$0""#),
        ("touched-again", r#"touch "$0"; touch "$0""#),
    ];
    let mut asked = Vec::new();
    for (name, script) in changes {
        let mut steady = models("steady", name, 1);
        let running = start(run("stdlib"), &steady);
        rig.stream_when(&steady[0], "its first chunks", |ledger| ledger.chunks >= 5).unwrap();
        shell(script);
        if name == "replaced" {
            // Another inode: its very first call may come before its probes.
            warm(run("curl-chat")).unwrap();
        }
        let after = models("quick", &format!("after-{name}"), 3);
        finish(vec![start(run("curl-chat"), &after), running]).unwrap();
        asked.append(&mut steady);
        asked.extend(after);
    }
    assert_exact(&rig, &asked);
}
