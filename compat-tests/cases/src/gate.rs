//! Order without sleeping: a gate opens once and for all, a bell counts how often it was rung.
//!
//! Both can be waited for by tasks and by threads, and need no reactor for that, so that they work in the very cases
//! that a reactor fails.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use untether::Timer;

/// Counts rings, as a [`Waker`] or by hand. Clones are the same bell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<Hung>);

#[derive(Debug, Default)]
struct Hung {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rings: usize,
    listeners: Vec<Waker>,
}

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell::default()
    }

    /// A waker that rings this bell. All its clones ring the same, and know it (`will_wake`).
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    pub(crate) fn ring(&self) {
        self.0.wake_by_ref();
    }

    pub(crate) fn rings(&self) -> usize {
        self.0.lock().rings
    }

    /// How many wakers and bells there are that share this count; 1 if nobody kept a waker.
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether everybody else lets go of it. Whoever rings a waker may hold it for a moment longer.
    pub(crate) async fn is_let_go(&self) -> bool {
        for _ in 0..1_000 {
            if self.owners() == 1 {
                return true;
            }
            Timer::after(Duration::from_millis(1)).await;
        }
        false
    }

    /// Waits until it was rung `count` times in all.
    pub(crate) async fn heard(&self, count: usize) {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.rings >= count {
                return Poll::Ready(());
            }
            if !state.listeners.iter().any(|w| w.will_wake(cx.waker())) {
                state.listeners.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// The same for a plain thread.
    pub(crate) fn heard_blocking(&self, count: usize) {
        let mut state = self.0.lock();
        while state.rings < count {
            state = self
                .0
                .rung
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Hung {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Hung {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let listeners = {
            let mut state = self.lock();
            state.rings += 1;
            std::mem::take(&mut state.listeners)
        };
        self.rung.notify_all();
        for listener in listeners {
            listener.wake();
        }
    }
}

/// Closed at first, open for ever after. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Bell);

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate::default()
    }

    pub(crate) fn open(&self) {
        self.0.ring();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.rings() > 0
    }

    pub(crate) async fn passed(&self) {
        self.0.heard(1).await;
    }

    pub(crate) fn passed_blocking(&self) {
        self.0.heard_blocking(1);
    }
}

/// Polls `future`, and opens `gate` once it is pending: whoever passes the gate knows that somebody waits.
pub(crate) async fn announce<F: Future>(gate: &Gate, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        let poll = future.as_mut().poll(cx);
        if poll.is_pending() {
            gate.open();
        }
        poll
    })
    .await
}

/// Polls `future` once with `waker`.
pub(crate) fn poll_with<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}
