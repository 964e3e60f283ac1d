//! What it costs in memory: nothing is kept that is over, and what lives is small.
//!
//! Counted by an allocator, in child processes: the whole process's memory is one test's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use untether::{Async, Reactor, Timer, timeout};

use crate::support::{Lent, block_on, in_child, is_poll, look, poll_once};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// How often this thread has allocated.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it is, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Relaxed);
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: as promised to us; `ptr` came from `alloc`, hence from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many bytes more are allocated after `f` than before it.
fn kept(f: impl FnOnce()) -> isize {
    let before = LIVE.load(Relaxed);
    f();
    LIVE.load(Relaxed) - before
}

/// What is kept for the next time, and grows no more: lists that have reached their size.
const TOLERANCE: isize = 64 * 1024;

#[test]
fn a_descriptor_closed_behind_our_back_leaves_no_memory_behind() {
    in_child(
        "allocations::a_descriptor_closed_behind_our_back_leaves_no_memory_behind",
        || {
            let reactor = Reactor::new().unwrap();
            let batch = || {
                reactor.enter(|| {
                    for _ in 0..1000 {
                        let (one, _peer) = UnixStream::pair().unwrap();
                        let fd = one.into_raw_fd();
                        let source = Async::new(Lent(fd)).unwrap();
                        let mut readable = source.readable();
                        assert!(poll_once(&mut readable).is_pending());
                        drop(readable);
                        Lent::close(fd);
                        drop(source);
                    }
                    look(&reactor);
                });
            };
            batch();
            for _ in 0..3 {
                let kept = kept(batch);
                println!("figure: {kept} bytes kept of 1,000 descriptors lost");
                assert!(kept < TOLERANCE / 4, "{kept} bytes");
            }
        },
    );
}

#[test]
fn a_million_timers_leave_nothing_behind() {
    in_child("allocations::a_million_timers_leave_nothing_behind", || {
        let reactor = Reactor::new().unwrap();
        let timers = |count| {
            reactor.enter(|| {
                for n in 0..count {
                    let mut timer = Timer::after(Duration::from_millis(1000 + n % 5000));
                    assert!(poll_once(&mut timer).is_pending());
                }
            });
        };
        timers(1000);
        let kept = kept(|| timers(1_000_000));
        println!("figure: {kept} bytes kept of a million timers");
        assert!(kept < TOLERANCE, "{kept} bytes");
    });
}

/// The same with all of them at once: what they needed is given back, or serves the next.
#[test]
fn many_timers_at_once_are_kept_room_for_and_no_more() {
    in_child(
        "allocations::many_timers_at_once_are_kept_room_for_and_no_more",
        || {
            let reactor = Reactor::new().unwrap();
            let batch = || {
                let mut timers: Vec<_> = (0..10_000)
                    .map(|n| Timer::after(Duration::from_millis(1000 + n % 5000)))
                    .collect();
                reactor.enter(|| {
                    for timer in &mut timers {
                        assert!(poll_once(timer).is_pending());
                    }
                });
            };
            let first = kept(batch);
            let later = kept(|| (0..10).for_each(|_| batch()));
            println!("figure: 10,000 timers at once: {first} bytes of room are kept");
            assert!(first < 10_000 * 48, "{first} bytes");
            assert!(later < TOLERANCE, "{later} bytes");
        },
    );
}

#[test]
fn a_round_trip_allocates_nothing() {
    in_child("allocations::a_round_trip_allocates_nothing", || {
        block_on(async {
            let (mut one, mut other) = Async::<UnixStream>::pair().unwrap();
            let server = async {
                let mut buf = [0; 64];
                while let Ok(n @ 1..) = other.read(&mut buf).await {
                    other.write_all(&buf[..n]).await.unwrap();
                }
            };
            let client = async {
                let mut each = Vec::with_capacity(2);
                for rounds in [100, 1000] {
                    let before = ALLOCATIONS.get();
                    for _ in 0..rounds {
                        let mut buf = [7; 64];
                        one.write_all(&buf).await.unwrap();
                        one.read_exact(&mut buf).await.unwrap();
                    }
                    each.push(ALLOCATIONS.get() - before);
                }
                each
            };
            let each = future::or(client, async {
                server.await;
                unreachable!("the client is still there")
            });
            let each = each.await;
            println!("figure: allocations in 100 and 1,000 round trips: {each:?}");
            assert_eq!(each[1], 0);
        });
    });
}

/// The list of waiters, time-outs and all.
#[test]
fn waiting_in_a_list_and_with_a_time_limit_allocates_nothing() {
    in_child(
        "allocations::waiting_in_a_list_and_with_a_time_limit_allocates_nothing",
        || {
            block_on(async {
                let (one, peer) = UnixStream::pair().unwrap();
                let source = Async::new(one).unwrap();
                let mut counts = [0; 2];
                for count in &mut counts {
                    let before = ALLOCATIONS.get();
                    for _ in 0..1000 {
                        let minute = Duration::from_secs(60);
                        let read =
                            source.read_with(|mut one| std::io::Read::read(&mut one, &mut [0; 8]));
                        let write = async {
                            future::yield_now().await;
                            std::io::Write::write(&mut &peer, b"x").unwrap();
                        };
                        let (read, ()) = future::zip(timeout(minute, read), write).await;
                        assert_eq!(read.unwrap().unwrap(), 1);
                    }
                    *count = ALLOCATIONS.get() - before;
                }
                println!("figure: allocations in 1,000 limited waits, twice: {counts:?}");
                assert_eq!(counts[1], 0);
            });
        },
    );
}

#[test]
fn an_idle_connection_is_small() {
    in_child("allocations::an_idle_connection_is_small", || {
        const CONNECTIONS: usize = 1000;
        let reactor = Reactor::new().unwrap();
        let mut peers = Vec::with_capacity(CONNECTIONS);
        let mut pairs = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let (one, other) = UnixStream::pair().unwrap();
            pairs.push(one);
            peers.push(other);
        }
        // In the slot, as the I/O traits wait.
        let mut sources = Vec::with_capacity(CONNECTIONS);
        let slot = kept(|| {
            reactor.enter(|| {
                for one in pairs.drain(..) {
                    let source = Async::new(one).unwrap();
                    let poll = source.poll_readable(&mut std::task::Context::from_waker(
                        std::task::Waker::noop(),
                    ));
                    assert!(poll.is_pending());
                    sources.push(source);
                }
            });
        });
        let mut waits: Vec<Pin<&mut untether::Readable<'_, UnixStream>>> =
            Vec::with_capacity(CONNECTIONS);
        let mut futures: Vec<_> = sources.iter().map(Async::readable).collect();
        let listed = kept(|| {
            reactor.enter(|| {
                for future in &mut futures {
                    assert!(poll_once(future).is_pending());
                    waits.push(Pin::new(future));
                }
            });
        });
        let each = |bytes: isize| bytes as f64 / CONNECTIONS as f64;
        println!(
            "figure: an idle connection takes {:.0} bytes of the reactor, {} of an Async<UnixStream>; a waiter in the list {:.0} more",
            each(slot),
            size_of::<Async<UnixStream>>(),
            each(listed)
        );
        // polling keeps a map beside its list for poll(2).
        let most = if is_poll() { 256.0 } else { 160.0 };
        assert!(each(slot) <= most, "{} bytes", each(slot));
        assert!(each(listed) <= 400.0, "{} bytes", each(listed));
        assert!(size_of::<Async<UnixStream>>() <= 32);
    });
}

/// Finished `block_on` calls, one after the other.
#[test]
fn a_reactor_that_is_gone_leaves_nothing_behind() {
    in_child(
        "allocations::a_reactor_that_is_gone_leaves_nothing_behind",
        || {
            let once = || {
                block_on(async {
                    let (one, _peer) = Async::<UnixStream>::pair().unwrap();
                    let wait = timeout(Duration::from_micros(10), one.readable());
                    assert!(wait.await.is_err());
                });
            };
            let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
            (0..10).for_each(|_| once());
            let open = descriptors();
            let kept = kept(|| (0..500).for_each(|_| once()));
            println!("figure: {kept} bytes kept of 500 reactors");
            assert!(kept < TOLERANCE, "{kept} bytes");
            assert_eq!(descriptors(), open);
        },
    );
}
