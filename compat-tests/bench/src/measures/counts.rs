//! System calls and user instructions per echoed request, and per connection that is accepted, answered once and closed:
//! what does not depend on how busy the machine is.
//!
//! The server runs under strace or callgrind, twice: for N requests, and for 2 N. The difference is N requests, without
//! start and end. Both tools slow the server down so much that with C > 1 all C requests are always there at once.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

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

/// How many requests are N.
const REQUESTS: u64 = 1_280;

/// A program that counts what a server does.
struct Counter {
    measure: &'static str,
    program: &'static str,
    metric: &'static str,
    arguments: fn(&str) -> Vec<String>,
    /// Finds the count in what the program has written.
    count: fn(&str) -> Option<u64>,
}

const COUNTERS: &[Counter] = &[
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

/// What the clients do.
#[derive(Clone, Copy, Debug)]
enum Traffic {
    /// Requests, on so many connections.
    Requests(usize),
    /// Connections, one after the other, with a request each.
    Visits,
}

impl Traffic {
    fn name(self) -> String {
        match self {
            Traffic::Requests(connections) => format!("C={connections} 64 B"),
            Traffic::Visits => "a connection".to_owned(),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Traffic::Requests(_) => "1/request",
            Traffic::Visits => "1/connection",
        }
    }
}

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for counter in COUNTERS {
        for traffic in [Traffic::Requests(1), Traffic::Requests(64), Traffic::Visits] {
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
        let wanted: Vec<&str> = SERVERS
            .iter()
            .enumerate()
            .filter(|(place, name)| *place == 0 || args.wants_subject(name))
            .map(|(_, name)| *name)
            .collect();
        let bar = progress(self.measure, &traffic.name(), wanted.len() as u64);
        for subject in wanted {
            bar.set_message(subject);
            let once = self.run(subject, traffic, REQUESTS)?;
            let twice = self.run(subject, traffic, 2 * REQUESTS)?;
            let value = (twice as f64 - once as f64) / REQUESTS as f64;
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

    /// How much the server has done in all for so many requests.
    fn run(&self, server: &str, traffic: Traffic, requests: u64) -> io::Result<u64> {
        let file =
            std::env::temp_dir().join(format!("untether-bench-{}.count", std::process::id()));
        let counted = self.run_into(&file, server, traffic, requests);
        // It is not there if the program could not run.
        let _ = fs::remove_file(&file);
        counted
    }

    fn run_into(
        &self,
        file: &Path,
        server: &str,
        traffic: Traffic,
        requests: u64,
    ) -> io::Result<u64> {
        let mut tool = vec![OsString::from(self.program)];
        tool.extend(
            (self.arguments)(&file.to_string_lossy())
                .into_iter()
                .map(OsString::from),
        );
        let mut spec = Spec::echo(64);
        spec.ends = true;
        spec.once = matches!(traffic, Traffic::Visits);
        let server = named(server).expect("a server's name");
        let (process, address) = Measured::server(server, spec, &tool)?;
        match traffic {
            Traffic::Requests(connections) => {
                let mut load = Load::connect(address, connections, 64)?;
                load.run_requests(requests)?;
            }
            Traffic::Visits => {
                let mut visits = Visits::new(address, 1)?;
                visits.run_visits(requests)?;
                visits.look_in()?;
            }
        }
        // Its clients have hung up.
        process.finish()?;
        (self.count)(&fs::read_to_string(file)?)
            .ok_or_else(|| io::Error::other(format!("{} has counted nothing", self.program)))
    }
}
