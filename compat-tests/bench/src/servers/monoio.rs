//! monoio on io_uring, for reference: it does other work for a request, with other system calls.

use std::io;
use std::net::TcpListener;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, RuntimeBuilder};

use super::{Place, Server, Spec};

pub(super) static IO_URING: Server = Server {
    name: "monoio-io-uring",
    about: "monoio on io_uring, one thread; knows no time-outs here",
    place: Place::OneCore,
    serve,
};

fn serve(listener: TcpListener, spec: Spec) -> io::Result<()> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().build()?;
    spec.begin();
    runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = monoio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(connection(stream, spec));
        }
    })
}

async fn connection(mut stream: TcpStream, spec: Spec) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; spec.buffer];
    let mut first = true;
    loop {
        let (read, read_into) = stream.read(buffer).await;
        buffer = read_into;
        let n = read?;
        if n == 0 {
            spec.client_has_gone();
            return Ok(());
        }
        spec.work();
        buffer.truncate(n);
        let (written, written_from) = stream.write_all(buffer).await;
        buffer = written_from;
        written?;
        // What is read into is the vector's capacity.
        spec.answered(first);
        first = false;
        if spec.once {
            return Ok(());
        }
    }
}
