//! A source lives where its task waits, and moves house with it.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use untether::{Async, Parker, Reactor, Timer, Unparker};

use crate::support::{
    Bell, Dice, Driving, block_on, block_on_in, ends, look, poll_once, poll_with, until,
};

/// Whether `source` lives in `reactor`.
fn lives_in<T: AsRawFd>(source: &Async<T>, reactor: &Reactor) -> bool {
    let name = format!("Descriptor({}):", source.get_ref().as_raw_fd());
    format!("{reactor:?}").contains(&name)
}

fn settle(reactor: &Reactor) {
    while look(reactor) != 0 {}
}

#[test]
fn a_source_moves_to_the_reactor_where_it_is_waited_for() {
    let (here, there) = (Reactor::new().unwrap(), Reactor::new().unwrap());
    let (one, mut peer) = UnixStream::pair().unwrap();
    let source = here.enter(|| Async::new(one).unwrap());
    for round in 0..10 {
        for (to, from) in [(&there, &here), (&here, &there)] {
            let (bell, waker) = Bell::new();
            let mut readable = source.readable();
            assert!(to.enter(|| poll_with(&mut readable, &waker)).is_pending());
            assert!(lives_in(&source, to) && !lives_in(&source, from));
            settle(to);
            settle(from);
            assert_eq!(bell.rung(), 0);
            peer.write_all(b"x").unwrap();
            assert_eq!(look(from), 0, "round {round}: it has left");
            settle(to);
            assert_eq!(bell.rung(), 1, "round {round}");
            assert!(to.enter(|| poll_with(&mut readable, &waker)).is_ready());
            source.get_ref().read_exact(&mut [0]).unwrap();
        }
    }
}

/// What was there before the move is reported anew.
#[test]
fn readiness_that_came_before_a_move_is_not_lost() {
    let (here, there) = (Reactor::new().unwrap(), Reactor::new().unwrap());
    for delivered in [false, true] {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = here.enter(|| Async::new(one).unwrap());
        let mut readable = source.readable();
        assert!(here.enter(|| poll_once(&mut readable)).is_pending());
        peer.write_all(b"x").unwrap();
        if delivered {
            settle(&here);
        }
        let (bell, waker) = Bell::new();
        let ready = there.enter(|| poll_with(&mut readable, &waker)).is_ready();
        settle(&there);
        assert!(ready || bell.rung() == 1, "delivered: {delivered}");
    }
}

#[test]
fn a_half_polled_future_goes_on_in_another_thread_and_reactor() {
    ends(|| {
        let (mut one, mut peer) = Async::<UnixStream>::pair().unwrap();
        let mut read = Box::pin(async move {
            let mut bytes = [0; 6];
            one.read_exact(&mut bytes).await.unwrap();
            Timer::after(Duration::from_millis(1)).await;
            (one, bytes)
        });
        // Registered here, and the reactor ends unused.
        let here = Reactor::new().unwrap();
        assert!(here.enter(|| poll_once(&mut read)).is_pending());
        // Half of it arrives in a second reactor.
        block_on(peer.write_all(b"abc")).unwrap();
        let there = Reactor::new().unwrap();
        assert!(there.enter(|| poll_once(&mut read)).is_pending());
        // The rest in a thread that drives a third, or none.
        let elsewhere = thread::spawn(move || block_on(read));
        block_on(peer.write_all(b"def")).unwrap();
        let (mut one, bytes) = elsewhere.join().unwrap();
        assert_eq!(&bytes, b"abcdef");
        let foreign = thread::spawn(move || {
            future::block_on(async {
                let mut byte = [0];
                one.read_exact(&mut byte).await.unwrap();
                byte
            })
        });
        block_on(peer.write_all(b"g")).unwrap();
        assert_eq!(&foreign.join().unwrap(), b"g");
        drop((here, there));
    });
}

/// A waiter is left where it is: the source stays, and that reactor's driver wakes both.
#[test]
fn a_reader_here_and_a_writer_there_are_both_woken() {
    ends(|| {
        const BYTES: usize = 1 << 20;
        for foreign in [false, true] {
            let (one, other) = Async::<UnixStream>::pair().unwrap();
            let (one, other) = (Arc::new(one), Arc::new(other));
            let bytes: Arc<Vec<u8>> = Arc::new((0..BYTES).map(|i| (i / 3) as u8).collect());
            let start = Arc::new(Barrier::new(4));
            let threads: Vec<_> = [&one, &other]
                .into_iter()
                .flat_map(|end| {
                    let (start, bytes) = (start.clone(), bytes.clone());
                    let writer = {
                        let (end, start, bytes) = (end.clone(), start.clone(), bytes.clone());
                        thread::spawn(move || {
                            start.wait();
                            block_on((&*end).write_all(&bytes)).unwrap();
                        })
                    };
                    let end = end.clone();
                    let reader = thread::spawn(move || {
                        start.wait();
                        let mut got = vec![0; BYTES];
                        let mut end = &*end;
                        let read = end.read_exact(&mut got);
                        if foreign {
                            future::block_on(read).unwrap();
                        } else {
                            block_on(read).unwrap();
                        }
                        assert!(got == *bytes, "the bytes differ");
                    });
                    [writer, reader]
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
    });
}

#[test]
fn a_source_with_a_waiter_left_behind_stays() {
    let (here, there) = (Reactor::new().unwrap(), Reactor::new().unwrap());
    let (one, mut peer) = UnixStream::pair().unwrap();
    let source = here.enter(|| Async::new(one).unwrap());
    let ((first, first_waker), (second, second_waker)) = (Bell::new(), Bell::new());
    let (mut reader, mut latecomer) = (source.readable(), source.readable());
    assert!(
        here.enter(|| poll_with(&mut reader, &first_waker))
            .is_pending()
    );
    assert!(
        there
            .enter(|| poll_with(&mut latecomer, &second_waker))
            .is_pending()
    );
    assert!(lives_in(&source, &here) && !lives_in(&source, &there));
    peer.write_all(b"x").unwrap();
    settle(&there);
    assert_eq!((first.rung(), second.rung()), (0, 0));
    settle(&here);
    assert_eq!((first.rung(), second.rung()), (1, 1));
    source.get_ref().read_exact(&mut [0]).unwrap();
    // The one who was left behind has gone: now it moves.
    drop(reader);
    assert!(
        there
            .enter(|| poll_with(&mut latecomer, &second_waker))
            .is_pending()
    );
    assert!(lives_in(&source, &there) && !lives_in(&source, &here));
}

#[test]
fn a_pinned_source_stays_wherever_it_is_waited_for() {
    ends(|| {
        let home = Reactor::new().unwrap();
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Arc::new(Async::new_in(one, &home).unwrap());
        let _driving = Driving::new(&home);
        for foreign in [false, true] {
            let waiting = {
                let source = source.clone();
                thread::spawn(move || {
                    if foreign {
                        future::block_on(source.readable()).unwrap();
                    } else {
                        block_on(source.readable()).unwrap();
                    }
                    source.get_ref().read_exact(&mut [0]).unwrap();
                })
            };
            until("a waiter", || format!("{home:?}").contains(": 1 waiting"));
            assert!(lives_in(&source, &home));
            peer.write_all(b"x").unwrap();
            waiting.join().unwrap();
        }
    });
}

/// Its owner stops driving, in three ways, with a waiter that belongs to another thread.
#[test]
fn a_waiter_elsewhere_survives_the_end_of_the_owner() {
    ends(|| {
        type End = fn(Reactor);
        let ways: [(&str, End); 3] = [
            ("evict", |reactor| reactor.evict()),
            ("shutdown", |reactor| reactor.shutdown()),
            ("drop", drop),
        ];
        for (how, end) in ways {
            for foreign in [false, true] {
                let owner = Reactor::new().unwrap();
                let (one, mut peer) = UnixStream::pair().unwrap();
                let source = Arc::new(owner.enter(|| Async::new(one).unwrap()));
                // The owner's own waiter keeps the source there.
                let (bell, waker) = Bell::new();
                let mut own = source.clone().readable_owned();
                assert!(owner.enter(|| poll_with(&mut own, &waker)).is_pending());
                let elsewhere = {
                    let source = source.clone();
                    thread::spawn(move || {
                        if foreign {
                            future::block_on(source.readable()).unwrap();
                        } else {
                            block_on(source.readable()).unwrap();
                        }
                    })
                };
                until("the other waiter", || {
                    format!("{owner:?}").contains(": 2 waiting")
                });
                assert!(lives_in(&source, &owner), "{how}");
                end(owner);
                assert_eq!(bell.rung(), 1, "{how}");
                peer.write_all(b"x").unwrap();
                elsewhere.join().unwrap();
            }
        }
    });
}

/// The last handle of a reactor goes while sources of it are on the move: a wake must find no lock held.
#[test]
fn the_end_of_a_reactor_against_moves_out_of_it() {
    ends(|| {
        for round in 0..300 {
            let reactor = Reactor::new().unwrap();
            let (one, mut peer) = UnixStream::pair().unwrap();
            let (two, _quiet) = UnixStream::pair().unwrap();
            let moves = Arc::new(reactor.enter(|| Async::new(one).unwrap()));
            let stays = reactor.enter(|| Async::new(two).unwrap());
            // Whoever is turned out looks at the source that moves at once, inside the wake.
            let (bell, _) = Bell::new();
            let nosy = {
                let (moves, bell) = (moves.clone(), bell.clone());
                crate::support::waker(move || {
                    let _ = moves.poll_readable(&mut Context::from_waker(Waker::noop()));
                    crate::support::open(&bell);
                })
            };
            let mut readable = stays.readable();
            assert!(
                reactor
                    .enter(|| poll_with(&mut readable, &nosy))
                    .is_pending()
            );
            let start = Arc::new(Barrier::new(2));
            let mover = {
                let (moves, start) = (moves.clone(), start.clone());
                thread::spawn(move || {
                    let there = Reactor::new().unwrap();
                    start.wait();
                    for _ in 0..round % 7 {
                        std::hint::spin_loop();
                    }
                    block_on_in(&there, moves.readable()).unwrap();
                })
            };
            start.wait();
            drop(reactor);
            bell.wait(1);
            peer.write_all(b"x").unwrap();
            mover.join().unwrap();
        }
    });
}

/// A task that runs on whichever thread is drawn when it is woken.
struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    queued: AtomicBool,
    /// The thread that has polled it last.
    last: AtomicUsize,
    crew: Weak<Crew>,
}

struct Crew {
    hands: Vec<(mpsc::Sender<Arc<Task>>, Hand)>,
    dice: Mutex<Dice>,
    moves: AtomicUsize,
    done: AtomicUsize,
}

/// How a thread is told.
enum Hand {
    Parks(Unparker),
    /// It has no reactor, so it waits in the global one.
    Foreign,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let Some(crew) = self.crew.upgrade() else {
            return;
        };
        if !self.queued.swap(true, Ordering::AcqRel) {
            let drawn = crew.dice.lock().unwrap().below(crew.hands.len());
            crew.tell(drawn, self);
        }
    }
}

impl Crew {
    fn tell(&self, hand: usize, task: Arc<Task>) {
        let (queue, hand) = &self.hands[hand];
        if queue.send(task).is_ok() {
            if let Hand::Parks(unparker) = hand {
                unparker.unpark();
            }
        }
    }

    fn run(&self, hand: usize, task: Arc<Task>) {
        task.queued.store(false, Ordering::Release);
        let mut future = task.future.lock().unwrap();
        if task.last.swap(hand, Ordering::Relaxed) != hand {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        let Some(polled) = &mut *future else { return };
        let waker = Waker::from(task.clone());
        if polled
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            *future = None;
            self.done.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Tasks in conversation wander between three reactors and the global one; every byte arrives, in order.
#[test]
fn a_thousand_random_moves_between_four_threads_lose_no_byte() {
    const PAIRS: usize = 4;
    const ROUNDS: u32 = 300;
    ends(|| {
        let mut receivers = Vec::new();
        let mut parkers = Vec::new();
        let hands = (0..4)
            .map(|number| {
                let (queue, receiver) = mpsc::channel();
                receivers.push(receiver);
                if number == 3 {
                    parkers.push(None);
                    return (queue, Hand::Foreign);
                }
                let parker = Parker::new(&Reactor::new().unwrap());
                let unparker = parker.unparker();
                parkers.push(Some(parker));
                (queue, Hand::Parks(unparker))
            })
            .collect();
        let crew = Arc::new(Crew {
            hands,
            dice: Mutex::new(Dice(0x5eed)),
            moves: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        });
        let spawn = |future: Pin<Box<dyn Future<Output = ()> + Send>>| {
            let task = Arc::new(Task {
                future: Mutex::new(Some(future)),
                queued: AtomicBool::new(false),
                last: AtomicUsize::new(usize::MAX),
                crew: Arc::downgrade(&crew),
            });
            task.clone().wake();
            task
        };
        let mut tasks = Vec::new();
        for pair in 0..PAIRS as u64 {
            let (mut one, mut other) = Async::<UnixStream>::pair().unwrap();
            tasks.push(spawn(Box::pin(async move {
                let mut dice = Dice(pair + 1);
                for round in 0..ROUNDS {
                    let sent: Vec<u8> = (0..1 + dice.below(600))
                        .map(|_| dice.below(256) as u8)
                        .collect();
                    let mut got = vec![0; sent.len()];
                    one.write_all(&sent).await.unwrap();
                    if round % 16 == 0 {
                        Timer::after(Duration::from_micros(50)).await;
                    }
                    one.read_exact(&mut got).await.unwrap();
                    assert!(got == sent, "pair {pair}, round {round}: the bytes differ");
                }
            })));
            tasks.push(spawn(Box::pin(async move {
                let mut buf = [0; 256];
                loop {
                    match other.read(&mut buf).await.unwrap() {
                        0 => break,
                        n => other.write_all(&buf[..n]).await.unwrap(),
                    }
                }
            })));
        }
        let threads: Vec<_> = receivers
            .into_iter()
            .zip(parkers)
            .enumerate()
            .map(|(hand, (queue, parker))| {
                let crew = crew.clone();
                thread::spawn(move || {
                    while crew.done.load(Ordering::Acquire) < 2 * PAIRS {
                        match &parker {
                            Some(parker) => match queue.try_recv() {
                                Ok(task) => parker.reactor().enter(|| crew.run(hand, task)),
                                Err(_) => {
                                    parker.park_timeout(Duration::from_millis(20));
                                }
                            },
                            None => {
                                if let Ok(task) = queue.recv_timeout(Duration::from_millis(20)) {
                                    crew.run(hand, task);
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let moves = crew.moves.load(Ordering::Relaxed);
        println!("figure: {moves} moves");
        assert!(moves >= 1000, "{moves} moves only");
    });
}

/// A timer of one thread is polled by another, and wakes there.
#[test]
fn a_timer_moves_as_well() {
    ends(|| {
        let (here, there) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let (old, old_waker) = Bell::new();
        let (new, new_waker) = Bell::new();
        let mut timer = Timer::after(Duration::from_millis(10));
        assert!(
            here.enter(|| poll_with(&mut timer, &old_waker))
                .is_pending()
        );
        assert!(
            there
                .enter(|| poll_with(&mut timer, &new_waker))
                .is_pending()
        );
        assert_eq!(here.next_deadline(), None, "it has left");
        let _driving = Driving::new(&there);
        new.wait(1);
        assert_eq!(old.rung(), 0);
        // Set from a thread that has entered nothing, it stays where it waits.
        timer.set_after(Duration::from_secs(3600));
        assert!(
            there
                .enter(|| poll_with(&mut timer, &new_waker))
                .is_pending()
        );
        let setter = thread::spawn(move || {
            timer.set_after(Duration::from_millis(1));
            timer
        });
        new.wait(2);
        drop(setter.join().unwrap());
    });
}
