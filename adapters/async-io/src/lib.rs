//! async-io's interface over untether: what was written for async-io runs on untether without a changed line.
//!
//! In the `Cargo.toml` of the program, not of a library:
//!
//! ```toml
//! [patch.crates-io]
//! async-io = { path = "untether/adapters/async-io" }   # or: { git = "..." }
//! ```
//!
//! Everything in the program that depends on async-io 2 then stands on untether: smol, async-net, async-process, zbus.
//! `cargo tree -i async-io` shows whether it does.
//!
//! | async-io               | is here                          | differs in                                                   |
//! |------------------------|----------------------------------|--------------------------------------------------------------|
//! | `Async<T>`, `IoSafe`   | [`untether::Async`], [`untether::IoSafe`] | more methods                                        |
//! | `Readable`, `Writable`, `ReadableOwned`, `WritableOwned` | untether's | any number of tasks may wait                        |
//! | `Timer`                | [`untether::Timer`]              | one more method; never early, and less late                  |
//! | `block_on`             | [`untether_executors::block_on`] as a guest of the global reactor | the seat goes to who has the work |
//! | `os::unix`, `os::kqueue`, `os::windows` | `untether::os`  | `reactor_fd` is the global reactor's                         |
//! | the feature `tracing`  | exists                           | does nothing                                                 |
//!
//! They are the same types, so a program may use async-io's names and untether's side by side: an [`Async`] made by
//! async-net under this patch can be given to `untether`, too.
//!
//! # Who drives
//! As in async-io: all threads in [`block_on`] share one reactor, and one of them drives it; a thread that exists only
//! while somebody waits serves those who are in none, and steps in if the one that drives computes, or sleeps in somebody
//! else's `block_on` inside a poll.
//!
//! # No unsafe code
//! `Async::get_mut`, `read_with_mut`, `write_with_mut` and the trait [`IoSafe`] are unsafe to use or to implement, but
//! they are untether's own, re-exported; the promises behind them are answered there.

#![forbid(unsafe_code)]

pub mod os;

mod driver;

pub use driver::block_on;
pub use untether::{Async, IoSafe, Readable, ReadableOwned, Timer, Writable, WritableOwned};
