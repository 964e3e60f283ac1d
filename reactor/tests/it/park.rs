//! What executors build on: a thread that parks is woken by every unpark, and drives while it waits.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use untether::{Async, Parker, Reactor, Timer};

use crate::support::{
    Bell, Driving, PATIENCE, asleep, block_on, block_on_in, ends, open, poll_with, tid, waker,
};

#[test]
fn an_unpark_that_came_before_ends_the_next_park_and_only_that() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let parker = Parker::new(&reactor);
        let unparker = parker.unparker();
        for _ in 0..3 {
            // Several count as one.
            assert!(!unparker.unpark(), "it was not waiting");
            unparker.unpark();
            Waker::from(unparker.clone()).wake();
            parker.park();
            assert!(!parker.park_timeout(Duration::from_millis(1)));
        }
    });
}

#[test]
fn an_unpark_ends_the_park_of_who_drives_and_of_who_sleeps_beside() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        for beside in [false, true] {
            let _driving = beside.then(|| {
                let driving = Driving::new(&reactor);
                asleep(driving.tid);
                driving
            });
            for _ in 0..20 {
                let parker = Parker::new(&reactor);
                let unparker = parker.unparker();
                let (tell, told) = mpsc::channel();
                let parked = thread::spawn(move || {
                    tell.send(tid()).unwrap();
                    parker.park();
                });
                asleep(told.recv().unwrap());
                unparker.unpark();
                parked.join().unwrap();
            }
        }
    });
}

#[test]
fn a_park_gives_up_when_its_time_is_over_and_not_before() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        for beside in [false, true] {
            let _driving = beside.then(|| Driving::new(&reactor));
            let parker = Parker::new(&reactor);
            for ms in [0, 1, 15] {
                let (start, time) = (Instant::now(), Duration::from_millis(ms));
                assert!(!parker.park_timeout(time));
                assert!(start.elapsed() >= time, "too early");
                assert!(!parker.park_deadline(start + time));
            }
            assert!(!parker.park_deadline(Instant::now() - Duration::from_secs(1)));
            parker.unparker().unpark();
            assert!(parker.park_timeout(Duration::MAX), "it was unparked");
        }
    });
}

/// An unpark that is over, or a stale wake, must not be the next one's.
#[test]
fn a_parker_knows_its_unparkers() {
    let reactor = Reactor::new().unwrap();
    let (one, other) = (Parker::new(&reactor), Parker::new(&reactor));
    let unparker = one.unparker();
    assert!(unparker.will_unpark(&one) && !unparker.will_unpark(&other));
    assert!(unparker.same_parker(&one.unparker()));
    assert!(!unparker.same_parker(&other.unparker()));
    assert_eq!(one.reactor(), &reactor);
    unparker.unpark();
    assert!(!other.park_timeout(Duration::ZERO));
    assert!(one.park_timeout(Duration::from_secs(3600)));
}

#[test]
fn no_unpark_of_a_storm_is_lost() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    ends(|| {
        let reactor = Reactor::new().unwrap();
        for beside in [false, true] {
            let _driving = beside.then(|| Driving::new(&reactor));
            let parker = Parker::new(&reactor);
            let news = Arc::new(AtomicUsize::new(0));
            let storm: Vec<_> = (0..THREADS)
                .map(|_| {
                    let (unparker, news) = (parker.unparker(), news.clone());
                    thread::spawn(move || {
                        for n in 0..EACH {
                            news.fetch_add(1, Ordering::Release);
                            unparker.unpark();
                            if n % 100 == 0 {
                                thread::yield_now();
                            }
                        }
                    })
                })
                .collect();
            while news.load(Ordering::Acquire) < THREADS * EACH {
                parker.park();
            }
            for thread in storm {
                thread.join().unwrap();
            }
        }
    });
}

/// As a pool's workers do: whoever has nothing to do parks, whoever works does not; there is always somebody to wake.
#[test]
fn a_token_passed_between_parkers_of_one_reactor_is_never_stuck() {
    const PARKERS: usize = 4;
    const ROUNDS: usize = 4_000;
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let parkers: Vec<_> = (0..PARKERS).map(|_| Parker::new(&reactor)).collect();
        let unparkers: Vec<_> = parkers.iter().map(Parker::unparker).collect();
        let token = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = parkers
            .into_iter()
            .enumerate()
            .map(|(number, parker)| {
                let (unparkers, token) = (unparkers.clone(), token.clone());
                thread::spawn(move || {
                    loop {
                        let round = token.load(Ordering::Acquire);
                        if round >= ROUNDS {
                            unparkers.iter().for_each(|unparker| {
                                unparker.unpark();
                            });
                            return;
                        }
                        if round % PARKERS == number {
                            token.store(round + 1, Ordering::Release);
                            unparkers[(number + 1) % PARKERS].unpark();
                        } else {
                            parker.park();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// The one that drives is busy with its task: another takes the seat, within a millisecond or two.
#[test]
fn a_driver_that_computes_is_replaced() {
    ends(|| {
        let mut latencies = Vec::new();
        for _ in 0..10 {
            let reactor = Reactor::new().unwrap();
            let (computes, mut call) = UnixStream::pair().unwrap();
            let (waits, mut event) = UnixStream::pair().unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let (computing, _) = Bell::new();
            // The first driver: waits for its call, then computes until it is told to stop.
            let (tell, told) = mpsc::channel();
            let busy = {
                let (reactor, stop, computing) = (reactor.clone(), stop.clone(), computing.clone());
                thread::spawn(move || {
                    tell.send(tid()).unwrap();
                    block_on_in(&reactor, async {
                        Async::new(computes).unwrap().readable().await.unwrap();
                        open(&computing);
                        let start = Instant::now();
                        while !stop.load(Ordering::Acquire) {
                            assert!(start.elapsed() < PATIENCE, "nobody took over");
                            std::hint::spin_loop();
                        }
                    });
                })
            };
            asleep(told.recv().unwrap());
            let driving = Driving::new(&reactor);
            asleep(driving.tid);
            let source = reactor.enter(|| Async::new(waits).unwrap());
            let answered = Arc::new(std::sync::Mutex::new(None));
            let (bell, _) = Bell::new();
            let waker = {
                let (answered, bell) = (answered.clone(), bell.clone());
                waker(move || {
                    *answered.lock().unwrap() = Some(Instant::now());
                    open(&bell);
                })
            };
            let mut readable = source.readable();
            assert!(
                reactor
                    .enter(|| poll_with(&mut readable, &waker))
                    .is_pending()
            );
            call.write_all(b"x").unwrap();
            computing.wait(1);
            let asked = Instant::now();
            event.write_all(b"x").unwrap();
            bell.wait(1);
            latencies.push(answered.lock().unwrap().unwrap() - asked);
            stop.store(true, Ordering::Release);
            busy.join().unwrap();
        }
        let average = latencies.iter().sum::<Duration>() / latencies.len() as u32;
        let worst = latencies.iter().max().unwrap();
        println!("figure: a driver that computes is replaced after {average:?}, {worst:?} at most");
        assert!(average < Duration::from_secs(1));
    });
}

/// A timer that is armed by a third thread is nearer than what the driver sleeps towards.
#[test]
fn a_nearer_timer_of_another_thread_ends_the_drivers_sleep() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let driving = Driving::new(&reactor);
        let (far_bell, far_waker) = Bell::new();
        let mut far = Timer::after(Duration::from_secs(3600));
        assert!(
            reactor
                .enter(|| poll_with(&mut far, &far_waker))
                .is_pending()
        );
        for _ in 0..20 {
            asleep(driving.tid);
            let (bell, waker) = Bell::new();
            let mut near = Timer::after(Duration::from_millis(2));
            assert!(reactor.enter(|| poll_with(&mut near, &waker)).is_pending());
            bell.wait(1);
        }
        assert_eq!(far_bell.rung(), 0);
        far.set_after(Duration::from_millis(2));
        far_bell.wait(1);
    });
}

/// It may not wait for its own seat.
#[test]
fn a_block_on_inside_a_poll_and_inside_a_wake_drives_too() {
    ends(|| {
        block_on(async {
            block_on(Timer::after(Duration::from_millis(1)));
            let reactor = Reactor::current();
            block_on_in(&reactor, Timer::after(Duration::from_millis(1)));
            Timer::after(Duration::from_millis(1)).await;
        });

        let reactor = Reactor::new().unwrap();
        let (bell, _) = Bell::new();
        let waker = {
            let (reactor, bell) = (reactor.clone(), bell.clone());
            waker(move || {
                block_on_in(&reactor, Timer::after(Duration::from_millis(1)));
                open(&bell);
            })
        };
        let mut timer = Timer::after(Duration::from_millis(1));
        assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
        while bell.rung() == 0 {
            reactor.turn(None).unwrap();
        }
    });
}

#[test]
fn one_thread_drives_at_a_time() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let driving = Driving::new(&reactor);
        asleep(driving.tid);
        let turn = reactor.turn(None).unwrap();
        assert!(!turn.seated, "it returns at once");
        drop(driving);
        assert!(reactor.turn(Some(Duration::ZERO)).unwrap().seated);
    });
}

/// Parkers come and go while others sleep: whoever is left keeps watch.
#[test]
fn the_watch_is_handed_on() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let mut sleepers: Vec<_> = (0..4)
            .map(|_| {
                let driving = Driving::new(&reactor);
                asleep(driving.tid);
                driving
            })
            .collect();
        let (source, mut peer) = UnixStream::pair().unwrap();
        let source = reactor.enter(|| Async::new(source).unwrap());
        // The first one sits; it goes, then the watcher, then the next one.
        while !sleepers.is_empty() {
            let (bell, waker) = Bell::new();
            let mut readable = source.readable();
            let pending = reactor
                .enter(|| poll_with(&mut readable, &waker))
                .is_pending();
            assert!(pending);
            peer.write_all(b"x").unwrap();
            bell.wait(1);
            std::io::Read::read_exact(&mut source.get_ref(), &mut [0]).unwrap();
            sleepers.remove(0);
        }
    });
}
