//! Threads that park on one reactor.

use std::task::Waker;

use loom::thread;

use super::check;
use super::stage::Reactor;
use crate::park::Parker;
use crate::sync::{Arc, AtomicU32, Ordering};

#[test]
fn an_unpark_ends_the_wait_whenever_it_comes() {
    check(|| an_unpark_ends_the_wait(&Reactor::new()));
}

#[test]
fn an_unpark_ends_the_wait_of_who_looks_before_blocking() {
    check(|| an_unpark_ends_the_wait(&Reactor::spinning()));
}

fn an_unpark_ends_the_wait(reactor: &Reactor) {
    let parker = Parker::new(reactor);
    let unparker = parker.unparker();
    let ready = Arc::new(AtomicU32::new(0));
    let other = thread::spawn({
        let ready = ready.clone();
        move || {
            ready.store(1, Ordering::Relaxed);
            unparker.unpark();
        }
    });
    parker.park();
    assert_eq!(ready.load(Ordering::Relaxed), 1, "an unpark publishes");
    other.join().expect("no panic");
}

#[test]
fn no_unpark_of_two_parkers_on_one_chair_is_lost() {
    check(|| no_unpark_of_two_parkers_is_lost(&Reactor::new()));
}

#[test]
fn no_unpark_of_two_parkers_that_look_before_blocking_is_lost() {
    check(|| no_unpark_of_two_parkers_is_lost(&Reactor::spinning()));
}

fn no_unpark_of_two_parkers_is_lost(reactor: &Reactor) {
    let (one, two) = (Parker::new(reactor), Parker::new(reactor));
    let unparkers = [one.unparker(), two.unparker()];
    let second = thread::spawn(move || two.park());
    let other = thread::spawn(move || {
        for unparker in unparkers {
            unparker.unpark();
        }
    });
    one.park();
    second.join().expect("no panic");
    other.join().expect("no panic");
}

#[test]
fn an_event_during_a_look_ends_the_wait() {
    check(|| {
        let reactor = Reactor::spinning();
        let parker = Parker::new(&reactor);
        let waker = Waker::from(parker.unparker());
        let world = thread::spawn(move || reactor.happens(waker));
        parker.park();
        world.join().expect("no panic");
    });
}

#[test]
fn a_wake_up_from_one_s_own_turn_leaves_the_poller_alone() {
    check(|| {
        let reactor = Reactor::new();
        let parker = Parker::new(&reactor);
        let waker = Waker::from(parker.unparker());
        let world = thread::spawn({
            let reactor = reactor.clone();
            move || reactor.happens(waker)
        });
        parker.park();
        world.join().expect("no panic");
        assert!(!reactor.shared().poller.is_woken());
    });
}

#[test]
fn a_sleeper_takes_the_seat_of_a_thread_that_computes() {
    check(|| {
        let reactor = Reactor::new();
        let (driver, sleeper) = (Parker::new(&reactor), Parker::new(&reactor));
        let (unparker, waker) = (driver.unparker(), Waker::from(sleeper.unparker()));
        // Once unparked, it never comes back.
        let driver = thread::spawn(move || driver.park());
        let world = thread::spawn(move || {
            unparker.unpark();
            reactor.happens(waker);
        });
        sleeper.park();
        driver.join().expect("no panic");
        world.join().expect("no panic");
    });
}

#[test]
fn the_watch_is_handed_on() {
    check(|| {
        let reactor = Reactor::new();
        let parkers = [(); 3].map(|()| Parker::new(&reactor));
        let [one, two, three] = [0, 1, 2].map(|i: usize| parkers[i].unparker());
        let waker = Waker::from(three);
        let [first, second, third] = parkers;
        let first = thread::spawn(move || {
            first.park();
            two.unpark();
        });
        let second = thread::spawn(move || {
            second.park();
            reactor.happens(waker);
        });
        one.unpark();
        third.park();
        first.join().expect("no panic");
        second.join().expect("no panic");
    });
}

#[test]
fn no_unpark_of_two_guests_is_lost() {
    check(|| {
        let reactor = Reactor::of_guests();
        let (one, two) = (Parker::new(&reactor), Parker::new(&reactor));
        let unparkers = [one.unparker(), two.unparker()];
        let second = thread::spawn(move || two.park());
        let other = thread::spawn(move || {
            for unparker in unparkers {
                unparker.unpark();
            }
        });
        one.park();
        second.join().expect("no panic");
        other.join().expect("no panic");
    });
}

#[test]
fn a_guest_takes_the_seat_that_another_has_left_to_a_third() {
    check(|| {
        let reactor = Reactor::of_guests();
        let (guest, other) = (Parker::new(&reactor), Parker::new(&reactor));
        let wakers = [Waker::from(other.unparker()), Waker::from(guest.unparker())];
        // Once woken, by the guest perhaps, it never comes back.
        let other = thread::spawn(move || other.park());
        let world = thread::spawn(move || {
            for waker in wakers {
                reactor.happens(waker);
            }
        });
        guest.park();
        other.join().expect("no panic");
        world.join().expect("no panic");
    });
}
