//! The pending timers of one shard: who is due, and when the next one will be.
//!
//! Deadlines are counted in ticks of 131 us, to find a timer's slot, but kept to the nanosecond. A tick number is
//! eight digits of base 64, and the *cursor* is the tick up to which the wheel has turned. A timer hangs
//!
//! - in the slot `(level, digit)`, where `level` is the highest digit in which its tick differs from the cursor's;
//! - or, if its tick is not after the cursor's, in `near`, a heap in firing order.
//!
//! So every timer of a level is due before every timer of the level above, and slots of a level are due from left to
//! right: the next deadline is the first of `near`, else the minimum of the one slot that comes first. Eight digits
//! hold any `u64`, so nothing lies beyond the horizon. When the cursor moves, every slot that it passes or enters is
//! emptied at once, so that a timer's place follows from its deadline and the cursor alone. Hence timers of equal
//! deadline always share a slot, where they hang in the order of insertion; that is how ties are kept in order without
//! a number in every timer.
//!
//! The minimum of a slot costs nothing to keep up to date, except when the timer that was the minimum is taken out:
//!
//! - a slot whose list is in order of deadline (all time-outs of one length are) has its minimum in front, always;
//! - any other remembers a minimum, which its removal makes *vague*: a lower bound, looked into by `next` only;
//! - `next` then walks the list if the operations since the last walk have paid for it. If not, it turns the cursor to
//!   the slot's first tick, ahead of the time, which spreads its timers over the finer levels, where a minimum is
//!   found among fewer. Timers inserted before the cursor go to `near`, so nothing is lost but speed.
//!
//! What it costs. Insert and cancel: O(1) in a slot, whatever else is pending; O(log n) at most among the n timers of
//! `near`. In its life, a timer goes down each level at most once. A walk visits at most `WALK_PER_OPERATION` timers
//! for each insert and cancel that went before, so `next` is O(1) amortised too. The worst single call is the one
//! (`fire` or `next`) that opens a slot: it moves every timer in there, a few nanoseconds each while the memory is in
//! the cache: 0.5 s worth of the timers which are due in 9 to 34 s, say.
//!
//! Memory: 40 bytes for each of the greatest number of timers ever pending at once (`nodes`), and 24 bytes more for each
//! in `near`. Cancelled timers leave a dead entry in `near`, and there are never more dead ones than live ones and
//! `DEAD_ENTRIES`.
//!
//! Not here: locks and threads (`deadlines`), and what "now" is (`clock`).

mod nodes;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::task::Waker;

use super::NEVER;

use self::nodes::{NIL, Node, Nodes};

/// Timers in firing order, for one thread at a time.
pub(super) struct Wheel {
    /// No timer in a slot is of this tick or an earlier one.
    cursor: u64,
    /// The first node that is not in use; they are chained by `next`.
    free: u32,
    pending: usize,
    /// How many timers `next` may still visit in search of a minimum.
    credit: u64,
    /// For each level, a bit for each slot: has timers.
    occupied: [u64; LEVELS],
    /// For each occupied slot: its list is in order of deadline.
    sorted: [u64; LEVELS],
    /// For each occupied slot that is not sorted: its `min` is a lower bound, but nobody may have it any more.
    vague: [u64; LEVELS],
    slots: Box<[Slot; LEVELS * SLOTS]>,
    nodes: Nodes,
    near: BinaryHeap<Reverse<Entry>>,
    /// How many entries of `near` belong to timers that were cancelled or reset since.
    dead: usize,
    /// Numbers the entries, so that equal deadlines stay in order and a dead entry is told from a live one.
    stamps: u64,
    /// What the cursor has passed, on its way out; empty but for a moment.
    due: Vec<Entry>,
}

/// Names one timer of one wheel. Once it has fired or was cancelled, the key does nothing.
///
/// (A node would have to be reused exactly 2^32 times for a key to be mistaken for a later one.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Wheel {
    /// Its keys are of `first_generation` and later ones.
    pub(super) fn new(first_generation: u32) -> Wheel {
        Wheel {
            cursor: 0,
            free: NIL,
            pending: 0,
            credit: 0,
            occupied: [0; LEVELS],
            sorted: [0; LEVELS],
            vague: [0; LEVELS],
            slots: Box::new(
                [Slot {
                    head: 0,
                    tail: 0,
                    min: 0,
                }; LEVELS * SLOTS],
            ),
            nodes: Nodes::new(first_generation),
            near: BinaryHeap::new(),
            dead: 0,
            stamps: 0,
            due: Vec::new(),
        }
    }

    /// How many timers are pending.
    pub(super) fn len(&self) -> usize {
        self.pending
    }

    /// Adds a timer. One at `NEVER` is kept, and never fires.
    pub(super) fn insert(&mut self, deadline: u64, waker: Waker) -> Key {
        if self.free == NIL {
            self.free = self.nodes.grow();
        }
        let index = self.free;
        let node = &mut self.nodes[index];
        self.free = node.next;
        node.deadline = deadline;
        node.waker = Some(waker);
        let generation = node.generation;
        self.pending += 1;
        self.credit += WALK_PER_OPERATION;
        self.link(index);
        Key { index, generation }
    }

    /// Takes a timer out: its deadline, and its waker for the caller to drop.
    pub(super) fn cancel(&mut self, key: Key) -> Option<(u64, Waker)> {
        let deadline = self.get(key)?.deadline;
        self.unlink(key.index);
        self.credit += WALK_PER_OPERATION;
        self.release(key.index).map(|waker| (deadline, waker))
    }

    /// Gives a timer another deadline and counts as a new insertion; the waker stays. Returns the old deadline.
    pub(super) fn reset(&mut self, key: Key, deadline: u64) -> Option<u64> {
        let old = self.get(key)?.deadline;
        self.unlink(key.index);
        self.credit += WALK_PER_OPERATION;
        self.nodes[key.index].deadline = deadline;
        self.link(key.index);
        Some(old)
    }

    /// The place of a pending timer's waker, to compare it or to put another one there.
    pub(super) fn waker(&mut self, key: Key) -> Option<&mut Waker> {
        self.get(key)?;
        self.nodes[key.index].waker.as_mut()
    }

    /// The earliest deadline, exactly. Neither firing nor cancelling has to be settled before.
    pub(super) fn next(&mut self) -> Option<u64> {
        let next = loop {
            if let Some(first) = self.first_near() {
                break first.deadline;
            }
            let level = self.occupied.iter().position(|&slots| slots != 0)?;
            let place = Place::new(level, self.occupied[level].trailing_zeros() as usize);
            if let Some(min) = self.minimum(place) {
                break min;
            }
            self.cursor = place.first_tick(self.cursor);
            self.open(place);
        };
        (next != NEVER).then_some(next)
    }

    /// Takes out every timer with `deadline <= now`, in order of deadline, and of insertion where that is equal. A
    /// `now` before that of an earlier call is no harm: what is due by then has gone already.
    pub(super) fn fire(&mut self, now: u64, mut fired: impl FnMut(u64, Waker)) {
        let now = now.min(NEVER - 1);
        self.turn_to(now >> TICK_BITS);

        let mut due = mem::take(&mut self.due);
        due.sort_unstable();
        for entry in due.drain(..) {
            if let Some(waker) = self.release(entry.index) {
                fired(entry.deadline, waker);
            }
        }
        // Kept for the next time, unless the crowd was unusual.
        due.shrink_to(DUE_CAPACITY);
        self.due = due;

        while let Some(first) = self.first_near() {
            if first.deadline > now {
                break;
            }
            self.near.pop();
            if let Some(waker) = self.release(first.index) {
                fired(first.deadline, waker);
            }
        }
    }

    /// Takes out every timer, in no particular order.
    pub(super) fn drain(&mut self, wakers: &mut Vec<Waker>) {
        self.occupied = [0; LEVELS];
        self.near.clear();
        self.dead = 0;
        wakers.reserve(self.pending);
        for index in 0..self.nodes.len() {
            if self.nodes[index].place != Place::FREE {
                wakers.extend(self.release(index));
            }
        }
    }

    /// No key of this wheel is of this generation or a later one, if nothing is pending.
    pub(super) fn next_generation(&self) -> u32 {
        self.nodes.next_generation()
    }

    /// The node of a timer that is still pending.
    fn get(&self, key: Key) -> Option<&Node> {
        let node = self.nodes.get(key.index)?;
        (node.generation == key.generation && node.place != Place::FREE).then_some(node)
    }

    /// Makes a node that hangs nowhere free, and its keys stale.
    fn release(&mut self, index: u32) -> Option<Waker> {
        let node = &mut self.nodes[index];
        node.generation = node.generation.wrapping_add(1);
        node.place = Place::FREE;
        node.next = self.free;
        self.free = index;
        self.pending -= 1;
        node.waker.take()
    }

    /// Hangs a node where its deadline and the cursor say, after those that are there.
    fn link(&mut self, index: u32) {
        let node = &mut self.nodes[index];
        let deadline = node.deadline;
        let Some(place) = Place::of(deadline >> TICK_BITS, self.cursor) else {
            node.place = Place::NEAR;
            node.set_stamp(self.stamps);
            self.near.push(Reverse(Entry {
                deadline,
                stamp: self.stamps,
                index,
            }));
            self.stamps += 1;
            return;
        };
        let (level, bit) = (place.level(), place.bit());
        let slot = &mut self.slots[place.index()];
        node.place = place;
        node.next = NIL;
        if self.occupied[level] & bit == 0 {
            node.prev = NIL;
            slot.head = index;
            slot.tail = index;
            self.occupied[level] |= bit;
            self.sorted[level] |= bit;
            return;
        }
        node.prev = slot.tail;
        let last = &mut self.nodes[slot.tail];
        last.next = index;
        slot.tail = index;
        if self.sorted[level] & bit != 0 {
            if deadline < last.deadline {
                slot.min = deadline.min(self.nodes[slot.head].deadline);
                self.sorted[level] &= !bit;
                self.vague[level] &= !bit;
            }
        } else if deadline <= slot.min {
            slot.min = deadline;
            self.vague[level] &= !bit;
        }
    }

    /// Takes a node from where it hangs. It is then free, or must be linked again.
    fn unlink(&mut self, index: u32) {
        let node = &mut self.nodes[index];
        let place = mem::replace(&mut node.place, Place::FREE);
        if place == Place::NEAR {
            return self.bury();
        }
        let (deadline, prev, next) = (node.deadline, node.prev, node.next);
        let (level, bit) = (place.level(), place.bit());
        let slot = &mut self.slots[place.index()];
        if prev == NIL && next == NIL {
            self.occupied[level] &= !bit;
            return;
        }
        if prev == NIL {
            slot.head = next;
        } else {
            self.nodes[prev].next = next;
        }
        if next == NIL {
            slot.tail = prev;
        } else {
            self.nodes[next].prev = prev;
        }
        if self.sorted[level] & bit == 0 && deadline == slot.min {
            self.vague[level] |= bit;
        }
    }

    /// Moves the cursor up to a tick. Whatever is of an earlier one is collected in `due`.
    fn turn_to(&mut self, tick: u64) {
        let Some(here) = Place::of(tick, self.cursor) else {
            return;
        };
        self.cursor = tick;

        let nodes = &self.nodes;
        self.due.extend(
            self.near
                .drain()
                .map(|Reverse(entry)| entry)
                .filter(|entry| entry.is_alive(nodes)),
        );
        self.dead = 0;

        // The lower levels, all of which are passed, must be empty before `here` is spread over them.
        for level in 0..=here.level() {
            let passed = if level == here.level() {
                here.bit() | (here.bit() - 1)
            } else {
                u64::MAX
            };
            let mut slots = self.occupied[level] & passed;
            while slots != 0 {
                self.open(Place::new(level, slots.trailing_zeros() as usize));
                slots &= slots - 1;
            }
        }
    }

    /// Empties an occupied slot: what lies before the cursor is due, the rest finds its new place.
    fn open(&mut self, place: Place) {
        self.occupied[place.level()] &= !place.bit();
        let mut index = self.slots[place.index()].head;
        while index != NIL {
            let node = &self.nodes[index];
            let (deadline, next) = (node.deadline, node.next);
            if deadline >> TICK_BITS < self.cursor {
                self.due.push(Entry {
                    deadline,
                    stamp: self.stamps,
                    index,
                });
                self.stamps += 1;
            } else {
                self.link(index);
            }
            index = next;
        }
    }

    /// The earliest deadline in an occupied slot; `None` if finding it would cost more than has been paid for.
    fn minimum(&mut self, place: Place) -> Option<u64> {
        let (level, bit) = (place.level(), place.bit());
        let slot = &mut self.slots[place.index()];
        if self.sorted[level] & bit != 0 {
            return Some(self.nodes[slot.head].deadline);
        }
        if self.vague[level] & bit == 0 {
            return Some(slot.min);
        }
        // No hoarding: an hour of quiet work must not pay for a thousand walks in a row.
        self.credit = self.credit.min(self.pending as u64 * WALK_PER_OPERATION);
        let (mut min, mut last, mut sorted) = (u64::MAX, 0, true);
        let mut index = slot.head;
        while index != NIL {
            self.credit = self.credit.checked_sub(1)?;
            let node = &self.nodes[index];
            sorted &= last <= node.deadline;
            last = node.deadline;
            min = min.min(last);
            index = node.next;
        }
        slot.min = min;
        self.vague[level] &= !bit;
        if sorted {
            self.sorted[level] |= bit;
        }
        Some(min)
    }

    /// The first live entry of `near`, after throwing away the dead ones in front of it.
    fn first_near(&mut self) -> Option<Entry> {
        while let Some(&Reverse(first)) = self.near.peek() {
            if first.is_alive(&self.nodes) {
                return Some(first);
            }
            self.near.pop();
            self.dead -= 1;
        }
        None
    }

    /// Counts an entry of `near` that has just died, and clears them away when they have become too many.
    fn bury(&mut self) {
        self.dead += 1;
        let alive = self.near.len() - self.dead;
        if alive == 0 {
            self.near.clear();
            self.dead = 0;
        } else if self.dead > alive + DEAD_ENTRIES {
            let nodes = &self.nodes;
            self.near.retain(|Reverse(entry)| entry.is_alive(nodes));
            self.dead = 0;
        }
    }
}

/// A list of nodes. Means nothing unless the slot's bit in `occupied` is set.
#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    tail: u32,
    /// The least deadline, if the slot is neither sorted (then it is in front) nor vague (then no deadline is less).
    min: u64,
}

/// A timer on its way out, in firing order: by deadline, then by stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    deadline: u64,
    stamp: u64,
    index: u32,
}

impl Entry {
    /// Whether its timer has been neither cancelled nor reset since this entry was made.
    fn is_alive(&self, nodes: &Nodes) -> bool {
        let node = &nodes[self.index];
        node.place == Place::NEAR && node.stamp() == self.stamp
    }
}

/// Where a node hangs: in a slot of a level, or in one of the places that are no slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place(u16);

impl Place {
    const NEAR: Place = Place((LEVELS * SLOTS) as u16);
    const FREE: Place = Place((LEVELS * SLOTS) as u16 + 1);

    fn new(level: usize, slot: usize) -> Place {
        Place((level * SLOTS + slot) as u16)
    }

    /// The slot for a tick; `None` if the cursor has been there.
    fn of(tick: u64, cursor: u64) -> Option<Place> {
        if tick <= cursor {
            return None;
        }
        let level = (tick ^ cursor).ilog2() / SLOT_BITS;
        Some(Place::new(
            level as usize,
            (tick >> (level * SLOT_BITS)) as usize % SLOTS,
        ))
    }

    /// The first tick of a slot.
    fn first_tick(self, cursor: u64) -> u64 {
        let shift = self.level() as u32 * SLOT_BITS;
        let above = cursor >> shift >> SLOT_BITS << SLOT_BITS;
        (above | (self.index() % SLOTS) as u64) << shift
    }

    fn level(self) -> usize {
        self.index() / SLOTS
    }

    fn bit(self) -> u64 {
        1 << (self.index() % SLOTS)
    }

    /// The position in `Wheel::slots`. The mask changes nothing, but spares a bounds check.
    fn index(self) -> usize {
        usize::from(self.0) & (LEVELS * SLOTS - 1)
    }
}

/// A tick is 2^17 ns, 131 us: about as late as a timer is anyway.
const TICK_BITS: u32 = 17;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 17 + 8 x 6 bits is one more than there are: half of the top level is never used.
const LEVELS: usize = 8;
/// How many timers `next` may visit for each operation. Fewer, and the cursor is ahead of the time more often.
const WALK_PER_OPERATION: u64 = 4;
/// How many more dead entries than live ones `near` puts up with.
const DEAD_ENTRIES: usize = 32;
/// How many entries of `due` are worth keeping between two calls: 24 KiB.
const DUE_CAPACITY: usize = 1024;

#[cfg(all(test, not(loom)))]
mod tests;
