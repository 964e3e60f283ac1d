//! HTTP/1 and HTTP/2 behind TLS, with a certificate made on the spot.
//!
//! Run it: `cargo run -p untether-hyper --example tls [PORT]`, then
//! `curl --insecure https://localhost:PORT/`. The address is printed. curl asks for HTTP/2 by itself.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Arc;

use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::ServerConfig;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use untether::Async;
use untether_executors::Pool;
use untether_hyper::{Executor, Listener, Server};

async fn hello(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(format!(
        "hello over {:?}\n",
        request.version()
    )))
}

fn acceptor() -> Result<TlsAcceptor, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], made.signing_key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(0), |port| port.parse::<u16>())?;
    let pool = Pool::new(2)?;
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
    println!("listening on https://{}/", listener.get_ref().local_addr()?);
    io::stdout().flush()?;

    // The handshake belongs to the task of its connection, so a slow client keeps nobody waiting.
    let acceptor = acceptor()?;
    let secured = listener.secured(move |tcp| acceptor.accept(tcp));
    let server = Server::new(Executor(pool.handle())).on_error(|error| eprintln!("{error}"));
    pool.block_on(server.serve(secured, service_fn(hello)))?;
    Ok(())
}
