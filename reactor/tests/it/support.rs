//! What the promises share: a way to block, wakers that tell, threads that must come to an end, and child processes.

use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::pin::{Pin, pin};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use untether::{Parker, Reactor};

/// Longer than anything here takes on a busy machine: what is not done by then hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `future` on this thread, which drives a reactor of its own.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    block_on_in(&Reactor::new().expect("a reactor"), future)
}

/// Runs `future` on this thread, which drives `reactor` if nobody else does.
pub(crate) fn block_on_in<F: Future>(reactor: &Reactor, future: F) -> F::Output {
    let parker = Parker::new(reactor);
    let waker = Waker::from(parker.unparker());
    let mut future = pin!(future);
    reactor.enter(|| {
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => break output,
                Poll::Pending => parker.park(),
            }
        }
    })
}

/// One poll, with `waker`.
pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// One poll, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

/// A look at `reactor` that does not wait: the events it found.
pub(crate) fn look(reactor: &Reactor) -> usize {
    reactor.turn(Some(Duration::ZERO)).expect("a turn").events
}

/// Runs `f` on a thread of its own, and fails if it does not come to an end.
pub(crate) fn ends<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, waiting) = mpsc::channel();
    let thread = thread::spawn(move || {
        let output = f();
        let _ = done.send(());
        output
    });
    if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("it hangs; {}", reactors());
    }
    thread
        .join()
        .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// What the reactors say of themselves; they cannot if a thread hangs that holds one of their locks.
fn reactors() -> String {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(format!("the reactors: {:#?}", Reactor::all())));
    let said = told.recv_timeout(Duration::from_secs(2));
    said.unwrap_or_else(|_| "the reactors do not answer: one of their locks is held".to_owned())
}

/// Waits until `condition` holds, looking now and then: for what nobody tells us of.
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    let (mut condition, start) = (condition, Instant::now());
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "never came: {what}; {}",
            reactors()
        );
        thread::sleep(Duration::from_micros(200));
    }
}

/// Counts its wakes, and lets a thread wait for them.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<usize>,
    condition: Condvar,
}

impl Bell {
    pub(crate) fn new() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell::default());
        (bell.clone(), Waker::from(bell))
    }

    pub(crate) fn rung(&self) -> usize {
        *self.rung.lock().unwrap()
    }

    /// Waits until it has rung at least `times`.
    pub(crate) fn wait(&self, times: usize) {
        let rung = self.rung.lock().unwrap();
        let (_rung, timeout) = self
            .condition
            .wait_timeout_while(rung, PATIENCE, |rung| *rung < times)
            .unwrap();
        assert!(!timeout.timed_out(), "never woken; {}", reactors());
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() += 1;
        self.condition.notify_all();
    }
}

/// A gate that threads wait at until another opens it.
pub(crate) type Gate = Bell;

/// Opens a gate, for good.
pub(crate) fn open(gate: &Arc<Gate>) {
    gate.clone().wake();
}

/// A waker that calls `f`.
pub(crate) fn waker(f: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Call<F>(F);
    impl<F: Fn() + Send + Sync> Wake for Call<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Call(f)))
}

/// A waker that passes its wakes on to `waker`, and calls `f` when it is cloned: between a waiter's look at what is ready
/// and its waiting.
pub(crate) fn cloned(waker: Waker, f: impl Fn() + 'static) -> Waker {
    struct Call {
        waker: Waker,
        f: Box<dyn Fn()>,
    }
    const TABLE: RawWakerVTable = RawWakerVTable::new(
        |call| {
            // SAFETY: `call` is the leaked `Call` below, which is never freed.
            let call = unsafe { &*call.cast::<Call>() };
            (call.f)();
            let waker = std::mem::ManuallyDrop::new(call.waker.clone());
            // SAFETY: the parts of a waker that is given up for them.
            RawWaker::new(waker.data(), waker.vtable())
        },
        |_| unreachable!("only clones are woken"),
        // SAFETY: as above.
        |call| unsafe { &*call.cast::<Call>() }.waker.wake_by_ref(),
        |_| {},
    );
    let f = Box::new(f);
    let call: &'static Call = Box::leak(Box::new(Call { waker, f }));
    // SAFETY: the table's functions take the pointer for what it is. The waker stays on the thread that makes it, for the
    // tests never send it, and its clones are those of `waker`, so `f` need not be Send.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::from_ref(call).cast(), &TABLE)) }
}

/// A descriptor that somebody else closes, perhaps too early.
#[derive(Debug)]
pub(crate) struct Lent(pub(crate) RawFd);

impl AsFd for Lent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is not -1. Lent to system calls only, which answer EBADF if it is closed; that is what is tested.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Lent {
    /// Closes the descriptor behind the back of whoever watches it.
    pub(crate) fn close(fd: RawFd) {
        // SAFETY: the caller owns the descriptor; nobody else closes it.
        unsafe { rustix::io::close(fd) };
    }
}

/// Random enough, and the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Whether the reactors here run on our own wait on epoll.
pub(crate) fn is_epoll() -> bool {
    cfg!(target_os = "linux") && !is_poll() && !is_portable()
}

/// Whether they run on polling's back end for poll(2).
pub(crate) fn is_poll() -> bool {
    cfg!(polling_test_poll_backend)
}

fn is_portable() -> bool {
    std::env::var_os("UNTETHER_BACKEND").is_some_and(|name| name == "portable")
}

const CHILD: &str = "UNTETHER_TEST_CHILD";
/// The child says so, for `--exact` of a wrong name runs nothing and succeeds.
const RAN: &str = "the child ran to its end";

/// Whether this process was started by [`child`] to run the test `name`.
pub(crate) fn is_child(name: &str) -> bool {
    std::env::var_os(CHILD).is_some_and(|child| child == name)
}

/// The arguments that make this binary run the test `name` alone.
pub(crate) fn child_args(name: &str) -> [&str; 4] {
    [name, "--exact", "--nocapture", "--test-threads=1"]
}

/// This binary once more, as a process of its own, to run the test `name` alone.
pub(crate) fn child(name: &str) -> Command {
    child_of(
        Command::new(std::env::current_exe().expect("this binary")),
        name,
    )
}

/// The same, started by another program whose arguments end with ours.
pub(crate) fn child_of(mut program: Command, name: &str) -> Command {
    program.args(child_args(name)).env(CHILD, name);
    program
}

/// Runs `body` of the test `name` (with its module) in a process of its own: for what counts the whole process.
pub(crate) fn in_child(name: &str, body: impl FnOnce()) {
    if is_child(name) {
        body();
        println!("{RAN}");
    } else {
        succeeds(child(name));
    }
}

/// Runs a child to its end, and passes on what it prints.
pub(crate) fn succeeds(mut child: Command) {
    let output = child.output().expect("a child process");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains(RAN),
        "{child:?}: {}\n{said}\n{complaint}",
        output.status
    );
    for figure in said
        .lines()
        .filter_map(|line| line.find("figure: ").map(|at| &line[at..]))
    {
        println!("{figure}");
    }
}

/// Waits until the thread `tid` of process `pid` sleeps in a system call. Where nobody tells, gives it time.
#[cfg(target_os = "linux")]
pub(crate) fn asleep(tid: i32) {
    until("a thread that sleeps", || state(tid) == Some('S'));
}

/// The one-letter state of a thread.
#[cfg(target_os = "linux")]
pub(crate) fn state(tid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn asleep(_tid: i32) {
    thread::sleep(Duration::from_millis(20));
}

/// The running thread, as [`asleep`] knows it.
pub(crate) fn tid() -> i32 {
    #[cfg(target_os = "linux")]
    return rustix::thread::gettid().as_raw_nonzero().get();
    #[cfg(not(target_os = "linux"))]
    0
}

/// A thread that drives `reactor` until it is told to go.
pub(crate) struct Driving {
    stop: Arc<AtomicBool>,
    unparker: untether::Unparker,
    thread: Option<thread::JoinHandle<()>>,
    pub(crate) tid: i32,
}

impl Driving {
    pub(crate) fn new(reactor: &Reactor) -> Driving {
        let parker = Parker::new(reactor);
        let unparker = parker.unparker();
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let thread = {
            let stop = stop.clone();
            thread::spawn(move || {
                tell.send(tid()).expect("somebody waits for it");
                while !stop.load(Ordering::Acquire) {
                    parker.park();
                }
            })
        };
        let tid = told.recv().expect("the driver says who it is");
        Driving {
            stop,
            unparker,
            thread: Some(thread),
            tid,
        }
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.unparker.unpark();
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !thread::panicking() {
            until("the end of a driver", || thread.is_finished());
            let _ = thread.join();
        }
    }
}
