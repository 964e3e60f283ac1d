//! Room for the timers of a wheel.
//!
//! Nodes come in chunks that never move. So the wheel takes what its timers need and less than a chunk more, and no
//! insert has to wait until a million others have been copied.
//!
//! Not here: which of them are free, and where the others hang (`wheel`).

use std::array;
use std::ops::{Index, IndexMut};
use std::task::Waker;

use super::Place;

/// A timer, or room for one.
pub(super) struct Node {
    pub(super) deadline: u64,
    /// `None` if free.
    pub(super) waker: Option<Waker>,
    /// In a slot, the neighbours; if free, `next` is the next free one; in `near`, the halves of a stamp.
    pub(super) prev: u32,
    pub(super) next: u32,
    /// Of the key of the timer that it is; if free, of the next one.
    pub(super) generation: u32,
    pub(super) place: Place,
}

impl Node {
    pub(super) fn stamp(&self) -> u64 {
        u64::from(self.next) << 32 | u64::from(self.prev)
    }

    pub(super) fn set_stamp(&mut self, stamp: u64) {
        self.prev = stamp as u32;
        self.next = (stamp >> 32) as u32;
    }
}

/// All nodes of a wheel, by index.
pub(super) struct Nodes {
    chunks: Vec<Box<[Node; CHUNK]>>,
    first_generation: u32,
}

impl Nodes {
    pub(super) fn new(first_generation: u32) -> Nodes {
        Nodes {
            chunks: Vec::new(),
            first_generation,
        }
    }

    pub(super) fn len(&self) -> u32 {
        // Fits, because `grow` has seen to it.
        (self.chunks.len() * CHUNK) as u32
    }

    pub(super) fn get(&self, index: u32) -> Option<&Node> {
        let chunk = self.chunks.get(index as usize / CHUNK)?;
        Some(&chunk[index as usize % CHUNK])
    }

    /// Adds a chunk of free nodes, chained by `next`, and returns the first.
    ///
    /// # Panics
    /// If there are 2^32 nodes already, which takes 160 GiB. Nothing has changed then.
    #[cold]
    pub(super) fn grow(&mut self) -> u32 {
        let first = self.chunks.len() * CHUNK;
        assert!(
            first + CHUNK <= NIL as usize,
            "2^32 timers are pending in one shard"
        );
        let first = first as u32;
        let generation = self.first_generation;
        self.chunks.push(Box::new(array::from_fn(|at| Node {
            deadline: 0,
            waker: None,
            prev: NIL,
            next: if at + 1 == CHUNK {
                NIL
            } else {
                first + at as u32 + 1
            },
            generation,
            place: Place::FREE,
        })));
        first
    }

    /// If all are free: no key is of this generation or a later one.
    pub(super) fn next_generation(&self) -> u32 {
        let generations = self.iter().map(|node| node.generation);
        generations.fold(self.first_generation, u32::max)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl Index<u32> for Nodes {
    type Output = Node;

    #[inline]
    fn index(&self, index: u32) -> &Node {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl IndexMut<u32> for Nodes {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Node {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

/// No node.
pub(super) const NIL: u32 = u32::MAX;
/// 5 KiB: not much for a single timer, and of a million timers the table is 64 KiB.
pub(super) const CHUNK: usize = 128;

const _: () = assert!(size_of::<usize>() < 8 || size_of::<Node>() == 40);
