//! Whether a thread waits or works: one that computes, or waits for its turn on a busy host, is not stuck in a file.

use std::fs::read_to_string;

/// Nanoseconds that a thread of ours has spent on a processor or in the queue for one. `None`: this
/// kernel does not tell. `/proc/PID/task/TID/schedstat`: time on a processor, time in the queue,
/// turns.
pub(super) fn busy_ns(tid: u64) -> Option<u64> {
    let text = read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
    let mut figures = text.split_ascii_whitespace().map(str::parse::<u64>);
    Some(figures.next()?.ok()?.saturating_add(figures.next()?.ok()?))
}

/// The number of the calling thread.
pub(super) fn own_tid() -> u64 {
    u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_and_sleep_does_not() {
        let Some(before) = busy_ns(own_tid()) else {
            println!("SKIPPED: this kernel has no schedstat");
            return;
        };
        let began = std::time::Instant::now();
        std::thread::sleep(std::time::Duration::from_millis(200));
        let slept = busy_ns(own_tid()).unwrap_or(0) - before;
        assert!(slept < 150_000_000, "{slept} of {:?}", began.elapsed());
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 100 {
            std::hint::spin_loop();
        }
        let worked = busy_ns(own_tid()).unwrap_or(0) - before - slept;
        assert!(worked > 80_000_000, "{worked}");
    }
}
