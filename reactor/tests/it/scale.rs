//! Ten thousand sources and a hundred thousand timers at once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use untether::{Async, Clock, Reactor, Timer};

use crate::support::{Dice, block_on_in, ends, in_child, is_poll, poll_with, waker};

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_sources_are_each_woken_once() {
    in_child("scale::ten_thousand_sources_are_each_woken_once", || {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                ..limit
            },
        )
        .unwrap();
        let most = limit.maximum.unwrap_or(u64::MAX).saturating_sub(100);
        // poll(2) looks at all of them each time.
        let wanted = if is_poll() { 1000 } else { 10_000 };
        let sources = most.min(wanted) as usize;
        println!("figure: {sources} sources");
        ends(move || {
            let reactor = Reactor::new().unwrap();
            let start = Instant::now();
            reactor.enter(|| {
                let woken = Arc::new(Mutex::new(vec![0; sources]));
                let all: Vec<_> = (0..sources)
                    .map(|_| {
                        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
                        Async::new(eventfd(0, flags).unwrap()).unwrap()
                    })
                    .collect();
                let mut waits: Vec<_> = all.iter().map(Async::readable).collect();
                for (number, wait) in waits.iter_mut().enumerate() {
                    let woken = woken.clone();
                    let waker = waker(move || woken.lock().unwrap()[number] += 1);
                    assert!(poll_with(wait, &waker).is_pending());
                }
                // In random order, half of them in the midst of turns.
                let mut order: Vec<_> = (0..sources).collect();
                let mut dice = Dice(0x5eed);
                for at in (1..sources).rev() {
                    order.swap(at, dice.below(at + 1));
                }
                for (done, number) in order.into_iter().enumerate() {
                    rustix::io::write(&all[number], &1u64.to_ne_bytes()).unwrap();
                    if done > sources / 2 && done % 50 == 0 {
                        reactor.turn(Some(Duration::ZERO)).unwrap();
                    }
                }
                while reactor.turn(Some(Duration::ZERO)).unwrap().events != 0 {}
                let woken = woken.lock().unwrap();
                let wrong = woken.iter().filter(|times| **times != 1).count();
                assert_eq!(wrong, 0, "not woken exactly once");
            });
            println!("figure: {sources} sources took {:?}", start.elapsed());
        });
    });
}

#[test]
fn a_hundred_thousand_timers_all_fire_in_order() {
    const TIMERS: usize = 100_000;
    ends(|| {
        let clock = Clock::manual();
        let reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
        let fired = Arc::new(Mutex::new(Vec::with_capacity(TIMERS)));
        let mut dice = Dice(0x5eed);
        let now = clock.now();
        let mut timers: Vec<_> = (0..TIMERS)
            .map(|number| {
                let after = Duration::from_micros(1 + dice.below(10_000_000) as u64);
                let fired = fired.clone();
                let waker = waker(move || fired.lock().unwrap().push((after, number)));
                let mut timer = Timer::at(now + after);
                assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
                timer
            })
            .collect();
        // One in ten is not wanted after all.
        let cancelled = TIMERS / 10;
        timers.truncate(TIMERS - cancelled);
        for _ in 0..101 {
            clock.advance(Duration::from_millis(100));
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        let fired = fired.lock().unwrap();
        assert_eq!(fired.len(), TIMERS - cancelled);
        assert!(fired.is_sorted(), "out of order");
    });
}

/// On the machine's clock: all due at about the same time, none early.
#[test]
fn a_hundred_thousand_timers_fire_on_the_machines_clock() {
    const TIMERS: usize = 100_000;
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let mut dice = Dice(7);
        let start = Instant::now();
        let mut timers: Vec<_> = (0..TIMERS)
            .map(|_| Timer::at(start + Duration::from_micros(dice.below(500_000) as u64)))
            .collect();
        block_on_in(
            &reactor,
            std::future::poll_fn(|cx| {
                timers.retain_mut(|timer| match std::pin::Pin::new(timer).poll(cx) {
                    std::task::Poll::Ready(due) => {
                        assert!(due <= Instant::now(), "early");
                        false
                    }
                    std::task::Poll::Pending => true,
                });
                if timers.is_empty() {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            }),
        );
        let late = start.elapsed().saturating_sub(Duration::from_millis(500));
        println!("figure: the last of {TIMERS} timers was {late:?} late");
        assert_eq!(reactor.next_deadline(), None);
    });
}
