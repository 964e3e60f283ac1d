//! What every async runtime promises about I/O and time, as a suite that any runtime can run.
//!
//! The cases do their I/O with [`untether`], whose sources work under any executor; what is tested is a *subject*: a
//! runtime, together with the reactor under it. This crate names no runtime. To test yours, say how it runs a future,
//! and assert that it keeps the promises:
//!
//! ```
//! use std::pin::pin;
//! use std::sync::Arc;
//! use std::task::{Context, Poll, Wake, Waker};
//! use std::thread::{self, Thread};
//! use untether_conformance::{Root, Subject, all, assert_keeps};
//!
//! /// The smallest executor: polls on this thread, sleeps in between.
//! struct Toy;
//!
//! /// Wakes a thread.
//! struct Unpark(Thread);
//!
//! impl Wake for Unpark {
//!     fn wake(self: Arc<Self>) {
//!         self.0.unpark();
//!     }
//! }
//!
//! impl Subject for Toy {
//!     fn name(&self) -> &str {
//!         "toy"
//!     }
//!
//!     fn run(&self, mut root: Root) {
//!         let waker = Waker::from(Arc::new(Unpark(thread::current())));
//!         while root.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
//!             thread::park();
//!         }
//!     }
//! }
//!
//! // A few cases, to be quick about it; without the filter, all of them.
//! let cases = all().into_iter().filter(|case| case.group == "transfer");
//! assert!(assert_keeps(Toy, cases) > 0);
//! ```
//!
//! That much tests a runtime that only blocks. One that spawns implements [`Subject::spawn`] as well, and says so in
//! [`Subject::abilities`]. For a table over several runtimes, time limits, or cases of your own, call [`check()`] for
//! each [`Case`] and print the [`Verdict`]s as you like.
//!
//! [`conformance!`] makes one `#[test]` of each case instead, so that `cargo test` names what is broken.
//!
//! A case that fails tells its panic messages with their places; one that hangs tells what it waited for, and the
//! state of every reactor. The first check installs a panic hook, which records the panics of cases and leaves all
//! others to the hook that was there before.
//!
//! In reading order: [`Subject`] and [`Case`] are the two sides; `scene` is what a case works with; `check` brings
//! them together; `child` gives a case a process of its own; `gate` and `wires` are for writing cases. Every other
//! file is one promise.

mod blackbox;
mod case;
mod check;
mod child;
mod editions;
mod gate;
mod harness;
mod scene;
mod subject;
mod tasks;
mod wires;

mod block_on;
mod cancel;
mod connect;
mod datagrams;
mod executor;
mod hangups;
#[cfg(unix)]
mod limits;
mod moving;
mod panics;
#[cfg(unix)]
mod pipes;
mod readiness;
mod shutdown;
mod timers;
mod transfer;
mod tries;
#[cfg(unix)]
mod unix;
mod waiters;
mod wakers;

pub use case::{Case, Need, Verdict};
pub use check::{DEFAULT_LIMIT, Outcome, assert_keeps, check};
pub use child::serve_children;
pub use editions::Edition;
pub use harness::{advise, assert_keeps_case};
pub use scene::{Scene, Thread};
pub use subject::{Abilities, LocalTask, Root, Spawner, Subject, Task};
pub use tasks::Handle;

/// Every case, promise by promise, in reading order.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(readiness::cases());
    cases.extend(waiters::cases());
    cases.extend(transfer::cases());
    cases.extend(connect::cases());
    cases.extend(hangups::cases());
    cases.extend(datagrams::cases());
    #[cfg(unix)]
    cases.extend(unix::cases());
    #[cfg(unix)]
    cases.extend(pipes::cases());
    cases.extend(timers::cases());
    cases.extend(block_on::cases());
    cases.extend(executor::cases());
    cases.extend(wakers::cases());
    cases.extend(cancel::cases());
    cases.extend(panics::cases());
    cases.extend(tries::cases());
    cases.extend(moving::cases());
    cases.extend(shutdown::cases());
    #[cfg(unix)]
    cases.extend(limits::cases());
    cases
}
