//! A pinned thread per core: nothing stolen, explicit hand-off.
//!
//! Each thread is a [`Local`] that runs until it is stopped, with a reactor of its own. Between threads nothing is shared
//! but the ways to hand a task over: a function that makes the future is sent, and what it makes stays.
//!
//! A task that is handed over is two: one that is made here, may move, and carries the output between the threads, and
//! the one proper, which it starts over there. So no future is ever touched by two threads, and no `unsafe` has to say
//! so. The carrier has no number, and hooks do not see it.
//!
//! The end: `drop` tells every thread to stop, each ends its `Local`, which drops its futures there, and is joined.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};

use crate::about::TaskInfo;
use crate::hooks::{Hooks, ThreadHook};
use crate::local::{Local, LocalHandle, Remote};
use crate::metrics::Metrics;
use crate::os;
use crate::spawn::{LocalSpawn, Spawn};
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};
use crate::task::Task;

/// An executor with a thread per core, each with its own tasks and its own reactor.
///
/// For a server whose connections have little to do with each other: each lives on one core from beginning to end, its
/// tasks need not be `Send` and share data without locks, and no core waits for another. The price is that nothing
/// evens the load out: a core that has too much to do keeps it. Where tasks compute, or load is uneven, take a
/// [`Pool`](crate::Pool).
///
/// On Linux and Android each thread is bound to a processor, out of those that the process may use; elsewhere the
/// system decides where threads run. A task costs what it costs in a [`Local`]; one that is handed to another core costs
/// a second one, which brings its output back, and a wake-up of that core.
///
/// To bring connections to the cores, let each accept for itself ([`shared_listeners`]), or accept anywhere and
/// hand over ([`spawn_balanced`](PerCore::spawn_balanced)).
///
/// Dropping it drops the futures of all tasks, each on its own thread, and joins the threads. When it is dropped on one
/// of these, that one ends after the task that it is running. A task that panics harms neither its core nor others.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use untether_executors::{PerCore, block_on};
///
/// let cores = PerCore::new(2)?;
/// let counted = cores.spawn_on(1, || async {
///     // Neither of these is `Send`.
///     let count = Rc::new(Cell::new(0));
///     let tasks: Vec<_> = (0..3)
///         .map(|_| {
///             let count = count.clone();
///             PerCore::spawn_here(async move { count.set(count.get() + 1) })
///         })
///         .collect();
///     for task in tasks {
///         task.await;
///     }
///     count.get()
/// });
/// assert_eq!(block_on(counted), 3);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PerCore {
    handle: PerCoreHandle,
    threads: Vec<JoinHandle<()>>,
}

/// Starts tasks on a [`PerCore`] from anywhere. It does not keep the executor alive: tasks started too late are cancelled.
#[derive(Clone)]
pub struct PerCoreHandle {
    cores: Arc<[Core]>,
}

/// The core that the calling thread is. See [`PerCore::here`].
#[derive(Clone)]
pub struct Here {
    core: usize,
    local: LocalHandle,
    cores: PerCoreHandle,
}

/// Makes a [`PerCore`] that is not as usual. See [`PerCore::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PerCoreBuilder {
    cores: Option<usize>,
    name: String,
    stack_size: Option<usize>,
    pin: bool,
    hooks: Hooks,
    on_start: ThreadHook,
    on_stop: ThreadHook,
}

/// A core, as others see it. Two cache lines: the neighbour is fetched along.
#[repr(align(128))]
struct Core {
    remote: Remote,
    stop: Arc<Stop>,
    /// How many tasks it has that were to be balanced.
    load: AtomicUsize,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

impl PerCore {
    /// Makes an executor of so many threads; 0 means one. More threads than processors share these.
    ///
    /// # Errors
    /// If a thread cannot be made.
    pub fn new(cores: usize) -> io::Result<PerCore> {
        PerCore::builder().cores(cores).build()
    }

    /// Makes an executor in steps.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use untether_executors::{PerCore, block_on};
    ///
    /// let cores = PerCore::builder().cores(2).name("kitchen").pin(false).build()?;
    /// let name = cores.spawn_on(1, || async { thread::current().name().map(String::from) });
    /// assert_eq!(block_on(name).as_deref(), Some("kitchen-1"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder() -> PerCoreBuilder {
        PerCoreBuilder {
            cores: None,
            name: String::from("untether-core"),
            stack_size: None,
            pin: true,
            hooks: Hooks::new(),
            on_start: ThreadHook::default(),
            on_stop: ThreadHook::default(),
        }
    }

    /// How many threads it has.
    pub fn cores(&self) -> usize {
        self.handle.cores()
    }

    /// A handle that starts tasks from anywhere.
    pub fn handle(&self) -> PerCoreHandle {
        self.handle.clone()
    }

    /// What it has done and is doing, all cores together.
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// What each core has done and is doing.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::PerCore;
    ///
    /// let cores = PerCore::new(2)?;
    /// // Nothing evens the load out; so look whether it is even.
    /// let polls: Vec<u64> = cores.core_metrics().iter().map(|core| core.polls).collect();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn core_metrics(&self) -> Vec<Metrics> {
        self.handle.core_metrics()
    }

    /// Starts the future that `f` makes on a core. See [`PerCoreHandle::spawn_on`].
    ///
    /// # Panics
    /// If there is no such core.
    pub fn spawn_on<F, Fut>(&self, core: usize, f: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        self.handle.spawn_on(core, f)
    }

    /// Starts the future that `f` makes on the core that has the least to do. See [`PerCoreHandle::spawn_balanced`].
    pub fn spawn_balanced<F, Fut>(&self, f: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        self.handle.spawn_balanced(f)
    }

    /// Starts a task on the core that the calling thread is. To find out whether it is one, use [`PerCore::here`].
    ///
    /// # Panics
    /// If the calling thread is none.
    pub fn spawn_here<F>(future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let here = PerCore::here().expect(
            "spawn_here on a thread that is no core of a PerCore; use spawn_on or spawn_balanced",
        );
        here.spawn(future)
    }

    /// The core that the calling thread is, if it is one, of whichever `PerCore`.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::{PerCore, block_on};
    ///
    /// assert!(PerCore::here().is_none());
    /// let cores = PerCore::new(2)?;
    /// let core = cores.spawn_on(1, || async { PerCore::here().unwrap().core() });
    /// assert_eq!(block_on(core), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn here() -> Option<Here> {
        // None as well while the thread's locals are being destroyed.
        HERE.try_with(|here| here.borrow().clone()).ok().flatten()
    }

    /// Runs a future, which may borrow anything, on the calling thread, while the cores run the tasks. This is
    /// [`block_on`](crate::block_on()).
    ///
    /// # Panics
    /// If the future does.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        crate::block_on(future)
    }
}

impl Drop for PerCore {
    fn drop(&mut self) {
        for core in &*self.handle.cores {
            core.stop.stop();
        }
        let this_thread = thread::current().id();
        for thread in self.threads.drain(..) {
            // A core cannot wait for itself: let it go.
            if thread.thread().id() != this_thread {
                // A core does not panic, and if one did, there is nothing left to be done about it.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for PerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCore")
            .field("cores", &self.cores())
            .field("loads", &self.handle.loads())
            .finish()
    }
}

impl PerCoreHandle {
    /// How many threads there are.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Starts the future that `f` makes on a core. `f` is called there, by the task; so the future need not be `Send`, only
    /// its output.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn spawn_on<F, Fut>(&self, core: usize, f: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        self.start(core, None, f)
    }

    /// As [`spawn_on`](PerCoreHandle::spawn_on), with a name, which [`Hooks`] see.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn spawn_on_named<F, Fut>(
        &self,
        core: usize,
        name: impl Into<Cow<'static, str>>,
        f: F,
    ) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        self.start(core, Some(name.into()), f)
    }

    /// Starts the future that `f` makes on the core that has the fewest unfinished tasks among those that were started
    /// this way; of several such cores, on each in turn. Made for accepted connections, where sockets cannot be
    /// [shared](shared_listeners): what waits for a socket moves to the core's reactor by itself.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::net::{TcpListener, TcpStream};
    /// use untether::Async;
    /// use untether_executors::{PerCore, block_on};
    ///
    /// async fn serve(_stream: Async<TcpStream>) { /* .. */ }
    ///
    /// let cores = PerCore::builder().build()?;
    /// block_on(async {
    ///     let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 8000))?;
    ///     loop {
    ///         let (stream, _) = listener.accept().await?;
    ///         cores.spawn_balanced(|| serve(stream)).detach();
    ///     }
    ///     # #[allow(unreachable_code)]
    ///     # std::io::Result::Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_balanced<F, Fut>(&self, f: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        self.balance(None, f)
    }

    /// What the executor has done and is doing, all cores together.
    pub fn metrics(&self) -> Metrics {
        let cores = self.core_metrics().into_iter();
        cores.fold(Metrics::default(), Metrics::plus)
    }

    /// What each core has done and is doing. See [`PerCore::core_metrics`].
    pub fn core_metrics(&self) -> Vec<Metrics> {
        let metrics = |core: &Core| core.remote.metrics();
        self.cores.iter().map(metrics).collect()
    }

    /// How many unfinished tasks each core has that were started by `spawn_balanced`.
    pub fn loads(&self) -> Vec<usize> {
        let load = |core: &Core| core.load.load(Ordering::Relaxed);
        self.cores.iter().map(load).collect()
    }

    /// Whether tasks started now would be cancelled at once.
    #[cfg(feature = "futures-task")]
    pub(crate) fn is_ended(&self) -> bool {
        self.cores.iter().all(|core| core.remote.is_ended())
    }

    fn balance<F, Fut>(&self, name: Option<Cow<'static, str>>, f: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let load = Load::on_least(&self.cores);
        self.start(load.core, name, || async {
            let _load = load;
            f().await
        })
    }

    fn start<F, Fut>(&self, core: usize, name: Option<Cow<'static, str>>, f: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let count = self.cores();
        let Some(target) = self.cores.get(core) else {
            panic!("cannot spawn on core {core}: there are {count}, and the first is 0");
        };
        target.remote.carry(async move {
            let task = {
                let here = PerCore::here().expect("a core's thread knows where it is");
                let info = name.map_or_else(TaskInfo::unnamed, TaskInfo::named);
                // It calls `f` itself, so that a panic there is a panic of the task.
                here.local.start(info, async { f().await })
            };
            task.await
        })
    }

    /// A future that may move: on this core, if the thread is one of ours, else balanced.
    fn start_sent<F>(&self, name: Option<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match PerCore::here().filter(|here| Arc::ptr_eq(&here.cores.cores, &self.cores)) {
            Some(here) => {
                let info = name.map_or_else(TaskInfo::unnamed, TaskInfo::named);
                here.local.start(info, future)
            }
            None => self.balance(name, || future),
        }
    }
}

impl fmt::Debug for PerCoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCoreHandle")
            .field("cores", &self.cores())
            .finish()
    }
}

/// On the core that the calling thread is; called elsewhere, as [`spawn_balanced`](PerCoreHandle::spawn_balanced).
impl Spawn for PerCoreHandle {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.start_sent(None, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.start_sent(None, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.start_sent(Some(name.into()), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.start_sent(Some(name), future)
    }
}

/// As its [`handle`](PerCore::handle).
impl Spawn for PerCore {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.start_sent(None, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.handle.start_sent(None, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.start_sent(Some(name.into()), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.handle.start_sent(Some(name), future)
    }
}

impl Here {
    /// Which one it is; the first is 0.
    pub fn core(&self) -> usize {
        self.core
    }

    /// A handle to all cores of the executor.
    pub fn cores(&self) -> &PerCoreHandle {
        &self.cores
    }

    /// Starts a task on this core.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.local.spawn(future)
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").field("core", &self.core).finish()
    }
}

impl LocalSpawn for Here {
    fn spawn_local<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.local.spawn(future)
    }

    fn spawn_local_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task<()> {
        self.local.spawn(future)
    }

    fn spawn_local_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.local.spawn_named(name, future)
    }

    fn spawn_local_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task<()> {
        self.local.spawn_named(name, future)
    }
}

impl PerCoreBuilder {
    /// How many threads; 0 means one. Default: as many as the process may run at once.
    pub fn cores(mut self, cores: usize) -> PerCoreBuilder {
        self.cores = Some(cores);
        self
    }

    /// What the threads are called; a number is added. Default: `untether-core`.
    pub fn name(mut self, name: impl Into<String>) -> PerCoreBuilder {
        self.name = name.into();
        self
    }

    /// The bytes of stack of each thread. Default: that of [`std::thread`].
    pub fn stack_size(mut self, bytes: usize) -> PerCoreBuilder {
        self.stack_size = Some(bytes);
        self
    }

    /// Whether each thread is bound to a processor, where the system can (Linux, Android) and lets us; elsewhere it means
    /// nothing. Default: yes.
    pub fn pin(mut self, pin: bool) -> PerCoreBuilder {
        self.pin = pin;
        self
    }

    /// What its tasks are watched by. Default: nothing.
    pub fn hooks(mut self, hooks: Hooks) -> PerCoreBuilder {
        self.hooks = hooks;
        self
    }

    /// Called on each thread with its number, the first being 0, before it runs tasks. It can start some, by
    /// [`PerCore::spawn_here`]. A panic in it is printed by the panic hook, and goes no further.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::PerCore;
    ///
    /// let cores = PerCore::builder()
    ///     .cores(2)
    ///     .on_start(|core| PerCore::spawn_here(async move { println!("core {core} works") }).detach())
    ///     .on_stop(|core| println!("core {core} ends"))
    ///     .build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> PerCoreBuilder {
        self.on_start = ThreadHook::new(hook);
        self
    }

    /// Called on each thread with its number when the futures of all its tasks have been dropped. All have returned when
    /// the executor has been dropped, except that of the thread that drops it. A panic in it is printed by the panic
    /// hook, and goes no further.
    pub fn on_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> PerCoreBuilder {
        self.on_stop = ThreadHook::new(hook);
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// If a thread cannot be made. Also if the name contains a zero byte.
    pub fn build(self) -> io::Result<PerCore> {
        if self.name.contains('\0') {
            let message = "cannot name threads: the name contains a zero byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let cpus = if self.pin { os::cpus() } else { Vec::new() };
        let default = || thread::available_parallelism().map_or(1, NonZero::get);
        let count = self.cores.unwrap_or_else(default).max(1);

        let mut threads = Vec::with_capacity(count);
        let mut cores = Vec::with_capacity(count);
        let mut starters = Vec::with_capacity(count);
        // On an error, the threads that there are already find their starters gone, and end.
        for core in 0..count {
            let mut builder = thread::Builder::new().name(format!("{}-{core}", self.name));
            if let Some(bytes) = self.stack_size {
                builder = builder.stack_size(bytes);
            }
            let stop = Arc::new(Stop::default());
            let (starter, start) = mpsc::channel();
            let (report, remote) = mpsc::channel();
            let seat = Seat {
                core,
                cpu: (!cpus.is_empty()).then(|| cpus[core % cpus.len()]),
                hooks: self.hooks.clone(),
                on_start: self.on_start.clone(),
                on_stop: self.on_stop.clone(),
                stop: stop.clone(),
            };
            threads.push(builder.spawn(move || seat.work(&report, &start))?);
            let gone = |_| io::Error::other("cannot start a core: its thread has ended");
            cores.push(Core {
                remote: remote.recv().map_err(gone)?,
                stop,
                load: AtomicUsize::new(0),
            });
            starters.push(starter);
        }

        let handle = PerCoreHandle {
            cores: cores.into(),
        };
        for starter in starters {
            // It waits for this, and for nothing else.
            let _ = starter.send(handle.clone());
        }
        Ok(PerCore { handle, threads })
    }
}

/// What a core's thread begins with.
struct Seat {
    core: usize,
    cpu: Option<usize>,
    hooks: Hooks,
    on_start: ThreadHook,
    on_stop: ThreadHook,
    stop: Arc<Stop>,
}

impl Seat {
    fn work(self, report: &mpsc::Sender<Remote>, start: &mpsc::Receiver<PerCoreHandle>) {
        if let Some(cpu) = self.cpu {
            // Not allowed, in some sandboxes: then it runs where it may.
            let _ = os::pin(cpu);
        }
        let local = Local::with_hooks(self.hooks);
        if report.send(local.remote()).is_err() {
            return;
        }
        let Ok(cores) = start.recv() else { return };
        let here = Here {
            core: self.core,
            local: local.handle(),
            cores,
        };
        HERE.set(Some(here));
        self.on_start.call(self.core);
        local.run(self.stop.wait());
        // Before `HERE` goes: destructors of futures may ask where they are.
        drop(local);
        let here = HERE.take();
        drop(here);
        self.on_stop.call(self.core);
    }
}

/// Tells a core to end.
#[derive(Debug, Default)]
struct Stop {
    state: Mutex<StopState>,
}

#[derive(Debug, Default)]
struct StopState {
    stopped: bool,
    waker: Option<Waker>,
}

impl Stop {
    fn stop(&self) {
        let waker = {
            let mut state = lock(&self.state);
            state.stopped = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends when told to. For one at a time.
    fn wait(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = lock(&self.state);
            if state.stopped {
                return Poll::Ready(());
            }
            let old = state.waker.replace(waker);
            drop(state);
            drop(old);
            Poll::Pending
        })
    }
}

/// While it lives, a core has one balanced task more.
struct Load {
    cores: Arc<[Core]>,
    core: usize,
}

impl Load {
    fn on_least(cores: &Arc<[Core]>) -> Load {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed, here and below: numbers to compare, which order nothing. Two at once may choose the same core.
        let first = NEXT.fetch_add(1, Ordering::Relaxed) % cores.len();
        let in_turn = (first..cores.len()).chain(0..first);
        let core = in_turn
            .min_by_key(|core| cores[*core].load.load(Ordering::Relaxed))
            .unwrap_or(first);
        cores[core].load.fetch_add(1, Ordering::Relaxed);
        Load {
            cores: cores.clone(),
            core,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.cores[self.core].load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes listeners that share one address, so that each core accepts connections for itself and none is handed over:
/// with `SO_REUSEPORT` the kernel shares them out, by a hash of the addresses and ports of both sides. If the port is 0,
/// the kernel chooses one for all.
///
/// A connection belongs to a listener from the moment it arrives: if that one is closed, so is the connection. So keep
/// all, and keep accepting from all.
///
/// # Errors
/// Those of the system calls. Of the kind [`Unsupported`](io::ErrorKind::Unsupported) where the system does not share
/// connections out between such listeners (all but Linux and Android): accept with one listener then, and use
/// [`spawn_balanced`](PerCoreHandle::spawn_balanced).
///
/// # Examples
///
/// ```no_run
/// use std::net::TcpStream;
/// use untether::Async;
/// use untether_executors::{PerCore, block_on, shared_listeners};
///
/// async fn serve(_stream: Async<TcpStream>) { /* .. */ }
///
/// let cores = PerCore::builder().build()?;
/// let listeners = shared_listeners(([127, 0, 0, 1], 8000), cores.cores())?;
/// let accepting: Vec<_> = listeners
///     .into_iter()
///     .enumerate()
///     .map(|(core, listener)| {
///         cores.spawn_on(core, || async {
///             let listener = Async::new(listener)?;
///             loop {
///                 let (stream, _) = listener.accept().await?;
///                 PerCore::spawn_here(serve(stream)).detach();
///             }
///         })
///     })
///     .collect();
/// for task in accepting {
///     let end: std::io::Result<()> = block_on(task);
///     end?;
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn shared_listeners(
    address: impl Into<SocketAddr>,
    count: usize,
) -> io::Result<Vec<TcpListener>> {
    os::listeners(address.into(), count)
}
