//! A source that closes leaves the reactor first, and leaves nobody behind.

use std::io::{ErrorKind, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Context;

use untether::{Async, Reactor};

use crate::support::{
    Bell, Dice, Driving, Lent, block_on, ends, is_poll, look, poll_once, poll_with,
};

#[test]
fn dropping_one_waiter_keeps_the_others() {
    let reactor = Reactor::new().unwrap();
    reactor.enter(|| {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Async::new(one).unwrap();
        let mut waiters: Vec<_> = (0..5)
            .map(|_| (Bell::new(), Some(source.readable())))
            .collect();
        for ((_, waker), readable) in &mut waiters {
            assert!(poll_with(readable.as_mut().unwrap(), waker).is_pending());
        }
        for dropped in [0, 2, 4] {
            waiters[dropped].1 = None;
        }
        // A place that has become free is taken again.
        let (late, late_waker) = Bell::new();
        let mut readable = source.readable();
        assert!(poll_with(&mut readable, &late_waker).is_pending());
        peer.write_all(b"x").unwrap();
        while look(&reactor) != 0 {}
        let rung: Vec<_> = waiters.iter().map(|((bell, _), _)| bell.rung()).collect();
        assert_eq!(rung, [0, 1, 0, 1, 0]);
        assert_eq!(late.rung(), 1);
    });
}

#[test]
fn closing_wakes_whoever_waited_in_the_slot() {
    let reactor = Reactor::new().unwrap();
    reactor.enter(|| {
        let (source, _peer) = Async::<UnixStream>::pair().unwrap();
        let (bell, waker) = Bell::new();
        let poll = source.poll_readable(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        drop(source);
        assert_eq!(bell.rung(), 1);
    });
}

/// A duplicate keeps the kernel's side of it open, and would report to us still if we had not left.
#[test]
fn a_source_has_left_the_poller_when_it_is_closed() {
    let reactor = Reactor::new().unwrap();
    type Close = fn(Async<UnixStream>);
    let closes: [(&str, Close); 3] = [
        ("dropped", drop),
        ("unwrapped", |source| drop(source.into_inner().unwrap())),
        ("unwrapped to block", |source| {
            drop(source.into_blocking_inner().unwrap());
        }),
    ];
    for (how, close) in closes {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let duplicate = one.try_clone().unwrap();
        let source = reactor.enter(|| Async::new(one).unwrap());
        let mut readable = Box::pin(source.readable());
        assert!(reactor.enter(|| poll_once(&mut readable)).is_pending());
        drop(readable);
        while look(&reactor) != 0 {}
        close(source);
        peer.write_all(b"x").unwrap();
        assert_eq!(look(&reactor), 0, "{how}");
        // So the duplicate can be wrapped in its stead.
        reactor.enter(|| Async::new(duplicate).unwrap());
    }
}

#[test]
fn what_was_unwrapped_can_be_wrapped_again() {
    block_on(async {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let mut one = one;
        for _ in 0..10 {
            let source = Async::new(one).unwrap();
            peer.write_all(b"x").unwrap();
            source.readable().await.unwrap();
            let n = source
                .read_with(|mut source| std::io::Read::read(&mut source, &mut [0; 8]))
                .await
                .unwrap();
            assert_eq!(n, 1);
            one = source.into_inner().unwrap();
        }
    });
}

#[test]
fn unwrapping_to_block_restores_blocking() {
    let flags = |io: &UnixStream| rustix::fs::fcntl_getfl(io).unwrap();
    let (one, _peer) = UnixStream::pair().unwrap();
    let one = Async::new(one).unwrap().into_inner().unwrap();
    assert!(flags(&one).contains(rustix::fs::OFlags::NONBLOCK));
    let one = Async::new(one).unwrap().into_blocking_inner().unwrap();
    assert!(!flags(&one).contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn unwrapping_what_was_closed_behind_our_back_is_an_error() {
    if is_poll() {
        println!("skipped: poll(2) keeps no state, so nothing is lost there");
        return;
    }
    crate::support::in_child(
        "closing::unwrapping_what_was_closed_behind_our_back_is_an_error",
        || {
            let (one, _peer) = UnixStream::pair().unwrap();
            let fd = one.into_raw_fd();
            let source = Async::new(Lent(fd)).unwrap();
            Lent::close(fd);
            let error = source.into_inner().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
        },
    );
}

#[test]
fn what_is_refused_is_handed_back() {
    let file = tempfile::tempfile().unwrap();
    let refused = Async::try_new(file).unwrap_err();
    assert!(refused.io.metadata().is_ok(), "the file is still open");
    assert_eq!(refused.error.kind(), ErrorKind::PermissionDenied);
}

/// Four threads open, wait, move and close while another drives: slots, keys and generations do not get mixed up.
#[test]
fn opening_and_closing_on_four_threads_wakes_everybody_who_waits() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let _driving = Driving::new(&reactor);
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let threads: Vec<_> = (1..=4)
            .map(|seed| {
                let (reactor, kept) = (reactor.clone(), kept.clone());
                std::thread::spawn(move || {
                    let mut dice = Dice(seed);
                    for _ in 0..500 {
                        let (one, mut peer) = UnixStream::pair().unwrap();
                        let source = Arc::new(reactor.enter(|| Async::new(one).unwrap()));
                        let (bell, waker) = Bell::new();
                        let mut readable = source.clone().readable_owned();
                        let pending = reactor.enter(|| poll_with(&mut readable, &waker));
                        assert!(pending.is_pending());
                        match dice.below(3) {
                            // Nobody waits for this one any more.
                            0 => drop(readable),
                            // Closed by another thread, later.
                            1 => {
                                peer.write_all(b"x").unwrap();
                                bell.wait(1);
                                drop(readable);
                                kept.lock().unwrap().push(source);
                                if kept.lock().unwrap().len() > 16 {
                                    let mut kept = kept.lock().unwrap();
                                    let at = dice.below(kept.len());
                                    let one = kept.swap_remove(at);
                                    drop(kept);
                                    drop(one);
                                }
                            }
                            _ => {
                                drop(peer);
                                bell.wait(1);
                                assert!(
                                    reactor
                                        .enter(|| poll_with(&mut readable, &waker))
                                        .is_ready()
                                );
                            }
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
