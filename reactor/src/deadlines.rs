//! Pending timers, in firing order.
//!
//! A task inserts in its own thread's shard, under that shard's lock, and cancels in the shard where it has inserted;
//! only the driver fires. A timer never fires early, and timers due at the same instant fire in the order in which
//! they were inserted (by threads of one shard; a reset counts as an insertion).
//!
//! A shard publishes a lower bound of its deadlines, so that the driver need not take a lock to learn that nothing is
//! due:
//!
//! | what happens under the lock               | published | doubtful | and then                                     |
//! |-------------------------------------------|-----------|----------|----------------------------------------------|
//! | inserted or reset to `deadline` <= it     | deadline  | no       | if less: `earlier`, the caller tells the driver |
//! | inserted or reset to a later one          | -         | -        |                                              |
//! | cancelled or reset, and it was published  | -         | **yes**  | nothing: most often, nobody ever asks        |
//! | `next` finds the least one doubtful       | exact     | no       | looks again: another may be the least now    |
//! | `fire` finds the published one due        | exact     | no       |                                              |
//!
//! The published value only ever rises when somebody looks, so a thread that cancels and inserts all day tells the
//! driver nothing. And no deadline is missed: a driver that sleeps towards a value has read it here, so it hears of
//! each insertion that is earlier than what was published since.
//!
//! Stores are Release and loads Acquire, which orders a value with the shard behind it, and no more. That a driver about
//! to sleep and an inserter about to wake it cannot both overlook the other is the caller's duty: after `insert` or
//! `reset` said `earlier`, and before reading `next`, both do a read-modify-write of one word (the `chair`'s). So
//! nothing here is SeqCst.
//!
//! No waker is called, cloned or dropped under a lock: its drop may drop a task, whose timer then locks the shard.
//!
//! Not here: what "now" is (`clock`), and waking the driver for a nearer deadline (`chair`).

mod wheel;

use std::cell::Cell;
use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

use self::wheel::{Key, Wheel};

/// A deadline that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

/// The pending timers of one reactor. Time is nanoseconds since whatever instant the callers agree upon.
pub(crate) struct Deadlines {
    /// A power of two, so that finding one's own is an `and`.
    shards: Box<[Shard]>,
}

/// Names one pending timer. Once that has fired, was cancelled or evicted, the ticket does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    shard: u16,
    key: Key,
}

/// What became of a timer that was inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inserted {
    pub(crate) ticket: Ticket,
    /// It is earlier than anything its shard has published since the driver last looked: the driver may have to hear.
    pub(crate) earlier: bool,
}

/// What became of a waker that was offered in place of another.
#[must_use = "a waker should be dropped where no lock is held"]
#[derive(Debug)]
pub(crate) enum Rewake {
    /// The timer's own waker wakes the same task.
    Kept,
    /// The timer has a clone of the new one; here is the old.
    Replaced(Waker),
    /// The timer is not pending.
    Gone,
}

/// What became of a timer that was given another deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reset {
    /// It is pending, with its waker; `earlier` as in `Inserted`.
    Moved { earlier: bool },
    /// It was not pending, and is not now.
    Gone,
}

impl Deadlines {
    /// Room for the timers of about as many threads, in the next power of two of shards, at most 32,768.
    pub(crate) fn new(shards: usize) -> Deadlines {
        let shards = shards.clamp(1, MOST_SHARDS).next_power_of_two();
        Deadlines {
            shards: (0..shards).map(|_| Shard::new()).collect(),
        }
    }

    /// Adds a timer. The error gives the waker back: the deadlines are closed.
    pub(crate) fn insert(&self, deadline: u64, waker: Waker) -> Result<Inserted, Waker> {
        self.insert_in(this_thread() & (self.shards.len() - 1), deadline, waker)
    }

    fn insert_in(&self, number: usize, deadline: u64, waker: Waker) -> Result<Inserted, Waker> {
        let shard = &self.shards[number];
        let mut guard = shard.lock();
        let Some(wheel) = guard.as_mut() else {
            return Err(waker);
        };
        let key = wheel.insert(deadline, waker);
        shard.count.store(wheel.len(), Ordering::Relaxed);
        let earlier = shard.notice.announce(deadline);
        // Fits, because there are at most `MOST_SHARDS`.
        Ok(Inserted {
            ticket: Ticket {
                shard: number as u16,
                key,
            },
            earlier,
        })
    }

    /// Takes a timer out. Its waker is for the caller to drop, holding no lock.
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<Waker> {
        let shard = self.shard(ticket);
        let mut guard = shard.lock();
        let wheel = guard.as_mut()?;
        let (deadline, waker) = wheel.cancel(ticket.key)?;
        shard.count.store(wheel.len(), Ordering::Relaxed);
        shard.notice.withdraw(deadline);
        Some(waker)
    }

    /// Makes a timer wake `waker`'s task. The timer may fire while that is cloned: then it is gone, having woken the
    /// old one.
    pub(crate) fn rewake(&self, ticket: Ticket, waker: &Waker) -> Rewake {
        let shard = self.shard(ticket);
        match shard
            .lock()
            .as_mut()
            .and_then(|wheel| wheel.waker(ticket.key))
        {
            // A comparison of two pointers: no code of the task's runs here.
            Some(current) if current.will_wake(waker) => return Rewake::Kept,
            Some(_) => {}
            None => return Rewake::Gone,
        }
        let mut waker = waker.clone();
        let swapped = {
            let mut guard = shard.lock();
            let current = guard.as_mut().and_then(|wheel| wheel.waker(ticket.key));
            current
                .map(|current| std::mem::swap(current, &mut waker))
                .is_some()
        };
        if swapped {
            Rewake::Replaced(waker)
        } else {
            Rewake::Gone
        }
    }

    /// Gives a pending timer another deadline; its place among equals is the last.
    pub(crate) fn reset(&self, ticket: Ticket, deadline: u64) -> Reset {
        let shard = self.shard(ticket);
        let mut guard = shard.lock();
        match guard
            .as_mut()
            .and_then(|wheel| wheel.reset(ticket.key, deadline))
        {
            Some(old) => {
                shard.notice.withdraw(old);
                Reset::Moved {
                    earlier: shard.notice.announce(deadline),
                }
            }
            None => Reset::Gone,
        }
    }

    /// The earliest deadline; exact, but for what other threads do meanwhile. (What they insert, they announce. What
    /// they cancel may still be the answer.) Takes a lock only if the earliest may have been cancelled.
    pub(crate) fn next(&self) -> Option<u64> {
        loop {
            // Each value is read once: read again, it might have risen above the others.
            let published = self
                .shards
                .iter()
                .map(|shard| (shard.notice.published.load(Ordering::Acquire), shard));
            let (deadline, shard) = published.min_by_key(|&(deadline, _)| deadline)?;
            if deadline == NEVER {
                return None;
            }
            if !shard.notice.doubtful.load(Ordering::Acquire) {
                return Some(deadline);
            }
            if let Some(wheel) = shard.lock().as_mut() {
                shard.notice.publish(wheel.next());
            }
        }
    }

    /// Takes out every timer with `deadline <= now` and appends its waker, in order of deadline; of those with equal
    /// deadlines, the ones of one shard in order of insertion. Returns how many. (A timer that is inserted in a shard
    /// which has had its turn waits for the next call.)
    pub(crate) fn fire(&self, now: u64, wakers: &mut Vec<Waker>) -> usize {
        let before = wakers.len();
        let mut visits = self
            .shards
            .iter()
            .filter(|shard| shard.notice.wants_visit(now));
        let Some(first) = visits.next() else { return 0 };
        let Some(second) = visits.next() else {
            first.fire(now, |_, waker| wakers.push(waker));
            return wakers.len() - before;
        };
        let mut fired = Vec::new();
        for shard in [first, second].into_iter().chain(visits) {
            shard.fire(now, |deadline, waker| fired.push((deadline, waker)));
        }
        // Stable, so that it merges what is in order already, and leaves equals alone.
        fired.sort_by_key(|&(deadline, _)| deadline);
        wakers.extend(fired.into_iter().map(|(_, waker)| waker));
        wakers.len() - before
    }

    /// Takes out every timer, and appends its waker, in no particular order.
    pub(crate) fn evict(&self, wakers: &mut Vec<Waker>) {
        for shard in &self.shards {
            if let Some(wheel) = shard.lock().as_mut() {
                wheel.drain(wakers);
                shard.notice.publish(None);
                shard.count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Evicts every timer, and refuses those that come later.
    pub(crate) fn close(&self, wakers: &mut Vec<Waker>) {
        for shard in &self.shards {
            let wheel = {
                let mut guard = shard.lock();
                shard.notice.publish(None);
                shard.count.store(0, Ordering::Relaxed);
                guard.take()
            };
            if let Some(mut wheel) = wheel {
                wheel.drain(wakers);
            }
        }
    }

    /// How many timers are pending, if no other thread is just changing that.
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.count.load(Ordering::Relaxed))
            .sum()
    }

    fn shard(&self, ticket: Ticket) -> &Shard {
        &self.shards[usize::from(ticket.shard)]
    }
}

/// Some threads' timers. Aligned to two cache lines, because the processor fetches them in pairs: unaligned, two threads
/// were 4 to 30 times slower.
#[repr(align(128))]
struct Shard {
    /// `None` if closed.
    wheel: Mutex<Option<Wheel>>,
    /// Written under the lock, like all of `notice`.
    count: AtomicUsize,
    notice: Notice,
}

/// What the driver reads in every turn. Apart from the lock, so that looking does not slow down who inserts.
#[repr(align(128))]
struct Notice {
    /// No deadline is earlier.
    published: AtomicU64,
    /// The timer whose deadline was published may have gone.
    doubtful: AtomicBool,
    /// When the wheel was last turned.
    visited: AtomicU64,
}

impl Shard {
    fn new() -> Shard {
        Shard {
            wheel: Mutex::new(Some(Wheel::new())),
            count: AtomicUsize::new(0),
            notice: Notice {
                published: AtomicU64::new(NEVER),
                doubtful: AtomicBool::new(false),
                visited: AtomicU64::new(0),
            },
        }
    }

    /// Nothing panics under the lock, and a wheel that has lost its panicking user is as good as before.
    fn lock(&self) -> MutexGuard<'_, Option<Wheel>> {
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fire(&self, now: u64, fired: impl FnMut(u64, Waker)) {
        if let Some(wheel) = self.lock().as_mut() {
            wheel.fire(now, fired);
            self.count.store(wheel.len(), Ordering::Relaxed);
            self.notice.publish(wheel.next());
            self.notice.visited.store(now, Ordering::Relaxed);
        }
    }
}

impl Notice {
    /// Whether something may be due, or the wheel has not been turned for long. (A cursor far behind would crowd all
    /// timers into a few coarse slots.)
    fn wants_visit(&self, now: u64) -> bool {
        self.published.load(Ordering::Acquire) <= now
            || now.saturating_sub(self.visited.load(Ordering::Relaxed)) >= VISIT_EVERY_NS
    }

    /// A timer has come. Whether the driver may have to hear of it. Only under the lock, like the rest.
    fn announce(&self, deadline: u64) -> bool {
        let published = self.published.load(Ordering::Relaxed);
        if deadline <= published {
            self.publish(Some(deadline));
        }
        deadline < published
    }

    /// A timer has gone.
    fn withdraw(&self, deadline: u64) {
        let published = deadline == self.published.load(Ordering::Relaxed);
        if published && !self.doubtful.load(Ordering::Relaxed) {
            self.doubtful.store(true, Ordering::Release);
        }
    }

    /// This is the earliest, for certain.
    fn publish(&self, next: Option<u64>) {
        self.doubtful.store(false, Ordering::Relaxed);
        self.published
            .store(next.unwrap_or(NEVER), Ordering::Release);
    }
}

/// A number that threads are given in turn, so that they spread over the shards.
fn this_thread() -> usize {
    // Not from `sync`: no model depends on it, and loom's cannot be a static.
    static ARRIVED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    const NONE: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }
    NUMBER
        .try_with(|number| {
            if number.get() == NONE {
                number.set(ARRIVED.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
        // A thread that is going away may still arm a timer: in any shard.
        .unwrap_or(0)
}

const MOST_SHARDS: usize = 1 << 15;
/// 8 ms, one slot of the second level.
const VISIT_EVERY_NS: u64 = 1 << 23;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::{Arc, Weak};
    use std::task::Wake;
    use std::thread;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_deadline_before_all_that_was_published_is_earlier() {
        let deadlines = Deadlines::new(1);
        assert!(insert(&deadlines, 50).earlier);
        assert!(!insert(&deadlines, 60).earlier);
        assert!(!insert(&deadlines, 50).earlier);
        let first = insert(&deadlines, 40);
        assert!(first.earlier);
        assert_eq!(
            deadlines.reset(first.ticket, 45),
            Reset::Moved { earlier: false }
        );
        assert_eq!(
            deadlines.reset(first.ticket, 30),
            Reset::Moved { earlier: true }
        );
        assert!(!insert(&deadlines, NEVER).earlier);
        assert_eq!((deadlines.next(), deadlines.len()), (Some(30), 5));
    }

    #[test]
    fn nobody_hears_of_a_thread_that_cancels_and_inserts_all_day() {
        let deadlines = Deadlines::new(1);
        let mut last = insert(&deadlines, 1_000);
        for deadline in 1_001..2_000 {
            assert!(deadlines.cancel(last.ticket).is_some());
            last = insert(&deadlines, deadline);
            assert!(!last.earlier);
        }
        assert_eq!(deadlines.next(), Some(1_999));
        deadlines.cancel(last.ticket);
        assert_eq!(deadlines.next(), None);
        assert!(
            insert(&deadlines, 5_000).earlier,
            "the driver has looked since"
        );
    }

    #[test]
    fn next_and_fire_look_at_every_shard_and_fire_sorts_across_them() {
        let deadlines = Deadlines::new(8);
        let order = Arc::new(Mutex::new(Vec::new()));
        for thread in 0..8 {
            // One after the other, but each with a thread's number of its own.
            thread::scope(|scope| {
                scope.spawn(|| {
                    for n in 0..100 {
                        let deadline = 10_000_000_000 + n * 70_000 + thread * 7;
                        let noted = Noted {
                            deadline,
                            order: order.clone(),
                        };
                        deadlines
                            .insert(deadline, Waker::from(Arc::new(noted)))
                            .expect("open");
                    }
                });
            });
        }
        assert!(
            deadlines
                .shards
                .iter()
                .filter(|shard| shard.count.load(Ordering::Relaxed) > 0)
                .count()
                > 1
        );
        assert_eq!(
            (deadlines.next(), deadlines.len()),
            (Some(10_000_000_000), 800)
        );

        let mut wakers = Vec::new();
        assert_eq!(deadlines.fire(9_999_999_999, &mut wakers), 0);
        assert_eq!(deadlines.fire(10_000_069_999, &mut wakers), 8);
        assert_eq!(deadlines.fire(10_000_070_007, &mut wakers), 2);
        assert_eq!(deadlines.next(), Some(10_000_070_014));
        assert_eq!(deadlines.fire(NEVER, &mut wakers), 790);
        assert_eq!((deadlines.next(), deadlines.len()), (None, 0));
        wakers.into_iter().for_each(Waker::wake);
        let order = order.lock().expect("no panic");
        assert!(order.len() == 800 && order.is_sorted());
    }

    #[test]
    fn a_ticket_is_worth_nothing_once_its_timer_is_gone() {
        let deadlines = Deadlines::new(2);
        let (fired, cancelled) = (insert(&deadlines, 1).ticket, insert(&deadlines, 2).ticket);
        deadlines.fire(1, &mut Vec::new());
        deadlines.cancel(cancelled);
        let evicted = insert(&deadlines, 3).ticket;
        deadlines.evict(&mut Vec::new());
        insert(&deadlines, 4);
        for ticket in [fired, cancelled, evicted] {
            assert!(deadlines.cancel(ticket).is_none());
            assert!(matches!(
                deadlines.rewake(ticket, Waker::noop()),
                Rewake::Gone
            ));
            assert_eq!(deadlines.reset(ticket, 1), Reset::Gone);
        }
        assert_eq!((deadlines.next(), deadlines.len()), (Some(4), 1));
    }

    #[test]
    fn eviction_takes_all_and_closing_refuses_what_comes_later() {
        let deadlines = Deadlines::new(4);
        let mut wakers = Vec::new();
        insert(&deadlines, 1);
        insert(&deadlines, 1 << 50);
        deadlines.evict(&mut wakers);
        assert_eq!(
            (wakers.len(), deadlines.next(), deadlines.len()),
            (2, None, 0)
        );
        let last = insert(&deadlines, 7).ticket;
        deadlines.close(&mut wakers);
        assert_eq!(
            (wakers.len(), deadlines.next(), deadlines.len()),
            (3, None, 0)
        );
        assert!(deadlines.insert(8, Waker::noop().clone()).is_err());
        assert!(deadlines.cancel(last).is_none());
        assert!(matches!(
            deadlines.rewake(last, Waker::noop()),
            Rewake::Gone
        ));
        assert_eq!(deadlines.reset(last, 1), Reset::Gone);
        assert_eq!(deadlines.fire(NEVER, &mut wakers), 0);
        deadlines.close(&mut wakers);
        deadlines.evict(&mut wakers);
        assert_eq!(
            (wakers.len(), deadlines.next(), deadlines.len()),
            (3, None, 0)
        );
    }

    #[test]
    fn a_waker_of_the_same_task_is_kept_and_any_other_replaced() {
        let deadlines = Deadlines::new(1);
        let [first, second] = [(); 2].map(|()| Waker::from(Arc::new(Stubborn::default())));
        let ticket = deadlines.insert(1, first.clone()).expect("open").ticket;
        assert!(matches!(deadlines.rewake(ticket, &first), Rewake::Kept));
        let Rewake::Replaced(old) = deadlines.rewake(ticket, &second) else {
            panic!("not replaced")
        };
        assert!(old.will_wake(&first));
        assert!(
            deadlines
                .cancel(ticket)
                .is_some_and(|waker| waker.will_wake(&second))
        );
    }

    #[test]
    fn a_waker_whose_drop_uses_the_deadlines_does_not_wait_for_itself() {
        let deadlines = Arc::new(Deadlines::new(1));
        let stubborn = || Waker::from(Arc::new(Stubborn(Arc::downgrade(&deadlines))));
        let insert = |deadline| deadlines.insert(deadline, stubborn()).expect("open").ticket;

        drop(deadlines.cancel(insert(5)));
        drop(deadlines.rewake(insert(5), &stubborn()));
        let mut wakers = Vec::new();
        assert!(deadlines.fire(5, &mut wakers) > 0);
        drop(deadlines.rewake(insert(6), Waker::noop()));
        deadlines.evict(&mut wakers);
        insert(7);
        deadlines.close(&mut wakers);
        wakers.clear();
        drop(deadlines.insert(8, stubborn()));
        assert_eq!(deadlines.len(), 0);
    }

    #[test]
    fn a_panic_elsewhere_leaves_the_deadlines_usable() {
        let deadlines = Deadlines::new(1);
        let poisoned = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _guard = deadlines.shards[0].lock();
                    std::panic::resume_unwind(Box::new("as if"));
                })
                .join()
        });
        assert!(poisoned.is_err());
        insert(&deadlines, 5);
        assert_eq!(deadlines.next(), Some(5));
    }

    proptest! {
        /// The driver sleeps towards what `next` says, or what it hears of; is anything due before that?
        #[test]
        fn who_listens_to_earlier_never_sleeps_too_long(
            steps in proptest::collection::vec((0..7u8, 0..4usize, any::<usize>(), 0..1000u64), 1..100),
        ) {
            let deadlines = Deadlines::new(4);
            let mut pending: Vec<(Ticket, u64)> = Vec::new();
            let (mut now, mut target) = (0, NEVER);
            for (step, shard, chosen, delay) in steps {
                let deadline = now + delay * 40_000;
                let chosen = chosen.checked_rem(pending.len()).unwrap_or(0);
                match (step, pending.get_mut(chosen)) {
                    (0, Some((ticket, _))) => {
                        prop_assert!(deadlines.cancel(*ticket).is_some());
                        pending.swap_remove(chosen);
                    }
                    (1, Some((ticket, old))) => {
                        let Reset::Moved { earlier } = deadlines.reset(*ticket, deadline) else { panic!("gone") };
                        *old = deadline;
                        target = if earlier { target.min(deadline) } else { target };
                    }
                    (2, _) => target = deadlines.next().unwrap_or(NEVER),
                    (3, _) => {
                        now = deadline;
                        let mut wakers = Vec::new();
                        deadlines.fire(now, &mut wakers);
                        let before = pending.len();
                        pending.retain(|&(_, deadline)| deadline > now);
                        prop_assert_eq!(wakers.len(), before - pending.len());
                        target = deadlines.next().unwrap_or(NEVER);
                    }
                    _ => {
                        let inserted = deadlines.insert_in(shard, deadline, Waker::noop().clone());
                        let Inserted { ticket, earlier } = inserted.expect("open");
                        pending.push((ticket, deadline));
                        target = if earlier { target.min(deadline) } else { target };
                    }
                }
                let least = pending.iter().map(|&(_, deadline)| deadline).min().unwrap_or(NEVER);
                prop_assert!(target <= least, "asleep until {}, but {} is due", target, least);
                prop_assert!(step != 2 || target == least, "woken at {} for {}", target, least);
                prop_assert_eq!(deadlines.len(), pending.len());
            }
        }
    }

    #[test]
    fn under_stress_every_timer_ends_once_and_none_is_early_or_forgotten() {
        const TASKS: usize = 3;
        let deadlines = Deadlines::new(2);
        let clock = Clock::default();
        let running = AtomicUsize::new(TASKS);
        let mut fired = 0;

        let (inserted, cancelled) = thread::scope(|scope| {
            let task = |seed| {
                let (inserted, cancelled) = insert_and_cancel_for_a_while(&deadlines, &clock, seed);
                running.fetch_sub(1, Ordering::Release);
                (inserted, cancelled)
            };
            let tasks: [_; TASKS] = [1, 2, 3].map(|seed| scope.spawn(move || task(seed)));

            let mut wakers = Vec::new();
            loop {
                let finished = running.load(Ordering::Acquire) == 0;
                let now = clock.tell();
                fired += deadlines.fire(now, &mut wakers);
                wakers.drain(..).for_each(Waker::wake);
                match deadlines.next() {
                    None if finished => break,
                    Some(next) if next <= now => {}
                    _ => thread::yield_now(),
                }
            }
            tasks
                .into_iter()
                .fold((0, 0), |(inserted, cancelled), task| {
                    let one = task.join().expect("no panic");
                    (inserted + one.0, cancelled + one.1)
                })
        });
        assert_eq!(inserted, cancelled + fired);
        assert_eq!(deadlines.len(), 0);
        assert_eq!(clock.0.early.load(Ordering::Relaxed), 0);
        assert_eq!(clock.0.woken.load(Ordering::Relaxed), fired);
    }

    /// Returns how many timers it inserted, and how many of them it cancelled in time.
    fn insert_and_cancel_for_a_while(
        deadlines: &Deadlines,
        clock: &Clock,
        seed: u64,
    ) -> (usize, usize) {
        let mut random = seed;
        let mut random = move || {
            random = random
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(seed);
            random >> 20
        };
        let (mut inserted, mut cancelled) = (0, 0);
        let mut timers: Vec<(Ticket, Arc<AtomicU64>)> = Vec::new();
        while clock.0.start.elapsed() < Duration::from_millis(600) {
            // Up to 1 ns, 2 ns .. 8 ms from now.
            let deadline = clock.now() + random() % (1 << (random() % 24));
            let chosen = random() as usize % 64;
            match (timers.get(chosen), random() % 4) {
                (None, _) => {
                    let due = Arc::new(AtomicU64::new(deadline));
                    let waker = clock.waker(&due);
                    timers.push((deadlines.insert(deadline, waker).expect("open").ticket, due));
                    inserted += 1;
                }
                (Some((ticket, due)), 0) => {
                    // While it is moved, it may fire at either.
                    due.fetch_min(deadline, Ordering::Relaxed);
                    if deadlines.reset(*ticket, deadline) != Reset::Gone {
                        due.store(deadline, Ordering::Relaxed);
                    }
                }
                (Some((ticket, due)), 1) => drop(deadlines.rewake(*ticket, &clock.waker(due))),
                _ => {
                    let (ticket, _) = timers.swap_remove(chosen);
                    cancelled += usize::from(deadlines.cancel(ticket).is_some());
                }
            }
        }
        (inserted, cancelled)
    }

    fn insert(deadlines: &Deadlines, deadline: u64) -> Inserted {
        deadlines
            .insert(deadline, Waker::noop().clone())
            .expect("open")
    }

    /// What the driver thinks it is, and who was woken by then.
    #[derive(Clone)]
    struct Clock(Arc<ClockState>);

    struct ClockState {
        start: Instant,
        told: AtomicU64,
        woken: AtomicUsize,
        early: AtomicUsize,
    }

    impl Default for Clock {
        fn default() -> Clock {
            Clock(Arc::new(ClockState {
                start: Instant::now(),
                told: AtomicU64::new(0),
                woken: AtomicUsize::new(0),
                early: AtomicUsize::new(0),
            }))
        }
    }

    impl Clock {
        fn now(&self) -> u64 {
            self.0.start.elapsed().as_nanos() as u64
        }

        fn tell(&self) -> u64 {
            let now = self.now();
            self.0.told.store(now, Ordering::Relaxed);
            now
        }

        fn waker(&self, due: &Arc<AtomicU64>) -> Waker {
            Waker::from(Arc::new(Timed {
                clock: self.clone(),
                due: due.clone(),
            }))
        }
    }

    struct Timed {
        clock: Clock,
        due: Arc<AtomicU64>,
    }

    impl Wake for Timed {
        fn wake(self: Arc<Self>) {
            let Clock(clock) = &self.clock;
            clock.woken.fetch_add(1, Ordering::Relaxed);
            if clock.told.load(Ordering::Relaxed) < self.due.load(Ordering::Relaxed) {
                clock.early.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says when it was due.
    struct Noted {
        deadline: u64,
        order: Arc<Mutex<Vec<u64>>>,
    }

    impl Wake for Noted {
        fn wake(self: Arc<Self>) {
            self.order.lock().expect("no panic").push(self.deadline);
        }
    }

    /// Cannot die without using the deadlines.
    #[derive(Default)]
    struct Stubborn(Weak<Deadlines>);

    impl Wake for Stubborn {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Stubborn {
        fn drop(&mut self) {
            let Some(deadlines) = self.0.upgrade() else {
                return;
            };
            if let Ok(inserted) = deadlines.insert(5, Waker::noop().clone()) {
                assert!(deadlines.cancel(inserted.ticket).is_some());
            }
        }
    }
}
