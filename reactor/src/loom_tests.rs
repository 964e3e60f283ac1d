//! The models: every protocol that a wake-up depends on, run through all the interleavings that loom can think of.
//!
//! A task that waits blocks on a primitive of loom's until its waker is called, so a lost wake-up is a deadlock, which
//! loom reports. Run with `ci/loom.sh`, or `RUSTFLAGS="--cfg loom" cargo test -p untether --lib --release loom`; at most
//! three preemptions in an execution are tried, or `LOOM_MAX_PREEMPTIONS`. Loom sees its own types only: where an order
//! of std's reference counts matters, a counter of loom's beside them makes it try each (`street`).
//!
//! A model is worth what it catches. Each of these mistakes, made on purpose, failed at least the models named
//! (by hand, 2026-11-24):
//!
//! | mistake                                                          | caught by                                    |
//! |------------------------------------------------------------------|----------------------------------------------|
//! | `wait` looks at the word before it leaves the waker              | most of `source`                             |
//! | `forget` does not compare the count; `deliver` does not raise it | `an_event_during_an_attempt_..`, `each_of_two_events_..` |
//! | `drained` clears CLOSED as well                                  | `the_end_that_comes_with_the_last_data_..`   |
//! | `deliver` checks no generation at the word, or none under the lock; `retire` keeps it | `a_late_event_..`       |
//! | `deliver` wakes for an event whose bits are gone                  | `an_event_that_an_attempt_has_seen_..`       |
//! | `deliver` passes over the list                                   | `a_slot_and_an_entry_..`, `dropping_one_entry_..` |
//! | a displaced waker is dropped                                     | `a_displaced_waker_is_woken`                 |
//! | `unlist` clears WAITING whoever is left                          | `dropping_one_entry_keeps_the_other`         |
//! | `retire` wakes nobody, or does not set RETIRED                   | `whoever_waits_for_a_source_that_ends_..`    |
//! | one-shots: no re-arming; a failed one wakes nobody               | `a_one_shot_that_cannot_be_armed_again_..`   |
//! | one-shots: delivery does not note that nothing is armed          | `a_one_shot_is_armed_again_for_every_wait`   |
//! | one-shots: armed for the newcomer only, or for who was there     | `a_one_shot_stays_armed_..`, `.._for_the_newcomer_too` |
//! | `settle` always moves                                            | `a_writer_elsewhere_..`, `.._pinned_ends_..` |
//! | a move does not leave the old house                              | `a_reader_that_moves_house_leaves_nothing_behind` |
//! | a short read is doubted only after the move                      | `a_short_read_proves_nothing_..`             |
//! | a neighbour's handle is dropped under the lock, in `wait` or `retire` | `no_waker_is_called_under_a_source_s_lock_..` |
//! | `evict` wakes nobody; leaves a pinned source in use              | `a_source_that_is_pinned_ends_..`            |
//! | `evict` leaves the source its lodging                            | `a_reactor_that_gets_the_name_..`            |
//! | a house that has ended still admits                              | `a_wait_in_a_reactor_that_is_being_shut_down_..` |
//! | `nudge` is a load and a store, or Relaxed; `sit` keeps NUDGED    | `no_nudge_is_lost`                           |
//! | `sit` is Relaxed; `occupied` is a load                           | `news_of_who_finds_nobody_seated_..`         |
//! | `leave` is Relaxed                                               | `one_at_a_time_sits_..`                      |
//! | `relax` on an empty chair; `leave` forgets RELAXED               | `whoever_relaxes_is_called_by_who_leaves`    |
//! | a driver sees that its reactor has ended only before it sits     | `the_end_of_a_reactor_reaches_..`            |
//! | SEATED is said before sitting down                               | `no_unpark_of_two_parkers_..`, `a_sleeper_..` |
//! | SEATED is taken back after the wakes only                        | `a_wake_up_from_one_s_own_turn_..`           |
//! | a turn does not call the watcher; one sleeps without `relax`     | `a_sleeper_..`, `the_watch_is_handed_on`     |
//! | ASLEEP after `keeps_watch`; the watch is handed on without a call | `the_watch_is_handed_on`                    |
//! | `signal` without the mutex                                       | `no_unpark_of_two_parkers_..`                |
//! | `notify` is Relaxed; `end` forgets NOTIFIED                      | `an_unpark_ends_the_wait_whenever_it_comes`  |
//! | no fence in `summon`, or in `retire`, which does not look again, or does not lock | `no_waiter_..`, `a_driver_that_is_gone_..` |
//! | `summon` does not look again under the lock                      | `one_driver_stays`                           |
//! | the gate counts with a load and a store                          | `the_gate_opens_..`                          |
//! | `insert` does not publish, or not say `earlier`                  | all, or two, of `deadlines`                  |
//! | the driver reads the deadlines before it sits                    | `a_nearer_deadline_..`, `.._while_the_alarm_rings_..` |
//! | the alarm: armed before it is set; no second look; never reset   | `a_nearer_deadline_..`, `of_two_tasks_..`    |
//! | a timer inserted under a manual clock does not nudge             | `a_manual_clock_that_moves_..`               |
//!
//! Two pass, being no more than waste: a move that keeps the generation (an event of the old house is a spurious one of
//! the new), and an unpark that does not signal a CALLED thread (whoever has called it does).
//!
//! Not modelled: time-outs as such (a timed sleep ends at once, or never), pages, a poller other than epoll's kind
//! behind the alarm, the end of a timer's reactor, and panics.

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
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
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
                Waited::Pending | Waited::Still => return Ok(None),
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
        if source.wait(index, place.again(), waker, here)? != Waited::Ready {
            return Ok(None);
        }
    }
    Ok(Some(()))
}
