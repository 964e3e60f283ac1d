//! The thread of a reactor that nobody owns lets executors catch up, but for no longer than it has promised.
//!
//! How long it waits at most is read from what it asks of the kernel, which does not depend on when it gets a core.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use untether::{Async, Policy, Reactor};

use crate::support::{
    Bell, child_of, in_child, is_child, open, poll_once, poll_with, succeeds, waker,
};

/// What is promised (`gate`): nobody is delayed by more.
const BOUND: Duration = Duration::from_millis(3);

/// A source whose event wakes two tasks that never come back, as if they computed for ever; and then one that has
/// nothing to do with them.
#[test]
fn an_unrelated_source_is_delayed_by_no_more_than_the_bound() {
    const NAME: &str = "gate::an_unrelated_source_is_delayed_by_no_more_than_the_bound";
    if is_child(NAME) {
        return in_child(NAME, unrelated_news_beside_tasks_that_never_come_back);
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "-e", "trace=futex,getppid", "-o"]);
    if !Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: there is no strace here, or it may not trace");
        return;
    }
    strace.arg(&trace).arg(std::env::current_exe().unwrap());
    succeeds(child_of(strace, NAME));

    let waits = waits_of_the_marking_thread(&fs::read_to_string(&trace).unwrap());
    println!("figure: the thread of the reactor waits for {waits:?} at most");
    assert!(!waits.is_empty(), "it does not let anybody catch up");
    // The clocks that are compared here may drift by some microseconds.
    let longest = waits.into_iter().max().unwrap();
    assert!(longest <= BOUND + Duration::from_micros(100), "{longest:?}");
}

fn unrelated_news_beside_tasks_that_never_come_back() {
    let reactor = Reactor::builder().policy(Policy::Auto).build().unwrap();
    reactor.enter(|| {
        let (crowded, mut crowd) = UnixStream::pair().unwrap();
        let (unrelated, mut other) = UnixStream::pair().unwrap();
        let crowded = Async::new(crowded).unwrap();
        let unrelated = Async::new(unrelated).unwrap();
        for _ in 0..30 {
            let (mut one, mut two) = (crowded.readable(), crowded.readable());
            let (woken, _) = Bell::new();
            let lost = {
                let woken = woken.clone();
                waker(move || {
                    // Says in the trace which thread this is.
                    let _ = rustix::process::getppid();
                    open(&woken);
                })
            };
            assert!(poll_with(&mut one, &lost).is_pending());
            assert!(poll_with(&mut two, &lost).is_pending());
            let (bell, waker) = Bell::new();
            let mut readable = unrelated.readable();
            assert!(poll_with(&mut readable, &waker).is_pending());

            crowd.write_all(b"x").unwrap();
            woken.wait(2);
            other.write_all(b"x").unwrap();
            bell.wait(1);

            for source in [&crowded, &unrelated] {
                let mut byte = [0];
                let read =
                    source.read_with(|mut stream| std::io::Read::read(&mut stream, &mut byte));
                assert!(poll_once(&mut std::pin::pin!(read)).is_ready());
            }
        }
    });
    reactor.shutdown();
}

/// For how long the thread that made a mark has asked to sleep, each time: the end that it named, minus the time of the
/// call.
fn waits_of_the_marking_thread(trace: &str) -> Vec<Duration> {
    // The kernel is told the end by one clock; strace tells the time by another.
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    let booted = SystemTime::now() - now;
    let calls: Vec<(&str, Duration, &str)> = trace
        .lines()
        .filter_map(|line| {
            let (thread, rest) = line.split_once(' ')?;
            let (time, call) = rest.trim_start().split_once(' ')?;
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(time.parse().ok()?);
            Some((thread, at.duration_since(booted).ok()?, call))
        })
        .collect();
    let mark = calls
        .iter()
        .find(|(_, _, call)| call.starts_with("getppid"));
    let marking = mark.expect("a mark").0;
    calls
        .iter()
        .filter(|(thread, _, call)| *thread == marking && call.contains("FUTEX_WAIT"))
        .filter_map(|(_, at, call)| {
            let (_, end) = call.split_once("{tv_sec=")?;
            let (seconds, end) = end.split_once(", tv_nsec=")?;
            let (ns, _) = end.split_once('}')?;
            let end = Duration::new(seconds.parse().ok()?, ns.parse().ok()?);
            Some(end.saturating_sub(*at))
        })
        .collect()
}
