//! Ours, on our executors, which drive it themselves.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use futures_lite::AsyncReadExt;
use untether::{Async, Reactor, Timer, timeout};
use untether_executors::{Local, Pool};

use super::beside::{self, Io};
use super::{Place, Server, Spec, TIMEOUT, echo};

pub(super) static LOCAL: Server = Server {
    name: "untether-local",
    about: "untether on its Local: this thread drives",
    place: Place::OneCore,
    serve: local,
};

pub(super) static LOCAL_THAT_SPINS: Server = Server {
    name: "untether-local-spin",
    about: "the same, which looks for up to 50 us before it blocks, while waits are short",
    place: Place::OneCore,
    serve: |listener, spec| {
        let reactor = Reactor::builder().spin(Duration::from_micros(50)).build()?;
        reactor.enter(|| local(listener, spec))
    },
};

pub(super) static POOL_OF_1: Server = Server {
    name: "untether-pool-1",
    about: "untether on its Pool of 1",
    place: Place::OneCore,
    serve: |listener, spec| pool(listener, spec, 1),
};

pub(super) static POOL_OF_2: Server = Server {
    name: "untether-pool-2",
    about: "untether on its Pool of 2, unpinned",
    place: Place::Anywhere,
    serve: |listener, spec| pool(listener, spec, 2),
};

pub(super) static POOL_OF_2_PINNED: Server = Server {
    name: "untether-pool-2-pinned",
    about: "untether on its Pool of 2, worker i on core i",
    place: Place::CoreEach,
    serve: |listener, spec| pool(listener, spec, 2),
};

fn local(listener: TcpListener, spec: Spec) -> io::Result<()> {
    let local = Local::new();
    let handle = local.handle();
    beside::start(spec.beside, Io::Ours);
    spec.begin();
    local.run(async move {
        let listener = Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            handle.spawn(connection(stream, spec)).detach();
        }
    })
}

fn pool(listener: TcpListener, spec: Spec, threads: usize) -> io::Result<()> {
    let pool = Pool::new(threads)?;
    let handle = pool.handle();
    pool.spawn(beside::stuck(spec.beside, Timer::after))
        .detach();
    spec.begin();
    pool.block_on(pool.spawn(async move {
        let listener = Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            handle.spawn(connection(stream, spec)).detach();
        }
    }))
}

/// Serves one connection, on whatever executor.
pub(super) async fn connection(stream: Async<TcpStream>, spec: Spec) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    if spec.timeout {
        echo(stream, spec, async |stream, buffer| {
            timeout(TIMEOUT, stream.read(buffer)).await?
        })
        .await
    } else {
        echo(stream, spec, async |stream, buffer| {
            stream.read(buffer).await
        })
        .await
    }
}
