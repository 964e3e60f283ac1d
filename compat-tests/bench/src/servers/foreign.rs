//! I/O on executors that know nothing of it: ours and async-io's, side by side.
//!
//! All threads of such a server share its core, as the one thread of the others does; except those of a thread pool.

use std::future::{Future, pending};
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::thread;

use async_executor::Executor;
use futures_executor::{LocalPool, ThreadPool};
use futures_util::task::LocalSpawnExt;
use tokio::runtime::Builder;

use super::beside::{self, Io};
use super::{Place, Server, Spec, async_io as peer, untether as ours};

pub(super) static UNTETHER_ON_LOCAL_POOL: Server = Server {
    name: "untether-on-futures-local",
    about: "untether on futures' LocalPool: our thread drives",
    place: Place::OneCore,
    serve: |listener, spec| on_local_pool(listener, spec, Io::Ours),
};

pub(super) static ASYNC_IO_ON_LOCAL_POOL: Server = Server {
    name: "async-io-on-futures-local",
    about: "async-io on futures' LocalPool: its thread drives",
    place: Place::OneCore,
    serve: |listener, spec| on_local_pool(listener, spec, Io::Theirs),
};

pub(super) static UNTETHER_ON_LOCAL_POOL_ANYWHERE: Server = Server {
    name: "untether-on-futures-local-unpinned",
    about: "untether on futures' LocalPool, its threads unpinned",
    place: Place::Anywhere,
    serve: |listener, spec| on_local_pool(listener, spec, Io::Ours),
};

pub(super) static ASYNC_IO_ON_LOCAL_POOL_ANYWHERE: Server = Server {
    name: "async-io-on-futures-local-unpinned",
    about: "async-io on the same",
    place: Place::Anywhere,
    serve: |listener, spec| on_local_pool(listener, spec, Io::Theirs),
};

pub(super) static UNTETHER_ON_TOKIO: Server = Server {
    name: "untether-on-tokio",
    about: "untether on tokio's current_thread, which has no I/O of its own enabled",
    place: Place::OneCore,
    serve: |listener, spec| on_tokio(listener, spec, Io::Ours),
};

pub(super) static ASYNC_IO_ON_TOKIO: Server = Server {
    name: "async-io-on-tokio",
    about: "async-io on the same",
    place: Place::OneCore,
    serve: |listener, spec| on_tokio(listener, spec, Io::Theirs),
};

pub(super) static UNTETHER_ON_THREAD_POOL: Server = Server {
    name: "untether-on-futures-threads",
    about: "untether on futures' ThreadPool of 2, unpinned",
    place: Place::Anywhere,
    serve: |listener, spec| on_thread_pool(listener, spec, Io::Ours),
};

pub(super) static ASYNC_IO_ON_THREAD_POOL: Server = Server {
    name: "async-io-on-futures-threads",
    about: "async-io on the same",
    place: Place::Anywhere,
    serve: |listener, spec| on_thread_pool(listener, spec, Io::Theirs),
};

pub(super) static UNTETHER_ON_SMOL_2: Server = Server {
    name: "untether-on-async-executor-2",
    about: "untether on async-executor's Executor, 2 threads in our block_on, unpinned",
    place: Place::Anywhere,
    serve: on_async_executor,
};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn accept(listener: TcpListener, spec: Spec, io: Io, start: impl Fn(Task)) -> io::Result<()> {
    match io {
        Io::Ours => {
            let listener = untether::Async::new(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                start(quietly(ours::connection(stream, spec)));
            }
        }
        Io::Theirs => {
            let listener = async_io::Async::new(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                start(quietly(peer::connection(stream, spec)));
            }
        }
    }
}

/// A connection that fails is over, and that is all.
fn quietly(connection: impl Future<Output = io::Result<()>> + Send + 'static) -> Task {
    Box::pin(async { drop(connection.await) })
}

fn on_local_pool(listener: TcpListener, spec: Spec, io: Io) -> io::Result<()> {
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let start = move |task| spawner.spawn_local(task).expect("the pool lives");
    beside::start(spec.beside, io);
    spec.begin();
    pool.run_until(accept(listener, spec, io, start))
}

fn on_tokio(listener: TcpListener, spec: Spec, io: Io) -> io::Result<()> {
    let runtime = Builder::new_current_thread().build()?;
    spec.begin();
    runtime.block_on(accept(listener, spec, io, |task| drop(tokio::spawn(task))))
}

fn on_thread_pool(listener: TcpListener, spec: Spec, io: Io) -> io::Result<()> {
    let pool = ThreadPool::builder().pool_size(2).create()?;
    let start = move |task| pool.spawn_ok(task);
    spec.begin();
    futures_lite::future::block_on(accept(listener, spec, io, start))
}

fn on_async_executor(listener: TcpListener, spec: Spec) -> io::Result<()> {
    static EXECUTOR: Executor<'static> = Executor::new();
    for _ in 0..2 {
        thread::spawn(|| untether_executors::block_on(EXECUTOR.run(pending::<()>())));
    }
    spec.begin();
    let start = |task| EXECUTOR.spawn(task).detach();
    let accepting = EXECUTOR.spawn(accept(listener, spec, Io::Ours, start));
    futures_lite::future::block_on(accepting)
}
