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
//! A task's number and name (`about`) are kept beside its future, so that `Task` need not know them, and are shown to the
//! executor's hooks (`hooks`) at each poll.
//!
//! Not here: queues (`local`, `pool`), what a user sees (`spawn`).

use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use async_task::{Builder, Runnable, ScheduleInfo, Task, WithInfo};

use crate::about::TaskInfo;
use crate::hooks::Hooks;
use crate::metrics::Metrics;
use crate::sync::{Mutex, lock};

/// An executor, as its tasks see it.
pub(crate) trait Home: Send + Sync + 'static {
    fn live(&self) -> &Live;

    fn hooks(&self) -> &Hooks;

    /// A poll on this thread took that long; only if the hooks want to know.
    fn took(&self, poll: Duration);

    /// Queues a task. Called on any thread, inside wakers, and by `spawn`. `while_running`: it was woken while it ran.
    fn schedule(&self, runnable: Runnable, while_running: bool);
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
    let info = info.into();
    home.live().enlist(hint, |key| {
        let future = Tracked::new(future, info, home, key);
        let schedule = scheduler(home);
        Builder::new()
            .propagate_panic(true)
            .spawn(|()| future, schedule)
    })
}

/// Starts a task that runs on this thread only. async-task checks that it does, and aborts otherwise.
pub(crate) fn spawn_local<H, F>(home: &Arc<H>, info: TaskInfo, future: F) -> Task<F::Output>
where
    H: Home,
    F: Future + 'static,
    F::Output: 'static,
{
    home.live().enlist(0, |key| {
        let future = Tracked::new(future, Some(info), home, key);
        let schedule = scheduler(home);
        Builder::new()
            .propagate_panic(true)
            .spawn_local(|()| future, schedule)
    })
}

fn scheduler<H: Home>(
    home: &Arc<H>,
) -> WithInfo<impl Fn(Runnable, ScheduleInfo) + Send + Sync + 'static> {
    let home = home.clone();
    WithInfo(move |runnable, info: ScheduleInfo| home.schedule(runnable, info.woken_while_running))
}

/// A future that leaves the list of the living when it is dropped, and whose destructor cannot unwind.
struct Tracked<F, H: Home> {
    future: ManuallyDrop<F>,
    info: Option<TaskInfo>,
    home: Arc<H>,
    key: Option<Key>,
}

impl<F, H: Home> Tracked<F, H> {
    fn new(future: F, info: Option<TaskInfo>, home: &Arc<H>, key: Option<Key>) -> Tracked<F, H> {
        Tracked {
            future: ManuallyDrop::new(future),
            info,
            home: home.clone(),
            key,
        }
    }
}

impl<F: Future, H: Home> Future for Tracked<F, H> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `get_unchecked_mut` asks that (1) nothing is moved out of the argument that was pinned: the future is
        // only borrowed, and the other fields are not pinned.
        let tracked = unsafe { self.get_unchecked_mut() };
        let future = &mut *tracked.future;
        // SAFETY: Pinning the field is sound, since (1) it does not move while `tracked` does not: it is stored in place,
        // and `ManuallyDrop` adds no indirection; (2) `Tracked` is `Unpin` only if `F` is (the field holds it by value);
        // (3) `drop` drops it in place; (4) there is no other access to it.
        let future = unsafe { Pin::new_unchecked(future) };
        match &tracked.info {
            Some(info) => {
                let home = &*tracked.home;
                home.hooks()
                    .poll(info, |poll| home.took(poll), || future.poll(cx))
            }
            None => future.poll(cx),
        }
    }
}

impl<F, H: Home> Drop for Tracked<F, H> {
    fn drop(&mut self) {
        let future = &mut self.future;
        // SAFETY: (1) dropped once: here, in the destructor, which runs once. (2) Not used afterwards: `poll` cannot be
        // called on a dropped value. (3) In place, as a pinned value must be.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { ManuallyDrop::drop(future) }));
        if let Err(payload) = dropped {
            // The hook has printed it. The payload's own destructor might panic as well; it is not worth the risk.
            mem::forget(payload);
        }
        if let Some(key) = self.key {
            self.home.live().remove(key);
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
    /// The first free entry; `entries.len()` if there is none.
    free: usize,
    /// How many entries are not free, and how many ever were.
    living: usize,
    enlisted: u64,
    closed: bool,
}

#[derive(Debug)]
enum Entry {
    Living(Waker),
    /// Names the next free one.
    Free(usize),
}

#[derive(Clone, Copy, Debug)]
struct Key {
    shard: usize,
    entry: usize,
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
        let (runnable, task) = build(Some(Key { shard, entry }));
        list.put(entry, runnable.waker());
        drop(list);
        runnable.schedule();
        task
    }

    fn remove(&self, key: Key) {
        let waker = lock(&self.shards[key.shard].0).take(key.entry);
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

    pub(crate) fn close(&self) {
        for shard in &self.shards {
            lock(&shard.0).closed = true;
        }
    }
}

impl List {
    fn put(&mut self, entry: usize, waker: Waker) {
        self.living += 1;
        self.enlisted += 1;
        match self.entries.get_mut(entry) {
            Some(slot) => match mem::replace(slot, Entry::Living(waker)) {
                Entry::Free(next) => self.free = next,
                Entry::Living(_) => unreachable!("the free list led to a living task"),
            },
            None => {
                self.entries.push(Entry::Living(waker));
                self.free = self.entries.len();
            }
        }
    }

    fn take(&mut self, entry: usize) -> Option<Waker> {
        let slot = mem::replace(&mut self.entries[entry], Entry::Free(self.free));
        self.free = entry;
        self.living -= 1;
        match slot {
            Entry::Living(waker) => Some(waker),
            Entry::Free(_) => None,
        }
    }
}
