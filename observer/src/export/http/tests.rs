//! Strangers at the port: real sockets, one server, many addresses of 127.0.0.0/8 (each a peer of its own).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::*;
use crate::export::store::{MetricsSnapshot, SeriesCaps, SeriesStore};
use edge::clock;

/// What a kubelet gives a probe by default.
const SECOND: Duration = Duration::from_secs(1);

/// A server as `run` makes it: one thread, eight for what blocks.
struct Served {
    address: SocketAddr,
    health: Arc<DaemonHealth>,
    refusals: Arc<RefusalCounts>,
    room: Arc<ClientSlots>,
    snapshots: Arc<AtomicUsize>,
    _servers: Runtime,
}

/// A pipeline that takes its time over a scrape, and has many series.
struct Slow {
    store: std::sync::Mutex<SeriesStore>,
    takes: Duration,
    asked: Arc<AtomicUsize>,
    at_once: AtomicUsize,
}

impl text::SnapshotSource for Slow {
    fn snapshot(&self) -> Option<MetricsSnapshot> {
        assert_eq!(self.at_once.fetch_add(1, Ordering::SeqCst), 0, "one scrape at a time");
        self.asked.fetch_add(1, Ordering::SeqCst);
        thread::sleep(self.takes);
        let snapshot = self.store.lock().unwrap().snapshot();
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        Some(snapshot)
    }
}

fn serve(takes: Duration, config: Option<PathBuf>) -> Served {
    let mut store = SeriesStore::new(SeriesCaps::default());
    for n in 0..50 {
        let model = format!("model-{n}");
        let labels = ledger::CallLabels { model: model.into(), ..Default::default() };
        store.observe_in(crate::export::catalogue::calls::CHUNK_CHARS.of(&labels, &[]), 1.0);
    }
    let snapshots = Arc::new(AtomicUsize::new(0));
    let (asked, at_once) = (Arc::clone(&snapshots), AtomicUsize::new(0));
    let source = Arc::new(Slow { store: store.into(), takes, asked, at_once });
    let (health, refusals) = (Arc::new(DaemonHealth::default()), Arc::new(RefusalCounts::default()));
    health.beat(clock::now());
    let site = HttpContext::new(source, Arc::clone(&health), "/metrics".into(), config, Arc::clone(&refusals));
    let room = site.room();
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .unwrap();
    let address = servers.block_on(async {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(super::serve(listener, site, Arc::clone(&room)));
        address
    });
    Served { address, health, refusals, room, snapshots, _servers: servers }
}

/// A connection whose address here is 127.1.x.y.
fn from(n: u32, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::from_bits(0x7f01_0001 + n), 0).into()).unwrap();
        socket.connect(to).await
    });
    let stream = stream.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// One request on a connection of its own; the whole answer and how long it took.
fn ask(mut stream: TcpStream, path: &str, headers: &str) -> (String, Duration) {
    let begun = Instant::now();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
}

impl Served {
    /// Health as a kubelet at `n`'s address sees it, again and again: each within a second.
    fn assert_healthy_from(&self, n: u32) {
        for path in ["/healthz", "/-/healthy", "/healthz", "/-/healthy"] {
            self.health.beat(clock::now());
            let begun = Instant::now();
            let (answer, _) = ask(from(n, self.address), path, "");
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:?}");
            assert!(begun.elapsed() < SECOND, "{path} took {:?}", begun.elapsed());
        }
    }

    fn assert_healthy(&self) {
        self.assert_healthy_from(0xee_0000);
    }
}

#[test]
fn idle_connections_of_one_peer_or_of_many_crowd_nobody_out() {
    let served = serve(Duration::ZERO, None);
    let of_one: Vec<_> = (0..300).map(|_| from(1, served.address)).collect();
    // From the very same address, too.
    served.assert_healthy_from(1);
    served.assert_healthy();
    assert!(served.room.len() <= 64 + 1, "{}", served.room.len());
    let of_many: Vec<_> = (0..600).map(|n| from(n, served.address)).collect();
    served.assert_healthy();
    assert!(served.room.len() <= 256, "{}", served.room.len());
    assert!(
        served.refusals.of(ClientRefusal::PeerConnections) >= 200
            && served.refusals.of(ClientRefusal::Connections) >= 300
    );
    drop((of_one, of_many));
}

#[test]
fn slow_heads_renewed_crowd_nobody_out() {
    let served = serve(Duration::ZERO, None);
    let end = Instant::now() + Duration::from_secs(4);
    let address = served.address;
    let attackers: Vec<_> = (0..2)
        .map(|n| {
            thread::spawn(move || {
                let mut held = std::collections::VecDeque::new();
                while Instant::now() < end {
                    let mut stream = from(n, address);
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nx-slow: ");
                    held.push_back(stream);
                    held.iter_mut().for_each(|stream| drop(stream.write_all(b"a")));
                    if held.len() > 100 {
                        held.pop_front();
                    }
                    // More would only take the CPU from the server, which runs unoptimised here.
                    thread::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect();
    while Instant::now() < end {
        served.assert_healthy();
        served.assert_healthy_from(0);
    }
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
}

#[test]
fn a_slow_head_has_a_deadline_and_is_counted() {
    let served = serve(Duration::ZERO, None);
    let mut slow = from(1, served.address);
    slow.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap();
    // One that asked and is kept open is no offender.
    let mut kept = from(2, served.address);
    kept.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let _ = kept.read_to_end(&mut answer);
    assert_eq!(served.refusals.of(ClientRefusal::SlowHead), 1);
}

/// 128 that send 200 requests at once and read nothing: everybody else is served, and scrapes are
/// not made for them by the thousand.
#[test]
fn pipelined_scrapes_that_nobody_reads_crowd_nobody_out() {
    let served = serve(Duration::from_millis(20), None);
    let held: Vec<_> = (0..128)
        .map(|n| {
            let mut stream = from(n % 16, served.address);
            stream.write_all("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200).as_bytes()).unwrap();
            stream
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        served.assert_healthy();
        let (answer, took) = ask(from(0xaa, served.address), "/metrics", "");
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("model-49"),
            "{}",
            answer.lines().next().unwrap()
        );
        // Two scrapes of an unoptimised build, on a machine that has other work.
        assert!(took < 2 * SECOND, "{took:?}");
    }
    // 20 ms each and as long a pause: 25 a second, for all 25,600 requests together.
    let scrapes = served.snapshots.load(Ordering::SeqCst);
    assert!(scrapes < 150, "{scrapes}");
    drop(held);
}

#[test]
fn a_connection_ends_after_a_hundred_requests() {
    let served = serve(Duration::ZERO, None);
    let mut stream = from(1, served.address);
    stream.write_all("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(150).as_bytes()).unwrap();
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    let answers = String::from_utf8_lossy(&answers);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 100);
    assert_eq!(answers.matches("connection: close").count(), 1);
}

/// Whoever asks while a scrape is in work gets the next, which is read after he asked, and all of them the same.
#[test]
fn a_hundred_who_wait_cost_what_one_does() {
    let served = serve(Duration::from_millis(200), None);
    let address = served.address;
    let begun = Instant::now();
    let askers: Vec<_> = (0..100).map(|n| thread::spawn(move || ask(from(n, address), "/metrics", "").0)).collect();
    let answers: Vec<String> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200") && answer.contains("model-49")));
    let scrapes = served.snapshots.load(Ordering::SeqCst);
    assert!(scrapes <= 6, "{scrapes} in {:?}", begun.elapsed());
    // And one who asks later gets numbers of his own.
    ask(from(1, address), "/metrics", "");
    assert_eq!(served.snapshots.load(Ordering::SeqCst), scrapes + 1);
}

/// The pipeline does not answer: health does, and says so once the loop's beat is old; scrapes are refused in time.
#[test]
fn a_pipeline_that_hangs_takes_nothing_with_it() {
    let served = serve(Duration::from_secs(20), None);
    let address = served.address;
    let askers: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                ask(from(n, address), "/metrics", if n.is_multiple_of(2) { "accept-encoding: gzip\r\n" } else { "" })
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    served.assert_healthy();
    for asker in askers {
        let (answer, took) = asker.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
        assert!(took < Duration::from_secs(7), "{took:?}");
    }
    assert_eq!(served.refusals.of(ClientRefusal::ScrapeWait), 20);
}

fn with_users(cost: u32, more: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    let hash = bcrypt::hash("right", cost).unwrap();
    std::fs::write(&path, format!("basic_auth_users: {{u: '{hash}'}}\n{more}")).unwrap();
    (dir, path)
}

/// `u:right`.
const RIGHT: &str = "authorization: Basic dTpyaWdodA==\r\n";

/// Wrong passwords, as fast as they go, from one peer and from many: who knows his is served, health is.
#[test]
fn who_guesses_passwords_delays_nobody() {
    let (_dir, config) = with_users(8, "auth_excluded_paths: [/healthz, /-/healthy]\n");
    let served = serve(Duration::ZERO, Some(config));
    let address = served.address;
    let (answer, _) = ask(from(0xbb, address), "/metrics", RIGHT);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // As many as were stopped, not so many seconds: a busy host guesses slowly.
    let stopped = Arc::new(AtomicUsize::new(0));
    let end = Instant::now() + Duration::from_secs(60);
    let guessers: Vec<_> = (0..8)
        .map(|n: u32| {
            let stopped = Arc::clone(&stopped);
            thread::spawn(move || {
                for round in 0..u32::MAX {
                    if stopped.load(Ordering::Relaxed) > 50 || Instant::now() > end {
                        break;
                    }
                    let guess = format!("authorization: Basic dTo{:04}\r\n", round * 8 + n);
                    // Half of them from the scraper's own address.
                    let source = if n.is_multiple_of(2) { 0xbb } else { n * 1000 + round };
                    let (answer, _) = ask(from(source, address), "/metrics", &guess);
                    let refused = ["401", "429", "503"].iter().any(|no| answer.starts_with(&format!("HTTP/1.1 {no}")));
                    assert!(refused, "{answer}");
                    stopped.fetch_add(usize::from(answer.starts_with("HTTP/1.1 429")), Ordering::Relaxed);
                }
            })
        })
        .collect();
    loop {
        served.assert_healthy();
        let (answer, took) = ask(from(0xbb, address), "/metrics", RIGHT);
        assert!(answer.starts_with("HTTP/1.1 200") && took < SECOND, "{took:?} {answer}");
        if guessers.iter().all(thread::JoinHandle::is_finished) {
            break;
        }
    }
    guessers.into_iter().for_each(|guesser| guesser.join().unwrap());
    let stopped = stopped.load(Ordering::Relaxed);
    assert!(stopped > 50, "{stopped}");
    assert!(served.refusals.of(ClientRefusal::LoginRate) >= stopped as u64);
}

#[test]
fn only_the_paths_that_are_named_need_no_password() {
    let (_dir, config) = with_users(4, "auth_excluded_paths: [/healthz]\n");
    let served = serve(Duration::ZERO, Some(config));
    for (path, status) in [
        ("/healthz", "200"),
        ("/healthz/", "401"),
        ("//healthz", "401"),
        ("/-/healthy", "401"),
        ("/metrics", "401"),
        ("/", "401"),
    ] {
        let (answer, _) = ask(from(1, served.address), path, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}
