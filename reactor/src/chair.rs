//! Who is inside the poller, and how to call them out.
//!
//! One thread at a time makes a turn; others queue news for it (a nearer deadline, a clock that moved) and must learn
//! whether to wake it. A thread that sleeps beside the reactor because the chair was taken may ask to be called when
//! it becomes free (`relax`).
//!
//! States: three bits of one word. SEATED: somebody is making a turn. NUDGED: told since they sat down. RELAXED: a
//! sleeper relies on whoever sits to call it when they leave.
//!
//! | from → to                       | call       | by     | ordering, and why                                          |
//! |---------------------------------|------------|--------|------------------------------------------------------------|
//! | not SEATED → SEATED (+RELAXED)  | `sit`      | anyone | AcqRel: sees the news; and `occupied` calls after it see what was prepared for sitting down |
//! | SEATED → SEATED+NUDGED          | `nudge`    | anyone | AcqRel: publishes the news; **true: caller wakes the poller** |
//! | not SEATED → +NUDGED            | `nudge`    | anyone | AcqRel: whoever sits next reads it; nobody to wake         |
//! | SEATED → SEATED+RELAXED         | `relax`    | watcher| AcqRel: fails if nobody sits, for then nobody would call   |
//! | any → the same                  | `occupied` | anyone | AcqRel: as `nudge`, for news that need no wake-up          |
//! | SEATED+any → 0                  | `leave`    | driver | AcqRel: hands over; **true: caller calls the watcher**     |
//!
//! No news is lost. Each call is a read-modify-write of one word, so any `nudge` or `occupied` is ordered against any
//! `sit`. News first: the driver's `sit` acquires it, and the driver reads the news *after* sitting down. Sit first:
//! the caller finds SEATED and wakes the poller, whose notification is sticky; if NUDGED was set already, whoever set
//! it wakes the poller, and the driver cannot have read its news yet unless it has sat down anew, which clears the
//! bit. No call is lost for the same reason: `relax` succeeds only while somebody sits, and leaving takes the bit.
//!
//! Not here: waking the poller (`os`), the sleepers (`park`), and what happens during a turn (`turn`).
//! Checked by `loom_tests::chair`.

use crate::sync::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

const SEATED: u32 = 1;
const NUDGED: u32 = 2;
const RELAXED: u32 = 4;

/// The one seat of a reactor.
pub(crate) struct Chair {
    word: AtomicU32,
}

/// Proof of sitting. Give it back with [`Seat::leave`]; dropping it (a panic) leaves too, and calls nobody.
pub(crate) struct Seat<'a> {
    chair: &'a Chair,
}

impl Chair {
    pub(crate) fn new() -> Chair {
        Chair {
            word: AtomicU32::new(0),
        }
    }

    /// Sits down if the chair is free. Read the news *after* this returns.
    pub(crate) fn sit(&self) -> Option<Seat<'_>> {
        self.word
            .fetch_update(AcqRel, Acquire, |word| {
                (word & SEATED == 0).then_some(SEATED | (word & RELAXED))
            })
            .ok()
            .map(|_| Seat { chair: self })
    }

    /// Reports news queued *before* this call. If true, the caller must wake the poller.
    #[must_use]
    pub(crate) fn nudge(&self) -> bool {
        self.word.fetch_or(NUDGED, AcqRel) & (SEATED | NUDGED) == SEATED
    }

    /// Whether somebody sits, ordered after news queued before this call: if false, whoever sits down next reads it.
    #[must_use]
    pub(crate) fn occupied(&self) -> bool {
        self.word.fetch_or(0, AcqRel) & SEATED != 0
    }

    /// Asks to be called by whoever sits now, when they leave. False: nobody sits, so nobody would.
    #[must_use]
    pub(crate) fn relax(&self) -> bool {
        self.word
            .fetch_update(AcqRel, Acquire, |word| {
                (word & SEATED != 0).then_some(word | RELAXED)
            })
            .is_ok()
    }

    /// For people who look at a stuck program; decides nothing.
    pub(crate) fn is_taken(&self) -> bool {
        self.word.load(Relaxed) & SEATED != 0
    }
}

impl Seat<'_> {
    /// Stands up. If true, the caller must call the watcher.
    #[must_use]
    pub(crate) fn leave(self) -> bool {
        let word = self.chair.word.swap(0, AcqRel);
        std::mem::forget(self);
        word & RELAXED != 0
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.chair.word.fetch_and(!(SEATED | NUDGED), AcqRel);
    }
}
