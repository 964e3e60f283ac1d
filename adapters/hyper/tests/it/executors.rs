//! One server under every executor: ours, and tokio's, which does not know of our I/O.

use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use untether::Async;
use untether_executors::{Class, Local, PerCore, Pool, Priority, block_on};
use untether_hyper::{Executor, Io, LocalExecutor, Server};

use crate::{PATIENCE, everything, listener, pattern};

/// Is served in both versions, on a thread of its own.
async fn client(address: SocketAddr) {
    let (done, is_done) = tokio::sync::oneshot::channel();
    let asking = move || {
        let local = Local::new();
        local.run(async {
            let connect = async || Io::new(Async::<TcpStream>::connect(address).await.unwrap());
            let (mut one, connection) = http1::handshake(connect().await).await.unwrap();
            local.spawn(connection).detach();
            let executor = LocalExecutor(local.handle());
            let (mut two, connection) = http2::handshake(executor, connect().await).await.unwrap();
            local.spawn(connection).detach();

            let body = Bytes::from(pattern(100_000));
            for _ in 0..10 {
                let request = || {
                    let request = Request::post("http://a/echo").header("host", "a");
                    request.body(Full::new(body.clone())).unwrap()
                };
                for response in [
                    one.send_request(request()).await,
                    two.send_request(request()).await,
                ] {
                    let back = response.unwrap().into_body().collect().await.unwrap();
                    assert!(back.to_bytes() == body);
                }
            }
        });
        // If nobody listens, the test has failed already.
        let _ = done.send(());
    };
    std::thread::spawn(asking);
    untether::timeout(PATIENCE, is_done)
        .await
        .expect("the client hangs")
        .expect("the client was served");
}

// Not a function: the bounds of an executor that serves both versions fill a page.
macro_rules! serve {
    ($executor:expr) => {{
        let executor = $executor;
        async move {
            let (listener, address) = listener();
            let server = Server::new(executor);
            let served = server.serve_until(listener, service_fn(everything), client(address));
            assert_eq!(served.await.unwrap(), 0);
        }
    }};
}

#[test]
fn under_local() {
    let local = Local::new();
    local.run(serve!(LocalExecutor(local.handle())));
}

#[test]
fn under_local_from_a_remote_handle() {
    let local = Local::new();
    local.run(serve!(Executor(local.remote())));
}

#[test]
fn under_a_pool() {
    let pool = Pool::new(2).unwrap();
    pool.block_on(pool.spawn(serve!(Executor(pool.handle()))));
}

#[test]
fn under_a_pool_from_block_on() {
    let pool = Pool::new(2).unwrap();
    block_on(serve!(Executor(pool.handle())));
}

#[test]
fn under_a_core_each() {
    let cores = PerCore::new(2).unwrap();
    cores.block_on(serve!(Executor(cores.handle())));
}

#[test]
fn on_one_core_with_services_that_stay_there() {
    let cores = PerCore::new(2).unwrap();
    let task = cores.spawn_on(1, async || {
        let here = PerCore::here().unwrap();
        serve!(LocalExecutor(here)).await;
    });
    block_on(task);
}

#[test]
fn under_priorities() {
    let priority = Priority::new(2).unwrap();
    let executor = Executor(priority.handle(Class::Urgent));
    priority.block_on(serve!(executor));
}

#[test]
fn under_tokio_on_one_thread_and_on_many() {
    let mut builders = [
        tokio::runtime::Builder::new_current_thread(),
        tokio::runtime::Builder::new_multi_thread(),
    ];
    for builder in &mut builders {
        // Without its I/O and its timers.
        let runtime = builder.build().unwrap();
        runtime.block_on(serve!(TokioExecutor::new()));
    }
}
