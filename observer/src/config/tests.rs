use super::*;

fn settings(text: &str) -> Result<DaemonSettings, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let name = file.path().display().to_string();
    DaemonSettings::new(CommandFlags { config: Some(file.path().into()), ..Default::default() })
        .map_err(|error| error.to_string().replace(&name, "FILE"))
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "\n", "# nothing\n"] {
        let settings = settings(text).unwrap();
        assert_eq!(settings.socket, Path::new(SOCKET));
        assert_eq!(settings.telemetry_path, "/metrics");
        assert!(settings.listen_addresses[0].ends_with(":9464"));
    }
}

#[test]
fn everything_can_be_said() {
    let settings = settings(
        "web:\n  listen_addresses: ['127.0.0.1:1', ':2']\n  telemetry_path: /m\ninspect:\n  socket: /tmp/s\n\
         targets: ['12', /usr/bin/python3, /sys/fs/cgroup/system.slice/a.service]\nmatch:\n\
         - {api: openai.chat, path_suffix: /ai/complete, host: Gateway.internal}\n\
         limits: {ended_streams: 7, idle_seconds: 1.5, label_values: 9, series: 10, connections: 11}\n\
         host: {root: /host}\nqoe: {reader_chars_per_second: 30}\nkernel: {ring_bytes: 1048576}\n",
    )
    .unwrap();
    assert_eq!(settings.listen_addresses, ["127.0.0.1:1", ":2"]);
    let targets = [
        ObservationTarget::Pid(12),
        ObservationTarget::Exe("/usr/bin/python3".into()),
        ObservationTarget::Cgroup("/system.slice/a.service".into()),
    ];
    assert_eq!(settings.targets, targets);
    assert_eq!(settings.extras[0].host.as_deref(), Some("gateway.internal"));
    assert_eq!((settings.ledger.ended, settings.ledger.idle_ns), (7, 1_500_000_000));
    assert_eq!((settings.sinks.caps, settings.connections), (SeriesCaps { values: 9, series: 10 }, 11));
    assert_eq!(settings.host_root.as_deref(), Some(Path::new("/host")));
    assert_eq!((settings.sinks.reader_rate, settings.ring_bytes), (30.0, 1_048_576));
}

/// What keys there may be at a place, as the refusal of an unknown one lists them.
fn keys(refused: &str) -> Vec<String> {
    let told = settings(refused).map(drop).unwrap_err().to_string();
    let list = told.split_once("all are ").map(|(_, list)| list.to_owned());
    list.iter().flat_map(|list| list.split(", ")).map(str::to_owned).collect()
}

#[test]
fn the_example_names_every_key() {
    let text = include_str!("../../docs/config.example.yml");
    let all = keys("no_such_key: 1");
    assert!(all.len() > 5, "{all:?}");
    for key in all {
        assert!(text.contains(&format!("\n{key}:")), "{key} is not in the example");
        for inner in keys(&format!("{key}: {{no_such_key: 1}}")) {
            let named = [format!("\n  {inner}:"), format!("\n  - {{ {inner}:"), format!(" {inner}:")];
            assert!(named.iter().any(|named| text.contains(named)), "{key}.{inner} is not in the example");
        }
    }
}

/// The example has the values of the defaults.
#[test]
fn the_example_is_the_default() {
    let example = settings(include_str!("../../docs/config.example.yml")).unwrap();
    let default = settings("").unwrap();
    assert_eq!(example.extras.len(), 1);
    assert_eq!((example.socket, example.telemetry_path), (default.socket, default.telemetry_path));
    assert_eq!((example.sinks.caps, example.connections), (default.sinks.caps, default.connections));
    assert_eq!((example.ledger.ended, example.ledger.idle_ns), (default.ledger.ended, default.ledger.idle_ns));
    assert_eq!((example.sinks.reader_rate, example.ring_bytes), (default.sinks.reader_rate, default.ring_bytes));
    assert_eq!((example.state, example.host_root), (default.state, None));
    assert_eq!(format!("{:?}", example.sinks.detect), format!("{:?}", default.sinks.detect));
    let text = include_str!("../../docs/config.example.yml");
    for row in detectors::DETECTORS {
        assert!(text.contains(&format!("\n  {}:", row.name)), "{} is not in the example", row.name);
    }
}

#[test]
fn detectors_are_checked() {
    assert_eq!(
        settings("detect: {chunk_regression: {ratio: 7}}").unwrap_err(),
        "detect.chunk_regression.ratio must be between 0.1 and 0.9"
    );
    let unknown = settings("detect:\n  chunk_regression:\n    ratoi: 0.5\n").unwrap_err();
    assert!(unknown.contains(":3: unknown key `ratoi`: did you mean `ratio`?"), "{unknown}");
    let unknown = settings("detect: {chunk_regresion: {}}").unwrap_err();
    assert!(unknown.contains("did you mean `chunk_regression`?"), "{unknown}");
    let inner = settings("detect: {chunk_regression: {services: {a: {ratio: 7}}}}").unwrap_err();
    assert!(inner.starts_with("detect.chunk_regression.services.a.ratio must be"), "{inner}");
    assert_eq!(settings("state: {file: ''}").unwrap().state, None);
}

#[test]
fn flags_win_over_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "web: {listen_addresses: [':1']}\ninspect: {socket: /a}\n").unwrap();
    let flags = CommandFlags { config: Some(file.path().into()), socket: Some("/b".into()), ..Default::default() };
    let settings = DaemonSettings::new(flags).unwrap();
    assert_eq!((settings.socket, settings.listen_addresses), ("/b".into(), vec![":1".to_owned()]));
}

#[test]
fn unknown_keys_name_file_line_and_the_nearest_key() {
    let error = settings("web:\n  listen_adresses: [':1']\n").unwrap_err();
    assert_eq!(error, "FILE:2: unknown key `listen_adresses`: did you mean `listen_addresses`?");
    let error = settings("inspect: {}\nkubernetes: {}\n").unwrap_err();
    assert!(error.starts_with("FILE:2: unknown key `kubernetes`: the nearest known key is `kernel`"), "{error}");
}

#[test]
fn wrong_values_are_named() {
    for (text, part) in [
        ("web: 5\n", "FILE:1: "),
        ("limits: {series: many}\n", "FILE:1: "),
        ("web: [\n", "FILE:"),
        ("limits: {series: 0}\n", "limits.series must be at least 1"),
        ("kernel: {ring_bytes: 100000}\n", "power of two"),
        ("match: [{api: openai.chat}]\n", "needs a path_suffix or a host"),
        ("match: [{api: openai.chatty, host: a}]\n", "openai.chat,"),
        ("qoe: {reader_chars_per_second: 0}\n", "more than 0"),
        ("limits: {idle_seconds: .nan}\n", "between"),
        ("web: {telemetry_path: metrics}\n", "begin with /"),
    ] {
        let error = settings(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let error =
        DaemonSettings::new(CommandFlags { config: Some("/nonexistent".into()), ..Default::default() }).unwrap_err();
    assert!(error.to_string().contains("cannot read /nonexistent"), "{error}");
}
