//! A server: accepts connections, serves each in a task of its own, and ends when it is told to.
//!
//! What may go wrong with one connection ends that connection and nothing else. What may go wrong with accepting is told
//! apart: a client that gave up is passed over; want of descriptors or memory makes a pause, after which the connections
//! that still stand in the queue are served; anything else ends the server.
//!
//! Not here: one connection (`connection`), who is still being served and how they are told to go (`guests`), where
//! connections come from (`listener`).

mod connection;
mod guests;
mod listener;

use std::error::Error;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use untether::timeout;

pub use self::connection::Connection;
use self::guests::{Guests, Stage};
pub use self::listener::{Deferred, Listener, Secured};
use crate::{Io, Timer};

/// How to serve HTTP.
///
/// HTTP/1 and HTTP/2 are told apart by the client's first bytes, also behind TLS. A service may upgrade its connection
/// ([`hyper::upgrade`]); the stream can then be had back by `Upgraded::downcast::<Io<L::Io>>`, `L` being the listener.
///
/// Where nothing else is said, a client has 30 s for the head of each request, and as long to send its first byte or
/// the next request; and an HTTP/2 connection on which nothing happens is asked every 30 s whether its peer is still
/// there. Bodies may take as long as they like: how long is long depends on what they are for, so it is the service that
/// knows (`untether::timeout`).
///
/// Clones are the same settings.
///
/// # Examples
///
/// Each core its own listener and executor, with services that need not be `Send`:
///
/// ```
/// use std::cell::Cell;
/// use std::convert::Infallible;
/// use std::rc::Rc;
/// use hyper::{Response, service::service_fn};
/// use untether::Async;
/// use untether_executors::{PerCore, block_on, shared_listeners};
/// use untether_hyper::{LocalExecutor, Server};
///
/// # #[cfg(target_os = "linux")] {
/// let cores = PerCore::new(2)?;
/// let mut tasks = Vec::new();
/// for (core, listener) in shared_listeners(([127, 0, 0, 1], 0), 2)?.into_iter().enumerate() {
///     let listener = Async::new(listener)?;
///     tasks.push(cores.spawn_on(core, async move || {
///         let visits = Rc::new(Cell::new(0));
///         let count = service_fn(move |_| {
///             visits.set(visits.get() + 1);
///             let text = format!("visit {} of this core", visits.get());
///             async { Ok::<_, Infallible>(Response::new(text)) }
///         });
///         let here = PerCore::here().expect("a task of a core");
///         let stop = async { /* until it is time */ };
///         Server::new(LocalExecutor(here)).serve_until(listener, count, stop).await
///     }));
/// }
/// for task in tasks {
///     block_on(task)?;
/// }
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Server<E> {
    executor: E,
    http1: http1::Builder,
    http2: http2::Builder<E>,
    versions: Versions,
    header_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
    on_error: Option<OnError>,
}

/// What is told of errors.
type OnError = Arc<dyn Fn(&(dyn Error + 'static)) + Send + Sync>;

/// What a client may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    Both,
    Http1,
    Http2,
}

/// How long a client may take for the head of a request, if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait when the process is out of descriptors. A connection costs more than the twenty attempts a second.
const PAUSE: Duration = Duration::from_millis(50);

impl<E: Clone> Server<E> {
    /// A server whose connections are tasks of `executor`: [`Executor`](crate::Executor),
    /// [`LocalExecutor`](crate::LocalExecutor), or somebody else's.
    pub fn new(executor: E) -> Server<E> {
        let mut http1 = http1::Builder::new();
        http1.timer(Timer);
        let mut http2 = http2::Builder::new(executor.clone());
        http2.timer(Timer).keep_alive_interval(PATIENCE);
        Server {
            executor,
            http1,
            http2,
            versions: Versions::Both,
            header_timeout: None,
            drain_timeout: None,
            on_error: None,
        }
        .header_timeout(PATIENCE)
    }

    /// How long a client may take to send the head of a request, counted from the end of the one before, or from when it
    /// connected. `None`: for ever, and then a client that sends nothing is never hung up on.
    ///
    /// The first request may take twice as long: once until it is clear which HTTP it speaks, and once more.
    pub fn header_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Server<E> {
        self.header_timeout = timeout.into();
        self.http1.header_read_timeout(self.header_timeout);
        self
    }

    /// How long connections may take to finish once the server was told to stop; what is left then is cut off. `None`,
    /// as it is at first: as long as they like.
    pub fn drain_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Server<E> {
        self.drain_timeout = timeout.into();
        self
    }

    /// Speaks HTTP/1 only.
    pub fn http1_only(mut self) -> Server<E> {
        self.versions = Versions::Http1;
        self
    }

    /// Speaks HTTP/2 only, and expects it from the first byte.
    pub fn http2_only(mut self) -> Server<E> {
        self.versions = Versions::Http2;
        self
    }

    /// hyper's settings for HTTP/1. Its timer is set, and the time-out for headers is better set by
    /// [`header_timeout`](Server::header_timeout).
    pub fn http1(&mut self) -> &mut http1::Builder {
        &mut self.http1
    }

    /// hyper's settings for HTTP/2. Its timer is set.
    pub fn http2(&mut self) -> &mut http2::Builder<E> {
        &mut self.http2
    }

    /// Tells `hook` of what goes wrong without ending the server: connections that fail (an [`hyper::Error`], or an
    /// [`io::Error`] if it failed before its first request), and accepting that has to pause (an [`io::Error`]).
    pub fn on_error(
        mut self,
        hook: impl Fn(&(dyn Error + 'static)) + Send + Sync + 'static,
    ) -> Server<E> {
        self.on_error = Some(Arc::new(hook));
        self
    }

    /// Serves `listener` until that fails.
    ///
    /// # Errors
    /// As [`serve_each`](Server::serve_each).
    ///
    /// # Cancel safety
    /// As [`serve_each`](Server::serve_each).
    pub async fn serve<L, S, B>(self, listener: L, service: S) -> io::Result<()>
    where
        L: Listener,
        S: HttpService<Incoming, ResBody = B> + Clone,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: 'static,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        E: Http2ServerConnExec<S::Future, B> + rt::Executor<Connection<L::Io, S, E>>,
    {
        self.serve_until(listener, service, pending()).await?;
        Ok(())
    }

    /// Serves `listener` until `stop` is done, and then until those who are being served have got their answers.
    ///
    /// Returns how many connections were cut off because they took longer than
    /// [`drain_timeout`](Server::drain_timeout).
    ///
    /// # Errors
    /// As [`serve_each`](Server::serve_each).
    ///
    /// # Cancel safety
    /// As [`serve_each`](Server::serve_each).
    pub async fn serve_until<L, S, B>(
        self,
        listener: L,
        service: S,
        stop: impl Future<Output = ()>,
    ) -> io::Result<usize>
    where
        L: Listener,
        S: HttpService<Incoming, ResBody = B> + Clone,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: 'static,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        E: Http2ServerConnExec<S::Future, B> + rt::Executor<Connection<L::Io, S, E>>,
    {
        self.serve_each(listener, |_| service.clone(), stop).await
    }

    /// As [`serve_until`](Server::serve_until), with a service for each connection, made by `make` from the address of
    /// the client.
    ///
    /// At the end the listener is closed first, so that new clients are refused rather than left waiting. Then HTTP/1
    /// connections are closed after the response that is on its way, and idle ones at once; HTTP/2 clients are sent a
    /// GOAWAY, and what they have asked for is finished. Upgraded connections are their owners': nobody waits for them.
    ///
    /// # Errors
    /// Accepting failed in a way that will not pass: the listener is broken, or its reactor has shut down. Those who are
    /// being served are cut off then.
    ///
    /// # Cancel safety
    /// Dropping the future closes the listener, and all connections at their next poll.
    pub async fn serve_each<L, S, B>(
        self,
        listener: L,
        mut make: impl FnMut(&L::Address) -> S,
        stop: impl Future<Output = ()>,
    ) -> io::Result<usize>
    where
        L: Listener,
        S: HttpService<Incoming, ResBody = B>,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: 'static,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        E: Http2ServerConnExec<S::Future, B> + rt::Executor<Connection<L::Io, S, E>>,
    {
        let mut stop = pin!(stop);
        let guests = Guests::new();
        let server = Arc::new(self);
        loop {
            let told = async {
                stop.as_mut().await;
                None
            };
            let Some(accepted) = or(async { Some(listener.accept().await) }, told).await else {
                break;
            };
            match accepted {
                Ok((stream, address)) => {
                    let service = make(&address);
                    let connection =
                        Connection::new(server.clone(), guests.invite(), Io::new(stream), service);
                    server.executor.execute(connection);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) if is_out_of_resources(&error) => {
                    server.report(&error);
                    let pause = async {
                        untether::Timer::after(PAUSE).await;
                        false
                    };
                    let told = async {
                        stop.as_mut().await;
                        true
                    };
                    if or(pause, told).await {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        drop(listener);
        guests.tell(Stage::Leave);
        if let Some(patience) = server.drain_timeout {
            if timeout(patience, guests.gone()).await.is_err() {
                let cut_off = guests.count();
                guests.tell(Stage::Cut);
                guests.gone().await;
                return Ok(cut_off);
            }
        } else {
            guests.gone().await;
        }
        Ok(0)
    }
}

impl<E> Server<E> {
    fn report(&self, error: &(dyn Error + 'static)) {
        if let Some(hook) = &self.on_error {
            hook(error);
        }
    }
}

/// The client gave up while it stood in the queue, or its network did (accept(2) passes such errors on): the next one may
/// be better.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | ConnectionRefused
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
            | TimedOut
            | PermissionDenied // a firewall's rule
    )
}

/// Too many open files here or in the system, or no memory for another socket: the connection stays in the queue, so
/// accepting again at once would only fail at once.
fn is_out_of_resources(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: &[i32] = &[55, 105, 132]; // BSD, Linux, illumos
    const WSAEMFILE: i32 = 10_024;
    const WSAENOBUFS: i32 = 10_055;
    match error.raw_os_error() {
        Some(EMFILE | ENFILE | WSAEMFILE | WSAENOBUFS) => true,
        Some(code) if ENOBUFS.contains(&code) => true,
        _ => error.kind() == io::ErrorKind::OutOfMemory,
    }
}

impl<E> fmt::Debug for Server<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("versions", &self.versions)
            .field("header_timeout", &self.header_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}
