//! tokio, with its own I/O.

use std::io;
use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::beside;
use super::{Place, Server, Spec, TIMEOUT};

pub(super) static CURRENT_THREAD: Server = Server {
    name: "tokio-current-thread",
    about: "tokio's current_thread runtime",
    place: Place::OneCore,
    serve: |listener, spec| serve(&mut Builder::new_current_thread(), listener, spec),
};

pub(super) static MULTI_THREAD_1: Server = Server {
    name: "tokio-multi-thread-1",
    about: "tokio's multi_thread runtime with 1 worker",
    place: Place::OneCore,
    serve: |listener, spec| {
        serve(
            Builder::new_multi_thread().worker_threads(1),
            listener,
            spec,
        )
    },
};

pub(super) static MULTI_THREAD_2: Server = Server {
    name: "tokio-multi-thread-2",
    about: "tokio's multi_thread runtime with 2 workers, unpinned",
    place: Place::Anywhere,
    serve: |listener, spec| {
        serve(
            Builder::new_multi_thread().worker_threads(2),
            listener,
            spec,
        )
    },
};

pub(super) static MULTI_THREAD_2_PINNED: Server = Server {
    name: "tokio-multi-thread-2-pinned",
    about: "the same, worker i on core i",
    place: Place::CoreEach,
    serve: |listener, spec| {
        serve(
            Builder::new_multi_thread().worker_threads(2),
            listener,
            spec,
        )
    },
};

fn serve(builder: &mut Builder, listener: TcpListener, spec: Spec) -> io::Result<()> {
    let runtime = builder.enable_all().build()?;
    runtime.spawn(beside::stuck(spec.beside, tokio::time::sleep));
    spec.begin();
    runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(connection(stream, spec));
            }
        });
        accepting.await?
    })
}

async fn connection(mut stream: TcpStream, spec: Spec) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; spec.buffer];
    let mut first = true;
    loop {
        let n = if spec.timeout {
            timeout(TIMEOUT, stream.read(&mut buffer)).await??
        } else {
            stream.read(&mut buffer).await?
        };
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
