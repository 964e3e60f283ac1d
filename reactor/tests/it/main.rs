//! The reactor's own promises: one integration binary, one module per promise.
//!
//! What holds under every executor is the conformance suite's. Here is what is the reactor's alone: what it costs, who
//! drives, how sources move, how reactors end, and what bad input does to it. `support` has the one `block_on`.
#![cfg(all(unix, not(loom)))]

mod allocations;
mod auto_traits;
mod bad_input;
mod budget;
mod clock;
mod closing;
mod debug;
mod fork;
#[cfg(target_os = "linux")]
mod gate;
mod global;
mod guests;
#[cfg(unix)]
mod inline;
mod interest;
mod moving;
mod park;
mod readiness;
mod scale;
mod short_reads;
mod shutdown;
mod support;
#[cfg(target_os = "linux")]
mod syscalls;
mod wakers;
