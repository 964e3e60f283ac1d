//! The examples do what they say, over real sockets. Each is a module here, and its functions run on the executor that
//! it uses itself.

#[path = "../../examples/chat_server.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program elsewhere")]
mod chat_server;
#[path = "../../examples/connection_pool.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program elsewhere")]
mod connection_pool;
#[path = "../../examples/echo_server.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program elsewhere")]
mod echo_server;
#[path = "../../examples/job_queue.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program elsewhere")]
mod job_queue;
#[path = "../../examples/same_future_on_six_executors.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program elsewhere")]
mod same_future_on_six_executors;
#[path = "../../examples/tcp_proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program elsewhere")]
mod tcp_proxy;

mod chat;
mod connections;
mod jobs;
mod proxy;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use untether::Async;
use untether_executors::{Pool, block_on};

use crate::PATIENCE;

/// A person who talks to a server, line by line.
struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            lines: BufReader::new(stream),
        }
    }

    fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.lines.get_mut().write_all(line.as_bytes()).unwrap();
    }

    /// The next line; empty at the end.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has nothing more to say.
    fn end(&mut self) {
        self.lines.get_mut().shutdown(Shutdown::Write).unwrap();
    }
}

fn listener() -> (Async<TcpListener>, SocketAddr) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    (listener, address)
}

#[test]
fn the_echo_server_sends_back_what_it_is_sent() {
    let pool = Pool::new(2).unwrap();
    let (listener, address) = listener();
    let _server = pool.spawn(echo_server::serve(listener, pool.handle()));
    // One that says nothing, and one that goes away without a word, harm nobody.
    let _silent = Client::connect(address);
    drop(Client::connect(address));
    let mut client = Client::connect(address);
    client.say("hello");
    assert_eq!(client.hear(), "hello");
    client.end();
    assert_eq!(client.hear(), "");
}

#[test]
fn the_same_future_runs_on_six_executors() {
    for executor in same_future_on_six_executors::EXECUTORS {
        let (answer, _) = same_future_on_six_executors::run_on(executor).unwrap();
        assert_eq!(answer, "hello", "on {executor}");
    }
}
