//! A small executor on one thread, as somebody might write it who has never heard of untether.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks that are due. The root is `None`.
#[derive(Default)]
struct Queue {
    due: Mutex<VecDeque<Option<Arc<Task>>>>,
    news: Condvar,
}

struct Task(Mutex<Option<Boxed>>, Arc<Queue>);

struct Root(Arc<Queue>);

impl Queue {
    fn push(&self, task: Option<Arc<Task>>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.push_back(task);
        self.news.notify_one();
    }

    fn pop(&self) -> Option<Arc<Task>> {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = self.news.wait_while(due, |due| due.is_empty()).unwrap();
        due.pop_front().flatten()
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let queue = self.1.clone();
        queue.push(Some(self));
    }
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.0.push(None);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Queue>>> = const { RefCell::new(None) };
}

/// Runs `root` and what it spawns.
pub fn run(root: impl Future<Output = ()>) {
    let queue = Arc::new(Queue::default());
    CURRENT.set(Some(queue.clone()));
    let mut root = std::pin::pin!(root);
    let waker = Waker::from(Arc::new(Root(queue.clone())));
    queue.push(None);
    loop {
        let Some(task) = queue.pop() else {
            if root
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                return;
            }
            continue;
        };
        let mut slot = task.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut future) = slot.take() else {
            continue;
        };
        let waker = Waker::from(task.clone());
        let mut cx = Context::from_waker(&waker);
        // A panic ends its task, and nothing else.
        if let Ok(Poll::Pending) = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)))
        {
            *slot = Some(future);
        }
    }
}

/// Starts a task on the executor that runs on this thread.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    let queue = CURRENT
        .with_borrow(Clone::clone)
        .expect("nothing runs here");
    queue.push(Some(Arc::new(Task(
        Mutex::new(Some(Box::pin(future))),
        queue.clone(),
    ))));
}
