//! Who is still being served, and how they hear that it is time to go.
//!
//! Each connection is a guest: it leaves a waker here at its first poll, asks at each poll what stage it is, and signs off
//! when it is dropped. Nothing is missed: a guest leaves its waker and looks at the stage under the lock, and the stage is
//! changed and the wakers are taken under the lock. The stage is an atomic, so that a poll that finds nothing changed
//! needs no lock.
//!
//! No waker is called, cloned or dropped under the lock.

use std::future::{Future, poll_fn};
use std::mem;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// What guests are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    Stay = 0,
    /// Finish what was begun, and begin nothing new.
    Leave = 1,
    /// End now.
    Cut = 2,
}

/// All of them. Dropping it cuts off who is left.
#[derive(Debug)]
pub(super) struct Guests {
    shared: Arc<Shared>,
}

/// One of them. Dropping it signs off.
#[derive(Debug)]
pub(super) struct Guest {
    shared: Arc<Shared>,
    key: usize,
    /// The waker that it has left, and the stage at that time: since the next one it lies there no more.
    left: Option<(Waker, Stage)>,
}

#[derive(Debug)]
struct Shared {
    /// A [`Stage`]. Written under the lock.
    stage: AtomicU8,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    guests: Slab<Option<Waker>>,
    /// Of who waits for all to be gone.
    host: Option<Waker>,
}

impl Shared {
    fn stage(&self) -> Stage {
        // Acquire: what was done before it was said.
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Stay,
            1 => Stage::Leave,
            _ => Stage::Cut,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nobody panics with it.
        self.book
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Guests {
    pub(super) fn new() -> Guests {
        Guests {
            shared: Arc::new(Shared {
                stage: AtomicU8::new(Stage::Stay as u8),
                book: Mutex::default(),
            }),
        }
    }

    pub(super) fn invite(&self) -> Guest {
        Guest {
            key: self.shared.book().guests.insert(None),
            shared: self.shared.clone(),
            left: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shared.book().guests.len()
    }

    /// Tells all of them.
    pub(super) fn tell(&self, stage: Stage) {
        let mut book = self.shared.book();
        self.shared.stage.store(stage as u8, Ordering::Release);
        let wakers: Vec<Waker> = book
            .guests
            .iter_mut()
            .filter_map(|(_, waker)| waker.take())
            .collect();
        drop(book);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until nobody is left.
    pub(super) fn gone(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            let mut waker = Some(cx.waker().clone());
            let mut book = self.shared.book();
            if book.guests.is_empty() {
                return Poll::Ready(());
            }
            mem::swap(&mut book.host, &mut waker);
            drop(book);
            Poll::Pending
        })
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.tell(Stage::Cut);
    }
}

impl Guest {
    /// What it is told; the task is woken when that changes.
    pub(super) fn listen(&mut self, cx: &Context<'_>) -> Stage {
        let now = self.shared.stage();
        match &self.left {
            Some((left, then)) if *then == now && left.will_wake(cx.waker()) => now,
            _ => self.leave(cx.waker()),
        }
    }

    fn leave(&mut self, waker: &Waker) -> Stage {
        let mut place = Some(waker.clone());
        let mut book = self.shared.book();
        mem::swap(&mut book.guests[self.key], &mut place);
        let now = self.shared.stage();
        drop(book);
        self.left = Some((waker.clone(), now));
        now
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut book = self.shared.book();
        let waker = book.guests.remove(self.key);
        let host = if book.guests.is_empty() {
            book.host.take()
        } else {
            None
        };
        drop(book);
        drop(waker);
        if let Some(host) = host {
            host.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Wake, Waker};

    use super::{Guests, Stage};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_guest_is_woken_once_for_each_stage_and_finds_it() {
        let guests = Guests::new();
        let mut guest = guests.invite();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);

        assert_eq!(guest.listen(&cx), Stage::Stay);
        assert_eq!(guest.listen(&cx), Stage::Stay);
        guests.tell(Stage::Leave);
        assert_eq!(count.0.load(SeqCst), 1);
        assert_eq!(guest.listen(&cx), Stage::Leave);
        guests.tell(Stage::Cut);
        assert_eq!(count.0.load(SeqCst), 2);
        assert_eq!(guest.listen(&cx), Stage::Cut);
    }

    #[test]
    fn a_guest_who_comes_with_another_waker_is_woken_by_that() {
        let guests = Guests::new();
        let mut guest = guests.invite();
        let [first, second] = [(); 2].map(|()| Arc::new(Count::default()));
        for count in [&first, &second] {
            let waker = Waker::from(count.clone());
            guest.listen(&Context::from_waker(&waker));
        }
        drop(guests);
        assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 1));
    }

    #[test]
    fn the_last_to_go_wakes_the_host() {
        let guests = Guests::new();
        let (one, other) = (guests.invite(), guests.invite());
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let mut gone = Box::pin(guests.gone());

        assert!(gone.as_mut().poll(&mut cx).is_pending());
        drop(one);
        assert_eq!(count.0.load(SeqCst), 0);
        drop(other);
        assert_eq!(count.0.load(SeqCst), 1);
        assert!(gone.as_mut().poll(&mut cx).is_ready());
    }
}
