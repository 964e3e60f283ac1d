//! I/O and timers for any executor.
//!
//! A future registers its waker with a *reactor* when it is polled; the reactor hears from the OS and wakes exactly
//! that task; the executor only polls. So the reactor need not belong to any executor. This crate is that reactor, and
//! what it takes to use it:
//!
//! - [`Async`] wraps an object of the OS, a socket for instance, and makes its operations waitable;
//! - [`Timer`] and [`timeout`] wait for a point in time;
//! - both work on every executor, and under a plain `block_on`, with no set-up: whoever has to wait registers with
//!   [`Reactor::current`];
//! - [`Parker`] is for the authors of executors: a thread with nothing to do parks, and drives a reactor of its own
//!   meanwhile, so that an event is handled by the thread that will run the task;
//! - [`Reactor::turn`] with [`Reactor::next_deadline`] is for host loops, which drive it in their own way.
//!
//! ```
//! use std::net::{TcpListener, TcpStream};
//! use std::time::Duration;
//! use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
//! use untether::{Async, timeout};
//!
//! // Any executor will do; this one knows nothing of I/O.
//! future::block_on(async {
//!     let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
//!     let server = async {
//!         let (mut peer, _) = listener.accept().await?;
//!         let mut line = [0; 4];
//!         peer.read_exact(&mut line).await?;
//!         peer.write_all(&line).await
//!     };
//!     let client = async {
//!         let mut stream = Async::<TcpStream>::connect(listener.get_ref().local_addr()?).await?;
//!         stream.write_all(b"ping").await?;
//!         let mut echo = [0; 4];
//!         timeout(Duration::from_secs(5), stream.read_exact(&mut echo)).await??;
//!         Ok(echo)
//!     };
//!     let ((), echo) = future::try_zip(server, client).await?;
//!     assert_eq!(&echo, b"ping");
//!     std::io::Result::Ok(())
//! })?;
//! # std::io::Result::Ok(())
//! ```
//!
//! # Who drives
//! A thread that has entered a reactor ([`Reactor::enter`]), as integrated executors do, registers there, and its
//! executor drives that reactor. All others share the global one, which a thread named "untether" drives; it exists
//! only while somebody waits there. A source that is waited for elsewhere moves there by itself.
//!
//! # Wake-ups
//! Wakers are called by the driving thread, holding no lock; one that panics harms nobody else. Every protocol that a
//! wake-up depends on is written down beside its code as a table of transitions, and checked under loom.

// The models leave much of the crate out, so what is left of it has fewer users.
#![cfg_attr(loom, allow(dead_code, unreachable_pub, unused_imports))]

// In reading order: from what users see to what it rests on.
#[cfg(not(loom))]
mod io;
#[cfg(not(loom))]
mod net;
#[cfg(not(loom))]
mod timer;
#[cfg(not(loom))]
mod waiting;
#[cfg(not(loom))]
mod wrapper;

#[cfg(not(loom))]
mod reactor;
mod source;

mod chair;
mod gate;
mod house;
mod park;
mod spin;
mod thread;
mod turn;

#[cfg(not(loom))]
mod budget;
#[cfg(any(not(loom), test))]
mod clock;
#[cfg(any(not(loom), test))]
mod deadlines;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod pages;
mod sync;

#[cfg(not(loom))]
pub mod os;
/// What the models need of the OS.
#[cfg(loom)]
mod os {
    #[cfg(test)]
    pub(crate) mod alarm;

    pub(crate) type RawSource = i32;

    pub(crate) fn coarse_ns() -> Option<u64> {
        None
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Until {
        Now,
        Forever,
        At(u64),
        Machine(u64),
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
/// The models' reactor.
#[cfg(all(test, loom))]
use loom_tests::stage as reactor;

#[cfg(not(loom))]
pub use self::{
    clock::Clock,
    io::IoSafe,
    os::Backend,
    park::{Parker, Unparker},
    reactor::{Builder, Policy, Reactor},
    timer::{Elapsed, MissedTicks, Timeout, Timer, timeout},
    turn::Turn,
    waiting::{Interest, Readable, ReadableOwned, Readiness, Writable, WritableOwned},
    wrapper::{Async, NewError},
};
