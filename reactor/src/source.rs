//! One registered handle: what is known of its readiness, who waits for it, and why no event is missed.
//!
//! All that decides is one word: readiness bits, a generation, and a count of the events delivered so far. A task
//! takes a [`Snapshot`], tries its operation, and after `WouldBlock` forgets the readiness it had seen, unless an
//! event came in between. Only who really waits touches the mutex beside the word.
//!
//! | transition       | call      | by         | rule                                                                       |
//! |------------------|-----------|------------|----------------------------------------------------------------------------|
//! | +bits, +1 count  | `deliver` | the driver | one read-modify-write, refused if the generation is not the event's or the source is RETIRED; then, if WAITING, takes the wakers concerned, under the mutex, as far as the bits still stand |
//! | none             | `observe` | any task   | the snapshot goes with the attempt                                          |
//! | −READY −CLOSED   | `forget`  | any task   | after `WouldBlock`, of that direction, only if the count is the snapshot's  |
//! | −READY           | `drained` | any task   | after a short transfer on a byte stream, same condition; CLOSED stays, for the end that arrived with the last data |
//! | +WAITING         | `wait`    | any task   | under the mutex, the waker being left already; **then** the word is looked at again. If it is set, looking is enough |
//! | −WAITING         | several   | any        | under the mutex, when nobody is left; `deliver` only if there was nobody to begin with |
//! | +1 generation    | `settle`, `retire`, `evict` | any | under the mutex, when the source leaves a reactor: what that reactor harvested is noise from now on |
//! | +RETIRED         | `retire`, `evict` | any | under the mutex; wakes all; a wait that comes later is an error, never a hang |
//!
//! No wake-up is lost. `deliver` and the `fetch_or` of `wait` are read-modify-writes of one word, hence ordered. Event
//! first: `wait` finds the bits in the value that its `fetch_or` returns, and takes its waker back. Wait first:
//! `deliver` finds WAITING, and the waker is under the mutex, for it was left before the bit was set. Nor does `forget`
//! erase an event that the attempt did not see: the count would differ. One word decides, so no SeqCst.
//!
//! Nor is one lost because `deliver` takes wakers only for bits that still stand: who cleared one after the event has
//! seen the event, for the count was the same, and found that nothing is left. To wake for it would send a task to look
//! in vain, or one that has looked already and left its waker for the next event.
//!
//! WAITING outlives the wait that it was set for, because most often the next one comes before the next event: two
//! read-modify-writes less for each. A `wait` that finds it set, under the mutex, only reads the word, and may miss an
//! event. That event's `deliver` has found WAITING, which is taken away under the mutex only, and so comes to the mutex:
//! after us, and finds our waker; or before us, and then we have not missed it.
//!
//! The count has 32 bits. To be mistaken, exactly 2^32 events (seven minutes at ten million a second) would have to
//! arrive between two instructions of one attempt.
//!
//! Not here: where sources are stored (`pages`), in which reactor they live (`house`), the OS (`os`).
//! Checked by `loom_tests::source` and `loom_tests::house`.

use std::io;
use std::task::Waker;

use crate::house::{House, HouseId, Lodging};
use crate::os::RawSource;
use crate::sync::{
    AtomicU64, Mutex, MutexGuard,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    lock,
};

/// The readiness bits, as they stand in the word and as back ends report them.
pub(crate) mod bits {
    pub(crate) const READ_READY: u64 = 1 << 0;
    pub(crate) const WRITE_READY: u64 = 1 << 1;
    /// The peer will send no more (RDHUP, HUP).
    pub(crate) const READ_CLOSED: u64 = 1 << 2;
    /// The peer will take no more (HUP, ERR).
    pub(crate) const WRITE_CLOSED: u64 = 1 << 3;
    pub(crate) const PRIORITY: u64 = 1 << 4;
    pub(crate) const ERROR: u64 = 1 << 5;
    /// Somebody is listed, or was when the last event came.
    pub(super) const WAITING: u64 = 1 << 6;
    /// Deregistered, or its reactor is gone.
    pub(super) const RETIRED: u64 = 1 << 7;
    /// Urgent data was announced once: reads stop at its mark, so a short one proves nothing any more.
    pub(super) const MARKED: u64 = 1 << 8;
    /// Whoever watches it tells of the end of the data beside the data; or nobody watches yet, and whoever will do so
    /// reports anew whatever is there.
    pub(super) const TOLD_APART: u64 = 1 << 9;

    pub(crate) const READ: u64 = READ_READY | READ_CLOSED;
    pub(crate) const WRITE: u64 = WRITE_READY | WRITE_CLOSED;
    /// All that a waiter can want.
    pub(crate) const ANY: u64 = READ | WRITE | PRIORITY | ERROR;
}
use bits::{
    ANY, MARKED, PRIORITY, READ, READ_READY, RETIRED, TOLD_APART, WAITING, WRITE, WRITE_READY,
};

const GENERATION_SHIFT: u32 = 12;
const GENERATION_BITS: u32 = 20;
const GENERATION_MASK: u64 = ((1 << GENERATION_BITS) - 1) << GENERATION_SHIFT;
const COUNT_SHIFT: u32 = 32;
const ONE_EVENT: u64 = 1 << COUNT_SHIFT;

/// Which of the two directions of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    /// The bits that end a wait for this direction.
    pub(crate) fn bits(self) -> u64 {
        match self {
            Direction::Read => READ,
            Direction::Write => WRITE,
        }
    }

    fn ready_bit(self) -> u64 {
        match self {
            Direction::Read => READ_READY,
            Direction::Write => WRITE_READY,
        }
    }
}

/// The word as it was before an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot(u64);

impl Snapshot {
    /// Those of `wanted` that are set.
    pub(crate) fn has(self, wanted: u64) -> u64 {
        self.0 & wanted & ANY
    }

    pub(crate) fn is_retired(self) -> bool {
        self.0 & RETIRED != 0
    }

    /// Whether what comes after a short transfer on a byte stream will be an event: not once urgent data was seen, nor
    /// where the end that came with the last data would go unreported.
    pub(crate) fn short_means_drained(self) -> bool {
        self.0 & (MARKED | TOLD_APART) == TOLD_APART
    }
}

/// How a look at the word after leaving one's waker ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Something that was wanted is there; the waker was taken back.
    Ready,
    /// The waker stays, and will be woken.
    Pending,
    /// The same; and it was there already, so nobody has been woken since it was left.
    Still,
}

/// Where a waiter leaves its waker, and what for.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    wants: u64,
    /// None: the slot of a direction.
    entry: Option<&'a mut Option<u32>>,
}

impl<'a> Place<'a> {
    /// The one slot of a direction, shared by the `poll_*` calls and the I/O traits: who takes it from another task
    /// wakes that task.
    #[inline]
    pub(crate) fn slot(direction: Direction) -> Place<'a> {
        Place {
            wants: direction.bits(),
            entry: None,
        }
    }

    /// An entry of one's own. None at first; give it back with [`Source::unlist`].
    #[inline]
    pub(crate) fn listed(entry: &'a mut Option<u32>, wants: u64) -> Place<'a> {
        Place {
            wants,
            entry: Some(entry),
        }
    }

    #[inline]
    pub(crate) fn is_slot(&self) -> bool {
        self.entry.is_none()
    }

    #[inline]
    pub(crate) fn wants(&self) -> u64 {
        self.wants
    }

    /// The same place, for one more call.
    #[inline]
    pub(crate) fn again(&mut self) -> Place<'_> {
        Place {
            wants: self.wants,
            entry: self.entry.as_deref_mut(),
        }
    }

    /// Of those that are slots, which.
    fn direction(&self) -> Direction {
        if self.wants == READ {
            Direction::Read
        } else {
            Direction::Write
        }
    }
}

/// A registered handle. It never moves in memory and its memory is never anything else (`pages`).
pub(crate) struct Source {
    word: AtomicU64,
    waiters: Mutex<Waiters>,
}

/// All that is guarded by a source's mutex.
pub(crate) struct Waiters {
    slots: [Option<Waker>; 2],
    list: Option<Box<List>>,
    raw: RawSource,
    lodging: Lodging,
}

impl Source {
    /// A source in nobody's use; [`Source::open`] makes it one.
    pub(crate) fn vacant() -> Source {
        Source {
            word: AtomicU64::new(RETIRED),
            waiters: Mutex::new(Waiters {
                slots: [None, None],
                list: None,
                raw: RawSource::default(),
                lodging: Lodging::default(),
            }),
        }
    }

    /// Begins to stand for `raw`, unregistered; and `optimistic` (the first operation is simply tried) where a wrong
    /// guess can be put right.
    pub(crate) fn open(&self, raw: RawSource, optimistic: bool) {
        let mut waiters = lock(&self.waiters);
        waiters.raw = raw;
        waiters.lodging = Lodging::default();
        let generation = self.word.load(Relaxed) & GENERATION_MASK;
        let ready = if optimistic {
            READ_READY | WRITE_READY
        } else {
            0
        };
        self.word.store(generation | TOLD_APART | ready, Release);
    }

    #[inline]
    pub(crate) fn observe(&self) -> Snapshot {
        Snapshot(self.word.load(Acquire))
    }

    /// Forgets all readiness of `direction` after a `WouldBlock`, unless an event came in since `seen`: that event may
    /// be the answer to our attempt, and nobody will repeat it. False: try again.
    #[inline]
    pub(crate) fn forget(&self, direction: Direction, seen: Snapshot) -> bool {
        self.clear(direction.bits(), seen)
    }

    /// Forgets that `direction` is ready after a transfer shorter than asked for, on the same condition.
    #[inline]
    pub(crate) fn drained(&self, direction: Direction, seen: Snapshot) {
        self.clear(direction.ready_bit(), seen);
    }

    /// Removes `gone` if no event came in since `seen`.
    #[inline]
    pub(crate) fn clear(&self, gone: u64, seen: Snapshot) -> bool {
        debug_assert_eq!(gone & !ANY, 0);
        let same_events =
            |word: u64| word >> COUNT_SHIFT == seen.0 >> COUNT_SHIFT && word & RETIRED == 0;
        self.word
            .fetch_update(AcqRel, Acquire, |word| {
                same_events(word).then_some(word & !gone)
            })
            .is_ok()
    }

    /// An event of `generation` came in from the reactor `here`: notes it, and moves the wakers it concerns into
    /// `wakers`, which the caller wakes once every lock is released.
    pub(crate) fn deliver<H: House>(
        &self,
        here: &H,
        index: u32,
        generation: Generation,
        news: u64,
        wakers: &mut Vec<Waker>,
    ) {
        let news = news & ANY;
        let mark = if news & PRIORITY != 0 { MARKED } else { 0 };
        let Ok(before) = self.word.fetch_update(AcqRel, Relaxed, |word| {
            let ours = generation.matches(word) && word & RETIRED == 0;
            ours.then(|| (word | news | mark).wrapping_add(ONE_EVENT))
        }) else {
            return; // An event of a source that has closed or moved since: noise.
        };
        let edge = here.is_edge();
        if before & WAITING == 0 && edge {
            return;
        }
        let mut waiters = lock(&self.waiters);
        let now = self.word.load(Relaxed);
        if !generation.matches(now) {
            return; // Whoever moved it under the lock has had it reported anew, or woken everybody.
        }
        // What is gone already was taken by an attempt that has seen this event, and found no more.
        let taken = waiters.take(news & now, wakers);
        if !edge {
            self.arm_anew(&mut waiters, here, index, wakers);
        } else if !taken {
            self.settle_waiting(&waiters);
        }
    }

    /// Asks for the next event, where one that was reported ends the registration.
    #[cold]
    fn arm_anew<H: House>(
        &self,
        waiters: &mut Waiters,
        here: &H,
        index: u32,
        wakers: &mut Vec<Waker>,
    ) {
        waiters.lodging.disarm();
        let wants = waiters.wants();
        if wants != 0 && self.arm(waiters, here, index, wants).is_err() {
            // A driver has nobody to report to: wake them all; their own system call will say what is wrong.
            self.word
                .fetch_or(bits::ERROR | READ_READY | WRITE_READY, AcqRel);
            waiters.take(ANY, wakers);
        }
        self.settle_waiting(waiters);
    }

    /// Leaves `waker` at `place`, and looks at the word again. `here` is the reactor of the thread that waits; the
    /// source is registered there, or moves there, unless somebody else waits for it where it is.
    ///
    /// # Errors
    /// The source is retired, or the OS cannot watch it, or nobody can be found to drive the reactor. Nothing is left.
    #[inline]
    pub(crate) fn wait<H: House>(
        &self,
        index: u32,
        mut place: Place<'_>,
        waker: &Waker,
        here: &H,
    ) -> io::Result<Waited> {
        let waker = waker.clone();
        let mut waiters = lock(&self.waiters);
        let displaced = waiters.put(&mut place, waker);
        let mut word = self.word.load(Acquire);
        if word & WAITING == 0 {
            word = self.word.fetch_or(WAITING, AcqRel);
        }

        // What `settle` would come to for most waits: it lives here, for life.
        if word & (RETIRED | place.wants) == 0
            && displaced.is_none()
            && waiters.lodging.house() == Some(here.id())
            && here.is_edge()
            && here.summon().is_ok()
        {
            return Ok(Waited::Pending);
        }
        self.decide(waiters, place, displaced, word, index, here)
    }

    /// What comes of a wait that has left its waker, and found `word`.
    #[cold]
    fn decide<H: House>(
        &self,
        mut waiters: MutexGuard<'_, Waiters>,
        mut place: Place<'_>,
        displaced: Option<Displaced>,
        word: u64,
        index: u32,
        here: &H,
    ) -> io::Result<Waited> {
        let wants = place.wants;
        let mut elsewhere = Neighbour(None);
        let (outcome, unwanted) = if word & RETIRED != 0 {
            (Err(ended()), waiters.take_back(&mut place))
        } else if word & wants != 0 {
            (Ok(Waited::Ready), waiters.take_back(&mut place))
        } else {
            match self.settle(&mut waiters, here, &mut elsewhere, index, wants) {
                Ok(()) => (Ok(Waited::Pending), None),
                Err(error) => (Err(error), waiters.take_back(&mut place)),
            }
        };
        if unwanted.is_some() {
            self.settle_waiting(&waiters);
        }
        drop(waiters);

        drop(elsewhere);
        drop(unwanted);
        match displaced {
            Some(Displaced::Other(waker)) => crate::turn::wake(waker),
            Some(Displaced::Same(waker)) => {
                drop(waker);
                if let Ok(Waited::Pending) = outcome {
                    return Ok(Waited::Still);
                }
            }
            None => {}
        }
        outcome
    }

    /// Gives an entry of [`Place::listed`] back.
    pub(crate) fn unlist(&self, entry: u32) {
        let mut waiters = lock(&self.waiters);
        let waker = waiters.unlist(entry);
        self.settle_waiting(&waiters);
        drop(waiters);
        drop(waker);
    }

    /// Registers the source before anybody waits, so that a handle that cannot be watched is refused at once.
    ///
    /// # Errors
    /// Those of the OS.
    pub(crate) fn enroll<H: House>(&self, here: &H, index: u32, pinned: bool) -> io::Result<()> {
        let mut waiters = lock(&self.waiters);
        self.admit(&mut waiters, here, index, 0)?;
        if pinned {
            waiters.lodging.pin();
        }
        Ok(())
    }

    /// The end of the source: it leaves its reactor, and whoever still waits for it is woken.
    ///
    /// # Errors
    /// Those of the OS, if it did not know the handle any more. The source has ended all the same.
    pub(crate) fn retire<H: House>(&self, index: u32, here: &H) -> io::Result<()> {
        let mut wakers = Vec::new();
        let mut elsewhere = Neighbour(None);
        let mut waiters = lock(&self.waiters);
        let left = match waiters.lodging.house() {
            Some(id) => match elsewhere.find(here, id) {
                Some(house) => house.dismiss(waiters.raw, index),
                None => Ok(()),
            },
            None => Ok(()),
        };
        waiters.lodging = Lodging::default();
        self.next_generation(RETIRED);
        waiters.take(ANY, &mut wakers);
        waiters.list = None;
        self.settle_waiting(&waiters);
        drop(waiters);
        drop(elsewhere);
        wakers.into_iter().for_each(crate::turn::wake);
        left
    }

    /// Whoever waits in the house `id` has to look for another driver: their wakers are moved into `wakers`. If the
    /// house ends for good, the source has no house any more, and is retired if it was pinned there.
    pub(crate) fn evict(&self, id: HouseId, for_good: bool, wakers: &mut Vec<Waker>) {
        let mut waiters = lock(&self.waiters);
        if waiters.lodging.house() != Some(id) {
            return;
        }
        if for_good {
            let retired = if waiters.lodging.is_pinned() {
                RETIRED
            } else {
                0
            };
            waiters.lodging = Lodging::default();
            self.next_generation(retired);
        }
        waiters.take(ANY, wakers);
        self.settle_waiting(&waiters);
    }

    /// What a person wants to know of a source that lives in `id`: its handle, what is waited for, what is set.
    pub(crate) fn inspect(&self, id: HouseId) -> Option<Inspected> {
        let waiters = lock(&self.waiters);
        (waiters.lodging.house() == Some(id)).then(|| Inspected {
            raw: waiters.raw,
            wants: waiters.wants(),
            waiters: waiters.len(),
            word: self.word.load(Relaxed) & ANY,
        })
    }

    /// Sees to it that the source is watched where a driver will wake its new waiter.
    fn settle<H: House>(
        &self,
        waiters: &mut Waiters,
        here: &H,
        elsewhere: &mut Neighbour<H>,
        index: u32,
        wants: u64,
    ) -> io::Result<()> {
        let Some(id) = waiters.lodging.house() else {
            self.admit(waiters, here, index, wants)?;
            return here.summon();
        };
        let home = elsewhere.find(here, id);
        if here.id() == id || waiters.lodging.is_pinned() || waiters.len() > 1 {
            return match home {
                Some(home) => self.keep(waiters, home, index),
                // It is ending, will come to this source, find our waker, and wake us.
                None => Ok(()),
            };
        }
        if let Some(home) = home {
            // An error means that it had lost the handle already: all the better.
            let _ = home.dismiss(waiters.raw, index);
        }
        waiters.lodging = Lodging::default();
        self.next_generation(0);
        self.admit(waiters, here, index, wants)?;
        here.summon()
    }

    /// Stays in `house`: nothing to do where registrations are for life.
    fn keep<H: House>(&self, waiters: &mut Waiters, house: &H, index: u32) -> io::Result<()> {
        if !house.is_edge() {
            let wants = waiters.wants();
            if !waiters.lodging.is_armed(wants) {
                self.arm(waiters, house, index, wants)?;
            }
        }
        house.summon()
    }

    fn admit<H: House>(
        &self,
        waiters: &mut Waiters,
        house: &H,
        index: u32,
        wants: u64,
    ) -> io::Result<()> {
        // Before the first event from there, for which a short read may prove nothing. (A house that nobody has waited
        // in yet does not know.)
        let generation = Generation::of(self.word.fetch_and(!TOLD_APART, AcqRel));
        house.admit(waiters.raw, index, generation, wants)?;
        waiters.lodging = Lodging::at(house.id());
        if !house.is_edge() {
            waiters.lodging.armed(wants);
        }
        if house.reports_half_close() {
            self.word.fetch_or(TOLD_APART, AcqRel);
        }
        Ok(())
    }

    fn arm<H: House>(
        &self,
        waiters: &mut Waiters,
        house: &H,
        index: u32,
        wants: u64,
    ) -> io::Result<()> {
        let generation = Generation::of(self.word.load(Relaxed));
        house.arm(waiters.raw, index, generation, wants)?;
        waiters.lodging.armed(wants);
        Ok(())
    }

    /// Under the mutex: makes what was harvested so far noise, and adds `more` bits.
    fn next_generation(&self, more: u64) {
        let _ = self.word.fetch_update(AcqRel, Relaxed, |word| {
            let generation =
                (word & GENERATION_MASK).wrapping_add(1 << GENERATION_SHIFT) & GENERATION_MASK;
            Some((word & !GENERATION_MASK) | generation | more)
        });
    }

    /// Under the mutex: takes WAITING away if nobody is listed.
    fn settle_waiting(&self, waiters: &Waiters) {
        if waiters.is_empty() {
            self.word.fetch_and(!WAITING, AcqRel);
        }
    }
}

/// How often a source has left a reactor, as far as a key has room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// How many bits of it a key carries: a key is a `usize`, and the index comes first.
    pub(crate) const KEY_BITS: u32 = if usize::BITS >= 64 {
        GENERATION_BITS
    } else {
        10
    };
    const KEY_MASK: u32 = (1 << Self::KEY_BITS) - 1;

    fn of(word: u64) -> Generation {
        Generation(((word & GENERATION_MASK) >> GENERATION_SHIFT) as u32 & Self::KEY_MASK)
    }

    fn matches(self, word: u64) -> bool {
        Self::of(word) == self
    }

    pub(crate) fn from_key(bits: u32) -> Generation {
        Generation(bits & Self::KEY_MASK)
    }

    pub(crate) fn to_key(self) -> u32 {
        self.0
    }
}

/// What [`Source::inspect`] tells.
pub(crate) struct Inspected {
    pub(crate) raw: RawSource,
    pub(crate) wants: u64,
    pub(crate) waiters: usize,
    pub(crate) word: u64,
}

/// The house that a source lives in, if it is not the waiting thread's own. To be dropped after the source's mutex is
/// released: it may be the last handle, and the end of a reactor locks its sources.
struct Neighbour<H>(Option<H>);

impl<H: House> Neighbour<H> {
    /// The house of an id. None: it is ending, or has ended.
    fn find<'a>(&'a mut self, here: &'a H, id: HouseId) -> Option<&'a H> {
        if here.id() == id {
            return Some(here);
        }
        self.0 = here.neighbour(id);
        self.0.as_ref()
    }
}

pub(crate) fn ended() -> io::Error {
    io::Error::other(
        "the reactor that this source is pinned to has shut down; make the source anew in another one",
    )
}

/// A waker that had to make room for another.
enum Displaced {
    /// Of the same task: there is nothing to tell it.
    Same(Waker),
    /// Of another task, which must look for itself.
    Other(Waker),
}

impl Waiters {
    /// Leaves a waker, and returns the one that had to make room: neither is cloned, woken or dropped here.
    #[inline]
    fn put(&mut self, place: &mut Place<'_>, waker: Waker) -> Option<Displaced> {
        let direction = place.direction();
        let Some(entry) = &mut place.entry else {
            let slot = &mut self.slots[direction as usize];
            if slot.is_none() {
                *slot = Some(waker);
                return None;
            }
            return Some(Waiters::displace(slot, waker));
        };
        let list = self.list.get_or_insert_default();
        match **entry {
            Some(entry) => list.replace(entry, place.wants, waker).map(Displaced::Same),
            None => {
                **entry = Some(list.insert(place.wants, waker));
                None
            }
        }
    }

    #[cold]
    fn displace(slot: &mut Option<Waker>, waker: Waker) -> Displaced {
        match slot.take() {
            Some(old) if !old.will_wake(&waker) => {
                *slot = Some(waker);
                Displaced::Other(old)
            }
            old => {
                *slot = old;
                Displaced::Same(waker)
            }
        }
    }

    /// Undoes `put`.
    fn take_back(&mut self, place: &mut Place<'_>) -> Option<Waker> {
        let direction = place.direction();
        match &mut place.entry {
            None => self.slots[direction as usize].take(),
            Some(entry) => entry.take().and_then(|entry| self.unlist(entry)),
        }
    }

    fn unlist(&mut self, entry: u32) -> Option<Waker> {
        self.list.as_mut()?.remove(entry)
    }

    /// Moves the wakers of those who wait for any of `news` into `wakers`. Whether there are any.
    #[inline(always)]
    fn take(&mut self, news: u64, wakers: &mut Vec<Waker>) -> bool {
        let others = wakers.len();
        for direction in [Direction::Read, Direction::Write] {
            if news & direction.bits() != 0 {
                // Not `extend`, which costs three times as much for one.
                if let Some(waker) = self.slots[direction as usize].take() {
                    wakers.push(waker);
                }
            }
        }
        if let Some(list) = &mut self.list {
            list.take(news, wakers);
        }
        wakers.len() != others
    }

    /// All that somebody waits for.
    fn wants(&self) -> u64 {
        let slot = |direction: Direction| {
            let taken = self.slots[direction as usize].is_some();
            if taken { direction.bits() } else { 0 }
        };
        let listed = self.list.as_ref().map_or(0, |list| list.wants());
        slot(Direction::Read) | slot(Direction::Write) | listed
    }

    fn is_empty(&self) -> bool {
        let listed = self.list.as_ref().is_some_and(|list| list.waiting != 0);
        !listed && self.slots.iter().all(Option::is_none)
    }

    /// How many wait.
    fn len(&self) -> usize {
        let listed = self.list.as_ref().map_or(0, |list| list.waiting as usize);
        self.slots.iter().flatten().count() + listed
    }
}

/// The waiters that have an entry of their own, any number.
#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    /// The first of the chain of vacant entries.
    vacant: Option<u32>,
    waiting: u32,
}

enum Entry {
    Waiting {
        wants: u64,
        waker: Waker,
    },
    /// Woken; its owner has not come back yet.
    Woken,
    Vacant {
        next: Option<u32>,
    },
}

impl List {
    fn insert(&mut self, wants: u64, waker: Waker) -> u32 {
        self.waiting += 1;
        let entry = Entry::Waiting { wants, waker };
        match self.vacant {
            Some(index) => {
                let place = &mut self.entries[index as usize];
                if let Entry::Vacant { next } = *place {
                    self.vacant = next;
                }
                *place = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        }
    }

    /// Puts `entry` in the place of what stood there.
    fn exchange(&mut self, index: u32, entry: Entry) -> Option<Waker> {
        let gain = matches!(entry, Entry::Waiting { .. }) as u32;
        match std::mem::replace(&mut self.entries[index as usize], entry) {
            Entry::Waiting { waker, .. } => {
                self.waiting = self.waiting + gain - 1;
                Some(waker)
            }
            Entry::Woken | Entry::Vacant { .. } => {
                self.waiting += gain;
                None
            }
        }
    }

    fn replace(&mut self, index: u32, wants: u64, waker: Waker) -> Option<Waker> {
        self.exchange(index, Entry::Waiting { wants, waker })
    }

    fn remove(&mut self, index: u32) -> Option<Waker> {
        let next = self.vacant.replace(index);
        self.exchange(index, Entry::Vacant { next })
    }

    #[inline(never)]
    fn take(&mut self, news: u64, wakers: &mut Vec<Waker>) {
        if self.waiting == 0 {
            return;
        }
        for index in 0..self.entries.len() as u32 {
            let entry = &self.entries[index as usize];
            if matches!(entry, Entry::Waiting { wants, .. } if wants & news != 0) {
                wakers.extend(self.exchange(index, Entry::Woken));
            }
        }
    }

    fn wants(&self) -> u64 {
        self.entries.iter().fold(0, |all, entry| match entry {
            Entry::Waiting { wants, .. } => all | wants,
            Entry::Woken | Entry::Vacant { .. } => all,
        })
    }
}
