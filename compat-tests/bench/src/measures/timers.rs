//! Timers: what it costs to make one, poll it once and drop it, as a time-out does that is never reached; how late they
//! fire; and how much heap a pending one takes.
//!
//! With others pending, a new timer is either earlier than all of them, so that whoever drives has to hear of it, or
//! later. On two threads both do it at once, in one runtime; the figure is per thread.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::{Arc, Barrier, OnceLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use futures_util::stream::FuturesUnordered;

use super::workers;
use crate::args::Args;
use crate::child::answer;
use crate::figure::{Figure, Metric};
use crate::heap;
use crate::machine;
use crate::spread::Histogram;

pub(super) const SUBJECTS: &[&str] = &["untether", "tokio", "async-io"];

const COST: &[Metric] = &[
    Metric::compared("create + poll + drop", "ns"),
    Metric::compared("CPU", "ns"),
];

const LATENESS: &[Metric] = &[
    Metric::compared("p50 late", "us"),
    Metric::compared("p99 late", "us"),
    Metric::compared("most late", "us"),
    Metric::plain("early", "timers"),
];

const BYTES: &[Metric] = &[
    Metric::compared("heap", "bytes/timer"),
    Metric::plain("object", "bytes"),
];

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for threads in ["1", "2"] {
        for pending in [0, 10_000, 1_000_000] {
            for order in ["earlier", "later"] {
                if pending == 0 && order == "later" {
                    continue;
                }
                let on = if threads == "1" {
                    "1 thread"
                } else {
                    "2 threads"
                };
                let case = format!("{pending} pending, {order}, {on}");
                let job = ["timers", "cost", threads, &pending.to_string(), order];
                figures.extend(workers(args, "timers", &case, COST, SUBJECTS, &job, true)?);
            }
        }
    }
    for (job, case) in [
        ("lateness", "100 timers of 0.9 to 1.1 s"),
        ("lateness under load", "the same, beside 32 tasks that echo"),
    ] {
        // A round takes a second for each, and has a hundred timers.
        let mut args = args.clone();
        args.rounds = Some(args.rounds().div_ceil(6));
        figures.extend(workers(
            &args,
            "lateness",
            case,
            LATENESS,
            SUBJECTS,
            &["timers", job],
            true,
        )?);
    }
    let job = ["timers", "bytes"];
    let case = "100000 pending";
    figures.extend(workers(
        args,
        "timer bytes",
        case,
        BYTES,
        SUBJECTS,
        &job,
        true,
    )?);
    Ok(figures)
}

pub(super) fn work(job: &[&str]) -> io::Result<()> {
    match job {
        [job @ .., "untether"] => work_on::<Untether>(job),
        [job @ .., "tokio"] => work_on::<Tokio>(job),
        [job @ .., "async-io"] => work_on::<AsyncIo>(job),
        _ => unreachable!("no such runtime: {job:?}"),
    }
}

fn work_on<R: Runtime>(job: &[&str]) -> io::Result<()> {
    match *job {
        ["cost", threads, pending, order] => {
            let pending = pending.parse().expect("a number");
            let length = Duration::from_secs(if order == "earlier" { 5 } else { 4_000 });
            if threads == "1" {
                machine::pin_to(machine::SERVER_CORE)?;
                cost_on_one_thread::<R>(pending, length)
            } else {
                machine::pin_to_none()?;
                cost_on_two_threads::<R>(pending, length)
            }
        }
        ["count", pending, times] => {
            count::<R>(
                pending.parse().expect("a number"),
                times.parse().expect("a number"),
            );
            Ok(())
        }
        ["lateness"] => {
            machine::pin_to(machine::SERVER_CORE)?;
            answer(|| R::block_on(lateness::<R>()))
        }
        ["lateness under load"] => {
            machine::pin_to(machine::SERVER_CORE)?;
            answer(|| R::block_on_beside(PAIRS, lateness::<R>()))
        }
        ["bytes"] => answer(|| R::block_on(poll_fn(|cx| Poll::Ready(bytes::<R>(cx))))),
        _ => unreachable!("no such job: {job:?}"),
    }
}

/// A runtime with timers.
trait Runtime: 'static {
    type Timer: Future + Send;

    fn timer(length: Duration) -> Self::Timer;

    fn timer_at(deadline: Instant) -> Self::Timer;

    fn block_on<T>(future: impl Future<Output = T>) -> T;

    /// The same, beside tasks on the same thread: so many pairs who send each other a message to and fro.
    fn block_on_beside<T>(pairs: usize, future: impl Future<Output = T>) -> T;

    /// Starts a task on one of two threads.
    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T>;
}

/// Others that wait, and go on waiting until this is dropped.
fn others<R: Runtime>(cx: &mut Context<'_>, pending: usize) -> Vec<Pin<Box<R::Timer>>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut other = || {
        let length = Duration::from_nanos(random.u64(1_000_000_000_000..3_600_000_000_000));
        let mut timer = Box::pin(R::timer(length));
        assert!(timer.as_mut().poll(cx).is_pending());
        timer
    };
    (0..pending).map(|_| other()).collect()
}

/// Makes, polls and drops so many timers.
fn make_and_drop<R: Runtime>(cx: &mut Context<'_>, length: Duration, timers: u32) {
    for _ in 0..timers {
        let timer = pin!(R::timer(length));
        assert!(black_box(timer.poll(cx)).is_pending());
    }
}

/// Makes, polls and drops timers for a while: nanoseconds for each, on the wall and of this thread's CPU time.
fn cost<R: Runtime>(cx: &mut Context<'_>, length: Duration) -> [f64; 2] {
    const WINDOW: Duration = Duration::from_millis(20);
    let (start, cpu) = (Instant::now(), machine::thread_cpu_ns());
    let mut timers = 0;
    loop {
        make_and_drop::<R>(cx, length, 500);
        timers += 500;
        let elapsed = start.elapsed();
        if elapsed >= WINDOW {
            let cpu = machine::thread_cpu_ns() - cpu;
            return [elapsed.as_nanos() as f64, cpu as f64].map(|ns| ns / f64::from(timers));
        }
    }
}

/// All windows inside one poll, so that those that wait stay where they are.
fn cost_on_one_thread<R: Runtime>(pending: usize, length: Duration) -> io::Result<()> {
    R::block_on(poll_fn(|cx| {
        let others = others::<R>(cx, pending);
        let answered = answer(|| cost::<R>(cx, length).to_vec());
        drop(others);
        Poll::Ready(answered)
    }))
}

/// Makes, polls and drops timers, and says how many.
fn count<R: Runtime>(pending: usize, times: u32) {
    const TIMERS: u32 = 10_000;
    R::block_on(poll_fn(|cx| {
        let others = others::<R>(cx, pending);
        make_and_drop::<R>(cx, Duration::from_secs(5), times * TIMERS);
        drop(others);
        Poll::Ready(())
    }));
    println!("{}", times * TIMERS);
}

fn cost_on_two_threads<R: Runtime>(pending: usize, length: Duration) -> io::Result<()> {
    let others = R::spawn(poll_fn(move |cx| Poll::Ready(others::<R>(cx, pending))));
    let others = futures_lite::future::block_on(others);
    let answered = answer(|| {
        let together = Arc::new(Barrier::new(2));
        let one = || {
            let together = together.clone();
            R::spawn(poll_fn(move |cx| {
                together.wait();
                Poll::Ready(cost::<R>(cx, length))
            }))
        };
        let both = futures_lite::future::zip(one(), one());
        let (one, other) = futures_lite::future::block_on(both);
        vec![(one[0] + other[0]) / 2.0, (one[1] + other[1]) / 2.0]
    });
    drop(others);
    answered
}

async fn lateness<R: Runtime>() -> Vec<f64> {
    let start = Instant::now();
    let mut timers: FuturesUnordered<_> = (0..100)
        .map(|_| async move {
            let deadline = start + Duration::from_micros(fastrand::u64(900_000..1_100_000));
            R::timer_at(deadline).await;
            (deadline, Instant::now())
        })
        .collect();
    let mut late = Histogram::new();
    let mut early = 0;
    while let Some((deadline, now)) = timers.next().await {
        if now < deadline {
            early += 1;
        }
        late.add(now.saturating_duration_since(deadline).as_nanos() as u64);
    }
    vec![
        late.at(0.5) / 1e3,
        late.at(0.99) / 1e3,
        late.most() / 1e3,
        f64::from(early),
    ]
}

fn bytes<R: Runtime>(cx: &mut Context<'_>) -> Vec<f64> {
    const TIMERS: usize = 100_000;
    heap::count();
    let before = heap::in_use();
    let others = others::<R>(cx, TIMERS);
    let object = size_of::<R::Timer>() as f64;
    let table = size_of::<Pin<Box<R::Timer>>>() as f64;
    let each = (heap::in_use() - before) as f64 / others.len() as f64;
    vec![each - object - table, object]
}

/// Two for each of the tasks that echo.
const PAIRS: usize = 16;

fn streams(pairs: usize) -> impl Iterator<Item = (UnixStream, bool)> {
    (0..pairs).flat_map(|_| {
        let (one, other) = UnixStream::pair().expect("a pair of sockets");
        [(one, true), (other, false)]
    })
}

/// Sends back what comes, for ever. One of a pair begins.
async fn play(mut stream: impl AsyncRead + AsyncWrite + Unpin, begins: bool) -> io::Result<()> {
    let mut message = [7; 64];
    if begins {
        stream.write_all(&message).await?;
    }
    loop {
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
    }
}

struct Untether;

impl Runtime for Untether {
    type Timer = untether::Timer;

    fn timer(length: Duration) -> untether::Timer {
        untether::Timer::after(length)
    }

    fn timer_at(deadline: Instant) -> untether::Timer {
        untether::Timer::at(deadline)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        untether_executors::Local::new().run(future)
    }

    fn block_on_beside<T>(pairs: usize, future: impl Future<Output = T>) -> T {
        let local = untether_executors::Local::new();
        for (stream, begins) in streams(pairs) {
            let stream = untether::Async::new(stream).expect("a stream to watch");
            local.spawn(play(stream, begins)).detach();
        }
        local.run(future)
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        static POOL: OnceLock<untether_executors::Pool> = OnceLock::new();
        let pool = || untether_executors::Pool::new(2).expect("a pool");
        POOL.get_or_init(pool).spawn(future)
    }
}

struct Tokio;

impl Runtime for Tokio {
    type Timer = tokio::time::Sleep;

    fn timer(length: Duration) -> tokio::time::Sleep {
        tokio::time::sleep(length)
    }

    fn timer_at(deadline: Instant) -> tokio::time::Sleep {
        tokio::time::sleep_until(deadline.into())
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn block_on_beside<T>(pairs: usize, future: impl Future<Output = T>) -> T {
        async fn play(mut stream: tokio::net::UnixStream, begins: bool) -> io::Result<()> {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut message = [7; 64];
            if begins {
                stream.write_all(&message).await?;
            }
            loop {
                stream.read_exact(&mut message).await?;
                stream.write_all(&message).await?;
            }
        }
        Self::block_on(async {
            for (stream, begins) in streams(pairs) {
                stream.set_nonblocking(true).expect("a stream");
                let stream = tokio::net::UnixStream::from_std(stream).expect("a stream to watch");
                tokio::spawn(play(stream, begins));
            }
            future.await
        })
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_all().build();
            runtime.expect("a runtime")
        };
        let task = RUNTIME.get_or_init(runtime).spawn(future);
        async { task.await.expect("a task that does not panic") }
    }
}

struct AsyncIo;

impl Runtime for AsyncIo {
    type Timer = async_io::Timer;

    fn timer(length: Duration) -> async_io::Timer {
        async_io::Timer::after(length)
    }

    fn timer_at(deadline: Instant) -> async_io::Timer {
        async_io::Timer::at(deadline)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        async_io::block_on(future)
    }

    fn block_on_beside<T>(pairs: usize, future: impl Future<Output = T>) -> T {
        let executor = async_executor::LocalExecutor::new();
        for (stream, begins) in streams(pairs) {
            let stream = async_io::Async::new(stream).expect("a stream to watch");
            executor.spawn(play(stream, begins)).detach();
        }
        async_io::block_on(executor.run(future))
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        executor().spawn(future)
    }
}

fn executor() -> &'static async_executor::Executor<'static> {
    static EXECUTOR: OnceLock<async_executor::Executor<'static>> = OnceLock::new();
    EXECUTOR.get_or_init(|| {
        for _ in 0..2 {
            thread::spawn(|| async_io::block_on(executor().run(std::future::pending::<()>())));
        }
        async_executor::Executor::new()
    })
}
