//! A task of a simulation: known by its number, and noted at each thing that it does.
//!
//! Each has a home of its own (`Member`), so that what is queued says whose it is. Its future is boxed and watched
//! (`Watched`): how a poll ends is noted there, and when it is dropped, whenever and wherever that is.
//!
//! Not here: what is promised to tasks (`task`), and who runs (`sim`).

use std::borrow::Cow;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::shared::Shared;
use super::stop::{Cause, message};
use super::trace::{Event, Who};
use crate::about::TaskInfo;
use crate::hooks::Hooks;
use crate::sync::Ordering;
use crate::task::{self, Home, Live, Runnable, Task};

/// Where one task is at home.
pub(super) struct Member {
    shared: Arc<Shared>,
    who: Who,
}

impl Member {
    /// Takes the next number.
    fn new(shared: &Arc<Shared>, name: Option<Cow<'static, str>>) -> (Arc<Member>, TaskInfo) {
        // Relaxed: read-modify-writes of one word never give the same number twice.
        let task = shared.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let who = Who {
            task,
            name: name.as_deref().map(Arc::from),
        };
        shared.enrol(&who);
        let shared = shared.clone();
        let info = name.map_or_else(TaskInfo::unnamed, TaskInfo::named);
        (Arc::new(Member { shared, who }), info)
    }
}

impl Home for Member {
    fn live(&self) -> &Live {
        &self.shared.live
    }

    fn hooks(&self) -> &Hooks {
        &self.shared.hooks
    }

    /// Nobody asks a simulation how long its polls take.
    fn took(&self, _poll: Duration) {}

    fn schedule(&self, runnable: Runnable, while_running: bool) {
        self.shared.wake_task(&self.who, runnable, while_running);
    }
}

/// Starts a task that need not be `Send`, on this thread.
pub(super) fn spawn_local<F>(
    shared: &Arc<Shared>,
    name: Option<Cow<'static, str>>,
    future: F,
) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let (member, info) = Member::new(shared, name);
    let future = Watched::new(&member, future);
    debug_assert!(shared.mine.get().is_some());
    // SAFETY: (1) Tasks are run by the `Sim` and dropped by it or its end, which takes place on the thread that made it,
    // since it is not `Send`; and by nobody who has only a share of this. Whoever calls this is not `Send` either.
    unsafe { task::spawn_local(&member, info, future) }
}

/// Starts a task, on any thread.
pub(super) fn spawn<F>(
    shared: &Arc<Shared>,
    name: Option<Cow<'static, str>>,
    future: F,
) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (member, info) = Member::new(shared, name);
    let future = Watched::new(&member, future);
    task::spawn(&member, 0, info, future)
}

/// The future of a task.
struct Watched<F> {
    // In this order: what the future's destructor does comes before the task is struck off.
    future: Pin<Box<F>>,
    seat: Seat,
}

struct Seat {
    member: Arc<Member>,
    known: bool,
    done: bool,
}

impl<F> Watched<F> {
    fn new(member: &Arc<Member>, future: F) -> Watched<F> {
        Watched {
            future: Box::pin(future),
            seat: Seat {
                member: member.clone(),
                known: false,
                done: false,
            },
        }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let Member { shared, who } = &*this.seat.member;
        if !this.seat.known {
            this.seat.known = true;
            shared.know(who.task, cx.waker());
        }
        match catch_unwind(AssertUnwindSafe(|| this.future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                shared.note(Event::Pends);
                Poll::Pending
            }
            Ok(ready) => {
                this.seat.done = true;
                shared.note(Event::Ends);
                ready
            }
            Err(payload) => {
                this.seat.done = true;
                let message = message(&*payload);
                shared.note(Event::Panics(message.clone()));
                shared.trouble(Cause::Task(who.clone(), message));
                resume_unwind(payload)
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Member { shared, who } = &*self.member;
        if !self.done {
            shared.note(Event::Drops(who.clone()));
        }
        shared.strike(who.task);
    }
}
