//! Sources that move from one reactor to another, and reactors that end.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::thread;

use super::street::{Home, Street};
use super::{Task, attempt, check, ready};
use crate::source::{Direction, Place, Waited, bits};

#[test]
fn a_reader_moves_house_while_the_old_driver_delivers() {
    check(|| {
        let (street, a, b) = Street::new();
        let task = Task::new();
        assert_eq!(read(&street, &task, &a), None);
        let old_driver = thread::spawn({
            let street = street.clone();
            move || {
                street.happens(|socket| socket.bytes = 1);
                a.turn();
            }
        });
        let new_driver = thread::spawn({
            let b = b.clone();
            move || b.drive()
        });
        while read(&street, &task, &b).is_none() {
            task.block();
        }
        b.stop();
        old_driver.join().expect("no panic");
        new_driver.join().expect("no panic");
    });
}

#[test]
fn a_reader_that_moves_house_leaves_nothing_behind() {
    check(|| {
        let (street, a, b) = Street::new();
        let task = Task::new();
        assert_eq!(read(&street, &task, &a), None);
        street.happens(|socket| socket.bytes = 1);
        let old_driver = thread::spawn({
            let a = a.clone();
            move || a.turn()
        });
        let place = Place::slot(Direction::Read);
        let waited = street.sources[0].wait(0, place, &task.waker(), &b);
        old_driver.join().expect("no panic");
        if waited.expect("it has not ended") == Waited::Pending {
            // Whatever became of the event in `a`, which was told to nobody after the move, `b` has its own.
            b.turn();
            task.block();
            assert_eq!(read(&street, &task, &a), Some(1));
            // And it can come back.
            assert_eq!(read(&street, &task, &a), None);
        }
    });
}

#[test]
fn a_writer_elsewhere_leaves_a_reader_where_it_waits() {
    check(|| {
        let (street, a, b) = Street::new();
        let reader = Task::new();
        assert_eq!(read(&street, &reader, &a), None);
        // Nobody drives `b`.
        let writer = thread::spawn({
            let street = street.clone();
            move || {
                let task = Task::new();
                while !can_write(&street, &task, &b) {
                    task.block();
                }
            }
        });
        street.happens(|socket| (socket.bytes, socket.has_room) = (1, true));
        a.turn();
        reader.block();
        assert_eq!(read(&street, &reader, &a), Some(1));
        writer.join().expect("no panic");
    });
}

#[test]
fn whoever_waits_in_a_reactor_that_ends_waits_anew_elsewhere() {
    ends_while_somebody_waits(drop);
}

#[test]
fn whoever_waits_in_a_reactor_that_is_shut_down_waits_anew_elsewhere() {
    ends_while_somebody_waits(|a| {
        a.shut_down();
        std::mem::forget(a);
    });
}

#[test]
fn whoever_waits_in_a_reactor_that_is_not_driven_any_more_waits_anew_elsewhere() {
    ends_while_somebody_waits(|a| {
        a.evict();
        std::mem::forget(a);
    });
}

#[test]
fn a_wait_in_a_reactor_that_is_being_shut_down_fails_or_is_woken() {
    check(|| {
        let (street, a, _b) = Street::new();
        let owner = thread::spawn({
            let a = a.clone();
            move || a.shut_down()
        });
        let task = Task::new();
        let place = Place::slot(Direction::Read);
        if let Ok(waited) = street.sources[0].wait(0, place, &task.waker(), &a) {
            assert_eq!(waited, Waited::Pending);
            task.block();
        }
        owner.join().expect("no panic");
    });
}

#[test]
fn a_reactor_that_gets_the_name_of_one_that_has_ended_is_another() {
    check(|| {
        let (street, a, _b) = Street::new();
        assert_eq!(read(&street, &Task::new(), &a), None);
        let executor = thread::spawn({
            let street = street.clone();
            move || {
                drop(a);
                let namesake = Street::build(&street, 0, true);
                namesake.block_on(|waker| read_with(&street, waker, &namesake))
            }
        });
        street.happens(|socket| socket.bytes = 1);
        assert_eq!(executor.join().expect("no panic"), 1);
    });
}

/// A reader waits in `a` and a writer, elsewhere, for the same source, when `a` ends.
fn ends_while_somebody_waits(end: impl Fn(Home) + Copy + Send + Sync + 'static) {
    check(move || {
        let (street, a, b) = Street::new();
        let reader = Task::new();
        assert_eq!(read(&street, &reader, &a), None);
        let owner = thread::spawn(move || end(a));
        let driver = thread::spawn({
            let (street, b) = (street.clone(), b.clone());
            move || {
                street.happens(|socket| (socket.bytes, socket.has_room) = (1, true));
                b.drive();
            }
        });
        let writer = Task::new();
        while !can_write(&street, &writer, &b) {
            writer.block();
        }
        reader.block();
        while read(&street, &reader, &b).is_none() {
            reader.block();
        }
        b.stop();
        owner.join().expect("no panic");
        driver.join().expect("no panic");
    });
}

#[test]
fn executors_that_share_a_source_may_end_in_any_order() {
    check(|| {
        let (street, a, b) = Street::new();
        let reader = thread::spawn({
            let street = street.clone();
            move || {
                a.block_on(|waker| read_with(&street, waker, &a));
                a.evict();
            }
        });
        let writer = thread::spawn({
            let street = street.clone();
            move || {
                b.block_on(|waker| can_write_with(&street, waker, &b).then_some(()));
                b.evict();
            }
        });
        street.happens(|socket| socket.bytes = 1);
        street.happens(|socket| socket.has_room = true);
        reader.join().expect("no panic");
        writer.join().expect("no panic");
    });
}

#[test]
fn a_source_that_is_pinned_ends_with_its_reactor() {
    check(|| {
        let (street, a, b) = Street::new();
        let source = &street.sources[0];
        source.enroll(&a, 0, true).expect("it has not ended");
        let owner = thread::spawn(move || drop(a));
        let task = Task::new();
        let place = Place::slot(Direction::Read);
        let ended = task.finish(place, |place| {
            attempt(source, 0, place, &task.waker(), &b, || street.take())
        });
        assert!(ended.is_err(), "nothing was sent");
        owner.join().expect("no panic");
    });
}

#[test]
fn no_waker_is_called_under_a_source_s_lock_when_a_wait_drops_the_last_handle() {
    check(|| {
        let (street, a, b) = Street::new();
        let other = curious_neighbour(&street, &a);
        let reader = Task::new();
        assert_eq!(read(&street, &reader, &a), None);
        let owner = thread::spawn(move || drop(a));
        can_write(&street, &Task::new(), &b);
        owner.join().expect("no panic");
        other.block();
        reader.block();
    });
}

#[test]
fn no_waker_is_called_under_a_source_s_lock_when_its_end_drops_the_last_handle() {
    check(|| {
        let (street, a, b) = Street::new();
        let other = curious_neighbour(&street, &a);
        assert_eq!(read(&street, &Task::new(), &a), None);
        let owner = thread::spawn(move || drop(a));
        let _ = street.sources[0].retire(0, &b);
        owner.join().expect("no panic");
        other.block();
    });
}

#[test]
fn a_source_is_closed_while_its_reactor_ends() {
    check(|| {
        let (street, a, b) = Street::new();
        let task = Task::new();
        assert_eq!(read(&street, &task, &a), None);
        let owner = thread::spawn(move || {
            a.turn();
            drop(a);
        });
        let _ = street.sources[0].retire(0, &b);
        task.block();
        street.sources[0].open(0, false);
        assert_eq!(read(&street, &task, &b), None);
        owner.join().expect("no panic");
        assert_eq!(street.sources[0].observe().has(bits::ANY), 0);
    });
}

#[test]
fn a_short_read_proves_nothing_once_the_source_lives_where_the_end_is_not_told_apart() {
    check(|| {
        let (street, a, b) = Street::with([true, false]);
        drop(a);
        street.sources[0].open(0, true);
        street.happens(|socket| (socket.bytes, socket.ended) = (1, true));
        let driver = thread::spawn({
            let b = b.clone();
            move || b.drive()
        });
        let writer = thread::spawn({
            let (street, b) = (street.clone(), b.clone());
            move || {
                let mut entry = None;
                let place = Place::listed(&mut entry, bits::PRIORITY);
                let waited = street.sources[0].wait(0, place, Waker::noop(), &b);
                assert_eq!(waited.expect("it has not ended"), Waited::Pending);
            }
        });
        let task = Task::new();
        let mut left = 2;
        while left > 0 {
            match read(&street, &task, &b) {
                Some(_) => left -= 1,
                None => task.block(),
            }
        }
        writer.join().expect("no panic");
        b.stop();
        driver.join().expect("no panic");
    });
}

/// One poll of a read from source 0, under `here`.
fn read(street: &Street, task: &Arc<Task>, here: &Home) -> Option<u32> {
    read_with(street, &task.waker(), here)
}

fn read_with(street: &Street, waker: &Waker, here: &Home) -> Option<u32> {
    let place = Place::slot(Direction::Read);
    let source = &street.sources[0];
    attempt(source, 0, place, waker, here, || street.take()).expect("it is open")
}

/// One poll of a wait for room in source 0, under `here`.
fn can_write(street: &Street, task: &Arc<Task>, here: &Home) -> bool {
    can_write_with(street, &task.waker(), here)
}

fn can_write_with(street: &Street, waker: &Waker, here: &Home) -> bool {
    let place = Place::slot(Direction::Write);
    let ready = ready(&street.sources[0], 0, place, waker, here);
    ready.expect("it is open").is_some()
}

/// Somebody waits for source 1 in `a`, and looks at source 0 when woken.
fn curious_neighbour(street: &Arc<Street>, a: &Home) -> Arc<Task> {
    struct Curious {
        street: Arc<Street>,
        task: Arc<Task>,
    }
    impl Wake for Curious {
        fn wake(self: Arc<Self>) {
            self.street.sources[0].unlist(0);
            self.task.wake_by_ref();
        }
    }
    let task = Task::new();
    let waker = Waker::from(Arc::new(Curious {
        street: street.clone(),
        task: task.clone(),
    }));
    let place = Place::slot(Direction::Read);
    let waited = street.sources[1].wait(1, place, &waker, a);
    assert_eq!(waited.expect("it has not ended"), Waited::Pending);
    task
}
