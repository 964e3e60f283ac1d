//! The models: every protocol that a wake-up depends on, run through all the interleavings that loom can think of.
//!
//! A task that waits blocks on a primitive of loom's until its waker is called, so a lost wake-up is a deadlock, which
//! loom reports. Run with `RUSTFLAGS="--cfg loom" cargo test -p untether --lib --release loom`; at most three
//! preemptions in an execution are tried, or `LOOM_MAX_PREEMPTIONS`.

mod chair;
mod deadlines;
mod house;
mod park;
mod source;
pub(crate) mod stage;
mod street;
mod thread;

use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::house::House;
use crate::source::{Direction, Place, Source, Waited, bits, ended};
use crate::sync::{Condvar, Mutex, lock};

const PREEMPTIONS: usize = 3;

/// Runs `model` in every order.
fn check(model: impl Fn() + Sync + Send + 'static) {
    check_with(PREEMPTIONS, model);
}

/// The same, with another bound: for models of many threads.
fn check_with(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

/// A task, and the thread that polls it: it blocks until it is woken, so a wake-up that is lost is a deadlock.
#[derive(Default)]
struct Task {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::default()
    }

    fn waker(self: &Arc<Task>) -> Waker {
        Waker::from(self.clone())
    }

    /// Waits for a wake-up, and takes it.
    fn block(&self) {
        let mut woken = lock(&self.woken);
        while !*woken {
            woken = self
                .changed
                .wait(woken)
                .expect("no model panics and goes on");
        }
        *woken = false;
    }

    /// Polls until it is ready, blocking in between.
    fn finish<T>(
        &self,
        mut place: Place<'_>,
        mut poll: impl FnMut(Place<'_>) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        loop {
            match poll(place.again())? {
                Some(output) => return Ok(output),
                None => self.block(),
            }
        }
    }

    /// Takes a wake-up, if there is one.
    fn was_woken(&self) -> bool {
        std::mem::take(&mut *lock(&self.woken))
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.woken) = true;
        self.changed.notify_one();
    }
}

/// One poll of an operation that reads up to two bytes, as `waiting` makes it. `take` is the system call: how many bytes
/// it got, 0 at the end; `None` if there is nothing. Returns `None` if it is pending.
fn attempt<H: House>(
    source: &Source,
    index: u32,
    mut place: Place<'_>,
    waker: &Waker,
    here: &H,
    take: impl Fn() -> Option<u32>,
) -> io::Result<Option<u32>> {
    loop {
        let seen = source.observe();
        if seen.is_retired() {
            return Err(ended());
        }
        if seen.has(bits::READ) == 0 {
            match source.wait(index, place.again(), waker, here)? {
                Waited::Pending => return Ok(None),
                Waited::Ready => continue,
            }
        }
        let Some(bytes) = take() else {
            source.forget(Direction::Read, seen);
            continue;
        };
        if bytes == 1 && seen.short_means_drained() {
            source.drained(Direction::Read, seen);
        }
        return Ok(Some(bytes));
    }
}

/// One poll of a wait for something that `place` wants.
fn ready<H: House>(
    source: &Source,
    index: u32,
    mut place: Place<'_>,
    waker: &Waker,
    here: &H,
) -> io::Result<Option<()>> {
    while source.observe().has(place.wants()) == 0 {
        if source.wait(index, place.again(), waker, here)? == Waited::Pending {
            return Ok(None);
        }
    }
    Ok(Some(()))
}
