//! System calls and user instructions per echoed request, per connection that is accepted, answered once and closed, and
//! per timer: what does not depend on how busy the machine is.
//!
//! The server runs under strace or callgrind, twice: for N requests, and for 2 N. The difference is N requests, without
//! start and end.
//!
//! Both tools slow the server down so much that the next request would be there before it waits, and who tries again first
//! would be rewarded. So requests are made only when the server sleeps: one on each connection, again and again.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::{executors, timers};
use crate::args::Args;
use crate::child::Measured;
use crate::figure::Figure;
use crate::load::{Load, Visits};
use crate::machine;
use crate::servers::{Spec, named};
use crate::window::progress;

const SERVERS: &[&str] = &[
    "raw",
    "untether-local",
    "untether-pool-1",
    "tokio-current-thread",
    "tokio-multi-thread-1",
    "smol-local",
    "untether-on-futures-local",
    "async-io-on-futures-local",
];

/// Those that can limit a read.
const LIMITED: &[&str] = &["untether-local", "tokio-current-thread", "smol-local"];

/// How many requests are N.
const REQUESTS: u64 = 1_280;

/// A program that counts what a server does.
pub(super) struct Counter {
    pub(super) measure: &'static str,
    pub(super) program: &'static str,
    pub(super) metric: &'static str,
    arguments: fn(&str) -> Vec<String>,
    /// Finds the count in what the program has written.
    count: fn(&str) -> Option<u64>,
}

/// Makes the connections to a server.
type Connect<'a> = dyn Fn(SocketAddr) -> io::Result<Load> + 'a;

pub(super) const COUNTERS: &[Counter] = &[
    Counter {
        measure: "syscalls",
        program: "strace",
        metric: "system calls",
        arguments: |file| ["-c", "-f", "-o", file].map(String::from).to_vec(),
        // The columns are: share, seconds, microseconds for each, calls, errors if any, name.
        count: |text| {
            let total = text.lines().find(|line| line.ends_with(" total"))?;
            total.split_whitespace().nth(3)?.parse().ok()
        },
    },
    Counter {
        measure: "instructions",
        program: "valgrind",
        metric: "user instructions",
        arguments: |file| {
            vec![
                "--tool=callgrind".to_owned(),
                "--quiet".to_owned(),
                format!("--callgrind-out-file={file}"),
            ]
        },
        count: |text| {
            let total = text.lines().find_map(|line| line.strip_prefix("totals:"))?;
            total.trim().parse().ok()
        },
    },
];

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Traffic {
    /// Requests, on so many connections.
    Requests(usize),
    /// The same, with a time-out of 5 s around each read.
    Limited(usize),
    /// Connections, one after the other, with a request each.
    Visits,
    /// None: an executor does this by itself.
    Job(&'static str, &'static str),
    /// None: timers are made, polled and dropped while so many others are pending.
    Timers(usize),
}

impl Traffic {
    fn name(self) -> String {
        match self {
            Traffic::Requests(connections) => format!("C={connections} 64 B"),
            Traffic::Limited(connections) => format!("C={connections} 64 B, limited to 5 s"),
            Traffic::Visits => "a connection".to_owned(),
            Traffic::Job(_, name) => name.to_owned(),
            Traffic::Timers(pending) => format!("a timer, {pending} pending"),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Traffic::Requests(_) | Traffic::Limited(_) => "1/request",
            Traffic::Visits => "1/connection",
            Traffic::Job(..) | Traffic::Timers(_) => "1",
        }
    }

    fn subjects(self) -> &'static [&'static str] {
        match self {
            Traffic::Job(..) => executors::ONE_THREAD,
            Traffic::Timers(_) => timers::SUBJECTS,
            Traffic::Limited(_) => LIMITED,
            Traffic::Requests(_) | Traffic::Visits => SERVERS,
        }
    }
}

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for counter in COUNTERS {
        let mut traffics = vec![
            Traffic::Requests(1),
            Traffic::Requests(64),
            Traffic::Limited(64),
            Traffic::Visits,
            Traffic::Timers(0),
            Traffic::Timers(10_000),
        ];
        if counter.program == "valgrind" {
            let jobs = executors::COUNTED.iter();
            traffics.extend(jobs.map(|(what, name)| Traffic::Job(what, name)));
        }
        for traffic in traffics {
            let case = traffic.name();
            if !args.wants(counter.measure, &case, true) {
                continue;
            }
            if !machine::has(counter.program, &["--version"]) {
                eprintln!(
                    "skipped {}/{case}: {} is not installed",
                    counter.measure, counter.program
                );
                continue;
            }
            figures.extend(counter.ask(args, traffic)?);
        }
    }
    Ok(figures)
}

impl Counter {
    fn ask(&self, args: &Args, traffic: Traffic) -> io::Result<Vec<Figure>> {
        let mut figures: Vec<Figure> = Vec::new();
        let wanted: Vec<&str> = traffic
            .subjects()
            .iter()
            .enumerate()
            .filter(|(place, name)| *place == 0 || args.wants_subject(name))
            .map(|(_, name)| *name)
            .collect();
        let bar = progress(self.measure, &traffic.name(), wanted.len() as u64);
        for subject in wanted {
            bar.set_message(subject);
            let (few, once) = self.run(subject, traffic, 1)?;
            let (many, twice) = self.run(subject, traffic, 2)?;
            let value = (twice as f64 - once as f64) / (many - few) as f64;
            figures.push(Figure::of_one(
                (self.measure, &traffic.name()),
                subject,
                (self.metric, traffic.unit()),
                value,
                figures.first(),
            ));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(figures)
    }

    /// How much a server does for each request on the connections that `connect` makes.
    pub(super) fn per_request(&self, server: &str, connect: &Connect<'_>) -> io::Result<f64> {
        let serve = |requests| {
            self.counted(|tool| {
                serve(tool, server, Spec::echo(64), |process, address| {
                    rounds(process, &mut connect(address)?, requests)
                })
            })
        };
        let ((), once) = serve(REQUESTS)?;
        let ((), twice) = serve(2 * REQUESTS)?;
        Ok((twice as f64 - once as f64) / REQUESTS as f64)
    }

    /// What there was to do, so many times, and how much was done for it.
    fn run(&self, subject: &str, traffic: Traffic, times: u64) -> io::Result<(u64, u64)> {
        let requests = times * REQUESTS;
        let mut spec = Spec::echo(64);
        self.counted(|tool| match traffic {
            Traffic::Job(what, _) => {
                let what = format!("{what} {times}");
                work(tool, &["executors", &what, subject])
            }
            Traffic::Timers(pending) => {
                let (pending, times) = (pending.to_string(), times.to_string());
                work(tool, &["timers", "count", &pending, &times, subject])
            }
            Traffic::Requests(connections) | Traffic::Limited(connections) => {
                spec.timeout = matches!(traffic, Traffic::Limited(_));
                serve(tool, subject, spec, |process, address| {
                    let mut load = Load::connect(address, connections, 64)?;
                    rounds(process, &mut load, requests)
                })?;
                Ok(requests)
            }
            Traffic::Visits => {
                spec.once = true;
                serve(tool, subject, spec, |process, address| {
                    let mut visits = Visits::new(address, 1)?;
                    for _ in 0..requests {
                        machine::wait_until_asleep(process.id())?;
                        visits.run_visits(1)?;
                    }
                    visits.look_in().map(drop)
                })?;
                Ok(requests)
            }
        })
    }

    /// Does something by means of a process under this counter, which it is told how to start.
    fn counted<T>(&self, work: impl FnOnce(&[OsString]) -> io::Result<T>) -> io::Result<(T, u64)> {
        let file =
            std::env::temp_dir().join(format!("untether-bench-{}.count", std::process::id()));
        let counted = self.counted_into(&file, work);
        // It is not there if the program could not run.
        let _ = fs::remove_file(&file);
        counted
    }

    fn counted_into<T>(
        &self,
        file: &Path,
        work: impl FnOnce(&[OsString]) -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        let mut tool = vec![OsString::from(self.program)];
        tool.extend(
            (self.arguments)(&file.to_string_lossy())
                .into_iter()
                .map(OsString::from),
        );
        let done = work(&tool)?;
        let count = (self.count)(&fs::read_to_string(file)?)
            .ok_or_else(|| io::Error::other(format!("{} has counted nothing", self.program)))?;
        Ok((done, count))
    }
}

/// The whole life of a process that does a job: how many units of it.
fn work(tool: &[OsString], job: &[&str]) -> io::Result<u64> {
    let mut process = Measured::job(job, tool)?;
    let line = process.line()?;
    process.finish()?;
    line.trim()
        .parse()
        .map_err(|_| io::Error::other(format!("{job:?} said {line:?}")))
}

/// A server's whole life, in which `talk` talks to it.
fn serve(
    tool: &[OsString],
    server: &str,
    spec: Spec,
    talk: impl FnOnce(&Measured, SocketAddr) -> io::Result<()>,
) -> io::Result<()> {
    let spec = Spec { ends: true, ..spec };
    let server = named(server).expect("a server's name");
    let (process, address) = Measured::server(server, spec, tool)?;
    talk(&process, address)?;
    // Its clients have hung up.
    process.finish()
}

/// So many requests, one on each connection again and again, whenever the server sleeps.
fn rounds(process: &Measured, load: &mut Load, requests: u64) -> io::Result<()> {
    for _ in 0..requests / load.connections() {
        machine::wait_until_asleep(process.id())?;
        load.run_once_around()?;
    }
    Ok(())
}
