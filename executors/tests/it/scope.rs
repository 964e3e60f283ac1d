//! Tasks that borrow: a scope ends after all of them, whatever happens.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use untether::Timer;
use untether_executors::{Local, Pool, Scope, ScopedTask, block_on, yield_now};

use crate::{Counted, Drops, PATIENCE, pending};

/// A place on the stack that says when it is used too late.
struct Stack {
    uses: AtomicUsize,
    ended: AtomicBool,
}

impl Stack {
    fn new() -> Stack {
        Stack {
            uses: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        }
    }

    fn touch(&self) {
        assert!(!self.ended.load(SeqCst), "used after the scope");
        self.uses.fetch_add(1, SeqCst);
    }
}

/// Uses its place once more when it is dropped.
struct Guard<'a>(&'a Stack);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.touch();
    }
}

fn message_of(run: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_string());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

#[test]
fn tasks_borrow_and_are_gone_when_it_ends() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).unwrap();
        for _ in 0..200 {
            let stack = Stack::new();
            pool.scope(|scope| {
                for n in 0..8 {
                    let stack = &stack;
                    scope.spawn(async move {
                        let _guard = Guard(stack);
                        if n % 2 == 0 {
                            yield_now().await;
                        }
                        stack.touch();
                    });
                }
            });
            stack.ended.store(true, SeqCst);
            assert_eq!(stack.uses.load(SeqCst), 16);
        }
    }
}

#[test]
fn what_it_starts_with_is_what_it_gives_back() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.scope(|_| 3), 3);
    let text = String::from("outside");
    let borrowed: &str = pool.scope(|scope| block_on(scope.spawn(async { &text[3..] })));
    assert_eq!(borrowed, "side");
    // A handle whose output does not borrow may leave, and be awaited later.
    let late: ScopedTask<usize> = pool.scope(|scope| scope.spawn(async { text.len() }));
    assert!(late.is_finished());
    assert_eq!(block_on(late), 7);
}

#[test]
fn it_waits_for_io_and_other_threads() {
    let pool = Pool::new(2).unwrap();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let other = thread::spawn(move || wakers.iter().for_each(Waker::wake));
    let done = AtomicUsize::new(0);
    pool.scope(|scope| {
        scope.spawn(async {
            Timer::after(Duration::from_millis(5)).await;
            done.fetch_add(1, SeqCst);
        });
        let done = &done;
        scope.spawn(async move {
            pending(sender, 3).await;
            done.fetch_add(1, SeqCst);
        });
    });
    assert_eq!(done.load(SeqCst), 2);
    other.join().unwrap();
}

#[test]
fn a_task_starts_others_in_the_same_scope() {
    fn grow<'scope>(scope: &'scope Scope<'scope, '_>, depth: u32, count: &'scope AtomicUsize) {
        scope.spawn(async move {
            count.fetch_add(1, SeqCst);
            if depth > 0 {
                grow(scope, depth - 1, count);
                yield_now().await;
                grow(scope, depth - 1, count);
            }
        });
    }
    let pool = Pool::new(2).unwrap();
    let count = AtomicUsize::new(0);
    pool.scope(|scope| grow(scope, 9, &count));
    assert_eq!(count.load(SeqCst), (1 << 10) - 1);
}

#[test]
fn it_waits_also_if_its_body_panics() {
    let pool = Pool::new(2).unwrap();
    let stack = Stack::new();
    let (panicking, panics) = mpsc::channel();
    let message = message_of(|| {
        pool.scope(|scope| {
            let stack = &stack;
            scope.spawn(async move {
                let _guard = Guard(stack);
                // Until the body is unwinding.
                panics.recv_timeout(PATIENCE).unwrap();
                for _ in 0..50 {
                    yield_now().await;
                }
            });
            let _tell = TellAtEnd(panicking);
            resume_unwind(Box::new("body"));
        });
    });
    stack.ended.store(true, SeqCst);
    assert_eq!(message.as_deref(), Some("body"));
    assert_eq!(stack.uses.load(SeqCst), 1);
}

struct TellAtEnd(mpsc::Sender<()>);

impl Drop for TellAtEnd {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn a_panic_reaches_whoever_awaits_the_task_or_else_the_scope() {
    let pool = Pool::new(2).unwrap();
    let fail = || async { resume_unwind(Box::new("task")) };

    let seen = Cell::new(None);
    let outcome = message_of(|| {
        pool.scope(|scope| {
            let task: ScopedTask<()> = scope.spawn(fail());
            seen.set(message_of(|| block_on(task)));
        });
    });
    assert_eq!((seen.take().as_deref(), outcome), (Some("task"), None));

    let stack = Stack::new();
    let outcome = message_of(|| {
        pool.scope(|scope| {
            let task: ScopedTask<()> = scope.spawn(fail());
            drop(task);
            scope.spawn(async {
                yield_now().await;
                stack.touch();
            });
        });
    });
    stack.ended.store(true, SeqCst);
    let unawaited = "a task of the scope panicked, and nobody awaited it";
    assert_eq!(outcome.as_deref(), Some(unawaited));
    assert_eq!(stack.uses.load(SeqCst), 1, "it has waited for the other");
}

#[test]
fn a_destructor_that_panics_does_not_hold_it_up() {
    struct FailInDrop<'a>(Guard<'a>);
    impl Drop for FailInDrop<'_> {
        fn drop(&mut self) {
            self.0.0.touch();
            resume_unwind(Box::new("on purpose"));
        }
    }
    let pool = Pool::new(2).unwrap();
    let stack = Stack::new();
    pool.scope(|scope| {
        let guard = FailInDrop(Guard(&stack));
        let task = scope.spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        task.cancel();
    });
    stack.ended.store(true, SeqCst);
    assert_eq!(stack.uses.load(SeqCst), 2);
}

#[test]
fn an_output_that_borrows_is_dropped_before_it_ends() {
    let pool = Pool::new(4).unwrap();
    for round in 0..300 {
        let stack = Stack::new();
        pool.scope(|scope| {
            for n in 0..4 {
                let stack = &stack;
                let task = scope.spawn(async move {
                    if n % 2 == 0 {
                        yield_now().await;
                    }
                    Guard(stack)
                });
                match (n + round) % 4 {
                    0 => drop(task),
                    1 => drop(block_on(task)),
                    2 => std::mem::forget(task),
                    // Before, during or after its poll.
                    _ => task.cancel(),
                }
            }
        });
        stack.ended.store(true, SeqCst);
        thread::yield_now();
    }
}

#[test]
fn wakers_that_outlive_it_are_harmless() {
    let pool = Pool::new(2).unwrap();
    let kept: Mutex<Vec<Waker>> = Mutex::default();
    let drops = Drops::default();
    pool.scope(|scope| {
        for _ in 0..10 {
            let counted: Counted = drops.one();
            let kept = &kept;
            scope.spawn(async move {
                let _counted = counted;
                let mut first = true;
                poll_fn(|cx| {
                    kept.lock().unwrap().push(cx.waker().clone());
                    if std::mem::take(&mut first) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                })
                .await;
            });
        }
    });
    assert_eq!(drops.count(), 10);
    let wakers = kept.into_inner().unwrap();
    wakers.iter().for_each(Waker::wake_by_ref);
    drop(pool);
    wakers.into_iter().for_each(Waker::wake);
}

#[test]
fn it_works_inside_tasks() {
    let pool = std::sync::Arc::new(Pool::new(2).unwrap());
    let inner = pool.clone();
    // On another worker, since this one waits.
    let sum = pool.block_on(pool.spawn(async move {
        let numbers = [1, 2, 3];
        let sum = AtomicUsize::new(0);
        inner.scope(|scope| {
            for number in &numbers {
                scope.spawn(async { sum.fetch_add(*number, SeqCst) });
            }
        });
        sum.into_inner()
    }));
    assert_eq!(sum, 6);

    let local = Local::new();
    let outer = local.spawn(async move {
        let text = String::from("local");
        pool.scope(|scope| block_on(scope.spawn(async { text.len() })))
    });
    assert_eq!(local.run(outer), 5);
}
