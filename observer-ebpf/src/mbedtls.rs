//! Mbed TLS, where its calls do not look like OpenSSL's: a session is a place in the program's own memory, and the
//! peer's orderly end is an error of its own.

use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use observer_common::record::{Call, ConnId, DIR_READ, FLAG_BORN, Kind, counter, thread_key};

use crate::lifecycle::announce;
use crate::maps::count;
use crate::tls::{self, read_end};
use crate::{conn, task};

/// `MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY`: the peer said that it sends nothing more.
const PEER_CLOSE_NOTIFY: i32 = -0x7880;

/// Entry of `int mbedtls_ssl_setup(mbedtls_ssl_context *, const mbedtls_ssl_config *)` and of
/// `int mbedtls_ssl_session_reset(mbedtls_ssl_context *)`: from here on this address is a new connection, seen from its
/// first byte.
#[uprobe]
pub fn mbedtls_birth(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let (handle, sp) = unsafe { ((*ctx.regs).rdi, (*ctx.regs).rsp) };
    let (tgid, tid) = task::ids();
    if handle == 0 || task::is_self(tgid) {
        return 0;
    }
    let id = ConnId { handle, tgid, reserved: 0 };
    let birth = thread_key(tid, sp, 0);
    if conn::is_born(&id, birth) {
        count(counter::DOUBLED, 1);
        return 0;
    }
    announce(&id, Kind::Close);
    conn::create(&id, task::start_ns(), FLAG_BORN as u32, birth);
    announce(&id, Kind::Open);
    0
}

/// Return of `int mbedtls_ssl_read(…)`: 0 is the end of the stream below.
#[uretprobe]
pub fn mbedtls_read_done(ctx: RetProbeContext) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let (ret, sp) = unsafe { ((*ctx.regs).rax as i32, (*ctx.regs).rsp) };
    // At return the return address is popped: the entry's stack pointer was 8 lower.
    tls::leave(thread_key(task::ids().1, sp - 8, DIR_READ), ret, DIR_READ, end);
    0
}

#[inline(always)]
fn end(call: *const Call, ret: i32) {
    read_end(call, if ret == PEER_CLOSE_NOTIFY { 0 } else { ret });
}
