//! One future on this thread.

use std::cell::Cell;
use std::future::{pending as forever, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use untether::{Reactor, Timer};
use untether_executors::block_on;

use crate::{Drops, PATIENCE, pending, yield_now};

#[test]
fn a_ready_future_is_polled_once_and_dropped_once() {
    let drops = Drops::default();
    let counted = drops.one();
    let mut polls = 0;
    let output = block_on(poll_fn(|_| {
        let _ = &counted;
        polls += 1;
        assert_eq!(polls, 1, "polled after it was ready");
        Poll::Ready("done")
    }));
    drop(counted);
    assert_eq!((output, drops.count()), ("done", 1));
}

#[test]
fn a_future_is_polled_once_per_wake() {
    let (sender, wakers) = mpsc::channel();
    let waker = thread::spawn(move || wakers.iter().for_each(Waker::wake));
    let polls = Cell::new(0);
    let mut future = Box::pin(pending(sender, 100));
    block_on(poll_fn(|cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    }));
    drop(future);
    waker.join().unwrap();
    assert_eq!(polls.get(), 101);
}

#[test]
fn a_wake_during_the_poll_is_not_lost() {
    block_on(async {
        for _ in 0..1_000 {
            yield_now().await;
        }
    });
}

#[test]
fn a_nested_call_has_a_waker_of_its_own() {
    block_on(poll_fn(|outer| {
        block_on(poll_fn(|inner| {
            assert!(!outer.waker().will_wake(inner.waker()));
            Poll::Ready(())
        }));
        Poll::Ready(())
    }));
}

#[test]
fn waking_the_inner_call_does_not_poll_the_outer_one_again() {
    let (sender, wakers) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<Waker>();
    let waker = thread::spawn(move || {
        wakers.iter().for_each(Waker::wake);
        finished.recv().unwrap().wake();
    });
    let mut sender = Some(sender);
    let mut outer_polls = 0;
    block_on(poll_fn(|cx| {
        outer_polls += 1;
        match sender.take() {
            Some(sender) => {
                block_on(pending(sender, 10));
                finish.send(cx.waker().clone()).unwrap();
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }));
    waker.join().unwrap();
    assert_eq!(outer_polls, 2);
}

#[test]
fn waking_the_outer_call_does_not_poll_the_inner_one() {
    let (sender, wakers) = mpsc::channel::<Waker>();
    let (done, outer_woken) = mpsc::channel();
    let thread = thread::spawn(move || {
        let outer = wakers.recv().unwrap();
        let inner = wakers.recv().unwrap();
        (0..100).for_each(|_| outer.wake_by_ref());
        done.send(()).unwrap();
        inner.wake();
    });
    let mut outer_polls = 0;
    block_on(poll_fn(|cx| {
        outer_polls += 1;
        if outer_polls == 2 {
            return Poll::Ready(());
        }
        sender.send(cx.waker().clone()).unwrap();
        let mut inner_polls = 0;
        block_on(poll_fn(|cx| {
            inner_polls += 1;
            if inner_polls == 1 {
                sender.send(cx.waker().clone()).unwrap();
                return Poll::Pending;
            }
            // Our own wake came after those of the outer call.
            outer_woken.try_recv().unwrap();
            Poll::Ready(())
        }));
        assert_eq!(inner_polls, 2);
        Poll::Pending
    }));
    thread.join().unwrap();
    assert_eq!(
        outer_polls, 2,
        "the wake-ups during the inner call are kept, and are one"
    );
}

#[test]
fn a_stale_wake_does_not_reach_the_next_call() {
    let mut stale = None;
    block_on(poll_fn(|cx| {
        stale = Some(cx.waker().clone());
        Poll::Ready(())
    }));
    let stale = stale.unwrap();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let thread = thread::spawn({
        let stale = stale.clone();
        move || {
            let fresh = wakers.recv().unwrap();
            (0..100).for_each(|_| stale.wake_by_ref());
            fresh.wake();
        }
    });

    stale.wake_by_ref();
    let mut polls = 0;
    block_on(poll_fn(|cx| {
        polls += 1;
        assert!(!stale.will_wake(cx.waker()));
        stale.wake_by_ref();
        if polls == 1 {
            sender.send(cx.waker().clone()).unwrap();
            return Poll::Pending;
        }
        Poll::Ready(())
    }));
    thread.join().unwrap();
    assert_eq!(polls, 2);
}

#[test]
fn a_panic_unwinds_through_and_leaves_the_thread_as_it_was() {
    for _ in 0..3 {
        let drops = Drops::default();
        let counted = drops.one();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            block_on(async {
                let _counted = counted;
                yield_now().await;
                panic!("on purpose");
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(drops.count(), 1);
        assert!(Reactor::entered().is_none());
        assert_eq!(block_on(async { 1 }), 1);
    }
}

#[test]
fn a_panic_in_a_nested_call_leaves_the_outer_one_usable() {
    block_on(async {
        let outcome = catch_unwind(|| block_on(async { panic!("on purpose") }));
        assert!(outcome.is_err());
        assert!(Reactor::entered().is_some());
        yield_now().await;
        Timer::after(Duration::from_millis(1)).await;
    });
    assert!(Reactor::entered().is_none());
}

#[test]
fn it_can_be_called_inside_a_waker() {
    struct Reenter(AtomicUsize);
    impl Wake for Reenter {
        fn wake(self: Arc<Self>) {
            block_on(Timer::after(Duration::from_millis(1)));
            self.0.fetch_add(1, SeqCst);
        }
    }

    let reenter = Arc::new(Reenter(AtomicUsize::new(0)));
    let waker = Waker::from(reenter.clone());
    let mut timer = Timer::after(Duration::from_millis(1));
    block_on(async {
        // The timer's waker is called in a turn of this call, on this thread or on the global reactor's.
        poll_fn(|_| {
            let _ = std::pin::Pin::new(&mut timer).poll(&mut Context::from_waker(&waker));
            Poll::Ready(())
        })
        .await;
        while reenter.0.load(SeqCst) == 0 {
            Timer::after(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn it_can_be_called_inside_a_destructor() {
    struct Reenter<'a>(&'a Cell<u32>);
    impl Drop for Reenter<'_> {
        fn drop(&mut self) {
            block_on(Timer::after(Duration::from_millis(1)));
            self.0.set(self.0.get() + 1);
        }
    }

    let drops = Cell::new(0);
    block_on(async {
        let _reenter = Reenter(&drops);
        yield_now().await;
    });
    let dropped_with_the_future = Reenter(&drops);
    block_on(async move {
        let _ = &dropped_with_the_future;
    });
    assert_eq!(drops.get(), 2);
}

#[test]
fn it_can_be_called_in_thread_local_destructors() {
    struct AtExit(mpsc::Sender<u32>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            block_on(yield_now());
            block_on(Timer::after(Duration::from_millis(1)));
            self.0.send(7).unwrap();
        }
    }
    thread_local! {
        static FIRST: Cell<Option<AtExit>> = const { Cell::new(None) };
        static LAST: Cell<Option<AtExit>> = const { Cell::new(None) };
    }

    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // One is destroyed before what `block_on` keeps in the thread, and one after it.
        FIRST.set(Some(AtExit(sender.clone())));
        block_on(async {});
        LAST.set(Some(AtExit(sender)));
    })
    .join()
    .unwrap();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn it_waits_for_timers_and_nested_calls_do_too() {
    block_on(async {
        Timer::after(Duration::from_millis(2)).await;
        block_on(async {
            Timer::after(Duration::from_millis(2)).await;
            block_on(Timer::after(Duration::from_millis(2)));
        });
        Timer::after(Duration::from_millis(2)).await;
    });
}

#[test]
fn io_is_served_while_the_future_keeps_waking_itself() {
    let mut timer = Timer::after(Duration::from_millis(1));
    block_on(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        // Nobody but the timer wakes this waker, and only a turn fires it.
        std::pin::Pin::new(&mut timer).poll(cx).map(drop)
    }));
}

#[test]
fn what_waited_in_a_finished_call_is_woken() {
    // A timer first awaited in a call that ends, and then somewhere else.
    let timer = Arc::new(std::sync::Mutex::new(Timer::after(Duration::from_millis(
        30,
    ))));
    struct Woken(AtomicBool, mpsc::Sender<()>);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
            let _ = self.1.send(());
        }
    }
    let (sender, woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Woken(AtomicBool::new(false), sender)));
    block_on(async {
        let mut timer = timer.lock().unwrap();
        let _ = std::pin::Pin::new(&mut *timer).poll(&mut Context::from_waker(&waker));
    });
    // By eviction or by the deadline, but in any case although nobody drives that reactor any more.
    woken.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn many_threads_in_a_row_reuse_the_reactors() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    let once = || {
        thread::spawn(|| block_on(Timer::after(Duration::from_micros(10))))
            .join()
            .unwrap()
    };
    once();
    let Ok(before) = descriptors() else { return };
    (0..100).for_each(|_| {
        once();
    });
    // Other tests run beside this one; 100 threads would have left 300.
    assert!(descriptors().unwrap() < before + 200);
}

#[cfg(unix)]
#[test]
fn it_works_without_a_reactor_of_its_own_when_descriptors_are_used_up() {
    // In a process of its own, since it takes all descriptors away.
    if std::env::var_os("UNTETHER_TEST_NO_DESCRIPTORS").is_some() {
        // The global reactor may have been made before.
        pollster::block_on(Timer::after(Duration::from_millis(1)));
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        let (sender, wakers) = mpsc::channel();
        let waker = thread::spawn(move || wakers.iter().for_each(Waker::wake));
        block_on(async {
            pending(sender, 10).await;
            Timer::after(Duration::from_millis(1)).await;
            block_on(Timer::after(Duration::from_millis(1)));
        });
        waker.join().unwrap();
        drop(hoard);
        block_on(Timer::after(Duration::from_millis(1)));
        return;
    }
    let name = "block_on::it_works_without_a_reactor_of_its_own_when_descriptors_are_used_up";
    let this = std::env::current_exe().unwrap();
    let script = r#"ulimit -n 64; exec "$0" --exact "$1" --nocapture"#;
    let outcome = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(this)
        .arg(name)
        .env("UNTETHER_TEST_NO_DESCRIPTORS", "1")
        .output()
        .unwrap();
    assert!(
        outcome.status.success(),
        "{}",
        String::from_utf8_lossy(&outcome.stderr)
    );
}

#[test]
fn a_call_that_never_ends_does_not_keep_others_from_theirs() {
    // It is left behind when the process exits.
    thread::spawn(|| block_on(forever::<()>()));
    block_on(Timer::after(Duration::from_millis(1)));
}
