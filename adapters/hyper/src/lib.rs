//! [hyper] 1 over [untether], on any executor.
//!
//! | from | to | lost on the way |
//! |---|---|---|
//! | `Async<TcpStream>`, `Async<UnixStream>`, any `futures_io::{AsyncRead, AsyncWrite}` | [`Io`]: `hyper::rt::{Read, Write}` | nothing: writes stay vectored, nothing is filled with zeros; what is read is copied once |
//! | untether's timers | [`Timer`]: `hyper::rt::Timer`, its sleeps `hyper::rt::Sleep` | nothing: a deadline moves in place, a manual clock is obeyed |
//! | `Spawn`: `PoolHandle`, `PerCoreHandle`, `PriorityHandle`, `Remote` | [`Executor`]: `hyper::rt::Executor` | the task's output: hyper detaches what it starts |
//! | `LocalSpawn`: `LocalHandle`, `Here` | [`LocalExecutor`]: the same for futures that are not `Send` | as above |
#![cfg_attr(
    feature = "server",
    doc = "| `Async<TcpListener>`, `Async<UnixListener>`, any [`Listener`] | [`Server`]: HTTP/1, HTTP/2, upgrades, a graceful end | |"
)]
#![cfg_attr(
    feature = "client",
    doc = "| a URI | [`Connector`]: `tower_service::Service<Uri>` for hyper-util's client | |"
)]
//!
//! The features `server` and `client` bring the last two rows; none is on by default. Everything works under foreign
//! executors as well, tokio's among them.
#![cfg_attr(
    feature = "server",
    doc = r#"
```
use std::convert::Infallible;
use std::net::TcpListener;
use hyper::{Response, service::service_fn};
use untether::Async;
use untether_executors::Pool;
use untether_hyper::{Executor, Server};

let pool = Pool::new(2)?;
let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::from("hello"))));

let server = Server::new(Executor(pool.handle()));
let stop = async { /* until a signal comes, say */ };
let cut_off = pool.block_on(server.serve_until(listener, hello, stop))?;
assert_eq!(cut_off, 0);
# Ok::<(), std::io::Error>(())
```
"#
)]
#![forbid(unsafe_code)]

// In reading order.
mod executor;
mod io;
mod timer;

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod server;

pub use self::{
    executor::{Executor, LocalExecutor},
    io::Io,
    timer::Timer,
};

#[cfg(feature = "client")]
pub use self::client::{ConnectError, Connector};
#[cfg(feature = "server")]
pub use self::server::{Connection, Deferred, Listener, Secured, Server};
