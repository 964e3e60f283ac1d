//! Reactors: the handle, the global one and private ones, and which is the current one.
//!
//! A reactor belongs to no executor. Whoever owns a private one drives it; the global one, for every thread that has
//! entered none, is driven by a thread of ours that exists only while somebody waits there (`thread`).
//!
//! Not here: a turn (`turn`), the seam for executors (`park`), what a source does (`source`, `house`).

use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::task::Waker;
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::budget;
use crate::chair::Chair;
use crate::clock::{self, Clock};
use crate::deadlines::Deadlines;
use crate::fork;
use crate::house::{House, HouseId};
use crate::os::{self, Backend, RawSource, Until};
use crate::pages;
use crate::park::Watch;
use crate::source::{self, Generation, bits};
use crate::spin::Spin;
use crate::sync::{
    Arc, AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering, Weak, lock,
};
use crate::thread::Driver;
use crate::turn::{Turn, wake};

/// A reactor: it hears from the OS about the sources that wait in it, and from the clock about its timers, and wakes
/// exactly the tasks concerned. This is a cheap handle; clones are the same reactor.
///
/// You need none of this for plain I/O: an [`Async`](crate::Async) or a [`Timer`](crate::Timer) finds
/// [`Reactor::current`] when it first has to wait. Executors and host loops use a private one, enter it
/// ([`Reactor::enter`]) while they poll, and drive it with a [`Parker`](crate::Parker) or [`Reactor::turn`].
///
/// A private reactor ends with [`Reactor::shutdown`], or when its last handle is dropped.
///
/// ```
/// use std::time::Duration;
/// use untether::Reactor;
///
/// let reactor = Reactor::new()?;
/// reactor.enter(|| assert_eq!(Reactor::current(), reactor));
/// let turn = reactor.turn(Some(Duration::ZERO))?;
/// assert_eq!(turn.events, 0);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Reactor {
    shared: Arc<Shared>,
}

/// Who drives a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// A thread of ours, named "untether", while somebody waits in it. The global reactor's default.
    Auto,
    /// Its owner: an executor that parks in it, or a host loop that calls [`Reactor::turn`]. The default of private
    /// reactors.
    Never,
}

/// Makes a reactor with other than the usual properties: see [`Reactor::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    clock: Clock,
    policy: Option<Policy>,
    backend: Backend,
    spin: Duration,
}

pub(crate) struct Shared {
    id: HouseId,
    born: fork::Generation,
    name: String,
    backend: Backend,
    pub(crate) clock: Clock,
    pub(crate) chair: Chair,
    pub(crate) deadlines: &'static Deadlines,
    poller: OnceCell<Made>,
    tenants: Mutex<Tenants>,
    /// Shut down; changes under the lock of `tenants`.
    ended: AtomicBool,
    /// How many sources live here; changes under the lock of `tenants`.
    lodgers: AtomicUsize,
    /// Turns made so far; a watcher compares two readings, so it may wrap. Written by who sits.
    turns: AtomicU32,
    pub(crate) watch: Watch,
    pub(crate) driver: Driver,
    pub(crate) spin: Spin,
}

/// Which sources live in a reactor: a bit for each index in the pages.
#[derive(Default)]
struct Tenants {
    bits: Vec<u64>,
}

static REACTORS: Mutex<Reactors> = Mutex::new(Reactors {
    living: Vec::new(),
    spare: Vec::new(),
});
/// The global one: null, or a box that is never freed. A child process of `fork` makes another. Changes under the lock
/// of REACTORS.
static GLOBAL: AtomicPtr<Reactor> = AtomicPtr::new(ptr::null_mut());
/// Enough for every core of a large machine to have its own; more only share a lock.
const MOST_SHARDS: usize = 64;

/// What the process knows of its reactors.
pub(crate) struct Reactors {
    /// By the index in their id.
    living: Vec<Option<Weak<Shared>>>,
    /// The deadlines of those that have ended, for the next ones.
    ///
    /// Like the `pages` of the sources they are never freed: so a timer can outlive its reactor, and not keep it, and
    /// that costs it neither a count nor a look-up.
    spare: Vec<(fork::Generation, &'static Deadlines)>,
}

thread_local! {
    /// The reactor whose `enter` is the innermost on this thread's stack, or null.
    static ENTERED: Cell<*const Reactor> = const { Cell::new(ptr::null()) };
}

impl Reactor {
    /// A private reactor, driven by its owner and by nobody else.
    ///
    /// # Errors
    /// Those of the OS: it takes up to five descriptors.
    pub fn new() -> io::Result<Reactor> {
        Reactor::builder().build()
    }

    /// A reactor of choice.
    pub fn builder() -> Builder {
        Builder {
            name: String::new(),
            clock: Clock::system(),
            policy: None,
            backend: Backend::Auto,
            spin: Duration::ZERO,
        }
    }

    /// The reactor of every thread that has entered none. It always exists, and takes descriptors and a thread only
    /// when somebody first waits in it; if the OS refuses them, the wait fails, and the next one tries again.
    pub fn global() -> Reactor {
        global().clone()
    }

    /// The reactor that this thread has entered, else the global one: where a source or timer registers that has to
    /// wait now.
    pub fn current() -> Reactor {
        with_current(Reactor::clone)
    }

    /// The reactor that this thread has entered, if any. In a child process of `fork` one that was entered before does
    /// not count.
    pub fn entered() -> Option<Reactor> {
        with_entered(|entered| entered.cloned())
    }

    /// Runs `f` with this reactor as the current one of this thread. Calls nest; the one before is back afterwards,
    /// after a panic too. What operations the running task had already done in a row, after which it would have to yield,
    /// is forgotten.
    ///
    /// Whoever enters a private reactor has to drive it soon after `f`, for nobody else will: what waits in it sleeps
    /// until then. So do not call somebody else's `block_on` within `f` for a future that waits for I/O: the thread that
    /// should drive would sleep in there. (`untether_executors::block_on` may be called anywhere: it drives the reactor
    /// that it finds entered.)
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Restore(*const Reactor);
        impl Drop for Restore {
            fn drop(&mut self) {
                ENTERED.set(self.0);
            }
        }
        let _restore = Restore(ENTERED.replace(self));
        budget::refill();
        f()
    }

    /// Makes one turn: fires the timers that are due, waits for the OS at most `timeout` (`None`: until something
    /// happens) and no longer than until the next deadline, and wakes whoever is concerned, on this thread, holding no
    /// lock. An interrupted wait ends the turn with no events.
    ///
    /// One thread at a time drives a reactor: if another does, this returns at once with [`Turn::seated`] false.
    ///
    /// # Errors
    /// Those of the OS, if the poller cannot be made or waited on; and after [`Reactor::shutdown`].
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<Turn> {
        if self.is_ended() {
            return Err(has_ended());
        }
        let until = match timeout {
            None => Until::Forever,
            Some(Duration::ZERO) => Until::Now,
            Some(timeout) => {
                let at = u64::try_from(timeout.as_nanos()).map_or(clock::NEVER, |ns| {
                    self.shared.clock.now_ns().saturating_add(ns)
                });
                Until::At(at)
            }
        };
        self.make_turn(until)
    }

    /// When the next timer of this reactor is due; `None` if there is none. A host loop waits no longer than that.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.shared.deadlines.next().map(clock::instant)
    }

    /// The descriptor that becomes readable when [`Reactor::turn`] would find an event: what a host loop watches,
    /// level-triggered. Timers are not part of it; see [`Reactor::next_deadline`].
    ///
    /// # Errors
    /// `Unsupported` where the poller has no descriptor (poll(2)), and those of making the poller.
    #[cfg(unix)]
    pub fn as_fd(&self) -> io::Result<std::os::fd::BorrowedFd<'_>> {
        self.shared.poller()?.fd().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "this back end has no descriptor to watch; call turn from a thread instead",
            )
        })
    }

    /// How many sources of this reactor somebody waits for. Looks at each source that is registered here: for
    /// diagnostics, and for who wants to know whether the OS may still bring news.
    ///
    /// ```
    /// use std::{future::Future, net::TcpListener, pin::pin, task::{Context, Waker}};
    /// use untether::{Async, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    /// {
    ///     let mut accept = pin!(listener.accept());
    ///     let cx = &mut Context::from_waker(Waker::noop());
    ///     assert!(reactor.enter(|| accept.as_mut().poll(cx)).is_pending());
    ///     assert_eq!(reactor.waited_for(), 1);
    /// }
    /// assert_eq!(reactor.waited_for(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn waited_for(&self) -> usize {
        if self.shared.lodgers.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let sources = self.sources();
        sources.iter().filter(|source| source.waiters > 0).count()
    }

    /// All that live here.
    fn sources(&self) -> Vec<source::Inspected> {
        let shared = &self.shared;
        let tenants = {
            let tenants = lock(&shared.tenants);
            indices(&tenants.bits).collect::<Vec<_>>()
        };
        let sources = tenants.into_iter();
        sources
            .filter_map(|index| pages::get(index)?.inspect(shared.id))
            .collect()
    }

    /// The clock that this reactor's timers go by.
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// Wakes everybody who waits in this reactor, so that each waits anew wherever it runs next. Its owner calls this
    /// when it stops driving for a while. Nothing is lost, and nothing is deregistered.
    pub fn evict(&self) {
        self.shared.turn_out(false);
    }

    /// The end of a private reactor: wakes everybody who waits in it. Sources that were pinned to it
    /// ([`Async::new_in`](crate::Async::new_in)) fail from now on; all others register anew wherever they are waited
    /// for next. Registering here fails. Dropping the last handle does the same.
    ///
    /// On the global reactor, which has no end, this is [`Reactor::evict`].
    pub fn shutdown(&self) {
        if made_global() == Some(self) {
            return self.evict();
        }
        self.shared.turn_out(true);
        self.wake_driver();
    }

    /// Whether it can be waited in: it has not been shut down, and was not made before a fork by the parent of this
    /// process.
    ///
    /// ```
    /// let reactor = untether::Reactor::new()?;
    /// assert!(reactor.is_alive());
    /// reactor.shutdown();
    /// assert!(!reactor.is_alive());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_alive(&self) -> bool {
        !self.is_stale() && !self.is_ended()
    }

    /// Every reactor of the process that has not ended, for diagnostics: `{:#?}` prints who waits for what.
    pub fn all() -> Vec<Reactor> {
        let reactors = lock(&REACTORS);
        let living = reactors.living.iter().flatten().filter_map(Weak::upgrade);
        let all = living.map(|shared| Reactor { shared });
        // Of the stale ones nothing may be dropped under the lock, nor printed: they are only counted down.
        let (ours, stale): (Vec<_>, Vec<_>) = all.partition(|reactor| !reactor.is_stale());
        drop(reactors);
        drop(stale);
        ours
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.shared.born.is_stale()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.shared.is_ended()
    }

    /// An event came in: its source, if it is still the one that `key` names, hears of it.
    pub(crate) fn deliver(&self, key: usize, news: u64, wakers: &mut Vec<Waker>) {
        let (index, generation) = pages::unpack(key);
        if let Some(source) = pages::get(index) {
            source.deliver(self, index, generation, news, wakers);
        }
    }

    /// News for the driver: if it sleeps, it wakes up and looks.
    pub(crate) fn nudge(&self) {
        // Nobody sits down before there is a poller.
        if self.shared.chair.nudge() {
            self.wake_driver();
        }
        self.shared.driver.interrupt();
    }

    /// Ends the wait of whoever sits, or the next one.
    pub(crate) fn wake_driver(&self) {
        self.shared.with_made_poller(|poller| poller.wake());
    }

    /// A timer of this reactor has become the first of its shard: a driver that sleeps longer than that must hear.
    pub(crate) fn announce(&self, deadline: u64) {
        let shared = &self.shared;
        if shared.clock.is_manual() {
            // The clock may have reached the deadline since the task looked, and the driver have found nothing then.
            return self.nudge();
        }
        if !shared.chair.occupied() {
            return shared.driver.interrupt();
        }
        shared.alarm(deadline);
    }

    /// Whether somebody may be waiting here.
    pub(crate) fn is_inhabited(&self) -> bool {
        self.shared.lodgers.load(Ordering::Relaxed) != 0 || self.shared.deadlines.len() != 0
    }
}

impl Builder {
    /// A name for diagnostics, and of the thread that drives it, if any.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// The clock that the timers go by.
    pub fn clock(mut self, clock: Clock) -> Builder {
        self.clock = clock;
        self
    }

    /// Who drives. Without this: [`Policy::Never`] for a private reactor, [`Policy::Auto`] for the global one.
    ///
    /// A private reactor with [`Policy::Auto`] lives as long as its thread, which is until [`Reactor::shutdown`] or
    /// until nothing has waited in it for a while.
    pub fn policy(mut self, policy: Policy) -> Builder {
        self.policy = Some(policy);
        self
    }

    /// The back end.
    pub fn backend(mut self, backend: Backend) -> Builder {
        self.backend = backend;
        self
    }

    /// For how long at most a thread that parks in it ([`Parker`](crate::Parker)) looks for events before it blocks. Zero,
    /// the default: not at all.
    ///
    /// It spares both sides the time that waking a thread takes, some microseconds, or some ten on a virtual machine, and
    /// costs a core that is busy meanwhile. So it is done only while waits have been short of late (less than three times
    /// `at_most`, on a moving average), and never with a manual clock. For requests that follow each other closely over few
    /// connections 50 us is a good limit. Where the thread shares its core with those that it waits for, looking only keeps
    /// them waiting.
    ///
    /// An executor drives the reactor that it finds entered:
    ///
    /// ```
    /// use std::time::Duration;
    /// # use futures_lite::future::block_on;
    /// // use untether_executors::block_on;
    ///
    /// let reactor = untether::Reactor::builder().spin(Duration::from_micros(50)).build()?;
    /// reactor.enter(|| block_on(async { /* serve */ }));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spin(mut self, at_most: Duration) -> Builder {
        self.spin = at_most;
        self
    }

    /// Makes a private reactor.
    ///
    /// # Errors
    /// Those of the OS: it takes up to five descriptors.
    pub fn build(self) -> io::Result<Reactor> {
        let reactor = self.make(Policy::Never);
        reactor.shared.poller()?;
        Ok(reactor)
    }

    /// Makes the reactor that [`Reactor::global`] returns from now on: for a host loop that drives it itself, say.
    ///
    /// # Errors
    /// `AlreadyExists`, if the global reactor has been used already; and those of the OS.
    pub fn build_global(self) -> io::Result<Reactor> {
        let reactor = self.make(Policy::Auto);
        reactor.shared.poller()?;
        if !make_global(|| reactor.clone()) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the global reactor is in use already; build it before the first I/O",
            ));
        }
        Ok(reactor)
    }

    fn make(self, default_policy: Policy) -> Reactor {
        let policy = self.policy.unwrap_or(default_policy);
        fork::watch();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // A manual clock does not say how long we have looked.
        let spins = !self.clock.is_manual();
        let mut reactors = lock(&REACTORS);
        let vacant = reactors.living.iter().position(Option::is_none);
        let index = vacant.unwrap_or_else(|| {
            reactors.living.push(None);
            reactors.living.len() - 1
        });
        let shared = Arc::new(Shared {
            id: HouseId::new(index),
            born: fork::Generation::now(),
            name: self.name,
            backend: self.backend,
            clock: self.clock,
            chair: Chair::new(),
            deadlines: reactors.deadlines(cores.min(MOST_SHARDS)),
            poller: OnceCell::new(),
            tenants: Mutex::default(),
            ended: AtomicBool::new(false),
            lodgers: AtomicUsize::new(0),
            turns: AtomicU32::new(0),
            watch: Watch::default(),
            driver: Driver::new(policy),
            spin: Spin::new(if spins { self.spin } else { Duration::ZERO }),
        });
        reactors.living[index] = Some(Arc::downgrade(&shared));
        Reactor { shared }
    }
}

impl Shared {
    pub(crate) fn name(&self) -> &str {
        if self.name.is_empty() {
            "untether"
        } else {
            &self.name
        }
    }

    /// # Errors
    /// Those of the OS, which may have no descriptors to spare now; the next call tries again. And that the poller is the
    /// parent's, in a child process of `fork`.
    pub(crate) fn poller(&self) -> io::Result<&dyn os::Poller> {
        if self.born.is_stale() {
            return Err(fork::stale());
        }
        let made = self.poller.get_or_try_init(|| {
            let poller = os::open(self.backend)?;
            io::Result::Ok(Made {
                is_edge: poller.is_edge(),
                poller,
            })
        })?;
        Ok(&*made.poller)
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(crate) fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    /// By who sits.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn turned(&self) {
        self.turns
            .store(self.turns().wrapping_add(1), Ordering::Relaxed);
    }

    /// Moves the wakers of the timers that are due into `wakers`. Reads the clock only if there are timers, and exactly
    /// only if one may be due.
    pub(crate) fn take_due(&self, wakers: &mut Vec<Waker>) -> usize {
        if self.deadlines.len() == 0 {
            return 0;
        }
        let rest = |(from, to)| self.deadlines.rest(from, to);
        if self.clock.roughly().is_some_and(rest) {
            return 0;
        }
        self.deadlines.fire(self.clock.now_ns(), wakers)
    }

    /// No longer than until the next deadline. A manual clock stands still while we wait: its deadlines come when it
    /// is moved, and that wakes us.
    pub(crate) fn at_most_next(&self, until: Until) -> Until {
        if until == Until::Now {
            return until;
        }
        if self.clock.is_manual() {
            return match until {
                Until::Machine(_) => until,
                _ => Until::Forever,
            };
        }
        match (until, self.deadlines.next()) {
            (Until::At(at) | Until::Machine(at), Some(next)) => Until::At(at.min(next)),
            (Until::Forever, Some(next)) => Until::At(next),
            (until, _) => until,
        }
    }

    /// Wakes all who wait here; see [`Reactor::evict`] and [`Reactor::shutdown`].
    fn turn_out(&self, for_good: bool) {
        if self.born.is_stale() {
            return;
        }
        let mut wakers = Vec::new();
        let tenants = {
            let mut tenants = lock(&self.tenants);
            if for_good {
                // Release: whoever sees it, and drives, sees what was done before the shutdown.
                self.ended.store(true, Ordering::Release);
                self.lodgers.store(0, Ordering::Relaxed);
                std::mem::take(&mut tenants.bits)
            } else if self.lodgers.load(Ordering::Relaxed) != 0 {
                tenants.bits.clone()
            } else {
                Vec::new()
            }
        };
        for index in indices(&tenants) {
            if let Some(source) = pages::get(index) {
                source.evict(self.id, for_good, &mut wakers);
            }
        }
        if for_good {
            self.deadlines.close(&mut wakers);
        } else if self.deadlines.len() != 0 {
            self.deadlines.evict(&mut wakers);
        }
        wakers.into_iter().for_each(wake);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.turn_out(true);
        let mut reactors = lock(&REACTORS);
        reactors.living[self.id.index()] = None;
        if !self.born.is_stale() {
            return reactors.spare.push((self.born, self.deadlines));
        }
        drop(reactors);
        // Closing it in polling's way would delete entries of the parent's poller.
        std::mem::forget(self.poller.take());
    }
}

/// A poller, and what is asked of it most often.
struct Made {
    is_edge: bool,
    poller: Box<dyn os::Poller>,
}

impl House for Reactor {
    fn id(&self) -> HouseId {
        self.shared.id
    }

    fn is_edge(&self) -> bool {
        self.shared.poller.get().is_none_or(|made| made.is_edge)
    }

    fn reports_half_close(&self) -> bool {
        let made = self.shared.poller.get();
        made.is_some_and(|made| made.poller.reports_half_close())
    }

    fn admit(
        &self,
        raw: RawSource,
        index: u32,
        generation: Generation,
        wants: u64,
    ) -> io::Result<()> {
        let poller = self.shared.poller()?;
        {
            let mut tenants = lock(&self.shared.tenants);
            if self.shared.is_ended() {
                return Err(has_ended());
            }
            tenants.insert(index);
            self.shared.lodgers.fetch_add(1, Ordering::Relaxed);
        }
        poller
            .add(raw, pages::pack(index, generation), wants)
            .map_err(|error| {
                self.shared.forget(index);
                raw.explain(error)
            })
    }

    fn arm(
        &self,
        raw: RawSource,
        index: u32,
        generation: Generation,
        wants: u64,
    ) -> io::Result<()> {
        let poller = self.shared.poller()?;
        poller.arm(raw, pages::pack(index, generation), wants)
    }

    fn dismiss(&self, raw: RawSource, index: u32) -> io::Result<()> {
        self.shared.forget(index);
        self.shared.poller()?.remove(raw)
    }

    fn neighbour(&self, id: HouseId) -> Option<Reactor> {
        let reactors = lock(&REACTORS);
        let shared = reactors.living.get(id.index())?.as_ref()?.upgrade();
        drop(reactors);
        shared.map(|shared| Reactor { shared })
    }

    fn summon(&self) -> io::Result<()> {
        self.shared.driver.summon(self)
    }
}

impl Shared {
    /// The wait that is under way, if any, must end at `deadline` too.
    pub(crate) fn alarm(&self, deadline: u64) {
        self.with_made_poller(|poller| poller.alarm(deadline));
    }

    /// Nobody waits before there is a poller; and the parent's driver is not for a child process to wake.
    fn with_made_poller(&self, f: impl FnOnce(&dyn os::Poller)) {
        if let Some(made) = self.poller.get().filter(|_| !self.born.is_stale()) {
            f(&*made.poller);
        }
    }

    fn forget(&self, index: u32) {
        let mut tenants = lock(&self.tenants);
        let was_last = tenants.remove(index) && self.lodgers.fetch_sub(1, Ordering::Relaxed) == 1;
        drop(tenants);
        if was_last {
            self.driver.vacated(self);
        }
    }
}

impl Tenants {
    fn insert(&mut self, index: u32) {
        let (word, bit) = (index as usize / 64, index % 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << bit;
    }

    fn remove(&mut self, index: u32) -> bool {
        let Some(word) = self.bits.get_mut(index as usize / 64) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let lived_here = *word & bit != 0;
        *word &= !bit;
        lived_here
    }
}

/// The set bits of `words`, as numbers.
fn indices(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    words.iter().enumerate().flat_map(|(at, &word)| {
        (0..64)
            .filter(move |bit| word >> bit & 1 != 0)
            .map(move |bit| at as u32 * 64 + bit)
    })
}

pub(crate) fn has_ended() -> io::Error {
    io::Error::other("this reactor has shut down; wait in another one")
}

fn global() -> &'static Reactor {
    loop {
        if let Some(global) = made_global() {
            return global;
        }
        let reactor = Reactor::builder().name("untether").make(Policy::Auto);
        make_global(|| reactor);
    }
}

/// The global reactor, if this process has made one.
fn made_global() -> Option<&'static Reactor> {
    // SAFETY: null, or a box that `make_global` has leaked.
    let made = unsafe { GLOBAL.load(Ordering::Acquire).as_ref() };
    made.filter(|reactor| !reactor.is_stale())
}

/// Makes `reactor`'s the global one, if this process has none yet.
fn make_global(reactor: impl FnOnce() -> Reactor) -> bool {
    let registry = registry();
    let is_first = made_global().is_none();
    if is_first {
        GLOBAL.store(Box::into_raw(Box::new(reactor())), Ordering::Release);
    }
    // One that is not needed ends with `reactor`, after the lock.
    drop(registry);
    is_first
}

/// The lock without which no reactor is made or ended, for a fork.
pub(crate) fn registry() -> Registry {
    lock(&REACTORS)
}

/// See [`registry`].
pub(crate) type Registry = MutexGuard<'static, Reactors>;

impl Reactors {
    fn deadlines(&mut self, shards: usize) -> &'static Deadlines {
        // In a child of `fork`, a lock of the parent's may never be released.
        self.spare.retain(|(born, _)| !born.is_stale());
        match self.spare.pop() {
            Some((_, deadlines)) => {
                deadlines.reopen();
                deadlines
            }
            None => Box::leak(Box::new(Deadlines::new(shards))),
        }
    }
}

/// The descriptor of the global reactor.
#[cfg(unix)]
pub(crate) fn global_fd() -> Option<std::os::fd::BorrowedFd<'static>> {
    global().as_fd().ok()
}

#[inline]
fn with_entered<R>(f: impl FnOnce(Option<&Reactor>) -> R) -> R {
    let entered = ENTERED.get();
    // SAFETY: a pointer that is not null was stored by `enter`, whose frame is further down this thread's stack, holds
    // the reactor borrowed, and takes the pointer back before it ends. `f` cannot keep the reference.
    f(unsafe { entered.as_ref() }.filter(|entered| !entered.is_stale()))
}

/// Calls `f` with the current reactor, without counting a reference.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Reactor) -> R) -> R {
    with_entered(|entered| match entered {
        Some(entered) => f(entered),
        None => f(global()),
    })
}

/// A manual clock was moved: whoever sleeps by it has to look.
pub(crate) fn clock_moved(clock: &Clock) {
    for reactor in Reactor::all() {
        if reactor.shared.clock.same(clock) {
            reactor.nudge();
        }
    }
}

// A panic cannot leave a reactor half-changed: no foreign code runs while its state is being changed.
impl UnwindSafe for Reactor {}
impl RefUnwindSafe for Reactor {}

impl PartialEq for Reactor {
    fn eq(&self, other: &Reactor) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Reactor {}

impl fmt::Debug for Reactor {
    /// The whole state, for a person who looks at a program that hangs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.shared;
        let sources = self.sources();
        let now = shared.clock.now_ns();
        let next = shared.deadlines.next();
        f.debug_struct("Reactor")
            .field("name", &shared.name())
            .field("back_end", &shared.poller.get().map(|made| &made.poller))
            .field("driven_now", &shared.chair.is_taken())
            .field("driver", &shared.driver)
            .field("turns", &shared.turns())
            .field("timers", &shared.deadlines.len())
            .field(
                "next_deadline_in",
                &next.map(|next| Duration::from_nanos(next.saturating_sub(now))),
            )
            .field("sources", &sources)
            .finish()
    }
}

impl fmt::Debug for source::Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |set: u64| {
            let names = [
                (bits::READ_READY, "read"),
                (bits::WRITE_READY, "write"),
                (bits::READ_CLOSED, "read-closed"),
                (bits::WRITE_CLOSED, "write-closed"),
                (bits::PRIORITY, "priority"),
                (bits::ERROR, "error"),
            ];
            let named = names.iter().filter(|(bit, _)| set & bit != 0);
            named.map(|(_, name)| *name).collect::<Vec<_>>().join("+")
        };
        write!(
            f,
            "{:?}: {} waiting for [{}], ready [{}]",
            self.raw,
            self.waiters,
            name(self.wants),
            name(self.word)
        )
    }
}
