//! TCP echo: the same small server on every runtime, at several numbers of connections and lengths of messages.
//!
//! Each connection has one request in flight. The base is the bare loop of `servers::raw`. Latency is that of every
//! request, as the load generator sees it; with all connections busy it is mostly the time in the queue.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::args::Args;
use crate::child::Measured;
use crate::figure::{Figure, Metric};
use crate::load::Load;
use crate::machine::{self, CpuClock};
use crate::servers::{Place, Server, Spec, named};
use crate::window::Contest;

/// A case of some servers under some load.
struct Case {
    measure: &'static str,
    connections: usize,
    message: usize,
    work_us: u32,
    timeout: bool,
    servers: &'static [&'static str],
    quick: bool,
}

const ONE_CORE: &[&str] = &[
    "raw",
    "untether-local",
    "untether-pool-1",
    "tokio-current-thread",
    "tokio-multi-thread-1",
    "smol-local",
    "monoio-io-uring",
];

const TWO_THREADS: &[&str] = &[
    "raw",
    "untether-pool-2",
    "tokio-multi-thread-2",
    "smol-2",
    "untether-on-async-executor-2",
    "untether-pool-2-pinned",
    "tokio-multi-thread-2-pinned",
    "smol-2-pinned",
];

const FOREIGN: &[&str] = &[
    "raw",
    "untether-on-futures-local",
    "async-io-on-futures-local",
    "untether-on-tokio",
    "async-io-on-tokio",
    "untether-on-futures-threads",
    "async-io-on-futures-threads",
];

const TIMED: &[&str] = &["untether-local", "tokio-current-thread", "smol-local"];

const METRICS: &[Metric] = &[
    Metric::compared("requests", "1/s"),
    Metric::compared("CPU", "us/request"),
    Metric::compared("p50", "us"),
    Metric::compared("p99", "us"),
    Metric::compared("p99.9", "us"),
    Metric::plain("switches", "1/request"),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |measure, servers, connections, message, quick| {
        cases.push(Case {
            measure,
            connections,
            message,
            work_us: 0,
            timeout: false,
            servers,
            quick,
        });
    };
    for message in [64, 16 * 1024] {
        for connections in [1, 64, 1024, 4096] {
            let early = message == 64 && connections <= 1024 || connections == 64;
            add("echo", ONE_CORE, connections, message, early);
        }
    }
    for connections in [1, 16, 64, 256, 1024, 4096] {
        let early = [1, 16, 64].contains(&connections);
        add("pool", TWO_THREADS, connections, 64, early);
    }
    for connections in [1, 64, 1024] {
        add("foreign", FOREIGN, connections, 64, connections == 64);
    }
    for connections in [4, 16, 64] {
        cases.push(Case {
            measure: "work",
            connections,
            message: 64,
            work_us: 30,
            timeout: false,
            servers: TWO_THREADS,
            quick: true,
        });
    }
    cases.push(Case {
        measure: "timeout",
        connections: 64,
        message: 64,
        work_us: 0,
        timeout: true,
        servers: TIMED,
        quick: true,
    });
    cases
}

/// A server with its connections.
struct Entrant {
    name: String,
    process: Measured,
    cpu: CpuClock,
    load: Load,
}

impl Entrant {
    fn new(name: String, server: &Server, spec: Spec, case: &Case) -> io::Result<Entrant> {
        let server = Measured::server(server, spec, &[])?;
        Entrant::connect(name, server, case.connections, case.message)
    }

    fn connect(
        name: String,
        (process, address): (Measured, SocketAddr),
        connections: usize,
        message: usize,
    ) -> io::Result<Entrant> {
        Ok(Entrant {
            name,
            cpu: process.cpu_clock()?,
            load: Load::connect(address, connections, message)?,
            process,
        })
    }

    fn window(&mut self, length: Duration) -> io::Result<Vec<f64>> {
        let switches = machine::switches(self.process.id())?;
        let cpu = self.cpu.ns()?;
        let seen = self.load.run_for(length)?;
        let cpu = self.cpu.ns()? - cpu;
        let switches = machine::switches(self.process.id())? - switches;
        let requests = seen.requests as f64;
        let latency_us = |share| self.load.latencies.at(share) / 1e3;
        Ok(vec![
            requests / seen.elapsed.as_secs_f64(),
            cpu as f64 / 1e3 / requests,
            latency_us(0.5),
            latency_us(0.99),
            latency_us(0.999),
            switches as f64 / requests,
        ])
    }
}

impl Case {
    fn name(&self) -> String {
        let message = match self.message {
            1024.. => format!("{} KiB", self.message / 1024),
            bytes => format!("{bytes} B"),
        };
        format!("C={} {message}", self.connections)
    }

    /// So long that every connection is served several times.
    fn window(&self, args: &Args) -> Duration {
        args.window()
            .max(Duration::from_micros(50 * self.connections as u64))
    }

    /// The base and the others, in groups that the descriptors suffice for.
    fn groups(&self, args: &Args) -> Vec<Vec<&'static str>> {
        let (base, others) = self.servers.split_first().expect("a server");
        let others: Vec<&str> = others
            .iter()
            .copied()
            .filter(|name| args.wants_subject(name))
            .collect();
        let fit = machine::descriptor_limit() as usize / (self.connections + 10);
        let group = |others: &[&'static str]| [&[*base], others].concat();
        match others.as_slice() {
            [] => vec![group(&[])],
            others => others.chunks(fit.max(2) - 1).map(group).collect(),
        }
    }

    fn entrants(&self, servers: &[&str]) -> io::Result<Vec<Entrant>> {
        let mut entrants = Vec::new();
        for &name in servers {
            let server = named(name).expect("a server's name");
            let mut spec = Spec::echo(self.message);
            spec.work_us = self.work_us;
            entrants.push(Entrant::new(name.to_owned(), server, spec, self)?);
            if self.timeout {
                spec.timeout = true;
                entrants.push(Entrant::new(format!("{name} + 5 s"), server, spec, self)?);
            }
        }
        Ok(entrants)
    }
}

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for case in cases() {
        let name = case.name();
        if !args.wants(case.measure, &name, case.quick) {
            continue;
        }
        let contest = Contest {
            measure: case.measure,
            case: &name,
            metrics: METRICS,
            rounds: args.rounds(),
        };
        let length = case.window(args);
        for (index, group) in case.groups(args).iter().enumerate() {
            let found = contest.run(
                &mut case.entrants(group)?,
                |entrant| entrant.name.clone(),
                |entrant| entrant.window(length),
            )?;
            // The base is in every group, and reported of the first.
            let base = case.servers[0];
            figures.extend(
                found
                    .into_iter()
                    .filter(|figure| index == 0 || figure.subject != base),
            );
        }
    }
    Ok(figures)
}

/// The same with servers that are other programs; the first is the base.
pub(super) fn ask_guests(args: &Args) -> io::Result<Vec<Figure>> {
    const MESSAGE: usize = 64;
    let place = if args.unpinned {
        Place::Anywhere
    } else {
        Place::OneCore
    };
    let mut figures = Vec::new();
    for connections in [1, 64, 1024] {
        let case = format!("C={connections} {MESSAGE} B");
        if !args.wants("guests", &case, true) {
            continue;
        }
        let entrants = args.server.iter().map(|guest| {
            let server = Measured::guest(guest, place)?;
            Entrant::connect(guest.name.clone(), server, connections, MESSAGE)
        });
        let contest = Contest {
            measure: "guests",
            case: &case,
            metrics: METRICS,
            rounds: args.rounds(),
        };
        figures.extend(contest.run(
            &mut entrants.collect::<io::Result<Vec<_>>>()?,
            |entrant| entrant.name.clone(),
            |entrant| entrant.window(args.window()),
        )?);
    }
    Ok(figures)
}
