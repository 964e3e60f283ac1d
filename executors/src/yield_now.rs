//! A pause in which the others get their turn.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets every other task that is ready run before this one goes on.
///
/// The task wakes itself and is pending once. All executors of this crate put a task that was woken while it ran at the
/// end of the queue, never into the place of the one that runs next: so in a [`Local`](crate::Local) all tasks that are
/// ready run once before this one does, and I/O is looked after in between as often as ever. In a
/// [`Pool`](crate::Pool) the same holds for the tasks of the worker's own queue. (The future of
/// [`Local::run`](crate::Local::run) is no task: it takes turns with them, one by one.) It works under any executor, and
/// is as fair as that one is.
///
/// # Examples
///
/// ```
/// use untether_executors::{Local, yield_now};
///
/// async fn sum(numbers: &[u64]) -> u64 {
///     let mut sum = 0;
///     for chunk in numbers.chunks(1_000) {
///         sum += chunk.iter().sum::<u64>();
///         yield_now().await;
///     }
///     sum
/// }
///
/// assert_eq!(Local::new().run(sum(&[1; 10_000])), 10_000);
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
