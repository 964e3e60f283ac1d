//! Room for the task that is to run next: its worker puts and takes, and others take when the worker is stuck.
//!
//! | from → to            | call   | by         | ordering, and why                                                   |
//! |----------------------|--------|------------|---------------------------------------------------------------------|
//! | empty → full         | `put`  | the worker | a Relaxed load, for nobody else fills it, so empty stays empty; then a Release store: who takes the task sees it whole |
//! | full → full          | `put`  | the worker | AcqRel swap: gives out the old task, once                           |
//! | full → empty         | `take` | anybody    | a Relaxed load, then a compare-exchange, AcqRel: empty only if still full |
//!
//! **No task is lost or doubled.** A task leaves by a read-modify-write, which gives it to one caller. The plain store
//! cannot overwrite a task: only `put` fills, `put` is called by one thread, and that has just seen it empty. So a wake-up
//! costs one read-modify-write, in `take`; it cannot do without, since a thief does not ask first. That a thief sees a
//! newer task at the address of an older one does no harm: it takes the newer one.
//! Checked by `loom_tests::a_task_is_taken_once`.
//!
//! Not here: what the pointers are (`queues`).

use std::ptr::{self, NonNull};

use crate::sync::{AtomicPtr, Ordering};

pub(crate) struct Slot(AtomicPtr<()>);

impl Slot {
    pub(crate) fn new() -> Slot {
        Slot(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Only for the slot's own worker. Returns what was there.
    pub(crate) fn put(&self, task: NonNull<()>) -> Option<NonNull<()>> {
        if self.is_empty() {
            self.0.store(task.as_ptr(), Ordering::Release);
            None
        } else {
            NonNull::new(self.0.swap(task.as_ptr(), Ordering::AcqRel))
        }
    }

    /// None to the worker: it is empty. To others: it is, or was at some moment, or another task came between.
    pub(crate) fn take(&self) -> Option<NonNull<()>> {
        let task = NonNull::new(self.0.load(Ordering::Relaxed))?;
        let null = ptr::null_mut();
        let taken =
            self.0
                .compare_exchange(task.as_ptr(), null, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok().then_some(task)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::Slot;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;
    use std::ptr::NonNull;

    /// What a task is to the model: written before it is put, and again by whoever has taken it.
    struct Token(UnsafeCell<u32>);

    fn token() -> NonNull<()> {
        NonNull::from(Box::leak(Box::new(Token(UnsafeCell::new(1))))).cast()
    }

    /// Loom complains if two have the same token at once, or one that is not written yet.
    fn consume(token: NonNull<()>) -> usize {
        // SAFETY: (1) it came from `token`, and (2) comes out of the slot once: that is what the model is about.
        let token = unsafe { Box::from_raw(token.cast::<Token>().as_ptr()) };
        token.0.with_mut(|value| {
            // SAFETY: (1) loom checks that nobody else has it.
            let value = unsafe { &mut *value };
            assert_eq!(*value, 1);
            *value = 2;
        });
        1
    }

    #[test]
    fn a_task_is_taken_once() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let thieves: Vec<_> = (0..2)
                .map(|_| {
                    let slot = slot.clone();
                    thread::spawn(move || slot.take().map_or(0, consume))
                })
                .collect();
            let mut seen = 0;
            for _ in 0..2 {
                seen += slot.put(token()).map_or(0, consume);
            }
            seen += slot.take().map_or(0, consume);
            seen += slot.put(token()).map_or(0, consume);
            for thief in thieves {
                seen += thief.join().unwrap();
            }
            seen += slot.take().map_or(0, consume);
            assert_eq!(seen, 3);
        });
    }
}
