//! Choose, record, replay.
//!
//! What there is to choose: which of the tasks that can run does, and, if that is asked for, whether a task is polled that
//! nobody has woken. By default it is who has waited longest, and no such poll; a *change* is a choice that differs. A
//! whole run is told by its changes, which name the step and the task, so that a person can read them.
//!
//! A seed chooses in one of two manners. One half of them *shuffle*: each step, whoever can run has an equal chance. That
//! finds what many orders bring about, and hardly ever lets one task wait for long. The others *favour*: each task has a
//! random rank, the highest runs, and loses its rank now and then, or when it yields. That finds what takes one task being
//! far ahead of another (the idea is probabilistic concurrency testing: Burckhardt and others, 2010).
//!
//! The generator is SplitMix64, and every draw is made here, so that a seed means the same in every version.
//!
//! Not here: who can run (`ready`), which changes matter (`check`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::ready::Ready;

/// One step of so many, who runs loses its rank.
const DEMOTED_ONE_IN: usize = 16;

/// One step of so many, somebody is polled who was not woken, if that is asked for.
const DISTURBED_ONE_IN: usize = 16;

/// Every choice of a run of a [`Sim`](crate::Sim): a seed, or the list of the choices that differ from the default.
///
/// It prints as one word, and can be parsed from it: `17` is the seed 17. `17:4=2,9=0,12+3` is the default order, in which
/// whoever has waited longest runs next, but for three changes: step 4 runs task 2, step 9 runs the main future, which is
/// number 0, and before step 12 task 3 is woken though nobody has woken it. (The seed goes with it because it also seeds
/// [`SimHandle::random`](crate::SimHandle::random).) A change that cannot be made, because that task cannot run then, is
/// left out.
///
/// # Examples
///
/// ```
/// use untether_executors::sim::Schedule;
///
/// let schedule: Schedule = "17:4=2,9=0".parse()?;
/// assert_eq!(schedule.seed(), 17);
/// assert_eq!(schedule.to_string(), "17:4=2,9=0");
/// assert_eq!(Schedule::from(17).to_string(), "17");
/// # Ok::<(), untether_executors::sim::ParseScheduleError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Schedule {
    seed: u64,
    /// None: the seed chooses.
    changes: Option<Vec<Change>>,
}

/// A choice that differs from the default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Change {
    pub(crate) step: u64,
    pub(crate) task: u64,
    pub(crate) what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum What {
    /// The step runs this task.
    Runs,
    /// Before the step, this task is woken for no reason.
    Disturbs,
}

impl Schedule {
    /// The default order, but for `changes`.
    pub(crate) fn listed(seed: u64, changes: Vec<Change>) -> Schedule {
        Schedule {
            seed,
            changes: Some(changes),
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many choices differ from the default; `None` if the seed chooses.
    pub fn changes(&self) -> Option<usize> {
        self.changes.as_ref().map(Vec::len)
    }
}

impl From<u64> for Schedule {
    fn from(seed: u64) -> Schedule {
        Schedule {
            seed,
            changes: None,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seed.fmt(f)?;
        let Some(changes) = &self.changes else {
            return Ok(());
        };
        f.write_str(":")?;
        for (at, change) in changes.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let sign = match change.what {
                What::Runs => '=',
                What::Disturbs => '+',
            };
            write!(f, "{comma}{}{sign}{}", change.step, change.task)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({self})")
    }
}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ParseScheduleError> {
        let bad = |what: &str| ParseScheduleError { what: what.into() };
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad(text));
        let Some((seed, list)) = text.split_once(':') else {
            return Ok(Schedule::from(number(text)?));
        };
        let change = |text: &str| {
            let (what, sign) = match text.contains('+') {
                true => (What::Disturbs, '+'),
                false => (What::Runs, '='),
            };
            let (step, task) = text.split_once(sign).ok_or_else(|| bad(text))?;
            let (step, task) = (number(step)?, number(task)?);
            Ok(Change { step, task, what })
        };
        let changes = list.split(',').filter(|text| !text.is_empty()).map(change);
        let mut changes = changes.collect::<Result<Vec<_>, _>>()?;
        // At one step the disturbance comes first, as it did.
        changes.sort_by_key(|change| (change.step, change.what == What::Runs));
        Ok(Schedule::listed(number(seed)?, changes))
    }
}

/// A text that is no [`Schedule`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseScheduleError {
    what: Box<str>,
}

impl fmt::Display for ParseScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot read {:?} in a schedule: a seed is a number, a change STEP=TASK or STEP+TASK, as in 17:4=2,9=0",
            self.what
        )
    }
}

impl std::error::Error for ParseScheduleError {}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is not 0. The bias is one part in 2^64 / `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Makes the choices of a run, and remembers where they differ from the default.
#[derive(Debug)]
pub(crate) struct Chooser {
    manner: Manner,
    /// Whether the seed may disturb.
    disturbs: bool,
    made: Vec<Change>,
}

#[derive(Debug)]
enum Manner {
    Shuffle(Rng),
    Favour(Rng, Ranks),
    /// What is left of the changes, the next one last.
    Follow(Vec<Change>),
}

/// Who ranks above whom. Ranks that were drawn are in the upper half of the numbers, those of the demoted below.
#[derive(Debug)]
struct Ranks {
    of: BTreeMap<u64, u64>,
    lowest: u64,
}

const DRAWN: u64 = 1 << 63;

impl Chooser {
    pub(crate) fn new(schedule: &Schedule, disturbs: bool) -> Chooser {
        let manner = match &schedule.changes {
            Some(changes) => Manner::Follow(changes.iter().rev().copied().collect()),
            None => {
                let mut rng = Rng::new(schedule.seed);
                if rng.one_in(2) {
                    Manner::Shuffle(rng)
                } else {
                    let ranks = Ranks {
                        of: BTreeMap::new(),
                        lowest: DRAWN,
                    };
                    Manner::Favour(rng, ranks)
                }
            }
        };
        Chooser {
            manner,
            disturbs,
            made: Vec::new(),
        }
    }

    /// The changes so far.
    pub(crate) fn made(&self) -> Vec<Change> {
        self.made.clone()
    }

    /// The rank with which a task waits to run. `yielded`: it woke itself while it ran.
    pub(crate) fn rank(&mut self, task: u64, yielded: bool) -> Option<u64> {
        let Manner::Favour(rng, ranks) = &mut self.manner else {
            return None;
        };
        if yielded {
            ranks.demote(task);
        }
        Some(*ranks.of.entry(task).or_insert_with(|| rng.next() | DRAWN))
    }

    /// A task is gone.
    pub(crate) fn forget(&mut self, task: u64) {
        if let Manner::Favour(_, ranks) = &mut self.manner {
            ranks.of.remove(&task);
        }
    }

    /// Whom to wake for no reason before a step, if anybody; `tasks` are those that live.
    pub(crate) fn disturb<T>(&mut self, step: u64, ready: &Ready<T>, tasks: &[u64]) -> Option<u64> {
        let chosen = match &mut self.manner {
            Manner::Follow(left) => take_change(left, step, What::Disturbs)?,
            Manner::Shuffle(rng) | Manner::Favour(rng, _) => tasks[rng.below(tasks.len())],
        };
        // Who is to run anyway is not disturbed.
        if ready.find(chosen).is_some() || !tasks.contains(&chosen) {
            return None;
        }
        self.made.push(Change {
            step,
            task: chosen,
            what: What::Disturbs,
        });
        Some(chosen)
    }

    /// Whether to ask [`Chooser::disturb`] before a step.
    pub(crate) fn wants_to_disturb(&mut self, step: u64) -> bool {
        match &mut self.manner {
            Manner::Follow(left) => {
                skip_to(left, step);
                let next = left.last();
                next.is_some_and(|next| next.step == step && next.what == What::Disturbs)
            }
            Manner::Shuffle(rng) | Manner::Favour(rng, _) => {
                self.disturbs && rng.one_in(DISTURBED_ONE_IN)
            }
        }
    }

    /// Who runs in a step: a place, and who would have run by default if that is another.
    pub(crate) fn choose<T>(
        &mut self,
        step: u64,
        ready: &Ready<T>,
    ) -> Option<(usize, Option<u64>)> {
        let oldest = ready.oldest()?;
        let chosen = match &mut self.manner {
            Manner::Follow(left) => {
                skip_to(left, step);
                // One disturbance a step is enough; who asks for more does not get it.
                while take_change(left, step, What::Disturbs).is_some() {}
                let wanted = take_change(left, step, What::Runs);
                wanted.and_then(|task| ready.find(task)).unwrap_or(oldest)
            }
            _ if ready.len() == 1 => oldest,
            Manner::Shuffle(rng) => rng.below(ready.len()),
            Manner::Favour(rng, ranks) => {
                let highest = ready.highest().unwrap_or(oldest);
                if rng.one_in(DEMOTED_ONE_IN) {
                    ranks.demote(ready.task(highest));
                }
                highest
            }
        };
        if chosen == oldest {
            return Some((chosen, None));
        }
        self.made.push(Change {
            step,
            task: ready.task(chosen),
            what: What::Runs,
        });
        Some((chosen, Some(ready.task(oldest))))
    }
}

impl Ranks {
    fn demote(&mut self, task: u64) {
        self.lowest -= 1;
        self.of.insert(task, self.lowest);
    }
}

/// Leaves out changes of steps that are over.
fn skip_to(left: &mut Vec<Change>, step: u64) {
    while left.last().is_some_and(|change| change.step < step) {
        left.pop();
    }
}

fn take_change(left: &mut Vec<Change>, step: u64, what: What) -> Option<u64> {
    let next = left.last()?;
    if next.step != step || next.what != what {
        return None;
    }
    left.pop().map(|change| change.task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_what_it_prints() {
        for text in [
            "0",
            "17",
            "17:",
            "17:4=2,9=0,12+3",
            "18446744073709551615:1=1",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
        }
        let sorted: Schedule = "1:9=0,4=2,4+1".parse().unwrap();
        assert_eq!(sorted.to_string(), "1:4+1,4=2,9=0");
    }

    #[test]
    fn what_is_no_schedule_is_named() {
        for (text, what) in [
            ("", ""),
            ("seventeen", "seventeen"),
            ("-1", "-1"),
            ("1:4", "4"),
            ("1:4=", ""),
            ("1:4=2,x=3", "x"),
            ("x:4=2", "x"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert_eq!(&*error.what, what, "{text}");
        }
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The published sequence of this seed.
        let mut rng = Rng::new(1_234_567);
        let first: Vec<_> = (0..3).map(|_| rng.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, published);
    }

    /// Runs ten tasks that never wait, a hundred steps, by a schedule. Returns who ran, and the changes.
    fn course(schedule: &Schedule) -> (Vec<u64>, Vec<Change>) {
        let mut chooser = Chooser::new(schedule, false);
        let mut ready = Ready::new();
        for task in 0..10 {
            let rank = chooser.rank(task, false);
            ready.push(task, rank, ());
        }
        let mut course = Vec::new();
        for step in 1..=100 {
            assert!(!chooser.wants_to_disturb(step));
            let (place, _) = chooser.choose(step, &ready).unwrap();
            let (task, ()) = ready.remove(place);
            course.push(task);
            let rank = chooser.rank(task, true);
            ready.push(task, rank, ());
        }
        (course, chooser.made())
    }

    #[test]
    fn the_changes_alone_give_the_same_course() {
        for seed in 0..20 {
            let (run, changes) = course(&Schedule::from(seed));
            let listed = Schedule::listed(seed, changes.clone());
            assert_eq!(course(&listed), (run, changes));
        }
    }

    #[test]
    fn both_manners_let_everybody_run_who_never_waits() {
        for seed in 0..20 {
            let (run, _) = course(&Schedule::from(seed));
            for task in 0..10 {
                assert!(run.contains(&task), "task {task} never ran by seed {seed}");
            }
        }
    }

    #[test]
    fn a_change_that_cannot_be_made_is_left_out() {
        let schedule: Schedule = "7:1=99,3+1,3+2,3=9,2000=1".parse().unwrap();
        let mut chooser = Chooser::new(&schedule, false);
        let mut ready = Ready::new();
        let mut course = Vec::new();
        for task in 0..10 {
            ready.push(task, None, ());
        }
        for step in 1..=4 {
            let (place, _) = chooser.choose(step, &ready).unwrap();
            course.push(ready.remove(place).0);
        }
        assert_eq!(course, [0, 1, 9, 2]);
        assert_eq!(Schedule::listed(7, chooser.made()).to_string(), "7:3=9");
    }

    #[test]
    fn without_changes_whoever_has_waited_longest_runs() {
        let (run, changes) = course(&Schedule::listed(7, Vec::new()));
        assert!(changes.is_empty());
        let round: Vec<u64> = (0..10).cycle().take(100).collect();
        assert_eq!(run, round);
    }
}
