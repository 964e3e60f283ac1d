//! Time, from untether to hyper's traits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;
use untether::Reactor;

/// untether's timers for hyper's builders: header and keep-alive time-outs need one.
///
/// A sleep waits in the reactor of the thread that polls it, and by its clock: with a manual one, hyper's time-outs pass
/// when it is moved. hyper's `reset` changes the deadline in place.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use hyper::rt::Timer as _;
/// use untether_hyper::Timer;
///
/// untether_executors::block_on(Timer.sleep(Duration::from_millis(1)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

impl rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(untether::Timer::after(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(untether::Timer::at(deadline)))
    }

    fn now(&self) -> Instant {
        Reactor::current().clock().now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(sleep) => sleep.get_mut().0.set_at(deadline),
            // Another timer's.
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

#[derive(Debug)]
struct Sleep(untether::Timer);

impl rt::Sleep for Sleep {}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.get_mut().0).poll(cx));
        Poll::Ready(())
    }
}
