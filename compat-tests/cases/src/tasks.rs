//! Tasks for runtimes that cannot spawn: polled beside the root future, each with a waker of its own.
//!
//! Also what becomes of a task's panic under any runtime: it is caught here and comes out where the task is awaited,
//! so that no case depends on what a runtime does with a panic.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::blackbox::Blackbox;
use crate::subject::LocalTask;

/// Awaits a task. Dropping it lets the task go on.
#[derive(Debug)]
pub struct Handle<T>(Arc<Slot<T>>);

#[derive(Debug)]
struct Slot<T>(Mutex<(Progress<T>, Option<Waker>)>);

#[derive(Debug)]
enum Progress<T> {
    Running,
    Ended(thread::Result<T>),
    Dropped,
}

/// Wraps `future` so that its output or its panic arrives at the handle, and its panic's text in `blackbox`.
pub(crate) fn with_handle<F: Future>(
    future: F,
    blackbox: Blackbox,
) -> (impl Future<Output = ()> + use<F>, Handle<F::Output>) {
    let slot = Arc::new(Slot(Mutex::new((Progress::Running, None))));
    let handle = Handle(slot.clone());
    let end = End(slot);
    let task = async move {
        let mut future = Box::pin(future);
        let output = std::future::poll_fn(|cx| {
            let poll = || blackbox.worn(|| future.as_mut().poll(cx));
            match catch_unwind(AssertUnwindSafe(poll)) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await;
        // The future goes first: whoever awaits the handle may count on its sources being gone.
        drop(future);
        end.0.set(Progress::Ended(output));
    };
    (task, handle)
}

/// Tells the handle that the task is gone, unless it has ended.
struct End<T>(Arc<Slot<T>>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.0.set(Progress::Dropped);
    }
}

impl<T> Slot<T> {
    fn set(&self, progress: Progress<T>) {
        let waker = {
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(slot.0, Progress::Running) {
                return;
            }
            slot.0 = progress;
            slot.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut slot.0, Progress::Running) {
            Progress::Running => {
                slot.1 = Some(cx.waker().clone());
                Poll::Pending
            }
            Progress::Ended(Ok(output)) => Poll::Ready(output),
            Progress::Ended(Err(panic)) => {
                drop(slot);
                resume_unwind(panic)
            }
            Progress::Dropped => {
                drop(slot);
                panic!("the runtime dropped a task before it ended")
            }
        }
    }
}

thread_local! {
    static COMPANY: RefCell<Vec<Company>> = const { RefCell::new(Vec::new()) };
}

/// Tasks that have no runtime to take them.
type Company = Rc<RefCell<Vec<LocalTask>>>;

/// Leaves a task to the root future that is being polled on this thread.
///
/// # Panics
/// If none is: then the runtime polls on a thread of its own, but spawns nothing there.
pub(crate) fn join_root(task: LocalTask) {
    COMPANY.with_borrow(|stack| {
        let company = stack
            .last()
            .expect("spawn refused a task away from the root future's thread");
        company.borrow_mut().push(task);
    });
}

/// Polls `root` and whatever is left to it by `join_root` meanwhile, until `root` ends.
pub(crate) async fn in_company<F: Future>(root: F) -> F::Output {
    let mut root = std::pin::pin!(root);
    let arrivals = Company::default();
    let mut tasks: Vec<(LocalTask, Arc<Flag>)> = Vec::new();
    std::future::poll_fn(|cx| {
        COMPANY.with_borrow_mut(|stack| stack.push(arrivals.clone()));
        let _leave = Leave;
        if let Poll::Ready(output) = root.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        loop {
            for task in arrivals.take() {
                tasks.push((task, Arc::new(Flag::default())));
            }
            tasks.retain_mut(|(task, flag)| {
                if !flag.is_due(cx.waker()) {
                    return true;
                }
                let waker = Waker::from(flag.clone());
                task.as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            });
            if arrivals.borrow().is_empty() {
                return Poll::Pending;
            }
        }
    })
    .await
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        COMPANY.with_borrow_mut(|stack| stack.pop());
    }
}

/// A task's waker: remembers that the task is due, and wakes whoever polls the company.
#[derive(Debug, Default)]
struct Flag {
    // Set: nothing to do at the next poll. So that a new task is due.
    idle: AtomicBool,
    root: Mutex<Option<Waker>>,
}

impl Flag {
    fn is_due(&self, root: &Waker) -> bool {
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(root.clone());
        !self.idle.swap(true, Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.idle.swap(false, Ordering::SeqCst) {
            let root = self
                .root
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(root) = root {
                root.wake();
            }
        }
    }
}
