//! smol's world: async-io on async-executor, driven by the threads that block in it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;

use async_executor::{Executor, LocalExecutor};
use async_io::{Async, Timer, block_on};
use futures_lite::{AsyncReadExt, FutureExt};

use super::beside::{self, Io};
use super::{Place, Server, Spec, TIMEOUT, echo};

pub(super) static LOCAL: Server = Server {
    name: "smol-local",
    about: "async-io on async-executor's LocalExecutor: this thread drives",
    place: Place::OneCore,
    serve: local,
};

pub(super) static SMOL_2: Server = Server {
    name: "smol-2",
    about: "async-io on async-executor's Executor with 2 threads, unpinned",
    place: Place::Anywhere,
    serve: shared,
};

pub(super) static SMOL_2_PINNED: Server = Server {
    name: "smol-2-pinned",
    about: "the same, thread i on core i",
    place: Place::CoreEach,
    serve: shared,
};

fn local(listener: TcpListener, spec: Spec) -> io::Result<()> {
    let executor = LocalExecutor::new();
    beside::start(spec.beside, Io::Theirs);
    spec.begin();
    block_on(executor.run(async {
        let listener = Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            executor.spawn(connection(stream, spec)).detach();
        }
    }))
}

fn shared(listener: TcpListener, spec: Spec) -> io::Result<()> {
    static EXECUTOR: Executor<'static> = Executor::new();
    for _ in 0..2 {
        thread::spawn(|| block_on(EXECUTOR.run(std::future::pending::<()>())));
    }
    EXECUTOR
        .spawn(beside::stuck(spec.beside, Timer::after))
        .detach();
    spec.begin();
    // The main thread only waits for the end, as in smol.
    futures_lite::future::block_on(EXECUTOR.spawn(async move {
        let listener = Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            EXECUTOR.spawn(connection(stream, spec)).detach();
        }
    }))
}

/// Serves one connection, on whatever executor.
pub(super) async fn connection(stream: Async<TcpStream>, spec: Spec) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    if spec.timeout {
        echo(stream, spec, async |stream, buffer| {
            let late = async {
                Timer::after(TIMEOUT).await;
                Err(io::ErrorKind::TimedOut.into())
            };
            stream.read(buffer).or(late).await
        })
        .await
    } else {
        echo(stream, spec, async |stream, buffer| {
            stream.read(buffer).await
        })
        .await
    }
}
