//! Sources and executors: what waits, is served, wherever it is polled.

use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_lite::future::try_zip;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use untether::{Async, Timer};
use untether_executors::{Local, Pool, Spawn, block_on};

use crate::PATIENCE;

/// Sends back and forth over one connection.
async fn round_trips(count: usize) -> io::Result<usize> {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    let address = listener.get_ref().local_addr()?;
    let server = async {
        let (mut stream, _) = listener.accept().await?;
        let mut byte = [0];
        while stream.read(&mut byte).await? == 1 {
            stream.write_all(&byte).await?;
        }
        Ok(())
    };
    let client = async {
        let mut stream = Async::<TcpStream>::connect(address).await?;
        let mut byte = [0];
        for i in 0..count {
            stream.write_all(&[i as u8]).await?;
            stream.read_exact(&mut byte).await?;
            assert_eq!(byte, [i as u8]);
        }
        Ok(count)
    };
    try_zip(server, client).await.map(|((), count)| count)
}

/// Two ends of a connection; the first one is asynchronous.
fn pair() -> io::Result<(Async<TcpStream>, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((Async::new(near)?, far))
}

async fn many_round_trips(spawner: impl Spawn) {
    let tasks: Vec<_> = (0..20).map(|_| spawner.spawn(round_trips(50))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 50);
    }
}

#[test]
fn connections_are_served_in_block_on() {
    assert_eq!(block_on(round_trips(100)).unwrap(), 100);
}

#[test]
fn connections_are_served_in_a_nested_block_on_beside_those_of_the_outer_one() {
    let local = Local::new();
    let outer = local.spawn(round_trips(200));
    local.run(async {
        assert_eq!(block_on(round_trips(100)).unwrap(), 100);
        assert_eq!(outer.await.unwrap(), 200);
    });
}

#[test]
fn connections_are_served_in_a_local() {
    let local = Local::new();
    local.run(many_round_trips(local.handle()));
}

#[test]
fn connections_are_served_in_a_pool() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).unwrap();
        pool.block_on(many_round_trips(pool.handle()));
    }
}

#[test]
fn a_waiter_that_stays_behind_in_a_finished_call_is_served_elsewhere() {
    // The source lives in the reactor of a call, because somebody waits there; a task of a pool waits as well; the call
    // ends, and with it whoever drove that reactor.
    let pool = Pool::new(1).unwrap();
    let (stream, mut peer) = pair().unwrap();
    let stream = Arc::new(stream);
    let (waiting, waits) = mpsc::channel();
    let first = stream.clone();
    let mut first = pin!(first.readable());
    let mut task = None;
    block_on(async {
        poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        task = Some(pool.spawn(async move {
            let mut second = pin!(stream.readable());
            poll_fn(|cx| {
                let poll = second.as_mut().poll(cx);
                let _ = waiting.send(());
                poll
            })
            .await
        }));
        waits.recv_timeout(PATIENCE).unwrap();
    });
    peer.write_all(b"x").unwrap();
    let (sender, outcome) = mpsc::channel();
    thread::spawn(move || sender.send(block_on(task.unwrap())));
    outcome.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn a_waiter_that_stays_behind_in_a_dropped_executor_is_served_elsewhere() {
    let (stream, mut peer) = pair().unwrap();
    let stream = Arc::new(stream);
    for executor in 0..2 {
        let (waiting, waits) = mpsc::channel();
        let waiter = {
            let stream = stream.clone();
            async move {
                let mut readable = pin!(stream.readable());
                poll_fn(|cx| {
                    let poll = readable.as_mut().poll(cx);
                    let _ = waiting.send(());
                    poll
                })
                .await
            }
        };
        let (local, pool) = (Local::new(), Pool::new(2).unwrap());
        let task = if executor == 0 {
            local.spawn(waiter)
        } else {
            pool.spawn(waiter)
        };
        if executor == 0 {
            local.run(async {
                while waits.try_recv().is_err() {
                    crate::yield_now().await;
                }
            });
        } else {
            waits.recv_timeout(PATIENCE).unwrap();
        }
        task.detach();

        // A second waiter, elsewhere.
        let (done, outcome) = mpsc::channel();
        let (waiting, waits) = mpsc::channel();
        thread::spawn({
            let stream = stream.clone();
            move || {
                block_on(async {
                    let mut readable = pin!(stream.readable());
                    poll_fn(|cx| {
                        let poll = readable.as_mut().poll(cx);
                        let _ = waiting.send(());
                        poll
                    })
                    .await
                    .unwrap();
                    let mut byte = [0];
                    (&*stream).read_exact(&mut byte).await.unwrap();
                });
                done.send(()).unwrap();
            }
        });
        waits.recv_timeout(PATIENCE).unwrap();
        drop((local, pool));
        peer.write_all(b"x").unwrap();
        outcome.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_task_that_computes_does_not_hold_up_io() {
    let pool = Pool::new(2).unwrap();
    let (done, finished) = mpsc::channel();
    let io = pool.spawn(async move {
        let count = round_trips(20).await.unwrap();
        Timer::after(Duration::from_millis(2)).await;
        done.send(count).unwrap();
    });
    let computing = pool.spawn(async move { finished.recv_timeout(PATIENCE).unwrap() });
    assert_eq!(pool.block_on(computing), 20);
    block_on(io);
}
