//! An echo server as smol's users write it. It prints its port, and ends when its standard input does.
//!
//! `dropin spawn` serves on the threads behind `smol::spawn`: as many as `SMOL_THREADS` says, 1 if it says nothing, and
//! the main thread accepts. `dropin local` does everything on the main thread, in a `smol::LocalExecutor`.

#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::thread;

use smol::LocalExecutor;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    thread::spawn(|| {
        // Nobody writes; the end is what is waited for.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    match std::env::args().nth(1).as_deref() {
        Some("local") => {
            let executor = LocalExecutor::new();
            let serve = accept(|stream| executor.spawn(echo(stream)).detach());
            smol::block_on(executor.run(serve))
        }
        _ => smol::block_on(accept(|stream| smol::spawn(echo(stream)).detach())),
    }
}

async fn accept(serve: impl Fn(TcpStream)) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        serve(stream);
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}
