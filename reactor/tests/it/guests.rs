//! A reactor with a thread of its own, and threads that park there all the same.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::{self, ThreadId};

use futures_lite::AsyncReadExt;
use untether::{Async, Parker, Policy, Reactor};

use crate::support::{self, Bell, block_on_in, ends, open, poll_with};

fn hosting() -> Reactor {
    let builder = Reactor::builder().policy(Policy::Auto);
    builder.build().expect("a reactor")
}

fn pair() -> (Async<UnixStream>, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("a pair");
    (Async::new(ours).expect("a source"), peer)
}

/// On a private reactor this would be a deadlock: the thread that should drive sleeps.
#[test]
fn a_guest_that_sleeps_inside_a_poll_is_stood_in_for() {
    ends(|| {
        let (mut source, mut peer) = pair();
        let (asleep, _) = Bell::new();
        let guest = thread::spawn({
            let asleep = asleep.clone();
            move || {
                block_on_in(&hosting(), async {
                    let mut byte = [0];
                    open(&asleep);
                    futures_lite::future::block_on(source.read_exact(&mut byte)).unwrap();
                    byte
                })
            }
        });
        asleep.wait(1);
        peer.write_all(b"x").unwrap();
        assert_eq!(guest.join().unwrap(), *b"x");
    });
}

/// One guest has nothing to do, another answers a peer: before long it hears from the poller itself, and not through the
/// one who happened to sit first.
#[test]
fn the_seat_goes_to_the_guest_that_has_the_work() {
    ends(|| {
        let reactor = hosting();
        let idle = Parker::new(&reactor);
        let end = idle.unparker();
        let idle = thread::spawn(move || idle.park());

        let (source, mut peer) = pair();
        let (waiting, _) = Bell::new();
        let wakers: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
        let busy = thread::spawn({
            let (waiting, wakers) = (waiting.clone(), wakers.clone());
            move || {
                let parker = Parker::new(&reactor);
                let unparker = parker.unparker();
                let waker = support::waker(move || {
                    wakers.lock().unwrap().push(thread::current().id());
                    unparker.unpark();
                });
                for _ in 0..100 {
                    let mut readable = source.readable();
                    reactor.enter(|| {
                        while poll_with(&mut readable, &waker).is_pending() {
                            open(&waiting);
                            parker.park();
                        }
                    });
                    source.get_ref().read_exact(&mut [0]).unwrap();
                }
                thread::current().id()
            }
        });
        for round in 1..=100 {
            waiting.wait(round);
            peer.write_all(b"x").unwrap();
        }
        let busy = busy.join().unwrap();
        end.unpark();
        idle.join().unwrap();

        let by_itself = wakers
            .lock()
            .unwrap()
            .iter()
            .filter(|&&id| id == busy)
            .count();
        println!("figure: {by_itself} of 100 wake-ups on the thread that has the work");
        assert!(by_itself > 0);
    });
}

/// The thread that delivers may be late, so a task that looks again, unasked, gets what is there.
#[test]
fn a_task_that_is_polled_again_tries_again() {
    ends(|| {
        let reactor = hosting();
        // A waker that holds its thread up: nobody delivers anything until it is let go.
        let (held, hold) = (Bell::new().0, Bell::new().0);
        let stuck = support::waker({
            let (held, hold) = (held.clone(), hold.clone());
            move || {
                open(&held);
                hold.wait(1);
            }
        });
        let (first, mut peer) = pair();
        let mut readable = first.readable();
        assert!(
            reactor
                .enter(|| poll_with(&mut readable, &stuck))
                .is_pending()
        );
        peer.write_all(b"x").unwrap();
        held.wait(1);

        let (mut source, mut peer) = pair();
        let (bell, waker) = Bell::new();
        let mut byte = [0];
        let mut read = source.read(&mut byte);
        assert!(reactor.enter(|| poll_with(&mut read, &waker)).is_pending());
        peer.write_all(b"x").unwrap();
        assert_eq!(bell.rung(), 0);
        let again = reactor.enter(|| poll_with(&mut read, &waker));
        assert!(matches!(again, Poll::Ready(Ok(1))), "{again:?}");
        open(&hold);
    });
}
