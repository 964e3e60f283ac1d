//! Linux and Android: polling's epoll set, waited on by ourselves.
//!
//! `Poller::wait` makes five system calls; one `epoll_pwait` on the poller's descriptor does. Registrations go there
//! directly too, for polling has no word for EPOLLRDHUP, which tells the end of the peer's data beside the data.
//! Two descriptors of our own are registered for life, edge-triggered and never read: an eventfd that wakes the
//! driver, and a timerfd for the nearest deadline, since epoll's own time-outs have a slack of 50 us and more.
//!
//! The poller is private and never told to `wait` or `notify`: a notification that its own `wait` did not see would
//! leave it deaf.
//!
//! Not here: when the timerfd has to be set (`alarm`).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::alarm::Alarm;
use super::{Poller, RawSource, Until};
use crate::clock;
use crate::source::bits;

/// More at once gain nothing; the buffer is on the stack.
const EVENTS: usize = 256;
const WAKE: usize = usize::MAX;
const ALARM: usize = usize::MAX - 1;

#[derive(Debug)]
pub(crate) struct Epoll {
    /// First, so that the descriptors below leave the set before they are closed.
    poller: polling::Poller,
    waker: OwnedFd,
    timer: OwnedFd,
    alarm: Alarm,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        let poller = polling::Poller::new()?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for (fd, key) in [(&waker, WAKE), (&timer, ALARM)] {
            epoll::add(&poller, fd, epoll::EventData::new_u64(key as u64), edge)?;
        }
        Ok(Epoll {
            poller,
            waker,
            timer,
            alarm: Alarm::new(),
        })
    }
}

impl Poller for Epoll {
    fn is_edge(&self) -> bool {
        true
    }

    fn reports_half_close(&self) -> bool {
        true
    }

    fn tells_priority(&self) -> bool {
        true
    }

    fn add(&self, raw: RawSource, key: usize, _: u64) -> io::Result<()> {
        use epoll::EventFlags as E;
        let all = E::IN | E::OUT | E::PRI | E::RDHUP | E::ET;
        let data = epoll::EventData::new_u64(key as u64);
        Ok(epoll::add(&self.poller, raw.borrow()?, data, all)?)
    }

    fn arm(&self, _: RawSource, _: usize, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, raw: RawSource) -> io::Result<()> {
        Ok(epoll::delete(&self.poller, raw.borrow()?)?)
    }

    fn wait(&self, until: Until, event: &mut dyn FnMut(usize, u64)) -> io::Result<()> {
        const ZERO: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = match until {
            Until::Now => Some(&ZERO),
            Until::Forever => None,
            Until::At(deadline) | Until::Machine(deadline) => {
                self.alarm(deadline);
                None
            }
        };
        let mut buffer = [MaybeUninit::uninit(); EVENTS];
        let events = match epoll::wait(&self.poller, &mut buffer[..], timeout) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for one in events {
            let one = *one;
            match one.data.u64() as usize {
                WAKE => {}
                ALARM => self.alarm.rang(),
                key => event(key, u64::from(NEWS[packed(one.flags)])),
            }
        }
        Ok(())
    }

    fn alarm(&self, deadline: u64) {
        self.alarm.set(deadline, || {
            // Zero would disarm. Whatever passes between the look at the clock and the call makes it late, never early.
            let left = deadline.saturating_sub(clock::machine_now()).max(1);
            let setting = Itimerspec {
                it_interval: timespec(0),
                it_value: timespec(left),
            };
            // It can fail for a bad descriptor or a bad time only, and both are ours.
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)
                .expect("a timerfd takes any time");
        });
    }

    fn wake(&self) {
        // It fails only if the counter is at its end, and then the descriptor is readable, which is what we want.
        let _ = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.poller.as_fd())
    }
}

/// What each combination of flags, [`packed`], means in [`bits`].
const NEWS: [u8; 64] = {
    let mut table = [0; 64];
    let mut flags = 0;
    while flags < table.len() {
        table[flags] = news(flags);
        flags += 1;
    }
    table
};

const RDHUP: usize = 1 << 5;

/// The flags that we ask for or get unasked, in six bits: IN, PRI, OUT, ERR and HUP as they are, and RDHUP.
fn packed(flags: epoll::EventFlags) -> usize {
    const _: () = assert!(epoll::EventFlags::RDHUP.bits() >> 8 == RDHUP as u32);
    let flags = flags.bits();
    (flags & 0x1f) as usize | (flags >> 8) as usize & RDHUP
}

const fn news(packed: usize) -> u8 {
    use epoll::EventFlags as E;
    let meanings = [
        (E::IN.bits() as usize, bits::READ_READY),
        (E::OUT.bits() as usize, bits::WRITE_READY),
        (RDHUP, bits::READ_CLOSED),
        (
            E::HUP.bits() as usize,
            bits::READ_CLOSED | bits::WRITE_CLOSED,
        ),
        (E::PRI.bits() as usize, bits::PRIORITY),
        // Whichever operation is tried next reports it.
        (
            E::ERR.bits() as usize,
            bits::ERROR | bits::READ_READY | bits::WRITE_READY,
        ),
    ];
    let mut news = 0;
    let mut at = 0;
    while at < meanings.len() {
        let (flag, meaning) = meanings[at];
        if packed & flag != 0 {
            news |= meaning as u8;
        }
        at += 1;
    }
    news
}

fn timespec(ns: u64) -> Timespec {
    // Whole seconds of a u64 of nanoseconds always fit; on 32-bit systems rustix has 64-bit seconds too.
    Timespec {
        tv_sec: (ns / 1_000_000_000) as _,
        tv_nsec: (ns % 1_000_000_000) as _,
    }
}
