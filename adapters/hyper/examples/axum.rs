//! axum's router, served without tokio's runtime.
//!
//! Run it: `cargo run -p untether-hyper --example axum [PORT]`, then
//! `curl http://127.0.0.1:PORT/greet/you`. The address is printed.

use std::error::Error;
use std::future::pending;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::extract::Path;
use axum::routing::get;
use axum::{Extension, Router};
use hyper_util::service::TowerToHyperService;
use untether::{Async, Timer};
use untether_executors::Pool;
use untether_hyper::{Executor, Server};

async fn greet(Path(name): Path<String>, Extension(from): Extension<SocketAddr>) -> String {
    format!("Hello {name}, from {}!\n", from.ip())
}

async fn wait(Path(ms): Path<u64>) -> String {
    Timer::after(Duration::from_millis(ms)).await;
    format!("{ms} ms later\n")
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(0), |port| port.parse())?;
    let router = Router::new()
        .route("/greet/{name}", get(greet))
        .route("/wait/{ms}", get(wait));

    let pool = Pool::new(2)?;
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
    println!("listening on http://{}/", listener.get_ref().local_addr()?);
    io::stdout().flush()?;

    // A router is tower's kind of service; with a layer for each connection it knows whom it talks to.
    let service =
        |from: &SocketAddr| TowerToHyperService::new(router.clone().layer(Extension(*from)));
    let server = Server::new(Executor(pool.handle()));
    pool.block_on(server.serve_each(listener, service, pending()))?;
    Ok(())
}
