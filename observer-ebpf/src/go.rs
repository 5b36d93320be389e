//! Go's own TLS: reads, writes, births and ends.
//!
//! Go's calling convention (ABIInternal, 1.17 and later): the receiver in rax, then a slice in rbx, rcx
//! and rdi; results in rax, rbx and rcx; the goroutine in r14. A goroutine goes from thread to thread,
//! and its stack may be moved while it is in a call, so a call is known by the goroutine and by its
//! distance from the stack's upper end. All places are ordinary probes: a return probe would put its
//! own address where Go looks for one of Go's.
//!
//! Where the stack is too small, a function begins anew once it is larger, and its entry is told
//! twice; the second replaces the first, and nothing goes up before the return.
//! assumes: Go 1.17 to 1.27 `runtime.g { stack stack { lo, hi } … }`; the loader has seen that the
//! function compares with the limit that lies behind the two.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use observer_common::record::{
    Call, ConnId, DEEPEST_STACK, DIR_READ, DIR_WRITE, GoroutineCall, KeptGoroutineCall, Kind, ON_STACK, counter,
};

use crate::lifecycle::announce;
use crate::maps::{BORN, CONNS, GO_CALLS, count};
use crate::tls::{begin, note_end, read_end, say_noted_end, send_call};
use crate::{conn, crowd, task};

/// Entry of `func (c *Conn) clientHandshake(ctx context.Context) error`, and of `serverHandshake`.
#[uprobe]
pub fn go_tls_handshake(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let handle = unsafe { (*ctx.regs).rax };
    let tgid = task::ids().0;
    if !task::is_self(tgid) {
        conn::bear(&ConnId { handle, tgid, reserved: 0 });
    }
    0
}

/// Entry of `func (c *Conn) Write(b []byte) (int, error)`.
#[uprobe]
pub fn go_tls_write(ctx: ProbeContext) -> u32 {
    enter(&ctx, DIR_WRITE)
}

/// Entry of `func (c *Conn) Read(b []byte) (int, error)`.
#[uprobe]
pub fn go_tls_read(ctx: ProbeContext) -> u32 {
    enter(&ctx, DIR_READ)
}

/// A return of `Write`.
#[uprobe]
pub fn go_tls_write_returns(ctx: ProbeContext) -> u32 {
    leave(&ctx, DIR_WRITE)
}

/// A return of `Read`.
#[uprobe]
pub fn go_tls_read_returns(ctx: ProbeContext) -> u32 {
    leave(&ctx, DIR_READ)
}

/// Entry of `func (c *Conn) Close() error`.
#[uprobe]
pub fn go_tls_close(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let handle = unsafe { (*ctx.regs).rax };
    let id = ConnId { handle, tgid: task::ids().0, reserved: 0 };
    announce(&id, Kind::Close);
    let _ = CONNS.remove(&id);
    let _ = BORN.remove(&id);
    0
}

/// Room on our stack for one thing at a time: a key, or what is read of the process.
type Room = [u64; 2];

/// Room that nothing was put into yet: zeros would be put there by a call to `memset`.
#[inline(always)]
fn uninitialised() -> MaybeUninit<Room> {
    MaybeUninit::uninit()
}

/// Puts the key of a call on the current goroutine's stack into `room`, and returns the stack's upper
/// end; `None`: this is no goroutine.
#[inline(always)]
fn key(ctx: &ProbeContext, dir: u8, room: &mut MaybeUninit<Room>) -> Option<u64> {
    // SAFETY: the context of a uprobe is a pt_regs.
    let (goroutine, sp) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rsp) };
    read_user(room.as_mut_ptr().cast::<u64>(), goroutine + 8);
    // SAFETY: the helper wrote it.
    let end = unsafe { room.as_ptr().cast::<u64>().read() };
    let depth = end.wrapping_sub(sp);
    if depth > DEEPEST_STACK {
        return None;
    }
    // The stack is 8-aligned.
    let depth = depth as u32 & 0xffff_fff8 | dir as u32;
    // SAFETY: of the same size and alignment.
    unsafe {
        let key = room.as_mut_ptr().cast::<GoroutineCall>();
        (&raw mut (*key).goroutine).write(goroutine);
        (&raw mut (*key).tgid).write(task::ids().0);
        (&raw mut (*key).depth).write(depth);
    }
    Some(end)
}

/// What is in `room` as a key.
#[inline(always)]
fn as_key(room: &MaybeUninit<Room>) -> &GoroutineCall {
    // SAFETY: of the same size and alignment; every bit pattern is valid.
    unsafe { &*room.as_ptr().cast() }
}

/// Reads a value of the process; zeros where it cannot be read.
#[inline(always)]
fn read_user<T>(to: *mut T, from: u64) {
    // SAFETY: `to` has room for the value; the helper checks the source, and fills with zeros.
    unsafe { bpf_probe_read_user(to.cast(), core::mem::size_of::<T>() as u32, from as *const core::ffi::c_void) };
}

#[inline(always)]
fn enter(ctx: &ProbeContext, dir: u8) -> u32 {
    if task::is_self(task::ids().0) {
        return 0;
    }
    let mut room = uninitialised();
    let Some(end) = key(ctx, dir, &mut room) else {
        count(counter::LOST_CALLS + counter::FAULT, 1);
        return 0;
    };
    let key = as_key(&room);
    let kept = match GO_CALLS.get_ptr_mut(key) {
        Some(kept) => Some(kept),
        // Inserted from read-only memory and filled in place: a value on the stack would break the stack rule.
        None if crowd::is_refused() => None,
        None => GO_CALLS.insert(key, &NO_CALL, 0).ok().and_then(|()| GO_CALLS.get_ptr_mut(key)),
    };
    let Some(kept) = kept else {
        count(counter::LOST_CALLS + crowd::cause(), 1);
        return 0;
    };
    // SAFETY: the context of a uprobe is a pt_regs; a map value under a key of this goroutine alone.
    unsafe {
        let (regs, call) = (&*ctx.regs, &raw mut (*kept).call);
        // One by one, or it becomes a call to `memmove`.
        (&raw mut (*kept).key.goroutine).write_volatile(key.goroutine);
        (&raw mut (*kept).key.tgid).write_volatile(key.tgid);
        (&raw mut (*kept).key.depth).write_volatile(key.depth);
        (&raw mut (*call).id).write(ConnId { handle: regs.rax, tgid: key.tgid, reserved: 0 });
        (&raw mut (*call).buf).write(settled(regs.rbx, regs.rsp, end));
        (&raw mut (*call).num).write(regs.rcx);
        (&raw mut (*call).entered_ns).write(bpf_ktime_get_boot_ns());
    }
    0
}

/// A buffer's address; where it is on the goroutine's stack, which may move before the return, its
/// distance from the end.
#[inline(always)]
fn settled(buf: u64, sp: u64, end: u64) -> u64 {
    if buf >= sp && buf < end { (end - buf) | ON_STACK } else { buf }
}

static NO_CALL: KeptGoroutineCall = KeptGoroutineCall {
    key: GoroutineCall { goroutine: 0, tgid: 0, depth: 0 },
    call: Call { id: ConnId { handle: 0, tgid: 0, reserved: 0 }, buf: 0, num: 0, len_ptr: 0, entered_ns: 0 },
};

#[inline(always)]
fn leave(ctx: &ProbeContext, dir: u8) -> u32 {
    let (kept, ended) = {
        let mut room = uninitialised();
        let ended = dir == DIR_READ && is_end(ctx, &mut room);
        // None: its entry was not seen, or it was told already.
        let Some(kept) = kept(ctx, dir, &mut room) else { return 0 };
        (kept, ended)
    };
    // SAFETY: the context of a uprobe is a pt_regs; map values, from where keys are passed to spare the stack.
    let ready = unsafe {
        let (call, moved) = (&raw const (*kept).call, (*ctx.regs).rax);
        // More than was asked for is no length.
        let ready = if moved > 0 && moved <= (*call).num { begin(call, moved, dir) } else { None };
        match ready {
            Some((_, state)) => {
                if (*state).ways[dir as usize].call_pos == 0 {
                    conn::note_birth(&(*call).id, state);
                }
                // A read may return bytes and the end.
                if ended {
                    note_end(state);
                }
            }
            None if ended => read_end(call, 0),
            None => {}
        }
        ready
    };
    // SAFETY: a map value until here.
    let _ = GO_CALLS.remove(unsafe { &(*kept).key });
    if let Some((handle, state)) = ready {
        send_call(handle, state, dir);
        if dir == DIR_READ {
            say_noted_end(handle, state);
        }
    }
    0
}

/// The call that returns; its buffer where it is now.
#[inline(always)]
fn kept(ctx: &ProbeContext, dir: u8, room: &mut MaybeUninit<Room>) -> Option<*mut KeptGoroutineCall> {
    let end = key(ctx, dir, room)?;
    let kept = GO_CALLS.get_ptr_mut(as_key(room))?;
    // SAFETY: a map value, which stays readable until it is removed.
    unsafe {
        let buf = (*kept).call.buf;
        if buf & ON_STACK != 0 {
            (&raw mut (*kept).call.buf).write(end - (buf & !ON_STACK));
        }
    }
    Some(kept)
}

/// Is the error that is returned `io.EOF`? By its text, since a stripped file does not say where that
/// error is; other ends (`unexpected EOF`) have another.
#[inline(always)]
fn is_end(ctx: &ProbeContext, room: &mut MaybeUninit<Room>) -> bool {
    // SAFETY: the context of a uprobe is a pt_regs.
    let (kind, value) = unsafe { ((*ctx.regs).rbx, (*ctx.regs).rcx) };
    if kind == 0 {
        return false;
    }
    // `errors.errorString` is one string: address and length.
    let words = room.as_mut_ptr().cast::<u64>();
    read_user(room.as_mut_ptr(), value);
    // SAFETY: the helper wrote both words; the text goes over the first.
    unsafe {
        let (address, length) = (words.read(), words.add(1).read());
        words.write_volatile(0);
        read_user(words.cast::<[u8; 3]>(), address);
        length == 3 && words.read_volatile() == EOF
    }
}

/// The three letters as a number.
const EOF: u64 = u64::from_le_bytes(*b"EOF\0\0\0\0\0");
