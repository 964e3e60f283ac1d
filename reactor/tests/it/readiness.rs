//! No event is missed, none is made up, and whoever waits for it is woken.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::AsyncReadExt;
use untether::{Async, Reactor};

use crate::support::{Bell, Lent, block_on_in, cloned, ends, is_poll, look, poll_once, poll_with};

/// A source, its peer, and the reactor that they are tested in.
fn source() -> (Reactor, Async<UnixStream>, UnixStream) {
    let reactor = Reactor::new().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let source = reactor.enter(|| Async::new(one).unwrap());
    (reactor, source, other)
}

/// Until the reactor has nothing more to tell.
fn settle(reactor: &Reactor) {
    while look(reactor) != 0 {}
}

#[test]
fn readable_is_pending_until_there_is_something_and_again_when_it_is_taken() {
    let (reactor, source, mut peer) = source();
    reactor.enter(|| {
        for round in 1..=20 {
            let (bell, waker) = Bell::new();
            let mut readable = source.readable();
            assert!(poll_with(&mut readable, &waker).is_pending());
            settle(&reactor);
            assert_eq!(bell.rung(), 0, "round {round}: nothing is there");
            peer.write_all(b"x").unwrap();
            settle(&reactor);
            assert_eq!(bell.rung(), 1, "round {round}");
            assert!(poll_with(&mut readable, &waker).is_ready());
            // Behind the back of whoever remembers readiness.
            source.get_ref().read_exact(&mut [0]).unwrap();
        }
    });
}

#[test]
fn readable_does_not_believe_what_is_no_longer_so() {
    let (reactor, source, mut peer) = source();
    reactor.enter(|| {
        peer.write_all(b"x").unwrap();
        settle(&reactor);
        source.get_ref().read_exact(&mut [0]).unwrap();
        assert!(poll_once(&mut source.readable()).is_pending());
    });
}

#[test]
fn writable_does_not_believe_what_is_no_longer_so() {
    let (reactor, source, mut peer) = source();
    reactor.enter(|| {
        assert!(
            poll_once(&mut source.writable()).is_ready() || {
                settle(&reactor);
                poll_once(&mut source.writable()).is_ready()
            }
        );
        let full = loop {
            if let Err(error) = source.get_ref().write(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let (bell, waker) = Bell::new();
        let mut writable = source.writable();
        assert!(poll_with(&mut writable, &waker).is_pending());
        peer.set_nonblocking(true).unwrap();
        while peer.read(&mut [0; 4096]).is_ok() {}
        settle(&reactor);
        assert_eq!(bell.rung(), 1);
        assert!(poll_with(&mut writable, &waker).is_ready());
    });
}

/// The event comes while an operation runs that is going to report `WouldBlock`: nobody will repeat it.
#[test]
fn an_event_between_an_attempt_and_its_would_block_is_not_lost() {
    let (reactor, source, mut peer) = source();
    let read = reactor.enter(|| {
        let mut attempts = 0;
        let mut read = pin!(source.read_with(|mut source| {
            attempts += 1;
            let result = source.read(&mut [0; 8]);
            if attempts == 1 {
                assert_eq!(
                    result.as_ref().unwrap_err().kind(),
                    io::ErrorKind::WouldBlock
                );
                peer.write_all(b"x").unwrap();
                look(&reactor);
            }
            result
        }));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let first = read.as_mut().poll(&mut cx);
        if first.is_ready() {
            return first;
        }
        // On a one-shot back end nobody had been asked to watch yet.
        settle(&reactor);
        read.as_mut().poll(&mut cx)
    });
    assert!(matches!(read, Poll::Ready(Ok(1))), "{read:?}");
}

/// The event comes when the waiter has looked, and has not left its waker yet.
#[test]
fn an_event_between_a_look_and_the_wait_is_not_lost() {
    for listed in [true, false] {
        let (reactor, source, peer) = source();
        let (bell, waker) = Bell::new();
        let sends = {
            let reactor = reactor.clone();
            cloned(waker, move || {
                (&peer).write_all(b"x").unwrap();
                look(&reactor);
            })
        };
        reactor.enter(|| {
            settle(&reactor);
            let nothing = source.try_read_with(|mut source| source.read(&mut [0; 8]));
            assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let mut cx = Context::from_waker(&sends);
            let mut readable = source.readable();
            let ready = if listed {
                poll_with(&mut readable, &sends).is_ready()
            } else {
                source.poll_readable(&mut cx).is_ready()
            };
            // On a one-shot back end nobody had been asked to watch yet.
            settle(&reactor);
            assert!(ready || bell.rung() == 1, "listed: {listed}");
        });
    }
}

#[test]
fn every_waiter_is_woken_by_one_byte() {
    let (reactor, source, mut peer) = source();
    reactor.enter(|| {
        let mut waiters: Vec<_> = (0..10).map(|_| (Bell::new(), source.readable())).collect();
        let (slot, slot_waker) = Bell::new();
        let (write, write_waker) = Bell::new();
        for ((_, waker), readable) in &mut waiters {
            assert!(poll_with(readable, waker).is_pending());
        }
        let mut cx = Context::from_waker(&slot_waker);
        assert!(source.poll_readable(&mut cx).is_pending());
        while source.get_ref().write(&[0; 4096]).is_ok() {}
        assert!(
            source
                .poll_writable(&mut Context::from_waker(&write_waker))
                .is_pending()
        );

        peer.write_all(b"x").unwrap();
        settle(&reactor);
        for ((bell, _), _) in &waiters {
            assert_eq!(bell.rung(), 1);
        }
        assert_eq!(slot.rung(), 1, "the slot is woken beside the list");
        assert_eq!(write.rung(), 0, "there is no room to write");
    });
}

/// zbus and libp2p depend on it.
#[test]
fn whoever_loses_the_slot_to_another_task_is_woken() {
    let (reactor, source, mut peer) = source();
    reactor.enter(|| {
        let ((first, first_waker), (second, second_waker)) = (Bell::new(), Bell::new());
        let poll = |waker| source.poll_readable(&mut Context::from_waker(waker));
        assert!(poll(&first_waker).is_pending());
        assert!(poll(&first_waker).is_pending());
        assert_eq!(first.rung(), 0, "the same task has not lost it");
        assert!(poll(&second_waker).is_pending());
        assert_eq!((first.rung(), second.rung()), (1, 0));
        peer.write_all(b"x").unwrap();
        settle(&reactor);
        assert_eq!((first.rung(), second.rung()), (1, 1));
    });
}

#[test]
fn a_waiter_polled_by_another_task_wakes_that_task_only() {
    let (reactor, source, mut peer) = source();
    reactor.enter(|| {
        let ((first, first_waker), (second, second_waker)) = (Bell::new(), Bell::new());
        let mut readable = source.readable();
        assert!(poll_with(&mut readable, &first_waker).is_pending());
        assert!(poll_with(&mut readable, &second_waker).is_pending());
        peer.write_all(b"x").unwrap();
        settle(&reactor);
        assert_eq!((first.rung(), second.rung()), (0, 1));
    });
}

#[test]
fn trying_does_not_call_the_operation_where_nothing_is_to_be_had() {
    let (reactor, source, mut peer) = source();
    let try_it = || source.try_read_with(|mut source| source.read(&mut [0; 8]));
    assert_eq!(try_it().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let not_called = source.try_read_with(|_| -> io::Result<()> { panic!("nothing is there") });
    assert_eq!(not_called.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    // No turn is needed to see what the kernel knows.
    peer.write_all(b"x").unwrap();
    assert_eq!(try_it().unwrap(), 1);
    assert_eq!(try_it().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    // And a waiter is woken after all that.
    reactor.enter(|| {
        let (bell, waker) = Bell::new();
        let mut readable = source.readable();
        assert!(poll_with(&mut readable, &waker).is_pending());
        peer.write_all(b"x").unwrap();
        settle(&reactor);
        assert_eq!(bell.rung(), 1);
    });
}

/// A descriptor that was closed behind our back goes on firing if it has a duplicate, under the key of a source that
/// is gone. The source that took its place must not hear of it.
#[test]
fn an_event_of_a_closed_source_does_not_reach_its_successor() {
    if is_poll() {
        println!("skipped: poll(2) knows descriptors by number, and forgets one with its number");
        return;
    }
    crate::support::in_child(
        "readiness::an_event_of_a_closed_source_does_not_reach_its_successor",
        || {
            let reactor = Reactor::new().unwrap();
            let (one, mut peer) = UnixStream::pair().unwrap();
            let duplicate = one.try_clone().unwrap();
            let fd = one.into_raw_fd();
            let (gone, successor) = reactor.enter(|| {
                let gone = Async::new(Lent(fd)).unwrap();
                Lent::close(fd);
                (gone, UnixStream::pair().unwrap())
            });
            // Leaves no other descriptor with that number behind.
            let (successor, quiet) = successor;
            assert!([successor.as_raw_fd(), quiet.as_raw_fd()].contains(&fd));
            let successor = if successor.as_raw_fd() == fd {
                quiet.try_clone().unwrap()
            } else {
                successor
            };
            drop(gone);
            reactor.enter(|| {
                // In the slot that has just become free.
                let successor = Async::new(successor).unwrap();
                let (bell, waker) = Bell::new();
                let mut readable = successor.readable();
                assert!(poll_with(&mut readable, &waker).is_pending());
                settle(&reactor);
                let before = bell.rung();
                peer.write_all(b"for one that is gone").unwrap();
                assert_ne!(look(&reactor), 0, "the kernel tells of the duplicate");
                assert_eq!(bell.rung(), before, "not meant for it");
                assert!(poll_with(&mut readable, &waker).is_pending());
            });
            drop(duplicate);
        },
    );
}

/// A FIFO's readers come and go, and so does its end.
#[test]
fn the_end_of_a_fifo_does_not_stick() {
    ends(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let open = |write: bool| {
            std::fs::OpenOptions::new()
                .read(!write)
                .write(write)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .unwrap()
        };
        use std::os::unix::fs::OpenOptionsExt;
        let reactor = Reactor::new().unwrap();
        block_on_in(&reactor, async {
            let mut reader = Async::new(open(false)).unwrap();
            for round in 0..5 {
                let mut writer = open(true);
                writer.write_all(b"round").unwrap();
                drop(writer);
                let mut all = Vec::new();
                reader.read_to_end(&mut all).await.unwrap();
                assert_eq!(all, b"round", "round {round}");
            }
            // Between two writers it waits; it does not spin.
            let _writer = open(true);
            let (bell, waker) = Bell::new();
            let mut readable = reader.readable();
            assert!(poll_with(&mut readable, &waker).is_pending());
            settle(&reactor);
            settle(&reactor);
            assert!(bell.rung() <= 1);
            assert!(poll_once(&mut readable).is_pending());
        });
    });
}

/// A source that is registered, and for which nobody waits, costs the driver nothing, whatever happens to it.
#[test]
fn what_nobody_waits_for_keeps_no_driver_awake() {
    if is_poll() {
        println!(
            "skipped: poll(2) tells of a hang-up as long as it lasts, whatever it is asked for"
        );
        return;
    }
    let (reactor, source, mut peer) = source();
    let mut events = 0;
    let mut looks = || {
        for _ in 0..100 {
            events += look(&reactor);
        }
        assert!(events < 10, "{events} events");
    };
    looks();
    peer.write_all(b"x").unwrap();
    looks();
    drop(peer);
    looks();
    drop(source);
}

/// Waiters come and go on four threads while events come in: none is forgotten, none is woken for another.
#[test]
fn waiters_on_four_threads_all_see_every_byte_that_is_theirs() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let _driving = crate::support::Driving::new(&reactor);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let reactor = reactor.clone();
                std::thread::spawn(move || {
                    let (one, mut other) = Async::<UnixStream>::pair().unwrap();
                    block_on_in(&reactor, async {
                        for round in 0..500u32 {
                            let echo = futures_lite::future::try_zip(
                                async {
                                    let mut bytes = [0; 4];
                                    other.read_exact(&mut bytes).await?;
                                    Ok::<_, io::Error>(bytes)
                                },
                                async {
                                    futures_lite::future::yield_now().await;
                                    one.get_ref().write_all(&round.to_le_bytes())
                                },
                            );
                            assert_eq!(echo.await.unwrap().0, round.to_le_bytes());
                        }
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// One source, many readers, each byte for exactly one of them.
#[test]
fn readers_that_share_a_source_get_each_byte_once() {
    ends(|| {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Arc::new(Async::new(one).unwrap());
        let total = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (source, total) = (source.clone(), total.clone());
                std::thread::spawn(move || {
                    let read = async {
                        let mut sum = 0;
                        loop {
                            let mut byte = [0];
                            let n = source
                                .read_with(|mut source| source.read(&mut byte))
                                .await
                                .unwrap();
                            if n == 0 {
                                break sum;
                            }
                            sum += usize::from(byte[0]);
                            total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    };
                    if number % 2 == 0 {
                        crate::support::block_on(read)
                    } else {
                        futures_lite::future::block_on(read)
                    }
                })
            })
            .collect();
        for byte in 0..2000u32 {
            peer.write_all(&[byte as u8]).unwrap();
            if byte % 64 == 0 {
                std::thread::yield_now();
            }
        }
        drop(peer);
        let sum: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
        assert_eq!(sum, (0..2000u32).map(|byte| usize::from(byte as u8)).sum());
        assert_eq!(total.load(std::sync::atomic::Ordering::Relaxed), 2000);
    });
}

#[test]
#[cfg(std_has_pipes)]
#[allow(clippy::incompatible_msrv, reason = "only where std has them")]
fn an_anonymous_pipe_is_read_and_written() {
    use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

    let (reader, writer) = std::io::pipe().unwrap();
    let mut reader = Async::new(reader).unwrap();
    let mut writer = Async::new(writer).unwrap();
    let mut heard = Vec::new();
    let write = async {
        writer.write_all(b"through the pipe").await.unwrap();
        drop(writer);
    };
    crate::support::block_on(future::zip(reader.read_to_end(&mut heard), write))
        .0
        .unwrap();
    assert_eq!(heard, b"through the pipe");
}
