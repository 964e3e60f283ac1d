//! Executors without I/O: what a task, a wake-up and a yield cost, and how much heap a task takes.
//!
//! - `spawn`: a task starts 1,000 others and awaits them; per task.
//! - `chain`: each task starts the next; per task.
//! - `wake`: two tasks wake each other by turns; per wake-up.
//! - `yield`: 100 tasks yield by turns; per yield.
//! - `wake across`: as `wake`, each in an executor of its own, on its own thread.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{pending, yield_now};
use futures_util::task::AtomicWaker;

use super::workers;
use crate::args::Args;
use crate::child::answer;
use crate::figure::{Figure, Metric};
use crate::{heap, machine};

pub(super) const ONE_THREAD: &[&str] = &[
    "untether-local",
    "tokio-current-thread",
    "async-executor-local",
];
const TWO_THREADS: &[&str] = &["untether-pool", "tokio-multi-thread", "async-executor"];

const COST: &[Metric] = &[
    Metric::compared("cost", "ns"),
    Metric::compared("CPU", "ns"),
];
const BYTES: &[Metric] = &[Metric::compared("heap", "bytes/task")];

/// What a pending task captures, in the measure of its bytes.
const CAPTURED: usize = 64;

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (subjects, threads) in [(ONE_THREAD, "1 thread"), (TWO_THREADS, "2 threads")] {
        for what in ["spawn", "chain", "wake", "yield"] {
            let case = format!("{what}, {threads}");
            let job = ["executors", what];
            figures.extend(workers(
                args,
                "executors",
                &case,
                COST,
                subjects,
                &job,
                true,
            )?);
        }
        let case = format!("10000 tasks of {CAPTURED} bytes, {threads}");
        let job = ["executors", "bytes"];
        figures.extend(workers(
            args,
            "task bytes",
            &case,
            BYTES,
            subjects,
            &job,
            true,
        )?);
    }
    let job = ["executors", "across"];
    figures.extend(workers(
        args,
        "executors",
        "wake across",
        COST,
        ONE_THREAD,
        &job,
        true,
    )?);
    Ok(figures)
}

pub(super) fn work(job: &[&str]) -> io::Result<()> {
    let [what, subject] = *job else {
        unreachable!("no such job: {job:?}");
    };
    if ONE_THREAD.contains(&subject) && what != "across" {
        machine::pin_to(machine::SERVER_CORE)?;
    } else {
        machine::pin_to_none()?;
    }
    match subject {
        "untether-local" => work_on::<UntetherLocal>(what),
        "untether-pool" => work_on::<UntetherPool>(what),
        "tokio-current-thread" => work_on::<TokioCurrentThread>(what),
        "tokio-multi-thread" => work_on::<TokioMultiThread>(what),
        "async-executor-local" => work_on::<AsyncExecutorLocal>(what),
        "async-executor" => work_on::<AsyncExecutor>(what),
        _ => unreachable!("no such executor: {subject}"),
    }
}

fn work_on<E: Executor>(what: &str) -> io::Result<()> {
    match what {
        "spawn" => answer(|| timed(E::run, spawn::<E>)),
        "chain" => answer(|| timed(E::run, chain::<E>)),
        "wake" => answer(|| timed(E::run, wake::<E>)),
        "yield" => answer(|| timed(E::run, yields::<E>)),
        "across" => answer(|| timed(drop, || across::<E>())),
        "bytes" => answer(bytes::<E>),
        _ => match what.split_once(' ') {
            Some((what, times)) => count::<E>(what, times.parse().expect("a number")),
            None => unreachable!("no such job: {what}"),
        },
    }
}

/// What is counted per unit of it: its name here, and how one calls it.
pub(super) const COUNTED: &[(&str, &str)] = &[
    ("spawn", "spawn + complete"),
    ("chain", "chained spawn"),
    ("wake", "wake"),
    ("yield", "yield"),
];

/// Does a job so many times, and says how many units that was.
fn count<E: Executor>(what: &str, times: u32) -> io::Result<()> {
    let mut units = 0;
    for _ in 0..times {
        let (work, more) = match what {
            "spawn" => spawn::<E>(),
            "chain" => chain::<E>(),
            "wake" => wake::<E>(),
            "yield" => yields::<E>(),
            _ => unreachable!("no such job: {what}"),
        };
        E::run(work);
        units += more;
    }
    println!("{units}");
    Ok(())
}

/// Repeats what `work` makes, until a window has passed: nanoseconds for each of its units, on the wall and of
/// the CPU time of all threads.
fn timed<W>(run: impl Fn(W), work: impl Fn() -> (W, u32)) -> Vec<f64> {
    const WINDOW: Duration = Duration::from_millis(20);
    let (start, cpu) = (Instant::now(), machine::process_cpu_ns());
    let mut units = 0;
    loop {
        let (work, more) = work();
        run(work);
        units += more;
        let elapsed = start.elapsed();
        if elapsed >= WINDOW {
            let cpu = machine::process_cpu_ns() - cpu;
            return [elapsed.as_nanos() as f64, cpu as f64]
                .map(|ns| ns / f64::from(units))
                .to_vec();
        }
    }
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn spawn<E: Executor>() -> (Work, u32) {
    let work = Box::pin(async {
        let mut tasks = Vec::with_capacity(1_000);
        for _ in 0..20 {
            tasks.extend((0..1_000).map(|_| E::spawn(async {})));
            for task in tasks.drain(..) {
                task.await;
            }
        }
    });
    (work, 20_000)
}

fn chain<E: Executor>() -> (Work, u32) {
    fn link<E: Executor>(left: u32, done: Arc<Flag>) -> Work {
        Box::pin(async move {
            match left {
                0 => done.raise(),
                left => E::detach(link::<E>(left - 1, done)),
            }
        })
    }
    let work = Box::pin(async {
        let done = Arc::new(Flag::default());
        E::detach(link::<E>(10_000, done.clone()));
        done.raised().await;
    });
    (work, 10_000)
}

fn wake<E: Executor>() -> (Work, u32) {
    let work = Box::pin(async {
        let game = Arc::new(Game::default());
        let other = E::spawn(Game::play(game.clone(), 1));
        Game::play(game, 0).await;
        other.await;
    });
    (work, GAME)
}

fn across<E: Executor>() -> ((), u32) {
    let game = Arc::new(Game::default());
    let theirs = game.clone();
    let other = thread::spawn(|| E::run(Box::pin(Game::play(theirs, 1))));
    E::run(Box::pin(Game::play(game, 0)));
    other.join().expect("the other side plays on");
    ((), GAME)
}

fn yields<E: Executor>() -> (Work, u32) {
    let work = Box::pin(async {
        let mut tasks = Vec::new();
        for _ in 0..100 {
            tasks.push(E::spawn(async {
                for _ in 0..200 {
                    yield_now().await;
                }
            }));
        }
        for task in tasks {
            task.await;
        }
    });
    (work, 20_000)
}

fn bytes<E: Executor>() -> Vec<f64> {
    const TASKS: usize = 10_000;
    heap::count();
    let before = heap::in_use();
    E::run(Box::pin(async {
        for _ in 0..TASKS {
            let captured = [1u8; CAPTURED];
            E::detach(async move {
                pending::<()>().await;
                std::hint::black_box(captured);
            });
        }
        // Let them begin.
        for _ in 0..TASKS {
            yield_now().await;
        }
    }));
    let each = (heap::in_use() - before) as f64 / TASKS as f64;
    vec![each - CAPTURED as f64]
}

const GAME: u32 = 2_000;

/// Two players wake each other by turns.
#[derive(Default)]
struct Game {
    moves: AtomicU32,
    players: [AtomicWaker; 2],
}

impl Game {
    async fn play(game: Arc<Game>, player: u32) {
        poll_fn(|cx| {
            game.players[player as usize].register(cx.waker());
            let moves = game.moves.load(Ordering::Acquire);
            if moves >= GAME {
                return Poll::Ready(());
            }
            if moves % 2 == player {
                game.moves.store(moves + 1, Ordering::Release);
                game.players[1 - player as usize].wake();
                if moves + 1 >= GAME {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }
}

#[derive(Default)]
struct Flag {
    raised: AtomicBool,
    waiter: AtomicWaker,
}

impl Flag {
    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.waiter.wake();
    }

    async fn raised(&self) {
        poll_fn(|cx| {
            self.waiter.register(cx.waker());
            match self.raised.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// An executor that this process, or this thread, has one of.
trait Executor: 'static {
    fn run(work: Work);

    /// Inside `run`.
    fn spawn(
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// Inside `run`.
    fn detach(future: impl Future<Output = ()> + Send + 'static);
}

struct UntetherLocal;

thread_local! {
    static LOCAL: untether_executors::Local = untether_executors::Local::new();
    static HANDLE: RefCell<untether_executors::LocalHandle> =
        RefCell::new(LOCAL.with(untether_executors::Local::handle));
}

impl Executor for UntetherLocal {
    fn run(work: Work) {
        LOCAL.with(|local| local.run(local.spawn(work)));
    }

    fn spawn(
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        HANDLE.with_borrow(|handle| handle.spawn(future))
    }

    fn detach(future: impl Future<Output = ()> + Send + 'static) {
        HANDLE.with_borrow(|handle| handle.spawn(future)).detach();
    }
}

struct UntetherPool;

fn pool() -> &'static untether_executors::Pool {
    static POOL: OnceLock<untether_executors::Pool> = OnceLock::new();
    POOL.get_or_init(|| untether_executors::Pool::new(2).expect("a pool"))
}

impl Executor for UntetherPool {
    fn run(work: Work) {
        pool().block_on(pool().spawn(work));
    }

    fn spawn(
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        pool().spawn(future)
    }

    fn detach(future: impl Future<Output = ()> + Send + 'static) {
        pool().spawn(future).detach();
    }
}

async fn joined(task: tokio::task::JoinHandle<()>) {
    task.await.expect("a task that does not panic");
}

struct TokioCurrentThread;

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
}

impl Executor for TokioCurrentThread {
    fn run(work: Work) {
        RUNTIME.with(|runtime| runtime.block_on(joined(runtime.spawn(work))));
    }

    fn spawn(
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        joined(tokio::spawn(future))
    }

    fn detach(future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }
}

struct TokioMultiThread;

impl Executor for TokioMultiThread {
    fn run(work: Work) {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_all().build();
            runtime.expect("a runtime")
        });
        runtime.block_on(joined(runtime.spawn(work)));
    }

    fn spawn(
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        joined(tokio::spawn(future))
    }

    fn detach(future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }
}

struct AsyncExecutorLocal;

thread_local! {
    static LOCAL_EXECUTOR: &'static async_executor::LocalExecutor<'static> =
        Box::leak(Box::new(async_executor::LocalExecutor::new()));
}

impl Executor for AsyncExecutorLocal {
    fn run(work: Work) {
        let executor = LOCAL_EXECUTOR.with(|executor| *executor);
        futures_lite::future::block_on(executor.run(executor.spawn(work)));
    }

    fn spawn(
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        LOCAL_EXECUTOR.with(|executor| executor.spawn(future))
    }

    fn detach(future: impl Future<Output = ()> + Send + 'static) {
        LOCAL_EXECUTOR
            .with(|executor| executor.spawn(future))
            .detach();
    }
}

struct AsyncExecutor;

static EXECUTOR: OnceLock<async_executor::Executor<'static>> = OnceLock::new();

fn executor() -> &'static async_executor::Executor<'static> {
    EXECUTOR.get_or_init(|| {
        for _ in 0..2 {
            thread::spawn(|| futures_lite::future::block_on(executor().run(pending::<()>())));
        }
        async_executor::Executor::new()
    })
}

impl Executor for AsyncExecutor {
    fn run(work: Work) {
        futures_lite::future::block_on(executor().spawn(work));
    }

    fn spawn(
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        executor().spawn(future)
    }

    fn detach(future: impl Future<Output = ()> + Send + 'static) {
        executor().spawn(future).detach();
    }
}
