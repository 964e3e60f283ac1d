//! The proxy: everything arrives, ends are passed on one by one, and failures reach the client.

use std::thread;

use untether_executors::{PerCore, Task};

use super::*;

/// A proxy, and the target's listener, which is a plain one.
fn proxy() -> (PerCore, SocketAddr, TcpListener, Task<io::Result<()>>) {
    let target = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let to = target.local_addr().unwrap();
    let cores = PerCore::new(2).unwrap();
    let (listener, address) = listener();
    let handle = cores.handle();
    let task = cores.spawn_on(0, move || tcp_proxy::serve(listener, to, handle));
    (cores, address, target, task)
}

fn bytes(count: usize) -> Vec<u8> {
    let mut x = 1_u32;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn all(mut stream: &TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    heard
}

#[test]
fn everything_arrives_in_both_directions_at_once() {
    let (_cores, address, target, _task) = proxy();
    // More than the sockets and the pipe hold.
    let (there, back) = (bytes(20_000_000), bytes(9_000_001));
    let client = patient(TcpStream::connect(address).unwrap());
    let target = patient(target.accept().unwrap().0);
    let speak = |mut stream: &TcpStream, what: &[u8]| {
        stream.write_all(what).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    thread::scope(|scope| {
        scope.spawn(|| speak(&client, &there));
        scope.spawn(|| speak(&target, &back));
        let heard = scope.spawn(|| all(&client));
        assert!(all(&target) == there);
        assert!(heard.join().unwrap() == back);
    });
}

#[test]
fn an_end_is_passed_on_and_the_other_direction_goes_on() {
    let (_cores, address, target, _task) = proxy();
    let mut client = patient(TcpStream::connect(address).unwrap());
    let mut target = patient(target.accept().unwrap().0);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&target), b"question");
    // The target knows that all was said, and only now answers.
    target.write_all(b"answer").unwrap();
    drop(target);
    assert_eq!(all(&client), b"answer");
}

#[test]
fn single_bytes_are_not_held_back() {
    let (_cores, address, target, _task) = proxy();
    let mut client = patient(TcpStream::connect(address).unwrap());
    let mut target = patient(target.accept().unwrap().0);
    for byte in 0..200 {
        let mut heard = [0];
        client.write_all(&[byte]).unwrap();
        target.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [byte]);
        target.write_all(&[byte]).unwrap();
        client.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [byte]);
    }
}

#[test]
fn many_connections_are_shared_out_and_kept_apart() {
    let (cores, address, target, _task) = proxy();
    let pairs: Vec<_> = (0..20)
        .map(|_| {
            let client = patient(TcpStream::connect(address).unwrap());
            (client, patient(target.accept().unwrap().0))
        })
        .collect();
    for (n, (client, _)) in pairs.iter().enumerate() {
        let mut client = client;
        client.write_all(&[n as u8]).unwrap();
    }
    for (n, (_, target)) in pairs.iter().enumerate() {
        let (mut target, mut heard) = (target, [0]);
        target.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [n as u8]);
    }
    assert_eq!(cores.handle().loads(), [10, 10]);
}

#[test]
fn a_target_that_is_not_there_ends_the_client() {
    let (_cores, address, target, _task) = proxy();
    drop(target);
    let mut client = patient(TcpStream::connect(address).unwrap());
    let mut heard = Vec::new();
    // An end or a reset: in either case nothing was heard, and the client does not wait for ever.
    let end = client.read_to_end(&mut heard);
    let kind = end.map_err(|error| error.kind());
    assert!(matches!(kind, Ok(0) | Err(io::ErrorKind::ConnectionReset)));
}

#[test]
fn plain_copying_does_the_same() {
    let sent = bytes(3_000_000);
    let pair = || {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = patient(listener.accept().unwrap().0);
        (Async::new(near).unwrap(), far)
    };
    let ((from, mut client), (to, target)) = (pair(), pair());
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        let heard = scope.spawn(|| all(&target));
        let copied = block_on(tcp_proxy::copy(&from, &to)).unwrap();
        assert_eq!(copied, sent.len() as u64);
        drop(to);
        assert!(heard.join().unwrap() == sent);
    });
}
