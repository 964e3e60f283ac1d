//! What it costs, counted in system calls and threads.
//!
//! Calls are counted by strace, in a child process; the tests that need it say so and pass where there is none. What
//! is counted are the calls of one thread between two marks that it makes itself. Sleeping through is told by the
//! kernel's count of a thread's context switches: who makes a system call has been on a core.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use untether::{Async, Parker, Reactor, Timer, timeout};

use crate::support::{
    Dice, Driving, PATIENCE, asleep, block_on, child, child_of, ends, in_child, is_child, is_epoll,
    poll_once, succeeds, tid, until,
};

/// Where a child finds its peer.
const PEER: &str = "UNTETHER_TEST_PEER";

/// A call that is seen in the trace and made by nobody else.
fn mark() {
    let _ = rustix::process::getppid();
}

/// strace, writing to `trace`, with the test `name` as its child; none if it cannot be used here.
fn strace(name: &str, trace: &std::path::Path) -> Option<Command> {
    let works = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !works {
        println!("skipped: there is no strace here, or it may not trace");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(trace);
    command.arg(std::env::current_exe().unwrap());
    Some(child_of(command, name))
}

/// The names of the calls that the marking thread made between its first mark and its last one.
fn between_marks(trace: &std::path::Path) -> Vec<String> {
    let trace = fs::read_to_string(trace).expect("strace's output");
    let calls: Vec<(&str, &str)> = trace
        .lines()
        // What resumes has been counted when it began.
        .filter(|line| !line.contains(" resumed>"))
        .filter_map(|line| {
            let (thread, call) = line.split_once(' ')?;
            let (name, _) = call.trim_start().split_once('(')?;
            Some((thread, name))
        })
        .collect();
    let marks = |&(_, name): &(&str, &str)| name == "getppid";
    let thread = calls.iter().copied().find(marks).expect("a mark").0;
    let own: Vec<_> = calls.iter().filter(|(who, _)| *who == thread).collect();
    let (first, last) = (
        own.iter().position(|call| marks(call)).unwrap(),
        own.iter().rposition(|call| marks(call)).unwrap(),
    );
    assert!(first < last, "one mark only");
    own[first + 1..last]
        .iter()
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn count(calls: &[String], names: &[&str]) -> usize {
    let counted = calls.iter().filter(|call| names.contains(&call.as_str()));
    counted.count()
}

/// The calls in order of frequency, for a person to read.
fn table(calls: &[String]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for call in calls {
        *counts.entry(call).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let counts = counts.into_iter().map(|(call, n)| format!("{call} {n}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Runs the test `name` as a child under strace; `body` is what the child does, `marks` and all, and what it did
/// between them is returned to the parent. None: in the child, or without strace.
fn traced(name: &str, body: impl FnOnce()) -> Option<Vec<String>> {
    if is_child(name) {
        in_child(name, body);
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    succeeds(strace(name, &trace)?);
    Some(between_marks(&trace))
}

/// The server of an echo, one connection, in a traced child; its peer is this process, which sends the next message
/// only when the server sleeps. Returns the calls of the server for each round trip.
fn echo<F: Future<Output = ()>>(
    name: &str,
    serve: impl FnOnce(Async<TcpStream>) -> F,
) -> Option<f64> {
    const ROUNDS: usize = 500;
    if is_child(name) {
        in_child(name, || {
            block_on(async {
                let peer: std::net::SocketAddr = std::env::var(PEER).unwrap().parse().unwrap();
                let mut stream = Async::<TcpStream>::connect(peer).await.unwrap();
                stream.write_all(&tid().to_le_bytes()).await.unwrap();
                serve(stream).await;
            });
        });
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut server = strace(name, &trace)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    server.env(PEER, listener.local_addr().unwrap().to_string());
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut server = [0; 4];
        stream.read_exact(&mut server).unwrap();
        let mut message = [7; 64];
        for _ in 0..ROUNDS {
            asleep(i32::from_le_bytes(server));
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut message).unwrap();
        }
        asleep(i32::from_le_bytes(server));
    });
    succeeds(server);
    peer.join().unwrap();
    let calls = between_marks(&trace);
    let each = calls.len() as f64 / ROUNDS as f64;
    println!("figure: {name}: {each:.2} system calls; {}", table(&calls));
    let waits = count(
        &calls,
        &["epoll_pwait", "epoll_pwait2", "epoll_wait", "poll", "ppoll"],
    );
    assert!(waits >= ROUNDS, "it did not block each time");
    Some(each)
}

#[test]
fn a_blocked_echo_round_trip_makes_three_system_calls() {
    let each = echo(
        "syscalls::a_blocked_echo_round_trip_makes_three_system_calls",
        async |mut stream| {
            let mut buf = [0; 1024];
            mark();
            loop {
                match stream.read(&mut buf).await.unwrap() {
                    0 => break,
                    n => stream.write_all(&buf[..n]).await.unwrap(),
                }
            }
            mark();
        },
    );
    if let Some(each) = each.filter(|_| is_epoll()) {
        assert!(each <= 3.2, "{each} system calls each");
    }
}

/// A limit for each read, and a timer that is far away, are nothing that the OS has to hear of.
#[test]
fn time_limits_make_no_system_call_for_each_round_trip() {
    let each = echo(
        "syscalls::time_limits_make_no_system_call_for_each_round_trip",
        async |mut stream| {
            let mut buf = [0; 1024];
            let mut far = Timer::after(Duration::from_secs(3600));
            assert!(poll_once(&mut far).is_pending());
            mark();
            loop {
                let read = timeout(Duration::from_secs(60), stream.read(&mut buf));
                match read.await.unwrap().unwrap() {
                    0 => break,
                    n => stream.write_all(&buf[..n]).await.unwrap(),
                }
            }
            mark();
        },
    );
    if let Some(each) = each.filter(|_| is_epoll()) {
        assert!(each <= 3.2, "{each} system calls each");
    }
}

/// Through `&Async`, as a task does whose stream is shared.
#[test]
fn a_blocked_echo_round_trip_of_a_shared_stream_makes_three_system_calls() {
    let each = echo(
        "syscalls::a_blocked_echo_round_trip_of_a_shared_stream_makes_three_system_calls",
        async |stream| {
            let mut buf = [0; 1024];
            mark();
            loop {
                match (&stream).read(&mut buf).await.unwrap() {
                    0 => break,
                    n => (&stream).write_all(&buf[..n]).await.unwrap(),
                }
            }
            mark();
        },
    );
    if let Some(each) = each.filter(|_| is_epoll()) {
        assert!(each <= 3.2, "{each} system calls each");
    }
}

/// An operation of the user's own tells nothing of what is left, so each wait costs one attempt more.
#[test]
fn a_blocked_echo_round_trip_with_read_with_makes_four_system_calls() {
    let each = echo(
        "syscalls::a_blocked_echo_round_trip_with_read_with_makes_four_system_calls",
        async |stream| {
            let mut buf = [0; 1024];
            mark();
            loop {
                let n = stream
                    .read_with(|mut stream| Read::read(&mut stream, &mut buf))
                    .await
                    .unwrap();
                if n == 0 {
                    break;
                }
                stream
                    .write_with(|mut stream| Write::write(&mut stream, &buf[..n]))
                    .await
                    .unwrap();
            }
            mark();
        },
    );
    if let Some(each) = each.filter(|_| is_epoll()) {
        assert!(each <= 4.2, "{each} system calls each");
    }
}

#[test]
fn a_connection_that_is_answered_without_a_wait_is_never_registered() {
    const CONNECTIONS: usize = 50;
    let calls = traced(
        "syscalls::a_connection_that_is_answered_without_a_wait_is_never_registered",
        || {
            block_on(async {
                let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
                let address = listener.get_ref().local_addr().unwrap();
                let clients: Vec<_> = (0..CONNECTIONS)
                    .map(|_| {
                        let mut client = TcpStream::connect(address).unwrap();
                        client.write_all(b"ask").unwrap();
                        client
                    })
                    .collect();
                mark();
                for _ in 0..CONNECTIONS {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut ask = [0; 3];
                    stream.read_exact(&mut ask).await.unwrap();
                    stream.write_all(b"answer").await.unwrap();
                }
                mark();
                for mut client in clients {
                    let mut answer = String::new();
                    client.read_to_string(&mut answer).unwrap();
                    assert_eq!(answer, "answer");
                }
            });
        },
    );
    if let Some(calls) = calls {
        println!("figure: {CONNECTIONS} connections: {}", table(&calls));
        assert_eq!(count(&calls, &["epoll_ctl"]), 0);
        if is_epoll() {
            assert_eq!(count(&calls, &["epoll_pwait", "epoll_wait", "write"]), 0);
        }
    }
}

const TIMERS: u64 = 10_000;

/// Arms timers under `reactor`, all an hour and more away, between two marks.
fn arm(reactor: &Reactor, mut extra: impl FnMut(u64) -> Duration) {
    let hour = Duration::from_secs(3600);
    let mut timers: Vec<_> = (0..TIMERS).map(|n| Timer::after(hour + extra(n))).collect();
    reactor.enter(|| {
        mark();
        for timer in &mut timers {
            assert!(poll_once(timer).is_pending());
        }
        mark();
    });
}

/// What getting memory, and waiting for another thread's lock, costs is not ours. (glibc reads a file in /proc before it
/// gives memory back.)
fn without_memory(calls: Vec<String>) -> Vec<String> {
    let memory = ["brk", "mmap", "munmap", "mremap", "madvise", "mprotect"];
    let reading = ["openat", "read", "close", "futex", "sched_yield"];
    calls
        .into_iter()
        .filter(|call| !memory.contains(&call.as_str()) && !reading.contains(&call.as_str()))
        .collect()
}

/// What a thread calls that parks so many times for a millisecond in vain, when it has done so for a while.
fn in_vain(name: &str, spin: Duration, parks: usize) -> Option<Vec<String>> {
    traced(name, || {
        let reactor = Reactor::builder().spin(spin).build().unwrap();
        let parker = Parker::new(&reactor);
        let park = |_| assert!(!parker.park_timeout(Duration::from_millis(1)));
        (0..20).for_each(park);
        mark();
        (0..parks).for_each(park);
        mark();
    })
}

fn waits(calls: &[String]) -> usize {
    count(calls, &["epoll_pwait", "epoll_pwait2", "epoll_wait"])
}

#[test]
fn who_parks_without_a_spin_blocks_at_once() {
    let name = "syscalls::who_parks_without_a_spin_blocks_at_once";
    if let Some(calls) = in_vain(name, Duration::ZERO, 10) {
        assert_eq!(waits(&calls), 10, "{}", table(&calls));
    }
}

#[test]
fn long_waits_are_not_looked_for() {
    let name = "syscalls::long_waits_are_not_looked_for";
    if let Some(calls) = in_vain(name, Duration::from_micros(20), 10) {
        assert_eq!(waits(&calls), 10, "{}", table(&calls));
    }
}

#[test]
fn who_parks_with_a_spin_looks_before_it_blocks() {
    let name = "syscalls::who_parks_with_a_spin_looks_before_it_blocks";
    let calls = traced(name, || {
        let reactor = Reactor::builder().spin(PATIENCE).build().unwrap();
        let parker = Parker::new(&reactor);
        mark();
        assert!(!parker.park_timeout(Duration::from_millis(20)));
        mark();
    });
    if let Some(calls) = calls {
        assert!(waits(&calls) > 2, "{}", table(&calls));
    }
}

#[test]
fn an_unpark_ends_a_look() {
    ends(|| {
        let reactor = Reactor::builder().spin(PATIENCE).build().unwrap();
        let parker = Parker::new(&reactor);
        let unparker = parker.unparker();
        let other = std::thread::spawn(move || unparker.unpark());
        parker.park();
        other.join().unwrap();
    });
}

#[test]
fn arming_timers_beside_a_sleeping_driver_calls_it_at_most_once() {
    let calls = traced(
        "syscalls::arming_timers_beside_a_sleeping_driver_calls_it_at_most_once",
        || {
            let reactor = Reactor::new().unwrap();
            let driving = Driving::new(&reactor);
            asleep(driving.tid);
            arm(&reactor, Duration::from_millis);
        },
    );
    if let Some(calls) = calls.map(without_memory) {
        println!("figure: {TIMERS} timers beside a driver: {}", table(&calls));
        assert!(calls.len() <= 1, "{}", table(&calls));
    }
}

/// Each one that is earlier than all before it is news; of ten thousand in random order that is one in a thousand.
#[test]
fn arming_timers_in_random_order_calls_a_sleeping_driver_a_handful_of_times() {
    let calls = traced(
        "syscalls::arming_timers_in_random_order_calls_a_sleeping_driver_a_handful_of_times",
        || {
            let reactor = Reactor::new().unwrap();
            let driving = Driving::new(&reactor);
            asleep(driving.tid);
            let mut dice = Dice(0x5eed);
            arm(&reactor, |_| {
                Duration::from_micros(dice.below(1 << 31) as u64)
            });
        },
    );
    if let Some(calls) = calls.map(without_memory) {
        println!("figure: {TIMERS} timers in random order: {}", table(&calls));
        assert!(calls.len() <= 40, "{}", table(&calls));
    }
}

#[test]
fn arming_timers_on_the_drivers_own_thread_makes_no_system_call() {
    let calls = traced(
        "syscalls::arming_timers_on_the_drivers_own_thread_makes_no_system_call",
        || arm(&Reactor::new().unwrap(), Duration::from_millis),
    );
    if let Some(calls) = calls.map(without_memory) {
        assert!(calls.is_empty(), "{}", table(&calls));
    }
}

/// Waking a task from a wake on the thread that drives goes through no descriptor.
#[test]
fn tasks_that_wake_each_other_on_one_thread_make_no_system_call() {
    const ROUNDS: usize = 1000;
    let calls = traced(
        "syscalls::tasks_that_wake_each_other_on_one_thread_make_no_system_call",
        || {
            block_on(async {
                mark();
                for _ in 0..ROUNDS {
                    future::yield_now().await;
                }
                mark();
            });
        },
    );
    if let Some(calls) = calls {
        assert!(calls.is_empty(), "{}", table(&calls));
    }
}

/// The context switches of all threads of a process, and how many threads those are.
fn switches(process: u32) -> (usize, u64) {
    let mut all = (0, 0);
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return all;
    };
    for thread in threads.flatten() {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        all.0 += 1;
        all.1 += counts
            .filter_map(|line| line.rsplit_once('\t')?.1.parse::<u64>().ok())
            .sum::<u64>();
    }
    all
}

/// How long an idle program is watched: UNTETHER_IDLE_SECONDS, or a time that suits every day.
fn window() -> Duration {
    let seconds = std::env::var("UNTETHER_IDLE_SECONDS");
    let seconds = seconds.ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(2.0))
}

#[test]
fn an_idle_program_sleeps() {
    const NAME: &str = "syscalls::an_idle_program_sleeps";
    const SOURCES: usize = 50;
    let wait_for_all = async || {
        let mut peers = Vec::new();
        let mut waits: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        for number in 0..SOURCES {
            let (source, peer) = Async::<UnixStream>::pair().unwrap();
            peers.push(peer);
            waits.push(Box::pin(async move {
                if number % 2 == 0 {
                    source.readable().await.unwrap();
                } else {
                    let mut source = source;
                    source.read_exact(&mut [0]).await.unwrap();
                }
            }));
            waits.push(Box::pin(async {
                Timer::after(Duration::from_secs(3600)).await;
            }));
        }
        future::poll_fn(|cx| {
            for wait in &mut waits {
                assert!(wait.as_mut().poll(cx).is_pending());
            }
            std::task::Poll::<()>::Pending
        })
        .await;
    };
    if is_child(NAME) {
        std::thread::spawn(move || future::block_on(wait_for_all()));
        block_on(wait_for_all());
        return;
    }
    let mut idle = child(NAME).stdin(Stdio::null()).spawn().unwrap();
    let pid = idle.id();
    let watched = std::panic::catch_unwind(|| {
        // Six threads: the harness, its test, the foreign executor, and ours for that. Then: nobody stirs.
        let mut last = (0, 0);
        until("a program that has settled", || {
            std::thread::sleep(Duration::from_millis(150));
            let (before, now) = (last, switches(pid));
            last = now;
            now.0 >= 3 && before == now
        });
        std::thread::sleep(window());
        (last, switches(pid))
    });
    idle.kill().unwrap();
    idle.wait().unwrap();
    let (before, after) = watched.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
    println!(
        "figure: {} sources, {} threads: {} context switches in {:?}",
        2 * SOURCES,
        after.0,
        after.1 - before.1,
        window()
    );
    assert_eq!(before, after);
}

/// The threads of this process: names and ids, sorted.
fn threads() -> Vec<(String, i32)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let mut threads: Vec<_> = tasks
        .filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let id = task.file_name().to_str()?.parse().ok()?;
            Some((name.trim().to_owned(), id))
        })
        .collect();
    threads.sort();
    threads
}

/// How many threads of ours there are.
fn ours() -> usize {
    threads()
        .iter()
        .filter(|(name, _)| name == "untether")
        .count()
}

#[test]
fn a_program_that_drives_its_own_reactor_has_no_other_thread() {
    in_child(
        "syscalls::a_program_that_drives_its_own_reactor_has_no_other_thread",
        || {
            let before = threads();
            block_on(async {
                let (mut one, mut other) = Async::<UnixStream>::pair().unwrap();
                for _ in 0..10 {
                    Timer::after(Duration::from_millis(1)).await;
                    let (read, write) = future::zip(other.read_exact(&mut [0; 4]), async {
                        future::yield_now().await;
                        one.write_all(b"ping").await
                    })
                    .await;
                    read.and(write).unwrap();
                    assert_eq!(threads(), before);
                }
            });
            assert_eq!(threads(), before);
        },
    );
}

#[test]
fn a_foreign_executor_gets_one_thread_while_somebody_waits() {
    in_child(
        "syscalls::a_foreign_executor_gets_one_thread_while_somebody_waits",
        || {
            for _ in 0..2 {
                assert_eq!(ours(), 0, "nobody waits yet, or any more");
                let waits: Vec<_> = (0..3)
                    .map(|_| {
                        let (mut one, mut peer) = UnixStream::pair().unwrap();
                        let waiting = std::thread::spawn(move || {
                            let source = Async::new(peer.try_clone().unwrap()).unwrap();
                            future::block_on(source.readable()).unwrap();
                            peer.read_exact(&mut [0]).unwrap();
                        });
                        (waiting, move || one.write_all(b"x").unwrap())
                    })
                    .collect();
                until("our thread", || ours() == 1);
                for (waiting, mut end) in waits {
                    assert_eq!(ours(), 1);
                    end();
                    waiting.join().unwrap();
                }
                until("its retirement", || ours() == 0);
            }
        },
    );
}

/// The last one left without an event: nobody but the one who leaves can tell our thread.
#[test]
fn our_thread_retires_when_the_last_source_is_dropped() {
    in_child(
        "syscalls::our_thread_retires_when_the_last_source_is_dropped",
        || {
            let (source, _peer) = Async::<UnixStream>::pair().unwrap();
            let mut readable = Box::pin(source.readable());
            assert!(poll_once(&mut readable).is_pending());
            until("our thread", || ours() == 1);
            let (_, thread) = threads()
                .into_iter()
                .find(|(name, _)| name == "untether")
                .unwrap();
            asleep(thread);
            drop(readable);
            drop(source);
            let start = Instant::now();
            until("its retirement", || ours() == 0);
            println!("figure: our thread retired after {:?}", start.elapsed());
        },
    );
}

/// The child that is asked for must exist, or a test that runs nothing would pass.
#[test]
fn a_child_that_runs_nothing_is_noticed() {
    let failed = std::panic::catch_unwind(|| succeeds(child("syscalls::no_such_test")));
    assert!(failed.is_err());
}
