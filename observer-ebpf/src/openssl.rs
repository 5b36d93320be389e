//! OpenSSL and its relatives: reads, writes, births and ends.
//!
//! Why these functions: they are where every program's plaintext passes, whatever moves the
//! ciphertext. Entry programs differ only in where the callee's "bytes moved" pointer lives; the
//! loader decodes the library and picks one.

use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use observer_common::record::{Call, ConnId, DIR_READ, DIR_WRITE, FLAG_BORN, Kind, counter, thread_key};

use crate::calls::{self, Arguments};
use crate::lifecycle::announce;
use crate::maps::{CONNS, count};
use crate::tls::{self, nothing, read_end};
use crate::{conn, task};

/// `int SSL_read(SSL *s, void *buf, int num)`: the result is the number of bytes.
#[uprobe]
pub fn ssl_read(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_result, DIR_READ)
}

/// `int f(SSL *s, void *buf, size_t num, size_t *readbytes)`: `SSL_read_ex`, `ssl_read_internal`.
#[uprobe]
pub fn ssl_read_ex(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_rcx, DIR_READ)
}

/// `int SSL_write(SSL *s, const void *buf, int num)`.
#[uprobe]
pub fn ssl_write(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_result, DIR_WRITE)
}

/// `int f(SSL *s, const void *buf, size_t num, size_t *written)`: `SSL_write_ex`,
/// `ssl_write_internal` up to 3.1.
#[uprobe]
pub fn ssl_write_ex(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_rcx, DIR_WRITE)
}

/// `int f(SSL *s, const void *buf, size_t num, uint64_t flags, size_t *written)`: `SSL_write_ex2`,
/// `ssl_write_internal` from 3.2.
#[uprobe]
pub fn ssl_write_ex2(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_r8, DIR_WRITE)
}

/// Return of `SSL_read` or of the function inside both reads: 0 is the end, less is "not now" or an
/// error.
#[uretprobe]
pub fn ssl_read_done(ctx: RetProbeContext) -> u32 {
    leave(&ctx, DIR_READ, read_end)
}

/// Return of `SSL_read_ex`, whose 0 does not tell an end from a read that would block.
#[uretprobe]
pub fn ssl_read_ex_done(ctx: RetProbeContext) -> u32 {
    leave(&ctx, DIR_READ, nothing)
}

/// Return of any of the writes.
#[uretprobe]
pub fn ssl_write_done(ctx: RetProbeContext) -> u32 {
    leave(&ctx, DIR_WRITE, nothing)
}

/// Return of `SSL *SSL_new(SSL_CTX *)`: from here on this address is a new connection, seen from
/// its first byte.
#[uretprobe]
pub fn ssl_new_done(ctx: RetProbeContext) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let (handle, sp) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rsp) };
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
    conn::create(&id, task::start_ns(), FLAG_BORN as u32, birth);
    announce(&id, Kind::Open);
    0
}

/// Entry of `int SSL_shutdown(SSL *)`.
#[uprobe]
pub fn ssl_shutdown(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let handle = unsafe { (*ctx.regs).rdi };
    announce(&ConnId { handle, tgid: task::ids().0, reserved: 0 }, Kind::Shutdown);
    0
}

/// Entry of `void SSL_free(SSL *)`: the state goes. Where only a reference was dropped, what
/// follows is a connection joined in the middle; no TLS client in use keeps a second reference.
#[uprobe]
pub fn ssl_free(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let handle = unsafe { (*ctx.regs).rdi };
    let id = ConnId { handle, tgid: task::ids().0, reserved: 0 };
    announce(&id, Kind::Close);
    let _ = CONNS.remove(&id);
    0
}

/// Nothing is looked up here: whether the connection is of interest is asked once, at the return.
#[inline(always)]
fn enter(ctx: &ProbeContext, len_ptr: fn(&ProbeContext) -> u64, dir: u8) -> u32 {
    let (tgid, tid) = task::ids();
    if task::is_self(tgid) {
        return 0;
    }
    // SAFETY: the context of a uprobe is a pt_regs.
    let regs = unsafe { &*ctx.regs };
    calls::keep(thread_key(tid, regs.rsp, dir), || Arguments {
        handle: regs.rdi,
        buf: regs.rsi,
        num: regs.rdx,
        len_ptr: len_ptr(ctx),
    });
    0
}

#[inline(always)]
fn in_result(_: &ProbeContext) -> u64 {
    0
}

#[inline(always)]
fn in_rcx(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe is a pt_regs.
    unsafe { (*ctx.regs).rcx }
}

#[inline(always)]
fn in_r8(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe is a pt_regs.
    unsafe { (*ctx.regs).r8 }
}

#[inline(always)]
fn leave(ctx: &RetProbeContext, dir: u8, empty: fn(*const Call, i32)) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let (ret, sp) = unsafe { ((*ctx.regs).rax as i32, (*ctx.regs).rsp) };
    // At return the return address is popped: the entry's stack pointer was 8 lower.
    tls::leave(thread_key(task::ids().1, sp - 8, dir), ret, dir, empty);
    0
}
