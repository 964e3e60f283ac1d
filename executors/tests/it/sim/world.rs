//! The simulation and what is around it: time, its end, sockets and threads, the other executors.

use super::*;

// Time.

#[test]
fn an_hour_takes_no_time_and_timers_keep_their_order() {
    let begun = Instant::now();
    sim::check(0..50, || async {
        let handle = sim::handle();
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [5, 1, 4, 2, 3]
            .into_iter()
            .map(|hours| {
                let order = order.clone();
                handle.spawn(async move {
                    let start = sim::handle().now();
                    Timer::after(HOUR * hours).await;
                    assert_eq!(sim::handle().now() - start, HOUR * hours);
                    order.borrow_mut().push(hours);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(order.take(), [1, 2, 3, 4, 5]);
        assert_eq!(handle.elapsed(), HOUR * 5);
    });
    // No measurement: 250 hours have passed.
    assert!(begun.elapsed() < HOUR);
}

#[test]
fn timers_of_one_instant_fire_together_and_in_every_order() {
    let seen = RefCell::new(std::collections::BTreeSet::new());
    sim::check(0..200, || async {
        let order = Rc::new(RefCell::new(String::new()));
        let at = sim::handle().now() + HOUR;
        let tasks = ['a', 'b', 'c'].map(|letter| {
            let order = order.clone();
            sim::handle().spawn(async move {
                Timer::at(at).await;
                order.borrow_mut().push(letter);
            })
        });
        for task in tasks {
            task.await;
        }
        assert_eq!(sim::handle().elapsed(), HOUR);
        seen.borrow_mut().insert(order.take());
    });
    assert_eq!(seen.into_inner().len(), 6);
}

#[test]
fn timeouts_and_intervals_go_by_virtual_time() {
    sim::check(0..20, || async {
        let elapsed = || sim::handle().elapsed();
        let second = Duration::from_secs(1);
        assert!(timeout(second, std::future::pending::<()>()).await.is_err());
        assert_eq!(elapsed(), second);
        assert_eq!(
            timeout(second * 2, async {
                Timer::after(second).await;
                5
            })
            .await,
            Ok(5)
        );
        assert_eq!(elapsed(), second * 2);
        let mut ticks = Timer::interval(second);
        ticks.set_missed_ticks(MissedTicks::Skip);
        for tick in 3..10 {
            ticks.next().await;
            assert_eq!(elapsed(), second * tick);
        }
        // A timer that is set back is due at once.
        let mut timer = Timer::after(HOUR);
        assert!(timeout(second, &mut timer).await.is_err());
        timer.set_after(Duration::ZERO);
        timer.await;
        assert_eq!(elapsed(), second * 10);
    });
}

#[test]
fn a_thousand_timers_that_are_due_at_once_do_not_depend_on_earlier_runs() {
    // What a task does in a row before it yields is counted by its address: of each poll anew, or the count of an
    // earlier run would show.
    let program = async || {
        for _ in 0..1_000 {
            Timer::after(Duration::ZERO).await;
        }
    };
    let traces: Vec<_> = (0..5)
        .map(|_| trace_of(&schedule("0:"), async { program().await }))
        .collect();
    assert!(traces.iter().all(|trace| *trace == traces[0]));
    assert_eq!(traces[0].matches("step ").count(), 1_000 / 128 + 1);
}

#[test]
fn time_passes_in_a_nested_block_on() {
    let sim = Sim::new(3);
    sim.run(async {
        let later = sim::handle().now() + HOUR * 2;
        let other = sim::handle().spawn(Timer::at(later));
        // It blocks the thread, and so the other task.
        block_on(async { Timer::after(HOUR).await });
        assert_eq!(sim::handle().elapsed(), HOUR);
        let local = Local::new();
        local.run(local.spawn(async { Timer::after(HOUR).await }));
        assert_eq!(sim::handle().elapsed(), HOUR * 2);
        other.await;
        assert_eq!(sim::handle().elapsed(), HOUR * 2);
    });
}

#[test]
fn a_nested_block_on_that_waits_for_a_task_is_a_deadlock() {
    let sim = Sim::new(3);
    let text = panic_of(|| {
        sim.run(async {
            let other = sim::handle().spawn(async {});
            block_on(other);
        });
    });
    assert!(
        text.starts_with("deadlock inside a simulated task"),
        "{text}"
    );
}

#[test]
fn it_runs_inside_other_executors_and_inside_itself() {
    block_on(async {
        let sim = Sim::new(1);
        sim.run(async {
            Timer::after(HOUR).await;
            let inner = Sim::new(2);
            inner.run(async { Timer::after(HOUR).await });
            assert_eq!(inner.elapsed(), HOUR);
            // Its time is its own.
            assert_eq!(sim::handle().elapsed(), HOUR);
        });
        Timer::after(Duration::from_millis(1)).await;
    });
    let sim = Rc::new(Sim::new(1));
    let again = sim.clone();
    let text = panic_of(|| sim.run(async move { again.run(async {}) }));
    assert!(text.starts_with("run inside a run"), "{text}");
    sim.run(async {});
}

// The end.

#[test]
fn dropping_it_drops_each_future_once() {
    let drops = Drops::default();
    let sim = Sim::new(5);
    for _ in 0..10 {
        // Never polled, waiting, and for a timer.
        let (one, two, three) = (drops.one(), drops.one(), drops.one());
        sim.spawn(async move {
            let _one = one;
            std::future::pending::<()>().await;
        })
        .detach();
        sim.spawn(async move {
            let _two = two;
            Timer::after(HOUR).await;
        })
        .detach();
        let task = sim.spawn(async move { drop(three) });
        drop(task);
    }
    sim.run(async {
        for _ in 0..50 {
            yield_now().await;
        }
    });
    assert_eq!(drops.count(), 10);
    let (late, handle) = (drops.one(), sim.handle());
    sim.spawn(async move { drop(late) }).detach();
    drop(sim);
    assert_eq!(drops.count(), 31);
    // Too late.
    let late = drops.one();
    let task = handle.spawn(async move { drop(late) });
    assert_eq!(drops.count(), 32);
    assert_eq!(block_on(task.fallible()), None);
}

#[test]
fn tasks_stay_between_two_runs() {
    let sim = Sim::new(5);
    let task = sim.spawn(async {
        for _ in 0..10 {
            Timer::after(HOUR).await;
        }
        "end"
    });
    sim.run(async { Timer::after(HOUR * 3).await });
    assert_eq!(sim.elapsed(), HOUR * 3);
    assert_eq!(sim.run(task), "end");
    assert_eq!(sim.elapsed(), HOUR * 10);
}

#[test]
fn the_future_may_borrow_and_wakers_of_an_old_run_do_nothing() {
    let sim = Sim::new(5);
    let kept = RefCell::new(None);
    sim.run(poll_fn(|cx| {
        *kept.borrow_mut() = Some(cx.waker().clone());
        Poll::Ready(())
    }));
    let waker = kept.take().unwrap();
    waker.wake_by_ref();
    let mut polls = 0;
    sim.run(poll_fn(|cx| {
        polls += 1;
        waker.wake_by_ref();
        if polls == 2 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    assert_eq!(polls, 2);
}

// The world outside.

#[test]
fn sockets_echo_under_every_schedule() {
    // However busy the machine is: what is on its way goes before a time-out.
    let builder = Sim::builder().patience(Duration::MAX);
    builder.check(0..30, || async {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let server = sim::handle().spawn_named("server", async move {
            for _ in 0..2 {
                let (mut peer, _) = listener.accept().await.unwrap();
                let echo = async move {
                    let mut buffer = [0; 5];
                    while peer.read_exact(&mut buffer).await.is_ok() {
                        peer.write_all(&buffer).await.unwrap();
                    }
                };
                sim::handle().spawn_named("echo", echo).detach();
            }
        });
        let clients = [0, 1].map(|_| {
            sim::handle().spawn_named("client", async move {
                let mut stream = Async::<TcpStream>::connect(address).await.unwrap();
                for _ in 0..5 {
                    stream.write_all(b"hello").await.unwrap();
                    let mut buffer = [0; 5];
                    let read = timeout(Duration::from_secs(60), stream.read_exact(&mut buffer));
                    read.await.unwrap().unwrap();
                    assert_eq!(&buffer, b"hello");
                }
            })
        });
        server.await;
        for client in clients {
            client.await;
        }
    });
}

#[test]
fn a_peer_that_answers_late_is_waited_for_with_patience() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (ask, asked) = mpsc::channel::<()>();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for _ in asked {
            stream.write_all(b"!").unwrap();
        }
        // Says no more, and keeps the connection until it is closed there.
        let _ = stream.read(&mut [0]);
    });
    let sim = Sim::builder().patience(Duration::MAX).build().unwrap();
    sim.run(async move {
        let mut stream = Async::<TcpStream>::connect(address).await.unwrap();
        for _ in 0..3 {
            ask.send(()).unwrap();
            let read = timeout(HOUR, async { stream.read_exact(&mut [0]).await });
            read.await.unwrap().unwrap();
        }
        drop(ask);
        assert!(sim::handle().elapsed() < HOUR);
        // No more is to come, and a time-out takes as long as it does.
        let read = timeout(Duration::from_millis(20), async {
            stream.read_exact(&mut [0]).await
        });
        assert!(read.await.is_err());
    });
    assert!(sim.trace().from_outside());
    peer.join().unwrap();
}

#[test]
fn without_patience_time_jumps_though_a_peer_might_answer() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let sim = Sim::builder().patience(Duration::ZERO).build().unwrap();
    sim.run(async {
        let mut stream = Async::<TcpStream>::connect(address).await.unwrap();
        let read = timeout(HOUR, async { stream.read_exact(&mut [0]).await });
        assert!(read.await.is_err());
    });
    assert!(sim.elapsed() >= HOUR);
}

#[test]
fn with_no_timer_it_waits_for_io_as_long_as_it_takes() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (waits, waited) = mpsc::channel();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        waited.recv().unwrap();
        stream.write_all(b"!").unwrap();
    });
    Sim::new(1).run(async move {
        let mut stream = Async::<TcpStream>::connect(address).await.unwrap();
        let mut buffer = [0];
        let mut read = stream.read_exact(&mut buffer);
        poll_fn(|cx| {
            let poll = Pin::new(&mut read).poll(cx);
            let _ = waits.send(());
            poll
        })
        .await
        .unwrap();
    });
    peer.join().unwrap();
}

#[test]
fn a_source_that_nobody_waits_for_is_no_reason_to_wait() {
    let sim = Sim::new(1);
    let text = panic_of(|| {
        sim.run(async {
            let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
            // It is registered, and then nobody waits for it.
            let none = or(async { Some(listener.accept().await) }, async {
                yield_now().await;
                None
            });
            assert!(none.await.is_none());
            std::future::pending::<()>().await;
        });
    });
    assert!(text.starts_with("deadlock"), "{text}");
}

#[test]
fn other_threads_wake_and_spawn_and_the_trace_says_so() {
    let sim = Sim::new(7);
    let remote = sim.remote();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let other = thread::spawn(move || {
        let spawned = remote.spawn_named("from afar", async { thread::current().id() });
        wakers.iter().for_each(Waker::wake);
        spawned
    });
    sim.run(async {
        let _outside = sim::handle().outside();
        zip(pending(sender.clone(), 20), pending(sender, 20)).await;
    });
    let spawned = other.join().unwrap();
    assert_eq!(sim.run(spawned), thread::current().id());
    let trace = sim.trace();
    assert!(trace.from_outside());
    let text = trace.to_string();
    assert!(text.contains("another thread wakes main"), "{text}");
    assert!(
        text.contains("another thread starts task 1 (from afar)"),
        "{text}"
    );
    assert!(!Sim::new(7).trace().from_outside());
}

#[test]
fn blocking_work_is_waited_for() {
    sim::check(0..10, || async {
        let work = spawn_blocking(|| 6 * 7);
        assert_eq!(work.await, 42);
    });
    let sim = Sim::new(0);
    let text = panic_of(|| sim.run(async { spawn_blocking(|| panic!("there")).await }));
    assert_eq!(text, "there");
}

#[test]
fn by_real_time_only_the_order_is_chosen() {
    for seed in 0..5 {
        let sim = Sim::builder().seed(seed).real_time().build().unwrap();
        let begun = Instant::now();
        sim.run(async {
            let task = sim::handle().spawn(Timer::after(Duration::from_millis(3)));
            yield_now().await;
            task.await;
        });
        assert!(begun.elapsed() >= Duration::from_millis(3));
        let text = panic_of(|| sim.run(std::future::pending::<()>()));
        assert!(text.starts_with("deadlock"), "{text}");
    }
}

// As the other executors.

#[test]
fn hooks_see_each_poll_and_each_panic() {
    let polls = Arc::new(AtomicUsize::new(0));
    let panics = Arc::new(AtomicUsize::new(0));
    let (seen, failed) = (polls.clone(), panics.clone());
    let hooks = Hooks::new()
        .before_poll(move |task| {
            assert_eq!(task.name(), Some("watched"));
            assert_eq!(TaskId::current(), Some(task.id()));
            seen.fetch_add(1, SeqCst);
        })
        .on_panic(move |_, _| {
            failed.fetch_add(1, SeqCst);
        });
    let sim = Sim::builder().hooks(hooks).build().unwrap();
    let task = sim.spawn_named("watched", async {
        yield_now().await;
        panic!("seen");
    });
    assert_eq!(panic_of(|| sim.run(task)), "seen");
    assert_eq!((polls.load(SeqCst), panics.load(SeqCst)), (2, 1));
}

#[test]
fn it_is_an_executor_like_the_others() {
    async fn boxed(spawner: &dyn Spawn) {
        spawner.spawn_boxed(Box::pin(async {})).await;
        spawner
            .spawn_boxed_named("named".into(), Box::pin(async {}))
            .await;
    }
    async fn boxed_local(spawner: &dyn LocalSpawn) {
        spawner.spawn_local_boxed(Box::pin(async {})).await;
        spawner
            .spawn_local_boxed_named("named".into(), Box::pin(async {}))
            .await;
    }
    async fn generic(spawner: &impl Spawn) -> i32 {
        spawner.spawn(async { 1 }).await + spawner.spawn_named("two", async { 2 }).await
    }
    let sim = Sim::new(9);
    let (handle, remote) = (sim.handle(), sim.remote());
    sim.run(async {
        boxed(&sim).await;
        boxed(&handle).await;
        boxed(&remote).await;
        boxed_local(&sim).await;
        boxed_local(&handle).await;
        assert_eq!(
            generic(&sim).await + generic(&handle).await + generic(&remote).await,
            9
        );
    });
    assert!(!sim.trace().from_outside());
    fn goes_anywhere<T: Send + Sync>(_: &T) {}
    goes_anywhere(&remote);
    assert!(format!("{sim:?}").contains("schedule: Schedule(9)"));
}

#[test]
fn many_tasks_end() {
    let sim = Sim::new(11);
    let ended = Rc::new(Cell::new(0));
    for _ in 0..10_000 {
        let ended = ended.clone();
        let task = async move {
            yield_now().await;
            ended.set(ended.get() + 1);
        };
        sim.spawn(task).detach();
    }
    sim.run(async {
        while ended.get() < 10_000 {
            yield_now().await;
        }
    });
}
