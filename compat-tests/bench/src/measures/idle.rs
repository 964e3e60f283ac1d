//! Idle: how often a runtime wakes up that has 100 connections on which nothing happens, and 1,000 far timers.
//!
//! Counted as context switches of all its threads: who does not run does not switch.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use futures_lite::AsyncReadExt;

use crate::args::Args;
use crate::child::{Measured, answer};
use crate::figure::{Figure, Metric};
use crate::machine;
use crate::window::Contest;

const SUBJECTS: &[&str] = &[
    "untether-local",
    "untether-on-futures-local",
    "tokio",
    "async-io",
];

const METRICS: &[Metric] = &[Metric::plain("wake-ups", "1/s")];

const CONNECTIONS: usize = 100;
const TIMERS: u64 = 1_000;

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let case = "100 connections, 1000 timers";
    if !args.wants("idle", case, true) {
        return Ok(Vec::new());
    }
    let mut entrants = Vec::new();
    for &subject in SUBJECTS {
        if args.wants_subject(subject) {
            let mut worker = Measured::worker(&["idle", subject])?;
            worker.work()?;
            entrants.push((subject, worker));
        }
    }
    // Starting is over.
    thread::sleep(Duration::from_millis(1_500));
    let contest = Contest {
        measure: "idle",
        case,
        metrics: METRICS,
        rounds: if args.is_full() { 3 } else { 1 },
    };
    contest.run(
        &mut entrants,
        |(subject, _)| (*subject).to_owned(),
        |(_, worker)| {
            const LOOK: Duration = Duration::from_secs(1);
            let before = machine::switches(worker.id())?;
            thread::sleep(LOOK);
            let switches = machine::switches(worker.id())? - before;
            Ok(vec![switches as f64 / LOOK.as_secs_f64()])
        },
    )
}

pub(super) fn work(job: &[&str]) -> io::Result<()> {
    // Its thread sleeps in a read of the standard input all the while.
    thread::spawn(|| answer(|| vec![0.0]));
    let far = |n| Duration::from_secs(1_000 + n);
    let ours = |spawn: &dyn Fn(Task)| {
        for n in 0..TIMERS {
            spawn(Box::pin(async move {
                untether::Timer::after(far(n)).await;
            }));
        }
        for (near, far) in pairs() {
            spawn(Box::pin(async move {
                let mut near = untether::Async::new(near).expect("a stream to watch");
                let _ = near.read(&mut [0]).await;
                drop(far);
            }));
        }
    };
    match *job {
        ["untether-local"] => {
            let local = untether_executors::Local::new();
            ours(&|task| local.spawn(task).detach());
            local.run(std::future::pending())
        }
        ["untether-on-futures-local"] => {
            use futures_util::task::LocalSpawnExt;
            let mut pool = futures_executor::LocalPool::new();
            let spawner = pool.spawner();
            ours(&|task| spawner.spawn_local(task).expect("the pool lives"));
            pool.run_until(std::future::pending())
        }
        ["async-io"] => {
            let executor = async_executor::LocalExecutor::new();
            for n in 0..TIMERS {
                let timer = async move {
                    async_io::Timer::after(far(n)).await;
                };
                executor.spawn(timer).detach();
            }
            for (near, far) in pairs() {
                let connection = async move {
                    let mut near = async_io::Async::new(near).expect("a stream to watch");
                    let _ = near.read(&mut [0]).await;
                    drop(far);
                };
                executor.spawn(connection).detach();
            }
            async_io::block_on(executor.run(std::future::pending()))
        }
        ["tokio"] => {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build()?.block_on(async {
                for n in 0..TIMERS {
                    tokio::spawn(async move { tokio::time::sleep(far(n)).await });
                }
                for (near, far) in pairs() {
                    tokio::spawn(async move {
                        use tokio::io::AsyncReadExt;
                        near.set_nonblocking(true).expect("a stream");
                        let near = tokio::net::TcpStream::from_std(near);
                        let _ = near.expect("a stream to watch").read(&mut [0]).await;
                        drop(far);
                    });
                }
                std::future::pending().await
            })
        }
        _ => unreachable!("no such job: {job:?}"),
    }
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()>>>;

fn pairs() -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let pair = |_| {
        let far = TcpStream::connect(address).expect("a connection");
        (listener.accept().expect("a connection").0, far)
    };
    (0..CONNECTIONS).map(pair).collect()
}
