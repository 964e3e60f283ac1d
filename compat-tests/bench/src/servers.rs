//! One small echo server per runtime: the same program, as each runtime's users would write it.
//!
//! Not here: who connects to them (`load`), and what is asked of them (`measures`).

use std::hint::black_box;
use std::io;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{heap, machine};

mod async_io;
mod beside;
mod foreign;
pub(crate) mod hyper;
mod monoio;
mod raw;
mod tokio;
mod untether;

/// An echo server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) place: Place,
    /// Serves until the process ends.
    pub(crate) serve: fn(TcpListener, Spec) -> io::Result<()>,
}

/// Where the threads of a server may run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// All of them on the core of the servers.
    OneCore,
    /// Wherever the kernel likes.
    Anywhere,
    /// Worker i on core i.
    CoreEach,
}

/// What a server is to do beside echoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Bytes read at once.
    pub(crate) buffer: usize,
    /// About so many microseconds of computing before each answer.
    pub(crate) work_us: u32,
    /// A time-out of [`TIMEOUT`] around each read.
    pub(crate) timeout: bool,
    /// Hangs up after the first answer.
    pub(crate) once: bool,
    /// The process ends when a client has hung up.
    pub(crate) ends: bool,
    /// Writes the heap in use after the first answer on each connection.
    pub(crate) tells_heap: bool,
    /// What else the process does.
    pub(crate) beside: Beside,
}

/// What a process does beside serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// A task on a foreign executor, on a thread of its own, sends itself a message every 10 ms.
    Messages,
    /// An executor that drives its own I/O, on a thread of its own, computes 20 ms of every 30.
    Computing,
    /// A task of the server's own executor computes for a second at a time.
    Stuck,
}

pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) static SERVERS: &[&Server] = &[
    &raw::RAW,
    &untether::LOCAL,
    &untether::LOCAL_THAT_SPINS,
    &untether::POOL_OF_1,
    &untether::POOL_OF_2,
    &untether::POOL_OF_2_PINNED,
    &tokio::CURRENT_THREAD,
    &tokio::MULTI_THREAD_1,
    &tokio::MULTI_THREAD_2,
    &tokio::MULTI_THREAD_2_PINNED,
    &monoio::IO_URING,
    &async_io::LOCAL,
    &async_io::SMOL_2,
    &async_io::SMOL_2_PINNED,
    &foreign::UNTETHER_ON_LOCAL_POOL,
    &foreign::ASYNC_IO_ON_LOCAL_POOL,
    &foreign::UNTETHER_ON_LOCAL_POOL_ANYWHERE,
    &foreign::ASYNC_IO_ON_LOCAL_POOL_ANYWHERE,
    &foreign::UNTETHER_ON_TOKIO,
    &foreign::ASYNC_IO_ON_TOKIO,
    &foreign::UNTETHER_ON_THREAD_POOL,
    &foreign::ASYNC_IO_ON_THREAD_POOL,
    &foreign::UNTETHER_ON_SMOL_2,
    &hyper::UNTETHER,
    &hyper::UNTETHER_SERVER,
    &hyper::TOKIO,
    &hyper::TOKIO_TIMED,
    &hyper::SMOL,
];

pub(crate) fn named(name: &str) -> Option<&'static Server> {
    SERVERS.iter().copied().find(|server| server.name == name)
}

impl Place {
    /// Goes there.
    pub(crate) fn take(self) -> io::Result<()> {
        match self {
            Place::OneCore => machine::pin_to(machine::SERVER_CORE),
            Place::Anywhere => machine::pin_to_none(),
            Place::CoreEach => {
                machine::pin_to_none()?;
                // Once the workers have started.
                thread::spawn(|| {
                    thread::sleep(Duration::from_millis(200));
                    machine::pin_workers(machine::cores()).expect("cores to pin threads to");
                });
                Ok(())
            }
        }
    }
}

impl Spec {
    pub(crate) fn echo(message: usize) -> Spec {
        Spec {
            buffer: message.max(4096),
            work_us: 0,
            timeout: false,
            once: false,
            ends: false,
            tells_heap: false,
            beside: Beside::Nothing,
        }
    }

    pub(crate) fn to_arguments(self) -> Vec<String> {
        let flags = [self.timeout, self.once, self.ends, self.tells_heap];
        let mut arguments = vec![self.buffer.to_string(), self.work_us.to_string()];
        arguments.extend(flags.map(|flag| flag.to_string()));
        arguments.push(self.beside.name().to_owned());
        arguments
    }

    pub(crate) fn from_arguments(arguments: &[&str]) -> Option<Spec> {
        let [buffer, work_us, timeout, once, ends, tells_heap, beside] = arguments else {
            return None;
        };
        Some(Spec {
            buffer: buffer.parse().ok()?,
            work_us: work_us.parse().ok()?,
            timeout: timeout.parse().ok()?,
            once: once.parse().ok()?,
            ends: ends.parse().ok()?,
            tells_heap: tells_heap.parse().ok()?,
            beside: Beside::named(beside)?,
        })
    }

    /// Computes, in every server the same: the very same instructions, since inlined ones took 20 % more or less.
    #[inline(never)]
    fn work(self) {
        (0..self.work_us).for_each(|_| compute_1_us());
    }

    fn answered(self, first: bool) {
        if first && self.tells_heap {
            println!("{}", heap::in_use());
        }
    }

    fn begin(self) {
        if self.tells_heap {
            heap::count();
        }
    }

    fn client_has_gone(self) {
        if self.ends {
            std::process::exit(0);
        }
    }
}

impl Beside {
    const ALL: [Beside; 4] = [
        Beside::Nothing,
        Beside::Messages,
        Beside::Computing,
        Beside::Stuck,
    ];

    fn name(self) -> &'static str {
        match self {
            Beside::Nothing => "nothing",
            Beside::Messages => "messages",
            Beside::Computing => "computing",
            Beside::Stuck => "stuck",
        }
    }

    /// What follows a server's name.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Beside::Nothing => "nothing",
            Beside::Messages => "a foreign task",
            Beside::Computing => "computing",
            Beside::Stuck => "long polls",
        }
    }

    fn named(name: &str) -> Option<Beside> {
        Beside::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Computes for about a microsecond.
fn compute_1_us() {
    let mut x = 1u64;
    for _ in 0..700 {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005));
    }
}

/// Computes for so long by the clock.
fn compute(length: Duration) {
    let start = Instant::now();
    while start.elapsed() < length {
        compute_1_us();
    }
}

/// Serves one connection. `read` reads once.
async fn echo<S>(
    mut stream: S,
    spec: Spec,
    read: impl AsyncFn(&mut S, &mut [u8]) -> io::Result<usize>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; spec.buffer];
    let mut first = true;
    loop {
        let n = read(&mut stream, &mut buffer).await?;
        if n == 0 {
            spec.client_has_gone();
            return Ok(());
        }
        spec.work();
        stream.write_all(&buffer[..n]).await?;
        spec.answered(first);
        first = false;
        if spec.once {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Beside, SERVERS, Spec};

    #[test]
    fn a_spec_survives_the_command_line() {
        let spec = Spec {
            work_us: 30,
            once: true,
            beside: Beside::Computing,
            ..Spec::echo(16 * 1024)
        };
        let arguments = spec.to_arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(Spec::from_arguments(&arguments), Some(spec));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SERVERS.len());
    }
}
