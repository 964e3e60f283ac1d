//! A child process of `fork` blocks and drives with a reactor of its own, not with the one that its thread kept.

use std::process::Command;
use std::time::Duration;

use untether::Timer;
use untether_executors::block_on;

const INSIDE: &str = "UNTETHER_EXECUTORS_FORKS";

#[test]
fn block_on_works_in_a_child_of_a_thread_that_has_used_it() {
    if std::env::var_os(INSIDE).is_none() {
        // In a process of its own, whose other threads are few.
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "fork::block_on_works_in_a_child_of_a_thread_that_has_used_it",
                "--exact",
            ])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    let nap = || block_on(Timer::after(Duration::from_millis(1)));
    nap();
    // SAFETY: fork wants the child to keep to what is safe in a signal handler, if there are other threads: the only
    // one waits for this one, and holds none of our locks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        nap();
        // On a reactor that cannot be driven the timer would have gone to the global one, and its thread.
        #[cfg(target_os = "linux")]
        let alone = std::fs::read_dir("/proc/self/task").unwrap().count() == 1;
        #[cfg(not(target_os = "linux"))]
        let alone = true;
        // SAFETY: it wants nothing.
        unsafe { libc::_exit(i32::from(!alone)) };
    }
    nap();
    let mut status = 0;
    // SAFETY: `status` lives.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "{status:#x}"
    );
}
