//! The reactor of everybody who has none: its thread, and its owner if it has one.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future;
use untether::{Async, Parker, Policy, Reactor, Timer};

use crate::support::{Bell, Gate, ends, in_child, is_poll, open, poll_once, poll_with, until};

/// Whether a thread of ours drives `reactor`, as it says itself.
fn has_thread(reactor: &Reactor) -> bool {
    let said = format!("{reactor:?}");
    said.contains("driver: a thread of its own") && !said.contains("once somebody waits")
}

#[test]
fn its_thread_starts_retires_and_starts_again() {
    in_child("global::its_thread_starts_retires_and_starts_again", || {
        let global = Reactor::global();
        for _ in 0..2 {
            assert!(!has_thread(&global), "nobody waits");
            let (source, mut peer) = UnixStream::pair().unwrap();
            let source = Async::new(source).unwrap();
            assert!(!has_thread(&global), "a source that nobody waits for");
            let (gate, _) = Bell::new();
            let waiting = {
                let gate = gate.clone();
                std::thread::spawn(move || {
                    let mut readable = source.readable();
                    assert!(poll_once(&mut readable).is_pending());
                    open(&gate);
                    future::block_on(readable).unwrap();
                })
            };
            gate.wait(1);
            assert!(has_thread(&global));
            peer.write_all(b"x").unwrap();
            waiting.join().unwrap();
            until("its retirement", || !has_thread(&global));
        }
    });
}

#[test]
fn its_thread_drives_timers_as_well() {
    in_child("global::its_thread_drives_timers_as_well", || {
        for _ in 0..2 {
            let start = Instant::now();
            future::block_on(Timer::after(Duration::from_millis(20)));
            assert!(start.elapsed() >= Duration::from_millis(20));
            until("its retirement", || !has_thread(&Reactor::global()));
        }
    });
}

/// Waits begin while the thread is about to go: nobody is left without a driver.
#[test]
fn a_wait_that_begins_while_the_thread_retires_is_answered() {
    in_child(
        "global::a_wait_that_begins_while_the_thread_retires_is_answered",
        || {
            for round in 0..4u64 {
                future::block_on(Timer::after(Duration::from_millis(1)));
                // About when the thread has lingered long enough.
                let linger = Duration::from_millis(1001) - Duration::from_micros(round * 300);
                std::thread::sleep(linger);
                for _ in 0..20 {
                    future::block_on(Timer::after(Duration::from_micros(50)));
                }
            }
        },
    );
}

#[test]
fn a_host_loop_drives_it_with_turns() {
    in_child("global::a_host_loop_drives_it_with_turns", || {
        let global = Reactor::builder()
            .policy(Policy::Never)
            .build_global()
            .unwrap();
        assert_eq!(Reactor::global(), global);
        assert_eq!(Reactor::current(), global);
        let done = Arc::new(AtomicBool::new(false));
        let (one, mut peer) = UnixStream::pair().unwrap();
        let foreign = {
            let done = done.clone();
            std::thread::spawn(move || {
                future::block_on(async {
                    let mut one = Async::new(one).unwrap();
                    Timer::after(Duration::from_millis(5)).await;
                    futures_lite::AsyncReadExt::read_exact(&mut one, &mut [0])
                        .await
                        .unwrap();
                });
                done.store(true, Ordering::Release);
            })
        };
        peer.write_all(b"x").unwrap();
        let start = Instant::now();
        while !done.load(Ordering::Acquire) {
            assert!(start.elapsed() < crate::support::PATIENCE);
            assert!(!has_thread(&global), "the host drives");
            global.turn(Some(Duration::from_millis(1))).unwrap();
        }
        foreign.join().unwrap();
    });
}

/// poll(2) of the host's own: the descriptor, the next deadline, and a turn when either says so.
#[test]
fn a_host_loop_learns_from_the_descriptor_when_a_turn_is_due() {
    if is_poll() {
        println!("skipped: the poller has no descriptor");
        return;
    }
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let (source, mut peer) = UnixStream::pair().unwrap();
        let source = reactor.enter(|| Async::new(source).unwrap());
        let ready = || {
            let fd = reactor.as_fd().unwrap();
            let mut asked = [rustix::event::PollFd::from_borrowed_fd(
                fd,
                rustix::event::PollFlags::IN,
            )];
            let now = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            rustix::event::poll(&mut asked, Some(&now)).unwrap() == 1
        };
        let look = || reactor.turn(Some(Duration::ZERO)).unwrap();
        for round in 0..10 {
            let (bell, waker) = Bell::new();
            let mut readable = source.readable();
            assert!(
                reactor
                    .enter(|| poll_with(&mut readable, &waker))
                    .is_pending()
            );
            while ready() {
                look();
            }
            assert_eq!(bell.rung(), 0, "round {round}");
            peer.write_all(b"x").unwrap();
            assert!(ready(), "round {round}");
            while ready() {
                look();
            }
            assert_eq!(bell.rung(), 1, "round {round}");
            source.get_ref().read_exact(&mut [0]).unwrap();
        }

        assert_eq!(reactor.next_deadline(), None);
        let due = Instant::now() + Duration::from_millis(20);
        let (bell, waker) = Bell::new();
        let mut timer = Timer::at(due);
        assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
        assert_eq!(reactor.next_deadline(), Some(due));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        assert_eq!(look().timers, 1);
        assert_eq!(bell.rung(), 1);
        assert_eq!(reactor.next_deadline(), None);
    });
}

#[test]
fn it_cannot_be_built_once_it_is_in_use() {
    in_child("global::it_cannot_be_built_once_it_is_in_use", || {
        let _used = Reactor::global();
        let error = Reactor::builder().build_global().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("before the first I/O"));
    });
}

#[test]
fn it_is_current_wherever_nothing_is_entered() {
    assert_eq!(Reactor::entered(), None);
    assert_eq!(Reactor::current(), Reactor::global());
    let (outer, inner) = (Reactor::new().unwrap(), Reactor::new().unwrap());
    outer.enter(|| {
        assert_eq!(Reactor::current(), outer);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            inner.enter(|| {
                assert_eq!(Reactor::entered(), Some(inner.clone()));
                std::panic::resume_unwind(Box::new(()));
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(Reactor::current(), outer);
    });
    assert_eq!(Reactor::current(), Reactor::global());
}

/// Somebody else sits in its chair: a guest who parks there, or a host that calls `turn`. Its thread waits for the
/// chair; it does not run round it.
#[test]
#[cfg(target_os = "linux")]
fn its_thread_does_not_spin_while_a_guest_drives() {
    in_child(
        "global::its_thread_does_not_spin_while_a_guest_drives",
        || {
            let global = Reactor::global();
            let parker = Parker::new(&global);
            let unparker = parker.unparker();
            let (tell, told) = std::sync::mpsc::channel();
            let guest = std::thread::spawn(move || {
                tell.send(crate::support::tid()).unwrap();
                parker.park();
            });
            crate::support::asleep(told.recv().unwrap());
            let (source, mut peer) = UnixStream::pair().unwrap();
            let source = Async::new(source).unwrap();
            let (bell, waker) = Bell::new();
            let mut readable = source.readable();
            assert!(poll_with(&mut readable, &waker).is_pending());
            assert!(has_thread(&global));

            let used = || {
                let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
                let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
                fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
            };
            let before = used();
            std::thread::sleep(Duration::from_millis(500));
            let ticks = used() - before;
            println!("figure: {ticks} ticks of 10 ms in half a second beside a guest");
            assert!(ticks < 15, "{ticks} of 50 ticks");

            // The guest drives; when it is gone, the thread does.
            peer.write_all(b"x").unwrap();
            bell.wait(1);
            unparker.unpark();
            guest.join().unwrap();
            source.get_ref().read_exact(&mut [0]).unwrap();
            assert!(poll_with(&mut readable, &waker).is_pending());
            peer.write_all(b"x").unwrap();
            bell.wait(2);
        },
    );
}

/// A private reactor may have a thread as well, with its name, until it is shut down.
#[test]
fn a_private_reactor_can_have_a_thread() {
    ends(|| {
        let reactor = Reactor::builder()
            .name("private")
            .policy(Policy::Auto)
            .build()
            .unwrap();
        let name: Arc<std::sync::Mutex<Option<String>>> = Arc::default();
        let (gate, _): (Arc<Gate>, _) = Bell::new();
        let waker = {
            let (name, gate) = (name.clone(), gate.clone());
            crate::support::waker(move || {
                *name.lock().unwrap() = std::thread::current().name().map(str::to_owned);
                open(&gate);
            })
        };
        let mut timer = Timer::after(Duration::from_millis(5));
        assert!(reactor.enter(|| poll_with(&mut timer, &waker)).is_pending());
        gate.wait(1);
        assert_eq!(name.lock().unwrap().as_deref(), Some("private"));
        reactor.shutdown();
        until("the end of its thread", || !has_thread(&reactor));
    });
}
