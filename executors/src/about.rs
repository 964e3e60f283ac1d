//! What is known about a task besides its future: a number and perhaps a name.
//!
//! Each thread takes numbers in blocks, so that starting a task touches no word that is shared. A name costs an
//! allocation, its absence eight bytes.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::num::NonZero;

use crate::sync::{AtomicU64, Ordering};

/// How many numbers a thread takes at once.
const BLOCK: u64 = 1024;

/// The number of a task. No other task of the process, on whichever executor, ever has the same.
///
/// Later tasks of one thread have greater numbers; between threads the order means nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(NonZero<u64>);

/// A task's number and name, as [`Hooks`](crate::Hooks) see it. Prints as `task 7` or `task 7 (name)`.
#[derive(Debug)]
pub struct TaskInfo {
    id: TaskId,
    name: Option<Box<Cow<'static, str>>>,
}

thread_local! {
    /// The next number, and the end of the block.
    static NUMBERS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    static CURRENT: Cell<Option<TaskId>> = const { Cell::new(None) };
}

impl TaskId {
    fn new() -> TaskId {
        static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);
        let (mut next, mut end) = NUMBERS.get();
        if next == end {
            // Relaxed: read-modify-writes of one word never give the same block twice.
            next = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
            end = next + BLOCK;
        }
        NUMBERS.set((next + 1, end));
        TaskId(NonZero::new(next).expect("they begin at one, and last for centuries"))
    }

    /// The task that the calling thread is polling, the innermost if they nest. None outside of the executors of this
    /// crate.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::{Local, TaskId};
    ///
    /// let local = Local::new();
    /// let id = local.run(local.spawn(async { TaskId::current() }));
    /// assert!(id.is_some());
    /// assert_eq!(TaskId::current(), None);
    /// ```
    pub fn current() -> Option<TaskId> {
        CURRENT.get()
    }

    /// The plain number.
    pub fn get(self) -> NonZero<u64> {
        self.0
    }
}

impl TaskInfo {
    pub(crate) fn unnamed() -> TaskInfo {
        TaskInfo {
            id: TaskId::new(),
            name: None,
        }
    }

    pub(crate) fn named(name: impl Into<Cow<'static, str>>) -> TaskInfo {
        TaskInfo {
            id: TaskId::new(),
            name: Some(Box::new(name.into())),
        }
    }

    /// Its number.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Its name, if it was started with one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|name| &***name)
    }

    /// Until the guard is dropped, this task is the current one.
    #[inline]
    pub(crate) fn enter(&self) -> Entered {
        Entered {
            outer: CURRENT.replace(Some(self.id)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Entered {
    outer: Option<TaskId>,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "task {} ({name})", self.id),
            None => write!(f, "task {}", self.id),
        }
    }
}
