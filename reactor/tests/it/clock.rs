//! A reactor on a manual clock: time passes when the clock is moved, and never otherwise.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use untether::{Clock, Parker, Reactor, Timer, timeout};

use crate::support::{
    Bell, Dice, Driving, asleep, block_on_in, ends, look, open, poll_once, poll_with, waker,
};

const HOUR: Duration = Duration::from_secs(3600);

fn reactor() -> (Reactor, Clock) {
    let clock = Clock::manual();
    let reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    (reactor, clock)
}

#[test]
fn timers_fire_in_order_and_none_before_its_time() {
    let (reactor, clock) = reactor();
    let mut dice = Dice(0x5eed);
    let start = clock.now();
    let fired = Arc::new(Mutex::new(Vec::new()));
    // The clock moves in steps of 1 ms, deadlines lie between them and upon them.
    let mut timers: Vec<_> = (0..2000)
        .map(|number| {
            let after = Duration::from_micros(dice.below(500) as u64 * 200);
            (number, after)
        })
        .filter(|(_, after)| !after.is_zero())
        .map(|(number, after)| {
            let fired = fired.clone();
            let waker = waker(move || fired.lock().unwrap().push((after, number)));
            let mut timer = Timer::at(start + after);
            let poll = reactor.enter(|| poll_with(&mut timer, &waker));
            assert_eq!(poll, Poll::Pending);
            timer
        })
        .collect();

    let mut seen = 0;
    for step in 0..=100 {
        look(&reactor);
        let fired = fired.lock().unwrap();
        let now = clock.now() - start;
        assert_eq!(now, Duration::from_millis(step));
        for (after, _) in &fired[seen..] {
            assert!(*after <= now, "{after:?} fired at {now:?}");
            assert!(*after > now - Duration::from_millis(1).min(now), "late");
        }
        seen = fired.len();
        drop(fired);
        clock.advance(Duration::from_millis(1));
    }
    let fired = fired.lock().unwrap();
    assert_eq!(fired.len(), timers.len());
    // By deadline, and equal ones in the order of their insertion, which is that of their numbers.
    assert!(fired.is_sorted(), "out of order");
    for timer in &mut timers {
        // Once more if the budget says so.
        reactor.enter(|| assert!(poll_once(timer).is_ready() || poll_once(timer).is_ready()));
    }
}

#[test]
fn nothing_fires_one_nanosecond_early() {
    let (reactor, clock) = reactor();
    let (bell, waker) = Bell::new();
    let mut timer = reactor.enter(|| Timer::after(HOUR));
    assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
    clock.advance(HOUR - Duration::from_nanos(1));
    assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap().timers, 0);
    assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap().timers, 1);
    assert_eq!(bell.rung(), 1);
    assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_ready());
}

#[test]
fn a_driver_asleep_elsewhere_is_woken_when_the_clock_is_moved() {
    let (reactor, clock) = reactor();
    let driving = Driving::new(&reactor);
    for round in 1..=20 {
        let (bell, waker) = Bell::new();
        let mut timer = reactor.enter(|| Timer::after(HOUR));
        assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
        asleep(driving.tid);
        assert_eq!(bell.rung(), 0, "round {round}");
        clock.advance(HOUR);
        bell.wait(1);
    }
}

/// The wake-up that comes of moving the clock may be over before the timer is there.
#[test]
fn a_timer_set_into_the_past_wakes_though_the_clock_stands_still() {
    let (reactor, clock) = reactor();
    clock.advance(HOUR);
    let driving = Driving::new(&reactor);
    let (bell, waker) = Bell::new();
    let mut timer = reactor.enter(|| Timer::after(HOUR));
    assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
    asleep(driving.tid);
    timer.set_at(clock.now() - Duration::from_secs(1));
    bell.wait(1);
}

/// Threads arm timers while another moves the clock over them: none is overlooked by both.
#[test]
fn a_timer_armed_while_the_clock_moves_over_it_fires() {
    ends(|| {
        let (reactor, clock) = reactor();
        let _driving = Driving::new(&reactor);
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mover = {
            let (clock, stop) = (clock.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut moved = 0u64;
                while !stop.load(std::sync::atomic::Ordering::Acquire) {
                    clock.advance(Duration::from_micros(10));
                    moved += 1;
                    if moved % 64 == 0 {
                        // Stand still for a moment, so that what was overlooked shows.
                        std::thread::sleep(Duration::from_micros(100));
                    }
                }
            })
        };
        for _ in 0..3000 {
            let (bell, waker) = Bell::new();
            let mut timer = reactor.enter(|| Timer::after(Duration::from_micros(5)));
            if reactor.enter(|| poll_with(&mut timer, &waker)).is_pending() {
                bell.wait(1);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
        mover.join().unwrap();
    });
}

#[test]
fn a_timeout_goes_by_the_clock_of_its_reactor() {
    ends(|| {
        let (reactor, clock) = reactor();
        let (gate, _) = Bell::new();
        let owner = {
            let (reactor, gate) = (reactor.clone(), gate.clone());
            std::thread::spawn(move || {
                let limited = reactor.enter(|| timeout(HOUR, std::future::pending::<()>()));
                open(&gate);
                block_on_in(&reactor, limited)
            })
        };
        gate.wait(1);
        clock.advance(HOUR);
        assert!(owner.join().unwrap().is_err());
    });
}

#[test]
fn a_parker_gives_up_by_the_clock_of_its_reactor() {
    ends(|| {
        let (reactor, clock) = reactor();
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let parker = Parker::new(&reactor);
                let deadline = clock.now() + HOUR;
                std::thread::spawn(move || parker.park_deadline(deadline))
            })
            .collect();
        clock.advance(HOUR);
        for sleeper in sleepers {
            assert!(!sleeper.join().unwrap(), "it was unparked by nobody");
        }
    });
}

#[test]
#[should_panic(expected = "cannot be advanced")]
fn the_clock_of_the_machine_is_not_ours_to_move() {
    Clock::system().advance(HOUR);
}

#[test]
fn a_park_by_the_machines_time_ends_though_the_clock_stands_still() {
    let (reactor, clock) = reactor();
    let before = clock.now();
    let parker = Parker::new(&reactor);
    let _pending = reactor.enter(|| {
        let mut timer = Timer::after(HOUR);
        assert_eq!(poll_with(&mut timer, &waker(|| {})), Poll::Pending);
        timer
    });
    let begun = std::time::Instant::now();
    assert!(!parker.park_machine_timeout(Duration::from_millis(2)));
    assert!(begun.elapsed() >= Duration::from_millis(2));
    assert_eq!(clock.now(), before);
}

#[test]
fn a_park_by_the_machines_time_is_cut_short_by_an_unpark() {
    let (reactor, _clock) = reactor();
    let parker = Parker::new(&reactor);
    let unparker = parker.unparker();
    let other = std::thread::spawn(move || unparker.unpark());
    assert!(parker.park_machine_timeout(HOUR));
    other.join().unwrap();
}
