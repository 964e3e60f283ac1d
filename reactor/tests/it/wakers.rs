//! Wakers are foreign code: what they do when they are called, or dropped, is theirs, and harms nobody else.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use untether::{Async, Parker, Reactor, Timer};

use crate::support::{Bell, block_on, block_on_in, ends, look, open, poll_once, poll_with, waker};

/// A waker whose drop calls `f`, once the last clone is gone.
fn dropped(f: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Call<F: Fn()>(F);
    impl<F: Fn() + Send + Sync> Wake for Call<F> {
        fn wake(self: Arc<Self>) {}
    }
    impl<F: Fn()> Drop for Call<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Call(f)))
}

/// A task that owns a source and waits for it; its wakers own the task.
struct Owner(Mutex<Option<Async<UnixStream>>>);

impl Owner {
    /// The task, waiting already in the current reactor, and the source's peer.
    fn waiting() -> (Arc<Owner>, UnixStream) {
        let (one, peer) = UnixStream::pair().unwrap();
        let owner = Arc::new(Owner(Mutex::new(Some(Async::new(one).unwrap()))));
        let waker = Waker::from(owner.clone());
        let source = owner.0.lock().unwrap();
        let mut cx = Context::from_waker(&waker);
        assert!(source.as_ref().unwrap().poll_readable(&mut cx).is_pending());
        drop(source);
        (owner, peer)
    }
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        // The task ends, and its source with it.
        drop(self.0.lock().unwrap().take());
    }
}

/// A panic that says nothing: the hook would write to the test's output.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("a waker's own trouble"))
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.enter(|| {
            let (one, mut peer) = UnixStream::pair().unwrap();
            let source = Async::new(one).unwrap();
            let panics = waker(|| panic_quietly());
            let bells: Vec<_> = (0..4).map(|_| Bell::new()).collect();
            let mut waits: Vec<_> = (0..8).map(|_| source.readable()).collect();
            let mut timers: Vec<_> = (0..8)
                .map(|_| Timer::after(Duration::from_millis(1)))
                .collect();
            for (number, (wait, timer)) in waits.iter_mut().zip(&mut timers).enumerate() {
                let waker = match number % 2 {
                    0 => &panics,
                    _ => &bells[number / 2].1,
                };
                assert!(poll_with(wait, waker).is_pending());
                assert!(poll_with(timer, waker).is_pending());
            }
            peer.write_all(b"x").unwrap();
            let parker = Parker::new(&reactor);
            parker.park_timeout(Duration::from_millis(20));
            for (bell, _) in &bells {
                assert_eq!(bell.rung(), 2);
            }
            // And at the end.
            let mut wait = source.readable();
            std::io::Read::read_exact(&mut source.get_ref(), &mut [0]).unwrap();
            assert!(poll_with(&mut wait, &panics).is_pending());
            reactor.evict();
        });
    });
}

/// The global reactor's thread is ours: it must outlive what it wakes.
#[test]
fn a_waker_that_panics_does_not_end_our_thread() {
    ends(|| {
        for _ in 0..3 {
            let mut timer = Timer::after(Duration::from_millis(1));
            let (bell, _) = Bell::new();
            let panics = {
                let bell = bell.clone();
                waker(move || {
                    open(&bell);
                    panic_quietly();
                })
            };
            assert!(poll_with(&mut timer, &panics).is_pending());
            bell.wait(1);
            futures_lite::future::block_on(Timer::after(Duration::from_millis(1)));
        }
    });
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_harms_nobody_else() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.enter(|| {
            let (one, mut peer) = UnixStream::pair().unwrap();
            let source = Async::new(one).unwrap();
            let (mut first, mut second) = (source.readable(), source.readable());
            let (bell, waker) = Bell::new();
            let panics = dropped(|| panic_quietly());
            assert!(poll_with(&mut first, &panics).is_pending());
            assert!(poll_with(&mut second, &waker).is_pending());
            drop(panics);
            peer.write_all(b"x").unwrap();
            while look(&reactor) != 0 {}
            assert_eq!(bell.rung(), 1);
        });
    });
}

#[test]
fn a_wake_that_drops_its_source_meets_no_lock() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.enter(|| {
            for _ in 0..100 {
                let (owner, mut peer) = Owner::waiting();
                peer.write_all(b"x").unwrap();
                while look(&reactor) != 0 {}
                assert!(owner.0.lock().unwrap().is_none());
            }
        });
    });
}

/// Each way in which a waker leaves the reactor; its drop drops a task, which drops a source and a timer of the same
/// reactor.
#[test]
fn a_waker_whose_drop_drops_a_source_meets_no_lock() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.enter(|| {
            let (one, mut peer) = UnixStream::pair().unwrap();
            let source = Arc::new(Async::new(one).unwrap());
            let laden = || {
                let (one, peer) = UnixStream::pair().unwrap();
                let own = Async::new(one).unwrap();
                let mut timer = Timer::after(Duration::from_secs(60));
                assert!(poll_once(&mut timer).is_pending());
                let mut cx = Context::from_waker(Waker::noop());
                assert!(own.poll_readable(&mut cx).is_pending());
                let load = Mutex::new(Some((own, timer, peer)));
                let shared = source.clone();
                dropped(move || {
                    drop(load.lock().unwrap().take());
                    // It meets the source that it waited for, too.
                    let mut cx = Context::from_waker(Waker::noop());
                    let _ = shared.poll_writable(&mut cx);
                    let _ = shared.try_read_with(|_| Ok(()));
                    drop(pin!(shared.readable()).poll(&mut cx));
                })
            };
            let poll = |waker: &Waker| {
                let poll = source.poll_readable(&mut Context::from_waker(waker));
                assert!(poll.is_pending());
            };

            // Displaced in the slot; replaced and dropped in the list.
            poll(&laden());
            poll(&laden());
            let mut readable = source.readable();
            assert!(poll_with(&mut readable, &laden()).is_pending());
            assert!(poll_with(&mut readable, &laden()).is_pending());
            drop(readable);
            // Timers: replaced, cancelled, dropped.
            let mut timer = Timer::after(Duration::from_secs(60));
            assert!(poll_with(&mut timer, &laden()).is_pending());
            assert!(poll_with(&mut timer, &laden()).is_pending());
            timer.clear();
            timer.set_after(Duration::from_secs(60));
            assert!(poll_with(&mut timer, &laden()).is_pending());
            drop(timer);
            // Woken by an event, by the clock, by being turned out.
            poll(&laden());
            let mut timer = Timer::after(Duration::from_millis(1));
            assert!(poll_with(&mut timer, &laden()).is_pending());
            peer.write_all(b"x").unwrap();
            Parker::new(&reactor).park_timeout(Duration::from_millis(20));
            std::io::Read::read_exact(&mut source.get_ref(), &mut [0]).unwrap();
            poll(&laden());
            reactor.evict();
            poll(&laden());
            // Closed, and at the end of the reactor.
            let (two, _peer) = UnixStream::pair().unwrap();
            let closing = Async::new(two).unwrap();
            let waker = laden();
            assert!(
                closing
                    .poll_readable(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            drop(waker);
            drop(closing);
            reactor.shutdown();
        });
        // With the last handle.
        let reactor = Reactor::new().unwrap();
        let (owner, _peer) = reactor.enter(Owner::waiting);
        drop(reactor);
        assert!(owner.0.lock().unwrap().is_none());
    });
}

#[test]
fn a_wake_may_drop_a_hundred_other_timers() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.enter(|| {
            let at = std::time::Instant::now() + Duration::from_millis(5);
            let timers: Arc<Mutex<Vec<Timer>>> = Arc::default();
            let (bell, _) = Bell::new();
            let clears = {
                let (timers, bell) = (timers.clone(), bell.clone());
                waker(move || {
                    drop(std::mem::take(&mut *timers.lock().unwrap()));
                    open(&bell);
                })
            };
            let mut first = Timer::at(at);
            assert!(poll_with(&mut first, &clears).is_pending());
            for n in 0..100 {
                let mut timer = Timer::at(at + Duration::from_micros(n));
                assert!(poll_with(&mut timer, &clears).is_pending());
                timers.lock().unwrap().push(timer);
            }
            while bell.rung() == 0 {
                reactor.turn(None).unwrap();
            }
            while reactor.next_deadline().is_some() {
                reactor.turn(None).unwrap();
            }
        });
    });
}

#[test]
fn a_wake_may_wait_again_at_once() {
    const ROUNDS: usize = 10;
    ends(|| {
        let reactor = Reactor::new().unwrap();
        reactor.enter(|| {
            let (one, mut peer) = UnixStream::pair().unwrap();
            let source = Arc::new(Async::new(one).unwrap());
            let (bell, _) = Bell::new();
            struct Again(Arc<Async<UnixStream>>, Arc<Bell>);
            impl Wake for Again {
                fn wake(self: Arc<Self>) {
                    open(&self.1);
                    if self.1.rung() > ROUNDS {
                        return; // Turned out.
                    }
                    let mut source = self.0.get_ref();
                    let _ = std::io::Read::read(&mut source, &mut [0; 8]);
                    let waker = Waker::from(self.clone());
                    let poll = self.0.poll_readable(&mut Context::from_waker(&waker));
                    assert!(poll.is_pending());
                }
            }
            let again = Waker::from(Arc::new(Again(source.clone(), bell.clone())));
            assert!(
                source
                    .poll_readable(&mut Context::from_waker(&again))
                    .is_pending()
            );
            for round in 1..=ROUNDS {
                peer.write_all(b"x").unwrap();
                while look(&reactor) != 0 {}
                assert_eq!(bell.rung(), round);
            }
            // It holds itself through its source; this lets go.
            reactor.evict();
            assert_eq!(bell.rung(), ROUNDS + 1);
        });
    });
}

#[test]
fn a_wake_may_block_on_something_else() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let (bell, _) = Bell::new();
        let blocks = {
            let bell = bell.clone();
            let reactor = reactor.clone();
            waker(move || {
                block_on(Timer::after(Duration::from_millis(1)));
                block_on_in(&reactor, Timer::after(Duration::from_millis(1)));
                open(&bell);
            })
        };
        let mut timer = Timer::after(Duration::from_millis(1));
        assert!(
            reactor
                .enter(|| poll_with(&mut timer, &blocks))
                .is_pending()
        );
        block_on_in(&reactor, Timer::after(Duration::from_millis(5)));
        bell.wait(1);
    });
}

#[test]
fn a_wake_may_drop_the_last_handle_of_its_reactor() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let (source, mut peer) = UnixStream::pair().unwrap();
        let source = reactor.enter(|| Async::new(source).unwrap());
        let (gone, _) = Bell::new();
        let parker = Arc::new(Mutex::new(None));
        // The turn is made through a handle that is dropped while it wakes.
        let drops = {
            let (parker, gone) = (parker.clone(), gone.clone());
            waker(move || {
                drop(parker.lock().unwrap().take());
                open(&gone);
            })
        };
        *parker.lock().unwrap() = Some((Parker::new(&reactor), reactor.clone()));
        let mut readable = source.readable();
        assert!(
            reactor
                .enter(|| poll_with(&mut readable, &drops))
                .is_pending()
        );
        peer.write_all(b"x").unwrap();
        while gone.rung() == 0 {
            look(&reactor);
        }
        drop(reactor);
        block_on(readable).unwrap();
    });
}

#[test]
fn wakers_are_called_by_the_thread_that_drives() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        let driving = crate::support::Driving::new(&reactor);
        let caller = Arc::new(Mutex::new(0));
        let (bell, _) = Bell::new();
        let tells = {
            let (caller, bell) = (caller.clone(), bell.clone());
            waker(move || {
                *caller.lock().unwrap() = crate::support::tid();
                open(&bell);
            })
        };
        let mut timer = Timer::after(Duration::from_millis(5));
        assert!(reactor.enter(|| poll_with(&mut timer, &tells)).is_pending());
        bell.wait(1);
        assert_eq!(*caller.lock().unwrap(), driving.tid);
    });
}

/// What is due before a wait is woken in the same turn, events and timers together, each once.
#[test]
fn a_waker_is_called_once_for_each_wait() {
    let reactor = Reactor::new().unwrap();
    reactor.enter(|| {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Async::new(one).unwrap();
        let (bell, waker) = Bell::new();
        let mut readable = source.readable();
        assert!(poll_with(&mut readable, &waker).is_pending());
        peer.write_all(b"x").unwrap();
        while look(&reactor) != 0 {}
        peer.write_all(b"x").unwrap();
        while look(&reactor) != 0 {}
        assert_eq!(bell.rung(), 1, "nobody has waited again");
    });
}
