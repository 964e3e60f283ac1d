//! A pool of connections: few are open, many tasks take turns with them, first come, first served.
//!
//! Run it: `cargo run -p untether-executors --example connection_pool`. It starts an echo server, asks it a hundred things at
//! once over three connections, and prints the answers.
//!
//! What tasks wait for is a *turn*, a value: whoever drops it passes it on, to the first in the queue. A task that gives up
//! drops its end of a channel, and with it a turn that is in there already. So none is lost, and nobody overtakes.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot::{Receiver, Sender, channel};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use untether::Async;
use untether_executors::{Pool, PoolHandle};

/// Clones are handles of the same pool.
#[derive(Clone, Debug)]
pub struct ConnectionPool {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Turns that nobody has. None, if anybody waits.
    free: usize,
    /// Open connections that nobody uses: as many as there are free turns, at most.
    idle: Vec<Async<TcpStream>>,
    /// Who came first, stands first.
    queue: VecDeque<Sender<Lease>>,
}

/// A turn, and the connection that goes with it, once it is open and as long as nothing is under way on it.
#[derive(Debug)]
pub struct Lease {
    pool: ConnectionPool,
    connection: Option<Async<TcpStream>>,
}

impl ConnectionPool {
    /// So many connections at once, at most and at least one.
    pub fn new(address: SocketAddr, connections: usize) -> ConnectionPool {
        let (idle, queue) = (Vec::new(), VecDeque::new());
        let free = connections.max(1);
        let state = Arc::new(Mutex::new(State { free, idle, queue }));
        ConnectionPool { address, state }
    }

    /// Waits for a turn. Those who wait are served in the order in which they were first polled.
    pub async fn get(&self) -> io::Result<Lease> {
        match self.line_up() {
            Ok(lease) => Ok(lease),
            Err(turn) => turn.await.map_err(io::Error::other),
        }
    }

    /// A turn, or where it will arrive.
    fn line_up(&self) -> Result<Lease, Receiver<Lease>> {
        let mut state = self.state();
        if state.free == 0 {
            let (sender, receiver) = channel();
            state.queue.push_back(sender);
            return Err(receiver);
        }
        state.free -= 1;
        Ok(self.lease(state.idle.pop()))
    }

    fn pass_on(&self, connection: Option<Async<TcpStream>>) {
        let mut state = self.state();
        while let Some(first) = state.queue.pop_front() {
            if first.is_canceled() {
                continue;
            }
            // Before a waker is called: who knows what that does.
            drop(state);
            // If it gives up this very moment, the lease comes back, is dropped, and goes to the next.
            let _ = first.send(self.lease(connection));
            return;
        }
        state.free += 1;
        state.idle.extend(connection);
    }

    fn lease(&self, connection: Option<Async<TcpStream>>) -> Lease {
        let pool = self.clone();
        Lease { pool, connection }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Sends a request, and waits for an answer of the same length. Opens a connection, if there is none to be had.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        // It is out of the lease until it is done: a request that fails, or is given up, takes its connection with it.
        // Otherwise the next task would read the answer to this one.
        let idle = self.connection.take().filter(|idle| !idle.peer_closed());
        let mut connection = match idle {
            Some(connection) => connection,
            None => Async::<TcpStream>::connect(self.pool.address).await?,
        };
        let mut answer = vec![0; request.len()];
        connection.write_all(request).await?;
        connection.read_exact(&mut answer).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.pass_on(self.connection.take());
    }
}

/// Echoes what each client says.
async fn serve(listener: Async<TcpListener>, spawner: PoolHandle) {
    while let Ok((stream, _)) = listener.accept().await {
        // Its end, good or bad, is the client's business.
        let echo = async move { futures_lite::io::copy(&stream, &stream).await };
        spawner.spawn(echo).detach();
    }
}

fn main() -> io::Result<()> {
    let executor = Pool::new(2)?;
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    let pool = ConnectionPool::new(listener.get_ref().local_addr()?, 3);
    executor.spawn(serve(listener, executor.handle())).detach();

    let ask = |question: u8| {
        let pool = pool.clone();
        executor.spawn(async move { pool.get().await?.ask(&[question]).await })
    };
    let tasks: Vec<_> = (1..=100).map(ask).collect();
    executor.block_on(async {
        for task in tasks {
            println!("answer: {:?}", task.await?);
        }
        Ok(())
    })
}
