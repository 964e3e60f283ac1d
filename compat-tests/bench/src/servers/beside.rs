//! What else a process does while it serves: a foreign task beside an integrated executor, or one that computes.
//!
//! The same with our I/O and with async-io's.

use std::future::Future;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use futures_lite::AsyncReadExt;

use super::{Beside, compute};

const PAUSE: Duration = Duration::from_millis(10);

/// Whose I/O.
#[derive(Clone, Copy, Debug)]
pub(super) enum Io {
    Ours,
    Theirs,
}

/// Starts it.
pub(super) fn start(beside: Beside, io: Io) {
    match beside {
        Beside::Nothing | Beside::Stuck => {}
        Beside::Messages => drop(thread::spawn(move || {
            messages(io).expect("a pair of sockets");
        })),
        Beside::Computing => drop(thread::spawn(move || computes(io))),
    }
}

/// An executor that knows of no I/O waits for bytes that another thread sends it.
fn messages(io: Io) -> io::Result<()> {
    let (mut near, far) = UnixStream::pair()?;
    thread::spawn(move || {
        while near.write_all(&[1]).is_ok() {
            thread::sleep(PAUSE);
        }
    });
    let mut byte = [0];
    match io {
        Io::Ours => {
            let mut far = untether::Async::new(far)?;
            futures_executor::block_on(async { while far.read_exact(&mut byte).await.is_ok() {} });
        }
        Io::Theirs => {
            let mut far = async_io::Async::new(far)?;
            futures_executor::block_on(async { while far.read_exact(&mut byte).await.is_ok() {} });
        }
    }
    Ok(())
}

fn computes(io: Io) {
    const COMPUTING: Duration = Duration::from_millis(20);
    match io {
        Io::Ours => untether_executors::Local::new().run(async {
            loop {
                untether::Timer::after(PAUSE).await;
                compute(COMPUTING);
            }
        }),
        Io::Theirs => async_io::block_on(async {
            loop {
                async_io::Timer::after(PAUSE).await;
                compute(COMPUTING);
            }
        }),
    }
}

/// A task that computes for a second at a time. `pause` is a timer of its runtime.
pub(super) async fn stuck<F: Future>(beside: Beside, pause: impl Fn(Duration) -> F) {
    if beside != Beside::Stuck {
        return;
    }
    loop {
        pause(Duration::from_millis(1)).await;
        compute(Duration::from_secs(1));
    }
}
