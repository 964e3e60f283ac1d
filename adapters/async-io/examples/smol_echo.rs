//! smol, unchanged, on untether: `cargo run --example smol_echo`, in `adapters/async-io`.
//!
//! A program of your own needs a patch in its Cargo.toml and nothing else; this package's has it already.

use std::io;

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

fn main() -> io::Result<()> {
    smol::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = smol::spawn(async move { serve(listener.accept().await?.0).await });

        let mut client = TcpStream::connect(address).await?;
        client.write_all(b"hello").await?;
        let mut echo = [0; 5];
        client.read_exact(&mut echo).await?;
        println!("the server echoed {:?}", String::from_utf8_lossy(&echo));
        drop(client);
        server.await?;

        // The same global reactor by its other name, because the types are the same.
        println!("{:?}", untether::Reactor::global());
        Ok(())
    })
}
