//! A thread per core, and nothing stolen.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::Waker;
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use untether::{Async, Reactor, Timer};
use untether_executors::{
    Hooks, Local, LocalSpawn, PerCore, Spawn, Task, TaskId, block_on, shared_listeners,
};

use crate::{Drops, PATIENCE, pending, yield_now};

#[test]
fn each_core_is_a_thread_with_a_reactor_of_its_own() {
    let cores = PerCore::new(3).unwrap();
    assert_eq!(cores.cores(), 3);
    let place = |core| {
        block_on(cores.spawn_on(core, || async {
            yield_now().await;
            let reactor = Reactor::entered().unwrap();
            let core = PerCore::here().unwrap().core();
            (core, thread::current().id(), reactor)
        }))
    };
    let places: Vec<_> = (0..3).map(place).collect();
    for (core, one) in places.iter().enumerate() {
        assert_eq!(one.0, core);
        for other in &places[..core] {
            assert_ne!(one.1, other.1);
            assert_ne!(one.2, other.2);
        }
        // Always the same.
        assert!(place(core) == *one);
    }
    assert!(PerCore::here().is_none());
}

#[test]
fn all_cores_work_at_once() {
    let cores = PerCore::new(4).unwrap();
    let meeting = Arc::new(Barrier::new(4));
    let tasks: Vec<_> = (0..4)
        .map(|core| {
            let meeting = meeting.clone();
            cores.spawn_on(core, move || async move { meeting.wait().is_leader() })
        })
        .collect();
    let leaders = block_on(async {
        let mut leaders = 0;
        for task in tasks {
            leaders += usize::from(task.await);
        }
        leaders
    });
    assert_eq!(leaders, 1);
}

#[test]
fn futures_that_are_not_send_stay_where_they_were_made() {
    let cores = PerCore::new(2).unwrap();
    for core in 0..2 {
        let sum = cores.spawn_on(core, || async {
            let home = thread::current().id();
            let sum = Rc::new(Cell::new(0));
            let tasks: Vec<Task<()>> = (1..=100)
                .map(|n| {
                    let sum = sum.clone();
                    PerCore::spawn_here(async move {
                        Timer::after(Duration::from_micros(n)).await;
                        assert_eq!(thread::current().id(), home);
                        sum.set(sum.get() + n);
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            sum.get()
        });
        assert_eq!(block_on(sum), 5050);
    }
}

#[test]
fn cores_hand_tasks_to_each_other() {
    let cores = PerCore::new(3).unwrap();
    let task = cores.spawn_on(0, || async {
        let cores = PerCore::here().unwrap().cores().clone();
        let mut hops = Vec::new();
        for hop in 0..300 {
            let core = hop % 3;
            let there = cores.spawn_on(core, || async { PerCore::here().unwrap().core() });
            hops.push(there.await == core);
        }
        hops
    });
    assert_eq!(block_on(task), vec![true; 300]);
}

#[test]
fn tasks_are_woken_by_any_thread() {
    let cores = PerCore::new(2).unwrap();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let waker = thread::spawn(move || wakers.iter().for_each(Waker::wake));
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let sender = sender.clone();
            cores.spawn_on(n % 2, || pending(sender, 50))
        })
        .collect();
    drop(sender);
    block_on(async {
        for task in tasks {
            task.await;
        }
    });
    waker.join().unwrap();
}

#[test]
fn balanced_tasks_go_to_the_core_with_the_fewest() {
    let cores = PerCore::new(3).unwrap();
    let start = || cores.spawn_balanced(std::future::pending::<()>);
    let mut tasks: Vec<_> = (0..9).map(|_| start()).collect();
    assert_eq!(cores.handle().loads(), [3, 3, 3]);

    // Two of one core end, and two new ones go there.
    let on_zero = cores.spawn_on(0, || async {});
    block_on(on_zero);
    let (release, released) = mpsc::channel::<Waker>();
    let ending: Vec<_> = (0..3)
        .map(|_| {
            let release = release.clone();
            cores.spawn_balanced(|| pending(release, 1))
        })
        .collect();
    assert_eq!(cores.handle().loads(), [4, 4, 4]);
    for _ in 0..3 {
        released.recv_timeout(PATIENCE).unwrap().wake();
    }
    block_on(async {
        for task in ending {
            task.await;
        }
    });
    assert_eq!(cores.handle().loads(), [3, 3, 3]);

    // Dropping a task gives its place free, when its core gets to it.
    tasks.truncate(3);
    for core in 0..3 {
        while cores.handle().loads()[core] != 1 {
            block_on(cores.spawn_on(core, yield_now));
        }
    }
    drop(cores);
}

#[test]
fn what_may_move_stays_on_the_core_that_starts_it() {
    let cores = PerCore::new(2).unwrap();
    let core = async || PerCore::here().unwrap().core();
    let task = cores.spawn_on(1, move || async move {
        let here = PerCore::here().unwrap();
        let spawner: &dyn Spawn = here.cores();
        spawner.spawn_boxed(Box::pin(async {})).await;
        let there = here.cores().spawn(core());
        let local: &dyn LocalSpawn = &here;
        local.spawn_local_boxed(Box::pin(async {})).await;
        (there.await, here.spawn_local(core()).await)
    });
    assert_eq!(block_on(task), (1, 1));
    let two: HashSet<_> = (0..2).map(|_| block_on(cores.spawn(core()))).collect();
    assert!(two.is_subset(&HashSet::from([0, 1])));
}

#[test]
fn a_panic_harms_neither_the_core_nor_the_others() {
    let cores = PerCore::new(2).unwrap();
    let outcome = |task: Task<()>| {
        let payload = catch_unwind(AssertUnwindSafe(|| block_on(task))).unwrap_err();
        payload.downcast_ref::<&str>().copied()
    };
    let in_future = cores.spawn_on(1, || async {
        yield_now().await;
        resume_unwind(Box::new("in the future"))
    });
    assert_eq!(outcome(in_future), Some("in the future"));
    let in_function = cores.spawn_on(1, || -> std::future::Pending<()> {
        resume_unwind(Box::new("in the function"))
    });
    assert_eq!(outcome(in_function), Some("in the function"));
    for core in 0..2 {
        assert_eq!(block_on(cores.spawn_on(core, || async { 7 })), 7);
    }
}

#[test]
fn a_core_that_does_not_exist_is_named_in_the_panic() {
    let cores = PerCore::new(2).unwrap();
    let spawn = || drop(cores.spawn_on(2, || async {}));
    let payload = catch_unwind(AssertUnwindSafe(spawn)).unwrap_err();
    assert_eq!(
        payload.downcast_ref::<String>().unwrap(),
        "cannot spawn on core 2: there are 2, and the first is 0"
    );
}

#[test]
fn hooks_see_each_task_once() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hooks = Hooks::new()
        .before_poll({
            let seen = seen.clone();
            move |task| {
                assert_eq!(TaskId::current(), Some(task.id()));
                seen.lock().unwrap().push(task.name().map(String::from));
            }
        })
        .on_panic({
            let seen = seen.clone();
            move |task, _| {
                seen.lock()
                    .unwrap()
                    .push(Some(format!("{:?} failed", task.name())))
            }
        });
    let cores = PerCore::builder().cores(1).hooks(hooks).build().unwrap();
    block_on(cores.handle().spawn_on_named(0, "a", || async {}));
    block_on(cores.spawn_on(0, || async {}));
    block_on(cores.spawn_named("b", async {}));
    let failing: Task<()> = cores
        .handle()
        .spawn_on_named(0, "c", || async { resume_unwind(Box::new("on purpose")) });
    catch_unwind(AssertUnwindSafe(|| block_on(failing))).unwrap_err();
    let expected = [
        Some("a".into()),
        None,
        Some("b".into()),
        Some("c".into()),
        Some("Some(\"c\") failed".into()),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// Says on which thread it is dropped.
struct Dropped(mpsc::Sender<ThreadId>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn dropping_it_drops_every_future_on_its_own_core_and_joins() {
    let cores = PerCore::new(2).unwrap();
    let (sender, dropped) = mpsc::channel();
    let mut homes = Vec::new();
    for core in 0..2 {
        for _ in 0..10 {
            let sender = sender.clone();
            let wait = || async {
                let _dropped = Dropped(sender);
                let _not_send = Rc::new(());
                std::future::pending::<()>().await;
            };
            cores.spawn_on(core, wait).detach();
        }
        homes.push(block_on(
            cores.spawn_on(core, || async { thread::current().id() }),
        ));
    }
    drop(sender);
    drop(cores);
    let mut at: Vec<_> = dropped.try_iter().collect();
    assert_eq!(at.len(), 20, "all are dropped when `drop` returns");
    at.sort_by_key(|thread| homes[0] == *thread);
    assert_eq!(at, [[homes[1]; 10], [homes[0]; 10]].concat());
}

#[test]
fn each_core_is_told_when_it_starts_and_stops() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = move |log: &Arc<Mutex<Vec<_>>>, what: &'static str| {
        let entry = (what, thread::current().id());
        log.lock().unwrap().push(entry);
    };
    let (started, stopped) = (log.clone(), log.clone());
    let cores = PerCore::builder()
        .cores(3)
        .on_start(move |core| {
            note(&started, "start");
            assert_eq!(PerCore::here().unwrap().core(), core);
            // A task that is there from the beginning to the end.
            let task = DropNote(started.clone());
            let task = PerCore::spawn_here(async move {
                note(&task.0, "run");
                std::future::pending::<()>().await;
                drop(task);
            });
            task.detach();
            // Harms nobody.
            resume_unwind(Box::new("in a hook"));
        })
        .on_stop(move |_| {
            note(&stopped, "stop");
            resume_unwind(Box::new("in a hook"));
        })
        .build()
        .unwrap();
    let threads: Vec<_> = (0..3)
        .map(|core| block_on(cores.spawn_on(core, || async { thread::current().id() })))
        .collect();
    drop(cores);
    let log = log.lock().unwrap();
    for thread in threads {
        let of_thread = log.iter().filter(|entry| entry.1 == thread);
        let of_thread: Vec<_> = of_thread.map(|entry| entry.0).collect();
        assert_eq!(of_thread, ["start", "run", "drop", "stop"]);
    }
}

/// Notes on which thread it is dropped.
struct DropNote(Arc<Mutex<Vec<(&'static str, ThreadId)>>>);

impl Drop for DropNote {
    fn drop(&mut self) {
        let entry = ("drop", thread::current().id());
        self.0.lock().unwrap().push(entry);
    }
}

#[test]
fn spawners_race_with_the_end() {
    for _ in 0..30 {
        let drops = Drops::default();
        let cores = PerCore::new(2).unwrap();
        let handle = cores.handle();
        let stop = Arc::new(AtomicBool::new(false));
        let (begin, begun) = mpsc::channel();
        let storm = thread::spawn({
            let (drops, stop) = (drops.clone(), stop.clone());
            move || {
                let mut spawned = 0;
                while !stop.load(SeqCst) {
                    let counted = drops.one();
                    let wait = || async {
                        let _counted = counted;
                        std::future::pending::<()>().await;
                    };
                    handle.spawn_balanced(wait).detach();
                    spawned += 1;
                    let _ = begin.send(());
                }
                spawned
            }
        });
        begun.recv_timeout(PATIENCE).unwrap();
        drop(cores);
        stop.store(true, SeqCst);
        let spawned = storm.join().unwrap();
        assert_eq!(drops.count(), spawned);
    }
}

#[test]
fn it_can_be_dropped_by_a_task_of_its_own() {
    let cores = PerCore::new(2).unwrap();
    let handle = cores.handle();
    let drops = Drops::default();
    let counted = drops.one();
    let (done, finished) = mpsc::channel();
    handle
        .spawn_on(0, || async move {
            let _counted = counted;
            drop(cores);
            done.send(()).unwrap();
            std::future::pending::<()>().await;
        })
        .detach();
    finished.recv_timeout(PATIENCE).unwrap();
    let started = std::time::Instant::now();
    while drops.count() == 0 {
        assert!(started.elapsed() < PATIENCE);
        thread::yield_now();
    }
    assert_eq!(block_on(handle.spawn_on(1, || async {}).fallible()), None);
}

#[test]
fn block_on_and_other_executors_nest_in_a_task() {
    let cores = PerCore::new(2).unwrap();
    let handle = cores.handle();
    let task = cores.spawn_on(0, move || async move {
        block_on(async {
            Timer::after(Duration::from_millis(1)).await;
            // Another core goes on meanwhile.
            handle
                .spawn_on(1, || Timer::after(Duration::from_millis(1)))
                .await;
        });
        let local = Local::new();
        local.run(local.spawn(Timer::after(Duration::from_millis(1))));
        PerCore::here().unwrap().core()
    });
    assert_eq!(block_on(task), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn threads_are_bound_to_the_processors_that_the_process_may_use() {
    // "Cpus_allowed_list:\t0-1", of the calling thread.
    let allowed = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_string()
    };
    let ours = allowed();
    let cpus = thread::available_parallelism().unwrap().get();
    let cores = PerCore::new(cpus + 1).unwrap();
    let bound: Vec<_> = (0..=cpus)
        .map(|core| block_on(cores.spawn_on(core, move || async move { allowed() })))
        .collect();
    for list in &bound {
        list.parse::<usize>()
            .expect("a single processor, not a list");
    }
    // One more thread than processors: two share the first.
    if bound.iter().collect::<HashSet<_>>().len() == cpus {
        assert_eq!(bound[0], bound[cpus]);
    }
    let free = PerCore::builder().cores(1).pin(false).build().unwrap();
    assert_eq!(
        block_on(free.spawn_on(0, move || async move { allowed() })),
        ours
    );
}

/// Answers with the number of the core.
async fn serve(mut stream: Async<TcpStream>) {
    let core = PerCore::here().unwrap().core() as u8;
    let mut byte = [0];
    while stream.read(&mut byte).await.unwrap() == 1 {
        stream.write_all(&[core]).await.unwrap();
    }
}

/// Asks each of `count` connections, open at the same time, twice. Returns how many were on each core.
fn ask(address: SocketAddr, cores: usize, count: usize) -> Vec<usize> {
    block_on(async {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(Async::<TcpStream>::connect(address).await.unwrap());
        }
        let mut served = vec![0; cores];
        for stream in &mut streams {
            let mut answers = [[0]; 2];
            for answer in &mut answers {
                stream.write_all(&[1]).await.unwrap();
                stream.read_exact(answer).await.unwrap();
            }
            assert_eq!(answers[0], answers[1], "a connection stays");
            served[usize::from(answers[0][0])] += 1;
        }
        served
    })
}

#[test]
fn accepted_connections_are_handed_over_evenly() {
    let cores = PerCore::new(3).unwrap();
    let handle = cores.handle();
    let (sender, address) = mpsc::channel();
    let accept = async move || {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        sender
            .send(listener.get_ref().local_addr().unwrap())
            .unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            handle.spawn_balanced(|| serve(stream)).detach();
        }
    };
    let accepting: Task<()> = cores.spawn_on(0, accept);
    let address = address.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ask(address, 3, 30), [10, 10, 10]);
    drop(accepting);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn cores_accept_for_themselves_on_shared_listeners() {
    let cores = PerCore::new(2).unwrap();
    let listeners = shared_listeners(([127, 0, 0, 1], 0), 2).unwrap();
    let address = listeners[0].local_addr().unwrap();
    assert_eq!(listeners[1].local_addr().unwrap(), address);
    for (core, listener) in listeners.into_iter().enumerate() {
        let accept = async move || {
            let listener = Async::new(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                PerCore::spawn_here(serve(stream)).detach();
            }
        };
        let task: Task<()> = cores.spawn_on(core, accept);
        task.detach();
    }
    let served = ask(address, 2, 64);
    assert_eq!(served.iter().sum::<usize>(), 64);
    // By a hash of the ports: that all go to one has a chance of 1 : 2^63.
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[test]
fn shared_listeners_say_what_to_do_instead() {
    let error = shared_listeners(([127, 0, 0, 1], 0), 2).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("spawn_balanced"));
}
