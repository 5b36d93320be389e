//! The kernel side: probes in TLS libraries and a few socket hooks, one ring to user space.
//!
//! Rules that hold everywhere here, and why:
//! * a uprobe program's stack stays under 64 bytes and it uses no per-CPU scratch: on kernels from
//!   6.13 larger stacks become per-CPU memory while uprobe programs can be preempted, so two tasks
//!   would share them;
//! * ring memory is reserved by the length of the data, never worst-case;
//! * every byte that does not go up is counted, by cause, and positions show where it was.
#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]

mod calls;
mod conn;
mod connect;
mod crowd;
mod emit;
mod gnutls;
mod go;
mod lifecycle;
mod maps;
mod mbedtls;
mod openssl;
mod packet;
mod rustls;
mod segment;
mod sock;
mod sockops;
mod task;
mod tls;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic (checked: the object holds no call to this); the loop satisfies the signature.
    loop {}
}

// The helpers that read user memory are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
