//! The bare loop: what the kernel allows, and no program with tasks can beat by doing the same work.
//!
//! Edge-triggered epoll with EPOLLRDHUP, so that a short read proves the socket drained; one thread; a table of
//! connections.

use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{Place, Server, Spec};

pub(super) static RAW: Server = Server {
    name: "raw",
    about: "edge-triggered epoll by hand, one thread: the physical limit",
    place: Place::OneCore,
    serve,
};

const LISTENER: u64 = u64::MAX;

fn serve(listener: TcpListener, spec: Spec) -> io::Result<()> {
    spec.begin();
    listener.set_nonblocking(true)?;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &set,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut vacant: Vec<usize> = Vec::new();
    let mut events = [MaybeUninit::uninit(); 256];
    loop {
        let (events, _) = match epoll::wait(&set, &mut events[..], None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in events {
            if event.data.u64() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    let index = vacant.pop().unwrap_or(connections.len());
                    let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
                    epoll::add(&set, &stream, EventData::new_u64(index as u64), flags)?;
                    let connection = Some(Connection {
                        stream,
                        buffer: vec![0; spec.buffer],
                        told: false,
                    });
                    match connections.get_mut(index) {
                        Some(place) => *place = connection,
                        None => connections.push(connection),
                    }
                }
                continue;
            }
            let index = event.data.u64() as usize;
            let flags = event.flags;
            let Some(connection) = &mut connections[index] else {
                continue;
            };
            if !connection.echo(flags, spec)? {
                // Closing takes it out of the set.
                connections[index] = None;
                vacant.push(index);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// One for each, as everybody else has: with thousands of connections, one for all would stay in the cache.
    buffer: Vec<u8>,
    told: bool,
}

impl Connection {
    /// Echoes all there is. False: it is over.
    fn echo(&mut self, flags: EventFlags, spec: Spec) -> io::Result<bool> {
        loop {
            let n = match recv(&self.stream, &mut *self.buffer, RecvFlags::empty()) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => {
                    spec.client_has_gone();
                    return Ok(false);
                }
                Ok((_, n)) => n,
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            spec.work();
            self.send_all(&self.buffer[..n])?;
            spec.answered(!self.told);
            self.told = true;
            if spec.once {
                return Ok(false);
            }
            if n < self.buffer.len() && !flags.intersects(EventFlags::RDHUP | EventFlags::HUP) {
                return Ok(true);
            }
        }
    }

    /// With one request in flight the kernel's buffer always has room; if not, everybody waits.
    fn send_all(&self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match send(&self.stream, rest, SendFlags::NOSIGNAL) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::AGAIN) => {
                    let mut wanted = [PollFd::from_borrowed_fd(
                        self.stream.as_fd(),
                        PollFlags::OUT,
                    )];
                    poll(&mut wanted, None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
