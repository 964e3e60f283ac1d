//! A child process of `fork` starts anew, and leaves what its parent waits for alone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use futures_lite::future::{self, block_on as foreign_block_on};
use untether::{Async, Reactor, Timer, timeout};

use crate::support::{block_on, in_child};

/// Forks; `child` runs in the child, and what it finds wrong is reported in the parent.
fn forked(child: impl FnOnce()) {
    // SAFETY: fork wants the child of a program with several threads to keep to functions that are safe in a signal
    // handler. glibc lets it allocate; the locks of this library are what is being tested; and the child does not
    // return from here.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
        // SAFETY: it wants nothing, and runs no destructors of the parent's.
        unsafe { libc::_exit(i32::from(!fine)) };
    }
    let mut status = 0;
    // SAFETY: `status` lives.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    assert_eq!(
        libc::WEXITSTATUS(status),
        0,
        "the child has said what is wrong"
    );
}

/// One byte over a pair, and a timer, with a waiting side each.
async fn converse() {
    let (one, mut other) = Async::<UnixStream>::pair().unwrap();
    let answer = async {
        Timer::after(Duration::from_millis(5)).await;
        one.write_with(|mut io| io.write(b"x")).await.unwrap();
    };
    let mut buf = [0; 1];
    let question = futures_lite::AsyncReadExt::read_exact(&mut other, &mut buf);
    future::zip(question, answer).await.0.unwrap();
    assert_eq!(&buf, b"x");
}

#[test]
fn a_child_does_its_own_io_everywhere() {
    in_child("fork::a_child_does_its_own_io_everywhere", || {
        foreign_block_on(converse());
        block_on(converse());
        forked(|| {
            foreign_block_on(converse());
            block_on(converse());
            // And once more, for a child of a child.
            forked(|| foreign_block_on(converse()));
        });
        foreign_block_on(converse());
    });
}

#[test]
fn what_belongs_to_the_parent_answers_with_an_error_in_the_child() {
    let name = "fork::what_belongs_to_the_parent_answers_with_an_error_in_the_child";
    in_child(name, || {
        let reactor = Reactor::new().unwrap();
        let (one, _other) = Async::<UnixStream>::pair().unwrap();
        let pinned = Async::new_in(UnixStream::pair().unwrap().0, &reactor).unwrap();
        let global = Reactor::global();
        forked(|| {
            for source in [&one, &pinned] {
                let error = foreign_block_on(source.readable()).unwrap_err();
                assert!(error.to_string().contains("fork"), "{error}");
                let error = source
                    .try_read_with(|mut io| io.read(&mut [0]))
                    .unwrap_err();
                assert!(error.to_string().contains("fork"), "{error}");
            }
            let error = reactor.turn(Some(Duration::ZERO)).unwrap_err();
            assert!(error.to_string().contains("fork"), "{error}");
            assert!(!reactor.is_alive() && !global.is_alive());
            reactor.enter(|| assert_ne!(Reactor::current(), reactor));
            assert_ne!(Reactor::global(), global);
            assert!(!Reactor::all().contains(&reactor));
        });
        assert!(reactor.is_alive() && global == Reactor::global());
    });
}

#[test]
fn dropping_the_parents_things_in_the_child_leaves_the_parent_working() {
    let name = "fork::dropping_the_parents_things_in_the_child_leaves_the_parent_working";
    in_child(name, || {
        let (source, mut peer) = UnixStream::pair().unwrap();
        let reactor = Reactor::new().unwrap();
        let source = Async::new_in(source, &reactor).unwrap();
        let mut timer = Timer::after(Duration::from_secs(3600));
        let mut wait = Box::pin(source.readable());
        reactor.enter(|| {
            assert!(foreign_block_on(future::poll_once(&mut wait)).is_none());
            assert!(foreign_block_on(future::poll_once(&mut timer)).is_none());
        });
        // Moved into the child's copy of the closure, and dropped there; the parent keeps its own.
        let (wait, timer) = (
            std::mem::ManuallyDrop::new(wait),
            std::mem::ManuallyDrop::new(timer),
        );
        forked(|| {
            let mut copies = (unsafe_copy(&*wait), unsafe_copy(&*timer));
            copies.1.set_after(Duration::from_millis(1));
            foreign_block_on(&mut copies.1);
            drop(copies);
            drop(unsafe_copy(&source));
            drop(unsafe_copy(&reactor));
        });
        drop(std::mem::ManuallyDrop::into_inner(timer));

        peer.write_all(b"x").unwrap();
        let mut wait = std::mem::ManuallyDrop::into_inner(wait);
        reactor.enter(|| {
            while reactor.turn(Some(Duration::from_secs(10))).unwrap().events == 0 {}
            foreign_block_on(future::poll_once(&mut wait))
                .expect("ready")
                .unwrap();
        });
    });

    /// What the child process has of the parent's: the same bytes in memory of its own.
    fn unsafe_copy<T>(original: &T) -> T {
        // SAFETY: reading a value twice wants only one of the two to be used: this one is used in the child, whose
        // memory is a copy, and which ends without dropping the other.
        unsafe { std::ptr::read(original) }
    }
}

#[test]
fn a_fork_while_others_are_busy_leaves_no_lock_behind() {
    in_child(
        "fork::a_fork_while_others_are_busy_leaves_no_lock_behind",
        || {
            let busy: Vec<_> = (0..3)
                .map(|_| {
                    std::thread::spawn(|| {
                        for _ in 0..2_000 {
                            drop(Async::<UnixStream>::pair().unwrap());
                            drop(Reactor::new().unwrap());
                        }
                    })
                })
                .collect();
            for _ in 0..50 {
                forked(|| {
                    foreign_block_on(timeout(Duration::from_secs(20), converse())).unwrap();
                });
            }
            for thread in busy {
                thread.join().unwrap();
            }
        },
    );
}

#[test]
fn a_program_that_was_started_anew_has_no_part_in_it() {
    // `Command` forks and executes; nothing of ours may disturb that.
    foreign_block_on(converse());
    assert!(Command::new("true").status().unwrap().success());
    foreign_block_on(converse());
}
