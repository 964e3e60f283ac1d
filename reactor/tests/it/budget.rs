//! A task whose operations always succeed at once yields, under any executor.

use std::future::Future;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, StreamExt, future};
use untether::{Async, Timer};

use crate::support::{Bell, block_on, ends};

/// As many operations as a task may do before it has to yield.
const MOST: usize = 128;

/// Polls `future` to its end; after each poll that was pending, it must have been woken, and `done` tells how many
/// operations it has done. Returns how often it was pending.
fn yields_in_time(future: impl Future<Output = ()>, done: &AtomicUsize) -> usize {
    let mut future = pin!(future);
    let (bell, waker) = Bell::new();
    let (mut pending, mut before) = (0, 0);
    loop {
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        let now = done.load(Ordering::Relaxed);
        assert!(
            now - before <= MOST,
            "{} operations in one poll",
            now - before
        );
        before = now;
        if poll.is_ready() {
            return pending;
        }
        pending += 1;
        // What waits here never waits in earnest.
        assert_eq!(bell.rung(), pending, "pending, and not woken");
    }
}

#[test]
fn a_reader_that_always_finds_data_yields() {
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.write_all(&[1; 2000]).unwrap();
    let mut reader = Async::new(reader).unwrap();
    let done = AtomicUsize::new(0);
    let pending = yields_in_time(
        async {
            for _ in 0..2000 {
                reader.read_exact(&mut [0]).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        },
        &done,
    );
    // It must not yield all the time either.
    assert!((15..=20).contains(&pending), "{pending} yields");
}

/// The first attempt is made whatever is known of readiness, and a yield must not forgo it.
#[test]
fn an_operation_that_needs_no_readiness_yields_and_goes_on() {
    let (_writer, reader) = UnixStream::pair().unwrap();
    let reader = Async::new(reader).unwrap();
    let nothing = reader.try_read_with(|mut reader| std::io::Read::read(&mut reader, &mut [0; 8]));
    assert_eq!(
        nothing.unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "so it is not ready for reading"
    );
    let done = AtomicUsize::new(0);
    let pending = yields_in_time(
        async {
            for _ in 0..1000 {
                reader.read_with(|_| Ok(())).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        },
        &done,
    );
    assert!((7..=10).contains(&pending), "{pending} yields");
}

#[test]
fn an_interval_that_is_always_behind_yields() {
    let long_ago = Instant::now() - Duration::from_secs(1);
    let mut timer = Timer::interval_at(long_ago, Duration::from_nanos(1));
    let done = AtomicUsize::new(0);
    let pending = yields_in_time(
        async {
            for _ in 0..1000 {
                timer.next().await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        },
        &done,
    );
    assert!((7..=10).contains(&pending), "{pending} yields");
}

/// Two tasks of one thread, on an executor that knows nothing of budgets.
#[test]
fn a_greedy_task_leaves_room_for_its_neighbour() {
    ends(|| {
        block_on(async {
            let (_writer, greedy) = Async::<UnixStream>::pair().unwrap();
            let turns = Arc::new(AtomicUsize::new(0));
            let greedy_turns = turns.clone();
            let greedy = async move {
                // Always writable: nothing is written.
                loop {
                    greedy.write_with(|_| Ok(())).await.unwrap();
                    greedy_turns.fetch_add(1, Ordering::Relaxed);
                }
            };
            let neighbour = async {
                let mut polls = 0;
                future::poll_fn(|cx| {
                    polls += 1;
                    if polls > 100 {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            };
            future::or(greedy, neighbour).await;
            assert!(turns.load(Ordering::Relaxed) <= 101 * MOST);
        });
    });
}

/// The budget is the task's, so one that starts afresh is not charged for what another did before it.
#[test]
fn another_task_has_a_budget_of_its_own() {
    let (_writer, source) = Async::<UnixStream>::pair().unwrap();
    let spend = |waker: &Waker, times: usize| {
        for _ in 0..times {
            let mut future = pin!(source.write_with(|_| Ok(())));
            let poll = future.as_mut().poll(&mut Context::from_waker(waker));
            assert!(poll.is_ready(), "it yielded too early");
        }
    };
    let ((_, one), (_, other)) = (Bell::new(), Bell::new());
    spend(&one, MOST);
    spend(&other, MOST);
    spend(&one, MOST);
}

#[test]
fn entering_a_reactor_forgets_what_was_done_before() {
    let reactor = untether::Reactor::new().unwrap();
    let (bell, waker) = Bell::new();
    let operation = || {
        let mut timer = Timer::at(Instant::now());
        let poll = Pin::new(&mut timer).poll(&mut Context::from_waker(&waker));
        poll.is_ready()
    };
    // The budget is that of the waker's task.
    for _ in 0..3 {
        let done = reactor.enter(|| (0..MOST).filter(|_| operation()).count());
        assert_eq!(done, MOST);
    }
    assert_eq!(bell.rung(), 0);
    assert!(!operation());
    assert_eq!(bell.rung(), 1);
}
