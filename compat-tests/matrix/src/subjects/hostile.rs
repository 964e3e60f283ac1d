//! Executors that keep the letter of the contract and nothing more: an I/O future must be right under all of them.
//!
//! `Future` and `Waker` promise little. A waker may be another one at every poll, a poll may come without a wake, on
//! any thread, late, twice, in any order; cloning or dropping a waker may take its time, or use the reactor. Each
//! [`Whim`] takes one of these liberties, always; `Random` takes all of them by a seed, which `UNTETHER_SEED` sets.
//!
//! One loop on the thread that calls `run` serves all whims; where polls go elsewhere, helpers of that run poll.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use untether_conformance::{Abilities, Root, Spawner, Subject, Task};

/// Which liberty an executor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whim {
    /// Every poll gets a waker that is no other's `will_wake`.
    FreshWakers,
    /// Every poll is followed by another that nobody asked for.
    Spurious,
    /// Each poll of a task is on another thread than the one before.
    Threads,
    /// A wake arrives a millisecond late.
    Delayed,
    /// A wake arrives at once, and again a millisecond later.
    Duplicated,
    /// Wakes are collected for a millisecond and arrive last first.
    Reordered,
    /// Nothing is polled until no wake has come for a while.
    Settled,
    /// Cloning and dropping a waker takes its time.
    SlowWakers,
    /// Cloning, dropping and calling a waker uses the reactor: it waits for a timer, and looks at every source.
    ReentrantWakers,
    /// The task that was woken last is polled first.
    Lifo,
    /// A wake polls the task at once, inside the call, if nobody else polls it.
    Inline,
    /// All of these, by chance.
    Random,
}

impl Whim {
    /// All of them.
    pub(super) const ALL: [Whim; 12] = [
        Whim::FreshWakers,
        Whim::Spurious,
        Whim::Threads,
        Whim::Delayed,
        Whim::Duplicated,
        Whim::Reordered,
        Whim::Settled,
        Whim::SlowWakers,
        Whim::ReentrantWakers,
        Whim::Lifo,
        Whim::Inline,
        Whim::Random,
    ];

    /// The name of the subject, the letters over its column, and what it does.
    pub(super) fn about(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Whim::FreshWakers => ("hostile-fresh-wakers", "hf", "a new waker for every poll"),
            Whim::Spurious => ("hostile-spurious", "hs", "polls that nobody asked for"),
            Whim::Threads => ("hostile-threads", "ht", "each poll on another thread"),
            Whim::Delayed => ("hostile-delayed", "hd", "wakes arrive a millisecond late"),
            Whim::Duplicated => ("hostile-duplicated", "h2", "wakes arrive twice"),
            Whim::Reordered => ("hostile-reordered", "hr", "wakes arrive last first"),
            Whim::Settled => ("hostile-settled", "hq", "polls only when no wake comes"),
            Whim::SlowWakers => ("hostile-slow-wakers", "hw", "wakers take their time"),
            Whim::ReentrantWakers => ("hostile-reentrant", "he", "wakers use the reactor"),
            Whim::Lifo => ("hostile-lifo", "hl", "the last woken is polled first"),
            Whim::Inline => ("hostile-inline", "hi", "a wake polls inside the call"),
            Whim::Random => (
                "hostile-random",
                "h?",
                "all of these by chance: UNTETHER_SEED",
            ),
        }
    }
}

/// An executor with a whim.
#[derive(Debug)]
pub(super) struct Hostile(pub(super) Whim);

/// How late a wake may be made. Long enough for whatever wants to happen in between, short for those who wait.
const DELAY: Duration = Duration::from_millis(1);

/// How long no wake must come before `Settled` polls, and how often it waits for that.
const SETTLED: Duration = Duration::from_micros(300);

thread_local! {
    /// The runs under way on this thread, the innermost last.
    static RUNNING: RefCell<Vec<Arc<Core>>> = const { RefCell::new(Vec::new()) };
}

/// What all tasks of a run share.
struct Core {
    whim: Whim,
    inner: Mutex<Inner>,
    news: Condvar,
    /// Where polls go that must not be here.
    helpers: Mutex<Vec<mpsc::Sender<Arc<Job>>>>,
    turns: AtomicU64,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Target>,
    /// Wakes on their way, each with its time of arrival.
    mail: Vec<(Instant, Target)>,
    root_is_due: bool,
    wakes: usize,
    /// How many are to be polled before it has to settle again.
    settled: usize,
    jobs: Vec<Weak<Job>>,
    /// Nothing is kept any more: it would own this in turn.
    ended: bool,
}

/// Who is to be polled.
#[derive(Clone)]
enum Target {
    Root,
    Job(Arc<Job>),
}

struct Job {
    core: Arc<Core>,
    state: Mutex<State>,
}

struct State {
    /// Nothing while it is polled, and when it has ended.
    task: Option<Task>,
    /// It is in the queue.
    queued: bool,
    /// It was woken while it was polled.
    again: bool,
    polled: bool,
    last_helper: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seed of `Random`: said once, so that a failure can be run again.
static SEED: LazyLock<u64> = LazyLock::new(|| {
    let given = env::var("UNTETHER_SEED").ok().and_then(|text| {
        let digits = text.strip_prefix("0x");
        digits.map_or_else(
            || text.parse().ok(),
            |digits| u64::from_str_radix(digits, 16).ok(),
        )
    });
    let seed = given.unwrap_or_else(|| {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    eprintln!("hostile-random: rerun with UNTETHER_SEED={seed:#x}");
    seed
});

/// A number below `bound`, from the seed.
fn chance(bound: u64) -> u64 {
    static STEP: AtomicU64 = AtomicU64::new(0);
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    // splitmix64
    let mut mixed = SEED.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % bound
}

impl Core {
    /// Whether to take this liberty now.
    fn takes(&self, whim: Whim) -> bool {
        self.whim == whim || (self.whim == Whim::Random && chance(8) == 0)
    }

    /// A wake, as the waker means it.
    fn woken(&self, target: &Target) {
        if let (Target::Job(job), true) = (target, self.takes(Whim::Inline)) {
            if job.poll_inline() {
                return;
            }
        }
        if self.takes(Whim::Reordered) || self.takes(Whim::Delayed) {
            self.post(target);
            return;
        }
        if self.takes(Whim::Duplicated) {
            self.post(target);
        }
        self.deliver(target);
    }

    fn post(&self, target: &Target) {
        let mut inner = lock(&self.inner);
        if inner.ended {
            return;
        }
        inner.wakes += 1;
        inner.mail.push((Instant::now() + DELAY, target.clone()));
        drop(inner);
        self.news.notify_all();
    }

    /// A wake arrives.
    fn deliver(&self, target: &Target) {
        if let Target::Job(job) = target {
            if !job.is_to_be_queued() {
                return;
            }
        }
        let mut inner = lock(&self.inner);
        if inner.ended {
            return;
        }
        inner.wakes += 1;
        match target {
            Target::Root if inner.root_is_due => return,
            Target::Root => inner.root_is_due = true,
            Target::Job(_) => {}
        }
        inner.queue.push_back(target.clone());
        drop(inner);
        self.news.notify_all();
    }

    /// Waits for somebody to be polled.
    fn next(&self) -> Target {
        loop {
            self.deliver_mail();
            let inner = lock(&self.inner);
            if !inner.queue.is_empty() {
                let inner = self.settle(inner);
                return self.choose(inner);
            }
            // Mail that came in meanwhile is on time all the same.
            let now = Instant::now();
            match inner.mail.iter().map(|(due, _)| *due).min() {
                Some(due) => {
                    let wait = due.saturating_duration_since(now);
                    drop(self.news.wait_timeout(inner, wait));
                }
                None => drop(self.news.wait(inner)),
            }
        }
    }

    fn deliver_mail(&self) {
        let now = Instant::now();
        let mut due = Vec::new();
        let mut inner = lock(&self.inner);
        // All together, once the first of them is due.
        if inner.mail.iter().any(|(at, _)| *at <= now) {
            due.append(&mut inner.mail);
        }
        drop(inner);
        if self.takes(Whim::Reordered) {
            due.reverse();
        }
        for (_, target) in due {
            self.deliver(&target);
        }
    }

    /// Waits until no more wakes come, if that is the whim. Not for ever: a task that waits for the clock goes on.
    fn settle<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        if inner.settled > 0 || !self.takes(Whim::Settled) {
            inner.settled = inner.settled.saturating_sub(1);
            return inner;
        }
        for _ in 0..5 {
            let before = inner.wakes;
            let waited = self.news.wait_timeout(inner, SETTLED);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            if inner.wakes == before {
                break;
            }
        }
        inner.settled = inner.queue.len().saturating_sub(1);
        inner
    }

    fn choose(&self, mut inner: MutexGuard<'_, Inner>) -> Target {
        let place = match self.whim {
            Whim::Random => chance(inner.queue.len() as u64) as usize,
            // A bound, or two tasks that wake each other keep the rest from running, which is against the contract.
            Whim::Lifo if inner.wakes % 8 != 0 => inner.queue.len() - 1,
            _ => 0,
        };
        let target = inner.queue.remove(place).expect("the queue is not empty");
        if matches!(target, Target::Root) {
            inner.root_is_due = false;
        }
        target
    }

    fn spawn(self: &Arc<Core>, task: Task) {
        let job = Arc::new(Job {
            core: self.clone(),
            state: Mutex::new(State {
                task: Some(task),
                queued: true,
                again: false,
                polled: false,
                last_helper: 0,
            }),
        });
        let mut inner = lock(&self.inner);
        if inner.ended {
            drop(inner);
            return;
        }
        inner.jobs.push(Arc::downgrade(&job));
        if inner.jobs.len() % 1_024 == 0 {
            inner.jobs.retain(|job| job.strong_count() > 0);
        }
        inner.queue.push_back(Target::Job(job));
        drop(inner);
        self.news.notify_all();
    }

    /// The waker for one poll of `target`.
    fn waker(self: &Arc<Core>, target: &Target, usual: &Waker) -> Waker {
        let liberties = Liberties {
            slow: self.takes(Whim::SlowWakers),
            // Not all of them: it takes long when there are many tasks.
            reenters: self.takes(Whim::ReentrantWakers) && self.takes_turn(),
        };
        if liberties.slow || liberties.reenters || self.takes(Whim::FreshWakers) {
            return strange(Strange {
                core: self.clone(),
                target: target.clone(),
                liberties,
            });
        }
        usual.clone()
    }

    /// True one time in sixty-four.
    fn takes_turn(&self) -> bool {
        self.turns.fetch_add(1, Ordering::Relaxed) % 64 == 0
    }

    fn poll_job(self: &Arc<Core>, job: &Arc<Job>) {
        if self.takes(Whim::Threads) {
            let helpers = lock(&self.helpers);
            let mut state = lock(&job.state);
            state.last_helper = (state.last_helper + 1) % helpers.len().max(1);
            let helper = helpers.get(state.last_helper).cloned();
            drop(state);
            drop(helpers);
            if helper.is_some_and(|helper| helper.send(job.clone()).is_ok()) {
                return;
            }
        }
        job.poll();
    }
}

impl Job {
    /// Notes a wake. True: nobody else sees to it.
    fn is_to_be_queued(&self) -> bool {
        let mut state = lock(&self.state);
        if state.polled {
            state.again = true;
            return false;
        }
        let first = !state.queued && state.task.is_some();
        state.queued |= first;
        first
    }

    /// Polls inside a wake, unless it is polled already, or is to be.
    fn poll_inline(self: &Arc<Job>) -> bool {
        thread_local! {
            /// One inside another could go on for as long as tasks wake each other.
            static INLINE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        }
        if INLINE.get() || !self.is_to_be_queued() {
            return false;
        }
        INLINE.set(true);
        self.poll();
        INLINE.set(false);
        true
    }

    fn poll(self: &Arc<Job>) {
        let mut state = lock(&self.state);
        state.queued = false;
        let Some(mut task) = state.task.take() else {
            return;
        };
        state.polled = true;
        state.again = false;
        drop(state);

        let target = Target::Job(self.clone());
        let usual = Waker::from(self.clone());
        let polls = if self.core.takes(Whim::Spurious) {
            2
        } else {
            1
        };
        let mut ended = false;
        for _ in 0..polls {
            let waker = self.core.waker(&target, &usual);
            let mut cx = Context::from_waker(&waker);
            // A panic ends the task and nothing else; whoever awaits it has heard of it already.
            let poll = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx)));
            if !matches!(poll, Ok(Poll::Pending)) {
                ended = true;
                break;
            }
        }
        // Put back, a task of a run that has ended would own itself.
        if ended || lock(&self.core.inner).ended {
            // Before anybody learns that it is not polled any more: its drop is a part of it.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
            lock(&self.state).polled = false;
            return;
        }
        let mut state = lock(&self.state);
        state.task = Some(task);
        state.polled = false;
        let again = std::mem::take(&mut state.again);
        drop(state);
        if again {
            self.core.deliver(&target);
        }
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let core = self.core.clone();
        core.woken(&Target::Job(self));
    }
}

/// The usual waker of the root.
struct Main(Arc<Core>);

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.0.woken(&Target::Root);
    }
}

/// What a waker of ours does beside waking.
#[derive(Clone, Copy)]
struct Liberties {
    slow: bool,
    reenters: bool,
}

impl Liberties {
    fn take(self) {
        if self.slow {
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(5) {
                thread::yield_now();
            }
        }
        if self.reenters {
            let mut timer = untether::Timer::after(Duration::from_secs(3_600));
            let pending = std::future::Future::poll(
                Pin::new(&mut timer),
                &mut Context::from_waker(Waker::noop()),
            );
            assert!(pending.is_pending(), "an hour has passed");
            // Takes every lock that a reactor has.
            drop(format!("{:?}", untether::Reactor::all()));
        }
    }
}

/// A waker that is like no other, not even its own clones.
struct Strange {
    core: Arc<Core>,
    target: Target,
    liberties: Liberties,
}

fn strange(this: Strange) -> Waker {
    // SAFETY: the functions of `STRANGE` keep the contract of `RawWaker`: (1) the pointer is a `Box<Strange>` that this
    // waker alone owns, and `clone` makes another; (2) `Strange` is Send and Sync, as the assertion below says, so any
    // thread may call them; (3) `wake` and `drop` take the box, `wake_by_ref` and `clone` only look.
    unsafe { Waker::from_raw(raw(this)) }
}

fn raw(this: Strange) -> RawWaker {
    RawWaker::new(Box::into_raw(Box::new(this)).cast_const().cast(), &STRANGE)
}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Strange>();
};

static STRANGE: RawWakerVTable = RawWakerVTable::new(
    |pointer| {
        // SAFETY: it is the waker's own box, alive while the waker is.
        let this = unsafe { &*pointer.cast::<Strange>() };
        this.liberties.take();
        raw(Strange {
            core: this.core.clone(),
            target: this.target.clone(),
            liberties: this.liberties,
        })
    },
    |pointer| {
        // SAFETY: it is the waker's own box, which `wake` consumes.
        let this = unsafe { Box::from_raw(pointer.cast_mut().cast::<Strange>()) };
        this.liberties.take();
        this.core.woken(&this.target);
    },
    |pointer| {
        // SAFETY: it is the waker's own box, alive while the waker is.
        let this = unsafe { &*pointer.cast::<Strange>() };
        this.liberties.take();
        this.core.woken(&this.target);
    },
    |pointer| {
        // SAFETY: it is the waker's own box, which `drop` consumes.
        let this = unsafe { Box::from_raw(pointer.cast_mut().cast::<Strange>()) };
        this.liberties.take();
    },
);

/// Ends a run, also by panic: helpers go, and no task outlives it.
struct EndOfRun {
    core: Arc<Core>,
    helpers: Vec<thread::JoinHandle<()>>,
}

impl Drop for EndOfRun {
    fn drop(&mut self) {
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
        lock(&self.core.helpers).clear();
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
        let left = {
            let mut inner = lock(&self.core.inner);
            inner.ended = true;
            (
                std::mem::take(&mut inner.jobs),
                std::mem::take(&mut inner.queue),
                std::mem::take(&mut inner.mail),
            )
        };
        for job in left.0.iter().filter_map(Weak::upgrade) {
            let task = lock(&job.state).task.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        }
    }
}

impl Subject for Hostile {
    fn name(&self) -> &str {
        self.0.about().0
    }

    fn run(&self, mut root: Root) {
        let core = Arc::new(Core {
            whim: self.0,
            inner: Mutex::new(Inner {
                root_is_due: true,
                queue: VecDeque::from([Target::Root]),
                ..Inner::default()
            }),
            news: Condvar::new(),
            helpers: Mutex::default(),
            turns: AtomicU64::new(0),
        });
        let mut end = EndOfRun {
            core: core.clone(),
            helpers: Vec::new(),
        };
        RUNNING.with_borrow_mut(|running| running.push(core.clone()));
        if matches!(self.0, Whim::Threads | Whim::Random) {
            for _ in 0..3 {
                let (sender, receiver) = mpsc::channel::<Arc<Job>>();
                lock(&core.helpers).push(sender);
                end.helpers.push(thread::spawn(move || {
                    for job in receiver {
                        job.poll();
                    }
                }));
            }
        }
        let usual = Waker::from(Arc::new(Main(core.clone())));
        loop {
            let job = match core.next() {
                Target::Job(job) => job,
                Target::Root => {
                    let polls = if core.takes(Whim::Spurious) { 2 } else { 1 };
                    for _ in 0..polls {
                        let waker = core.waker(&Target::Root, &usual);
                        if root
                            .as_mut()
                            .poll(&mut Context::from_waker(&waker))
                            .is_ready()
                        {
                            return;
                        }
                    }
                    continue;
                }
            };
            core.poll_job(&job);
        }
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        RUNNING.with_borrow(|running| running.last().expect("spawned outside a run").spawn(task));
        Ok(())
    }

    fn spawner(&self) -> Option<Spawner> {
        let core = RUNNING.with_borrow(|running| running.last().cloned())?;
        Some(Arc::new(move |task| core.spawn(task)))
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            many_threads: matches!(self.0, Whim::Threads | Whim::Inline | Whim::Random),
            nests: true,
            polls_late: matches!(
                self.0,
                Whim::Delayed | Whim::Reordered | Whim::Settled | Whim::Random
            ),
            polls_unasked: matches!(self.0, Whim::Spurious | Whim::Duplicated | Whim::Random),
            ..Abilities::default()
        }
    }
}
