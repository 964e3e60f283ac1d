//! Std or loom: the one file that chooses.
//!
//! Under `--cfg loom` the protocols (`source`, `house`, `chair`, `park`, `thread`, `deadlines`) compile against loom's
//! types and everything that needs an operating system is left out, so that a model runs the code that ships, not a
//! copy of it.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, Weak,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
// A `Waker` can be made of std's only, and of loom's there is no `Weak`. No ordering of ours rests on a reference count.
#[cfg(loom)]
pub(crate) use std::sync::Arc;

/// For statics, of which a model has none.
pub(crate) use std::sync::atomic::{AtomicPtr as StaticPtr, AtomicUsize as StaticUsize};

/// Locks, poisoned or not: no code of ours panics under a lock, and no code of others runs under one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
