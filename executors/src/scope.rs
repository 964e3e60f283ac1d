//! Tasks of a [`Pool`](crate::Pool) that borrow from the thread which starts them.
//!
//! A future that waits for its tasks could be forgotten halfway, and the tasks would go on using what is gone: so no form
//! of this that is itself a future is sound. A function that blocks cannot be left before it returns. Here it is the
//! function [`Pool::scope`](crate::Pool::scope): like `std::thread::scope`, with futures.
//!
//! What may borrow is the future and what becomes of it: its output, and the payload of its panic, which is `'static`
//! anyway. `Scoped` keeps them together: when it counts itself as gone, nothing is left of either, except the output if
//! somebody holds the task's handle, whose type then says how long it lives. What async-task has allocated, and wakers
//! that are still about, may live longer; there is nothing in them that borrows.
//!
//! Not here: how a task runs (`task`), and how the thread waits (`block_on`).

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::process;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::task::Task;

use crate::block_on::block_on;
use crate::pool::PoolHandle;
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};

/// Starts tasks that may borrow. See [`Pool::scope`](crate::Pool::scope).
pub struct Scope<'scope, 'env: 'scope> {
    pool: PoolHandle,
    tally: Arc<Tally>,
    // Neither may be shortened or stretched: tasks rely on 'scope being exactly what `run` waits for.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// A task of a [`Scope`]. Awaiting it gives the output, or the panic.
///
/// Other than a [`Task`], it is not cancelled when it is dropped: it belongs to its scope.
pub struct ScopedTask<T> {
    /// None once it is done, or was cancelled.
    task: Option<Task<()>>,
    output: Arc<Mutex<Option<T>>>,
    tally: Arc<Tally>,
}

/// How many tasks of a scope there are. It is shared with tasks that have just said that they are gone, so it borrows
/// nothing.
#[derive(Debug)]
struct Tally {
    /// The futures that have not been dropped.
    left: AtomicUsize,
    /// The panics that nobody has been told of.
    panics: AtomicUsize,
    waiting: Mutex<Option<Waker>>,
}

/// Runs `body`, and returns when all tasks are gone that were started in it.
pub(crate) fn run<'env, F, T>(pool: PoolHandle, body: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        pool,
        tally: Arc::new(Tally {
            left: AtomicUsize::new(0),
            panics: AtomicUsize::new(0),
            waiting: Mutex::new(None),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    // From here to `wait` nothing unwinds, and nothing returns.
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    scope.tally.wait();
    match outcome {
        Err(payload) => resume_unwind(payload),
        Ok(_) if scope.tally.panics.load(Ordering::Relaxed) > 0 => {
            panic!("a task of the scope panicked, and nobody awaited it");
        }
        Ok(output) => output,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a task on the pool. It may borrow whatever outlives the scope, also the scope itself, to start others.
    ///
    /// Its handle need not be kept: the task runs on, and the scope waits for it.
    pub fn spawn<F>(&'scope self, future: F) -> ScopedTask<F::Output>
    where
        F: Future + Send + 'scope,
        F::Output: Send + 'scope,
    {
        let output = Arc::new(Mutex::new(None));
        // Relaxed: whoever starts a task is the body, or a task that is counted itself; so it cannot have been 0 for `wait`.
        self.tally.left.fetch_add(1, Ordering::Relaxed);
        let future: Pin<Box<dyn Future<Output = ()> + Send + 'scope>> = Box::pin(Scoped {
            future,
            output: output.clone(),
            gone: Gone(self.tally.clone()),
        });
        // SAFETY: `erase` asks that (1) nothing of the future is used after 'scope. `Gone` is its last field and leaves the
        // tally when the others have been dropped. `run` does not return before the tally is empty, whatever happens,
        // and 'scope outlasts `run`'s call to `body`, since `body` takes it for any 'scope, and the scope lives in `run`.
        let future = unsafe { erase(future) };
        ScopedTask {
            task: Some(self.pool.spawn(future)),
            output,
            tally: self.tally.clone(),
        }
    }
}

/// Forgets how long a future may live.
///
/// # Safety
///
/// (1) The future is dropped, and not used any more, before 'scope ends. Of its allocation only the memory may be freed
/// later.
unsafe fn erase<'scope>(
    future: Pin<Box<dyn Future<Output = ()> + Send + 'scope>>,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
    // SAFETY: `transmute` asks that (1) both types have the same layout: they differ in a lifetime only. (2) The value is
    // valid as what it becomes: its lifetime is the caller's to answer for.
    unsafe {
        mem::transmute::<
            Pin<Box<dyn Future<Output = ()> + Send + 'scope>>,
            Pin<Box<dyn Future<Output = ()> + Send + 'static>>,
        >(future)
    }
}

/// A future with its output. Its fields are dropped in this order, even if one of them panics in doing so.
struct Scoped<F: Future> {
    future: F,
    output: Arc<Mutex<Option<F::Output>>>,
    gone: Gone,
}

impl<F: Future> Future for Scoped<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `get_unchecked_mut` asks that (1) nothing is moved out of the argument that was pinned: the future is
        // only borrowed, and the other fields are not pinned.
        let scoped = unsafe { self.get_unchecked_mut() };
        // SAFETY: Pinning the field is sound, since (1) it does not move while `scoped` does not: it is stored in place; (2)
        // `Scoped` is `Unpin` only if `F` is; (3) it has no destructor of its own that could move the field, and is not
        // packed; (4) there is no other access to it.
        let future = unsafe { Pin::new_unchecked(&mut scoped.future) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => {
                *lock(&scoped.output) = Some(output);
                Poll::Ready(())
            }
            Err(payload) => {
                scoped.gone.0.panics.fetch_add(1, Ordering::Relaxed);
                resume_unwind(payload)
            }
        }
    }
}

/// Leaves the tally when it is dropped.
struct Gone(Arc<Tally>);

impl Drop for Gone {
    fn drop(&mut self) {
        // Release: our future's end comes before the return of `wait`. Acquire: the last one hands on all others'.
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waiting = lock(&self.0.waiting).take();
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }
}

impl Tally {
    /// Waits until it is empty. Does not unwind.
    fn wait(&self) {
        struct Abort;
        impl Drop for Abort {
            fn drop(&mut self) {
                process::abort();
            }
        }
        // `block_on` does not unwind unless its future does. If that were ever wrong, tasks would go on with what is gone.
        let abort = Abort;
        if self.left.load(Ordering::Acquire) > 0 {
            block_on(poll_fn(|cx| {
                // Leave the waker, then look: who comes to zero looks for it afterwards.
                let displaced = lock(&self.waiting).replace(cx.waker().clone());
                drop(displaced);
                match self.left.load(Ordering::Acquire) {
                    0 => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            }));
        }
        mem::forget(abort);
    }
}

impl<T> ScopedTask<T> {
    /// Whether it is done, or has panicked. After the scope, always.
    pub fn is_finished(&self) -> bool {
        // Its future holds the other end until it is dropped, which the scope waits for; async-task says so a little later.
        Arc::strong_count(&self.output) == 1
    }

    /// Has its future dropped as soon as a thread of the pool gets to it. The output, should there be one already, is
    /// dropped here.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use untether_executors::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// // Without this, the scope would never end.
    /// pool.scope(|scope| scope.spawn(pending::<()>()).cancel());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(mut self) {
        drop(self.task.take());
    }
}

impl<T> Future for ScopedTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let task = (self.task.as_mut())
            .expect("it gives its output once: it is polled no more afterwards");
        match catch_unwind(AssertUnwindSafe(|| Pin::new(task).poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                self.task = None;
                let output = lock(&self.output).take();
                Poll::Ready(output.expect("a task that is done has left its output"))
            }
            Err(payload) => {
                self.task = None;
                self.tally.panics.fetch_sub(1, Ordering::Relaxed);
                resume_unwind(payload)
            }
        }
    }
}

impl<T> Unpin for ScopedTask<T> {}

impl<T> Drop for ScopedTask<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("tasks", &self.tally.left.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ScopedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTask")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
