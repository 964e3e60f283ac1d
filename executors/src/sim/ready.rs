//! Who can run.
//!
//! A set that is cheap to take from in all the ways in which somebody may be chosen: who has waited longest, any one with
//! equal chances, whoever ranks highest, or a certain one.
//!
//! Not here: which of these ways it is (`schedule`).

use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Ready<T> {
    /// In no order.
    items: Vec<Item<T>>,
    /// Places in `items`.
    by_age: BTreeMap<u64, usize>,
    /// Rank and task, to the age.
    by_rank: BTreeMap<(u64, u64), u64>,
    next_age: u64,
}

#[derive(Debug)]
struct Item<T> {
    age: u64,
    task: u64,
    rank: Option<u64>,
    what: T,
}

impl<T> Ready<T> {
    pub(crate) fn new() -> Ready<T> {
        Ready {
            items: Vec::new(),
            by_age: BTreeMap::new(),
            by_rank: BTreeMap::new(),
            next_age: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a task, which is not there yet. Without a rank it cannot be the highest.
    pub(crate) fn push(&mut self, task: u64, rank: Option<u64>, what: T) {
        let age = self.next_age;
        self.next_age += 1;
        self.by_age.insert(age, self.items.len());
        if let Some(rank) = rank {
            self.by_rank.insert((rank, task), age);
        }
        self.items.push(Item {
            age,
            task,
            rank,
            what,
        });
    }

    /// The place of who has waited longest.
    pub(crate) fn oldest(&self) -> Option<usize> {
        self.by_age.first_key_value().map(|(_, place)| *place)
    }

    /// The place of who ranks highest.
    pub(crate) fn highest(&self) -> Option<usize> {
        let (_, age) = self.by_rank.last_key_value()?;
        self.by_age.get(age).copied()
    }

    /// The place of a certain task.
    pub(crate) fn find(&self, task: u64) -> Option<usize> {
        self.items.iter().position(|item| item.task == task)
    }

    /// Who is at a place.
    pub(crate) fn task(&self, place: usize) -> u64 {
        self.items[place].task
    }

    /// Takes out who is at a place. All other places may change.
    pub(crate) fn remove(&mut self, place: usize) -> (u64, T) {
        let item = self.items.swap_remove(place);
        self.by_age.remove(&item.age);
        if let Some(rank) = item.rank {
            self.by_rank.remove(&(rank, item.task));
        }
        if let Some(moved) = self.items.get(place) {
            self.by_age.insert(moved.age, place);
        }
        (item.task, item.what)
    }

    /// Takes out who has waited longest.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let oldest = self.oldest()?;
        Some(self.remove(oldest).1)
    }
}

#[cfg(test)]
mod tests {
    use super::Ready;

    #[test]
    fn the_oldest_is_the_oldest_whoever_leaves() {
        let mut ready = Ready::new();
        for task in 0..10 {
            ready.push(task, None, ());
        }
        for task in [3, 0, 9, 5] {
            let place = ready.find(task).unwrap();
            assert_eq!(ready.remove(place), (task, ()));
        }
        ready.push(3, None, ());
        let mut left = Vec::new();
        while let Some(place) = ready.oldest() {
            left.push(ready.remove(place).0);
        }
        assert_eq!(left, [1, 2, 4, 6, 7, 8, 3]);
    }

    #[test]
    fn the_highest_is_the_highest_whoever_leaves() {
        let mut ready = Ready::new();
        for (task, rank) in [(0, 5), (1, 9), (2, 1), (3, 9), (4, 7)] {
            ready.push(task, Some(rank), ());
        }
        let middle = ready.find(4).unwrap();
        ready.remove(middle);
        let mut order = Vec::new();
        while let Some(place) = ready.highest() {
            order.push(ready.remove(place).0);
        }
        assert_eq!(order, [3, 1, 0, 2]);
        assert_eq!(ready.len(), 0);
    }
}
