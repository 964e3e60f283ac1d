//! Every system: the crate `polling` alone, with edges where it has them (kqueue, epoll), else one event at a time
//! (IOCP, event ports, poll).
//!
//! `towards` is the deadline that the wait under way ends at; LATE outside of one, and in one that has no end. An
//! alarm that is nearer notifies the poller, and polling keeps a notification for the next wait if there is none.
//! The driver stores LATE before it leaves the chair, so an alarm never trusts the deadline of an earlier sitting.

use std::io;

use polling::{Event, PollMode};

use super::{Poller, RawSource, Until};
use crate::clock;
use crate::source::bits;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

const LATE: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Portable {
    poller: polling::Poller,
    /// Locked by whoever waits, and the chair lets only one.
    events: Mutex<polling::Events>,
    towards: AtomicU64,
    mode: PollMode,
}

impl Portable {
    pub(crate) fn new() -> io::Result<Portable> {
        let poller = polling::Poller::new()?;
        let mode = if poller.supports_edge() {
            PollMode::Edge
        } else {
            PollMode::Oneshot
        };
        Ok(Portable {
            poller,
            events: Mutex::new(polling::Events::new()),
            towards: AtomicU64::new(LATE),
            mode,
        })
    }

    fn interest(&self, key: usize, wants: u64) -> Event {
        if self.is_edge() {
            return Event::all(key).with_priority();
        }
        let mut event = Event::none(key);
        // Unix tells of errors whatever it is asked for; readable data would be no answer. Windows has to be asked.
        let errors = if cfg!(windows) { bits::ERROR } else { 0 };
        event.readable = wants & (bits::READ | errors) != 0;
        event.writable = wants & bits::WRITE != 0;
        event.set_priority(wants & bits::PRIORITY != 0);
        event
    }
}

impl Poller for Portable {
    fn is_edge(&self) -> bool {
        matches!(self.mode, PollMode::Edge)
    }

    fn reports_half_close(&self) -> bool {
        false
    }

    /// polling knows of it on epoll only.
    fn tells_priority(&self) -> bool {
        self.is_edge() && super::EPOLL
    }

    fn add(&self, raw: RawSource, key: usize, wants: u64) -> io::Result<()> {
        raw.add(&self.poller, self.interest(key, wants), self.mode)
    }

    fn arm(&self, raw: RawSource, key: usize, wants: u64) -> io::Result<()> {
        raw.modify(&self.poller, self.interest(key, wants), self.mode)
    }

    fn remove(&self, raw: RawSource) -> io::Result<()> {
        raw.remove(&self.poller)
    }

    fn wait(&self, until: Until, event: &mut dyn FnMut(usize, u64)) -> io::Result<()> {
        let mut events = lock(&self.events);
        events.clear();
        let mut result = match until {
            Until::Now => self
                .poller
                .wait(&mut events, Some(std::time::Duration::ZERO)),
            Until::Forever => self.poller.wait(&mut events, None),
            Until::At(deadline) | Until::Machine(deadline) => {
                self.towards.store(deadline, Ordering::Release);
                let result = self
                    .poller
                    .wait_deadline(&mut events, clock::instant(deadline));
                self.towards.store(LATE, Ordering::Release);
                result
            }
        };
        // On poll(2) polling may take back a notification before its byte is written. It fails then, and stays deaf to all
        // later ones until a wait succeeds. We were notified, so that one need not wait for anything.
        while matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            result = self
                .poller
                .wait(&mut events, Some(std::time::Duration::ZERO));
        }
        result?;
        for one in events.iter() {
            event(one.key, news(&one));
        }
        Ok(())
    }

    fn alarm(&self, deadline: u64) {
        if deadline < self.towards.load(Ordering::Acquire) {
            self.wake();
        }
    }

    fn wake(&self) {
        // It can fail only if the poller's own descriptor is gone, and then its wait fails too and says so.
        let _ = self.poller.notify();
    }

    #[cfg(unix)]
    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        super::unix::poller_fd(&self.poller)
    }
}

fn news(event: &Event) -> u64 {
    let mut news = 0;
    if event.readable {
        news |= bits::READ_READY;
    }
    if event.writable {
        news |= bits::WRITE_READY;
    }
    if event.is_interrupt() {
        news |= bits::READ_CLOSED | bits::WRITE_CLOSED;
    }
    if event.is_priority() {
        news |= bits::PRIORITY;
    }
    // An event of nothing is poll(2)'s word for a descriptor that is not open.
    if event.is_err() == Some(true) || news == 0 {
        news |= bits::ERROR | bits::READ_READY | bits::WRITE_READY;
        if cfg!(windows) {
            // A refused connection. WSAPoll may not know of it, so it is noted as something that lasts.
            news |= bits::WRITE_CLOSED;
        }
    }
    news
}
