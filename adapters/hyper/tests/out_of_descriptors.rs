//! A server whose process has no descriptor left. A process of its own, because the limit is the process's.
#![cfg(target_os = "linux")]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use hyper::Response;
use hyper::service::service_fn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use untether::Async;
use untether_executors::Pool;
use untether_hyper::{Executor, Server};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn out_of_descriptors_the_server_pauses_and_then_serves_who_has_waited() {
    let pool = Pool::new(1).unwrap();
    let listener = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let (report, reports) = mpsc::channel();
    let server = Server::new(Executor(pool.handle())).on_error(move |error| {
        report.send(error.to_string()).unwrap();
    });
    let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::from("hello"))));
    let serving = pool.spawn(server.serve(listener, hello));
    let ask = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
    };
    // One whom it serves throughout; and so everything that is opened once has been.
    let mut kept = TcpStream::connect(address).unwrap();
    ask(&mut kept);

    // Descriptors for the clients, and none for the server's side of them.
    let mut clients: Vec<_> = (0..2)
        .map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    let limit = getrlimit(Resource::Nofile);
    let highest = std::fs::read_dir("/proc/self/fd").unwrap();
    let highest = highest.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let highest: u64 = highest.map(|name| name.parse().unwrap()).max().unwrap();
    let tight = Rlimit {
        current: Some(highest + 1),
        ..limit
    };
    setrlimit(Resource::Nofile, tight).unwrap();
    let fillers: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    clients.pop();
    let mut late = TcpStream::connect(address).unwrap();

    let report = reports.recv_timeout(PATIENCE).unwrap();
    assert!(report.contains("os error 24"), "{report}");
    ask(&mut kept);
    drop(fillers);
    drop(clients);
    ask(&mut late);

    setrlimit(Resource::Nofile, limit).unwrap();
    drop(serving);
}
