//! Connections: accepted, answered once and hung up on, as many as there can be; what an idle one takes; what it costs
//! to register a socket.
//!
//! In `connections` the server hangs up first, after one echo, so that the client's ports are free again at once. CPU
//! is the server's. In `connection bytes` the server counts its heap after the first answer on each of 1,100
//! connections; the buffer is not counted. `registration` makes a socket waitable, waits for it once and drops it.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::workers;
use crate::args::Args;
use crate::child::{Measured, answer};
use crate::figure::{Figure, Metric};
use crate::load::{Load, Visits};
use crate::machine;
use crate::servers::{Spec, named};
use crate::window::Contest;

const SERVERS: &[&str] = &[
    "raw",
    "untether-local",
    "untether-pool-1",
    "tokio-current-thread",
    "smol-local",
];

const METRICS: &[Metric] = &[
    Metric::compared("connections", "1/s"),
    Metric::compared("CPU", "us/connection"),
];

const REGISTRATION: &[Metric] = &[
    Metric::compared("make + wait + drop", "ns"),
    Metric::compared("CPU", "ns"),
];

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if args.wants("connections", "8 at once", true) {
        figures.extend(visits(args)?);
    }
    if args.wants("connection bytes", "1000 idle", true) {
        figures.extend(bytes(args)?);
    }
    let subjects = ["untether", "tokio", "async-io"];
    let job = ["connections", "registration"];
    figures.extend(workers(
        args,
        "registration",
        "UDP socket",
        REGISTRATION,
        &subjects,
        &job,
        true,
    )?);
    Ok(figures)
}

fn chosen(args: &Args) -> impl Iterator<Item = &'static str> {
    let (base, others) = SERVERS.split_first().expect("a server");
    let others = others.iter().filter(|name| args.wants_subject(name));
    std::iter::once(*base).chain(others.copied())
}

fn visits(args: &Args) -> io::Result<Vec<Figure>> {
    let mut entrants = Vec::new();
    for name in chosen(args) {
        let spec = Spec {
            once: true,
            ..Spec::echo(64)
        };
        let server = named(name).expect("a server's name");
        let (process, address) = Measured::server(server, spec, &[])?;
        entrants.push((
            name,
            process.cpu_clock()?,
            Visits::new(address, 8)?,
            process,
        ));
    }
    let contest = Contest {
        measure: "connections",
        case: "8 at once",
        metrics: METRICS,
        rounds: args.rounds(),
    };
    contest.run(
        &mut entrants,
        |(name, ..)| (*name).to_owned(),
        |(_, cpu, visits, _)| {
            let before = cpu.ns()?;
            let seen = visits.run_for(args.window())?;
            let used = cpu.ns()? - before;
            let connections = seen.requests as f64;
            Ok(vec![
                connections / seen.elapsed.as_secs_f64(),
                used as f64 / 1e3 / connections,
            ])
        },
    )
}

fn bytes(args: &Args) -> io::Result<Vec<Figure>> {
    const FIRST: usize = 100;
    const MORE: usize = 1_000;
    let mut figures: Vec<Figure> = Vec::new();
    for subject in chosen(args) {
        let spec = Spec {
            tells_heap: true,
            ..Spec::echo(64)
        };
        let server = named(subject).expect("a server's name");
        let (mut process, address) = Measured::server(server, spec, &[])?;
        let mut told = |connections: usize| -> io::Result<(Load, f64)> {
            let mut load = Load::connect(address, connections, 64)?;
            load.run_requests(connections as u64)?;
            let mut last = 0.0;
            for _ in 0..connections {
                let line = process.line()?;
                last = line
                    .trim()
                    .parse()
                    .map_err(|_| io::Error::other(format!("{subject} said {line:?}")))?;
            }
            Ok((load, last))
        };
        let (_few, before) = told(FIRST)?;
        let (_many, after) = told(MORE)?;
        let value = (after - before) / MORE as f64 - spec.buffer as f64;
        figures.push(Figure::of_one(
            ("connection bytes", "1000 idle"),
            subject,
            ("heap", "bytes/connection"),
            value,
            figures.first(),
        ));
    }
    Ok(figures)
}

pub(super) fn work(job: &[&str]) -> io::Result<()> {
    machine::pin_to(machine::SERVER_CORE)?;
    let socket = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        socket
    };
    match job {
        ["registration", "untether"] => untether_executors::block_on(windows(|cx| {
            let socket = untether::Async::new_nonblocking(socket()).expect("a socket to watch");
            let _ = socket.poll_readable(cx);
        })),
        ["registration", "async-io"] => async_io::block_on(windows(|cx| {
            let socket = async_io::Async::new_nonblocking(socket()).expect("a socket to watch");
            let _ = socket.poll_readable(cx);
        })),
        ["registration", "tokio"] => {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build()?;
            runtime.block_on(windows(|cx| {
                let socket = tokio::net::UdpSocket::from_std(socket()).expect("a socket to watch");
                let _ = socket.poll_recv_ready(cx);
            }))
        }
        _ => unreachable!("no such job: {job:?}"),
    }
}

/// Answers with the time that `once` takes, socket and all.
async fn windows(once: impl Fn(&mut Context<'_>)) -> io::Result<()> {
    const WINDOW: Duration = Duration::from_millis(20);
    poll_fn(|cx| {
        Poll::Ready(answer(|| {
            let (start, cpu) = (Instant::now(), machine::thread_cpu_ns());
            let mut sockets = 0;
            loop {
                (0..50).for_each(|_| once(cx));
                sockets += 50;
                let elapsed = start.elapsed();
                if elapsed >= WINDOW {
                    let cpu = machine::thread_cpu_ns() - cpu;
                    return [elapsed.as_nanos() as f64, cpu as f64]
                        .map(|ns| ns / f64::from(sockets))
                        .to_vec();
                }
            }
        }))
    })
    .await
}
