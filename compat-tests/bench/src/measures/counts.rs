//! System calls and user instructions per echoed request: what does not depend on how busy the machine is.
//!
//! The server runs under strace or callgrind, twice: for N requests, and for 2 N. The difference is N requests, without
//! start and end. Both tools slow the server down so much that with C > 1 all C requests are always there at once.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::args::Args;
use crate::child::Measured;
use crate::figure::{Figure, Metric};
use crate::load::Load;
use crate::machine;
use crate::servers::{Spec, named};
use crate::spread::Spread;

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
pub(super) struct Counter {
    pub(super) measure: &'static str,
    pub(super) program: &'static str,
    pub(super) metric: Metric,
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
        metric: Metric::compared("system calls", "1/request"),
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
        metric: Metric::compared("user instructions", "1/request"),
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

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for counter in COUNTERS {
        for connections in [1, 64] {
            let case = format!("C={connections} 64 B");
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
            figures.extend(counter.ask(args, connections, &case)?);
        }
    }
    Ok(figures)
}

impl Counter {
    fn ask(&self, args: &Args, connections: usize, case: &str) -> io::Result<Vec<Figure>> {
        let mut figures: Vec<Figure> = Vec::new();
        for (place, &subject) in SERVERS.iter().enumerate() {
            if place != 0 && !args.wants_subject(subject) {
                continue;
            }
            let value =
                self.per_request(subject, &|address| Load::connect(address, connections, 64))?;
            let base = figures.first().map_or(value, |base| base.value.median);
            figures.push(Figure {
                measure: self.measure,
                case: case.to_owned(),
                subject: subject.to_owned(),
                metric: self.metric.name,
                unit: self.metric.unit,
                value: Spread::exactly(value),
                ratio: Some(Spread::exactly(value / base)),
            });
        }
        Ok(figures)
    }

    /// How much a server does for each request on the connections that `connect` makes.
    pub(super) fn per_request(&self, server: &str, connect: &Connect<'_>) -> io::Result<f64> {
        let once = self.run(server, connect, REQUESTS)?;
        let twice = self.run(server, connect, 2 * REQUESTS)?;
        Ok((twice as f64 - once as f64) / REQUESTS as f64)
    }

    /// How much the server has done in all for so many requests.
    fn run(&self, server: &str, connect: &Connect<'_>, requests: u64) -> io::Result<u64> {
        let file =
            std::env::temp_dir().join(format!("untether-bench-{}.count", std::process::id()));
        let counted = self.run_into(&file, server, connect, requests);
        // It is not there if the program could not run.
        let _ = fs::remove_file(&file);
        counted
    }

    fn run_into(
        &self,
        file: &Path,
        server: &str,
        connect: &Connect<'_>,
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
        let server = named(server).expect("a server's name");
        let (process, address) = Measured::server(server, spec, &tool)?;
        let mut load = connect(address)?;
        load.run_requests(requests)?;
        drop(load);
        process.finish()?;
        (self.count)(&fs::read_to_string(file)?)
            .ok_or_else(|| io::Error::other(format!("{} has counted nothing", self.program)))
    }
}
