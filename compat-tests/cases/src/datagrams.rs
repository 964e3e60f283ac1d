//! Datagrams keep their bounds and their senders, and an error for a socket ends the wait for it.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;

use futures_lite::future;
use untether::Async;

use crate::case::Case;
use crate::gate::{Gate, announce};
use crate::scene::Scene;
use crate::wires::{quiet, udp_pair, udp_socket};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            connected_sockets_exchange_datagrams,
            "Datagrams between connected sockets are lost, joined or changed.",
        ),
        Case::of(
            unconnected_sockets_learn_the_sender,
            "A server cannot tell who sent a datagram.",
        ),
        Case::of(
            peeking_twice_takes_nothing,
            "Peeking at a datagram takes it, or does not say who sent it.",
        ),
        Case::of(
            an_empty_datagram_is_not_an_end,
            "An empty datagram is lost, or taken for the end.",
        ),
        Case::of(
            a_longer_datagram_is_cut,
            "What is left of a long datagram is taken for the next one.",
        ),
        Case::of(
            wait_and_try_five_rounds,
            "Code that waits by readable and receives by itself loses a datagram or hangs.",
        ),
        Case::of(
            a_closed_port_is_an_error_not_a_hang,
            "A client of a dead server waits for ever.",
        ),
        Case::of(
            one_socket_serves_a_sender_and_a_receiver,
            "A socket that two tasks share stalls in one direction.",
        ),
        Case::of(
            a_burst_is_received_to_the_last,
            "Of datagrams that arrive together, all but the first wait for the next to come.",
        ),
        Case::of(
            a_plain_thread_can_use_a_wrapped_socket,
            "A socket that was wrapped works only inside a runtime.",
        ),
    ]
}

fn connected_sockets_exchange_datagrams(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = udp_pair();
        let mut buffer = [0; 64];
        for text in [&b"one"[..], b"and two"] {
            steps.step("sending");
            assert_eq!(here.send(text).await.unwrap(), text.len());
        }
        for text in [&b"one"[..], b"and two"] {
            steps.step("peeking and receiving");
            let n = there.peek(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..n], text);
            let n = there.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..n], text);
        }
        quiet("a receive of nothing", there.recv(&mut buffer)).await;
    });
}

fn unconnected_sockets_learn_the_sender(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let ((here, here_address), (there, there_address)) = (udp_socket(), udp_socket());
        let mut buffer = [0; 64];
        steps.step("asking");
        here.send_to(b"question", there_address).await.unwrap();
        let (n, sender) = there.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..n], sender), (&b"question"[..], here_address));
        steps.step("answering");
        there.send_to(b"answer", sender).await.unwrap();
        let (n, sender) = here.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..n], sender), (&b"answer"[..], there_address));
    });
}

fn peeking_twice_takes_nothing(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let ((here, here_address), (there, there_address)) = (udp_socket(), udp_socket());
        let mut buffer = [0; 64];
        here.send_to(b"look", there_address).await.unwrap();
        for _ in 0..2 {
            steps.step("peeking");
            let (n, sender) = there.peek_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..n], sender), (&b"look"[..], here_address));
        }
        steps.step("receiving what was peeked at");
        let (n, sender) = there.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..n], sender), (&b"look"[..], here_address));
        quiet("peek at an empty socket", there.peek_from(&mut buffer)).await;
    });
}

fn an_empty_datagram_is_not_an_end(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = udp_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let receiver = tasks.spawn(async move {
            let mut buffer = [0; 64];
            let empty = announce(&gate, there.recv(&mut buffer)).await.unwrap();
            let full = there.recv(&mut buffer).await.unwrap();
            (empty, full)
        });
        waiting.passed().await;
        here.send(b"").await.unwrap();
        here.send(b"after").await.unwrap();
        tasks.step("waiting for an empty datagram and another");
        assert_eq!(receiver.await, (0, 5));
    });
}

fn a_longer_datagram_is_cut(scene: &Scene) {
    // Windows makes an error of it.
    if cfg!(windows) {
        scene.skip("here a longer datagram is an error");
    }
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = udp_pair();
        let mut four = [0; 4];
        here.send(b"longer than four").await.unwrap();
        here.send(b"next").await.unwrap();
        steps.step("receiving a datagram that is too long");
        assert_eq!(there.recv(&mut four).await.unwrap(), 4);
        assert_eq!(&four, b"long");
        steps.step("receiving the one after it");
        assert_eq!(there.recv(&mut four).await.unwrap(), 4);
        assert_eq!(&four, b"next");
    });
}

fn wait_and_try_five_rounds(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = udp_pair();
        let mut buffer = [0; 64];
        for round in 0..5_u8 {
            steps.step(&format!("waiting for room in round {round}"));
            here.writable().await.unwrap();
            here.get_ref().send(&[round; 3]).unwrap();
            steps.step(&format!("waiting for the datagram of round {round}"));
            there.readable().await.unwrap();
            assert_eq!(there.get_ref().recv(&mut buffer).unwrap(), 3);
            assert_eq!(buffer[..3], [round; 3]);
            let error = there.get_ref().recv(&mut buffer).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    });
}

fn a_closed_port_is_an_error_not_a_hang(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        // Its port is taken, and it hears only a third party: for everybody else the port is closed.
        let reserved = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        reserved.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
        let (socket, _) = udp_socket();
        socket
            .get_ref()
            .connect(reserved.local_addr().unwrap())
            .unwrap();
        let socket = Arc::new(socket);
        let waiting = Gate::new();
        let (receiver, gate) = (socket.clone(), waiting.clone());
        let receiver =
            tasks.spawn(async move { announce(&gate, receiver.recv(&mut [0; 8])).await });
        waiting.passed().await;
        socket.send(b"anybody there?").await.unwrap();
        tasks.step("waiting for the error of a closed port");
        let error = receiver.await.unwrap_err();
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
            ),
            "{error}"
        );
    });
}

fn one_socket_serves_a_sender_and_a_receiver(scene: &Scene) {
    const ROUNDS: u8 = 20;
    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = udp_pair();
        let (here, there) = (Arc::new(here), Arc::new(there));
        let echo = tasks.spawn(async move {
            let mut buffer = [0; 8];
            for _ in 0..ROUNDS {
                let n = there.recv(&mut buffer).await.unwrap();
                there.send(&buffer[..n]).await.unwrap();
            }
        });
        let answered = Gate::new();
        let receiver = {
            let (here, answered) = (here.clone(), answered.clone());
            tasks.spawn(async move {
                let mut buffer = [0; 8];
                for round in 0..ROUNDS {
                    assert_eq!(here.recv(&mut buffer).await.unwrap(), 1);
                    assert_eq!(buffer[0], round);
                }
                answered.open();
            })
        };
        let sender = tasks.spawn(async move {
            for round in 0..ROUNDS {
                here.send(&[round]).await.unwrap();
            }
        });
        tasks.step("waiting for all answers");
        answered.passed().await;
        sender.await;
        receiver.await;
        echo.await;
    });
}

fn a_burst_is_received_to_the_last(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = udp_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let receiver = tasks.spawn(async move {
            let mut buffer = [0; 8];
            let mut numbers = Vec::new();
            for _ in 0..20 {
                announce(&gate, there.recv(&mut buffer)).await.unwrap();
                numbers.push(buffer[0]);
            }
            numbers
        });
        waiting.passed().await;
        for number in 0..20 {
            here.get_ref().send(&[number]).unwrap();
        }
        tasks.step("waiting for 20 datagrams");
        assert_eq!(receiver.await, Vec::from_iter(0..20));
    });
}

fn a_plain_thread_can_use_a_wrapped_socket(scene: &Scene) {
    // Made and used here, outside any run.
    let (here, there) = udp_pair();
    here.get_ref().send(b"no runtime").unwrap();
    let mut buffer = [0; 16];
    scene.step("receiving on a plain thread");
    let n = future::block_on(there.recv(&mut buffer)).unwrap();
    assert_eq!(&buffer[..n], b"no runtime");
    // And inside a run afterwards.
    let steps = scene.clone();
    scene.run(async move {
        future::poll_once(pin!(there.recv(&mut [0; 16]))).await;
        send(&here).await;
        steps.step("receiving in the runtime");
        assert_eq!(there.recv(&mut [0; 16]).await.unwrap(), 4);
    });
}

async fn send(socket: &Async<UdpSocket>) {
    socket.send(b"then").await.unwrap();
}
