//! What time it is, roughly: a look that costs a third of an exact one.

/// Nanoseconds of the clock that `Instant` shows, as they were at the last tick of the kernel: some milliseconds ago, most
/// often. `None` if the system has no such clock.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(crate) fn coarse_ns() -> Option<u64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Some(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[inline]
pub(crate) fn coarse_ns() -> Option<u64> {
    None
}
