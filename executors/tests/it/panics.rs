//! A panic reaches whoever awaits the task, and nobody else.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use untether_executors::{Local, PerCore, Pool, Priority, Spawn, Task, block_on};

use crate::{Drops, yield_now};

/// Panics without a message in the test's output.
fn fail() {
    resume_unwind(Box::new("on purpose"));
}

struct FailInDrop(#[expect(dead_code, reason = "counts its own drop")] crate::Counted);

impl Drop for FailInDrop {
    fn drop(&mut self) {
        fail();
    }
}

fn outcome_of(run: impl FnOnce()) -> Option<&'static str> {
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    payload.downcast_ref::<&str>().copied()
}

/// `run` runs the executor until the task is done.
fn check(spawner: &impl Spawn, run: &dyn Fn(Task<()>)) {
    // Who awaits, gets it.
    let task = spawner.spawn(async {
        yield_now().await;
        fail();
    });
    assert_eq!(outcome_of(|| run(task)), Some("on purpose"));

    // So does a task that awaits a task.
    let inner = spawner.spawn(async { fail() });
    let outer = spawner.spawn(inner);
    assert_eq!(outcome_of(|| run(outer)), Some("on purpose"));

    // Detached, it harms nobody.
    for _ in 0..10 {
        spawner.spawn(async { fail() }).detach();
    }
    assert_eq!(outcome_of(|| run(spawner.spawn(yield_now()))), None);

    // A destructor that panics is no panic of the task.
    let drops = Drops::default();
    let guard = FailInDrop(drops.one());
    let future = async move {
        let guard = guard;
        std::future::pending::<()>().await;
        drop(guard);
    };
    let cancelled = spawner.spawn(future);
    run(spawner.spawn(yield_now()));
    drop(cancelled);
    run(spawner.spawn(async {
        for _ in 0..10 {
            yield_now().await;
        }
    }));
    while drops.count() == 0 {
        run(spawner.spawn(yield_now()));
    }
    assert_eq!(drops.count(), 1);
}

#[test]
fn in_a_local() {
    let local = Local::new();
    check(&local, &|task| local.run(task));
}

#[test]
fn in_a_pool_of_one() {
    let pool = Pool::new(1).unwrap();
    check(&pool, &|task| block_on(task));
}

#[test]
fn in_a_pool_of_four() {
    let pool = Pool::new(4).unwrap();
    check(&pool, &|task| pool.block_on(task));
}

#[test]
fn in_a_per_core() {
    let cores = PerCore::new(2).unwrap();
    check(&cores, &|task| cores.block_on(task));
}

#[test]
fn in_a_priority() {
    let priority = Priority::new(2).unwrap();
    check(&priority, &|task| priority.block_on(task));
}

#[test]
fn in_the_future_of_run_it_leaves_the_local_usable() {
    let local = Local::new();
    let task = local.spawn(async {
        yield_now().await;
        3
    });
    assert_eq!(
        outcome_of(|| local.run(async { fail() })),
        Some("on purpose")
    );
    assert_eq!(local.run(task), 3);
}

#[test]
fn in_a_block_on_inside_a_task_it_leaves_the_worker_usable() {
    let pool = Pool::new(1).unwrap();
    for _ in 0..10 {
        let task = pool.spawn(async { block_on(async { fail() }) });
        assert_eq!(outcome_of(|| block_on(task)), Some("on purpose"));
        // It takes its own tasks again.
        let handle = pool.handle();
        let task = pool.spawn(async move { handle.spawn(async { 3 }).await });
        assert_eq!(block_on(task), 3);
    }
}

#[test]
fn in_a_waker_that_a_turn_of_the_pool_calls_it_harms_nobody() {
    struct Fail;
    impl std::task::Wake for Fail {
        fn wake(self: std::sync::Arc<Self>) {
            fail();
        }
    }
    let pool = Pool::new(1).unwrap();
    let waker = std::task::Waker::from(std::sync::Arc::new(Fail));
    let output = pool.block_on(pool.spawn(async move {
        let at = std::time::Instant::now() + std::time::Duration::from_millis(2);
        let mut foreign = untether::Timer::at(at);
        {
            let mut cx = std::task::Context::from_waker(&waker);
            let poll = std::pin::Pin::new(&mut foreign).poll(&mut cx);
            assert!(poll.is_pending());
        }
        // Fires in the same turn, or the next one.
        untether::Timer::at(at).await;
        5
    }));
    assert_eq!(output, 5);
}

#[test]
fn in_a_destructor_while_the_executor_ends() {
    let drops = Drops::default();
    let pool = Pool::new(2).unwrap();
    let local = Local::new();
    let keep = |guard| async move {
        let _guard: FailInDrop = guard;
        std::future::pending::<()>().await;
    };
    for _ in 0..10 {
        pool.spawn(keep(FailInDrop(drops.one()))).detach();
        local.spawn(keep(FailInDrop(drops.one()))).detach();
    }
    local.run(yield_now());
    drop((pool, local));
    assert_eq!(drops.count(), 20);
}
