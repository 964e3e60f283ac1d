//! hyper's hello-world over each runtime, as its users write it: the same service, the same builder, one task for each
//! connection, all on one thread.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

use super::{Place, Server, Spec};

pub(super) static UNTETHER: Server = Server {
    name: "hyper-untether",
    about: "hyper over untether-hyper's Io, on Local",
    place: Place::OneCore,
    serve: untether,
};

pub(super) static UNTETHER_SERVER: Server = Server {
    name: "hyper-untether-server",
    about: "the same by untether-hyper's Server: HTTP/2 told apart, time-outs, graceful",
    place: Place::OneCore,
    serve: untether_server,
};

pub(super) static TOKIO: Server = Server {
    name: "hyper-tokio",
    about: "hyper over hyper-util's TokioIo, on tokio's current_thread",
    place: Place::OneCore,
    serve: |listener, spec| tokio(listener, spec, false),
};

pub(super) static TOKIO_TIMED: Server = Server {
    name: "hyper-tokio-timed",
    about: "the same with hyper-util's TokioTimer, and so with hyper's time-out for headers",
    place: Place::OneCore,
    serve: |listener, spec| tokio(listener, spec, true),
};

pub(super) static SMOL: Server = Server {
    name: "hyper-smol",
    about: "hyper over smol-hyper's FuturesIo, on async-executor's LocalExecutor",
    place: Place::OneCore,
    serve: smol,
};

pub(crate) const BODY: &str = "Hello, World!";

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(
        BODY.as_bytes(),
    ))))
}

/// Serves one connection, on whatever runtime. One that fails is over, and that is all.
async fn connection<I>(io: I, http: http1::Builder, spec: Spec)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let _ = http.serve_connection(io, service_fn(hello)).await;
    spec.client_has_gone();
}

fn untether(listener: TcpListener, spec: Spec) -> io::Result<()> {
    let local = untether_executors::Local::new();
    let handle = local.handle();
    local.run(async move {
        let listener = untether::Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.get_ref().set_nodelay(true)?;
            let io = untether_hyper::Io::new(stream);
            let http = http1::Builder::new();
            handle.spawn(connection(io, http, spec)).detach();
        }
    })
}

fn untether_server(listener: TcpListener, spec: Spec) -> io::Result<()> {
    let local = untether_executors::Local::new();
    let executor = untether_hyper::LocalExecutor(local.handle());
    local.run(async move {
        let listener = untether::Async::new(listener)?;
        let visited = |_: &SocketAddr| {
            let visit = Visit(spec);
            service_fn(move |request| {
                let _ = &visit;
                hello(request)
            })
        };
        let server = untether_hyper::Server::new(executor);
        server.serve_each(listener, visited, pending()).await?;
        Ok(())
    })
}

/// Dropped with its connection.
struct Visit(Spec);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.client_has_gone();
    }
}

fn tokio(listener: TcpListener, spec: Spec, timed: bool) -> io::Result<()> {
    let runtime = ::tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = ::tokio::net::TcpListener::from_std(listener)?;
        let accepting = ::tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let io = hyper_util::rt::TokioIo::new(stream);
                let mut http = http1::Builder::new();
                if timed {
                    http.timer(hyper_util::rt::TokioTimer::new());
                }
                ::tokio::spawn(connection(io, http, spec));
            }
        });
        accepting.await?
    })
}

fn smol(listener: TcpListener, spec: Spec) -> io::Result<()> {
    let executor = async_executor::LocalExecutor::new();
    ::async_io::block_on(executor.run(async {
        let listener = ::async_io::Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.get_ref().set_nodelay(true)?;
            let io = smol_hyper::rt::FuturesIo::new(stream);
            let http = http1::Builder::new();
            executor.spawn(connection(io, http, spec)).detach();
        }
    }))
}
