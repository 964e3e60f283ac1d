//! One module per promise. Threads are ordered by channels, never by sleeping.
#![cfg(not(loom))]

// On Windows, a thread's local may be allocated itself: its allocator would come back to it for ever.
#[cfg(unix)]
mod allocations;
mod block_on;
mod blocking;
mod draining;
mod examples;
mod fairness;
#[cfg(unix)]
mod fork;
#[cfg(feature = "futures-task")]
mod futures_task;
mod hostile;
mod io;
mod local;
mod metrics;
mod panics;
mod per_core;
mod pool;
mod priority;
mod scope;
mod shutdown;
mod sim;
mod storm;
mod ticks;
mod watched;
mod yielding;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Duration;

use untether_executors::yield_now;

/// How long something that must happen may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A future that is pending until its waker, which it sends away at every poll, has been called from outside `polls`
/// times in all.
fn pending(wakers: mpsc::Sender<Waker>, polls: usize) -> impl Future<Output = ()> + Send {
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        // A receiver that is gone has seen enough.
        let _ = wakers.send(cx.waker().clone());
        Poll::Pending
    })
}

/// Counts how often its clones have been dropped.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

/// One drop to count.
struct Counted(Drops);

impl Drops {
    fn one(&self) -> Counted {
        Counted(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, SeqCst);
    }
}

/// Runs one test of this program, which is ignored otherwise, in a process of its own. Returns what it printed on
/// standard error.
fn in_a_process(test: &str, environment: &[(&str, &str)]) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{printed}");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("1 passed"), "{report}");
    printed
}
