//! How a thread learns, asleep or awake, that there is something to do.
//!
//! Wakers ring, one thread listens. A ring while the thread is awake costs one atomic operation and touches no parker;
//! it is kept until the thread listens, so a bell rung early is never missed. Many rings are one.
//!
//! States: AWAKE = 0, RUNG (news, unheard), ASLEEP (in the parker, or about to be).
//!
//! | from → to             | call     | by           | ordering, and why                                           |
//! |-----------------------|----------|--------------|-------------------------------------------------------------|
//! | AWAKE, RUNG → RUNG    | `ring`   | anyone       | Release: publishes the news; nobody to wake                 |
//! | ASLEEP → RUNG         | `ring`   | anyone       | Release: publishes the news; **true: caller unparks**       |
//! | RUNG → AWAKE          | `hear`   | the listener | Acquire: sees the news; *before* looking for them           |
//! | AWAKE → ASLEEP        | `listen` | the listener | Acquire on failure: RUNG, so do not sleep                   |
//! | ASLEEP, RUNG → AWAKE  | `listen` | the listener | Acquire: sees the news, which are looked for *after* it     |
//!
//! No ring is lost. The ringer queues its news, then rings; the listener hears, looks for news, and finding none
//! listens. All are read-modify-writes of one word. A ring ordered before the last `hear` was acquired by it, so its
//! news were found; one between `hear` and `listen` leaves RUNG, and `listen` returns at once; a later one finds ASLEEP
//! and unparks, which the parker keeps if the thread is not quite inside. One word decides, so no SeqCst.
//! Checked by `loom_tests::no_ring_is_lost`.
//!
//! Not here: what the news are (`block_on`, `local`), where the thread sleeps (`bed`).

use crate::sync::{AtomicUsize, Ordering::*};

const AWAKE: usize = 0;
const RUNG: usize = 1;
const ASLEEP: usize = 2;

#[derive(Debug)]
pub(crate) struct Bell {
    word: AtomicUsize,
}

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell {
            word: AtomicUsize::new(AWAKE),
        }
    }

    /// Reports news queued *before* this call. If true, the caller must unpark the listener.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        self.word.swap(RUNG, Release) == ASLEEP
    }

    /// Whether the bell was rung since the thread last listened. Look for the news *after* this returns.
    pub(crate) fn hear(&self) -> bool {
        self.word.load(Relaxed) == RUNG && self.word.swap(AWAKE, Acquire) == RUNG
    }

    /// Sleeps until the bell is rung; not at all if it was rung since the last `hear`. `sleep` may return early.
    pub(crate) fn listen(&self, mut sleep: impl FnMut()) {
        if self
            .word
            .compare_exchange(AWAKE, ASLEEP, Relaxed, Relaxed)
            .is_ok()
        {
            while self.word.load(Relaxed) == ASLEEP {
                sleep();
            }
        }
        self.word.swap(AWAKE, Acquire);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::Bell;
    use crate::sync::{AtomicUsize, Ordering::*};
    use loom::sync::{Arc, Notify};

    #[test]
    fn no_ring_is_lost() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            // The news are relaxed on purpose: only the bell may order them.
            let shared = Arc::new((Bell::new(), AtomicUsize::new(0), Notify::new()));
            let ringers: Vec<_> = (0..2)
                .map(|_| {
                    let shared = shared.clone();
                    loom::thread::spawn(move || {
                        shared.1.fetch_add(1, Relaxed);
                        if shared.0.ring() {
                            shared.2.notify();
                        }
                    })
                })
                .collect();

            let (bell, news, parker) = &*shared;
            while news.load(Relaxed) < 2 {
                if !bell.hear() {
                    bell.listen(|| parker.wait());
                }
            }
            for ringer in ringers {
                ringer.join().unwrap();
            }
        });
    }
}
