//! The one seat of a reactor, and what those who come too late can rely on.

use std::task::Wake;

use loom::cell::UnsafeCell;
use loom::thread;

use super::stage::Reactor;
use super::{Task, check};
use crate::chair::Chair;
use crate::os::Until;
use crate::sync::{Arc, AtomicU32, Ordering::Relaxed};

#[test]
fn no_nudge_is_lost() {
    check(|| {
        let office = Arc::new(Office::new());
        let messengers = [0, 1].map(|which: usize| {
            let office = office.clone();
            thread::spawn(move || {
                office.news[which].store(1, Relaxed);
                if office.chair.nudge() {
                    office.poller.wake_by_ref();
                }
            })
        });
        office.sit_until(|| office.news.iter().all(|news| news.load(Relaxed) == 1));
        for messenger in messengers {
            messenger.join().expect("no panic");
        }
    });
}

#[test]
fn news_of_who_finds_nobody_seated_is_read_by_who_sits_next() {
    check(|| {
        let office = Arc::new(Office::new());
        let messenger = thread::spawn({
            let office = office.clone();
            move || {
                office.news[0].store(1, Relaxed);
                if office.chair.occupied() {
                    office.poller.wake_by_ref();
                }
            }
        });
        office.sit_until(|| office.news[0].load(Relaxed) == 1);
        messenger.join().expect("no panic");
    });
}

#[test]
fn one_at_a_time_sits_and_finds_what_the_last_one_left() {
    check(|| {
        let office = Arc::new(Office::new());
        let other = thread::spawn({
            let office = office.clone();
            move || office.count()
        });
        let mine = office.count();
        let others = other.join().expect("no panic");
        let _seat = office.chair.sit().expect("both have left");
        // SAFETY: this thread sits.
        let total = office.buffer.with(|count| unsafe { *count });
        assert_eq!(total, mine + others);
        assert!(total > 0);
    });
}

#[test]
fn the_end_of_a_reactor_reaches_all_who_make_turns() {
    check(|| {
        let reactor = Reactor::frozen();
        let drivers = [(); 2].map(|()| {
            let reactor = reactor.clone();
            thread::spawn(move || {
                while !reactor.shared().is_ended() {
                    let turn = reactor.make_turn(Until::Forever).expect("no errors here");
                    if !turn.seated {
                        thread::yield_now();
                    }
                }
            })
        });
        reactor.shutdown();
        for driver in drivers {
            driver.join().expect("no panic");
        }
    });
}

#[test]
fn whoever_relaxes_is_called_by_who_leaves() {
    check(|| {
        let office = Arc::new(Office::new());
        let drivers = [(); 2].map(|()| {
            let office = office.clone();
            thread::spawn(move || office.count())
        });
        loop {
            if let Some(seat) = office.chair.sit() {
                let _ = seat.leave();
                break;
            }
            if office.chair.relax() {
                office.watcher.block();
            }
        }
        for driver in drivers {
            driver.join().expect("no panic");
        }
    });
}

struct Office {
    chair: Chair,
    /// Published by the chair alone.
    news: [AtomicU32; 2],
    /// What a wake-up of it is told stays until a wait takes it.
    poller: Arc<Task>,
    watcher: Arc<Task>,
    /// For whoever sits.
    buffer: UnsafeCell<u32>,
}

// SAFETY: `buffer` is touched by whoever sits only. That this suffices is what the models are there to show.
unsafe impl Sync for Office {}

impl Office {
    fn new() -> Office {
        Office {
            chair: Chair::new(),
            news: [AtomicU32::new(0), AtomicU32::new(0)],
            poller: Task::new(),
            watcher: Task::new(),
            buffer: UnsafeCell::new(0),
        }
    }

    /// Makes turns until `done`, which is asked after sitting down, as a turn looks for what is due.
    fn sit_until(&self, done: impl Fn() -> bool) {
        loop {
            let seat = self.chair.sit().expect("nobody else sits");
            if done() {
                return;
            }
            self.poller.block();
            let _ = seat.leave();
        }
    }

    /// Makes one turn that counts itself, if the chair is free.
    fn count(&self) -> u32 {
        let Some(seat) = self.chair.sit() else {
            return 0;
        };
        // SAFETY: this thread sits.
        self.buffer.with_mut(|count| unsafe { *count += 1 });
        if seat.leave() {
            self.watcher.wake_by_ref();
        }
        1
    }
}
