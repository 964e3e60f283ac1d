//! Timers that are inserted while the driver goes to sleep: `deadlines`, the chair and the alarm of epoll together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed as OutsideTheModel};
use std::task::{Wake, Waker};

use loom::thread;

use super::stage::{Clock, Reactor};
use super::{Task, check};
use crate::chair::Chair;
use crate::clock::NEVER;
use crate::deadlines::{Deadlines, Ticket};
use crate::os::Until;
use crate::sync::{Arc, AtomicU32, AtomicU64 as Word, Ordering};

#[test]
fn a_nearer_deadline_reaches_the_driver_in_time() {
    check(|| {
        let reactor = Reactor::frozen();
        let [far, near] = [20, 10].map(|at| Due::at(at, &reactor));
        let task = thread::spawn({
            let (reactor, far, near) = (reactor.clone(), far.clone(), near.clone());
            move || {
                far.insert(&reactor);
                near.insert(&reactor);
                reactor.shared().poller.thaw();
            }
        });
        drive_until_fired(&reactor, &[&far, &near]);
        assert_eq!([near.fired_at(), far.fired_at()], [10, 20]);
        task.join().expect("no panic");
    });
}

#[test]
fn of_two_tasks_the_one_with_the_nearer_deadline_is_in_time() {
    check(|| {
        let reactor = Reactor::frozen();
        let dues = [20, 10].map(|at| Due::at(at, &reactor));
        let inserted = Arc::new(AtomicU32::new(0));
        let tasks = [0, 1].map(|which: usize| {
            let (reactor, due) = (reactor.clone(), dues[which].clone());
            let inserted = inserted.clone();
            thread::spawn(move || {
                due.insert(&reactor);
                if inserted.fetch_add(1, Ordering::AcqRel) == 1 {
                    reactor.shared().poller.thaw();
                }
            })
        });
        drive_until_fired(&reactor, &[&dues[0], &dues[1]]);
        assert_eq!([dues[1].fired_at(), dues[0].fired_at()], [10, 20]);
        for task in tasks {
            task.join().expect("no panic");
        }
    });
}

#[test]
fn a_deadline_that_comes_while_the_alarm_rings_is_in_time() {
    check(|| {
        let reactor = Reactor::frozen();
        let [first, second] = [10, 20].map(|at| Due::at(at, &reactor));
        first.insert(&reactor);
        let task = thread::spawn({
            let (reactor, second) = (reactor.clone(), second.clone());
            move || {
                reactor.shared().poller.pass_time();
                second.insert(&reactor);
                reactor.shared().poller.thaw();
            }
        });
        drive_until_fired(&reactor, &[&first, &second]);
        assert_eq!([first.fired_at(), second.fired_at()], [10, 20]);
        task.join().expect("no panic");
    });
}

#[test]
fn a_deadline_after_one_that_was_cancelled_is_in_time() {
    check(|| {
        let reactor = Reactor::frozen();
        let [first, second] = [10, 20].map(|at| Due::at(at, &reactor));
        let ticket = first.insert(&reactor);
        let task = thread::spawn({
            let (reactor, second) = (reactor.clone(), second.clone());
            move || {
                reactor.shared().deadlines.cancel(ticket);
                second.insert(&reactor);
                reactor.shared().poller.thaw();
            }
        });
        drive_until_fired(&reactor, &[&second]);
        assert_eq!(second.fired_at(), 20);
        task.join().expect("no panic");
    });
}

#[test]
fn a_manual_clock_that_moves_while_a_timer_is_inserted_fires_it() {
    check(|| {
        let stage = Arc::new(Manual::new());
        let task = Task::new();
        let mover = thread::spawn({
            let stage = stage.clone();
            move || {
                stage.now.fetch_add(10, Ordering::AcqRel);
                stage.nudge();
            }
        });
        let driver = thread::spawn({
            let stage = stage.clone();
            move || stage.drive()
        });
        if stage.now.load(Ordering::Acquire) < 10 {
            let inserted = stage.deadlines.insert(10, task.waker());
            // As `Reactor::announce`.
            if inserted.expect("they are not closed").earlier {
                stage.nudge();
            }
            task.block();
        }
        stage.stop();
        mover.join().expect("no panic");
        driver.join().expect("no panic");
    });
}

fn drive_until_fired(reactor: &Reactor, dues: &[&Arc<Due>]) {
    while dues.iter().any(|due| due.fired_at() == NEVER) {
        let turn = reactor.make_turn(Until::Forever);
        assert!(turn.expect("the model has no errors").seated);
    }
}

/// A timer that notes when it fires.
struct Due {
    deadline: u64,
    fired: AtomicU64,
    clock: Clock,
}

impl Due {
    fn at(deadline: u64, reactor: &Reactor) -> Arc<Due> {
        Arc::new(Due {
            deadline,
            fired: AtomicU64::new(NEVER),
            clock: reactor.clock(),
        })
    }

    /// As `Timer` does.
    fn insert(self: &Arc<Due>, reactor: &Reactor) -> Ticket {
        let deadlines = &reactor.shared().deadlines;
        let inserted = deadlines.insert(self.deadline, Waker::from(self.clone()));
        let inserted = inserted.expect("they are not closed");
        if inserted.earlier {
            reactor.announce(self.deadline);
        }
        inserted.ticket
    }

    fn fired_at(&self) -> u64 {
        self.fired.load(OutsideTheModel)
    }
}

impl Wake for Due {
    fn wake(self: Arc<Self>) {
        self.fired.store(self.clock.now_ns(), OutsideTheModel);
    }
}

/// A reactor whose clock is moved by hand.
struct Manual {
    now: Word,
    deadlines: Deadlines,
    chair: Chair,
    poller: Arc<Task>,
    stopped: AtomicU32,
}

impl Manual {
    fn new() -> Manual {
        Manual {
            now: Word::new(0),
            deadlines: Deadlines::new(1),
            chair: Chair::new(),
            poller: Task::new(),
            stopped: AtomicU32::new(0),
        }
    }

    fn nudge(&self) {
        if self.chair.nudge() {
            self.poller.wake_by_ref();
        }
    }

    fn drive(&self) {
        while self.stopped.load(Ordering::Acquire) == 0 {
            let seat = self.chair.sit().expect("nobody else sits");
            let mut wakers = Vec::new();
            if self.deadlines.len() != 0 {
                self.deadlines
                    .fire(self.now.load(Ordering::Acquire), &mut wakers);
            }
            if wakers.is_empty() {
                self.poller.block();
            }
            let _ = seat.leave();
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn stop(&self) {
        self.stopped.store(1, Ordering::Release);
        self.poller.wake_by_ref();
    }
}
