//! One module per promise, each against hyper itself over loopback. What depends on time runs on a manual clock.

mod axum;
mod bad_input;
mod client;
mod curl;
mod executors;
mod http;
mod io;
mod server;
mod timer;
mod tls;

use std::error::Error;
use std::future::Future;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::service::HttpService;
use hyper::{Request, Response, StatusCode, header};
use tokio::sync::oneshot;
use untether::{Async, Clock, Reactor, timeout};
use untether_executors::{Local, LocalHandle, Task, yield_now};
use untether_hyper::{Io, Listener, LocalExecutor, Server};

/// How long something that must happen may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;
type LocalServer = Server<LocalExecutor<LocalHandle>>;

/// Runs a test that may start tasks, and ends it if it hangs.
fn run<R, F>(test: impl FnOnce(LocalHandle) -> F) -> R
where
    F: Future<Output = R>,
{
    let local = Local::new();
    local.run(async {
        timeout(PATIENCE, test(local.handle()))
            .await
            .expect("the test hangs")
    })
}

/// The same, and time passes only when the test says so.
fn run_by_hand<R, F>(test: impl FnOnce(LocalHandle, Clock) -> F) -> R
where
    F: Future<Output = R>,
{
    let clock = Clock::manual();
    let reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let local = Local::new();
    reactor.enter(|| local.run(test(local.handle(), clock)))
}

/// Lets everybody else do what can be done now. An executor looks at its reactor every few dozen polls, if not before.
async fn settle() {
    for _ in 0..500 {
        yield_now().await;
    }
}

/// A server at work.
struct Open {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: Task<std::io::Result<usize>>,
}

impl Open {
    /// Tells it to stop. Returns how many connections it cut off.
    async fn close(mut self) -> usize {
        self.tell();
        self.serving.await.unwrap()
    }

    fn tell(&mut self) {
        drop(self.stop.take());
    }

    async fn connect(&self) -> Async<TcpStream> {
        Async::<TcpStream>::connect(self.address).await.unwrap()
    }
}

fn server(handle: &LocalHandle) -> LocalServer {
    Server::new(LocalExecutor(handle.clone()))
}

fn listener() -> (Async<TcpListener>, SocketAddr) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    (listener, address)
}

/// Serves [`everything`].
fn open(handle: &LocalHandle, server: LocalServer) -> Open {
    open_with(handle, server, hyper::service::service_fn(everything))
}

fn open_with<S, B>(handle: &LocalHandle, server: LocalServer, service: S) -> Open
where
    S: HttpService<Incoming, ResBody = B> + Clone + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (listener, address) = listener();
    open_on(handle, server, listener, address, service)
}

fn open_on<L, S, B>(
    handle: &LocalHandle,
    server: LocalServer,
    listener: L,
    address: SocketAddr,
    service: S,
) -> Open
where
    L: Listener + 'static,
    S: HttpService<Incoming, ResBody = B> + Clone + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = handle.spawn(server.serve_until(listener, service, async {
        let _ = stopped.await;
    }));
    Open {
        address,
        stop: Some(stop),
        serving,
    }
}

/// How much `/big` gives: more than all buffers on the way hold.
const BIG: usize = 8 * 1024 * 1024;

fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(
        Full::new(text.into())
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

/// A service with something of everything.
async fn everything(mut request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    match request.uri().path() {
        "/hello" => Ok(text("hello")),
        "/big" => Ok(text(pattern(BIG))),
        // As it comes, trailers and all.
        "/echo" => {
            let announced = request.headers().get(header::TRAILER).cloned();
            let mut answer = Response::new(request.into_body().boxed_unsync());
            answer
                .headers_mut()
                .extend(announced.map(|names| (header::TRAILER, names)));
            Ok(answer)
        }
        "/count" => {
            let mut count = 0;
            let body = request.body_mut();
            while let Some(frame) = body.frame().await {
                count += frame?.data_ref().map_or(0, Bytes::len);
            }
            Ok(text(count.to_string()))
        }
        "/upgrade" => {
            let upgraded = hyper::upgrade::on(&mut request);
            let echo = async {
                let upgraded = upgraded.await.unwrap();
                let parts = upgraded.downcast::<Io<Async<TcpStream>>>().unwrap();
                let stream = parts.io.into_inner();
                (&stream).write_all(&parts.read_buf).await.unwrap();
                futures_lite::io::copy(&stream, &stream).await.unwrap();
            };
            // It outlives the request, on whatever executor.
            std::thread::spawn(|| untether_executors::block_on(echo));
            let mut answer =
                Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let echo = header::HeaderValue::from_static("echo");
            answer.headers_mut().insert(header::UPGRADE, echo);
            Ok(answer)
        }
        "/panic" => panic!("asked to"),
        _ => {
            let mut answer = text("no such page");
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Ok(answer)
        }
    }
}

/// Bytes that are like no others.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 251 + i % 251) as u8).collect()
}

/// What is read until the end, or until it breaks.
async fn rest(stream: &mut Async<TcpStream>) -> String {
    let mut bytes = Vec::new();
    // What came before a reset counts.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request, and what comes back until the server hangs up.
async fn ask(open: &Open, request: &str) -> String {
    let mut stream = open.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

const HELLO: &str = "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Whether it is the answer to [`HELLO`].
fn says_hello(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello")
}
