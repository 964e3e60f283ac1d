//! An echo server that outlives its clients' worst manners.
//!
//! Run it: `cargo run -p untether-executors --example echo_server [PORT [THREADS]]`. Without a port, or with port 0, the
//! system chooses one; the address is printed. Then talk to it: `nc 127.0.0.1 PORT`.
//!
//! A client that resets the connection ends its own task and nothing else. When the process is out of descriptors (try
//! `ulimit -n 20`), the server pauses accepting until one is free, and goes on serving the clients that it has.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use untether::{Async, Timer};
use untether_executors::{Pool, PoolHandle};

/// Returns how many bytes came back to the client.
async fn echo(mut stream: Async<TcpStream>) -> io::Result<u64> {
    let mut buffer = vec![0; 16 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            n => {
                stream.write_all(&buffer[..n]).await?;
                total += n as u64;
            }
        }
    }
}

/// Serves whoever comes, until accepting fails for good.
pub async fn serve(listener: Async<TcpListener>, pool: PoolHandle) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Not awaited: its end, good or bad, is nobody else's business.
                let task = pool.spawn(async move {
                    match echo(stream).await {
                        Ok(bytes) => eprintln!("{peer}: {bytes} bytes"),
                        Err(error) => eprintln!("{peer}: {error}"),
                    }
                });
                task.detach();
            }
            // The client gave up while it stood in the queue; the next one may be better.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if is_out_of_resources(&error) => {
                eprintln!("{error}; pausing");
                Timer::after(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Too many open files here or in the system, or no memory for another socket: the connection stays in the queue, so
/// accepting again at once would only fail at once.
fn is_out_of_resources(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const WSAEMFILE: i32 = 10_024;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | WSAEMFILE))
        || error.kind() == io::ErrorKind::OutOfMemory
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u16| match arguments.next() {
        Some(text) => text.parse().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{text} is not a small number"),
            )
        }),
        None => Ok(default),
    };
    let (port, threads) = (number(0)?, number(2)?);

    let pool = Pool::new(threads.into())?;
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
    println!("listening on {}", listener.get_ref().local_addr()?);
    io::stdout().flush()?;
    pool.block_on(pool.spawn(serve(listener, pool.handle())))
}
