//! A web server that `curl` and a browser load, on an executor of your choice.
//!
//! Run it: `cargo run -p untether-hyper --example hello_server [EXECUTOR [PORT]]`, with `local` (if
//! nothing is said), `pool`, `per-core`, `priority` or `tokio` as the executor. Without a port the system
//! chooses one; the address is printed. Then `curl http://127.0.0.1:PORT/`, `curl --http2-prior-knowledge ..`, or open it
//! in a browser. Enter ends it: it finishes what it has begun, for at most five seconds.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioExecutor;
use untether::Async;
use untether_executors::{Class, Local, PerCore, Pool, Priority, spawn_blocking};
use untether_hyper::{Executor, LocalExecutor, Server};

async fn page(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = format!(
        "<!DOCTYPE html><title>untether</title><h1>Hello</h1><p>You asked for <code>{}</code> by {:?}, of {}.</p>",
        escaped(request.uri().path()),
        request.version(),
        std::thread::current().name().unwrap_or("a thread"),
    );
    let response = Response::builder().header(CONTENT_TYPE, "text/html; charset=utf-8");
    Ok(response.body(Full::new(text.into())).expect("a response"))
}

fn escaped(path: &str) -> String {
    path.replace('&', "&amp;").replace('<', "&lt;")
}

/// Until somebody presses Enter. Where there is no terminal, for ever.
async fn enter() {
    let read = || io::stdin().read_line(&mut String::new());
    if !matches!(spawn_blocking(read).await, Ok(1..)) {
        std::future::pending().await
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let executor = arguments.next().unwrap_or_else(|| "local".to_owned());
    let port = arguments.next().map_or(Ok(0), |port| port.parse::<u16>())?;

    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
    println!("listening on http://{}/", listener.get_ref().local_addr()?);
    io::stdout().flush()?;
    let page = service_fn(page);
    let cut_off = match executor.as_str() {
        "local" => {
            let local = Local::new();
            let server = server(LocalExecutor(local.handle()));
            local.run(server.serve_until(listener, page, enter()))
        }
        "pool" => {
            let pool = Pool::new(2)?;
            let server = server(Executor(pool.handle()));
            pool.block_on(server.serve_until(listener, page, enter()))
        }
        "per-core" => {
            let cores = PerCore::new(2)?;
            let server = server(Executor(cores.handle()));
            cores.block_on(server.serve_until(listener, page, enter()))
        }
        "priority" => {
            let priority = Priority::new(2)?;
            let server = server(Executor(priority.handle(Class::Normal)));
            priority.block_on(server.serve_until(listener, page, enter()))
        }
        // It needs no I/O of tokio's.
        "tokio" => {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let server = server(TokioExecutor::new());
            runtime.block_on(server.serve_until(listener, page, enter()))
        }
        other => return Err(format!("there is no executor {other}").into()),
    }?;
    if cut_off > 0 {
        eprintln!("{cut_off} connections were cut off");
    }
    Ok(())
}

fn server<E: Clone>(executor: E) -> Server<E> {
    Server::new(executor)
        .drain_timeout(Duration::from_secs(5))
        .on_error(|error| eprintln!("{error}"))
}
