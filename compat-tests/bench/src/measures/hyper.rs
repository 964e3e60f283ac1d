//! hyper's hello-world over each runtime: how much of a web server's cost is the runtime's.
//!
//! `hyper` loads the servers as `echo` does, in shuffled windows, with one fixed request in flight on each connection, and
//! compares every byte of the answers but the date. `hyper wrk` is a cross-check: another load generator, which compares
//! nothing, and whose windows are a second long because it starts anew for each.

use std::io;
use std::net::SocketAddr;
use std::process::Command;

use super::counts::COUNTERS;
use crate::args::Args;
use crate::child::Measured;
use crate::figure::{Figure, Metric};
use crate::load::Load;
use crate::machine::{self, CpuClock};
use crate::servers::hyper::BODY;
use crate::servers::{Spec, named};
use crate::window::Contest;

/// tokio's is what the others are compared with.
const SERVERS: &[&str] = &[
    "hyper-tokio",
    "hyper-untether",
    "hyper-tokio-timed",
    "hyper-untether-server",
    "hyper-smol",
];

const METRICS: &[Metric] = &[
    Metric::compared("requests", "1/s"),
    Metric::compared("CPU", "us/request"),
];

/// As short as wrk's own.
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

pub(super) fn ask(args: &Args) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for connections in [1, 64] {
        let case = format!("C={connections} hello");
        if args.wants("hyper", &case, connections == 64) {
            figures.extend(windows(args, connections, &case)?);
        }
        if args.wants("hyper wrk", &case, false) {
            figures.extend(by_wrk(args, connections, &case)?);
        }
        for counter in COUNTERS {
            let measure = match counter.measure {
                "syscalls" => "hyper syscalls",
                "instructions" => "hyper instructions",
                other => unreachable!("counts {other}"),
            };
            if !args.wants(measure, &case, true) {
                continue;
            }
            if !machine::has(counter.program, &["--version"]) {
                skip(measure, &case, counter.program);
                continue;
            }
            let mut counted: Vec<Figure> = Vec::new();
            for subject in chosen(args) {
                let connect = |address| load(address, connections);
                let value = counter.per_request(subject, &connect)?;
                counted.push(Figure::of_one(
                    (measure, &case),
                    subject,
                    (counter.metric, "1/request"),
                    value,
                    counted.first(),
                ));
            }
            figures.extend(counted);
        }
    }
    Ok(figures)
}

fn chosen(args: &Args) -> impl Iterator<Item = &'static str> {
    let chosen = |(place, name): &(usize, &&str)| *place == 0 || args.wants_subject(name);
    SERVERS
        .iter()
        .enumerate()
        .filter(chosen)
        .map(|(_, name)| *name)
}

fn skip(measure: &str, case: &str, program: &str) {
    eprintln!("skipped {measure}/{case}: {program} is not installed");
}

fn load(address: SocketAddr, connections: usize) -> io::Result<Load> {
    Load::connect_http(address, connections, REQUEST, BODY)
}

/// A server, and how to ask it for its CPU time.
struct Entrant<L> {
    name: &'static str,
    cpu: CpuClock,
    load: L,
    _process: Measured,
}

fn entrants<L>(
    args: &Args,
    load: impl Fn(SocketAddr) -> io::Result<L>,
) -> io::Result<Vec<Entrant<L>>> {
    chosen(args)
        .map(|name| {
            let server = named(name).expect("a server's name");
            let (process, address) = Measured::server(server, Spec::echo(0), &[])?;
            Ok(Entrant {
                name,
                cpu: process.cpu_clock()?,
                load: load(address)?,
                _process: process,
            })
        })
        .collect()
}

fn windows(args: &Args, connections: usize, case: &str) -> io::Result<Vec<Figure>> {
    let contest = Contest {
        measure: "hyper",
        case,
        metrics: METRICS,
        rounds: args.rounds(),
    };
    contest.run(
        &mut entrants(args, |address| load(address, connections))?,
        |entrant| entrant.name.to_owned(),
        |entrant| {
            let before = entrant.cpu.ns()?;
            let seen = entrant.load.run_for(args.window())?;
            let used = entrant.cpu.ns()? - before;
            let requests = seen.requests as f64;
            Ok(vec![
                requests / seen.elapsed.as_secs_f64(),
                used as f64 / 1e3 / requests,
            ])
        },
    )
}

fn by_wrk(args: &Args, connections: usize, case: &str) -> io::Result<Vec<Figure>> {
    // It has no option that says its version and succeeds.
    if Command::new("wrk").arg("--version").output().is_err() {
        skip("hyper wrk", case, "wrk");
        return Ok(Vec::new());
    }
    let contest = Contest {
        measure: "hyper wrk",
        case,
        metrics: METRICS,
        rounds: args.rounds().min(9),
    };
    contest.run(
        &mut entrants(args, Ok)?,
        |entrant| entrant.name.to_owned(),
        |entrant| {
            let before = entrant.cpu.ns()?;
            let connections = format!("-c{connections}");
            let url = format!("http://{}/", entrant.load);
            let said = Command::new("wrk")
                .args(["-t1", &connections, "-d1s", &url])
                .output()?;
            let used = entrant.cpu.ns()? - before;
            let said = String::from_utf8_lossy(&said.stdout);
            let (requests, per_second) =
                read_wrk(&said).ok_or_else(|| io::Error::other(format!("wrk said {said:?}")))?;
            Ok(vec![per_second, used as f64 / 1e3 / requests])
        },
    )
}

/// How many requests were answered, and how many each second. None if something went wrong.
fn read_wrk(said: &str) -> Option<(f64, f64)> {
    if said.contains("Socket errors") || said.contains("Non-2xx") {
        return None;
    }
    let number = |line: &str, place| line.split_whitespace().nth(place)?.parse().ok();
    let total = said.lines().find(|line| line.contains(" requests in "))?;
    let rate = said
        .lines()
        .find(|line| line.starts_with("Requests/sec:"))?;
    Some((number(total, 0)?, number(rate, 1)?))
}

#[cfg(test)]
mod tests {
    use super::read_wrk;

    #[test]
    fn what_wrk_says_is_understood() {
        let said = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
            43210 requests in 1.10s, 3.58MB read\nRequests/sec:  39281.82\nTransfer/sec:      3.26MB\n";
        assert_eq!(read_wrk(said), Some((43210.0, 39281.82)));
        let failed = format!("{said}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert_eq!(read_wrk(&failed), None);
        assert_eq!(read_wrk("unable to connect"), None);
    }
}
