//! In a pool, a task that is always ready starves nobody: how many polls of it the others wait for.
//!
//! One thread, so that nobody else can help; and the task that is always ready brings about what it is to be measured
//! against, so that no thread's delay counts.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;

use untether_executors::{Pool, block_on, yield_now};

/// How often a task may run out of turn, because it was woken last.
const OUT_OF_TURN: usize = 7;
/// How many polls there are between two turns, and between two looks at what comes from outside.
const PER_TURN: usize = 61;

/// A task that is always ready, counts its polls, and does `act` in the hundredth.
async fn busy(polls: Arc<AtomicUsize>, act: impl FnOnce() + Send) {
    let mut act = Some(act);
    loop {
        if polls.fetch_add(1, SeqCst) == 100 {
            if let Some(act) = act.take() {
                act();
            }
        }
        yield_now().await;
    }
}

/// The number of polls when it is polled itself.
fn look(polls: &Arc<AtomicUsize>) -> impl Future<Output = usize> + Send + 'static {
    let polls = polls.clone();
    async move { polls.load(SeqCst) }
}

#[test]
fn a_task_of_another_thread_waits_for_61_polls_at_most() {
    let pool = Pool::new(1).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let (sender, late) = mpsc::channel();
    let (handle, looking) = (pool.handle(), look(&polls));
    let act = move || {
        let spawning = thread::spawn(move || sender.send(handle.spawn(looking)).unwrap());
        spawning.join().unwrap();
    };
    pool.spawn(busy(polls, act)).detach();
    let waited = block_on(late.recv().unwrap()) - 100;
    assert!(waited <= PER_TURN, "{waited}");
}

#[test]
fn a_wake_of_another_thread_waits_for_61_polls_at_most() {
    let pool = Pool::new(1).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let (sender, wakers) = mpsc::channel();
    let (pending, looking) = (crate::pending(sender, 1), look(&polls));
    let task = pool.spawn(async {
        pending.await;
        looking.await
    });
    let waker: Waker = wakers.recv().unwrap();
    let act = move || thread::spawn(move || waker.wake()).join().unwrap();
    pool.spawn(busy(polls, act)).detach();
    let waited = block_on(task) - 100;
    assert!(waited <= PER_TURN, "{waited}");
}

#[cfg(unix)]
#[test]
fn an_event_waits_for_61_polls_at_most() {
    use futures_lite::AsyncReadExt;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use untether::Async;

    let pool = Pool::new(1).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (started, start) = mpsc::channel();
    let looking = look(&polls);
    let task = pool.spawn(async move {
        let mut ours = Async::new(ours).unwrap();
        let mut read = Box::pin(async move { ours.read(&mut [0; 1]).await.unwrap() });
        poll_fn(|cx| {
            let poll = read.as_mut().poll(cx);
            let _ = started.send(());
            poll.map(drop)
        })
        .await;
        looking.await
    });
    start.recv().unwrap();
    // It is there when the call returns.
    let act = move || theirs.write_all(b"x").unwrap();
    pool.spawn(busy(polls, act)).detach();
    let waited = block_on(task) - 100;
    // The turn, and the turn of the task that it wakes.
    assert!(waited <= PER_TURN + 1, "{waited}");
}

#[test]
fn two_tasks_that_wake_each_other_run_7_times_out_of_turn() {
    let pool = Pool::new(1).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let places: [Arc<Mutex<Option<Waker>>>; 2] = Default::default();
    let player = |player: usize| {
        let polls = polls.clone();
        let [own, other] = [places[player].clone(), places[1 - player].clone()];
        poll_fn::<(), _>(move |cx| {
            polls.fetch_add(1, SeqCst);
            *own.lock().unwrap() = Some(cx.waker().clone());
            let other = other.lock().unwrap().take();
            if let Some(waker) = other {
                waker.wake();
            }
            Poll::Pending
        })
    };
    let (one, two) = (player(0), player(1));
    let (handle, counted) = (pool.handle(), polls.clone());
    let most = pool.block_on(pool.spawn(async move {
        handle.spawn(one).detach();
        handle.spawn(two).detach();
        // They begin, each in its own turn.
        yield_now().await;
        let mut most = 0;
        for _ in 0..1_000 {
            let before = counted.load(SeqCst);
            yield_now().await;
            most = most.max(counted.load(SeqCst) - before);
        }
        most
    }));
    assert!((2..=OUT_OF_TURN).contains(&most), "{most}");
}

#[test]
fn all_who_are_always_ready_have_their_turn() {
    let pool = Pool::new(1).unwrap();
    let polls: Arc<Vec<AtomicUsize>> = Arc::new((0..300).map(|_| AtomicUsize::new(0)).collect());
    let handle = pool.handle();
    pool.block_on(pool.spawn(async move {
        for n in 0..300 {
            let polls = polls.clone();
            handle
                .spawn(async move {
                    loop {
                        polls[n].fetch_add(1, SeqCst);
                        yield_now().await;
                    }
                })
                .detach();
        }
        for _ in 0..100 {
            yield_now().await;
        }
        let counts = || polls.iter().map(|polls| polls.load(SeqCst));
        let (least, most) = (counts().min().unwrap(), counts().max().unwrap());
        assert!(least >= 99 && most - least <= 1, "{least} to {most}");
    }));
}
