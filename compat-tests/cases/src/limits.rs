//! What cannot be waited for is refused with a reason, and what is exhausted or broken harms nobody else.

use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use untether::{Async, Timer};

use crate::case::{Case, Need};
use crate::gate::{Bell, poll_with};
use crate::scene::Scene;
use crate::wires::{QUIET, quiet, raw_tcp_pair, send_byte, take_byte, tcp_listener, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            a_descriptor_that_is_not_open_is_refused,
            "A bad descriptor is taken, and its waits never end.",
        )
        .needs(&[Need::Unix]),
        Case::of(
            try_new_gives_the_object_back,
            "An object that cannot be watched is lost.",
        )
        .needs(&[Need::Unix]),
        Case::of(
            the_same_descriptor_twice_is_refused,
            "Two wrappers of one descriptor take each other's wake-ups.",
        )
        .needs(&[Need::Unix]),
        Case::of(
            a_duplicate_descriptor_is_a_source_of_its_own,
            "A stream that was split by duplicating it is woken on one half only.",
        )
        .needs(&[Need::Unix]),
        Case::of(
            a_descriptor_can_be_wrapped_again,
            "A socket that was taken out cannot be used a second time.",
        )
        .needs(&[Need::Unix]),
        #[cfg(target_os = "linux")]
        Case::of(
            a_regular_file_is_refused_with_advice,
            "Reading a file blocks the thread, or fails with no hint what to do.",
        )
        .needs(&[Need::Linux]),
        Case::of(
            two_thousand_sources_all_wake,
            "With many connections some sleep for ever.",
        )
        .needs(&[Need::Unix, Need::Alone]),
        Case::of(
            descriptors_are_given_back,
            "A program that opens and closes connections runs out of descriptors.",
        )
        .needs(&[Need::Unix, Need::OwnProcess]),
        Case::of(
            accept_without_descriptors_fails_and_recovers,
            "A server that was out of descriptors once hangs, spins, or never accepts again.",
        )
        .needs(&[Need::Unix, Need::OwnProcess]),
        Case::of(
            a_first_wait_without_descriptors_is_an_error,
            "A program that is out of descriptors crashes in its first wait.",
        )
        .needs(&[Need::Unix, Need::OwnProcess]),
        Case::of(
            a_descriptor_closed_behind_our_back_strands_nobody,
            "One task's mistake leaves unrelated tasks waiting for ever.",
        )
        .needs(&[Need::Unix, Need::OwnProcess]),
        Case::of(
            the_successor_of_a_closed_descriptor_works,
            "A new connection gets the events of one that is gone, or none.",
        )
        .needs(&[Need::Unix, Need::OwnProcess]),
        Case::of(
            a_thousand_descriptors_closed_first_leave_nothing,
            "Sources whose descriptors were closed first fill the reactor.",
        )
        .needs(&[Need::Unix, Need::OwnProcess]),
    ]
}

/// A descriptor that nothing vouches for, and that nothing closes.
#[derive(Debug, PartialEq, Eq)]
struct Bare(RawFd);

impl AsFd for Bare {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is not -1. That it stays open is what these cases deny on purpose: the system then answers
        // EBADF, and no memory depends on it. Cases that let a number become somebody else's have their own process.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// Far above what a process may have open.
const NOT_OPEN: RawFd = 1 << 30;

fn close(descriptor: RawFd) {
    // SAFETY: only for descriptors that were taken from their owners with `into_raw_fd`, and each once.
    unsafe { rustix::io::close(descriptor) }
}

fn a_descriptor_that_is_not_open_is_refused(scene: &Scene) {
    scene.run(async {
        let error = Async::new(Bare(NOT_OPEN)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&NOT_OPEN.to_string()),
            "it does not say which descriptor: {text}"
        );
        assert!(Async::new_nonblocking(Bare(NOT_OPEN)).is_err());
    });
}

fn try_new_gives_the_object_back(scene: &Scene) {
    scene.run(async {
        let refused = Async::try_new(Bare(NOT_OPEN)).unwrap_err();
        assert_eq!(refused.io, Bare(NOT_OPEN));
        let text = refused.error.to_string();
        assert!(
            text.contains(&NOT_OPEN.to_string()),
            "it does not say which descriptor: {text}"
        );
    });
}

fn the_same_descriptor_twice_is_refused(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let bell = Bell::new();
        let mut wait = pin!(there.readable());
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        let error = Async::new(there.get_ref().as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        send_byte(here.get_ref());
        steps.step("waiting for the first wrapper after the second was refused");
        bell.heard(1).await;
        wait.await.unwrap();
        take_byte(there.get_ref());
        quiet("readable", there.readable()).await;
    });
}

fn a_duplicate_descriptor_is_a_source_of_its_own(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let other = Async::new(there.get_ref().try_clone().unwrap()).unwrap();
        let (first, second) = (Bell::new(), Bell::new());
        {
            let mut first_wait = pin!(there.readable());
            let mut second_wait = pin!(other.readable());
            assert!(poll_with(first_wait.as_mut(), &first.waker()).is_pending());
            assert!(poll_with(second_wait.as_mut(), &second.waker()).is_pending());
            send_byte(here.get_ref());
            steps.step("waiting for both descriptors");
            first.heard(1).await;
            second.heard(1).await;
        }
        take_byte(there.get_ref());
        drop(other);
        // The connection is still open: somebody else holds it.
        send_byte(here.get_ref());
        steps.step("waiting for the one that is left");
        there.readable().await.unwrap();
    });
}

fn a_descriptor_can_be_wrapped_again(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, mut there) = raw_tcp_pair();
        for round in 0..50 {
            let wrapped = Async::new(there).unwrap();
            let bell = Bell::new();
            {
                let mut wait = pin!(wrapped.readable());
                assert!(
                    poll_with(wait.as_mut(), &bell.waker()).is_pending(),
                    "round {round}: something stale"
                );
                send_byte(&here);
                steps.step(&format!("waiting in round {round}"));
                bell.heard(1).await;
            }
            take_byte(wrapped.get_ref());
            there = wrapped.into_inner().unwrap();
            assert!(
                bell.is_let_go().await,
                "a wrapper that is gone kept its waker"
            );
        }
    });
}

#[cfg(target_os = "linux")]
fn a_regular_file_is_refused_with_advice(scene: &Scene) {
    scene.run(async {
        let error = Async::new(tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("blocking"),
            "it does not say what to use instead (the crate blocking): {text}"
        );
    });
}

/// Makes room for `wanted` descriptors, or skips the case.
fn allow_descriptors(scene: &Scene, wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        scene.skip(format!("needs {wanted} descriptors, and may not have them"));
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        scene.skip(format!("cannot have {wanted} descriptors: {error}"));
    }
}

fn two_thousand_sources_all_wake(scene: &Scene) {
    const SOURCES: usize = 2_000;
    allow_descriptors(scene, 3_000);
    let steps = scene.clone();
    scene.run(async move {
        let sender = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let sockets: Vec<_> = (0..SOURCES)
            .map(|_| Async::<UdpSocket>::bind(([127, 0, 0, 1], 0)).unwrap())
            .collect();
        for round in 1..=2 {
            let mut waits = Vec::new();
            for socket in &sockets {
                let bell = Bell::new();
                let mut wait = Box::pin(socket.readable());
                assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
                waits.push((wait, bell));
            }
            // 7 and 2,000 have no common factor: every source, in no order.
            for step in 0..SOURCES {
                let address = sockets[step * 7 % SOURCES].get_ref().local_addr().unwrap();
                sender.send_to(b"!", address).unwrap();
            }
            for (number, (wait, bell)) in waits.into_iter().enumerate() {
                steps.step(&format!("waiting for source {number} in round {round}"));
                bell.heard(1).await;
                wait.await.unwrap();
                assert_eq!(sockets[number].get_ref().recv(&mut [0; 8]).unwrap(), 1);
            }
        }
    });
}

/// How many descriptors this process has open.
fn open_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(20_000);
    (0..limit.min(20_000))
        .filter(|number| {
            let bare = Bare(RawFd::try_from(*number).expect("below 20,000"));
            rustix::io::fcntl_getfd(bare).is_ok()
        })
        .count()
}

fn descriptors_are_given_back(scene: &Scene) {
    // The first run may make what the process keeps.
    for _ in 0..3 {
        scene.run(some_io());
    }
    let before = open_descriptors();
    for round in 0..100 {
        scene.step(&format!("running, round {round}"));
        scene.run(some_io());
    }
    let after = open_descriptors();
    assert!(
        after <= before + 10,
        "{before} descriptors before a hundred runs, {after} after them"
    );
}

async fn some_io() {
    let (here, there) = tcp_pair();
    let bell = Bell::new();
    let mut wait = pin!(there.readable());
    assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
    send_byte(here.get_ref());
    bell.heard(1).await;
    wait.await.unwrap();
    Timer::after(Duration::from_micros(100)).await;
}

/// Takes every descriptor that this process may have; they come back when it is dropped.
fn take_all_descriptors() -> Vec<std::os::fd::OwnedFd> {
    let limit = getrlimit(Resource::Nofile);
    let lowered = Rlimit {
        current: Some(256),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, lowered).unwrap();
    let something = io::stdout();
    let mut taken = Vec::new();
    while let Ok(descriptor) = something.as_fd().try_clone_to_owned() {
        taken.push(descriptor);
    }
    taken
}

fn accept_without_descriptors_fails_and_recovers(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        // Whatever the reactor needs, it has by now.
        some_io().await;
        let (listener, address) = tcp_listener();
        let bell = Bell::new();
        {
            let mut accept = pin!(listener.accept());
            assert!(poll_with(accept.as_mut(), &bell.waker()).is_pending());
            let client =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            let taken = take_all_descriptors();
            client.connect(&address.into()).unwrap();
            steps.step("accepting without a descriptor left");
            let error = accept.await.unwrap_err();
            let expected = Some(rustix::io::Errno::MFILE.raw_os_error());
            assert_eq!(error.raw_os_error(), expected, "{error}");
            // As often as one asks, and other sources go on meanwhile.
            assert!(listener.accept().await.is_err());
            Timer::after(Duration::from_millis(1)).await;
            drop(taken);
            steps.step("accepting with descriptors again");
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap().as_socket().unwrap());
        }
        let _client = TcpStream::connect(address).unwrap();
        steps.step("accepting the next connection");
        listener.accept().await.unwrap();
    });
}

fn a_first_wait_without_descriptors_is_an_error(scene: &Scene) {
    let (here, there) = raw_tcp_pair();
    let taken = take_all_descriptors();
    // On a plain thread: what a runtime does without descriptors is its own affair.
    scene.step("waiting without a descriptor left");
    let there = match Async::try_new(there) {
        Ok(there) => {
            send_byte(&here);
            let ended = future::block_on(there.readable());
            // The byte may be noticed without a reactor.
            if let Err(error) = ended {
                let expected = Some(rustix::io::Errno::MFILE.raw_os_error());
                assert_eq!(error.raw_os_error(), expected, "{error}");
            }
            take_byte(there.get_ref());
            let bell = Bell::new();
            let poll = poll_with(pin!(there.readable()), &bell.waker());
            assert!(
                matches!(poll, std::task::Poll::Ready(Err(_))),
                "nobody can watch this: {poll:?}"
            );
            there
        }
        Err(refused) => {
            let expected = Some(rustix::io::Errno::MFILE.raw_os_error());
            assert_eq!(refused.error.raw_os_error(), expected, "{}", refused.error);
            drop(taken);
            let there = Async::new(refused.io).unwrap();
            scene.step("waiting with descriptors again");
            send_byte(&here);
            return future::block_on(there.readable()).unwrap();
        }
    };
    drop(taken);
    scene.step("waiting with descriptors again");
    let there = Arc::new(there);
    let bell = Bell::new();
    let mut wait = Box::pin(there.clone().readable_owned());
    assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
    send_byte(&here);
    bell.heard_blocking(1);
    future::block_on(wait).unwrap();
}

fn a_descriptor_closed_behind_our_back_strands_nobody(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        for round in 0..20 {
            let (broken_peer, broken) = raw_tcp_pair();
            // Keeps the connection open, and the closed descriptor's entry in epoll alive.
            let duplicate = broken.try_clone().unwrap();
            let broken = Async::new(Bare(broken.into_raw_fd())).unwrap();
            let others: Vec<_> = (0..4).map(|_| tcp_pair()).collect();
            let bells: Vec<_> = (0..4).map(|_| Bell::new()).collect();
            let broken_bell = Bell::new();
            let mut broken_wait = pin!(broken.readable());
            assert!(poll_with(broken_wait.as_mut(), &broken_bell.waker()).is_pending());
            let mut waits: Vec<_> = others
                .iter()
                .zip(&bells)
                .map(|((_, there), bell)| {
                    let mut wait = Box::pin(there.readable());
                    assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
                    wait
                })
                .collect();
            close(broken.get_ref().0);
            send_byte(&broken_peer);
            for (here, _) in &others {
                send_byte(here.get_ref());
            }
            for (number, bell) in bells.iter().enumerate() {
                steps.step(&format!("waiting for bystander {number} in round {round}"));
                bell.heard(1).await;
            }
            for wait in &mut waits {
                wait.as_mut().await.unwrap();
            }
            steps.step(&format!("waiting on a closed descriptor in round {round}"));
            // Told somehow: by an error, or by being woken to find out.
            let given_up = async {
                Timer::after(Duration::from_secs(2)).await;
                Err(io::ErrorKind::TimedOut.into())
            };
            let told = future::or(broken_wait, given_up).await;
            // Another thread of the runtime may have been given the number meanwhile; then nobody can tell.
            let taken = rustix::io::fcntl_getfd(broken.get_ref()).is_ok();
            if let (Err(error), false) = (told, taken) {
                assert_ne!(
                    error.kind(),
                    io::ErrorKind::TimedOut,
                    "a wait on a closed descriptor is never told"
                );
            }
            drop(duplicate);
            // `broken` goes now, and must not take another descriptor along: there is none of its number.
        }
    });
}

fn the_successor_of_a_closed_descriptor_works(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let mut successors = 0;
        for round in 0..20 {
            let (old_peer, old) = raw_tcp_pair();
            let duplicate = old.try_clone().unwrap();
            let old = Async::new(Bare(old.into_raw_fd())).unwrap();
            let number = old.get_ref().0;
            let bell = Bell::new();
            assert!(poll_with(pin!(old.readable()), &bell.waker()).is_pending());
            close(number);
            drop(old);
            // The lowest free number is taken again, unless another thread was quicker.
            let (mut here, mut there) = raw_tcp_pair();
            if here.as_raw_fd() == number {
                std::mem::swap(&mut here, &mut there);
            }
            successors += usize::from(there.as_raw_fd() == number);
            let there = Async::new(there).unwrap();
            let bell = Bell::new();
            let mut wait = pin!(there.readable());
            assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
            // News of the old connection, which lives on in the duplicate, is not for the new one.
            send_byte(&old_peer);
            Timer::after(QUIET).await;
            assert_eq!(bell.rings(), 0, "woken for an event of its predecessor");
            send_byte(&here);
            steps.step(&format!("waiting for the successor in round {round}"));
            wait.await.unwrap();
            take_byte(there.get_ref());
            drop(duplicate);
        }
        assert!(successors > 0, "no number was ever taken again");
    });
}

fn a_thousand_descriptors_closed_first_leave_nothing(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let bell = Bell::new();
        let before = open_descriptors();
        for _ in 0..1_000 {
            let (_peer, socket) = UnixStream::pair().unwrap();
            let source = Async::new(Bare(socket.into_raw_fd())).unwrap();
            assert!(poll_with(pin!(source.readable()), &bell.waker()).is_pending());
            close(source.get_ref().0);
            drop(source);
        }
        assert_eq!(bell.owners(), 1, "sources that are gone kept their wakers");
        let after = open_descriptors();
        assert!(after <= before + 10, "{before} descriptors, then {after}");
        steps.step("waiting after a thousand broken sources");
        some_io().await;
    });
}
