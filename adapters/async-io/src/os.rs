//! What exists on some systems only: untether's, under async-io's names.

/// What exists on Unix only.
#[cfg(unix)]
pub mod unix {
    pub use untether::os::unix::reactor_fd;
}

/// Waiting for signals and for the end of processes, with kqueue.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
))]
pub mod kqueue {
    pub use untether::os::kqueue::{Exit, Filter, Queueable, Ready, Signal};
}

/// Waiting for handles.
#[cfg(windows)]
pub mod windows {
    pub use untether::os::windows::{Ready, Waitable};
}
