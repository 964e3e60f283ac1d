//! Houses for `house` that do what `reactor` does: who lives in a house is noted under a lock beside its end, a
//! neighbour is found by name while it has handles, and the last handle's drop ends it.
//!
//! Behind them is a model of the kernel with edge-triggered pollers: a registration reports anew whatever is ready, an
//! event tells what holds when it is harvested, and a harvested event may be delivered any time later.

use std::io;
use std::sync::Weak;
use std::task::{Wake, Waker};

use crate::house::{House, HouseId};
use crate::os::RawSource;
use crate::source::{Generation, Source, bits};
use crate::sync::{Arc, AtomicU32, Condvar, Mutex, Ordering, lock};
use crate::thread::Presence;
use crate::turn::wake;

/// Two reactors, and the sources that live in them. A source's handle is its index.
pub(super) struct Street {
    pub(super) sources: [Source; 2],
    houses: Mutex<[Weak<Shared>; 2]>,
    kernel: Mutex<Kernel>,
    changed: Condvar,
}

/// A handle of a reactor.
pub(super) struct Home {
    shared: Arc<Shared>,
}

struct Shared {
    number: usize,
    tells_apart: bool,
    street: Arc<Street>,
    tenants: Mutex<Tenants>,
    presence: Presence,
    /// So that loom, which does not see std's reference counts, tries coming and going of handles in every order.
    handles: AtomicU32,
}

#[derive(Default)]
struct Tenants {
    indices: Vec<u32>,
    ended: bool,
}

impl Street {
    /// Two houses, and sources that are pessimistic.
    pub(super) fn new() -> (Arc<Street>, Home, Home) {
        Street::with([true, true])
    }

    /// Houses that tell of the end of the data beside the data, or do not.
    pub(super) fn with(tell_apart: [bool; 2]) -> (Arc<Street>, Home, Home) {
        let street = Arc::new(Street {
            sources: [Source::vacant(), Source::vacant()],
            houses: Mutex::default(),
            kernel: Mutex::default(),
            changed: Condvar::new(),
        });
        for (raw, source) in street.sources.iter().enumerate() {
            source.open(raw as RawSource, false);
        }
        let [a, b] = [0, 1].map(|number| Street::build(&street, number, tell_apart[number]));
        (street, a, b)
    }

    pub(super) fn build(street: &Arc<Street>, number: usize, tells_apart: bool) -> Home {
        let shared = Arc::new(Shared {
            number,
            tells_apart,
            street: street.clone(),
            tenants: Mutex::default(),
            presence: Presence::new(),
            handles: AtomicU32::new(0),
        });
        lock(&street.houses)[number] = Arc::downgrade(&shared);
        Home::of(shared)
    }

    /// The other end of socket 0 does something.
    pub(super) fn happens(&self, change: impl FnOnce(&mut Socket)) {
        let mut kernel = lock(&self.kernel);
        change(&mut kernel.sockets[0]);
        for poller in &mut kernel.pollers {
            poller.queue(0);
        }
        self.changed.notify_all();
    }

    fn stop(&self, number: usize) {
        lock(&self.kernel).pollers[number].stopped = true;
        self.changed.notify_all();
    }

    /// The system call: reads up to two bytes from socket 0; 0 at the end, `None` if there is nothing.
    pub(super) fn take(&self) -> Option<u32> {
        let socket = &mut lock(&self.kernel).sockets[0];
        let taken = socket.bytes.min(2);
        socket.bytes -= taken;
        (taken > 0 || socket.ended).then_some(taken)
    }
}

impl Home {
    fn of(shared: Arc<Shared>) -> Home {
        shared.handles.fetch_add(1, Ordering::Relaxed);
        Home { shared }
    }

    /// A driver: makes turns until `stop`, and once more if there are events.
    pub(super) fn drive(&self) {
        while let Some(events) = self.shared.harvest() {
            self.deliver(events);
        }
    }

    /// An executor's thread: polls, and drives until it is to poll again. A stop is its unpark.
    pub(super) fn block_on<T>(&self, mut poll: impl FnMut(&Waker) -> Option<T>) -> T {
        let waker = Waker::from(Arc::new(Stop(
            self.shared.number,
            self.shared.street.clone(),
        )));
        loop {
            if let Some(output) = poll(&waker) {
                return output;
            }
            self.drive();
        }
    }

    /// One turn that does not wait.
    pub(super) fn turn(&self) {
        let events = lock(&self.shared.street.kernel).harvest(self.shared.number);
        self.deliver(events);
    }

    fn deliver(&self, events: Vec<Event>) {
        let mut wakers = Vec::new();
        for (index, generation, mut news) in events {
            if !self.shared.tells_apart {
                news &= !bits::READ_CLOSED;
            }
            let source = &self.shared.street.sources[index as usize];
            source.deliver(self, index, generation, news, &mut wakers);
        }
        wakers.into_iter().for_each(wake);
    }

    /// Ends `drive`.
    pub(super) fn stop(&self) {
        self.shared.street.stop(self.shared.number);
    }

    /// `Reactor::evict`.
    pub(super) fn evict(&self) {
        self.shared.turn_out(false);
    }

    /// `Reactor::shutdown`.
    pub(super) fn shut_down(&self) {
        self.shared.turn_out(true);
    }
}

struct Stop(usize, Arc<Street>);

impl Wake for Stop {
    fn wake(self: Arc<Self>) {
        self.1.stop(self.0);
    }
}

impl Clone for Home {
    fn clone(&self) -> Home {
        Home::of(self.shared.clone())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.shared.handles.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn harvest(&self) -> Option<Vec<Event>> {
        let mut kernel = lock(&self.street.kernel);
        loop {
            let events = kernel.harvest(self.number);
            if !events.is_empty() {
                return Some(events);
            }
            if std::mem::take(&mut kernel.pollers[self.number].stopped) {
                return None;
            }
            kernel = self.street.changed.wait(kernel).expect("nobody panics");
        }
    }

    fn turn_out(&self, for_good: bool) {
        let mut wakers: Vec<Waker> = Vec::new();
        let indices = {
            let mut tenants = lock(&self.tenants);
            if for_good {
                tenants.ended = true;
                std::mem::take(&mut tenants.indices)
            } else {
                tenants.indices.clone()
            }
        };
        for index in indices {
            self.street.sources[index as usize].evict(self.id(), for_good, &mut wakers);
        }
        wakers.into_iter().for_each(wake);
    }

    fn id(&self) -> HouseId {
        HouseId::new(self.number)
    }

    fn forget(&self, index: u32) {
        lock(&self.tenants).indices.retain(|&one| one != index);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.turn_out(true);
        // As the poller's descriptor is closed.
        lock(&self.street.kernel).pollers[self.number] = Poller::default();
        lock(&self.street.houses)[self.number] = Weak::new();
    }
}

impl House for Home {
    fn id(&self) -> HouseId {
        self.shared.id()
    }

    fn is_edge(&self) -> bool {
        true
    }

    fn reports_half_close(&self) -> bool {
        self.shared.tells_apart
    }

    fn admit(&self, raw: RawSource, index: u32, of: Generation, _: u64) -> io::Result<()> {
        {
            let mut tenants = lock(&self.shared.tenants);
            if tenants.ended {
                return Err(io::Error::other("this house has ended"));
            }
            tenants.indices.push(index);
        }
        let street = &self.shared.street;
        let mut kernel = lock(&street.kernel);
        let poller = &mut kernel.pollers[self.shared.number];
        assert!(poller.members.iter().all(|member| member.0 != raw), "twice");
        poller.members.push((raw, index, of));
        poller.queue(raw);
        street.changed.notify_all();
        Ok(())
    }

    fn arm(&self, _: RawSource, _: u32, _: Generation, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn dismiss(&self, raw: RawSource, index: u32) -> io::Result<()> {
        self.shared.forget(index);
        let mut kernel = lock(&self.shared.street.kernel);
        let poller = &mut kernel.pollers[self.shared.number];
        poller.members.retain(|member| member.0 != raw);
        poller.queue.retain(|&one| one != raw);
        Ok(())
    }

    fn neighbour(&self, id: HouseId) -> Option<Home> {
        let shared = lock(&self.shared.street.houses)[id.index()].upgrade();
        shared.map(Home::of)
    }

    fn summon(&self) -> io::Result<()> {
        self.shared.presence.summon(|| Ok(()))
    }
}

type Event = (u32, Generation, u64);

/// Everything the operating system knows, under one lock as everything there is atomic to us.
#[derive(Default)]
struct Kernel {
    sockets: [Socket; 2],
    pollers: [Poller; 2],
}

#[derive(Default)]
pub(super) struct Socket {
    pub(super) bytes: u32,
    pub(super) ended: bool,
    pub(super) has_room: bool,
}

#[derive(Default)]
struct Poller {
    members: Vec<(RawSource, u32, Generation)>,
    /// Members to which something may have happened.
    queue: Vec<RawSource>,
    stopped: bool,
}

impl Kernel {
    fn harvest(&mut self, number: usize) -> Vec<Event> {
        let poller = &mut self.pollers[number];
        let queued = std::mem::take(&mut poller.queue).into_iter();
        queued
            .filter_map(|raw| {
                let &(_, index, of) = poller.members.iter().find(|member| member.0 == raw)?;
                let news = self.sockets[raw as usize].news();
                (news != 0).then_some((index, of, news))
            })
            .collect()
    }
}

impl Poller {
    fn queue(&mut self, raw: RawSource) {
        let registered = self.members.iter().any(|member| member.0 == raw);
        if registered && !self.queue.contains(&raw) {
            self.queue.push(raw);
        }
    }
}

impl Socket {
    fn news(&self) -> u64 {
        let mut news = 0;
        if self.bytes > 0 || self.ended {
            news |= bits::READ_READY;
        }
        if self.ended {
            news |= bits::READ_CLOSED;
        }
        if self.has_room {
            news |= bits::WRITE_READY;
        }
        news
    }
}
