//! When a task whose operations always succeed at once must yield.
//!
//! A fast peer can keep a task busy for ever, and everything else on its thread waiting. Each success is charged to
//! the task, known by its waker; when the budget is spent, the operation wakes the task and is pending once. No
//! executor has to help. A wait that is really pending fills the budget again. So does entering a reactor: an executor
//! that enters its own for each poll knows that no poll depends on the ones before.
//!
//! Not here: what is charged (`waiting`).

use std::cell::Cell;
use std::task::Context;

/// So many successes in a row and a yield cost no more than a per cent of a small read.
const SUCCESSES: u32 = 128;

thread_local! {
    static SPENT: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// Charges one success to the task of `cx`. False: the budget is spent; the task was woken, and must be pending now.
#[inline]
#[must_use]
pub(crate) fn charge(cx: &Context<'_>) -> bool {
    let task = cx.waker().data() as usize;
    let (last, spent) = SPENT.get();
    let spent = if last == task { spent + 1 } else { 1 };
    if spent > SUCCESSES {
        SPENT.set((task, 0));
        cx.waker().wake_by_ref();
        return false;
    }
    SPENT.set((task, spent));
    true
}

/// The task of this thread is going to wait in earnest, or is polled afresh.
pub(crate) fn refill() {
    SPENT.set((0, 0));
}
