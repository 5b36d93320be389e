//! Connections that were open before: from the kernel's own list of sockets (`sock_diag`), in every
//! network namespace, with the process that holds each from `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;

use super::procmaps;

/// A connection that some process of this host holds and asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientSocket {
    pub cookie: u64,
    pub pid: u32,
    pub peer: SocketAddr,
}

/// What the kernel told of the whole host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientSockets {
    pub found: Vec<ClientSocket>,
    /// Network namespaces that could not be asked, and why the last of them.
    pub refused: Option<(usize, String)>,
}

impl ClientSockets {
    /// What was left out, in words; empty: nothing.
    #[must_use]
    pub(super) fn left_out(&self) -> String {
        let told = |(count, why): &(usize, String)| format!("{count} network namespaces cannot be entered: {why}");
        self.refused.as_ref().map(told).unwrap_or_default()
    }
}

/// A line of the kernel's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SocketLine {
    cookie: u64,
    inode: u32,
    listens: bool,
    local: SocketAddr,
    peer: SocketAddr,
}

const INET: u8 = 2;
const INET6: u8 = 10;
const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;
const TIMEVAL: libc::socklen_t = 16;
const _: () = assert!(size_of::<libc::timeval>() == TIMEVAL as usize);
/// Longest wait for the kernel's answer: it answers at once, and a start must not hang.
const PATIENCE_SECONDS: i64 = 5;

/// Client connections of the whole host. Network namespaces that cannot be entered are left out and told.
///
/// # Errors
/// The kernel does not list its sockets, in no network namespace.
pub(super) fn clients() -> io::Result<ClientSockets> {
    let holders = holders();
    let (mut clients, mut refused, mut asked) = (ClientSockets::default(), Vec::new(), false);
    let own = fs::metadata("/proc/self/ns/net").map(|meta| meta.ino()).ok();
    for (inode, namespace) in namespaces() {
        // To enter takes a capability, to ask does not.
        match lines(Some(namespace).filter(|_| own != Some(inode))) {
            Ok(lines) => {
                asked = true;
                clients.found.extend(clients_among(&lines, &holders));
            }
            Err(error) => refused.push(error),
        }
    }
    let count = refused.len();
    match refused.pop() {
        Some(error) if !asked => Err(error),
        last => {
            clients.refused = last.map(|error| (count, error.to_string()));
            Ok(clients)
        }
    }
}

/// One process's handle on each network namespace, with its inode.
fn namespaces() -> HashMap<u64, File> {
    let open = |pid: u32| {
        let file = File::open(format!("/proc/{pid}/ns/net")).ok()?;
        Some((file.metadata().ok()?.ino(), file))
    };
    procmaps::pids().into_iter().filter_map(open).collect()
}

/// Who holds each socket, by inode; of several the oldest process: the others have inherited it.
fn holders() -> HashMap<u32, u32> {
    let mut holders = HashMap::new();
    let own = std::process::id();
    for pid in procmaps::pids().into_iter().filter(|&pid| pid != own) {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for fd in fds.flatten() {
            if let Ok(target) = fs::read_link(fd.path())
                && let Some(inode) = target.to_str().and_then(socket_inode)
            {
                holders.entry(inode).and_modify(|known: &mut u32| *known = pid.min(*known)).or_insert(pid);
            }
        }
    }
    holders
}

fn socket_inode(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A connection to one of the host's own listeners, seen from that listener's end, is a server's.
fn clients_among(lines: &[SocketLine], holders: &HashMap<u32, u32>) -> Vec<ClientSocket> {
    let listeners: HashSet<(IpAddr, u16)> =
        lines.iter().filter(|line| line.listens).map(|line| (line.local.ip(), line.local.port())).collect();
    let any: HashSet<u16> = listeners.iter().filter(|(ip, _)| ip.is_unspecified()).map(|&(_, port)| port).collect();
    let serves = |local: &SocketAddr| any.contains(&local.port()) || listeners.contains(&(local.ip(), local.port()));
    lines
        .iter()
        .filter(|line| !line.listens && !serves(&line.local))
        .filter_map(|line| Some(ClientSocket { cookie: line.cookie, pid: *holders.get(&line.inode)?, peer: line.peer }))
        .collect()
}

/// The list of one network namespace (`None`: ours). A namespace is entered by a thread of its own, which ends with it.
fn lines(namespace: Option<File>) -> io::Result<Vec<SocketLine>> {
    let asker = thread::Builder::new().name("sock-diag".into()).spawn(move || {
        namespace.as_ref().map_or(Ok(()), enter)?;
        let mut all = list(INET)?;
        // A host without IPv6 has none to list.
        all.extend(list(INET6).unwrap_or_default());
        Ok(all)
    })?;
    asker.join().unwrap_or_else(|_| Err(io::Error::other("the thread that asked died")))
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: a descriptor that lives through the call; only this thread changes its namespace.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn list(family: u8) -> io::Result<Vec<SocketLine>> {
    let socket = ask(family)?;
    let (mut lines, mut buffer) = (Vec::new(), vec![0u8; 64 * 1024]);
    loop {
        // SAFETY: the buffer is as long as it is said to be.
        let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        if got == 0 || messages(buffer.get(..got).unwrap_or_default(), &mut lines)? {
            return Ok(lines);
        }
    }
}

/// Sends the question; the answers wait on the socket.
fn ask(family: u8) -> io::Result<OwnedFd> {
    // SAFETY: no preconditions.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG) };
    check(fd)?;
    // SAFETY: a descriptor that was just made and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let patience = libc::timeval { tv_sec: PATIENCE_SECONDS, tv_usec: 0 };
    // SAFETY: the option's value is as long as it is said to be.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const patience).cast(), TIMEVAL) })?;
    let question = question(family);
    // SAFETY: as above.
    let sent = unsafe { libc::send(fd, question.as_ptr().cast(), question.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn question(family: u8) -> Vec<u8> {
    const LENGTH: u32 = 16 + 56;
    let states = 1u32 << ESTABLISHED | 1 << CLOSE_WAIT | 1 << LISTEN;
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.resize(LENGTH as usize, 0);
    bytes
}

/// Takes the messages of one datagram; true at the end of the list.
fn messages(mut datagram: &[u8], lines: &mut Vec<SocketLine>) -> io::Result<bool> {
    while let Some(length) = number::<4>(datagram, 0).map(u32::from_ne_bytes) {
        let Some(message) = datagram.get(..length as usize).filter(|_| length >= 16) else { break };
        let kind = number::<2>(message, 4).map(u16::from_ne_bytes);
        match kind.map(i32::from) {
            Some(libc::NLMSG_DONE) => return Ok(true),
            Some(libc::NLMSG_ERROR) => {
                let code = number::<4>(message, 16).map_or(0, i32::from_ne_bytes);
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => lines.extend(message.get(16..).and_then(line)),
        }
        datagram = datagram.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// `inet_diag_msg`.
fn line(message: &[u8]) -> Option<SocketLine> {
    let (family, state) = (*message.first()?, *message.get(1)?);
    let port = |at| number::<2>(message, at).map(u16::from_be_bytes);
    let cookie = (number::<4>(message, 44)?, number::<4>(message, 48)?);
    Some(SocketLine {
        cookie: u64::from(u32::from_ne_bytes(cookie.0)) | u64::from(u32::from_ne_bytes(cookie.1)) << 32,
        inode: u32::from_ne_bytes(number(message, 68)?),
        listens: state == LISTEN,
        local: SocketAddr::new(ip(family, message, 8)?, port(4)?),
        peer: SocketAddr::new(ip(family, message, 24)?, port(6)?),
    })
}

fn ip(family: u8, message: &[u8], at: usize) -> Option<IpAddr> {
    match family {
        INET => Some(Ipv4Addr::from(number::<4>(message, at)?).into()),
        INET6 => Some(IpAddr::from(Ipv6Addr::from(number::<16>(message, at)?)).to_canonical()),
        _ => None,
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn line(local: &str, peer: &str, listens: bool, inode: u32) -> SocketLine {
        let addr = |text: &str| text.parse().unwrap();
        SocketLine { cookie: u64::from(inode), inode, listens, local: addr(local), peer: addr(peer) }
    }

    #[test]
    fn the_servers_end_is_no_client() {
        let lines = [
            line("0.0.0.0:80", "0.0.0.0:0", true, 1),
            line("[::1]:81", "[::]:0", true, 2),
            line("10.0.0.1:80", "10.0.0.2:999", false, 3),
            line("10.0.0.1:999", "10.0.0.2:80", false, 4),
            line("[::1]:81", "[::1]:5000", false, 5),
            line("[::1]:5000", "[::1]:81", false, 6),
            line("10.0.0.1:81", "10.0.0.2:443", false, 7),
        ];
        let holders = (1..=6).map(|inode| (inode, inode + 100)).collect();
        let found: Vec<_> = clients_among(&lines, &holders).iter().map(|f| (f.cookie, f.pid)).collect();
        assert_eq!(found, [(4, 104), (6, 106)], "nobody holds the seventh");
    }

    /// The kernel's own answer about a connection of ours: the cookie must be the one that the socket itself tells.
    #[test]
    fn an_open_connection_is_listed_with_its_cookie() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let lines = list(INET).unwrap();
        let own = lines.iter().find(|line| line.local == client.local_addr().unwrap()).expect("listed");
        let (mut cookie, mut size) = (0u64, 8u32);
        // SAFETY: the value is as long as it is said to be.
        let got = unsafe {
            libc::getsockopt(
                client.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut size,
            )
        };
        assert_eq!((got, own.cookie), (0, cookie));
        assert_eq!(own.peer, listener.local_addr().unwrap());
        assert!(lines.iter().any(|line| line.listens && line.local == listener.local_addr().unwrap()));
    }

    #[test]
    fn no_answer_makes_it_panic() {
        let mut state = 7u64;
        for length in 0..400 {
            let noise: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            let _ = messages(&noise, &mut Vec::new());
            let mut sized = noise;
            if let Some(head) = sized.get_mut(..4) {
                head.copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
            }
            let _ = messages(&sized, &mut Vec::new());
        }
        assert_eq!(socket_inode("socket:[12]"), Some(12));
        assert_eq!(socket_inode("pipe:[12]"), None);
    }
}
