//! The processes that are measured: this executable once more, told on its command line what to be.
//!
//! A server says its port in one line and serves until it is killed; a worker answers each line on its standard input
//! with a line of numbers. Both end with their parent.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use crate::args::Guest;
use crate::machine::{self, CpuClock};
use crate::measures;
use crate::servers::{self, Place, Server, Spec};

const SERVE: &str = "serve-as-child";
const WORK: &str = "work-as-child";

/// A child process. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Measured {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Measured {
    /// A server, and where it listens. `tool` is a command that runs it, such as strace with its options.
    pub(crate) fn server(
        server: &Server,
        spec: Spec,
        tool: &[OsString],
    ) -> io::Result<(Measured, SocketAddr)> {
        let spec = spec.to_arguments();
        let mut arguments = vec![SERVE, server.name];
        arguments.extend(spec.iter().map(String::as_str));
        let mut child = Measured::start(tool, &arguments)?;
        let address = child.address(server.name)?;
        Ok((child, address))
    }

    /// A server that is another program, which runs where `place` says.
    pub(crate) fn guest(guest: &Guest, place: Place) -> io::Result<(Measured, SocketAddr)> {
        let (program, arguments) = guest.command.split_first().expect("a command");
        let mut command = Command::new(program);
        command.args(arguments);
        // A thread's children run where it does.
        let start = || place.take().and_then(|()| Measured::spawn(&mut command));
        let child = thread::scope(|scope| scope.spawn(start).join());
        let mut child = child.expect("starting does not panic")?;
        let address = child.address(&guest.name)?;
        Ok((child, address))
    }

    /// The first line of a server is its port.
    fn address(&mut self, name: &str) -> io::Result<SocketAddr> {
        let port = self.line()?;
        let port = port
            .trim()
            .parse()
            .map_err(|_| io::Error::other(format!("{name} did not start: {port:?}")))?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// A process that does `job` once for each line.
    pub(crate) fn worker(job: &[&str]) -> io::Result<Measured> {
        let mut arguments = vec![WORK];
        arguments.extend(job);
        Measured::start(&[], &arguments)
    }

    /// A process that does `job` once and ends, run by `tool`.
    pub(crate) fn job(job: &[&str], tool: &[OsString]) -> io::Result<Measured> {
        Measured::start(tool, &[&[WORK], job].concat())
    }

    fn start(tool: &[OsString], arguments: &[&str]) -> io::Result<Measured> {
        let this = env::current_exe()?;
        let mut command = match tool {
            [] => Command::new(this),
            [program, options @ ..] => {
                let mut command = Command::new(program);
                command.args(options).arg(this);
                command
            }
        };
        Measured::spawn(command.args(arguments))
    }

    fn spawn(command: &mut Command) -> io::Result<Measured> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Measured {
            input: process.stdin.take().expect("a pipe"),
            output: BufReader::new(process.stdout.take().expect("a pipe")),
            process,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn cpu_clock(&self) -> io::Result<CpuClock> {
        CpuClock::of(self.id())
    }

    /// The next line that it writes.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    /// One window of a worker.
    pub(crate) fn work(&mut self) -> io::Result<Vec<f64>> {
        self.input.write_all(b"\n")?;
        let line = self.line()?;
        let numbers: Option<Vec<f64>> = line
            .split_whitespace()
            .map(|word| word.parse().ok())
            .collect();
        numbers
            .filter(|numbers| !numbers.is_empty())
            .ok_or_else(|| io::Error::other(format!("a worker has failed: {line:?}")))
    }

    /// Waits for one that ends by itself.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let status = self.process.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("a server has failed: {status}")))
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// If the command line says so, this process is a child, does its work, and does not return.
pub(crate) fn serve_if_asked() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        [SERVE, name, ref spec @ ..] => {
            machine::die_with_parent()?;
            machine::raise_descriptor_limit(measures::DESCRIPTORS);
            serve(name, spec)?;
            std::process::exit(0)
        }
        [WORK, ref job @ ..] => {
            machine::die_with_parent()?;
            measures::work(job)?;
            std::process::exit(0)
        }
        _ => Ok(()),
    }
}

fn serve(name: &str, spec: &[&str]) -> io::Result<()> {
    let server = servers::named(name).expect("a server's name");
    let spec = Spec::from_arguments(spec).expect("a server's arguments");
    server.place.take()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // std asks for a backlog that thousands of connections at once would overflow.
    rustix::net::listen(&listener, 4096)?;
    println!("{}", listener.local_addr()?.port());
    (server.serve)(listener, spec)
}

/// For a worker: does a window of work for each line on the standard input, and writes what it has found.
pub(crate) fn answer(mut window: impl FnMut() -> Vec<f64>) -> io::Result<()> {
    let mut lines = io::stdin().lines();
    for line in lines.by_ref() {
        line?;
        let words: Vec<String> = window().iter().map(f64::to_string).collect();
        println!("{}", words.join(" "));
    }
    Ok(())
}
