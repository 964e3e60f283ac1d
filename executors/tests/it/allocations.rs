//! What it costs in allocations: one for a task, none for whatever it does then.
//!
//! Counted by thread, so that the other tests do not matter.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;

use untether_executors::{Local, Pool, block_on, yield_now};

struct Counting;

thread_local! {
    /// How often this thread has allocated.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it is, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Not while the thread's locals are being destroyed.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as promised to us; `ptr` came from `alloc`, hence from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const TIMES: usize = 1_000;

/// How often this thread allocates while `once` is awaited so many times, when it has been before: lists have reached
/// their size.
async fn allocations<F: Future<Output = ()>>(mut once: impl FnMut() -> F) -> usize {
    let mut count = 0;
    for _ in 0..2 {
        let before = ALLOCATIONS.get();
        for _ in 0..TIMES {
            once().await;
        }
        count = ALLOCATIONS.get() - before;
    }
    count
}

#[test]
fn a_task_on_a_local_is_one_allocation() {
    let local = Local::new();
    let handle = local.handle();
    let count = local.run(allocations(|| handle.spawn(async {})));
    assert_eq!(count, TIMES);
}

#[test]
fn a_task_on_a_pool_is_one_allocation() {
    let pool = Pool::new(1).unwrap();
    let handle = pool.handle();
    // On the worker's thread.
    let count = pool.spawn(allocations(move || handle.spawn(async {})));
    assert_eq!(block_on(count), TIMES);
}

#[test]
fn a_yield_allocates_nothing() {
    assert_eq!(block_on(allocations(yield_now)), 0);
    assert_eq!(Local::new().run(allocations(yield_now)), 0);
    let pool = Pool::new(1).unwrap();
    assert_eq!(block_on(pool.spawn(allocations(yield_now))), 0);
}

/// Both ends of the connection are tasks that wait for each other, on the executor that drives them.
#[cfg(unix)]
#[test]
fn an_echo_allocates_nothing() {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    use std::os::unix::net::UnixStream;
    use untether::Async;

    let local = Local::new();
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (Async::new(near).unwrap(), Async::new(far).unwrap());
    let mut server = far;
    local
        .spawn(async move {
            let mut buffer = [0; 64];
            while let Ok(n @ 1..) = server.read(&mut buffer).await {
                server.write_all(&buffer[..n]).await.unwrap();
            }
        })
        .detach();
    let near = &near;
    let count = local.run(allocations(|| async move {
        let mut near = near;
        near.write_all(&[7; 64]).await.unwrap();
        near.read_exact(&mut [0; 64]).await.unwrap();
    }));
    assert_eq!(count, 0);
}

/// Each call has a thread, a reactor and a waker to use again.
#[test]
fn a_second_block_on_allocates_nothing() {
    block_on(yield_now());
    let before = ALLOCATIONS.get();
    for _ in 0..TIMES {
        block_on(yield_now());
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
