//! The one bridge to async-task: what every executor here promises a task, whatever it does with it otherwise.
//!
//! - A panic in `poll` is kept in the task and resumes in whoever awaits it (`propagate_panic`); detached, it is dropped.
//!   A panic in the future's destructor stops at [`Tracked`]: async-task would abort the process.
//! - Every future that was ever spawned is on the list of the living ([`Live`]) until it has been dropped. An executor
//!   ends by closing the list, waking everybody on it, which queues them, and dropping what is queued, until the list is
//!   empty ([`Live::end`]). A task that another thread is just about to queue is on the list, so it is waited for.
//! - So a future is dropped exactly once, and by a thread of its executor or the one that ends it: async-task drops it
//!   only while running or dropping a `Runnable`; runnables are run and dropped only there, and the executor ends only
//!   when no future is left; and a task without a future is never scheduled again. The last waker, dropped anywhere, frees memory only:
//!   the list itself holds a waker as long as the future lives, so that waker never was the last reference to it.
//!   The exception is a task spawned on an executor that has ended: its future is dropped where it was spawned.
//!
//! What an executor must know of a task lies beside its future, as async-task's metadata ([`TaskData`]): its number and
//! name, its home, its place on the list. So the function that async-task calls to queue a task captures nothing, which
//! matters: around one that does, it clones a waker for every wake-up, in case the task ends before the function returns.
//!
//! Not here: queues (`local`, `pool`), what a user sees (`spawn`).

use std::fmt;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use async_task::{Builder, ScheduleInfo, WithInfo};

use crate::about::TaskInfo;
use crate::hooks::Hooks;
use crate::metrics::Metrics;
use crate::sync::{Mutex, lock};

/// A task: await it for its output, drop it to cancel it, detach it to let it run. See [`Spawn`](crate::Spawn).
///
/// It is [`async_task::Task`], with what is known about it in its metadata.
///
/// # Examples
///
/// ```
/// use untether_executors::{Local, Task};
///
/// let local = Local::new();
/// let task: Task<u32> = local.spawn_named("seven", async { 7 });
/// assert_eq!(task.metadata().info().and_then(|info| info.name()), Some("seven"));
/// assert_eq!(local.run(task), 7);
/// ```
pub type Task<T, M = TaskData> = async_task::Task<T, M>;

/// A task that gives `None` instead of panicking if it was cancelled. See [`Task::fallible`].
pub type FallibleTask<T, M = TaskData> = async_task::FallibleTask<T, M>;

/// A task that is to be polled.
pub(crate) type Runnable = async_task::Runnable<TaskData>;

/// What an executor knows of a task: the metadata of a [`Task`].
pub struct TaskData {
    info: Option<TaskInfo>,
    home: Arc<dyn Home>,
    key: Option<Key>,
    /// Whether there are hooks to be called. They do not change.
    watched: bool,
}

impl TaskData {
    /// The task's number and name. None if it only carries the output of another one, as that of
    /// [`PerCore::spawn_on`](crate::PerCore::spawn_on) does.
    pub fn info(&self) -> Option<&TaskInfo> {
        self.info.as_ref()
    }
}

impl fmt::Debug for TaskData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.info {
            Some(info) => fmt::Debug::fmt(info, f),
            None => f.write_str("TaskData"),
        }
    }
}

/// An executor, as its tasks see it.
pub(crate) trait Home: Send + Sync + 'static {
    fn live(&self) -> &Live;

    fn hooks(&self) -> &Hooks;

    /// A poll on this thread took that long; only if the hooks want to know.
    fn took(&self, poll: Duration);

    /// Queues a task. Called on any thread, inside wakers, and by `spawn`. `while_running`: it was woken while it ran.
    fn schedule(&self, runnable: Runnable, while_running: bool);

    /// The same, without holding a share of the home, if that may be done on this thread; else gives the task back.
    ///
    /// Once it is queued, a task may end, and its home with it, unless something on this thread keeps it.
    ///
    /// # Safety
    /// (1) `home` is the home of the task, so it lives at least until the task is queued.
    unsafe fn schedule_here(
        _home: *const Self,
        runnable: Runnable,
        _while_running: bool,
    ) -> Result<(), Runnable>
    where
        Self: Sized,
    {
        Err(runnable)
    }
}

/// Starts a task that may run on any thread of `home`. `hint` says which part of the list of the living to use: threads
/// with different hints do not contend. Without `info` it is a part of another task, and hooks do not see it.
pub(crate) fn spawn<H, F>(
    home: &Arc<H>,
    hint: usize,
    info: impl Into<Option<TaskInfo>>,
    future: F,
) -> Task<F::Output>
where
    H: Home,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // SAFETY: (1) it is `Send`.
    unsafe { start(home, hint, info.into(), future) }
}

/// Starts a task that runs on this thread only, where `home` runs and ends.
///
/// # Safety
/// (1) `home` runs its tasks, and drops them while it lives and when it ends, on this thread only.
pub(crate) unsafe fn spawn_local<H, F>(home: &Arc<H>, info: TaskInfo, future: F) -> Task<F::Output>
where
    H: Home,
    F: Future + 'static,
    F::Output: 'static,
{
    // SAFETY: (1) the caller's promise.
    unsafe { start(home, 0, Some(info), future) }
}

/// # Safety
/// (1) The future is `Send`, or `home` runs and drops its tasks on this thread only.
unsafe fn start<H, F>(
    home: &Arc<H>,
    hint: usize,
    info: Option<TaskInfo>,
    future: F,
) -> Task<F::Output>
where
    H: Home,
    F: Future + 'static,
    F::Output: 'static,
{
    home.live().enlist(hint, |key| {
        let data = TaskData {
            info,
            home: home.clone(),
            key,
            watched: home.hooks().are_set(),
        };
        let future = |data| Tracked {
            future: ManuallyDrop::new(future),
            data,
        };
        let builder = Builder::new().propagate_panic(true).metadata(data);
        // SAFETY: (1) The future is `Send`; or its runnable is run and dropped on this thread only, which our caller
        // promises for what `home` does with it, while others queue it (the head of this file says why nobody else ever
        // drops it). (2) It borrows the metadata only, being `'static` otherwise. (3), (4) `schedule` captures nothing.
        unsafe { builder.spawn_unchecked(future, WithInfo(schedule::<H>)) }
    })
}

#[inline]
fn schedule<H: Home>(runnable: Runnable, info: ScheduleInfo) {
    let while_running = info.woken_while_running;
    let home = Arc::as_ptr(&runnable.metadata().home).cast::<H>();
    // SAFETY: (1) it is what the metadata says, and of type `H`, since `start` puts this function beside it.
    if let Err(runnable) = unsafe { H::schedule_here(home, runnable, while_running) } {
        let home = runnable.metadata().home.clone();
        home.schedule(runnable, while_running);
    }
}

/// A future that leaves the list of the living when it is dropped, and whose destructor cannot unwind.
struct Tracked<'a, F> {
    future: ManuallyDrop<F>,
    data: &'a TaskData,
}

impl<F: Future> Future for Tracked<'_, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `get_unchecked_mut` asks that (1) nothing is moved out of the argument that was pinned: the future is
        // only borrowed, and the other field is not pinned.
        let tracked = unsafe { self.get_unchecked_mut() };
        let future = &mut *tracked.future;
        // SAFETY: Pinning the field is sound, since (1) it does not move while `tracked` does not: it is stored in place,
        // and `ManuallyDrop` adds no indirection; (2) `Tracked` is `Unpin` only if `F` is (the field holds it by value);
        // (3) `drop` drops it in place; (4) there is no other access to it.
        let future = unsafe { Pin::new_unchecked(future) };
        let TaskData {
            info,
            home,
            watched,
            ..
        } = tracked.data;
        let Some(info) = info else {
            return future.poll(cx);
        };
        let _current = info.enter();
        if *watched {
            home.hooks()
                .poll(info, |poll| home.took(poll), || future.poll(cx))
        } else {
            future.poll(cx)
        }
    }
}

impl<F> Drop for Tracked<'_, F> {
    fn drop(&mut self) {
        let future = &mut self.future;
        // SAFETY: (1) dropped once: here, in the destructor, which runs once. (2) Not used afterwards: `poll` cannot be
        // called on a dropped value. (3) In place, as a pinned value must be.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { ManuallyDrop::drop(future) }));
        if let Err(payload) = dropped {
            // The hook has printed it. The payload's own destructor might panic as well; it is not worth the risk.
            mem::forget(payload);
        }
        if let Some(key) = self.data.key {
            self.data.home.live().remove(key);
        }
    }
}

/// The futures of an executor that have not been dropped yet, as wakers.
#[derive(Debug)]
pub(crate) struct Live {
    shards: Box<[Shard]>,
}

/// Two cache lines: the neighbour is fetched along.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<List>);

#[derive(Debug)]
struct List {
    entries: Vec<Entry>,
    /// The first free entry; the number of entries if there is none.
    free: u32,
    /// How many entries are not free, and how many ever were.
    living: usize,
    enlisted: u64,
    closed: bool,
}

#[derive(Debug)]
enum Entry {
    Living(Waker),
    /// Names the next free one.
    Free(u32),
}

#[derive(Clone, Copy, Debug)]
struct Key {
    shard: u32,
    entry: u32,
}

impl Live {
    pub(crate) fn new(shards: usize) -> Live {
        let shard = || {
            Shard(Mutex::new(List {
                entries: Vec::new(),
                free: 0,
                living: 0,
                enlisted: 0,
                closed: false,
            }))
        };
        Live {
            shards: (0..shards).map(|_| shard()).collect(),
        }
    }

    /// Builds a task, puts it on the list, and queues it; if the list is closed, drops its future instead.
    fn enlist<T>(
        &self,
        hint: usize,
        build: impl FnOnce(Option<Key>) -> (Runnable, Task<T>),
    ) -> Task<T> {
        let shard = hint % self.shards.len();
        let mut list = lock(&self.shards[shard].0);
        if list.closed {
            drop(list);
            let (runnable, task) = build(None);
            drop(runnable);
            return task;
        }
        // `build` only moves the future into its allocation: no foreign code runs under the lock.
        let entry = list.free;
        let (runnable, task) = build(Some(Key {
            shard: shard as u32,
            entry,
        }));
        list.put(entry, runnable.waker());
        drop(list);
        runnable.schedule();
        task
    }

    fn remove(&self, key: Key) {
        let waker = lock(&self.shards[key.shard as usize].0).take(key.entry);
        drop(waker);
    }

    /// The end of an executor: from now on nothing is enlisted, and when this returns, every future has been dropped.
    /// `drain` drops all runnables that are queued. Not to be called inside a task of the same executor, which would
    /// wait for itself.
    pub(crate) fn end(&self, mut drain: impl FnMut()) {
        self.close();
        loop {
            let none = self.wake_all() == 0;
            drain();
            if none {
                return;
            }
            // What is still alive is in the hands of another thread, between marking it scheduled and queueing it.
            thread::yield_now();
        }
    }

    /// Queues every task that does not run just now. Returns how many there are.
    pub(crate) fn wake_all(&self) -> usize {
        let mut wakers = Vec::new();
        for shard in &self.shards {
            for entry in &lock(&shard.0).entries {
                if let Entry::Living(waker) = entry {
                    wakers.push(waker.clone());
                }
            }
        }
        let count = wakers.len();
        wakers.into_iter().for_each(Waker::wake);
        count
    }

    /// How many tasks there are of those that were started with this hint, and how many there ever were.
    pub(crate) fn metrics(&self, hint: usize) -> Metrics {
        let list = lock(&self.shards[hint % self.shards.len()].0);
        Metrics {
            alive: list.living,
            spawned: list.enlisted,
            ..Metrics::default()
        }
    }

    #[cfg(feature = "futures-task")]
    pub(crate) fn is_closed(&self) -> bool {
        // The last to be closed.
        self.shards.last().is_none_or(|shard| lock(&shard.0).closed)
    }

    /// Closes the list if nobody is on it. All at once: a task may start another on another part of the list, and end.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut lists: Vec<_> = self.shards.iter().map(|shard| lock(&shard.0)).collect();
        let empty = lists.iter().all(|list| list.living == 0);
        if empty {
            lists.iter_mut().for_each(|list| list.closed = true);
        }
        empty
    }

    pub(crate) fn close(&self) {
        for shard in &self.shards {
            lock(&shard.0).closed = true;
        }
    }
}

impl List {
    fn put(&mut self, entry: u32, waker: Waker) {
        self.living += 1;
        self.enlisted += 1;
        match self.entries.get_mut(entry as usize) {
            Some(slot) => match mem::replace(slot, Entry::Living(waker)) {
                Entry::Free(next) => self.free = next,
                Entry::Living(_) => unreachable!("the free list led to a living task"),
            },
            None => {
                self.entries.push(Entry::Living(waker));
                self.free = u32::try_from(self.entries.len()).expect("fewer than 2^32 tasks");
            }
        }
    }

    fn take(&mut self, entry: u32) -> Option<Waker> {
        let slot = mem::replace(&mut self.entries[entry as usize], Entry::Free(self.free));
        self.free = entry;
        self.living -= 1;
        match slot {
            Entry::Living(waker) => Some(waker),
            Entry::Free(_) => None,
        }
    }
}
