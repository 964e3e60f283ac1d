//! A panic goes to whoever runs the task, and leaves sources, reactors and later runs intact.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_lite::{AsyncReadExt, FutureExt};

use crate::case::Case;
use crate::gate::{Bell, poll_with};
use crate::scene::Scene;
use crate::wires::{send_byte, take_byte, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            a_panic_in_the_root_comes_out_of_run,
            "A panic is swallowed, or replaced by another; or no run works after it.",
        ),
        Case::of(
            a_panic_in_an_operation_leaves_the_source_usable,
            "A connection is useless after a panic that was caught.",
        ),
        Case::of(
            a_source_dropped_by_a_panic_is_closed,
            "Connections leak when their tasks panic.",
        ),
        Case::of(
            a_source_outlives_a_run_that_panicked,
            "After a panic, sources that others share are bound to a reactor that nobody drives.",
        ),
    ]
}

/// Past the panic hook: such a panic is part of the case, and in no report.
fn throw(what: &'static str) -> ! {
    resume_unwind(Box::new(what))
}

fn caught(work: impl FnOnce()) -> &'static str {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("the panic did not come out");
    *panic
        .downcast::<&'static str>()
        .expect("the panic was replaced by another")
}

fn a_panic_in_the_root_comes_out_of_run(scene: &Scene) {
    for _ in 0..2 {
        let what = caught(|| {
            scene.run(async {
                let (here, there) = tcp_pair();
                send_byte(here.get_ref());
                there.readable().await.unwrap();
                throw("in the root");
            });
        });
        assert_eq!(what, "in the root");
        scene.step("running after a panic");
        scene.run(async {
            let (here, there) = tcp_pair();
            send_byte(here.get_ref());
            there.readable().await.unwrap();
        });
    }
}

fn a_panic_in_an_operation_leaves_the_source_usable(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let read = AssertUnwindSafe(there.read_with(|_| throw("in an operation"))).catch_unwind();
        let panic: Result<std::io::Result<()>, _> = read.await;
        assert!(panic.is_err());
        send_byte(here.get_ref());
        steps.step("waiting after a panic in an operation");
        there.readable().await.unwrap();
        take_byte(there.get_ref());
        assert!(poll_with(pin!(there.readable()), &Bell::new().waker()).is_pending());
    });
}

fn a_source_dropped_by_a_panic_is_closed(scene: &Scene) {
    let (mut here, mut there) = tcp_pair();
    caught(|| {
        scene.run(async move {
            let bell = Bell::new();
            assert!(poll_with(pin!(there.read(&mut [0; 8])), &bell.waker()).is_pending());
            throw("with a source that waits");
        });
    });
    let steps = scene.clone();
    scene.run(async move {
        steps.step("waiting for the end of a source that a panic dropped");
        assert_eq!(here.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

fn a_source_outlives_a_run_that_panicked(scene: &Scene) {
    let (here, there) = tcp_pair();
    let there = Arc::new(there);
    let wait = Arc::new(Mutex::new(there.clone().readable_owned()));
    let polled = wait.clone();
    caught(|| {
        scene.run(async move {
            let bell = Bell::new();
            let mut wait = polled.lock().unwrap();
            assert!(poll_with(pin!(&mut *wait), &bell.waker()).is_pending());
            drop(wait);
            throw("with a wait that others share");
        });
    });
    let steps = scene.clone();
    scene.run(async move {
        let mut wait = Arc::into_inner(wait).unwrap().into_inner().unwrap();
        let bell = Bell::new();
        assert!(poll_with(pin!(&mut wait), &bell.waker()).is_pending());
        send_byte(here.get_ref());
        steps.step("waiting for a source of a run that panicked");
        bell.heard(1).await;
        wait.await.unwrap();
        take_byte(there.get_ref());
    });
}
