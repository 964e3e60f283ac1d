//! The wheel against a sorted map, and its edges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Wake;

use proptest::prelude::*;

use super::*;

const TICK: u64 = 1 << TICK_BITS;
const SECOND: u64 = 1_000_000_000;
const YEAR: u64 = 365 * 24 * 3600 * SECOND;

#[test]
fn timers_fire_in_order_of_deadline_then_of_insertion() {
    let mut check = Checked::new();
    for deadline in [
        5 * SECOND,
        7,
        5 * SECOND,
        0,
        TICK,
        7,
        3 * YEAR,
        5 * SECOND - 1,
    ] {
        check.insert(deadline);
    }
    check.fire(4 * YEAR);
    assert_eq!(check.wheel.len(), 0);
}

#[test]
fn a_timer_fires_at_its_nanosecond_and_not_before() {
    for deadline in [
        1,
        TICK - 1,
        TICK,
        TICK + 1,
        64 * TICK,
        64 * TICK - 1,
        SECOND,
        YEAR,
        500 * YEAR,
    ] {
        let mut check = Checked::new();
        check.insert(deadline);
        check.fire(deadline - 1);
        assert_eq!(check.wheel.len(), 1, "{deadline} ns");
        check.fire(deadline);
        assert_eq!(check.wheel.len(), 0, "{deadline} ns");
    }
}

#[test]
fn far_timers_cause_no_stop_on_the_way() {
    let mut check = Checked::new();
    check.insert(3 * YEAR + 12_345);
    check.fire(SECOND);
    assert_eq!(check.wheel.next(), Some(3 * YEAR + 12_345));
    check.fire(2 * YEAR);
    assert_eq!(check.wheel.next(), Some(3 * YEAR + 12_345));
}

#[test]
fn deadlines_at_the_end_of_time_are_kept_and_never_does_not_fire() {
    let mut check = Checked::new();
    let never = check.insert(NEVER);
    assert_eq!(check.wheel.next(), None);
    check.insert(NEVER - 1);
    check.insert(NEVER - TICK);
    check.fire(NEVER - 2);
    check.fire(NEVER - 1);
    check.fire(NEVER);
    assert_eq!((check.wheel.next(), check.wheel.len()), (None, 1));
    // Time is over, and yet:
    check.insert(NEVER - 1);
    check.insert(3);
    check.fire(NEVER);
    check.cancel(never);
    assert_eq!(check.wheel.len(), 0);
}

#[test]
fn a_reset_goes_behind_its_equals_and_keeps_its_waker_and_key() {
    for deadline in [50, 5 * SECOND] {
        let mut check = Checked::new();
        let first = check.insert(deadline);
        let second = check.insert(deadline);
        check.insert(deadline);
        check.reset(first, deadline);
        check.reset(second, deadline + 1);
        check.reset(second, deadline);
        check.fire(deadline);
        assert_eq!(check.wheel.len(), 0);
    }
}

#[test]
fn a_stale_key_does_nothing() {
    let mut check = Checked::new();
    for deadline in [10, 5 * SECOND] {
        let fired = check.insert(deadline);
        check.fire(deadline);
        let cancelled = check.insert(2 * deadline);
        check.cancel(cancelled);
        let evicted = check.insert(2 * deadline);
        check.drain();
        let reused = check.insert(2 * deadline);
        for id in [fired, cancelled, evicted] {
            assert_eq!(check.keys[&id].index, check.keys[&reused].index);
            check.cancel(id);
            check.reset(id, 1);
            check.rewake(id);
        }
        check.fire(2 * deadline);
    }
}

#[test]
fn time_running_backwards_is_no_progress() {
    let mut check = Checked::new();
    check.fire(10 * SECOND);
    check.insert(10 * SECOND + 5);
    check.insert(9 * SECOND);
    check.insert(8 * SECOND);
    check.fire(7 * SECOND);
    check.fire(8 * SECOND);
    assert_eq!(check.wheel.len(), 2);
    check.fire(10 * SECOND + 5);
}

#[test]
fn a_cancelled_minimum_is_forgotten() {
    for spread in [1, 2 * TICK, SECOND] {
        let mut check = Checked::new();
        // Out of order, so that no list is sorted; and the first one twice.
        let ids: Vec<_> = [3, 1, 5, 1, 4, 2]
            .map(|n| check.insert(100 * SECOND + n * spread))
            .into();
        for id in [ids[1], ids[3], ids[5], ids[2], ids[0], ids[4]] {
            check.cancel(id);
        }
        assert_eq!(check.wheel.next(), None);
    }
}

#[test]
fn when_walking_was_not_paid_for_the_cursor_goes_ahead_and_nothing_is_late() {
    let mut check = Checked::new();
    let far: Vec<_> = (0..100)
        .map(|n| check.insert(YEAR + (n * 37 % 100) * SECOND))
        .collect();
    check.wheel.credit = 0;
    check.cancel(far[0]);
    assert!(check.wheel.cursor > 0, "it walked for free");
    // All these are behind the cursor now.
    for deadline in [5 * SECOND, 3, YEAR - 1, SECOND, 5 * SECOND] {
        check.insert(deadline);
    }
    for now in [2, 3, SECOND, 6 * SECOND, YEAR, YEAR + 50 * SECOND, 2 * YEAR] {
        check.fire(now);
    }
    assert_eq!(check.wheel.len(), 0);
}

#[test]
fn dead_entries_do_not_pile_up() {
    let mut wheel = Wheel::new(0);
    for n in 0..10 {
        wheel.insert(n, Waker::noop().clone());
    }
    for _ in 0..10_000 {
        let key = wheel.insert(5, Waker::noop().clone());
        wheel.reset(key, 6);
        wheel.cancel(key);
        assert!(wheel.near.len() <= 2 * (10 + DEAD_ENTRIES));
    }
    assert_eq!((wheel.len(), wheel.nodes.len()), (10, nodes::CHUNK as u32));
}

#[test]
fn a_hundred_thousand_timers_all_fire_in_order() {
    let mut wheel = Wheel::new(0);
    let mut random = 0x5eed;
    for _ in 0..100_000 {
        let deadline = next_random(&mut random) % (10 * SECOND);
        wheel.insert(deadline, Waker::noop().clone());
    }
    let (mut last, mut count) = (0, 0);
    while let Some(next) = wheel.next() {
        let now = next + next_random(&mut random) % SECOND / 20;
        let before = count;
        wheel.fire(now, |deadline, _| {
            assert!(
                last <= deadline && deadline <= now,
                "{last}, then {deadline}, at {now}"
            );
            last = deadline;
            count += 1;
        });
        assert!(
            count > before,
            "woken at {now} for {next}, and nothing was due"
        );
    }
    assert_eq!(count, 100_000);
    wheel.audit();
}

#[test]
fn next_does_not_walk_a_crowd_once_for_every_cancel() {
    // 1, 100_001, 2, 100_002 ..: not sorted, and always the least is cancelled.
    let mut wheel = Wheel::new(0);
    let base = 100 * SECOND;
    let keys: Vec<_> = (0..50_000u64)
        .flat_map(|n| [base + n, base + 100_000 + n])
        .map(|deadline| wheel.insert(deadline, Waker::noop().clone()))
        .collect();
    // Walking them all each time would be 10^10 steps here, and a minute.
    for (cancelled, key) in keys.iter().step_by(2).enumerate() {
        wheel.cancel(*key);
        let next = if cancelled + 1 < 50_000 {
            base + cancelled as u64 + 1
        } else {
            base + 100_000
        };
        assert_eq!(wheel.next(), Some(next));
    }
    wheel.audit();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_a_sorted_map_does(
        start in prop_oneof![Just(0), 0..YEAR, Just(NEVER - 2 * YEAR)],
        ask_always in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut check = Checked::new();
        check.ask_always = ask_always;
        check.fire(start);
        for step in steps {
            let now = check.now;
            match step {
                Step::Insert(when) => { check.insert(when.at(now)); }
                Step::InsertEqual(n) => {
                    let deadline = check.some_deadline(n).unwrap_or(now);
                    check.insert(deadline);
                }
                Step::Cancel(n) => check.cancel(n),
                Step::CancelFirst => {
                    if let Some((_, &id)) = check.model.first_key_value() {
                        check.cancel(id);
                    }
                }
                Step::Reset(n, when) => check.reset(n, when.at(now)),
                Step::Rewake(n) => check.rewake(n),
                Step::Advance(when) => check.fire(when.at(now).max(now)),
                Step::AdvanceToNext(late) => {
                    let next = check.model.first_key_value().map_or(now, |(key, _)| key.0);
                    check.fire(next.max(now).saturating_add(late));
                }
                Step::GoBack(by) => check.fire(now.saturating_sub(by)),
                Step::Ask => check.ask(),
                Step::Bankrupt => check.wheel.credit = 0,
                Step::Drain => check.drain(),
            }
        }
        check.ask();
        check.fire(NEVER);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(When),
    InsertEqual(usize),
    Cancel(usize),
    CancelFirst,
    Reset(usize, When),
    Rewake(usize),
    Advance(When),
    AdvanceToNext(u64),
    GoBack(u64),
    Ask,
    Bankrupt,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => when().prop_map(Step::Insert),
        4 => any::<usize>().prop_map(Step::InsertEqual),
        4 => (0..200usize).prop_map(Step::Cancel),
        4 => Just(Step::CancelFirst),
        3 => ((0..200usize), when()).prop_map(|(n, when)| Step::Reset(n, when)),
        1 => (0..200usize).prop_map(Step::Rewake),
        3 => when().prop_map(Step::Advance),
        3 => (0..3 * TICK).prop_map(Step::AdvanceToNext),
        1 => (0..YEAR).prop_map(Step::GoBack),
        2 => Just(Step::Ask),
        1 => Just(Step::Bankrupt),
        1 => prop_oneof![9 => Just(Step::Ask), 1 => Just(Step::Drain)],
    ]
}

/// An instant, seen from now.
#[derive(Clone, Debug)]
enum When {
    In(u64),
    Ago(u64),
    /// That many nanoseconds around the next but `slots` boundary of a tick (level 0) or a slot.
    Boundary {
        level: u32,
        slots: u64,
        off: i64,
    },
    /// Before the end of time.
    Late(u64),
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        // Of every magnitude: 1 ns to 18 years.
        6 => (0..60u32, any::<u64>()).prop_map(|(bits, random)| When::In(random & ((1 << bits) - 1))),
        2 => (0..TICK).prop_map(When::In),
        1 => (0..2 * TICK).prop_map(When::Ago),
        6 => (0..=7u32, 0..4u64, -2..=2i64)
            .prop_map(|(level, slots, off)| When::Boundary { level, slots, off }),
        1 => (0..3 * TICK).prop_map(When::Late),
    ]
}

impl When {
    fn at(&self, now: u64) -> u64 {
        match *self {
            When::In(delay) => now.saturating_add(delay),
            When::Ago(delay) => now.saturating_sub(delay),
            When::Boundary { level, slots, off } => {
                let shift = TICK_BITS + level * SLOT_BITS;
                let slot = (now >> shift).saturating_add(slots);
                let start = if slot.leading_zeros() < shift {
                    NEVER
                } else {
                    slot << shift
                };
                start.saturating_add_signed(off)
            }
            When::Late(before) => NEVER - before,
        }
    }
}

/// A wheel, and the simplest thing that ought to behave alike.
struct Checked {
    wheel: Wheel,
    model: BTreeMap<(u64, usize), usize>,
    /// Of every timer that ever was, its key, and its place in the model while that is pending.
    keys: BTreeMap<usize, Key>,
    places: BTreeMap<usize, (u64, usize)>,
    wakers: BTreeMap<usize, Arc<Unused>>,
    insertions: usize,
    now: u64,
    ask_always: bool,
}

struct Unused(#[expect(dead_code, reason = "without a size, all would share an address")] u8);

impl Wake for Unused {
    fn wake(self: Arc<Self>) {}
}

impl Checked {
    fn new() -> Checked {
        Checked {
            wheel: Wheel::new(0),
            model: BTreeMap::new(),
            keys: BTreeMap::new(),
            places: BTreeMap::new(),
            wakers: BTreeMap::new(),
            insertions: 0,
            now: 0,
            ask_always: true,
        }
    }

    fn insert(&mut self, deadline: u64) -> usize {
        let id = self.keys.len();
        let waker = Arc::new(Unused(0));
        let key = self.wheel.insert(deadline, Waker::from(waker.clone()));
        self.keys.insert(id, key);
        self.wakers.insert(id, waker);
        self.put(id, deadline);
        self.check();
        id
    }

    fn cancel(&mut self, id: usize) {
        let Some(&key) = self.keys.get(&id) else {
            return;
        };
        let cancelled = self.wheel.cancel(key);
        let place = self.places.remove(&id);
        assert_eq!(
            cancelled.as_ref().map(|(deadline, _)| *deadline),
            place.map(|place| place.0)
        );
        if let Some(place) = place {
            self.model.remove(&place);
        }
        if let Some((_, waker)) = cancelled {
            assert_eq!(waker.data(), Arc::as_ptr(&self.wakers[&id]).cast());
        }
        self.check();
    }

    fn reset(&mut self, id: usize, deadline: u64) {
        let Some(&key) = self.keys.get(&id) else {
            return;
        };
        let place = self.places.remove(&id);
        assert_eq!(self.wheel.reset(key, deadline), place.map(|place| place.0));
        if let Some(place) = place {
            self.model.remove(&place);
            self.put(id, deadline);
        }
        self.check();
    }

    fn rewake(&mut self, id: usize) {
        let Some(&key) = self.keys.get(&id) else {
            return;
        };
        let current = self.wheel.waker(key);
        assert_eq!(current.is_some(), self.places.contains_key(&id));
        if let Some(current) = current {
            assert_eq!(current.data(), Arc::as_ptr(&self.wakers[&id]).cast());
            let waker = Arc::new(Unused(0));
            *current = Waker::from(waker.clone());
            self.wakers.insert(id, waker);
        }
        self.check();
    }

    fn fire(&mut self, now: u64) {
        self.now = self.now.max(now);
        let mut fired = Vec::new();
        self.wheel
            .fire(now, |deadline, waker| fired.push((deadline, waker.data())));
        let mut expected = Vec::new();
        while let Some((&(deadline, _), &id)) = self.model.first_key_value() {
            if deadline > now || deadline == NEVER {
                break;
            }
            self.model.pop_first();
            self.places.remove(&id);
            expected.push((deadline, Arc::as_ptr(&self.wakers[&id]).cast()));
        }
        assert_eq!(fired, expected, "at {now}");
        self.check();
    }

    fn drain(&mut self) {
        let mut wakers = Vec::new();
        self.wheel.drain(&mut wakers);
        let mut drained: Vec<_> = wakers.iter().map(Waker::data).collect();
        let mut expected: Vec<_> = self
            .model
            .values()
            .map(|id| Arc::as_ptr(&self.wakers[id]).cast())
            .collect();
        drained.sort();
        expected.sort();
        assert_eq!(drained, expected);
        self.model.clear();
        self.places.clear();
        self.check();
    }

    fn ask(&mut self) {
        let next = self
            .model
            .first_key_value()
            .map(|(place, _)| place.0)
            .filter(|&next| next != NEVER);
        assert_eq!(self.wheel.next(), next);
        self.wheel.audit();
    }

    fn check(&mut self) {
        assert_eq!(self.wheel.len(), self.model.len());
        self.wheel.audit();
        if self.ask_always {
            self.ask();
        }
    }

    fn put(&mut self, id: usize, deadline: u64) {
        self.insertions += 1;
        self.model.insert((deadline, self.insertions), id);
        self.places.insert(id, (deadline, self.insertions));
    }

    fn some_deadline(&self, n: usize) -> Option<u64> {
        let n = n.checked_rem(self.model.len())?;
        self.model.keys().nth(n).map(|place| place.0)
    }
}

impl Wheel {
    /// Everything that the other methods rely on.
    fn audit(&self) {
        let mut seen = 0;
        for level in 0..LEVELS {
            for slot in 0..SLOTS {
                let place = Place::new(level, slot);
                if self.occupied[level] & place.bit() != 0 {
                    seen += self.audit_slot(place);
                }
            }
        }
        let alive = self
            .near
            .iter()
            .filter(|Reverse(entry)| entry.is_alive(&self.nodes))
            .count();
        let near = self.nodes.iter().filter(|node| node.place == Place::NEAR);
        let passed = near.map(|node| node.deadline >> TICK_BITS <= self.cursor);
        let passed: Vec<bool> = passed.collect();
        assert_eq!(passed, vec![true; alive]);
        assert_eq!(self.near.len(), alive + self.dead);
        assert!(self.dead <= alive + DEAD_ENTRIES);
        assert_eq!(seen + alive, self.pending);

        let (mut free, mut index) = (0, self.free);
        while index != NIL {
            let node = &self.nodes[index];
            assert!(node.place == Place::FREE && node.waker.is_none());
            free += 1;
            index = node.next;
        }
        assert_eq!(free + self.pending, self.nodes.iter().count());
        assert!(self.due.is_empty());
    }

    fn audit_slot(&self, place: Place) -> usize {
        let slot = self.slots[place.index()];
        let mut deadlines = Vec::new();
        let (mut prev, mut index) = (NIL, slot.head);
        while index != NIL {
            let node = &self.nodes[index];
            assert!(node.waker.is_some());
            assert_eq!((node.place, node.prev), (place, prev));
            assert_eq!(
                Place::of(node.deadline >> TICK_BITS, self.cursor),
                Some(place)
            );
            assert!(node.deadline >> TICK_BITS >= place.first_tick(self.cursor));
            deadlines.push(node.deadline);
            (prev, index) = (index, node.next);
        }
        assert_eq!(slot.tail, prev);
        let least = deadlines
            .iter()
            .copied()
            .min()
            .expect("an occupied slot is not empty");
        if self.sorted[place.level()] & place.bit() != 0 {
            assert!(deadlines.is_sorted());
        } else if self.vague[place.level()] & place.bit() != 0 {
            assert!(slot.min <= least);
        } else {
            assert_eq!(slot.min, least);
        }
        deadlines.len()
    }
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
