//! The interface, and the ecosystem on it: `ci/downstream.sh` runs the ecosystem's own tests besides.

mod interface;

#[cfg(unix)]
mod blocking;
#[cfg(unix)]
mod ecosystem;
