//! What `block_on` drives, and who drives when its thread sleeps elsewhere.

use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use async_io::{Async, Timer, block_on};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

/// Longer than anything here takes on a busy machine: what is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `f` on a thread of its own, and fails if it does not come to an end.
fn ends<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(f()));
    told.recv_timeout(PATIENCE).expect("it comes to an end")
}

/// A word to a server task and back.
async fn round_trip() -> std::io::Result<[u8; 4]> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = smol::spawn(async move {
        let (mut peer, _) = listener.accept().await?;
        let mut word = [0; 4];
        peer.read_exact(&mut word).await?;
        // So that somebody has to wait.
        Timer::after(Duration::from_millis(1)).await;
        peer.write_all(&word).await
    });
    let mut client = TcpStream::connect(address).await?;
    client.write_all(b"ping").await?;
    let mut word = [0; 4];
    client.read_exact(&mut word).await?;
    server.await?;
    Ok(word)
}

fn check(run: impl FnOnce() -> std::io::Result<[u8; 4]> + Send + 'static) {
    assert_eq!(&ends(run).unwrap(), b"ping");
}

#[test]
fn smol_runs_on_it() {
    check(|| smol::block_on(round_trip()));
}

#[test]
fn calls_nest() {
    check(|| block_on(async { block_on(async { block_on(round_trip()) }) }));
}

/// The original lets its own thread step in; so do we.
#[test]
fn a_foreign_block_on_inside_a_poll_is_served() {
    check(|| block_on(async { futures_lite::future::block_on(round_trip()) }));
    check(|| block_on(async { pollster::block_on(round_trip()) }));
}

/// The one thread behind `smol::spawn` sleeps in somebody else's `block_on`, and so does the main thread.
#[test]
fn a_foreign_block_on_inside_a_task_of_smol_is_served() {
    ends(|| {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut ours = Async::new(ours).unwrap();
        let reader = smol::spawn(async move {
            let mut byte = [0];
            pollster::block_on(ours.read_exact(&mut byte)).unwrap();
            byte
        });
        let writer = thread::spawn(move || {
            let mut peer = Async::new(peer).unwrap();
            block_on(async {
                Timer::after(Duration::from_millis(5)).await;
                peer.write_all(b"x").await.unwrap();
            });
        });
        assert_eq!(block_on(reader), *b"x");
        writer.join().unwrap();
    });
}

/// It does not matter where a future was first polled.
#[test]
fn a_future_moves_between_this_and_an_executor_of_untethers() {
    check(|| {
        let mut trip = Box::pin(round_trip());
        block_on(once(trip.as_mut()));
        untether_executors::block_on(once(trip.as_mut()));
        block_on(trip)
    });
}

/// One poll.
async fn once<T>(future: impl Future<Output = T>) {
    assert!(futures_lite::future::poll_once(future).await.is_none());
}

#[test]
fn many_threads_in_block_on_share_their_tasks() {
    ends(|| {
        let executor = smol::Executor::new();
        let (signal, shutdown) = smol::channel::unbounded::<()>();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| block_on(executor.run(shutdown.recv())));
            }
            block_on(async {
                let trips: Vec<_> = (0..100).map(|_| executor.spawn(round_trip())).collect();
                for trip in trips {
                    assert_eq!(&trip.await.unwrap(), b"ping");
                }
            });
            drop(signal);
        });
    });
}
