//! The simulation: every choice by a seed, virtual time, and the same again.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::{mpsc as channel, oneshot};
use futures::{SinkExt, StreamExt};
use futures_lite::future::{or, zip};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use untether::{Async, MissedTicks, Timer, timeout};
use untether_executors::sim::{self, Schedule};
use untether_executors::{
    Hooks, Local, LocalSpawn, Sim, Spawn, TaskId, block_on, spawn_blocking, yield_now,
};

use crate::{Drops, in_a_process, pending};

#[path = "../../examples/find_the_race.rs"]
mod find_the_race;
mod world;

const HOUR: Duration = Duration::from_secs(3600);

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

/// The text of a panic.
fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it did not panic");
    let text = payload.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap().to_string())
}

// Programs with a mistake.

/// Two tasks add one each, and the second may read before the first has written.
async fn lost_update() {
    let count = Rc::new(Cell::new(0));
    let tasks = ["left", "right"].map(|name| {
        let count = count.clone();
        sim::handle().spawn_named(name, async move {
            // Read and write are apart only if another task runs in the pause of the second.
            if name == "right" {
                yield_now().await;
                yield_now().await;
            }
            let seen = count.get();
            if name == "right" {
                yield_now().await;
            }
            count.set(seen + 1);
        })
    });
    for task in tasks {
        task.await;
    }
    assert_eq!(count.get(), 2, "an update was lost");
}

/// Fails only if, of three tasks, c goes before b, b before a, and a only once both have gone twice.
async fn three_in_a_certain_order() {
    let order = Rc::new(RefCell::new(String::new()));
    let tasks = ['a', 'b', 'c'].map(|letter| {
        let order = order.clone();
        sim::handle().spawn_named(letter.to_string(), async move {
            for _ in 0..2 {
                order.borrow_mut().push(letter);
                yield_now().await;
            }
        })
    });
    for task in tasks {
        task.await;
    }
    assert_ne!(order.take(), "cbbcaa");
}

/// A philosopher's dinner: two locks, taken in opposite orders.
async fn two_locks() {
    let locks = [(); 2].map(|()| Rc::new(Lock::default()));
    let tasks = [0, 1].map(|at| {
        let (first, second) = (locks[at].clone(), locks[1 - at].clone());
        sim::handle().spawn_named(format!("takes {at} first"), async move {
            first.take().await;
            yield_now().await;
            second.take().await;
            second.give();
            first.give();
        })
    });
    for task in tasks {
        task.await;
    }
}

#[derive(Default)]
struct Lock {
    taken: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Lock {
    async fn take(&self) {
        poll_fn(|cx| {
            if self.taken.replace(true) {
                self.waiting.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    fn give(&self) {
        self.taken.set(false);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Tasks, channels and timers in some confusion: what a trace is made of.
async fn busy() {
    let handle = sim::handle();
    let (sender, mut receiver) = channel::channel(2);
    for number in 0..5u64 {
        let mut sender = sender.clone();
        let worker = async move {
            for round in 0..4 {
                let pause = sim::handle().random() % 3;
                Timer::after(Duration::from_millis(pause * number)).await;
                sender.send(number * 10 + round).await.unwrap();
            }
        };
        handle
            .spawn_named(format!("worker {number}"), worker)
            .detach();
    }
    drop(sender);
    let ticks = handle.spawn_named("ticks", async {
        let mut ticks = Timer::interval(Duration::from_millis(1));
        loop {
            ticks.next().await;
        }
    });
    let patient = timeout(HOUR, async {
        let mut sum = 0;
        while let Some(number) = receiver.next().await {
            sum += number;
        }
        sum
    });
    assert_eq!(patient.await, Ok(430));
    drop(ticks);
}

fn trace_of(schedule: &Schedule, program: impl Future<Output = ()>) -> String {
    let sim = Sim::replay(schedule);
    sim.run(program);
    sim.trace().to_string()
}

#[test]
fn a_lost_update_is_found_shrunk_and_replayed() {
    let failure = sim::explore(0..100, lost_update).unwrap_err();
    assert!(failure.is_deterministic());
    assert!(failure.cause().contains("an update was lost"), "{failure}");
    assert!(failure.cause().contains("sim.rs:"), "the place: {failure}");
    // Left has to wait until right has read, and no more.
    assert!(failure.schedule().changes().unwrap() <= 3, "{failure}");

    // The same again, as often as one likes, from what can be pasted.
    let text = failure.schedule().to_string();
    for _ in 0..2 {
        let sim = Sim::replay(&schedule(&text));
        assert!(panic_of(|| sim.run(lost_update())).contains("an update was lost"));
        assert_eq!(sim.steps(), failure.step());
        assert_eq!(sim.schedule(), *failure.schedule());
        assert_eq!(sim.trace(), *failure.trace());
    }
    // Each of the changes matters.
    let (seed, list) = text.split_once(':').unwrap();
    let changes: Vec<_> = list.split(',').collect();
    for without in 0..changes.len() {
        let mut fewer = changes.clone();
        fewer.remove(without);
        let fewer = schedule(&format!("{seed}:{}", fewer.join(",")));
        Sim::replay(&fewer).run(lost_update());
    }
}

#[test]
fn an_order_of_three_tasks_is_found_among_many() {
    let failure = sim::explore(0..2_000, three_in_a_certain_order).unwrap_err();
    assert!(failure.is_deterministic());
    assert!(failure.seed() > 0, "found too easily to prove anything");
    let changes = failure.schedule().changes().unwrap();
    assert!((1..=5).contains(&changes), "{failure}");
    let sim = Sim::replay(failure.schedule());
    assert!(panic_of(|| sim.run(three_in_a_certain_order())).contains("cbbcaa"));
    // By the seed as well.
    let sim = Sim::new(failure.seed());
    assert!(panic_of(|| sim.run(three_in_a_certain_order())).contains("cbbcaa"));
}

#[test]
fn a_deadlock_is_found_and_names_who_is_left() {
    let failure = sim::explore(0..100, two_locks).unwrap_err();
    let report = failure.to_string();
    assert!(failure.cause().starts_with("deadlock: "), "{report}");
    for name in ["main", "task 1 (takes 0 first)", "task 2 (takes 1 first)"] {
        assert!(failure.cause().contains(name), "{name}: {report}");
    }
    assert!(
        report.contains(&format!("UNTETHER_SIM='{}'", failure.schedule())),
        "{report}"
    );
}

#[test]
fn a_correct_program_passes_and_its_schedules_are_counted() {
    let explored = sim::explore(0..200, busy).unwrap();
    assert_eq!(explored.runs, 200);
    assert!(explored.schedules > 100 && explored.schedules <= 200);
    // There is nothing to choose.
    let explored = sim::explore(0..50, || async { yield_now().await }).unwrap();
    assert_eq!(explored.schedules, 1);
    assert_eq!(explored.steps, 100);
}

#[test]
fn one_seed_one_trace_to_the_byte() {
    for seed in 0..20 {
        let first = trace_of(&Schedule::from(seed), busy());
        assert_eq!(first, trace_of(&Schedule::from(seed), busy()));
        assert!(first.lines().count() > 100, "{first}");
    }
    assert_ne!(
        trace_of(&Schedule::from(0), busy()),
        trace_of(&Schedule::from(1), busy())
    );
}

#[test]
fn the_choices_made_are_a_schedule_that_makes_them_again() {
    for seed in 0..20 {
        let sim = Sim::builder()
            .seed(seed)
            .spurious_polls(true)
            .build()
            .unwrap();
        sim.run(busy());
        let listed = sim.schedule();
        assert!(listed.changes().unwrap() > 0);
        let again = Sim::replay(&schedule(&listed.to_string()));
        again.run(busy());
        assert_eq!(again.trace(), sim.trace());
        assert_eq!(again.schedule(), listed);
    }
}

#[test]
fn another_process_has_the_same_trace() {
    let here: String = (0..5)
        .map(|seed| trace_of(&Schedule::from(seed), busy()))
        .collect();
    for _ in 0..2 {
        let printed = in_a_process("sim::prints_traces", &[]);
        let there = printed.split_once("BEGIN\n").unwrap().1;
        assert_eq!(there.split_once("END\n").unwrap().0, here);
    }
}

#[test]
#[ignore = "for another_process_has_the_same_trace"]
fn prints_traces() {
    let traces: String = (0..5)
        .map(|seed| trace_of(&Schedule::from(seed), busy()))
        .collect();
    eprint!("BEGIN\n{traces}END\n");
}

/// A seed means the same in every version: if this fails, take back what changed it.
#[test]
fn the_meaning_of_a_seed_does_not_change() {
    let order = |seed| {
        let order = Rc::new(RefCell::new(String::new()));
        let sim = Sim::new(seed);
        for letter in 'a'..='f' {
            let order = order.clone();
            let task = async move {
                order.borrow_mut().push(letter);
                yield_now().await;
                order.borrow_mut().push(letter);
            };
            sim.spawn(task).detach();
        }
        sim.run(async {
            while order.borrow().len() < 12 {
                yield_now().await;
            }
        });
        order.take()
    };
    let orders: Vec<_> = (0..6).map(order).collect();
    let known = [
        "caefdbcaefdb",
        "bcdfeabcdfea",
        "edcafbedcafb",
        "eabeccdbadff",
        "dceedaffabcb",
        "fbafccedbead",
    ];
    assert_eq!(orders, known);
}

#[test]
fn the_environment_runs_one_schedule_alone() {
    let schedule = sim::explore(0..100, lost_update)
        .unwrap_err()
        .schedule()
        .to_string();
    let printed = in_a_process(
        "sim::checks_by_the_environment",
        &[("UNTETHER_SIM", &schedule)],
    );
    assert!(
        printed.contains(&format!("UNTETHER_SIM={schedule}:\nstep 1: ")),
        "{printed}"
    );
    assert!(printed.contains("an update was lost"), "{printed}");
    assert!(printed.contains("FAILED AS EXPECTED"), "{printed}");
}

#[test]
#[ignore = "for the_environment_runs_one_schedule_alone"]
fn checks_by_the_environment() {
    let runs = Cell::new(0);
    let text = panic_of(|| {
        sim::check(0..100, || {
            runs.set(runs.get() + 1);
            lost_update()
        });
    });
    assert_eq!(runs.get(), 1);
    eprintln!("FAILED AS EXPECTED: {text}");
}

#[test]
fn the_example_finds_its_race() {
    find_the_race::main();
}

#[test]
fn a_program_that_is_not_deterministic_is_told_so() {
    let calls = Cell::new(0);
    let failure = sim::explore(0..10, || {
        calls.set(calls.get() + 1);
        let first = calls.get() == 1;
        async move {
            if first {
                yield_now().await;
                panic!("only once");
            }
        }
    })
    .unwrap_err();
    assert!(!failure.is_deterministic());
    let report = failure.to_string();
    assert!(report.contains("first:   wakes itself"), "{report}");
    assert!(report.contains("then:    is done"), "{report}");
}

#[test]
fn what_is_awaited_by_nobody_fails_a_check_and_not_a_run() {
    let program = || async {
        sim::handle()
            .spawn_named("lonely", async { panic!("alone") })
            .detach();
        yield_now().await;
        yield_now().await;
    };
    let failure = sim::explore(0..10, program).unwrap_err();
    assert!(
        failure.cause().starts_with("task 1 (lonely) panicked at "),
        "{failure}"
    );
    assert!(failure.cause().ends_with("alone"), "{failure}");
    Sim::replay(&schedule("0:")).run(program());
    let builder = Sim::builder().fail_on_task_panic(false);
    builder.explore(0..10, program).unwrap();
    let strict = Sim::builder().fail_on_task_panic(true).build().unwrap();
    let text = panic_of(|| strict.run(program()));
    assert_eq!(text, "task 1 (lonely) panicked: alone");
}

#[test]
fn the_panic_of_a_task_reaches_whoever_awaits_it() {
    let sim = Sim::new(1);
    let task = sim.spawn(async { panic!("from the task") });
    assert_eq!(panic_of(|| sim.run(task)), "from the task");
    // And the simulation can be used as before.
    assert_eq!(sim.run(sim.spawn(async { 5 })), 5);
}

#[test]
fn the_panic_of_the_future_comes_out_with_its_payload() {
    let sim = Sim::new(1);
    let payload = catch_unwind(AssertUnwindSafe(|| {
        sim.run(async { std::panic::panic_any(17u32) });
    }));
    assert_eq!(payload.unwrap_err().downcast_ref(), Some(&17u32));
    assert_eq!(sim.run(async { 5 }), 5);
}

#[test]
fn a_loop_without_end_is_found_by_its_steps() {
    let builder = Sim::builder().max_steps(1_000);
    let failure = builder
        .explore(0..1, || async {
            loop {
                yield_now().await;
            }
        })
        .unwrap_err();
    assert_eq!(failure.step(), 1_000);
    assert!(failure.cause().contains("max_steps"), "{failure}");
    assert_eq!(failure.schedule().changes(), Some(0));
}

#[test]
fn spurious_polls_find_futures_that_do_not_bear_them() {
    // Believes that it is polled only when it was woken.
    let naive = || async {
        let (sender, receiver) = oneshot::channel();
        let task = sim::handle().spawn_named("naive", async move {
            let mut asked = false;
            let mut receiver = receiver;
            poll_fn(|cx| {
                let ready = Pin::new(&mut receiver).poll(cx).is_ready();
                assert!(ready || !asked, "woken for nothing");
                asked = true;
                if ready {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        });
        for _ in 0..20 {
            yield_now().await;
        }
        // Its receiver may be gone already.
        let _ = sender.send(());
        task.await;
    };
    sim::explore(0..50, naive).unwrap();
    let builder = Sim::builder().spurious_polls(true);
    let failure = builder.explore(0..50, naive).unwrap_err();
    assert!(failure.cause().contains("woken for nothing"), "{failure}");
    assert!(failure.schedule().to_string().contains('+'), "{failure}");
    // The list says it all: no option is needed.
    let sim = Sim::replay(failure.schedule());
    assert_eq!(panic_of(|| sim.run(naive())), "woken for nothing");
    assert!(
        sim.trace()
            .to_string()
            .contains("nothing wakes task 1 (naive)")
    );
}

#[test]
fn no_seed_starves_anybody() {
    sim::check(0..200, || async {
        let handle = sim::handle();
        // One that yields for ever, and two that wake each other.
        let busy = async {
            loop {
                yield_now().await;
            }
        };
        handle.spawn(busy).detach();
        let wakers: [Rc<RefCell<Option<Waker>>>; 2] = Default::default();
        for i in 0..2 {
            let [own, other] = [wakers[i].clone(), wakers[1 - i].clone()];
            let ping = poll_fn::<(), _>(move |cx| {
                *own.borrow_mut() = Some(cx.waker().clone());
                if let Some(waker) = other.take() {
                    waker.wake();
                }
                Poll::Pending
            });
            handle.spawn(ping).detach();
        }
        let patient = async {
            for _ in 0..10 {
                yield_now().await;
            }
        };
        handle.spawn(patient).await;
    });
}
