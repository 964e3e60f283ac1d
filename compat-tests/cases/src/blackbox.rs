//! The flight recorder of a case: what it was doing, and every panic with its message and place.
//!
//! A panic is known in full only to the panic hook, and the hook does not know which case a thread works for. So a
//! thread that polls for a case wears that case's blackbox while it does, and our hook writes there; a panic of
//! anybody else goes to the hook that was installed before ours.

use std::cell::RefCell;
use std::panic;
use std::sync::{Arc, Mutex, Once, PoisonError};

/// Records one case. Clones share the record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blackbox(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    step: String,
    panics: Vec<String>,
}

thread_local! {
    static WORN: RefCell<Option<Blackbox>> = const { RefCell::new(None) };
}

impl Blackbox {
    /// Runs `work` with this thread's panics written here.
    pub(crate) fn worn<T>(&self, work: impl FnOnce() -> T) -> T {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                // A thread that is being torn down has no blackbox any more.
                let worn = WORN.try_with(|worn| worn.borrow().clone()).ok().flatten();
                match worn {
                    Some(blackbox) => blackbox.write_panic(info.to_string()),
                    None => before(info),
                }
            }));
        });

        struct TakeOff(Option<Blackbox>);
        impl Drop for TakeOff {
            fn drop(&mut self) {
                WORN.set(self.0.take());
            }
        }
        let _take_off = TakeOff(WORN.replace(Some(self.clone())));
        work()
    }

    /// Notes what the case is about to do, for the report of a hang.
    pub(crate) fn write_step(&self, step: &str) {
        self.with(|record| step.clone_into(&mut record.step));
    }

    fn write_panic(&self, text: String) {
        self.with(|record| record.panics.push(text));
    }

    /// What the case did last.
    pub(crate) fn step(&self) -> String {
        self.with(|record| record.step.clone())
    }

    /// Every panic so far, oldest first, with its place.
    pub(crate) fn panics(&self) -> String {
        self.with(|record| record.panics.join("\n"))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
