//! One future that does I/O, unchanged, on six executors: three that drive untether while they wait, and three that
//! have never heard of it.
//!
//! Run it: `cargo run -p untether-executors --example same_future_on_six_executors [NAME]`, where NAME is `block_on`,
//! `local`, `pool`, `pollster`, `futures-threadpool`, `tokio`, or nothing for all of them, each in a process of its own.
//!
//! Watch the number of threads: the first two need none besides the one that waits, the pool has its two workers, and for
//! the foreign executors a thread named "untether" drives the global reactor while they wait.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use futures_lite::future::try_zip;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use untether::{Async, Timer};
use untether_executors::{Local, Pool, block_on};

/// The names to choose from.
pub const EXECUTORS: [&str; 6] = [
    "block_on",
    "local",
    "pool",
    "pollster",
    "futures-threadpool",
    "tokio",
];

/// Sends a word through an echo server that thinks for a while. Returns what came back, and how many threads the
/// process had meanwhile.
async fn round_trip() -> io::Result<(String, Option<usize>)> {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    let address = listener.get_ref().local_addr()?;

    let server = async {
        let (mut stream, _) = listener.accept().await?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        Timer::after(Duration::from_millis(10)).await;
        stream.write_all(&word).await
    };
    let client = async {
        let mut stream = Async::<TcpStream>::connect(address).await?;
        stream.write_all(b"hello").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok((answer, threads()))
    };
    // The server's stream is dropped with its future, which ends the answer.
    let ((), answer) = try_zip(server, client).await?;
    Ok(answer)
}

/// Runs it on the executor of that name.
pub fn run_on(executor: &str) -> io::Result<(String, Option<usize>)> {
    match executor {
        "block_on" => block_on(round_trip()),
        "local" => {
            let local = Local::new();
            local.run(local.spawn(round_trip()))
        }
        "pool" => {
            let pool = Pool::new(2)?;
            pool.block_on(pool.spawn(round_trip()))
        }
        "pollster" => pollster::block_on(round_trip()),
        "futures-threadpool" => {
            use futures::task::SpawnExt;
            let pool = futures::executor::ThreadPool::builder()
                .pool_size(2)
                .create()?;
            let task = pool.spawn_with_handle(round_trip());
            let task = task.map_err(|error| io::Error::other(error.to_string()))?;
            futures::executor::block_on(task)
        }
        "tokio" => {
            // Neither its I/O driver nor its timers are enabled.
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(async { tokio::spawn(round_trip()).await.map_err(io::Error::other)? })
        }
        other => {
            let names = EXECUTORS.join(", ");
            let message = format!("no executor is called {other}; try one of {names}, or all");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

/// Linux tells; elsewhere nobody knows.
fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

fn report(executor: &str) -> io::Result<()> {
    let started = Instant::now();
    let (answer, threads) = run_on(executor)?;
    let took = started.elapsed();
    let threads = threads.map_or(String::from("unknown"), |threads| threads.to_string());
    println!("{executor:18}  said {answer:?} after {took:7.1?}, threads: {threads}");
    Ok(())
}

fn main() -> ExitCode {
    let outcome = match env::args().nth(1).as_deref() {
        None | Some("all") => EXECUTORS.iter().try_for_each(|executor| {
            let this = env::current_exe()?;
            let status = Command::new(this).arg(executor).status()?;
            let failed = || io::Error::other(format!("{executor} failed"));
            status.success().then_some(()).ok_or_else(failed)
        }),
        Some(executor) => report(executor),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
