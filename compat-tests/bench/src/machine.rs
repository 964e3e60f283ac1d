//! What is asked of the machine: cores to run on, descriptors, a process's CPU clock and its context switches.

use std::fs;
use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Servers run here.
pub(crate) const SERVER_CORE: usize = 0;
/// The load generator runs here.
pub(crate) const LOAD_CORE: usize = 1;

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn pin(thread: Option<rustix::process::Pid>, core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(thread, &set)?)
}

/// Ties this thread, and those that it starts from now on, to a core.
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    pin(None, core)
}

/// Undoes an inherited [`pin_to`].
pub(crate) fn pin_to_none() -> io::Result<()> {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Ties the threads of this process, except the main one and the caller's, to a core each, in the order in which they
/// were started.
pub(crate) fn pin_workers(cores: usize) -> io::Result<()> {
    let bystanders = [rustix::thread::gettid(), rustix::process::getpid()];
    let workers = threads("self")?
        .into_iter()
        .filter(|thread| !bystanders.contains(thread));
    for (index, thread) in workers.enumerate() {
        pin(Some(thread), index % cores)?;
    }
    Ok(())
}

fn threads(process: &str) -> io::Result<Vec<rustix::process::Pid>> {
    let mut ids: Vec<i32> = fs::read_dir(format!("/proc/{process}/task"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    Ok(ids
        .into_iter()
        .filter_map(rustix::process::Pid::from_raw)
        .collect())
}

/// Asks for as many descriptors as can be had.
pub(crate) fn raise_descriptor_limit(wanted: u64) {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: Some(wanted.max(now.current.unwrap_or(u64::MAX))),
        maximum: Some(wanted.max(now.maximum.unwrap_or(u64::MAX))),
    };
    // A privileged process may go beyond the hard limit.
    if setrlimit(Resource::Nofile, raised).is_err() {
        let most = Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        };
        // Then it stays as it is.
        let _ = setrlimit(Resource::Nofile, most);
    }
}

pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Has the kernel end this process when its parent does.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// The CPU time of all threads of a process, to the nanosecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock(ClockId);

impl CpuClock {
    pub(crate) fn of(process: u32) -> io::Result<CpuClock> {
        let process = nix::unistd::Pid::from_raw(process as i32);
        Ok(CpuClock(clock_getcpuclockid(process)?))
    }

    pub(crate) fn ns(self) -> io::Result<u64> {
        let now = self.0.now()?;
        Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
    }
}

/// The CPU time of this thread.
pub(crate) fn thread_cpu_ns() -> u64 {
    own_cpu_ns(rustix::time::ClockId::ThreadCPUTime)
}

/// The CPU time of this process.
pub(crate) fn process_cpu_ns() -> u64 {
    own_cpu_ns(rustix::time::ClockId::ProcessCPUTime)
}

fn own_cpu_ns(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How often the threads of a process have left a core, of themselves or not. A thread that does nothing does not.
pub(crate) fn switches(process: u32) -> io::Result<u64> {
    let mut sum = 0;
    for thread in threads(&process.to_string())? {
        let path = format!(
            "/proc/{process}/task/{}/status",
            thread.as_raw_nonzero().get()
        );
        // It may have ended meanwhile.
        let Ok(status) = fs::read_to_string(path) else {
            continue;
        };
        sum += status
            .lines()
            .filter(|line| line.contains("ctxt_switches"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(sum)
}

/// Waits until no thread of a process, or of one that it has started, has anything to do: all sleep in a system call.
///
/// # Errors
/// If the process ends, or does not come to rest.
pub(crate) fn wait_until_asleep(process: u32) -> io::Result<()> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if is_asleep(process)? {
            return Ok(());
        }
        thread::yield_now();
    }
    Err(io::Error::other("a server does not come to rest"))
}

fn is_asleep(process: u32) -> io::Result<bool> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    for child in children.split_whitespace() {
        if !child
            .parse()
            .is_ok_and(|child| is_asleep(child).unwrap_or(false))
        {
            return Ok(false);
        }
    }
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // One that has ended meanwhile has nothing to do either.
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
            continue;
        };
        // After the name, which may contain anything.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        if state != Some(b'S') {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What machine this is, in a sentence.
pub(crate) fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let virtual_machine = if cpu.contains("hypervisor") {
        ", virtual"
    } else {
        ""
    };
    let compiler = Command::new("rustc")
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| Some(text.split_once(" (")?.0.to_owned()))
        .unwrap_or_else(|| "an unknown compiler".to_owned());
    format!(
        "This machine: {model}, {} cores{virtual_machine}; Linux {}; {compiler}.",
        cores(),
        kernel.trim().split(['-', '+']).next().unwrap_or_default()
    )
}

/// Whether a program is installed, and works.
pub(crate) fn has(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}
