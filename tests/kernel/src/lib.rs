//! Helpers of the kernel tier: start the daemon, start clients, compare ledgers with the provider's log.
