//! The thread that drives a reactor nobody owns, while somebody waits there.

use std::task::Wake;

use loom::thread;

use super::{Task, check};
use crate::gate::Gate;
use crate::sync::{Arc, AtomicU32, Mutex, Ordering::Relaxed, lock};
use crate::thread::Presence;

#[test]
fn no_waiter_is_left_without_a_driver() {
    check(|| {
        let reactor = Arc::new(Reactor::new());
        let other = thread::spawn({
            let reactor = reactor.clone();
            move || reactor.wait()
        });
        reactor.wait();
        other.join().expect("no panic");
    });
}

#[test]
fn a_driver_that_is_gone_is_missed_by_the_next_waiter() {
    check(|| {
        let reactor = Arc::new(Reactor::new());
        reactor.wait();
        reactor.wait();
    });
}

#[test]
fn one_driver_stays() {
    check(|| {
        let reactor = Arc::new(Reactor::new());
        let started = Arc::new(AtomicU32::new(0));
        let summon = {
            let (reactor, started) = (reactor.clone(), started.clone());
            move || {
                reactor.lodgers.fetch_add(1, Relaxed);
                let start = || {
                    started.fetch_add(1, Relaxed);
                    Ok(())
                };
                reactor.presence.summon(start).expect("there are threads");
            }
        };
        // One is there, and about to retire.
        reactor
            .presence
            .summon(|| Ok(()))
            .expect("no thread is needed");
        let waiters = [(); 2].map(|()| thread::spawn(summon.clone()));
        let stays = !reactor.presence.retire(|| reactor.is_inhabited());
        for waiter in waiters {
            waiter.join().expect("no panic");
        }
        assert_eq!(u32::from(stays) + started.load(Relaxed), 1);
    });
}

struct Reactor {
    presence: Presence,
    /// How many wait, for the driver's glance.
    lodgers: AtomicU32,
    waiting: Mutex<Vec<Arc<Task>>>,
}

impl Reactor {
    fn new() -> Reactor {
        Reactor {
            presence: Presence::new(),
            lodgers: AtomicU32::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Waits for a driver to come by.
    fn wait(self: &Arc<Reactor>) {
        let task = Task::new();
        {
            let mut waiting = lock(&self.waiting);
            waiting.push(task.clone());
            self.lodgers.fetch_add(1, Relaxed);
        }
        let start = || {
            let reactor = self.clone();
            thread::spawn(move || reactor.drive());
            Ok(())
        };
        self.presence.summon(start).expect("there are threads");
        task.block();
    }

    /// As the real one, but that it does not linger.
    fn drive(&self) {
        loop {
            if self.is_inhabited() {
                let mut waiting = lock(&self.waiting);
                let tasks = std::mem::take(&mut *waiting);
                self.lodgers.fetch_sub(tasks.len() as u32, Relaxed);
                drop(waiting);
                tasks.iter().for_each(Task::wake_by_ref);
            } else if self.presence.retire(|| self.is_inhabited()) {
                return;
            }
        }
    }

    fn is_inhabited(&self) -> bool {
        self.lodgers.load(Relaxed) != 0
    }
}

#[test]
fn the_gate_opens_when_all_have_come_back_or_there_is_news() {
    check(|| {
        let (gate, driver) = (Arc::new(Gate::new()), Task::new());
        gate.close(2);
        let back = [(); 2].map(|()| {
            let (gate, driver) = (gate.clone(), driver.clone());
            thread::spawn(move || {
                if gate.comes_back() {
                    driver.wake();
                }
            })
        });
        while gate.is_closed() {
            driver.block();
        }
        for thread in back {
            thread.join().expect("no panic");
        }

        gate.close(2);
        let (one, other) = (gate.clone(), driver.clone());
        let news = thread::spawn(move || {
            if one.open() {
                other.wake();
            }
        });
        if gate.comes_back() {
            driver.wake_by_ref();
        }
        while gate.is_closed() {
            driver.block();
        }
        news.join().expect("no panic");
    });
}
