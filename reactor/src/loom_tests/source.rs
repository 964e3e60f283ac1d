//! The word of a source, and the wakers beside it.

use std::io;
use std::sync::Arc;

use loom::thread;

use super::{Task, attempt, check, ready};
use crate::house::{House, HouseId};
use crate::os::RawSource;
use crate::source::{Direction, Generation, Place, Source, Waited, bits};
use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, lock};
use crate::turn::wake;

const RAW: RawSource = 7;
const INDEX: u32 = 0;

#[test]
fn an_event_during_an_attempt_is_not_forgotten() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        // So that the first attempt is made at once.
        pipe.report(&source, bits::READ_READY);
        let driver = pipe.clone();
        let driver = thread::spawn({
            let source = source.clone();
            move || driver.send(&source, 1)
        });
        read(&source, &pipe, &Task::new()).expect("it is open");
        driver.join().expect("no panic");
    });
}

#[test]
fn each_of_two_events_is_an_answer() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let driver = pipe.clone();
        let driver = thread::spawn({
            let source = source.clone();
            move || {
                driver.send(&source, 1);
                driver.send(&source, 1);
            }
        });
        let (task, mut received) = (Task::new(), 0);
        while received < 2 {
            received += read(&source, &pipe, &task).expect("it is open");
        }
        driver.join().expect("no panic");
    });
}

#[test]
fn a_spurious_event_costs_another_wait_and_no_more() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let driver = pipe.clone();
        let driver = thread::spawn({
            let source = source.clone();
            move || {
                driver.report(&source, bits::READ_READY);
                driver.send(&source, 1);
            }
        });
        read(&source, &pipe, &Task::new()).expect("it is open");
        driver.join().expect("no panic");
    });
}

#[test]
fn an_event_for_one_direction_leaves_the_waiter_of_the_other() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let writer = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || wait_for(&source, &pipe.hut, Place::slot(Direction::Write))
        });
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || {
                pipe.report(&source, bits::WRITE_READY);
                pipe.send(&source, 1);
            }
        });
        read(&source, &pipe, &Task::new()).expect("it is open");
        writer.join().expect("no panic").expect("it is open");
        driver.join().expect("no panic");
    });
}

#[test]
fn a_slot_and_an_entry_of_one_direction_are_both_woken() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let listed = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || {
                let mut entry = None;
                wait_for(&source, &pipe.hut, Place::listed(&mut entry, bits::READ))
            }
        });
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.report(&source, bits::READ_READY)
        });
        wait_for(&source, &pipe.hut, Place::slot(Direction::Read)).expect("it is open");
        listed.join().expect("no panic").expect("it is open");
        driver.join().expect("no panic");
    });
}

#[test]
fn dropping_one_entry_keeps_the_other() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let (gone, mut entry) = (Task::new(), None);
        let place = Place::listed(&mut entry, bits::READ);
        let waited = source.wait(INDEX, place, &gone.waker(), &pipe.hut);
        assert_eq!(waited.expect("it is open"), Waited::Pending);
        let other = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || {
                let mut entry = None;
                wait_for(&source, &pipe.hut, Place::listed(&mut entry, bits::READ))
            }
        });
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.report(&source, bits::READ_READY)
        });
        source.unlist(entry.expect("it waits"));
        other.join().expect("no panic").expect("it is open");
        driver.join().expect("no panic");
    });
}

/// The event was the answer to nobody's wait: the attempt that saw it found nothing, and waits for the next.
#[test]
fn an_event_that_an_attempt_has_seen_wakes_nobody() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        // As after any event that was waited for: WAITING is still set, though nobody is listed.
        let (earlier, place) = (Task::new(), Place::slot(Direction::Read));
        let read = attempt(&source, INDEX, place, &earlier.waker(), &pipe.hut, || None);
        assert_eq!(read.expect("it is open"), None);
        pipe.report(&source, bits::READ_READY);
        assert!(earlier.was_woken());
        assert!(source.forget(Direction::Read, source.observe()));

        let task = Task::new();
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.report(&source, bits::READ_READY)
        });
        let place = Place::slot(Direction::Read);
        let read = attempt(&source, INDEX, place, &task.waker(), &pipe.hut, || None);
        assert_eq!(read.expect("it is open"), None);
        driver.join().expect("no panic");
        let finds_news = source.observe().has(bits::READ) != 0;
        assert_eq!(
            task.was_woken(),
            finds_news,
            "woken if there is news, and only then"
        );
    });
}

#[test]
fn a_displaced_waker_is_woken() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let first = Task::new();
        let second = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || {
                let place = Place::slot(Direction::Read);
                let waited = source.wait(INDEX, place, &Task::new().waker(), &pipe.hut);
                waited.expect("it is open")
            }
        });
        let place = Place::slot(Direction::Read);
        let waited = source.wait(INDEX, place, &first.waker(), &pipe.hut);
        assert_eq!(waited.expect("it is open"), Waited::Pending);
        second.join().expect("no panic");
        // Whoever came last is the one that an event wakes, and the other has been woken by it.
        let displaced = first.was_woken();
        pipe.report(&source, bits::READ_READY);
        assert_ne!(displaced, first.was_woken(), "exactly one of the two ways");
    });
}

#[test]
fn the_end_that_comes_with_the_last_data_survives_a_short_read() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || {
                pipe.send(&source, 1);
                pipe.send_last(&source, 1);
            }
        });
        let task = Task::new();
        let mut received = 0;
        loop {
            match read(&source, &pipe, &task).expect("it is open") {
                0 => break,
                some => received += some,
            }
        }
        assert_eq!(received, 2);
        driver.join().expect("no panic");
    });
}

#[test]
fn whoever_waits_for_a_source_that_ends_gets_an_error() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let waiter = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || {
                let task = Task::new();
                let error = read(&source, &pipe, &task);
                assert!(error.is_err(), "nothing was sent");
            }
        });
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.report(&source, bits::WRITE_READY)
        });
        source.retire(INDEX, &pipe.hut).expect("the hut knows it");
        waiter.join().expect("no panic");
        driver.join().expect("no panic");
    });
}

#[test]
fn a_late_event_never_reaches_the_successor() {
    check(|| {
        let (source, pipe) = registered(Hut::edge());
        let wait = |task: &Arc<Task>| {
            let place = Place::slot(Direction::Read);
            let waited = source.wait(INDEX, place, &task.waker(), &pipe.hut);
            assert_eq!(waited.expect("it is open"), Waited::Pending);
        };
        wait(&Task::new());
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.report(&source, bits::READ_READY)
        });
        // The one that waits is gone, of course; but nothing keeps its source from being told.
        let _ = source.retire(INDEX, &pipe.hut);
        source.open(RAW, false);
        let task = Task::new();
        wait(&task);
        driver.join().expect("no panic");
        assert_eq!(source.observe().has(bits::ANY), 0);
        assert!(!task.was_woken());
    });
}

#[test]
fn a_one_shot_is_armed_for_the_newcomer_too() {
    each_gets_its_own(Direction::Write, Direction::Read);
}

#[test]
fn a_one_shot_stays_armed_for_who_was_there_before() {
    each_gets_its_own(Direction::Read, Direction::Write);
}

/// A reader waits for a one-shot, then a writer does; the OS becomes ready for one of them, and when that has been
/// woken, for the other.
fn each_gets_its_own(first: Direction, second: Direction) {
    check(move || {
        let (source, pipe) = registered(Hut::one_shot());
        let tasks = [Task::new(), Task::new()];
        let wait = |direction: Direction| {
            let (place, task) = (Place::slot(direction), &tasks[direction as usize]);
            source.wait(INDEX, place, &task.waker(), &pipe.hut)
        };
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.hut.drive(&source)
        });
        assert_eq!(wait(Direction::Read).expect("it is open"), Waited::Pending);
        assert_eq!(wait(Direction::Write).expect("it is open"), Waited::Pending);
        for direction in [first, second] {
            pipe.hut.become_ready(direction.bits());
            tasks[direction as usize].block();
        }
        pipe.hut.stop();
        driver.join().expect("no panic");
    });
}

#[test]
fn a_one_shot_is_armed_again_for_every_wait() {
    check(|| {
        let (source, pipe) = registered(Hut::one_shot());
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.hut.drive(&source)
        });
        pipe.hut.become_ready(bits::READ);
        for _ in 0..2 {
            wait_for(&source, &pipe.hut, Place::slot(Direction::Read)).expect("it is open");
            source.clear(bits::READ, source.observe());
        }
        pipe.hut.stop();
        driver.join().expect("no panic");
    });
}

#[test]
fn a_one_shot_that_cannot_be_armed_again_wakes_all() {
    check(|| {
        let (source, pipe) = registered(Hut::one_shot());
        let task = Task::new();
        let place = Place::slot(Direction::Write);
        let waited = source.wait(INDEX, place, &task.waker(), &pipe.hut);
        assert_eq!(waited.expect("it is open"), Waited::Pending);
        pipe.hut.refuse();
        let driver = thread::spawn({
            let (source, pipe) = (source.clone(), pipe.clone());
            move || pipe.report(&source, bits::READ_READY)
        });
        // Either it fails, or it finds what was reported, or it is woken.
        let _ = wait_for(&source, &pipe.hut, Place::slot(Direction::Read));
        task.block();
        driver.join().expect("no panic");
    });
}

/// A source that lives in `hut`, and the pipe that it stands for.
fn registered(hut: Hut) -> (Arc<Source>, Arc<Pipe>) {
    let source = Source::vacant();
    source.open(RAW, false);
    source.enroll(&hut, INDEX, false).expect("it has room");
    let pipe = Pipe {
        bytes: AtomicU32::new(0),
        hut,
    };
    (Arc::new(source), Arc::new(pipe))
}

/// Reads up to two bytes, waiting until there are some. 0 is the end.
fn read(source: &Source, pipe: &Pipe, task: &Arc<Task>) -> io::Result<u32> {
    let place = Place::slot(Direction::Read);
    task.finish(place, |place| {
        attempt(source, INDEX, place, &task.waker(), &pipe.hut, || {
            pipe.take()
        })
    })
}

/// Waits until something that `place` wants is there.
fn wait_for(source: &Source, hut: &Hut, place: Place<'_>) -> io::Result<()> {
    let task = Task::new();
    task.finish(place, |place| {
        ready(source, INDEX, place, &task.waker(), hut)
    })
}

/// What the kernel has received, and the reactor that hears of each arrival.
struct Pipe {
    /// How many, and ENDED.
    bytes: AtomicU32,
    hut: Hut,
}

const ENDED: u32 = 1 << 16;

impl Pipe {
    /// By the driver: data arrives, and is reported.
    fn send(&self, source: &Source, bytes: u32) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.report(source, bits::READ_READY);
    }

    /// By the driver: data and the end arrive, and are reported at once.
    fn send_last(&self, source: &Source, bytes: u32) {
        self.bytes.fetch_add(bytes | ENDED, Ordering::AcqRel);
        self.report(source, bits::READ_READY | bits::READ_CLOSED);
    }

    fn report(&self, source: &Source, news: u64) {
        self.hut.deliver(source, news);
    }

    /// The system call: up to two bytes; `Some(0)` at the end, `None` if there is nothing.
    fn take(&self) -> Option<u32> {
        let before = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |bytes| {
                let left = bytes & !ENDED;
                (left > 0).then(|| bytes - left.min(2))
            });
        match before {
            Ok(bytes) => Some((bytes & !ENDED).min(2)),
            Err(bytes) => (bytes & ENDED != 0).then_some(0),
        }
    }
}

/// A reactor in which one source lives, and that others drive by hand. It has no neighbours.
struct Hut {
    edge: bool,
    kernel: Mutex<Kernel>,
    changed: Condvar,
}

/// What a one-shot poller knows. An edge-triggered one is played by the models' drivers.
#[derive(Default)]
struct Kernel {
    armed: u64,
    ready: u64,
    refuses: bool,
    stopped: bool,
}

impl Hut {
    fn edge() -> Hut {
        Hut::new(true)
    }

    fn one_shot() -> Hut {
        Hut::new(false)
    }

    fn new(edge: bool) -> Hut {
        Hut {
            edge,
            kernel: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Makes turns until stopped: reports what is armed and ready, which disarms it.
    fn drive(&self, source: &Source) {
        loop {
            let mut kernel = lock(&self.kernel);
            while kernel.armed & kernel.ready == 0 && !kernel.stopped {
                kernel = self.changed.wait(kernel).expect("nobody panics");
            }
            let news = kernel.armed & kernel.ready;
            if news == 0 {
                return;
            }
            kernel.armed = 0;
            drop(kernel);
            self.deliver(source, news);
        }
    }

    fn become_ready(&self, ready: u64) {
        lock(&self.kernel).ready |= ready;
        self.changed.notify_all();
    }

    fn stop(&self) {
        lock(&self.kernel).stopped = true;
        self.changed.notify_all();
    }

    /// No re-arming succeeds from now on.
    fn refuse(&self) {
        lock(&self.kernel).refuses = true;
    }

    fn deliver(&self, source: &Source, news: u64) {
        let mut wakers = Vec::new();
        let first = Generation::from_key(0);
        source.deliver(self, INDEX, first, news, &mut wakers);
        wakers.into_iter().for_each(wake);
    }
}

impl House for Hut {
    fn id(&self) -> HouseId {
        HouseId::new(0)
    }

    fn is_edge(&self) -> bool {
        self.edge
    }

    fn reports_half_close(&self) -> bool {
        self.edge
    }

    fn admit(&self, raw: RawSource, index: u32, of: Generation, wants: u64) -> io::Result<()> {
        if self.edge {
            return Ok(());
        }
        self.arm(raw, index, of, wants)
    }

    fn arm(&self, _: RawSource, _: u32, _: Generation, wants: u64) -> io::Result<()> {
        let mut kernel = lock(&self.kernel);
        if kernel.refuses {
            return Err(io::ErrorKind::NotFound.into());
        }
        kernel.armed = wants;
        drop(kernel);
        self.changed.notify_all();
        Ok(())
    }

    fn dismiss(&self, _: RawSource, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn neighbour(&self, _: HouseId) -> Option<Hut> {
        None
    }

    fn summon(&self) -> io::Result<()> {
        Ok(())
    }
}
