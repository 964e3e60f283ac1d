//! The connection pool: in order, and no turn is lost, whatever those who wait do.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use untether_executors::{Task, yield_now};

use super::connection_pool::{ConnectionPool, Lease};
use super::*;

/// An address where nobody is asked anything.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = io::Result<Lease>> + Send>>;

fn waiting(pool: &ConnectionPool) -> Waiting {
    let pool = pool.clone();
    Box::pin(async move { pool.get().await })
}

fn poll(waiting: &mut Waiting) -> Option<Lease> {
    let mut cx = Context::from_waker(Waker::noop());
    match waiting.as_mut().poll(&mut cx) {
        Poll::Ready(lease) => Some(lease.unwrap()),
        Poll::Pending => None,
    }
}

/// All turns of a pool that nobody uses.
fn take_all(pool: &ConnectionPool, turns: usize) -> Vec<Lease> {
    let leases: Vec<_> = (0..turns).map_while(|_| poll(&mut waiting(pool))).collect();
    assert_eq!(leases.len(), turns, "a turn is lost");
    assert!(poll(&mut waiting(pool)).is_none(), "a turn too many");
    leases
}

#[test]
fn who_came_first_is_served_first_and_nobody_overtakes() {
    let pool = ConnectionPool::new(nowhere(), 2);
    let mut leases = take_all(&pool, 2);
    let mut queue: Vec<_> = (0..5).map(|_| waiting(&pool)).collect();
    for one in &mut queue {
        assert!(poll(one).is_none());
    }
    for place in 0..5 {
        drop(leases.remove(0));
        // The turn is for the first one, even if somebody else asks before it has looked.
        assert!(poll(&mut waiting(&pool)).is_none());
        for later in &mut queue[place + 1..] {
            assert!(poll(later).is_none());
        }
        leases.push(poll(&mut queue[place]).unwrap());
    }
    drop(leases);
    take_all(&pool, 2);
}

#[test]
fn who_gives_up_passes_its_turn_on() {
    let pool = ConnectionPool::new(nowhere(), 1);
    let lease = take_all(&pool, 1);
    let mut queue: Vec<_> = (0..4).map(|_| waiting(&pool)).collect();
    for one in &mut queue {
        assert!(poll(one).is_none());
    }
    let (mut fourth, third) = (queue.pop().unwrap(), queue.pop().unwrap());
    let (second, first) = (queue.pop().unwrap(), queue.pop().unwrap());
    // One while it waits; one when the turn is there, but not seen yet; and one of each in a row.
    drop(second);
    drop(lease);
    drop(first);
    drop(third);
    let lease = poll(&mut fourth).unwrap();
    drop(lease);
    take_all(&pool, 1);
}

#[test]
fn a_crowd_that_gives_up_is_passed_over_without_deep_recursion() {
    let pool = ConnectionPool::new(nowhere(), 1);
    let lease = take_all(&pool, 1);
    let mut crowd: Vec<_> = (0..100_000).map(|_| waiting(&pool)).collect();
    for one in &mut crowd {
        assert!(poll(one).is_none());
    }
    drop(crowd);
    drop(lease);
    take_all(&pool, 1);
}

#[test]
fn no_turn_is_lost_among_tasks_that_are_cancelled_at_any_moment() {
    const TURNS: usize = 3;
    let pool = ConnectionPool::new(nowhere(), TURNS);
    let executor = Pool::new(4).unwrap();
    let held = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<Task<u32>> = (1..=200_u32)
        .map(|seed| {
            let (pool, held) = (pool.clone(), held.clone());
            executor.spawn(async move {
                let mut random = seed;
                let mut served = 0;
                for _ in 0..50 {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let patience = random >> 28;
                    if give_up_after(patience, async {
                        let lease = pool.get().await.unwrap();
                        assert!(held.fetch_add(1, SeqCst) < TURNS);
                        let holding = Holding(&held);
                        yield_now().await;
                        drop(holding);
                        drop(lease);
                    })
                    .await
                    {
                        served += 1;
                    }
                }
                served
            })
        })
        .collect();
    let mut tasks = tasks.into_iter();
    // Half of the tasks are cancelled as a whole, from outside.
    tasks.by_ref().take(100).for_each(drop);
    let served: u32 = executor.block_on(async {
        let mut served = 0;
        for task in tasks {
            served += task.await;
        }
        served
    });
    assert!(served > 0);
    // The end of the executor is the end of the cancelled ones.
    drop(executor);
    assert_eq!(held.load(SeqCst), 0);
    take_all(&pool, TURNS);
}

struct Holding<'a>(&'a AtomicUsize);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Whether it was done within so many polls. If not, it is dropped.
async fn give_up_after(polls: u32, future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let poll = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if poll.is_ready() {
            return true;
        }
        yield_now().await;
    }
    false
}

/// An echo server on a thread of its own; returns how many clients it has had, when all have gone and it is asked to end.
fn echo() -> (SocketAddr, impl FnOnce() -> usize) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut clients = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = [0];
            if stream.peek(&mut first).unwrap_or(0) == 1 && first == [0xff] {
                break;
            }
            clients.push(std::thread::spawn(move || {
                let mut copy = stream.try_clone().unwrap();
                // A client that gives up may reset the connection.
                let _ = io::copy(&mut copy, &mut stream);
            }));
        }
        let count = clients.len();
        for client in clients {
            client.join().unwrap();
        }
        count
    });
    let end = move || {
        let mut last = TcpStream::connect(address).unwrap();
        last.write_all(&[0xff]).unwrap();
        server.join().unwrap()
    };
    (address, end)
}

#[test]
fn many_requests_go_over_few_connections() {
    let (address, end) = echo();
    let pool = ConnectionPool::new(address, 3);
    let executor = Pool::new(2).unwrap();
    let ask = |question: u8| {
        let pool = pool.clone();
        executor.spawn(async move { pool.get().await?.ask(&[question; 100]).await })
    };
    let tasks: Vec<_> = (0..200).map(|question| (question, ask(question))).collect();
    executor.block_on(async {
        for (question, task) in tasks {
            assert_eq!(task.await.unwrap(), [question; 100]);
        }
    });
    drop((executor, pool));
    assert!((1..=3).contains(&end()));
}

#[test]
fn a_request_that_is_given_up_takes_its_connection_along() {
    let (address, end) = echo();
    let pool = ConnectionPool::new(address, 1);
    block_on(async {
        for question in 0..50 {
            // Now and then, more than the kernel has room for: that is certainly given up.
            let len = if question % 16 == 1 { 32 << 20 } else { 1_000 };
            let long = vec![question; len];
            let asked = async {
                let mut lease = pool.get().await.unwrap();
                lease.ask(&long).await.unwrap();
            };
            // In the middle of it, at various places; or else it is done.
            give_up_after(u32::from(question % 8), asked).await;
            // The answer is to this question, and not to the one before.
            let mut lease = pool.get().await.unwrap();
            assert_eq!(
                lease.ask(&[100 + question]).await.unwrap(),
                [100 + question]
            );
        }
    });
    drop(pool);
    assert!(end() > 1);
}
