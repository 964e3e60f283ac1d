//! Which deadline the one timer of the OS is set to, so that it is set only when a nearer one appears.
//!
//! `armed` is the deadline at which the timer will ring, or NEVER. It is written under `setting`, with the system call,
//! so the two agree. It only goes down, except that the driver sets it to NEVER when it has heard the timer ring.
//!
//! | from → to         | call   | by         | ordering, and why                                              |
//! |--------------------|--------|------------|----------------------------------------------------------------|
//! | any → an earlier  | `set`  | anyone     | Release, under `setting`, after the system call: who finds it may rely on the timer |
//! | any → NEVER       | `rang` | the driver | Release, under `setting`; before the driver leaves the chair   |
//!
//! Who finds an earlier deadline armed need do nothing: the driver will wake at that one, and read the deadlines anew
//! before it sleeps again. Who finds a value that is about to be reset queued its own before the driver's next `sit`,
//! which comes after the reset, so the driver reads it then (`chair`).
//!
//! Checked by `loom_tests::deadlines`.

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Alarm {
    armed: AtomicU64,
    setting: Mutex<()>,
}

impl Alarm {
    pub(crate) fn new() -> Alarm {
        Alarm {
            armed: AtomicU64::new(NEVER),
            setting: Mutex::new(()),
        }
    }

    /// Sees to it that the timer rings at `deadline` or before; `arm` is the system call.
    pub(crate) fn set(&self, deadline: u64, arm: impl FnOnce()) {
        if deadline >= self.armed.load(Ordering::Acquire) {
            return;
        }
        let _setting = lock(&self.setting);
        if deadline >= self.armed.load(Ordering::Relaxed) {
            return;
        }
        arm();
        self.armed.store(deadline, Ordering::Release);
    }

    /// The driver has heard it ring.
    pub(crate) fn rang(&self) {
        let _setting = lock(&self.setting);
        self.armed.store(NEVER, Ordering::Release);
    }
}
