//! A source goes where its tasks go: between threads, between executors, and past the end of the one it began on.

use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use untether::{Async, Timer};

use crate::case::{Case, Need};
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::Scene;
use crate::wires::{pattern, send_byte, take_byte, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            a_wait_begun_here_ends_there,
            "A future that moves to another executor is never woken.",
        ),
        Case::of(
            a_half_read_message_moves_along,
            "A read that moves to another executor half-way loses bytes, or sleeps for ever.",
        ),
        Case::of(
            a_source_goes_on_after_its_first_run,
            "A connection works only in the executor that made it.",
        ),
        Case::of(
            the_end_of_one_run_strands_no_waiter_elsewhere,
            "A task sleeps for ever because another executor, which watched its socket, has ended.",
        ),
        Case::of(
            a_reader_here_and_a_writer_there,
            "A connection that two executors share stalls in one direction.",
        ),
        Case::of(
            two_runs_answer_each_other,
            "A client and a server on two executors wait for each other for ever.",
        ),
        Case::of(
            a_source_commutes_between_two_runs,
            "A connection that is passed to and fro loses a wake-up on the way.",
        ),
        Case::of(
            a_plain_thread_and_a_run_share_a_source,
            "Of a plain thread and an executor that wait for one socket, one sleeps for ever.",
        ),
        Case::of(
            a_plain_thread_needs_no_runtime,
            "I/O works only inside a runtime.",
        ),
        Case::of(
            a_lone_waiter_is_driven_again_and_again,
            "After a quiet time nobody drives any more: the next wait never ends.",
        )
        .needs(&[Need::OwnProcess]),
        Case::of(
            a_busy_run_does_not_delay_another,
            "An executor that computes holds up everybody else's I/O and timers.",
        ),
        Case::of(
            a_source_moves_into_a_spawned_task,
            "A connection that was used before its task was spawned does not work in the task.",
        ),
        Case::of(
            fifty_tasks_converse_at_once,
            "With many tasks on a runtime, some are forgotten.",
        ),
        Case::of(
            a_local_task_can_wait,
            "A task that must stay on its thread is never woken.",
        ),
    ]
}

fn a_wait_begun_here_ends_there(scene: &Scene) {
    let (here, there) = tcp_pair();
    let there = Arc::new(there);
    let mut wait = Box::pin(there.clone().readable_owned());
    // Polled in a run that ends, on a thread that ends.
    let (wait, there) = scene
        .thread(move |scene| {
            scene.run(async move {
                assert!(future::poll_once(wait.as_mut()).await.is_none());
                (wait, there)
            })
        })
        .join();
    let waiting = Gate::new();
    let sender = {
        let waiting = waiting.clone();
        scene.thread(move |_| {
            waiting.passed_blocking();
            send_byte(here.get_ref());
            here
        })
    };
    scene.step("waiting where the future went");
    scene.run(async move { announce(&waiting, wait).await.unwrap() });
    take_byte(there.get_ref());
    sender.join();
}

fn a_half_read_message_moves_along(scene: &Scene) {
    let (mut here, mut there) = tcp_pair();
    let mut read = Box::pin(async move {
        let mut message = [0; 8];
        there.read_exact(&mut message).await.unwrap();
        message
    });
    let (mut here, read) = scene
        .thread(move |scene| {
            let steps = scene.clone();
            scene.run(async move {
                here.write_all(b"half").await.unwrap();
                let bell = Bell::new();
                steps.step("reading the first half");
                // Until it has taken what is there and waits for more.
                for _ in 0..10 {
                    assert!(poll_with(read.as_mut(), &bell.waker()).is_pending());
                    Timer::after(Duration::from_millis(1)).await;
                }
                (here, read)
            })
        })
        .join();
    let steps = scene.clone();
    let message = scene.run(async move {
        steps.step("reading the second half in another run");
        let write = async { here.write_all(b"full").await.unwrap() };
        future::zip(read, write).await.0
    });
    assert_eq!(&message, b"halffull");
}

async fn converse(here: &Async<TcpStream>, there: &Async<TcpStream>, rounds: usize) {
    for _ in 0..rounds {
        for (from, to) in [(here, there), (there, here)] {
            let send = async {
                future::yield_now().await;
                send_byte(from.get_ref());
            };
            let receive = async {
                to.readable().await.unwrap();
                take_byte(to.get_ref());
            };
            future::zip(receive, send).await;
        }
    }
}

fn a_source_goes_on_after_its_first_run(scene: &Scene) {
    let (here, there) = tcp_pair();
    let (here, there) = scene.run(async move {
        converse(&here, &there, 3).await;
        (here, there)
    });
    scene.step("in a second run on the same thread");
    let (here, there) = scene.run(async move {
        converse(&here, &there, 3).await;
        (here, there)
    });
    scene.step("in a third run on another thread");
    let (here, there) = scene
        .thread(move |scene| {
            scene.run(async move {
                converse(&here, &there, 3).await;
                (here, there)
            })
        })
        .join();
    scene.step("on a plain thread");
    future::block_on(converse(&here, &there, 3));
}

fn the_end_of_one_run_strands_no_waiter_elsewhere(scene: &Scene) {
    for round in 0..10 {
        let (here, there) = tcp_pair();
        let there = Arc::new(there);
        let (first_waits, second_waits) = (Gate::new(), Gate::new());
        // Waits first, so that the source lives in its reactor; ends while the other waits.
        let first = {
            let (there, waits, until) = (there.clone(), first_waits.clone(), second_waits.clone());
            scene.thread(move |scene| {
                scene.run(async move {
                    future::or(
                        async { announce(&waits, there.readable()).await.unwrap() },
                        until.passed(),
                    )
                    .await;
                });
            })
        };
        first_waits.passed_blocking();
        let second = {
            let (there, waits) = (there.clone(), second_waits.clone());
            scene.thread(move |scene| {
                scene.run(async move { announce(&waits, there.readable()).await.unwrap() });
            })
        };
        first.join();
        scene.step(&format!(
            "waiting in one run after the other has ended, round {round}"
        ));
        send_byte(here.get_ref());
        second.join();
        take_byte(there.get_ref());
    }
}

fn a_reader_here_and_a_writer_there(scene: &Scene) {
    const BYTES: usize = 1 << 20;
    let (here, there) = tcp_pair();
    let here = Arc::new(here);
    // The peer answers everything, on a plain thread.
    let echo = scene.thread(move |_| {
        future::block_on(async {
            futures_lite::io::copy(&there, &there).await.unwrap();
        });
    });
    let reader = {
        let here = here.clone();
        scene.thread(move |scene| {
            scene.run(async move {
                let mut buffer = vec![0; 8 * 1024];
                let mut position = 0;
                while position < BYTES {
                    let n = (&*here).read(&mut buffer).await.unwrap();
                    assert_ne!(n, 0);
                    for (offset, byte) in buffer[..n].iter().enumerate() {
                        assert_eq!(*byte, pattern(position + offset));
                    }
                    position += n;
                }
            });
        })
    };
    let writer = {
        let here = here.clone();
        scene.thread(move |scene| {
            scene.run(async move {
                let data: Vec<u8> = (0..BYTES).map(pattern).collect();
                (&*here).write_all(&data).await.unwrap();
            });
        })
    };
    scene.step("waiting for the writer");
    writer.join();
    scene.step("waiting for the reader");
    reader.join();
    drop(here);
    scene.step("waiting for the echo to see the end");
    echo.join();
}

fn two_runs_answer_each_other(scene: &Scene) {
    const ROUNDS: u8 = 200;
    let (mut here, mut there) = tcp_pair();
    let server = scene.thread(move |scene| {
        scene.run(async move {
            let mut byte = [0];
            for _ in 0..ROUNDS {
                there.read_exact(&mut byte).await.unwrap();
                there.write_all(&byte).await.unwrap();
            }
        });
    });
    let steps = scene.clone();
    scene.run(async move {
        for round in 0..ROUNDS {
            steps.step(&format!("asking another run, round {round}"));
            here.write_all(&[round]).await.unwrap();
            let mut byte = [0];
            here.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, [round]);
        }
    });
    server.join();
}

fn a_source_commutes_between_two_runs(scene: &Scene) {
    const ROUNDS: usize = 50;
    let (here, there) = tcp_pair();
    let (here, there) = (Arc::new(here), Arc::new(there));
    // Counts the rounds that are over: even ones are for one run, odd ones for the other.
    let rounds = Bell::new();
    let runs: Vec<_> = (0..2)
        .map(|side| {
            let (here, there, rounds) = (here.clone(), there.clone(), rounds.clone());
            scene.thread(move |scene| {
                let steps = scene.clone();
                scene.run(async move {
                    for round in (side..ROUNDS).step_by(2) {
                        rounds.heard(round).await;
                        steps.step(&format!("waiting in run {side}, round {round}"));
                        let mut wait = pin!(there.readable());
                        assert!(future::poll_once(wait.as_mut()).await.is_none());
                        send_byte(here.get_ref());
                        wait.await.unwrap();
                        take_byte(there.get_ref());
                        rounds.ring();
                    }
                });
            })
        })
        .collect();
    for run in runs {
        run.join();
    }
    assert_eq!(rounds.rings(), ROUNDS);
}

fn a_plain_thread_and_a_run_share_a_source(scene: &Scene) {
    for round in 0..10 {
        let (here, there) = tcp_pair();
        let there = Arc::new(there);
        let (thread_waits, run_waits) = (Gate::new(), Gate::new());
        let plain = {
            let (there, waits) = (there.clone(), thread_waits.clone());
            scene.thread(move |_| {
                future::block_on(announce(&waits, there.readable())).unwrap();
            })
        };
        let run = {
            let (there, waits) = (there.clone(), run_waits.clone());
            scene.thread(move |scene| {
                scene.run(async move { announce(&waits, there.readable()).await.unwrap() });
            })
        };
        thread_waits.passed_blocking();
        run_waits.passed_blocking();
        send_byte(here.get_ref());
        scene.step(&format!("waiting for the plain thread in round {round}"));
        plain.join();
        scene.step(&format!("waiting for the run in round {round}"));
        run.join();
    }
}

fn a_plain_thread_needs_no_runtime(scene: &Scene) {
    scene.step("conversing on a plain thread");
    let (here, there) = tcp_pair();
    let start = Instant::now();
    future::block_on(async {
        converse(&here, &there, 10).await;
        Timer::after(Duration::from_millis(2)).await;
    });
    assert!(start.elapsed() >= Duration::from_millis(2));
    // The same sources in a run of the subject, and here again.
    scene.step("conversing in a run");
    let (here, there) = scene.run(async move {
        converse(&here, &there, 10).await;
        (here, there)
    });
    scene.step("conversing on a plain thread again");
    future::block_on(converse(&here, &there, 10));
}

fn a_lone_waiter_is_driven_again_and_again(scene: &Scene) {
    // Nobody else waits in this process, so whoever drives may leave in between, and must come back.
    for round in 0..30 {
        let (here, there) = tcp_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let waiter = scene.thread(move |scene| {
            let wait = async move { announce(&gate, there.readable()).await.unwrap() };
            if round % 2 == 0 {
                future::block_on(wait);
            } else {
                scene.run(wait);
            }
        });
        waiting.passed_blocking();
        scene.step(&format!("waiting alone, round {round}"));
        send_byte(here.get_ref());
        waiter.join();
        thread::sleep(Duration::from_millis([0, 1, 15][round % 3]));
    }
}

fn a_busy_run_does_not_delay_another(scene: &Scene) {
    const BUSY: Duration = Duration::from_millis(400);
    let (busy, done) = (Gate::new(), Gate::new());
    let computing = {
        let (busy, done) = (busy.clone(), done.clone());
        scene.thread(move |scene| {
            scene.run(async move {
                // It has driven a reactor before, and has something to wait for afterwards.
                let (here, there) = tcp_pair();
                converse(&here, &there, 3).await;
                let mut wait = pin!(there.readable());
                assert!(future::poll_once(wait.as_mut()).await.is_none());
                busy.open();
                thread::sleep(BUSY);
                done.open();
            });
        })
    };
    busy.passed_blocking();
    scene.run(async move {
        let (here, there) = tcp_pair();
        for _ in 0..10 {
            converse(&here, &there, 1).await;
            Timer::after(Duration::from_millis(1)).await;
        }
    });
    assert!(
        !done.is_open(),
        "ten short waits took longer than {BUSY:?}, for which another run was busy"
    );
    computing.join();
}

fn a_source_moves_into_a_spawned_task(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        converse(&here, &there, 2).await;
        assert!(future::poll_once(there.readable()).await.is_none());
        let waiting = Gate::new();
        let gate = waiting.clone();
        let task = tasks.spawn(async move {
            announce(&gate, there.readable()).await.unwrap();
            take_byte(there.get_ref());
            there
        });
        waiting.passed().await;
        send_byte(here.get_ref());
        tasks.step("waiting for the spawned task");
        let there = task.await;
        tasks.step("conversing in the root again");
        converse(&here, &there, 2).await;
    });
}

fn fifty_tasks_converse_at_once(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let spawned: Vec<_> = (0..50)
            .map(|_| {
                tasks.spawn(async move {
                    let (here, there) = tcp_pair();
                    for _ in 0..10 {
                        converse(&here, &there, 2).await;
                        Timer::after(Duration::from_micros(500)).await;
                    }
                })
            })
            .collect();
        for (number, task) in spawned.into_iter().enumerate() {
            tasks.step(&format!("waiting for task {number} of 50"));
            task.await;
        }
    });
}

fn a_local_task_can_wait(scene: &Scene) {
    use std::rc::Rc;

    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let there = Rc::new(there);
        let waiting = Gate::new();
        let (mine, gate) = (there.clone(), waiting.clone());
        let task =
            tasks.spawn_local(async move { announce(&gate, mine.readable()).await.unwrap() });
        waiting.passed().await;
        send_byte(here.get_ref());
        tasks.step("waiting for the local task");
        task.await;
        take_byte(there.get_ref());
    });
}
