//! Where sources live: an index and a generation, never a dangling key.
//!
//! Pages are chunks of doubling size that are allocated once and never freed, process-wide. A slot in them is a
//! [`Source`] for ever, in somebody's use or not, so a late event, whatever it names, finds a source and not freed
//! memory; the generation in the word tells whether it is still the one that was meant. Looking one up is two loads.
//!
//! Not here: what a source is (`source`). The memory is bounded by the largest number of sources open at once.

use crate::fork;
use crate::os::RawSource;
use crate::source::{Generation, Source};
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, MutexGuard, Ordering, lock};

/// The first chunk has 2^6 slots, the next 2^6, then 2^7 and so on.
const FIRST_BITS: u32 = 6;
/// A key has room for so many index bits beside the generation.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 22 };
const CHUNKS: usize = (INDEX_BITS - FIRST_BITS + 1) as usize;

static PAGES: Pages = Pages {
    chunks: [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS],
    free: Mutex::new(Vec::new()),
    used: AtomicUsize::new(0),
};

struct Pages {
    chunks: [AtomicPtr<Source>; CHUNKS],
    /// The slots in nobody's use, the last one freed on top: its cache line is the warmest.
    free: Mutex<Vec<u32>>,
    /// How many slots have ever been handed out; changes under the lock of `free`.
    used: AtomicUsize,
}

/// A source in use, by whoever holds this.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) index: u32,
    /// In which process.
    pub(crate) born: fork::Generation,
    pub(crate) source: &'static Source,
}

/// Takes a slot and lets it stand for `raw`.
///
/// # Panics
/// If there are more sources at once than a key can name: 2^32, or 2^22 where a pointer has 32 bits.
pub(crate) fn open(raw: RawSource) -> Slot {
    // Before the lock is ever taken: a source may be made before there is any reactor.
    fork::watch();
    let mut free = lock(&PAGES.free);
    let index = free.pop().unwrap_or_else(|| PAGES.extend());
    drop(free);
    let source = get(index).expect("a slot that was handed out");
    source.open(raw, raw.confirms());
    Slot {
        index,
        born: fork::Generation::now(),
        source,
    }
}

/// The lock without which no source is made or ended, for a fork.
pub(crate) fn free_list() -> FreeList {
    lock(&PAGES.free)
}

/// See [`free_list`].
pub(crate) type FreeList = MutexGuard<'static, Vec<u32>>;

/// Gives a slot back, its source having been retired.
pub(crate) fn close(slot: Slot) {
    lock(&PAGES.free).push(slot.index);
}

/// The source at `index`, if there has ever been one.
pub(crate) fn get(index: u32) -> Option<&'static Source> {
    let (chunk, offset, _) = locate(index);
    let first = PAGES.chunks.get(chunk)?.load(Ordering::Acquire);
    if first.is_null() {
        return None;
    }
    // SAFETY: a chunk that is not null holds `locate`'s length of sources, which are initialised before the pointer
    // is stored with Release and never freed or moved; `offset` is below that length.
    Some(unsafe { &*first.add(offset) })
}

/// What the OS is given for a source: never `usize::MAX`, which polling keeps to itself.
pub(crate) fn pack(index: u32, generation: Generation) -> usize {
    index as usize | (generation.to_key() as usize) << INDEX_BITS
}

/// The source and generation that a key names.
pub(crate) fn unpack(key: usize) -> (u32, Generation) {
    let index = (key as u64 & ((1 << INDEX_BITS) - 1)) as u32;
    let generation = Generation::from_key((key as u64 >> INDEX_BITS) as u32);
    (index, generation)
}

impl Pages {
    /// Under the lock of `free`: one more slot, in a new chunk if need be.
    fn extend(&self) -> u32 {
        let used = self.used.load(Ordering::Relaxed);
        // The last index is never given out, so that no key is `usize::MAX`.
        assert!(
            (used as u64) < (1 << INDEX_BITS) - 1,
            "too many sources at once"
        );
        let index = used as u32;
        let (chunk, offset, len) = locate(index);
        if offset == 0 {
            let sources: Vec<Source> = (0..len).map(|_| Source::vacant()).collect();
            let first = Box::leak(sources.into_boxed_slice()).as_mut_ptr();
            self.chunks[chunk].store(first, Ordering::Release);
        }
        self.used.store(used + 1, Ordering::Relaxed);
        index
    }
}

/// The chunk of an index, the offset in it, and the chunk's length.
fn locate(index: u32) -> (usize, usize, usize) {
    let position = u64::from(index) + (1 << FIRST_BITS);
    let bits = position.ilog2();
    let len = 1usize << bits;
    (
        (bits - FIRST_BITS) as usize,
        (position - len as u64) as usize,
        len,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_cache_line() {
        if cfg!(all(target_pointer_width = "64", unix)) {
            assert_eq!(size_of::<Source>(), 64);
        }
    }

    #[test]
    fn every_index_has_its_own_place() {
        let mut next = (0, 0);
        for index in 0..100_000 {
            let (chunk, offset, len) = locate(index);
            assert_eq!((chunk, offset), next, "index {index}");
            next = if offset + 1 == len {
                (chunk + 1, 0)
            } else {
                (chunk, offset + 1)
            };
        }
        assert!(locate((1u64 << INDEX_BITS).wrapping_sub(1) as u32).0 < CHUNKS);
    }

    #[test]
    fn a_key_names_what_it_was_made_of() {
        for index in [0, 1, 63, 64, 4_000_000] {
            for generation in [0, 1, 1023] {
                let generation = Generation::from_key(generation);
                assert_eq!(unpack(pack(index, generation)), (index, generation));
            }
        }
    }
}
