//! TCP echo: the same small server on every runtime, at several numbers of connections and lengths of messages.
//!
//! Each connection has one request in flight. The base is the bare loop of `servers::raw`. Latency is that of every
//! request, as the load generator sees it; with all connections busy it is mostly the time in the queue.
//!
//! Where clients think before they ask again (`spin`, and some of `beside`), requests per second say nothing, and are not
//! told. There, a window is longer, so that the slowest of its requests mean something, and there are fewer.

use std::io;
use std::time::Duration;

use crate::args::Args;
use crate::child::Measured;
use crate::figure::{Figure, Metric};
use crate::load::Load;
use crate::machine::{self, CpuClock};
use crate::servers::{Beside, Place, Server, Spec, named};
use crate::window::Contest;

/// A case of some servers under some load.
struct Case {
    measure: &'static str,
    connections: usize,
    message: usize,
    work_us: u32,
    /// How long clients think.
    gap: Duration,
    /// What the server does beside, or has. It is compared with itself without.
    with: With,
    /// What tells the case from others of as many connections.
    label: &'static str,
    servers: &'static [&'static str],
    quick: bool,
}

#[derive(Clone, Copy)]
enum With {
    Nothing,
    Timeout,
    Beside(Beside),
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

/// Whether a spin pays is a question of its own: it is other work for the same request.
const SPINNING: &[&str] = &[
    "raw",
    "untether-local",
    "untether-local-spin",
    "tokio-current-thread",
];

/// Whose threads may run on both cores.
const FOREIGN_ANYWHERE: &[&str] = &[
    "untether-on-futures-local-unpinned",
    "async-io-on-futures-local-unpinned",
];

const POOLS: &[&str] = &["untether-pool-2", "tokio-multi-thread-2", "smol-2"];

const METRICS: &[Metric] = &[
    Metric::compared("requests", "1/s"),
    Metric::compared("CPU", "us/request"),
    Metric::compared("p50", "us"),
    Metric::compared("p99", "us"),
    Metric::compared("p99.9", "us"),
    Metric::plain("switches", "1/request"),
];

/// Where clients think.
const SPARSE: &[Metric] = &[
    Metric::compared("CPU", "us/request"),
    Metric::compared("p50", "us"),
    Metric::compared("p99", "us"),
    Metric::compared("slowest", "us"),
    Metric::plain("switches", "1/request"),
];

/// Where somebody computes meanwhile, whose CPU time says nothing of the requests.
const LATENCY: &[Metric] = &[
    Metric::compared("p50", "us"),
    Metric::compared("p99", "us"),
    Metric::compared("slowest", "us"),
];

const NO_GAP: Duration = Duration::ZERO;

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |measure, servers, connections, message, quick| {
        cases.push(Case {
            measure,
            connections,
            message,
            work_us: 0,
            gap: NO_GAP,
            with: With::Nothing,
            label: "",
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
    let like = |measure, connections, servers| Case {
        measure,
        connections,
        message: 64,
        work_us: 0,
        gap: NO_GAP,
        with: With::Nothing,
        label: "",
        servers,
        quick: true,
    };
    for connections in [4, 16, 64] {
        cases.push(Case {
            work_us: 30,
            ..like("work", connections, TWO_THREADS)
        });
    }
    cases.push(Case {
        with: With::Timeout,
        ..like("timeout", 64, TIMED)
    });
    for (gap_us, label) in [
        (0, ""),
        (200, ", gaps of 200 us"),
        (2_000, ", gaps of 2 ms"),
    ] {
        cases.push(Case {
            gap: Duration::from_micros(gap_us),
            label,
            ..like("spin", 1, SPINNING)
        });
    }
    for (servers, label) in [
        (&["untether-local"][..], ", untether-local"),
        (&["smol-local"][..], ", smol-local"),
    ] {
        cases.push(Case {
            with: With::Beside(Beside::Messages),
            label,
            ..like("beside", 64, servers)
        });
    }
    for (what, servers, label) in [
        (Beside::Computing, FOREIGN_ANYWHERE, ", 20 ms of every 30"),
        (Beside::Stuck, POOLS, ", polls of 1 s"),
    ] {
        cases.push(Case {
            gap: Duration::from_millis(1),
            with: With::Beside(what),
            label,
            ..like("beside", 1, servers)
        });
    }
    cases
}

/// A server with its connections.
struct Entrant {
    name: String,
    process: Measured,
    cpu: CpuClock,
    load: Load,
    metrics: &'static [Metric],
}

impl Entrant {
    fn new(name: String, server: &Server, spec: Spec, case: &Case) -> io::Result<Entrant> {
        let (process, address) = Measured::server(server, spec, &[])?;
        let load = Load::connect(address, case.connections, case.message)?.with_gaps(case.gap);
        Entrant::of(name, process, load, case.metrics())
    }

    fn of(
        name: String,
        process: Measured,
        load: Load,
        metrics: &'static [Metric],
    ) -> io::Result<Entrant> {
        Ok(Entrant {
            name,
            cpu: process.cpu_clock()?,
            load,
            metrics,
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
        let value = |metric: &Metric| match metric.name {
            "requests" => requests / seen.elapsed.as_secs_f64(),
            "CPU" => cpu as f64 / 1e3 / requests,
            "p50" => latency_us(0.5),
            "p99" => latency_us(0.99),
            "p99.9" => latency_us(0.999),
            "slowest" => self.load.latencies.most() / 1e3,
            "switches" => switches as f64 / requests,
            name => unreachable!("no such metric: {name}"),
        };
        Ok(self.metrics.iter().map(value).collect())
    }
}

impl Case {
    fn name(&self) -> String {
        let message = match self.message {
            1024.. => format!("{} KiB", self.message / 1024),
            bytes => format!("{bytes} B"),
        };
        format!("C={} {message}{}", self.connections, self.label)
    }

    fn is_sparse(&self) -> bool {
        !self.gap.is_zero()
    }

    /// So long that every connection is served several times, and that 500 requests are made where clients think.
    fn window(&self, args: &Args) -> Duration {
        args.window()
            .max(Duration::from_micros(50 * self.connections as u64))
            .max(self.gap * 500)
    }

    fn metrics(&self) -> &'static [Metric] {
        match self.with {
            With::Beside(_) if self.is_sparse() => LATENCY,
            _ if self.is_sparse() => SPARSE,
            _ => METRICS,
        }
    }

    fn rounds(&self, args: &Args) -> u32 {
        if self.gap >= Duration::from_millis(1) {
            args.rounds().div_ceil(4)
        } else {
            args.rounds()
        }
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
            let more = match self.with {
                With::Nothing => continue,
                With::Timeout => {
                    spec.timeout = true;
                    "5 s"
                }
                With::Beside(what) => {
                    spec.beside = what;
                    what.about()
                }
            };
            entrants.push(Entrant::new(
                format!("{name} + {more}"),
                server,
                spec,
                self,
            )?);
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
            metrics: case.metrics(),
            rounds: case.rounds(args),
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
            let (process, address) = Measured::guest(guest, place)?;
            let load = Load::connect(address, connections, MESSAGE)?;
            Entrant::of(guest.name.clone(), process, load, METRICS)
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
