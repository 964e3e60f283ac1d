//! What cannot be watched is refused with a reason, and what breaks while it is watched harms nobody else.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use untether::{Async, Reactor, Timer, timeout};

use crate::support::{
    Bell, Lent, block_on, block_on_in, ends, in_child, is_poll, look, poll_once, poll_with,
};

fn refused<T: std::os::fd::AsFd>(io: T) -> std::io::Error {
    let reactor = Reactor::new().unwrap();
    reactor.enter(|| refused_here(io))
}

fn refused_here<T: std::os::fd::AsFd>(io: T) -> std::io::Error {
    match Async::new(io) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    }
}

#[test]
fn a_closed_descriptor_is_refused() {
    in_child("bad_input::a_closed_descriptor_is_refused", || {
        let reactor = Reactor::new().unwrap();
        let fd = UnixStream::pair().unwrap().0.into_raw_fd();
        Lent::close(fd);
        let error = reactor.enter(|| refused_here(Lent(fd)));
        assert!(
            error.to_string().contains("not an open descriptor"),
            "{error}"
        );
        assert!(error.to_string().contains(&fd.to_string()), "{error}");
        Async::new_nonblocking(Lent(fd)).unwrap_err();
    });
}

#[test]
fn a_regular_file_is_refused_with_advice() {
    let error = refused(tempfile::tempfile().unwrap());
    let said = error.to_string();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(
        said.contains("regular file") && said.contains("blocking"),
        "{said}"
    );
}

#[test]
fn a_directory_is_refused_with_advice() {
    let error = refused(File::open("/").unwrap());
    assert!(error.to_string().contains("directory"), "{error}");
}

/// Always ready, and no file in the kernel's eyes: epoll refuses it, poll(2) does not.
#[test]
fn dev_null_is_refused_or_works() {
    ends(|| {
        let reactor = Reactor::new().unwrap();
        block_on_in(&reactor, async {
            let null = File::options().read(true).write(true).open("/dev/null");
            match Async::try_new(null.unwrap()) {
                Err(refused) => {
                    assert_eq!(refused.error.kind(), ErrorKind::PermissionDenied);
                    assert!(refused.error.to_string().contains("always ready"));
                }
                Ok(null) => {
                    null.readable().await.unwrap();
                    let n = null.read_with(|mut null| null.read(&mut [0; 8])).await;
                    assert_eq!(n.unwrap(), 0);
                }
            }
        });
    });
}

#[test]
fn the_same_descriptor_twice_is_refused_and_the_first_works_on() {
    let reactor = Reactor::new().unwrap();
    reactor.enter(|| {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let fd = one.as_raw_fd();
        let source = Async::new(one).unwrap();
        let error = Async::new(Lent(fd)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("already registered"), "{error}");
        let (bell, waker) = Bell::new();
        let mut readable = source.readable();
        assert!(poll_with(&mut readable, &waker).is_pending());
        peer.write_all(b"x").unwrap();
        while look(&reactor) != 0 {}
        assert_eq!(bell.rung(), 1);
    });
}

/// As the reactor sees it: it is closed while a task waits for it, with or without a duplicate that lives on.
fn closed_while_waited_on(with_duplicate: bool) {
    ends(move || {
        let reactor = Reactor::new().unwrap();
        block_on_in(&reactor, async {
            let (one, mut peer) = UnixStream::pair().unwrap();
            let (other, mut other_peer) = Async::<UnixStream>::pair().unwrap();
            let duplicate = with_duplicate.then(|| one.try_clone().unwrap());
            let fd = one.into_raw_fd();
            let lost = Async::new(Lent(fd)).unwrap();
            let others = async {
                other.readable().await.unwrap();
                Timer::after(Duration::from_millis(1)).await;
            };
            let breaks = async {
                future::yield_now().await;
                Lent::close(fd);
                let _ = peer.write_all(b"x");
                other_peer.write_all(b"x").await.unwrap();
            };
            // epoll does not tell of a descriptor that is gone, so this wait may go on; poll(2) does.
            let wait = async {
                match timeout(Duration::from_millis(20), lost.readable()).await {
                    Ok(result) => result.map_err(Some),
                    Err(_) => Err(None),
                }
            };
            let (waited, _) = future::zip(wait, future::zip(others, breaks)).await;
            if with_duplicate || is_poll() {
                // The duplicate goes on firing: readiness, and then the truth of the descriptor.
                assert!(!matches!(waited, Err(None)), "never told");
            }
            // Whoever tries is told.
            let error = lost.writable().await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
            let read = lost.read_with(|fd| Ok(rustix::io::read(fd, &mut [0; 8][..])?));
            assert_eq!(read.await.unwrap_err().raw_os_error(), Some(libc::EBADF));
            drop(lost);
            // The reactor is as good as before.
            other_peer.write_all(b"x").await.unwrap();
            other.readable().await.unwrap();
            drop(duplicate);
        });
    });
}

#[test]
fn a_descriptor_closed_while_waited_on_strands_nobody_else() {
    in_child(
        "bad_input::a_descriptor_closed_while_waited_on_strands_nobody_else",
        || closed_while_waited_on(false),
    );
}

#[test]
fn a_descriptor_closed_while_waited_on_whose_duplicate_lives_strands_nobody() {
    if is_poll() {
        println!("skipped: poll(2) knows descriptors by number");
        return;
    }
    in_child(
        "bad_input::a_descriptor_closed_while_waited_on_whose_duplicate_lives_strands_nobody",
        || closed_while_waited_on(true),
    );
}

/// A lie told to the poller: the object names another descriptor each time it is asked.
#[test]
fn an_object_that_changes_its_descriptor_harms_only_itself() {
    struct Liar(std::cell::Cell<RawFd>, RawFd);
    impl std::os::fd::AsFd for Liar {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            let fd = self.0.replace(self.1);
            // SAFETY: both descriptors are open for as long as the test holds their owners.
            unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
        }
    }
    let reactor = Reactor::new().unwrap();
    reactor.enter(|| {
        let (one, _one_peer) = UnixStream::pair().unwrap();
        let (two, mut two_peer) = UnixStream::pair().unwrap();
        let honest_fd = two.as_raw_fd();
        let honest = Async::new(two).unwrap();
        let liar = Async::new_nonblocking(Liar(one.as_raw_fd().into(), honest_fd)).unwrap();
        drop(liar);
        let (bell, waker) = Bell::new();
        let mut readable = honest.readable();
        assert!(poll_with(&mut readable, &waker).is_pending());
        two_peer.write_all(b"x").unwrap();
        while look(&reactor) != 0 {}
        assert_eq!(bell.rung(), 1, "the liar has taken it out of the poller");
    });
}

/// All descriptors that this process may have, until it is dropped.
struct Hoard {
    before: Rlimit,
    hoarded: Vec<OwnedFd>,
}

impl Hoard {
    /// Leaves `spare` of them to others.
    fn all_but(spare: usize) -> Hoard {
        let before = getrlimit(Resource::Nofile);
        let open = descriptors();
        let limit = Rlimit {
            current: Some(open as u64 + 16),
            ..before
        };
        setrlimit(Resource::Nofile, limit).unwrap();
        let (one, other) = rustix::pipe::pipe().unwrap();
        let mut hoarded = vec![one, other];
        while let Ok(another) = hoarded[0].try_clone() {
            hoarded.push(another);
        }
        for _ in 0..spare {
            hoarded.pop();
        }
        Hoard { before, hoarded }
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        self.hoarded.clear();
        setrlimit(Resource::Nofile, self.before).unwrap();
    }
}

/// How many descriptors this process has open.
fn descriptors() -> usize {
    std::fs::read_dir("/dev/fd").unwrap().count() - 1
}

#[test]
fn a_reactor_without_descriptors_to_spare_is_an_error() {
    in_child(
        "bad_input::a_reactor_without_descriptors_to_spare_is_an_error",
        || {
            let open = descriptors();
            let mut refused = 0;
            for spare in 0..=5 {
                let hoard = Hoard::all_but(spare);
                let made = Reactor::new();
                drop(hoard);
                match made {
                    Ok(reactor) => {
                        assert!(spare > 0, "out of nothing");
                        drop(reactor);
                    }
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                        refused += 1;
                    }
                }
                // What was opened is closed again.
                assert_eq!(descriptors(), open, "{spare} to spare");
            }
            assert!((1..=5).contains(&refused), "five are enough");
        },
    );
}

/// The first wait makes the global reactor's poller; if the OS refuses, that wait fails, and a later one succeeds.
#[test]
fn a_first_wait_without_descriptors_to_spare_fails_and_the_next_works() {
    in_child(
        "bad_input::a_first_wait_without_descriptors_to_spare_fails_and_the_next_works",
        || {
            ends(|| {
                let (source, mut peer) = Async::<UnixStream>::pair().unwrap();
                let hoard = Hoard::all_but(0);
                let refused = future::block_on(source.readable());
                drop(hoard);
                assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EMFILE));
                future::block_on(async {
                    let (read, write) = future::zip(source.readable(), peer.write_all(b"x")).await;
                    read.and(write).unwrap();
                });
            });
        },
    );
}

/// A timer has no error to return: it fires all the same, once there are descriptors.
#[test]
fn a_timer_without_descriptors_to_spare_fires_later() {
    in_child(
        "bad_input::a_timer_without_descriptors_to_spare_fires_later",
        || {
            ends(|| {
                let hoard = Hoard::all_but(0);
                let mut timer = Timer::after(Duration::from_millis(5));
                let (bell, waker) = Bell::new();
                assert!(poll_with(&mut timer, &waker).is_pending());
                std::thread::sleep(Duration::from_millis(30));
                drop(hoard);
                bell.wait(1);
                assert!(poll_once(&mut timer).is_ready());
            });
        },
    );
}

#[test]
fn a_listener_without_descriptors_to_spare_goes_on_later() {
    in_child(
        "bad_input::a_listener_without_descriptors_to_spare_goes_on_later",
        || {
            ends(|| {
                block_on(async {
                    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
                    let address = listener.get_ref().local_addr().unwrap();
                    // It waits first, so that the connections come as one event.
                    let clients = async {
                        future::yield_now().await;
                        [(); 3].map(|()| TcpStream::connect(address).unwrap())
                    };
                    let (first, clients) = future::zip(listener.accept(), clients).await;
                    first.unwrap();
                    let hoard = Hoard::all_but(1);
                    let mut accepted = Vec::new();
                    let error = loop {
                        match listener.accept().await {
                            Ok(connection) => accepted.push(connection),
                            Err(error) => break error,
                        }
                    };
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                    let again = listener.accept().await.unwrap_err();
                    assert_eq!(again.raw_os_error(), Some(libc::EMFILE), "{again}");
                    drop(hoard);
                    while accepted.len() < 2 {
                        accepted.push(listener.accept().await.unwrap());
                    }
                    drop(clients);
                });
            });
        },
    );
}

/// Signals with a handler interrupt every wait, thousands of times a second, on the thread that waits.
#[test]
fn a_storm_of_signals_ends_no_wait_too_early_and_loses_nothing() {
    static CAUGHT: AtomicU32 = AtomicU32::new(0);
    extern "C" fn caught(_: libc::c_int) {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
    }
    in_child(
        "bad_input::a_storm_of_signals_ends_no_wait_too_early_and_loses_nothing",
        || {
            let handler: extern "C" fn(libc::c_int) = caught;
            // SAFETY: all zero is a valid `sigaction` (no flags, so system calls are not restarted; an empty mask), and
            // the handler touches an atomic and nothing else.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as libc::sighandler_t;
                let old = std::ptr::null_mut();
                assert_eq!(libc::sigaction(libc::SIGUSR1, &action, old), 0);
            }
            // SAFETY: it has no conditions.
            let target = unsafe { libc::pthread_self() };
            let stop = Arc::new(AtomicBool::new(false));
            let storm = {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        // SAFETY: the thread lives until it has joined this one; the signal has a handler.
                        assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
                        std::thread::sleep(Duration::from_micros(100));
                    }
                })
            };
            // An interrupted wait is a turn in which nothing happened.
            let reactor = Reactor::new().unwrap();
            let before = CAUGHT.load(Ordering::Relaxed);
            while CAUGHT.load(Ordering::Relaxed) < before + 50 {
                let turn = reactor.turn(Some(Duration::from_millis(2))).unwrap();
                assert!(turn.seated && turn.events == 0);
            }
            block_on(async {
                let (mut one, mut other) = Async::<UnixStream>::pair().unwrap();
                for round in 0..200u32 {
                    let limit = Duration::from_millis(1);
                    let start = std::time::Instant::now();
                    assert!(timeout(limit, one.readable()).await.is_err());
                    assert!(start.elapsed() >= limit, "round {round}: too early");
                    let mut bytes = [0; 4];
                    let (read, write) = future::zip(one.read_exact(&mut bytes), async {
                        future::yield_now().await;
                        other.write_all(&round.to_le_bytes()).await
                    })
                    .await;
                    read.and(write).unwrap();
                    assert_eq!(bytes, round.to_le_bytes());
                }
            });
            stop.store(true, Ordering::Release);
            storm.join().unwrap();
            println!("figure: {} signals", CAUGHT.load(Ordering::Relaxed));
        },
    );
}

/// The peer resets the connection instead of closing it.
#[test]
fn a_reset_ends_both_directions() {
    ends(|| {
        block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let mut stream = Async::<TcpStream>::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (peer, _) = listener.accept().unwrap();
            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            let reset = async {
                future::yield_now().await;
                drop(peer);
            };
            let mut byte = [0];
            let (read, ()) = future::zip(stream.read(&mut byte), reset).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
            stream.writable().await.unwrap();
            stream.write(b"x").await.unwrap_err();
        });
    });
}
