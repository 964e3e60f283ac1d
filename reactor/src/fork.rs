//! What a child process of `fork` may use: nothing of its parent's.
//!
//! A child inherits the parent's pollers, and must not touch them: an epoll set is shared, so deleting an entry in the
//! child deletes it in the parent. It inherits locks, which threads that do not exist in the child may hold. So the
//! child counts as another *generation* of the process: whatever was made before the fork is stale there, and is
//! neither driven, nor locked, nor deregistered, but left alone. A stale source answers with an error, a stale reactor
//! is nobody's current one, and the global reactor is made anew when somebody first waits.
//!
//! The few locks that a new reactor needs (`Locks`) are taken before a fork and released on both sides after it.
//!
//! Not here: who asks (`reactor`, `wrapper`, `timer`), and how the OS is told to call us (`os`).

use std::cell::Cell;
use std::io;

use crate::sync::{AtomicU32, Ordering};
use crate::{os, pages, reactor};

/// How many forks lie between this process and the first one that used this library.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Which process of a family made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// This process's. It changes only while the process has one thread, which is the one that looks.
    #[inline]
    pub(crate) fn now() -> Generation {
        Generation(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether it was made by a process that this one was forked from.
    #[inline]
    pub(crate) fn is_stale(self) -> bool {
        self != Generation::now()
    }
}

/// The answer to whoever uses in a child what belongs to the parent.
pub(crate) fn stale() -> io::Error {
    io::Error::other(
        "this was made before a fork and belongs to the parent process; make it anew in the child",
    )
}

/// From now on forks are noticed. Nothing is made before this has returned.
///
/// Not a `Once`: a child that is forked while another thread is in here would wait for that thread for ever. The word is
/// NOBODY, the id of the process that is asking the OS, or DONE; a child finds its parent's id and asks anew.
#[inline]
pub(crate) fn watch() {
    if WATCHED.load(Ordering::Acquire) != DONE {
        begin_watch();
    }
}

const NOBODY: u32 = 0;
const DONE: u32 = u32::MAX;
static WATCHED: AtomicU32 = AtomicU32::new(NOBODY);

#[cold]
fn begin_watch() {
    let this = std::process::id();
    loop {
        match WATCHED.load(Ordering::Acquire) {
            DONE => return,
            asking if asking == this => std::thread::yield_now(),
            before => {
                let mine =
                    WATCHED.compare_exchange(before, this, Ordering::Acquire, Ordering::Relaxed);
                if mine.is_ok() {
                    os::at_fork(before_fork, in_parent, in_child);
                    WATCHED.store(DONE, Ordering::Release);
                }
            }
        }
    }
}

/// What is held over a fork, in the order in which it is locked elsewhere.
struct Locks {
    _reactors: reactor::Registry,
    _pages: pages::FreeList,
}

thread_local! {
    static HELD: Cell<Option<Locks>> = const { Cell::new(None) };
}

extern "C" fn before_fork() {
    let _ = HELD.try_with(|held| {
        // A child that has asked once more is called twice.
        let locks = held.take().unwrap_or_else(|| Locks {
            _reactors: reactor::registry(),
            _pages: pages::free_list(),
        });
        held.set(Some(locks));
    });
}

extern "C" fn in_parent() {
    let _ = HELD.try_with(Cell::take);
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    let _ = HELD.try_with(Cell::take);
}
