//! A chat server: everybody hears what anybody says, and nobody waits for whoever does not listen.
//!
//! Run it: `cargo run -p untether-executors --example chat_server [PORT]`. Without a port, or with port 0, the system
//! chooses one; the address is printed. Then join from two terminals: `nc 127.0.0.1 PORT`.
//!
//! All tasks are on one thread, in a `Local`. So the room that they share is a plain `Rc<RefCell<Room>>`: no lock, and
//! no two tasks in it at once, as long as nobody awaits anything while it is borrowed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use futures::channel::mpsc::{Receiver, Sender, channel};
use futures_lite::io::BufReader;
use futures_lite::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt, future};
use untether::{Async, Timer, timeout};
use untether_executors::{Local, LocalHandle, yield_now};

/// So many lines may wait for a member to read them; with one more, the member is dropped. Without a bound, a member who
/// never reads would fill the memory; if the others waited instead, it would silence them.
const QUEUE: usize = 64;

/// A member takes no longer to read a line, and says no more in one (bytes).
const PATIENCE: Duration = Duration::from_secs(10);
const LINE_MAX: u64 = 4096;

#[derive(Default)]
struct Room {
    /// Name and queue of each, by number.
    members: BTreeMap<u64, (String, Sender<Rc<str>>)>,
    joined: u64,
}

impl Room {
    /// Returns the new member's number, and what it is to be told; nothing if the name cannot be had.
    fn join(&mut self, name: &str) -> Option<(u64, Receiver<Rc<str>>)> {
        if name.is_empty() || self.members.values().any(|(other, _)| other == name) {
            return None;
        }
        self.tell(None, &format!("* {name} is here"));
        self.joined += 1;
        let (queue, lines) = channel(QUEUE);
        self.members.insert(self.joined, (name.into(), queue));
        Some((self.joined, lines))
    }

    fn leave(&mut self, number: u64) {
        if let Some((name, _)) = self.members.remove(&number) {
            self.tell(None, &format!("* {name} has left"));
        }
    }

    /// Passes on what a member says. Who has been dropped is not heard.
    fn say(&mut self, number: u64, line: &str) {
        if let Some((name, _)) = self.members.get(&number) {
            self.tell(Some(number), &format!("{name}: {line}"));
        }
    }

    /// Queues a line for all but one. It never waits.
    fn tell(&mut self, except: Option<u64>, line: &str) {
        let line: Rc<str> = format!("{line}\n").into();
        let mut slow = Vec::new();
        self.members.retain(|number, (name, queue)| {
            let told = Some(*number) == except || queue.try_send(line.clone()).is_ok();
            slow.extend((!told).then(|| std::mem::take(name)));
            told
        });
        for name in slow {
            self.tell(None, &format!("* {name} is too slow, and was dropped"));
        }
    }
}

/// The next line, without its end. It is an error if there is none, or too much of it.
async fn next_line(lines: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    lines.take(LINE_MAX).read_until(b'\n', &mut line).await?;
    match line.pop() {
        // What a terminal obeys is not passed on to the terminals of others.
        Some(b'\n') => Ok(String::from_utf8_lossy(&line).replace(char::is_control, "")),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes what is queued for a member, until it is no member any more.
async fn deliver(mut stream: &Async<TcpStream>, mut queue: Receiver<Rc<str>>) -> io::Result<()> {
    while let Some(line) = queue.next().await {
        timeout(PATIENCE, stream.write_all(line.as_bytes())).await??;
    }
    let farewell = b"* you are too slow, and were dropped\n";
    timeout(PATIENCE, stream.write_all(farewell)).await?
}

async fn serve_client(stream: Async<TcpStream>, room: Rc<RefCell<Room>>) -> io::Result<()> {
    let mut lines = BufReader::new(&stream);
    let (number, queue) = loop {
        (&stream).write_all(b"* your name?\n").await?;
        let name = next_line(&mut lines).await?;
        if let Some(joined) = room.borrow_mut().join(name.trim()) {
            break joined;
        }
    };
    let listen = async {
        loop {
            let line = next_line(&mut lines).await?;
            room.borrow_mut().say(number, &line);
            // Whoever pastes a book shall not make others look slow: they have their turn after each line.
            yield_now().await;
        }
    };
    // Both wait for the same socket, at the same time. Whichever ends first ends the other.
    let outcome = future::or(listen, deliver(&stream, queue)).await;
    room.borrow_mut().leave(number);
    outcome
}

/// Serves whoever comes, for ever. How each of them ends, is nobody else's business.
pub async fn serve(listener: Async<TcpListener>, spawner: LocalHandle) -> io::Result<()> {
    let room = Rc::new(RefCell::new(Room::default()));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                spawner.spawn(serve_client(stream, room.clone())).detach();
            }
            Err(error) => {
                // It concerns one connection, or will pass: too many are open. So not at once again.
                eprintln!("cannot accept: {error}");
                Timer::after(Duration::from_millis(100)).await;
            }
        }
    }
}

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or("0".into());
    let Ok(port) = argument.parse::<u16>() else {
        eprintln!("usage: chat_server [PORT]");
        std::process::exit(2);
    };
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
    println!("listening on {}", listener.get_ref().local_addr()?);
    io::stdout().flush()?;
    let local = Local::new();
    local.run(serve(listener, local.handle()))
}
