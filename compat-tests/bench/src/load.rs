//! The other side of the connections: C of them, each with one request in flight, and every byte of the answers compared.
//!
//! What is said on them is a `Dialogue`: an echo of ever other bytes, or a fixed HTTP request with its answer.
//!
//! Level-triggered epoll by hand, so that the load generator costs little, and the same for every server.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::spread::Histogram;

mod dialogue;

use dialogue::Dialogue;

/// What a window of load has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
}

/// The connections to one server.
#[derive(Debug)]
pub(crate) struct Load {
    set: OwnedFd,
    connections: Vec<Connection>,
    dialogue: Dialogue,
    buffer: Vec<u8>,
    /// How long a client thinks before it asks again.
    gap: Duration,
    pub(crate) latencies: Histogram,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    sent: Instant,
    /// Which request is in flight.
    at: usize,
    /// How much of the answer is here.
    answered: usize,
}

/// A server that does not answer for so long is broken.
const PATIENCE: Duration = Duration::from_secs(20);

impl Load {
    /// For an echo server, with messages of so many bytes.
    pub(crate) fn connect(
        server: SocketAddr,
        connections: usize,
        message: usize,
    ) -> io::Result<Load> {
        Load::hold(server, connections, Dialogue::echo(message), None)
    }

    /// For an HTTP server. What it answers to `request` is learnt first, and has to be the same ever after, but for the
    /// date.
    pub(crate) fn connect_http(
        server: SocketAddr,
        connections: usize,
        request: &'static str,
        body: &str,
    ) -> io::Result<Load> {
        let mut first = TcpStream::connect(server)?;
        let dialogue = Dialogue::http(&mut first, request, body)?;
        Load::hold(server, connections, dialogue, Some(first))
    }

    fn hold(
        server: SocketAddr,
        connections: usize,
        dialogue: Dialogue,
        mut first: Option<TcpStream>,
    ) -> io::Result<Load> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let connect = |index: usize| {
            let stream = match first.take() {
                Some(stream) => stream,
                None => TcpStream::connect(server)?,
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(
                &set,
                &stream,
                EventData::new_u64(index as u64),
                EventFlags::IN,
            )?;
            Ok(Connection {
                stream,
                sent: Instant::now(),
                at: index,
                answered: 0,
            })
        };
        let connections: Vec<_> = (0..connections).map(connect).collect::<io::Result<_>>()?;
        Ok(Load {
            set,
            connections,
            buffer: vec![0; dialogue.answer_length()],
            dialogue,
            gap: Duration::ZERO,
            latencies: Histogram::new(),
        })
    }

    /// Has the client of a single connection think for so long before each request.
    pub(crate) fn with_gaps(mut self, gap: Duration) -> Load {
        self.gap = gap;
        self
    }

    /// Keeps one request in flight on each connection for `length`, then collects the last answers.
    pub(crate) fn run_for(&mut self, length: Duration) -> io::Result<Seen> {
        let end = Instant::now() + length;
        self.run(|_, now| now < end)
    }

    /// Makes so many requests, `C` of them at once.
    pub(crate) fn run_requests(&mut self, requests: u64) -> io::Result<Seen> {
        self.run(|begun, _| begun < requests)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.len() as u64
    }

    /// Makes a request on each connection, and collects the answers.
    pub(crate) fn run_once_around(&mut self) -> io::Result<Seen> {
        self.run_requests(self.connections.len() as u64)
    }

    fn run(&mut self, go_on: impl Fn(u64, Instant) -> bool) -> io::Result<Seen> {
        self.latencies.clear();
        let start = Instant::now();
        let (mut begun, mut done) = (0, 0);
        for index in 0..self.connections.len() {
            if go_on(begun, start) {
                self.send(index, Instant::now())?;
                begun += 1;
            }
        }
        let patience = rustix::time::Timespec {
            tv_sec: PATIENCE.as_secs() as _,
            tv_nsec: 0,
        };
        let mut events = [MaybeUninit::uninit(); 256];
        while done < begun {
            let (events, _) = match epoll::wait(&self.set, &mut events[..], Some(&patience)) {
                Err(rustix::io::Errno::INTR) => continue,
                waited => waited?,
            };
            if events.is_empty() {
                return Err(io::Error::other("a server has stopped to answer"));
            }
            for event in events {
                let index = event.data.u64() as usize;
                if self.receive(index)? {
                    let now = Instant::now();
                    let connection = &self.connections[index];
                    self.latencies
                        .add(now.duration_since(connection.sent).as_nanos() as u64);
                    done += 1;
                    if go_on(begun, now) {
                        let now = self.think(now);
                        self.send(index, now)?;
                        begun += 1;
                    }
                }
            }
        }
        Ok(Seen {
            requests: done,
            elapsed: start.elapsed(),
        })
    }

    /// Lets a gap pass, and returns the time.
    fn think(&self, now: Instant) -> Instant {
        if self.gap.is_zero() {
            return now;
        }
        // The kernel is some 60 us late, and a client that never sleeps would keep its core from the server's threads.
        if self.gap >= Duration::from_millis(1) {
            std::thread::sleep(self.gap);
        }
        let end = now + self.gap;
        loop {
            let now = Instant::now();
            if now >= end {
                return now;
            }
            std::hint::spin_loop();
        }
    }

    fn send(&mut self, index: usize, now: Instant) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.at = self.dialogue.next(connection.at);
        connection.answered = 0;
        connection.sent = now;
        let message = self.dialogue.request(connection.at);
        // One request in flight fits into the kernel's buffers.
        let sent = rustix::net::send(
            &connection.stream,
            message,
            rustix::net::SendFlags::NOSIGNAL,
        )?;
        if sent != message.len() {
            return Err(io::Error::other("the kernel took only part of a request"));
        }
        Ok(())
    }

    /// Whether the answer is complete.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let connection = &mut self.connections[index];
        let rest = self.buffer.len() - connection.answered;
        let flags = rustix::net::RecvFlags::empty();
        let (_, n) = match rustix::net::recv(&connection.stream, &mut self.buffer[..rest], flags) {
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            received => received?,
        };
        if n == 0 {
            return Err(io::Error::other("a server has hung up"));
        }
        if !self
            .dialogue
            .agrees(connection.at, connection.answered, &self.buffer[..n])
        {
            return Err(io::Error::other("a server has answered other bytes"));
        }
        connection.answered += n;
        Ok(connection.answered == self.buffer.len())
    }
}

/// Connections that are made, answered once, and ended by the server; some at once.
#[derive(Debug)]
pub(crate) struct Visits {
    server: SocketAddr,
    set: OwnedFd,
    visitors: Vec<Option<TcpStream>>,
}

impl Visits {
    pub(crate) fn new(server: SocketAddr, at_once: usize) -> io::Result<Visits> {
        Ok(Visits {
            server,
            set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            visitors: (0..at_once).map(|_| None).collect(),
        })
    }

    pub(crate) fn run_for(&mut self, length: Duration) -> io::Result<Seen> {
        let end = Instant::now() + length;
        self.run(|_| Instant::now() < end)
    }

    /// Makes so many visits.
    pub(crate) fn run_visits(&mut self, visits: u64) -> io::Result<Seen> {
        self.run(|begun| begun < visits)
    }

    /// Connects and hangs up, without a word.
    pub(crate) fn look_in(&self) -> io::Result<()> {
        TcpStream::connect(self.server).map(drop)
    }

    fn run(&mut self, go_on: impl Fn(u64) -> bool) -> io::Result<Seen> {
        const GREETING: [u8; 64] =
            *b"A request of sixty-four bytes, none of which is like the others.";
        let start = Instant::now();
        let (mut begun, mut done) = (0, 0);
        for index in 0..self.visitors.len() {
            if go_on(begun) {
                self.visit(index, &GREETING)?;
                begun += 1;
            }
        }
        let mut events = [MaybeUninit::uninit(); 64];
        while self.visitors.iter().any(Option::is_some) {
            let (events, _) = match epoll::wait(&self.set, &mut events[..], None) {
                Err(rustix::io::Errno::INTR) => continue,
                waited => waited?,
            };
            for event in events {
                let index = event.data.u64() as usize;
                let stream = self.visitors[index].as_ref().expect("a visitor");
                let mut answer = [0; 65];
                let flags = rustix::net::RecvFlags::empty();
                match rustix::net::recv(stream, &mut answer, flags) {
                    Ok((_, 64)) if answer[..64] == GREETING => continue,
                    Ok((_, 0)) => {}
                    Ok(_) => return Err(io::Error::other("a server has echoed other bytes")),
                    Err(error) => return Err(error.into()),
                }
                // Closing takes it out of the set.
                self.visitors[index] = None;
                done += 1;
                if go_on(begun) {
                    self.visit(index, &GREETING)?;
                    begun += 1;
                }
            }
        }
        Ok(Seen {
            requests: done,
            elapsed: start.elapsed(),
        })
    }

    fn visit(&mut self, index: usize, greeting: &[u8]) -> io::Result<()> {
        // On this machine a connection is there at once.
        let stream = TcpStream::connect(self.server)?;
        let data = EventData::new_u64(index as u64);
        epoll::add(&self.set, &stream, data, EventFlags::IN)?;
        rustix::net::send(&stream, greeting, rustix::net::SendFlags::NOSIGNAL)?;
        self.visitors[index] = Some(stream);
        Ok(())
    }
}
