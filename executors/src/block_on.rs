//! One future on this thread, driving a reactor while it waits.
//!
//! A call that finds the thread inside a reactor is nested: it sleeps in the same reactor, with a parker of its own, so
//! that the I/O of the outer calls goes on and their wakers are not mistaken for its own. An outermost call has a
//! reactor to itself, which it gives back when it ends: to the thread, for the next call, or to a small pool. Before
//! that it evicts everybody who still waits there, because nobody will drive it for a while.
//!
//! The future is polled when its waker was called since the last poll, and otherwise never: an early return of the
//! parker, or a waker left over from an earlier call, is no reason. The latter has a bell of its own (`Post::renewed`).
//!
//! Not here: many tasks on one thread (`local`).

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use untether::Reactor;

use crate::bed::{Bed, Caller};
use crate::bell::Bell;
use crate::pool;
use crate::sync::{AtomicUsize, Mutex, Ordering::Relaxed, lock};

/// How often a future that keeps waking itself is polled before I/O gets its turn.
const POLLS_PER_TURN: u32 = 61;

/// How many reactors of finished calls the process keeps, up to five descriptors each.
const SPARE_MAX: usize = 16;

/// How many threads may keep one for themselves besides.
const KEPT_MAX: usize = 32;

/// Runs a future on this thread until it is done, and drives I/O and timers while it waits.
///
/// What the future waits for lives in a reactor of this call (`untether::Reactor::current()`), so an event is handled
/// by the very thread that polls the future. Everything else may be used as well: wakers work from any thread. If no
/// reactor can be made because the process is out of descriptors, the call waits on the global one instead.
///
/// Calls nest, also inside a task of another executor: the inner call drives the same reactor as the outer one while it
/// waits. What it cannot do is run the other tasks of a [`Local`](crate::Local) or of a one-thread
/// [`Pool`](crate::Pool) around it: to wait for one of these there is a deadlock; await it instead.
///
/// # Panics
/// If the future does. The thread can be used as before.
///
/// # Examples
///
/// ```
/// use untether_executors::block_on;
///
/// assert_eq!(block_on(async { 1 + 2 }), 3);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    match Reactor::entered() {
        Some(outer) => {
            // Other workers shall not wait for what this one cannot run meanwhile.
            let _blocked = pool::step_aside();
            let post = Post::new(Some(&outer));
            post.bed.enter(|| post.run(future))
        }
        // In this order: the future is dropped, the reactor left, and then given back.
        None => {
            let lease = Lease::take();
            let post = lease.post();
            post.bed.enter(|| post.run(future))
        }
    }
}

/// Where a call waits, and how it is woken.
#[derive(Debug)]
struct Post {
    bed: Bed,
    signal: Arc<Signal>,
}

#[derive(Debug)]
struct Signal {
    bell: Bell,
    caller: Caller,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.bell.ring() {
            self.caller.call();
        }
    }
}

impl Post {
    fn new(reactor: Option<&Reactor>) -> Post {
        let bed = Bed::new(reactor);
        let signal = Arc::new(Signal {
            bell: Bell::new(),
            caller: bed.caller(),
        });
        Post { bed, signal }
    }

    /// Whether somebody can still wait here.
    fn is_usable(&self) -> bool {
        self.bed.reactor().is_none_or(Reactor::is_alive)
    }

    /// This post for the next call; or, if wakers of the last one are still about, a new one that they do not know.
    fn renewed(mut self) -> Post {
        // Unique: whoever held a waker has dropped it, and that happened before. Nobody can ring any more.
        match Arc::get_mut(&mut self.signal) {
            Some(signal) => {
                signal.bell = Bell::new();
                self
            }
            None => Post::new(self.bed.reactor()),
        }
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        let waker = Waker::from(self.signal.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        let mut polls = 0;
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            if self.signal.bell.hear() {
                polls += 1;
                if polls == POLLS_PER_TURN {
                    polls = 0;
                    self.bed.glance();
                }
            } else {
                polls = 0;
                self.signal.bell.listen(|| {
                    #[cfg(test)]
                    tests::PARKS.set(tests::PARKS.get() + 1);
                    self.bed.sleep();
                });
            }
        }
    }
}

thread_local! {
    /// The post of this thread's last outermost call.
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

/// The reactors of finished calls that no thread keeps.
static SPARE: Mutex<Vec<Reactor>> = Mutex::new(Vec::new());

/// How many threads keep a post.
static KEEPERS: AtomicUsize = AtomicUsize::new(0);

/// A post that a thread keeps; when the thread ends, its reactor goes to the spare ones.
#[derive(Debug)]
struct Kept {
    post: Option<Post>,
}

impl Kept {
    /// Gives the post back if enough threads keep one already.
    fn new(post: Post) -> Result<Kept, Post> {
        // Relaxed: a count, which publishes nothing.
        if KEEPERS.fetch_add(1, Relaxed) < KEPT_MAX {
            Ok(Kept { post: Some(post) })
        } else {
            KEEPERS.fetch_sub(1, Relaxed);
            Err(post)
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEEPERS.fetch_sub(1, Relaxed);
        if let Some(post) = self.post.take() {
            spare(post);
        }
    }
}

fn spare(post: Post) {
    if let Some(reactor) = post.bed.reactor() {
        let mut reactors = lock(&SPARE);
        if reactors.len() < SPARE_MAX {
            reactors.push(reactor.clone());
        }
    }
    // One reactor too many ends here with its post, after the lock.
    drop(post);
}

/// A post for the length of an outermost call.
#[derive(Debug)]
struct Lease {
    post: Option<Post>,
    /// Where the post came from, and goes to, if this thread keeps one.
    kept: Option<Kept>,
}

impl Lease {
    /// Works also while the thread's locals are being destroyed; then nothing is kept.
    fn take() -> Lease {
        let mut kept = KEPT.try_with(Cell::take).ok().flatten();
        // In a child process of `fork` what was kept is the parent's, and the lock may be one that nobody gives back.
        let post = kept.as_mut().and_then(|kept| kept.post.take());
        let post = post.filter(Post::is_usable).unwrap_or_else(|| {
            let spare = || SPARE.try_lock().ok()?.pop().filter(Reactor::is_alive);
            let reactor = spare().or_else(|| Reactor::new().ok());
            Post::new(reactor.as_ref())
        });
        Lease {
            post: Some(post),
            kept,
        }
    }

    fn post(&self) -> &Post {
        self.post
            .as_ref()
            .expect("a lease has its post until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(post) = self.post.take() else { return };
        let Some(reactor) = post.bed.reactor() else {
            return;
        };
        // May call wakers, and these may call `block_on`: so before the post is anywhere to be found.
        reactor.evict();
        let post = post.renewed();
        let kept = match self.kept.take() {
            Some(mut kept) => {
                kept.post = Some(post);
                Ok(kept)
            }
            None => Kept::new(post),
        };
        match kept {
            // A call inside an evicted waker may have left a post there already. What is not stored, or replaced, is
            // dropped, and so goes to the spare ones.
            Ok(kept) => {
                let _ = KEPT.try_with(|place| drop(place.replace(Some(kept))));
            }
            Err(post) => spare(post),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::task::{Poll, Waker};
    use std::thread;

    use super::block_on;

    thread_local! {
        pub(super) static PARKS: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn an_idle_block_on_parks_exactly_once() {
        let (wakers, received) = mpsc::channel::<Waker>();
        let waker = thread::spawn(move || received.recv().unwrap().wake());
        let mut polls = 0;
        block_on(poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                wakers.send(cx.waker().clone()).unwrap();
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
        waker.join().unwrap();

        // None, if the waker was faster than us; never two.
        assert!(PARKS.get() <= 1);
        assert_eq!(polls, 2);
    }

    #[test]
    fn a_future_that_is_ready_does_not_park() {
        block_on(async {});
        assert_eq!(PARKS.get(), 0);
    }
}
