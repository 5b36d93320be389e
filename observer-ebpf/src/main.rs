//! The kernel side: a first loadable object.
#![no_std]
#![no_main]

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

#[uprobe]
pub fn placeholder(_ctx: ProbeContext) -> u32 {
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
