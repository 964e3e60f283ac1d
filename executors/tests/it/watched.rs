//! Tasks have numbers and names, and hooks see what becomes of them.

use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use untether_executors::{
    Hooks, Local, LocalSpawn, Pool, Spawn, Task, TaskId, TaskInfo, block_on, yield_now,
};

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, text: String) {
    log.lock().unwrap().push(text);
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn name_of(task: &TaskInfo) -> String {
    task.name().unwrap_or("nameless").to_string()
}

/// Notes names at each poll.
fn noting(log: &Log) -> Hooks {
    let log = log.clone();
    Hooks::new().before_poll(move |task| note(&log, name_of(task)))
}

#[test]
fn no_two_tasks_have_the_same_number() {
    let collect = || {
        let local = Local::new();
        let pool = Pool::new(2).unwrap();
        let mut ids: Vec<TaskId> = Vec::new();
        for _ in 0..2_000 {
            ids.extend(local.run(local.spawn(async { TaskId::current() })));
            ids.extend(block_on(pool.spawn(async { TaskId::current() })));
        }
        ids
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(collect)).collect();
    let ids: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(ids.len(), 16_000);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 16_000);
}

#[test]
fn the_current_task_is_the_innermost_and_none_outside() {
    let (outer, inner) = (Local::new(), Local::new());
    let task = outer.spawn(async move {
        let own = TaskId::current();
        assert!(own.is_some());
        let other = inner.run(inner.spawn(async { TaskId::current() }));
        assert!(other.is_some() && other != own);
        assert_eq!(TaskId::current(), own);
        // Also after a panic.
        let failing: Task<()> = inner.spawn(async { resume_unwind(Box::new("on purpose")) });
        catch_unwind(AssertUnwindSafe(|| inner.run(failing))).unwrap_err();
        assert_eq!(TaskId::current(), own);
    });
    outer.run(task);
    assert_eq!(TaskId::current(), None);
}

#[test]
fn names_reach_the_hooks_however_a_task_is_started() {
    let log = Log::default();
    let local = Local::with_hooks(noting(&log));
    let (handle, remote) = (local.handle(), local.remote());
    let shared: Arc<dyn Spawn> = Arc::new(remote.clone());
    let dynamic: &dyn LocalSpawn = &handle;

    let tasks = [
        local.spawn(async {}),
        local.spawn_named("local", async {}),
        Spawn::spawn_named(&local, "local, sent", async {}),
        local.spawn_local_named("local, kept", async {}),
        handle.spawn_named("handle", async {}),
        remote.spawn_named(String::from("remote"), async {}),
        (&&remote).spawn_named("borrowed", async {}),
        shared.spawn_boxed_named("boxed".into(), Box::pin(async {})),
        dynamic.spawn_local_boxed_named("boxed, kept".into(), Box::pin(async {})),
    ];
    local.run(async {
        for task in tasks {
            task.await;
        }
    });
    let expected = [
        "nameless",
        "local",
        "local, sent",
        "local, kept",
        "handle",
        "remote",
        "borrowed",
        "boxed",
        "boxed, kept",
    ];
    assert_eq!(taken(&log), expected);

    let pool = Pool::builder()
        .threads(1)
        .hooks(noting(&log))
        .build()
        .unwrap();
    let spawner: &dyn Spawn = &pool;
    block_on(pool.spawn_named("pool", async {}));
    block_on(pool.handle().spawn_named("handle", async {}));
    block_on(spawner.spawn_boxed_named("boxed".into(), Box::pin(async {})));
    assert_eq!(taken(&log), ["pool", "handle", "boxed"]);
}

#[test]
fn an_executor_may_know_no_names() {
    struct Nameless(Pool);
    impl Spawn for Nameless {
        fn spawn<F>(&self, future: F) -> Task<F::Output>
        where
            F: Future + Send + 'static,
            F::Output: Send + 'static,
        {
            self.0.spawn(future)
        }
        fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
            self.0.spawn(future)
        }
    }

    let nameless = Nameless(Pool::new(1).unwrap());
    assert_eq!(block_on(nameless.spawn_named("unheard", async { 1 })), 1);
    block_on(nameless.spawn_boxed_named("unheard".into(), Box::pin(async {})));
}

#[test]
fn the_panic_of_a_detached_task_is_seen() {
    let log = Log::default();
    let hooks = Hooks::new().on_panic({
        let log = log.clone();
        move |task, payload| {
            assert_eq!(TaskId::current(), Some(task.id()));
            let message = payload.downcast_ref::<&str>().unwrap();
            note(&log, format!("{}: {message}", name_of(task)));
        }
    });

    let local = Local::with_hooks(hooks.clone());
    let fail = async {
        yield_now().await;
        resume_unwind(Box::new("on purpose"))
    };
    local.spawn_named("alone", fail).detach();
    local.spawn_named("well", yield_now()).detach();
    local.run(async {
        for _ in 0..4 {
            yield_now().await;
        }
    });
    assert_eq!(taken(&log), ["alone: on purpose"]);

    // Seen first, and then it reaches whoever awaits, whole.
    let pool = Pool::builder().threads(2).hooks(hooks).build().unwrap();
    let task = pool.spawn_named("awaited", async { resume_unwind(Box::new("again")) });
    let task: Task<()> = task;
    let payload = catch_unwind(AssertUnwindSafe(|| block_on(task))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"again"));
    assert_eq!(taken(&log), ["awaited: again"]);
}

#[test]
fn a_hook_that_panics_harms_nobody() {
    let fail = || resume_unwind(Box::new("in a hook"));
    let hooks = Hooks::new()
        .before_poll(move |_| fail())
        .after_poll(move |_, _| fail())
        .on_panic(move |_, _| fail());
    let local = Local::with_hooks(hooks);
    let task = local.spawn(async {
        yield_now().await;
        "well"
    });
    assert_eq!(local.run(task), "well");
    let task: Task<()> = local.spawn(async { resume_unwind(Box::new("in the task")) });
    let payload = catch_unwind(AssertUnwindSafe(|| local.run(task))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"in the task"));
}

#[test]
fn every_poll_is_seen_and_timed() {
    let log = Log::default();
    let hooks = noting(&log).after_poll({
        let log = log.clone();
        move |task, took| {
            let long = took >= Duration::from_millis(3);
            let duration = if long { "long" } else { "short" };
            note(&log, format!("{} {duration}", name_of(task)));
        }
    });
    let local = Local::with_hooks(hooks);
    let task = local.spawn_named("a", async {
        thread::sleep(Duration::from_millis(3));
        yield_now().await;
    });
    local.run(task);
    let log = taken(&log);
    assert_eq!(log[..3], ["a", "a long", "a"]);
    assert_eq!(log.len(), 4, "{log:?}");
}

#[test]
fn a_warning_names_the_task_that_took_long() {
    let printed = crate::in_a_process("watched::one_slow_task", &[]);
    let warnings: Vec<_> = printed
        .lines()
        .filter(|line| line.ends_with("in one poll"))
        .collect();
    assert_eq!(warnings.len(), 1, "{printed}");
    assert!(warnings[0].contains("(slow) took "), "{printed}");
}

#[test]
#[ignore = "prints, see above"]
fn one_slow_task() {
    let hooks = Hooks::new().warn_of_slow_polls(Duration::from_millis(300));
    let local = Local::with_hooks(hooks);
    local
        .spawn_named("fast", async { yield_now().await })
        .detach();
    local.run(local.spawn_named("slow", async { thread::sleep(Duration::from_millis(310)) }));
}

#[test]
fn infos_print_what_they_are() {
    let log = Log::default();
    let hooks = Hooks::new().before_poll({
        let log = log.clone();
        move |task| note(&log, format!("{task}|{}", task.id().get()))
    });
    let local = Local::with_hooks(hooks);
    local.run(local.spawn(async {}));
    local.run(local.spawn_named("tea", async {}));
    for (line, end) in taken(&log).iter().zip(["", " (tea)"]) {
        let (text, number) = line.split_once('|').unwrap();
        assert_eq!(text, format!("task {number}{end}"));
    }
}
