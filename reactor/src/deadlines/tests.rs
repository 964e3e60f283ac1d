//! What the shards promise together.

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

/// The timers of a reactor that has ended may be dropped, or set anew, long after the next one has their place.
#[test]
fn a_ticket_does_nothing_to_the_timers_of_a_later_reactor() {
    let deadlines = Deadlines::new(1);
    let tickets = |count: u64| -> Vec<Ticket> {
        let inserted = (0..count).map(|n| insert(&deadlines, 10 + n));
        inserted.map(|inserted| inserted.ticket).collect()
    };
    // Of various generations, and one of them over already.
    let mut old = tickets(3);
    for _ in 0..5 {
        deadlines.cancel(*old.last().unwrap());
        old.extend(tickets(1));
    }
    for _ in 0..3 {
        deadlines.close(&mut Vec::new());
        assert!(deadlines.insert(1, Waker::noop().clone()).is_err());
        deadlines.reopen();
        assert_eq!((deadlines.next(), deadlines.len()), (None, 0));

        let new = tickets(4);
        for &ticket in &old {
            assert!(!new.contains(&ticket));
            assert!(deadlines.cancel(ticket).is_none());
            assert_eq!(deadlines.reset(ticket, 1), Reset::Gone);
            let rewoken = deadlines.rewake(ticket, Waker::noop());
            assert!(matches!(rewoken, Rewake::Gone));
        }
        assert_eq!((deadlines.next(), deadlines.len()), (Some(10), 4));
        old.extend(new);
    }
}

#[test]
fn a_rough_look_lets_the_wheel_rest_only_if_nothing_may_be_due() {
    let deadlines = Deadlines::new(2);
    let mut wakers = Vec::new();
    deadlines.fire(VISIT_EVERY_NS, &mut wakers);
    let now = VISIT_EVERY_NS + 1;
    assert!(deadlines.rest(now, NEVER - 1));
    insert(&deadlines, now + 100);
    assert!(deadlines.rest(now, now + 99));
    assert!(!deadlines.rest(now, now + 100));
    assert!(!deadlines.rest(2 * VISIT_EVERY_NS, 2 * VISIT_EVERY_NS));
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
