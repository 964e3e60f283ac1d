//! What the typed methods of sockets add over plain `Async<T>`.
//!
//! Not here: the loop behind every operation (`waiting`).

mod tcp;
mod udp;
#[cfg(unix)]
mod unix;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::source::{Direction, Place};
use crate::wrapper::Async;

/// The connections that a listener accepts, one after the other, without an end.
struct Incoming<'a, L, F> {
    listener: &'a Async<L>,
    accept: F,
    entry: Option<u32>,
    /// Between two items nothing is known of what the listener would say.
    first: bool,
}

impl<L, F> Unpin for Incoming<'_, L, F> {}

/// `accept` is one attempt, and makes of its result what the stream yields.
fn incoming<'a, L, S, F>(
    listener: &'a Async<L>,
    accept: F,
) -> impl Stream<Item = io::Result<S>> + Send + 'a
where
    L: Sync,
    F: FnMut(&Async<L>) -> io::Result<S> + Send + 'a,
{
    Incoming {
        listener,
        accept,
        entry: None,
        first: true,
    }
}

impl<L, S, F> Stream for Incoming<'_, L, F>
where
    F: FnMut(&Async<L>) -> io::Result<S>,
{
    type Item = io::Result<S>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<S>>> {
        let Incoming {
            listener,
            accept,
            entry,
            first,
        } = &mut *self;
        let place = Place::listed(entry, Direction::Read.bits());
        let attempt = listener.handle.attempt(
            Direction::Read,
            cx,
            place,
            first,
            || accept(listener),
            |_| false,
        );
        let accepted = ready!(attempt);
        *first = true;
        Poll::Ready(Some(accepted))
    }
}

impl<L, F> Drop for Incoming<'_, L, F> {
    fn drop(&mut self) {
        self.listener.handle.unlist(self.entry);
    }
}
