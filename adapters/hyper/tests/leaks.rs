//! What is left after many connections: nothing. A process of its own, because it counts the descriptors of the process.
#![cfg(target_os = "linux")]

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use hyper::Response;
use hyper::service::service_fn;
use tokio::sync::oneshot;
use untether::Async;
use untether_executors::{Hooks, Pool, block_on};
use untether_hyper::{Executor, Server};

const PATIENCE: Duration = Duration::from_secs(60);

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn hello(address: SocketAddr) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A thousand at once, dropped at once: some before a word, some in the middle of one, some by a reset, some while the
/// answer is on its way.
fn thousand(address: SocketAddr) {
    let words: [&[u8]; 4] = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    let mut streams = Vec::new();
    for index in 0..1000 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(words[index % 4]).unwrap();
        if index % 3 == 0 {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
        streams.push(stream);
    }
}

#[test]
fn a_thousand_connections_opened_and_dropped_leave_nothing_behind() {
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    /// Dropped with its connection.
    struct Visit(Arc<AtomicUsize>);
    impl Drop for Visit {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    let hooks = Hooks::new().on_panic(|task, _| panic!("{task:?} has panicked"));
    let pool = Pool::builder().threads(2).hooks(hooks).build().unwrap();
    // The first use of everything opens what stays open.
    let round = |clients: &dyn Fn(SocketAddr)| {
        let listener = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::listen(&listener, 2000).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let visit = {
            let (begun, ended) = (begun.clone(), ended.clone());
            move |_: &SocketAddr| {
                begun.fetch_add(1, SeqCst);
                let visit = Arc::new(Visit(ended.clone()));
                service_fn(move |_| {
                    let visit = visit.clone();
                    async move {
                        let _visit = visit;
                        Ok::<_, hyper::Error>(Response::new(String::from("hello")))
                    }
                })
            }
        };
        let server = Server::new(Executor(pool.handle()));
        let serving = pool.spawn(server.serve_each(listener, visit, async {
            let _ = stopped.await;
        }));
        clients(address);
        assert!(hello(address).unwrap().ends_with("hello"));
        drop(stop);
        let cut_off = block_on(untether::timeout(PATIENCE, serving)).expect("it hangs");
        assert_eq!(cut_off.unwrap(), 0);
        assert_eq!(
            ended.load(SeqCst),
            begun.load(SeqCst),
            "connections still alive"
        );
    };
    round(&|_| {});
    let before = descriptors();
    round(&thousand);
    assert!(begun.load(SeqCst) > 500, "most of them were accepted");
    assert_eq!(descriptors(), before, "descriptors left open");
    // A second time, as well as the first.
    round(&thousand);
    assert_eq!(descriptors(), before, "descriptors left open");
}
