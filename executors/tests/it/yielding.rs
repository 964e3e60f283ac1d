//! Who yields lets every other run.

use std::cell::RefCell;
use std::rc::Rc;

use untether_executors::{Local, Pool, block_on, yield_now};

#[test]
fn all_who_are_ready_run_once_between_two_polls() {
    let local = Local::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let order = order.clone();
            local.spawn(async move {
                for _ in 0..50 {
                    order.borrow_mut().push(n);
                    yield_now().await;
                }
            })
        })
        .collect();
    local.run(async {
        for task in tasks {
            task.await;
        }
    });
    let rounds: Vec<_> = order.borrow().chunks(100).map(<[usize]>::to_vec).collect();
    let round: Vec<_> = (0..100).collect();
    assert_eq!(rounds, vec![round; 50]);
}

#[test]
fn a_task_that_the_yielding_one_has_started_runs_first() {
    let local = Local::new();
    let handle = local.handle();
    let outer = local.spawn(async move {
        let inner = handle.spawn(async {});
        yield_now().await;
        inner.is_finished()
    });
    assert!(local.run(outer));

    let pool = Pool::new(1).unwrap();
    let handle = pool.handle();
    let outer = pool.spawn(async move {
        let inner = handle.spawn(async {});
        yield_now().await;
        inner.is_finished()
    });
    assert!(block_on(outer));
}

#[test]
fn it_works_under_any_executor() {
    block_on(yield_now());
    pollster::block_on(yield_now());
    futures::executor::block_on(yield_now());
}
