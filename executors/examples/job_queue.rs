//! A server that computes, for people who are waiting and for others who are not.
//!
//! Run it: `cargo run -p untether-executors --example job_queue [PORT [THREADS]]`. Without a port, or with port 0, the system
//! chooses one; the address is printed. Then talk to it: `nc 127.0.0.1 PORT`. Each line is a job, the number of primes
//! below a number, and its class: `urgent 1000`, `normal 1000`, or `background 3000000`.
//!
//! Answers come in the order in which the jobs are done. Try a few large jobs in the background, and then an urgent one.
//! A client that goes away takes its unfinished jobs with it: dropping a task cancels it.

use std::future::ready;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use futures::channel::mpsc::channel;
use futures::future::Either;
use futures::{SinkExt, StreamExt};
use futures_lite::future::try_zip;
use futures_lite::io::BufReader;
use futures_lite::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use untether::{Async, Timer};
use untether_executors::{Class, Priority, PriorityHandle, Spawn, yield_now};

/// So many jobs of a client, and two more, are under way at once. It may send more; they stay in its socket, and when that is full, with
/// the client. So nobody can fill this process with jobs.
const JOBS_MAX: usize = 16;

/// No job needs a longer line.
const LINE_MAX: u64 = 64;

/// So many candidates are tried in one turn, some tens of microseconds. It is turns that the classes share: a class whose
/// turns are long gets more.
const CHUNK: u64 = 256;

/// Counts the primes below `limit`.
async fn count_primes(limit: u64) -> usize {
    let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
    let mut primes = 0;
    let mut from = 2;
    while from < limit {
        let to = limit.min(from + CHUNK);
        primes += (from..to).filter(is_prime).count();
        from = to;
        yield_now().await;
    }
    primes
}

/// What is to be done, and how urgently.
fn parse(line: &str) -> Option<(Class, u64)> {
    let (class, limit) = line.split_once(' ')?;
    let class = match class {
        "urgent" => Class::Urgent,
        "normal" => Class::Normal,
        "background" => Class::Background,
        _ => return None,
    };
    Some((class, limit.trim().parse::<u32>().ok()?.into()))
}

/// Starts the job that a line asks for. Returns its answer, when there is one.
fn start(line: String, spawner: &PriorityHandle) -> impl Future<Output = String> + use<> {
    match parse(&line) {
        Some((class, limit)) => {
            // It runs from now on, whether or not anybody polls what is returned.
            let job = spawner.at(class).spawn(count_primes(limit));
            Either::Left(async move { format!("{line}: {}\n", job.await) })
        }
        None => {
            let usage = "say: urgent NUMBER, normal NUMBER, or background NUMBER\n";
            Either::Right(ready(usage.into()))
        }
    }
}

/// The next line, without its end; nothing if there is none, or too much of it.
async fn next_line(lines: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = String::new();
    lines.take(LINE_MAX).read_line(&mut line).await?;
    Ok(line.strip_suffix('\n').map(|line| line.trim_end().into()))
}

async fn serve_client(stream: Async<TcpStream>, spawner: PriorityHandle) -> io::Result<()> {
    let (queue, jobs) = channel(0);
    let read = async {
        let (mut lines, mut queue) = (BufReader::new(&stream), queue);
        while let Some(line) = next_line(&mut lines).await? {
            // Waits while too many jobs are under way, and reads no further.
            let job = start(line, &spawner);
            queue.send(job).await.map_err(io::Error::other)?;
        }
        io::Result::Ok(())
    };
    let write = async {
        let mut answers = jobs.buffer_unordered(JOBS_MAX);
        while let Some(answer) = answers.next().await {
            (&stream).write_all(answer.as_bytes()).await?;
        }
        Ok(())
    };
    // After the last line, the last answers are waited for. An error of either ends both, and drops the jobs.
    try_zip(read, write).await?;
    Ok(())
}

/// Serves whoever comes, for ever.
pub async fn serve(listener: Async<TcpListener>, spawner: PriorityHandle) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let client = serve_client(stream, spawner.clone());
                let report = async move {
                    if let Err(error) = client.await {
                        eprintln!("{peer}: {error}");
                    }
                };
                spawner.spawn(report).detach();
            }
            Err(error) => {
                // It concerns one connection, or will pass: too many are open. So not at once again.
                eprintln!("cannot accept: {error}");
                Timer::after(Duration::from_millis(100)).await;
            }
        }
    }
}

fn main() -> io::Result<()> {
    let arguments = std::env::args().skip(1);
    let numbers: Result<Vec<u16>, _> = arguments.map(|text| text.parse()).collect();
    let (port, threads) = match numbers.as_deref() {
        Ok([]) => (0, 2),
        Ok([port]) => (*port, 2),
        Ok([port, threads]) => (*port, *threads),
        _ => {
            eprintln!("usage: job_queue [PORT [THREADS]]");
            std::process::exit(2);
        }
    };
    let priority = Priority::new(threads.into())?;
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
    println!("listening on {}", listener.get_ref().local_addr()?);
    io::stdout().flush()?;
    // Talking is urgent, whatever the talk is of.
    let urgent = priority.handle(Class::Urgent);
    priority.block_on(urgent.spawn(serve(listener, urgent.clone())))
}
