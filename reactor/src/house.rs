//! Which reactor a source lives in, and how it moves house.
//!
//! A source has no house until somebody waits for it; it then registers with the reactor of the thread that waits.
//! When a task waits elsewhere, the source moves there (deleted here, added there), unless another waiter is left
//! where it is: then it stays, and that reactor's driver wakes both. What was delivered before a move stays valid, for
//! the word belongs to the source; what was harvested and not yet delivered is noise, for the generation is another,
//! and the new registration reports anew whatever is ready.
//!
//! | from → to       | when                                             | done by                       |
//! |-----------------|--------------------------------------------------|-------------------------------|
//! | none → A        | first wait, under A; or at creation (`enroll`)   | `Source::settle`, `enroll`    |
//! | A → B           | a wait under B, nobody else waiting, not pinned  | `Source::settle`              |
//! | A → none        | A ends for good; pinned: and the source is retired | `Source::evict`             |
//! | A → A           | A's owner stops driving for now (`block_on` returned): the waiters are woken, and whoever waits next moves it | `Source::evict` |
//! | any → none      | the source is closed                             | `Source::retire`              |
//!
//! All of it happens under the source's mutex, so a move, an event's delivery to the waiters, the end of a reactor and
//! a drop are serialised per source. Nobody is stranded: a waiter that finds its house ending leaves its waker under
//! the mutex while the source is still listed as living there, so the end, which visits every source that does, finds
//! the waker; a waiter that comes after the visit finds no house and registers anew.
//!
//! Not here: the decision itself, which reads like the rule (`Source::settle`), and the real houses (`reactor`).
//! Checked by `loom_tests::house`.

use std::io;

use crate::os::RawSource;
use crate::source::{Generation, bits};

/// What a source needs of the reactor it lives in. The second implementor is the loom models' street.
pub(crate) trait House: Sized {
    fn id(&self) -> HouseId;

    /// Whether a registration is for life. If not, it is for one event, and has to be armed again.
    fn is_edge(&self) -> bool;

    /// Whether the end of the peer's data is reported beside the data.
    fn reports_half_close(&self) -> bool;

    /// Starts to watch `raw` for life, or for `wants` once, and remembers `index` as living here.
    fn admit(
        &self,
        raw: RawSource,
        index: u32,
        generation: Generation,
        wants: u64,
    ) -> io::Result<()>;

    /// Watches for `wants` once more. May race with an event, but never lose it.
    fn arm(&self, raw: RawSource, index: u32, generation: Generation, wants: u64)
    -> io::Result<()>;

    /// Stops watching `raw`, and forgets that `index` lives here.
    fn dismiss(&self, raw: RawSource, index: u32) -> io::Result<()>;

    /// The house of another id, if it has handles left. This one may become the last of them, whose drop ends the
    /// house: drop it where no lock is held.
    fn neighbour(&self, id: HouseId) -> Option<Self>;

    /// Somebody waits here from now on: sees to it that somebody drives.
    fn summon(&self) -> io::Result<()>;
}

/// Names a reactor for as long as it lives; then another may get the name. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HouseId(u32);

impl HouseId {
    /// Two to the 27th reactors at once are enough.
    const BITS: u32 = 27;

    /// # Panics
    /// If there are more than 2^27 reactors at once.
    pub(crate) fn new(index: usize) -> HouseId {
        assert!(index + 1 < 1 << Self::BITS, "too many reactors at once");
        HouseId(index as u32 + 1)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize - 1
    }
}

/// Where a source lives and what it is armed for there, in one `u32`: a source is one cache line.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lodging(u32);

const PINNED: u32 = 1 << HouseId::BITS;
const ARMED_SHIFT: u32 = HouseId::BITS + 1;
const ARMED: u32 = 0b1111 << ARMED_SHIFT;

impl Lodging {
    pub(crate) fn at(id: HouseId) -> Lodging {
        Lodging(id.0)
    }

    pub(crate) fn house(self) -> Option<HouseId> {
        let id = self.0 & (PINNED - 1);
        (id != 0).then_some(HouseId(id))
    }

    pub(crate) fn pin(&mut self) {
        self.0 |= PINNED;
    }

    pub(crate) fn is_pinned(self) -> bool {
        self.0 & PINNED != 0
    }

    /// Notes that the OS has been asked for `wants`. Errors come with whatever it is asked for.
    pub(crate) fn armed(&mut self, wants: u64) {
        let asked = directions(wants | bits::ERROR);
        self.0 = (self.0 & !ARMED) | (asked << ARMED_SHIFT);
    }

    /// Notes that the OS has answered, and watches no more.
    pub(crate) fn disarm(&mut self) {
        self.0 &= !ARMED;
    }

    /// Whether the OS has been asked for all of `wants`.
    pub(crate) fn is_armed(self, wants: u64) -> bool {
        let wanted = directions(wants);
        (self.0 & ARMED) >> ARMED_SHIFT & wanted == wanted
    }
}

/// What one-shot back ends are asked for: read, write, priority, errors alone.
fn directions(wants: u64) -> u32 {
    let wanted = [bits::READ, bits::WRITE, bits::PRIORITY, bits::ERROR]
        .iter()
        .enumerate()
        .map(|(at, bits)| u32::from(wants & bits != 0) << at);
    wanted.sum()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn armed_for_errors_alone_is_not_armed_for_data() {
        let mut lodging = Lodging::at(HouseId::new(0));
        assert!(!lodging.is_armed(bits::ERROR));
        lodging.armed(bits::ERROR);
        assert!(lodging.is_armed(bits::ERROR));
        assert!(!lodging.is_armed(bits::READ));
        assert!(!lodging.is_armed(bits::PRIORITY | bits::ERROR));

        lodging.armed(bits::READ | bits::WRITE);
        assert!(lodging.is_armed(bits::READ | bits::ERROR));
        lodging.disarm();
        assert!(!lodging.is_armed(bits::ERROR));
    }

    #[test]
    fn a_lodging_keeps_its_house_whatever_else_it_notes() {
        let last = HouseId::new((1 << HouseId::BITS) - 2);
        let mut lodging = Lodging::at(last);
        lodging.pin();
        lodging.armed(bits::ANY);
        assert_eq!(lodging.house(), Some(last));
        lodging.disarm();
        assert!(lodging.is_pinned() && lodging.house() == Some(last));
    }
}
