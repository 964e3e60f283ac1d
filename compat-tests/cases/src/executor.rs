//! What an executor owes a task: a first poll, a poll for every wake, one poll at a time, an end, and one drop.
//!
//! Most cases here use no I/O, so that a failure is the executor's own. Tasks are given to it bare, with nothing of
//! ours around them, and keep a record of what is done to them.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use futures_lite::future;
use untether::{Timer, timeout};

use crate::case::{Case, Need};
use crate::gate::{Bell, Gate};
use crate::scene::Scene;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            a_spawned_task_is_polled_without_a_wake,
            "A task that was spawned never starts.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_task_that_wakes_itself_is_polled_again,
            "A task that yields, or is woken while it runs, never goes on.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_task_is_not_polled_after_its_end,
            "A late wake panics inside a future that has ended.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_task_is_polled_by_one_thread_at_a_time,
            "Two threads are inside one future at once, which is undefined behaviour.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            no_wake_of_a_storm_is_lost,
            "Once in a while a task is woken and stays asleep.",
        ),
        Case::of(
            a_thread_wakes_a_runtime_that_sleeps,
            "A runtime with nothing to do does not notice that a thread has woken a task.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_task_that_ended_is_dropped_once,
            "What a task owned is never given back: connections stay open after their tasks.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_task_left_behind_is_dropped_with_the_run,
            "What an unfinished task owned outlives the runtime for good.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_local_task_stays_on_its_thread,
            "A task that is not Send is polled or dropped on another thread: undefined behaviour.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_waker_may_outlive_its_runtime,
            "A wake that comes after the runtime has ended panics, or hangs whoever calls it.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_task_that_panics_spares_the_others,
            "A panic in one task takes others with it.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_busy_task_starves_nobody,
            "A task that yields in a loop keeps all others from running.",
        )
        .needs(&[Need::Spawn, Need::RealTime]),
        Case::of(
            a_task_may_spawn_tasks,
            "A server's accept loop cannot spawn the tasks of its connections.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_thread_may_spawn_tasks,
            "Work that arrives from another thread is not taken, or does not wake the runtime.",
        )
        .needs(&[Need::Spawn]),
        Case::of(
            a_hundred_thousand_tasks_end,
            "Under many tasks some are forgotten, or each new one makes all others slower.",
        )
        .needs(&[Need::Spawn, Need::Alone]),
    ]
}

/// How long an executor may take for what should take microseconds. Generous: other cases run at the same time.
const PATIENCE: Duration = Duration::from_secs(4);

/// What was done to a task. Clones are the same record.
#[derive(Clone, Debug, Default)]
struct Record(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    polls: AtomicUsize,
    inside: AtomicBool,
    ended: AtomicBool,
    wrongs: Mutex<Vec<String>>,
    last_waker: Mutex<Option<Waker>>,
    /// Rings for every drop.
    dropped: Bell,
    /// Where it must stay, if it must.
    home: Option<ThreadId>,
}

impl Record {
    fn new() -> Record {
        Record::default()
    }

    /// Of a task that must stay on this thread.
    fn at_home() -> Record {
        Record(Arc::new(Facts {
            home: Some(thread::current().id()),
            ..Facts::default()
        }))
    }

    fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    fn drops(&self) -> usize {
        self.0.dropped.rings()
    }

    /// The waker of the last poll.
    fn waker(&self) -> Waker {
        let waker = lock(&self.0.last_waker).clone();
        waker.expect("a task that was never polled has no waker")
    }

    /// Keeps no waker any more.
    fn forget_waker(&self) {
        let waker = lock(&self.0.last_waker).take();
        drop(waker);
    }

    fn note(&self, wrong: &str) {
        lock(&self.0.wrongs).push(wrong.to_owned());
    }

    fn check_home(&self, what: &str) {
        if self
            .0
            .home
            .is_some_and(|home| home != thread::current().id())
        {
            self.note(&format!("{what} away from its thread"));
        }
    }

    /// Panics if anything was done that must not be.
    fn assert_clean(&self) {
        let wrongs = lock(&self.0.wrongs).join("; ");
        assert!(wrongs.is_empty(), "{wrongs}");
    }
}

/// A task that keeps a record, and ends when `done` says so.
struct Watched<F> {
    record: Record,
    done: F,
}

impl<F> Watched<F>
where
    F: FnMut(usize, &Waker) -> bool + Unpin,
{
    fn new(record: &Record, done: F) -> Watched<F> {
        Watched {
            record: record.clone(),
            done,
        }
    }
}

impl<F> Future for Watched<F>
where
    F: FnMut(usize, &Waker) -> bool + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let facts = self.record.0.clone();
        self.record.check_home("polled");
        if facts.inside.swap(true, Ordering::SeqCst) {
            // Not further: whoever is inside owns the rest.
            self.record.note("polled by two threads at once");
            return Poll::Pending;
        }
        let polls = facts.polls.fetch_add(1, Ordering::SeqCst) + 1;
        let poll = if facts.ended.load(Ordering::SeqCst) {
            self.record.note("polled after its end");
            Poll::Ready(())
        } else {
            let before = lock(&facts.last_waker).replace(cx.waker().clone());
            drop(before);
            if (self.done)(polls, cx.waker()) {
                facts.ended.store(true, Ordering::SeqCst);
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        };
        facts.inside.store(false, Ordering::SeqCst);
        poll
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        self.record.check_home("dropped");
        if self.record.0.inside.load(Ordering::SeqCst) && !thread::panicking() {
            self.record.note("dropped while it was polled");
        }
        self.record.0.dropped.ring();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the runtime exactly this task. Call it in the root future.
fn give(scene: &Scene, task: impl Future<Output = ()> + Send + 'static) {
    let taken = scene.subject().spawn(Box::pin(task));
    assert!(taken.is_ok(), "a runtime that spawns did not take a task");
}

/// Waits in vain no longer than an executor may take.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// The same for a thread.
fn soon_blocking(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        thread::sleep(Duration::from_micros(200));
    }
}

fn a_spawned_task_is_polled_without_a_wake(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let bell = Bell::new();
        for _ in 0..20 {
            let bell = bell.clone();
            give(&tasks, async move { bell.ring() });
        }
        soon("the first poll of twenty tasks", bell.heard(20)).await;
    });
}

fn a_task_that_wakes_itself_is_polled_again(scene: &Scene) {
    const POLLS: usize = 1_000;
    let tasks = scene.clone();
    scene.run(async move {
        let record = Record::new();
        let wakes = Watched::new(&record, |polls, waker| {
            waker.wake_by_ref();
            polls == POLLS
        });
        give(&tasks, wakes);
        soon("a thousand polls", record.0.dropped.heard(1)).await;
        record.assert_clean();
        assert!(record.polls() >= POLLS, "dropped before its end");
    });
}

fn a_task_is_not_polled_after_its_end(scene: &Scene) {
    let tasks = scene.clone();
    let records: Vec<Record> = (0..20).map(|_| Record::new()).collect();
    let there = records.clone();
    scene.run(async move {
        for record in &there {
            // Woken and ready at once: the news of the wake comes too late.
            let task = Watched::new(record, |_, waker| {
                waker.wake_by_ref();
                true
            });
            give(&tasks, task);
        }
        for record in &there {
            soon("a poll", async {
                while record.polls() == 0 {
                    Timer::after(Duration::from_micros(100)).await;
                }
            })
            .await;
            record.waker().wake();
        }
        Timer::after(Duration::from_millis(5)).await;
    });
    for record in records {
        record.assert_clean();
        assert_eq!(record.polls(), 1);
    }
}

fn a_task_is_polled_by_one_thread_at_a_time(scene: &Scene) {
    const POLLS: usize = 300;
    let tasks = scene.clone();
    let records = [Record::new(), Record::new()];
    let there = records.clone();
    scene.run(async move {
        for record in &there {
            let task = Watched::new(record, |polls, waker| {
                // Woken at the start of the poll: an executor that does not know that it is inside polls elsewhere.
                waker.wake_by_ref();
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(20) {
                    thread::yield_now();
                }
                polls == POLLS
            });
            give(&tasks, task);
        }
        for record in &there {
            soon("the end of a task", record.0.dropped.heard(1)).await;
        }
    });
    for record in records {
        record.assert_clean();
    }
}

/// A question that a thread asks a task by waking it, and the answer.
#[derive(Debug, Default)]
struct Exchange {
    state: Mutex<Asked>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    question: usize,
    answer: usize,
    waker: Option<Waker>,
}

impl Exchange {
    /// Answers one question after the other, each of which takes a wake of its own.
    async fn answer(&self, questions: usize) {
        std::future::poll_fn(|cx| {
            let mut state = lock(&self.state);
            state.answer = state.question;
            self.answered.notify_all();
            if state.answer == questions {
                return Poll::Ready(());
            }
            let before = state.waker.replace(cx.waker().clone());
            drop(state);
            drop(before);
            Poll::Pending
        })
        .await;
    }

    fn ask(&self, question: usize) {
        let waker = {
            let mut state = lock(&self.state);
            state.question = question;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn expect_answer(&self, question: usize) {
        let state = lock(&self.state);
        let (_state, wait) = self
            .answered
            .wait_timeout_while(state, PATIENCE, |state| state.answer != question)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            !wait.timed_out(),
            "wake {question} was lost: no poll within {PATIENCE:?}"
        );
    }
}

fn no_wake_of_a_storm_is_lost(scene: &Scene) {
    const TASKS: usize = 8;
    const QUESTIONS: usize = 300;
    let exchanges: Vec<Arc<Exchange>> = (0..TASKS).map(|_| Arc::default()).collect();
    let threads: Vec<_> = exchanges
        .chunks(TASKS / 2)
        .map(|exchanges| {
            let exchanges = exchanges.to_vec();
            scene.thread(move |_| {
                for question in 1..=QUESTIONS {
                    for exchange in &exchanges {
                        exchange.ask(question);
                    }
                    for exchange in &exchanges {
                        exchange.expect_answer(question);
                    }
                }
            })
        })
        .collect();
    let tasks = scene.clone();
    scene.step("waiting for the answers to a storm of wakes");
    let answers = exchanges.clone();
    // On a thread of its own: if a wake is lost, the threads that ask say which.
    let runner = scene.thread(move |scene| {
        scene.run(async move {
            let handles: Vec<_> = answers
                .into_iter()
                .map(|exchange| tasks.spawn(async move { exchange.answer(QUESTIONS).await }))
                .collect();
            for handle in handles {
                handle.await;
            }
        });
    });
    for thread in threads {
        thread.join();
    }
    runner.join();
}

fn a_thread_wakes_a_runtime_that_sleeps(scene: &Scene) {
    const QUESTIONS: usize = 10;
    let exchange = Arc::new(Exchange::default());
    let (answers, tasks) = (exchange.clone(), scene.clone());
    // On a thread of its own: if the runtime does not wake up, the question says so.
    let runner = scene.thread(move |scene| {
        scene.run(async move {
            tasks
                .spawn(async move { answers.answer(QUESTIONS).await })
                .await;
        });
    });
    for question in 1..=QUESTIONS {
        // Long enough for every thread of the runtime to have gone to sleep.
        thread::sleep(Duration::from_millis(3));
        exchange.ask(question);
        exchange.expect_answer(question);
    }
    runner.join();
}

fn a_task_that_ended_is_dropped_once(scene: &Scene) {
    let tasks = scene.clone();
    let records: Vec<Record> = (1..=20).map(|_| Record::new()).collect();
    let there = records.clone();
    scene.run(async move {
        for (ends_at, record) in (1..).zip(&there) {
            let task = Watched::new(record, move |polls, waker| {
                waker.wake_by_ref();
                polls == ends_at
            });
            give(&tasks, task);
        }
        for record in &there {
            soon(
                "the drop of a task that has ended",
                record.0.dropped.heard(1),
            )
            .await;
        }
    });
    for record in records {
        record.assert_clean();
        record.forget_waker();
        assert_eq!(record.drops(), 1);
    }
}

fn a_task_left_behind_is_dropped_with_the_run(scene: &Scene) {
    let tasks = scene.clone();
    let records: Vec<Record> = (0..20).map(|_| Record::new()).collect();
    let there = records.clone();
    scene.run(async move {
        for record in &there {
            give(&tasks, Watched::new(record, |_, _| false));
        }
        for record in &there {
            soon("the first poll of a task", async {
                while record.polls() == 0 {
                    Timer::after(Duration::from_micros(100)).await;
                }
            })
            .await;
        }
    });
    for record in records {
        // Whoever holds a waker may hold the task with it.
        record.forget_waker();
        soon_blocking("the drop of a task that was left behind", || {
            record.drops() > 0
        });
        record.assert_clean();
        assert_eq!(record.drops(), 1);
    }
}

fn a_local_task_stays_on_its_thread(scene: &Scene) {
    if !scene.abilities().spawns_local {
        scene.skip("this runtime takes no local tasks");
    }
    let tasks = scene.clone();
    let (ends, left_behind) = (Record::at_home(), Record::at_home());
    let (ends_there, left_there) = (ends.clone(), left_behind.clone());
    scene.run(async move {
        let task = Watched::new(&ends_there, |polls, waker| {
            let waker = waker.clone();
            thread::spawn(move || waker.wake());
            polls == 20
        });
        for task in [
            Box::pin(task) as crate::LocalTask,
            Box::pin(Watched::new(&left_there, |_, _| false)),
        ] {
            let taken = tasks.subject().spawn_local(task);
            assert!(taken.is_ok(), "a local task was not taken");
        }
        soon("the end of a local task", ends_there.0.dropped.heard(1)).await;
        while left_there.polls() == 0 {
            future::yield_now().await;
        }
    });
    left_behind.forget_waker();
    for record in [ends, left_behind] {
        soon_blocking("the drop of a local task", || record.drops() > 0);
        record.assert_clean();
    }
}

fn a_waker_may_outlive_its_runtime(scene: &Scene) {
    let tasks = scene.clone();
    let records = [Record::new(), Record::new()];
    let [ends, left_behind] = records.clone();
    scene.run(async move {
        give(&tasks, Watched::new(&ends, |_, _| true));
        give(&tasks, Watched::new(&left_behind, |_, _| false));
        for record in [ends, left_behind] {
            soon("the first poll of a task", async {
                while record.polls() == 0 {
                    Timer::after(Duration::from_micros(100)).await;
                }
            })
            .await;
        }
    });
    for record in records {
        let waker = record.waker();
        scene.step("waking a task of a runtime that has ended");
        waker.wake_by_ref();
        let clone = waker.clone();
        scene.thread(move |_| clone.wake()).join();
        record.forget_waker();
        drop(waker);
        record.assert_clean();
    }
}

fn a_task_that_panics_spares_the_others(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (bell, go) = (Bell::new(), Gate::new());
        for _ in 0..10 {
            let (bell, go) = (bell.clone(), go.clone());
            give(&tasks, async move {
                go.passed().await;
                future::yield_now().await;
                bell.ring();
            });
            // Past the panic hook: such a panic is part of the case, and in no report.
            give(&tasks, async { resume_unwind(Box::new("one task's own")) });
        }
        Timer::after(Duration::from_millis(1)).await;
        go.open();
        soon("the end of tasks that did not panic", bell.heard(10)).await;
    });
}

fn a_busy_task_starves_nobody(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let stop = Gate::new();
        let starved = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        // More than a runtime here has threads.
        for _ in 0..5 {
            let (stop, starved) = (stop.clone(), starved.clone());
            give(&tasks, async move {
                while !stop.is_open() {
                    future::yield_now().await;
                    if start.elapsed() > PATIENCE {
                        // Ends all the same, so that the others can tell.
                        starved.store(true, Ordering::SeqCst);
                        break;
                    }
                }
            });
        }
        let bell = Bell::new();
        let patient = bell.clone();
        give(&tasks, async move {
            for _ in 0..20 {
                future::yield_now().await;
                patient.ring();
            }
        });
        bell.heard(20).await;
        // The root future and its timer are others, too, if time passes while tasks are busy.
        Timer::after(Duration::from_millis(1)).await;
        stop.open();
        assert!(
            !starved.load(Ordering::SeqCst),
            "a task that yields had the runtime for itself for {PATIENCE:?}"
        );
    });
}

fn a_task_may_spawn_tasks(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let Some(spawner) = tasks.subject().spawner() else {
            tasks.skip("this runtime has no spawner that could be sent");
        };
        let bell = Bell::new();
        let (from_inside, ring) = (spawner.clone(), bell.clone());
        spawner(Box::pin(async move {
            for _ in 0..10 {
                let (deeper, ring) = (from_inside.clone(), ring.clone());
                from_inside(Box::pin(async move {
                    let inner = ring.clone();
                    deeper(Box::pin(async move { inner.ring() }));
                    ring.ring();
                }));
            }
        }));
        drop(spawner);
        soon("tasks that tasks have spawned", bell.heard(20)).await;
    });
}

fn a_thread_may_spawn_tasks(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let Some(spawner) = tasks.subject().spawner() else {
            tasks.skip("this runtime has no spawner that could be sent");
        };
        let bell = Bell::new();
        let ring = bell.clone();
        let thread = tasks.thread(move |_| {
            for _ in 0..10 {
                // By turns: into a runtime that sleeps, and into one that works.
                thread::sleep(Duration::from_millis(2));
                for _ in 0..5 {
                    let ring = ring.clone();
                    spawner(Box::pin(async move { ring.ring() }));
                }
            }
        });
        soon("tasks that a thread has spawned", bell.heard(50)).await;
        thread.join();
    });
}

fn a_hundred_thousand_tasks_end(scene: &Scene) {
    const TASKS: usize = 100_000;
    let tasks = scene.clone();
    scene.run(async move {
        let (ended, last) = (Arc::new(AtomicUsize::new(0)), Gate::new());
        for number in 0..TASKS {
            let (ended, last) = (ended.clone(), last.clone());
            give(&tasks, async move {
                if number % 2 == 0 {
                    future::yield_now().await;
                }
                if ended.fetch_add(1, Ordering::SeqCst) + 1 == TASKS {
                    last.open();
                }
            });
        }
        tasks.step("waiting for the last of a hundred thousand tasks");
        last.passed().await;
    });
}
