//! A private reactor ends: whoever waits there is told, and what can go elsewhere does.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};
use std::task::Context;
use std::time::Duration;

use untether::{Async, Interest, Parker, Reactor, Timer};

use crate::support::{Bell, block_on, block_on_in, ends, in_child, look, poll_once, poll_with};

/// A source pinned to `reactor`, and its peer.
fn pinned(reactor: &Reactor) -> (Async<UnixStream>, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    (Async::new_in(one, reactor).unwrap(), other)
}

#[test]
fn waits_of_pinned_sources_fail_at_the_end_and_after_it() {
    for dropped in [false, true] {
        let reactor = Reactor::new().unwrap();
        let (source, _peer) = pinned(&reactor);
        let (bell, waker) = Bell::new();
        let (mut listed, mut slot_cx) = (source.readable(), Context::from_waker(&waker));
        assert!(poll_with(&mut listed, &waker).is_pending());
        assert!(source.poll_readable(&mut slot_cx).is_pending());
        if dropped {
            drop(reactor);
        } else {
            reactor.shutdown();
        }
        assert_eq!(bell.rung(), 2, "both are woken");

        let error = block_on(&mut listed).unwrap_err();
        assert!(error.to_string().contains("shut down"), "{error}");
        assert!(matches!(
            source.poll_readable(&mut slot_cx),
            std::task::Poll::Ready(Err(_))
        ));
        assert!(matches!(
            source.poll_writable(&mut slot_cx),
            std::task::Poll::Ready(Err(_))
        ));
        block_on(source.readable()).unwrap_err();
        block_on(source.ready(Interest::WRITABLE)).unwrap_err();
        block_on(source.read_with(|_| Ok(()))).unwrap_err();
        source.try_read_with(|_| Ok(())).unwrap_err();
        drop(listed);
        // And it can be taken out for another life.
        let inner = source.into_inner().unwrap();
        Async::new(inner).unwrap();
    }
}

#[test]
fn an_ended_reactor_takes_nobody_in() {
    let reactor = Reactor::new().unwrap();
    reactor.shutdown();
    let (one, _other) = UnixStream::pair().unwrap();
    let refused = reactor.enter(|| Async::try_new(one)).unwrap_err();
    assert!(refused.error.to_string().contains("shut down"));
    Async::new_in(refused.io, &reactor).unwrap_err();
    reactor.turn(Some(Duration::ZERO)).unwrap_err();
    // A second end is as good as one.
    reactor.shutdown();
}

#[test]
fn a_source_that_is_not_pinned_goes_on_elsewhere() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = reactor.enter(|| Async::new(one).unwrap());
        let (bell, waker) = Bell::new();
        let mut readable = source.readable();
        assert!(
            reactor
                .enter(|| poll_with(&mut readable, &waker))
                .is_pending()
        );
        drop(reactor);
        assert_eq!(bell.rung(), 1);
        let other = Reactor::new().unwrap();
        assert!(
            other
                .enter(|| poll_with(&mut readable, &waker))
                .is_pending()
        );
        peer.write_all(b"x").unwrap();
        while look(&other) != 0 {}
        assert_eq!(bell.rung(), 2);
        assert!(other.enter(|| poll_with(&mut readable, &waker)).is_ready());
    });
}

#[test]
fn the_end_against_a_wait_leaves_nobody_hanging() {
    ends(|| {
        for round in 0..200 {
            let reactor = Reactor::new().unwrap();
            let (source, _peer) = pinned(&reactor);
            let start = Arc::new(Barrier::new(2));
            let ending = {
                let (reactor, start) = (reactor, start.clone());
                std::thread::spawn(move || {
                    start.wait();
                    if round % 2 == 0 {
                        reactor.shutdown();
                    }
                    drop(reactor);
                })
            };
            start.wait();
            if round % 4 < 2 {
                block_on(source.readable()).unwrap_err();
            } else {
                block_on(std::future::poll_fn(|cx| source.poll_readable(cx))).unwrap_err();
            }
            block_on(source.readable()).unwrap_err();
            ending.join().unwrap();
        }
    });
}

/// The waiter is in the reactor that ends, and must find its way to another.
#[test]
fn the_end_against_a_wait_that_can_move_delivers_every_byte() {
    ends(|| {
        for _ in 0..200 {
            let reactor = Reactor::new().unwrap();
            let (one, mut peer) = UnixStream::pair().unwrap();
            let source = reactor.enter(|| Async::new(one).unwrap());
            let mut readable = source.readable();
            assert!(reactor.enter(|| poll_once(&mut readable)).is_pending());
            let start = Arc::new(Barrier::new(2));
            let ending = {
                let start = start.clone();
                std::thread::spawn(move || {
                    start.wait();
                    drop(reactor);
                    peer.write_all(b"x").unwrap();
                    peer
                })
            };
            start.wait();
            futures_lite::future::block_on(readable).unwrap();
            ending.join().unwrap();
        }
    });
}

#[test]
fn a_timer_survives_the_end_of_its_reactor() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let mut timer = Timer::after(Duration::from_millis(20));
        let (bell, waker) = Bell::new();
        assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
        drop(reactor);
        assert_eq!(bell.rung(), 1, "it has to look for another reactor");
        futures_lite::future::block_on(timer);
    });
}

/// What it leaves behind has its place taken by the timer of another reactor, which must not suffer by it.
#[test]
fn a_timer_that_outlives_its_reactor_does_nothing_to_the_next_one() {
    let name = "shutdown::a_timer_that_outlives_its_reactor_does_nothing_to_the_next_one";
    in_child(name, || {
        const HOUR: Duration = Duration::from_secs(3600);
        let first = Reactor::new().unwrap();
        let mut old: Vec<_> = (0..3).map(|_| Timer::after(HOUR)).collect();
        for timer in &mut old {
            assert!(first.enter(|| poll_once(timer)).is_pending());
        }
        drop(first);

        let second = Reactor::new().unwrap();
        let (bell, waker) = Bell::new();
        let mut new = Timer::after(HOUR);
        assert!(second.enter(|| poll_with(&mut new, &waker)).is_pending());
        let next = second.next_deadline();
        assert!(next.is_some());

        drop(old.pop());
        old[0].set_after(Duration::from_millis(1));
        old[1].clear();
        assert_eq!(second.next_deadline(), next);
        new.set_after(Duration::from_millis(1));
        while second.turn(Some(HOUR)).unwrap().timers == 0 {}
        assert_eq!(bell.rung(), 1);
    });
}

/// Its thread has entered a reactor that has ended meanwhile: the global one takes the timer.
#[test]
fn a_timer_polled_inside_an_ended_reactor_still_fires() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.shutdown();
        let (bell, waker) = Bell::new();
        let mut timer = Timer::after(Duration::from_millis(20));
        assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
        bell.wait(1);
        assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_ready());
    });
}

#[test]
fn a_driver_asleep_in_it_hears_of_the_end() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let driver = {
            let reactor = reactor.clone();
            std::thread::spawn(move || {
                tell.send(crate::support::tid()).unwrap();
                while reactor.turn(None).is_ok() {}
            })
        };
        crate::support::asleep(told.recv().unwrap());
        reactor.shutdown();
        driver.join().unwrap();
    });
}

#[test]
fn a_parker_works_after_the_end() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.shutdown();
        let parker = Parker::new(&reactor);
        assert!(!parker.park_timeout(Duration::from_millis(5)));
        parker.unparker().unpark();
        parker.park();
        block_on_in(&reactor, futures_lite::future::yield_now());
    });
}

#[test]
fn shutting_the_global_reactor_down_only_turns_its_waiters_out() {
    ends(|| {
        let (source, mut peer) = UnixStream::pair().unwrap();
        let source = Async::new(source).unwrap();
        let waiting = std::thread::spawn(move || {
            futures_lite::future::block_on(source.readable()).unwrap();
        });
        for _ in 0..10 {
            Reactor::global().shutdown();
            std::thread::yield_now();
        }
        peer.write_all(b"x").unwrap();
        waiting.join().unwrap();
    });
}

#[test]
fn turning_out_wakes_all_and_ends_nothing() {
    let reactor = Reactor::new().unwrap();
    let (source, mut peer) = pinned(&reactor);
    reactor.enter(|| {
        let ((reads, read_waker), (ticks, tick_waker)) = (Bell::new(), Bell::new());
        let (mut readable, mut timer) =
            (source.readable(), Timer::after(Duration::from_secs(3600)));
        assert!(poll_with(&mut readable, &read_waker).is_pending());
        assert!(poll_with(&mut timer, &tick_waker).is_pending());
        reactor.evict();
        assert_eq!((reads.rung(), ticks.rung()), (1, 1));
        assert!(poll_with(&mut readable, &read_waker).is_pending());
        assert!(poll_with(&mut timer, &tick_waker).is_pending());
        peer.write_all(b"x").unwrap();
        while look(&reactor) != 0 {}
        assert_eq!((reads.rung(), ticks.rung()), (2, 1));
    });
}
