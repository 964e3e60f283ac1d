//! Which address is tried when (RFC 8305): families by turns, each attempt with a head start over the next, the first
//! that answers wins.
//!
//! All attempts are one task's, and each is polled whenever any of them may have news: there are few.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use untether::Timer;

/// Attempts at several addresses. Dropping it drops those that have not answered.
#[derive(Debug)]
pub(super) struct Race<C, F> {
    connect: C,
    head_start: Duration,
    waiting: std::vec::IntoIter<SocketAddr>,
    /// When the next one starts, whatever the others do.
    next: Timer,
    running: Vec<(SocketAddr, Pin<Box<F>>)>,
    failed: Vec<(SocketAddr, io::Error)>,
}

impl<C, F, S> Race<C, F>
where
    C: FnMut(SocketAddr) -> F,
    F: Future<Output = io::Result<S>>,
{
    pub(super) fn new(addresses: Vec<SocketAddr>, head_start: Duration, connect: C) -> Race<C, F> {
        Race {
            connect,
            head_start,
            waiting: by_turns(addresses).into_iter(),
            next: Timer::never(),
            running: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// The first that answers; none if all fail.
    pub(super) fn winner(&mut self) -> impl Future<Output = Option<S>> {
        poll_fn(|cx| self.poll_winner(cx))
    }

    fn poll_winner(&mut self, cx: &mut Context<'_>) -> Poll<Option<S>> {
        loop {
            let mut go_on = self.running.is_empty();
            let mut index = 0;
            while let Some((address, attempt)) = self.running.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Some(stream)),
                    Poll::Ready(Err(error)) => {
                        self.failed.push((*address, error));
                        self.running.remove(index);
                        go_on = true;
                    }
                    Poll::Pending => index += 1,
                }
            }
            if self.waiting.len() == 0 {
                return if self.running.is_empty() {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                };
            }
            if !go_on && Pin::new(&mut self.next).poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(address) = self.waiting.next() {
                self.running
                    .push((address, Box::pin((self.connect)(address))));
                self.next.set_after(self.head_start);
            }
        }
    }

    /// Why nobody has won, in the order in which they failed; those that are still at it last.
    pub(super) fn into_failures(self) -> Vec<(SocketAddr, io::Error)> {
        let silent = |(address, _)| {
            let error = io::Error::new(io::ErrorKind::TimedOut, "no answer");
            (address, error)
        };
        let mut failures = self.failed;
        failures.extend(self.running.into_iter().map(silent));
        failures
    }
}

/// The same addresses, one of each family by turns, beginning with the family of the first: the resolver has sorted them
/// by preference.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let count = addresses.len();
    let (mine, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    let (mut mine, mut others) = (mine.into_iter(), others.into_iter());
    let mut turns = Vec::with_capacity(count);
    while turns.len() < count {
        turns.extend(mine.next());
        turns.extend(others.next());
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{Future, pending};
    use std::io;
    use std::net::SocketAddr;
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};
    use std::time::Duration;

    use untether::{Clock, Reactor};

    use super::{Race, by_turns};

    type Attempt = Pin<Box<dyn Future<Output = io::Result<SocketAddr>>>>;

    const DELAY: Duration = Duration::from_millis(250);

    fn v4(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 80).into()
    }

    fn v6(last: u16) -> SocketAddr {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 80).into()
    }

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    /// Runs a race whose attempts are what `attempt` makes of their addresses, moving the clock a hair beyond each
    /// delay when nothing else can happen. Returns the winner, and who was tried, with the number of delays before.
    fn run(
        addresses: Vec<SocketAddr>,
        attempt: impl Fn(SocketAddr) -> Attempt,
    ) -> (Option<SocketAddr>, Vec<(SocketAddr, u32)>) {
        let clock = Clock::manual();
        let reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
        let tried = RefCell::new(Vec::new());
        let delays = RefCell::new(0);
        let winner = reactor.enter(|| {
            let mut race = Race::new(addresses, DELAY, |address| {
                tried.borrow_mut().push((address, *delays.borrow()));
                attempt(address)
            });
            let mut winner = pin!(race.winner());
            let mut cx = Context::from_waker(Waker::noop());
            loop {
                if let std::task::Poll::Ready(winner) = winner.as_mut().poll(&mut cx) {
                    return winner;
                }
                assert!(*delays.borrow() < 10, "nobody wins");
                *delays.borrow_mut() += 1;
                clock.advance(DELAY + Duration::from_millis(1));
                reactor.turn(Some(Duration::ZERO)).unwrap();
            }
        });
        (winner, tried.into_inner())
    }

    #[test]
    fn families_take_turns_beginning_with_the_preferred_one() {
        let sorted = vec![v6(1), v6(2), v4(1), v6(3), v4(2)];
        assert_eq!(by_turns(sorted), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(by_turns(vec![v4(1), v4(2)]), [v4(1), v4(2)]);
        assert_eq!(by_turns(vec![]), []);
    }

    #[test]
    fn an_address_that_answers_is_the_only_one_tried() {
        let (winner, tried) = run(vec![v6(1), v4(1)], |address| {
            Box::pin(async move { Ok(address) })
        });
        assert_eq!(winner, Some(v6(1)));
        assert_eq!(tried, [(v6(1), 0)]);
    }

    #[test]
    fn one_that_is_silent_has_a_head_start_and_no_more() {
        let (winner, tried) = run(vec![v6(1), v6(2), v4(1)], |address| {
            if address.is_ipv4() {
                Box::pin(async move { Ok(address) })
            } else {
                Box::pin(pending())
            }
        });
        assert_eq!(winner, Some(v4(1)));
        assert_eq!(tried, [(v6(1), 0), (v4(1), 1)]);
    }

    #[test]
    fn one_that_fails_gives_way_at_once() {
        let (winner, tried) = run(vec![v6(1), v4(1), v6(2), v4(2)], |address| {
            if address == v4(2) {
                Box::pin(async move { Ok(address) })
            } else {
                Box::pin(async { Err(refused()) })
            }
        });
        assert_eq!(winner, Some(v4(2)));
        assert_eq!(
            tried,
            [v6(1), v4(1), v6(2), v4(2)].map(|address| (address, 0))
        );
    }

    #[test]
    fn one_that_was_overtaken_may_still_win() {
        let (winner, tried) = run(vec![v6(1), v4(1)], |address| {
            Box::pin(async move {
                if address.is_ipv4() {
                    return pending().await;
                }
                untether::Timer::after(3 * DELAY).await;
                Ok(address)
            })
        });
        assert_eq!(winner, Some(v6(1)));
        assert_eq!(tried, [(v6(1), 0), (v4(1), 1)]);
    }

    #[test]
    fn all_failures_are_told() {
        let mut race = Race::new(vec![v6(1), v4(1)], DELAY, |address| async move {
            if address.is_ipv6() {
                Err::<SocketAddr, _>(refused())
            } else {
                pending().await
            }
        });
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(race.winner()).poll(&mut cx).is_pending());
        let failures = race.into_failures();
        let kinds = failures
            .iter()
            .map(|(address, error)| (*address, error.kind()));
        let expected = [
            (v6(1), io::ErrorKind::ConnectionRefused),
            (v4(1), io::ErrorKind::TimedOut),
        ];
        assert!(kinds.eq(expected), "{failures:?}");
    }
}
