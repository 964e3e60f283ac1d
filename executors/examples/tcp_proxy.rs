//! A TCP proxy: it passes on what either side says, and that it has nothing more to say.
//!
//! Run it: `cargo run -p untether-executors --example tcp_proxy PORT TARGET`, for instance `tcp_proxy 8080 127.0.0.1:80`.
//! With port 0, the system chooses one; the address is printed.
//!
//! Connections have nothing to do with each other, so each lives on one core of a `PerCore` from beginning to end. On
//! Linux the bytes never come to this process: `splice` moves them from one socket to a pipe, and from there to the other
//! socket, inside the kernel.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use futures_lite::future::try_zip;
use untether::{Async, Timer};
use untether_executors::{PerCore, PerCoreHandle, block_on};

/// Passes on everything until the end, in both directions. Returns how many bytes went there, and how many came back.
async fn relay(client: &Async<TcpStream>, target: &Async<TcpStream>) -> io::Result<(u64, u64)> {
    // An error in one direction drops the other one, and both connections end.
    try_zip(forward(client, target), forward(target, client)).await
}

/// One direction. The other one may go on for long after this one has ended: whoever has asked wants the answer.
async fn forward(from: &Async<TcpStream>, to: &Async<TcpStream>) -> io::Result<u64> {
    let bytes = transfer(from, to).await?;
    match to.get_ref().shutdown(Shutdown::Write) {
        // It is gone already, and has been told everything.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
        done => done?,
    }
    Ok(bytes)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
async fn transfer(from: &Async<TcpStream>, to: &Async<TcpStream>) -> io::Result<u64> {
    use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

    /// What a pipe holds, unless somebody has changed it.
    const PIPE: usize = 64 * 1024;
    let Ok((outlet, inlet)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
        // No descriptor is left for a pipe; those of the sockets are there.
        return copy(from, to).await;
    };
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    let mut total = 0;
    loop {
        // The pipe is empty. So "would block" is about the socket, as `read_with` takes it.
        let fill = |from: &TcpStream| Ok(splice(from, None, &inlet, None, PIPE, flags)?);
        let mut left = from.read_with(fill).await?;
        if left == 0 {
            return Ok(total);
        }
        total += left as u64;
        while left > 0 {
            // The pipe is not empty. So it is about the socket again.
            let empty = |to: &TcpStream| Ok(splice(&outlet, None, to, None, left, flags)?);
            left -= to.write_with(empty).await?;
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
async fn transfer(from: &Async<TcpStream>, to: &Async<TcpStream>) -> io::Result<u64> {
    copy(from, to).await
}

/// Through a buffer of this process.
pub async fn copy(from: &Async<TcpStream>, to: &Async<TcpStream>) -> io::Result<u64> {
    futures_lite::io::copy(from, to).await
}

/// Passes on whoever comes, for ever.
pub async fn serve(
    listener: Async<TcpListener>,
    target: SocketAddr,
    cores: PerCoreHandle,
) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                // Made here, and waited for there: a source lives where its task waits.
                let connection = cores.spawn_balanced(move || async move {
                    let outcome = async {
                        let target = Async::<TcpStream>::connect(target).await?;
                        relay(&client, &target).await
                    };
                    match outcome.await {
                        Ok((there, back)) => eprintln!("{peer}: {there} bytes there, {back} back"),
                        Err(error) => eprintln!("{peer}: {error}"),
                    }
                });
                connection.detach();
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [port, target] => port
            .parse::<u16>()
            .ok()
            .zip(target.parse::<SocketAddr>().ok()),
        _ => None,
    };
    let Some((port, target)) = parsed else {
        eprintln!("usage: tcp_proxy PORT TARGET");
        std::process::exit(2);
    };
    let cores = PerCore::builder().build()?;
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
    println!("listening on {}", listener.get_ref().local_addr()?);
    io::stdout().flush()?;
    block_on(serve(listener, target, cores.handle()))
}
