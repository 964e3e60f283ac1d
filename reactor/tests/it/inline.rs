//! Tasks that are polled inside their own wakers, as by an executor that has no queue.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use untether::{Async, Policy, Reactor};

use crate::support::{Bell, ends, until};

struct Inline {
    source: Async<UnixStream>,
    read: Arc<Bell>,
    over: Arc<AtomicBool>,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        while !self.over.load(Ordering::Relaxed) {
            while matches!(self.source.get_ref().read(&mut [0; 1]), Ok(1)) {
                self.read.clone().wake();
            }
            let mut cx = Context::from_waker(&waker);
            if self.source.poll_readable(&mut cx).is_pending() {
                return;
            }
        }
    }
}

/// This thread waits in one reactor, and that reactor's driver, who has entered none, in the global one: so the sources
/// move to and fro, and the same task is polled by several threads at once.
#[test]
fn they_lose_no_byte_on_the_threads_of_two_drivers() {
    ends(|| {
        const BYTES: usize = 2_000;
        let reactor = Reactor::builder().policy(Policy::Auto).build().unwrap();
        reactor.enter(|| {
            let (read, _) = Bell::new();
            let over = Arc::new(AtomicBool::new(false));
            let (tasks, peers): (Vec<_>, Vec<_>) = (0..4)
                .map(|_| {
                    let (source, peer) = UnixStream::pair().unwrap();
                    let task = Arc::new(Inline {
                        source: Async::new(source).unwrap(),
                        read: read.clone(),
                        over: over.clone(),
                    });
                    (task, peer)
                })
                .unzip();
            for task in &tasks {
                task.clone().wake();
            }
            for sent in 0..BYTES {
                (&peers[sent % peers.len()]).write_all(b"!").unwrap();
                tasks[sent % 3].clone().wake();
            }
            read.wait(BYTES);
            over.store(true, Ordering::Relaxed);
            let left: Vec<_> = tasks.iter().map(Arc::downgrade).collect();
            drop((tasks, peers));
            until("the end of the tasks, which their wakers keep", || {
                left.iter().all(|task| task.strong_count() == 0)
            });
        });
        reactor.shutdown();
    });
}
