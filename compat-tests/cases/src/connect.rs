//! Connections are made and accepted, each once, and a refusal keeps its name.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;

use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt, future};
use socket2::{Domain, Socket, Type};
use untether::Async;

use crate::case::Case;
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::Scene;
use crate::wires::{quiet, tcp_listener, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            both_ends_agree_on_their_addresses,
            "Connecting or accepting hangs, or gives the wrong address.",
        ),
        Case::of(
            a_refused_connect_says_so,
            "A failed connect hangs, succeeds, or loses the reason.",
        ),
        Case::of(
            a_fresh_connection_is_no_hangup,
            "A new connection is taken for a closed one: its socket was watched before it was connected.",
        ),
        Case::of(
            a_listener_tells_of_earlier_connections,
            "A connection made before the first accept is never accepted.",
        ),
        Case::of(
            incoming_is_polled_no_more_than_needed,
            "An accept loop is woken for nothing, on every connection.",
        ),
        Case::of(
            fifty_accepts_get_fifty_connections,
            "Tasks that share a listener lose connections, or sleep through them.",
        ),
        Case::of(
            one_wakeup_accepts_a_whole_backlog,
            "Connections that arrive together are accepted one per wake-up, or only the first is.",
        ),
        Case::of(
            peeking_leaves_the_bytes_there,
            "Peeking at a stream eats it.",
        ),
        Case::of(
            connect_and_accept_share_one_task,
            "A client and a server in one task wait for each other for ever.",
        ),
    ]
}

fn both_ends_agree_on_their_addresses(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        let server = tasks.spawn(async move { listener.accept().await.unwrap() });
        tasks.step("connecting");
        let client = Async::<TcpStream>::connect(address).await.unwrap();
        tasks.step("accepting");
        let (accepted, peer) = server.await;
        assert_eq!(client.get_ref().peer_addr().unwrap(), address);
        assert_eq!(client.get_ref().local_addr().unwrap(), peer);
        assert_eq!(accepted.get_ref().peer_addr().unwrap(), peer);
        assert_eq!(accepted.get_ref().local_addr().unwrap(), address);
    });
}

fn a_refused_connect_says_so(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        // Bound, so that nobody else gets the port; not listening, so that nobody answers.
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        bound.bind(&any.into()).unwrap();
        let address = bound.local_addr().unwrap().as_socket().unwrap();
        for _ in 0..3 {
            steps.step("connecting to a port where nobody listens");
            let error = Async::<TcpStream>::connect(address).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        }
    });
}

fn a_fresh_connection_is_no_hangup(scene: &Scene) {
    scene.run(async {
        let (listener, address) = tcp_listener();
        let connect = Async::<TcpStream>::connect(address);
        let (client, (server, _)) = future::try_zip(connect, listener.accept()).await.unwrap();
        assert!(!client.peer_closed());
        quiet("readable", future::or(client.readable(), server.readable())).await;
        client.writable().await.unwrap();
    });
}

fn a_listener_tells_of_earlier_connections(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        let first = TcpStream::connect(address).unwrap();
        let second = TcpStream::connect(address).unwrap();
        for stream in [first, second] {
            steps.step("waiting for a connection that is there");
            listener.readable().await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, stream.local_addr().unwrap());
        }
        quiet("accept", listener.accept()).await;
    });
}

fn incoming_is_polled_no_more_than_needed(scene: &Scene) {
    const CONNECTIONS: usize = 5;
    let steps = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        let mut incoming = pin!(listener.incoming());
        let bell = Bell::new();
        let mut polls = 1;
        assert!(poll_with(pin!(incoming.next()), &bell.waker()).is_pending());
        for number in 1..=CONNECTIONS {
            let rings = bell.rings();
            let _stream = TcpStream::connect(address).unwrap();
            steps.step(&format!("waiting for connection {number}"));
            bell.heard(rings + 1).await;
            loop {
                let rings = bell.rings();
                polls += 1;
                match poll_with(pin!(incoming.next()), &bell.waker()) {
                    std::task::Poll::Ready(connection) => drop(connection.unwrap().unwrap()),
                    // Woken in vain, or all that came is accepted.
                    std::task::Poll::Pending if bell.rings() == rings => break,
                    std::task::Poll::Pending => {}
                }
            }
        }
        // One at first; then per connection one that yields it and one that waits for the next.
        let needed = 1 + 2 * CONNECTIONS;
        // A one-shot back end may need another to arm itself.
        assert!(
            polls <= needed + CONNECTIONS,
            "{polls} polls where {needed} are needed"
        );
    });
}

fn fifty_accepts_get_fifty_connections(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        let listener = Arc::new(listener);
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let (listener, gate) = (listener.clone(), Gate::new());
            let mine = gate.clone();
            let accept = tasks.spawn(async move {
                let (_, peer) = announce(&mine, listener.accept()).await.unwrap();
                peer
            });
            waiting.push((gate, accept));
        }
        for (gate, _) in &waiting {
            gate.passed().await;
        }
        let mut clients = HashSet::new();
        let mut streams = Vec::new();
        for _ in 0..50 {
            let stream = TcpStream::connect(address).unwrap();
            clients.insert(stream.local_addr().unwrap());
            streams.push(stream);
        }
        for (number, (_, accept)) in waiting.into_iter().enumerate() {
            tasks.step(&format!("waiting for accept {number} of 50"));
            let peer = accept.await;
            assert!(clients.remove(&peer), "{peer} was accepted twice");
        }
    });
}

fn one_wakeup_accepts_a_whole_backlog(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let accept = tasks.spawn(async move {
            for _ in 0..20 {
                announce(&gate, listener.accept()).await.unwrap();
            }
            quiet("accept of a 21st connection", listener.accept()).await;
        });
        waiting.passed().await;
        let streams: Vec<_> = (0..20)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        tasks.step("accepting 20 connections");
        accept.await;
        drop(streams);
    });
}

fn peeking_leaves_the_bytes_there(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        here.write_all(b"peek").await.unwrap();
        let mut buffer = [0; 8];
        for _ in 0..2 {
            steps.step("peeking");
            let n = there.peek(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..n], b"peek");
        }
        steps.step("reading what was peeked at");
        let n = there.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"peek");
        quiet("peek at a drained stream", there.peek(&mut buffer)).await;
    });
}

fn connect_and_accept_share_one_task(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Async::new(listener).unwrap();
        steps.step("connecting and accepting in one task");
        let connect = Async::<TcpStream>::connect(address);
        let (mut client, (mut server, _)) =
            future::try_zip(connect, listener.accept()).await.unwrap();
        let mut answer = [0; 4];
        steps.step("writing and reading in one task");
        future::try_zip(client.write_all(b"both"), server.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(&answer, b"both");
    });
}
