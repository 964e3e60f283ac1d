//! Unix sockets: all that TCP promises, and their own addresses.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::pin::pin;

use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt, future};
use tempfile::TempDir;
use untether::Async;

use crate::case::{Case, Need};
use crate::gate::{Gate, announce};
use crate::scene::Scene;
use crate::wires::quiet;

pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        Case::of(
            unix_streams_connect_by_path,
            "Connecting or accepting over a Unix socket hangs, or gives the wrong address.",
        ),
        Case::of(
            a_path_without_a_listener_is_refused,
            "A client of a dead local server waits for ever.",
        ),
        Case::of(
            a_connect_whose_listener_vanishes_ends,
            "A client whose server dies while it connects waits for ever.",
        ),
        Case::of(
            incoming_yields_unix_streams,
            "An accept loop over a Unix socket misses connections.",
        ),
        Case::of(
            a_unix_reader_sees_the_writer_go,
            "A reader of a Unix socket sleeps for ever after its peer has gone.",
        ),
        Case::of(
            a_unix_writer_sees_the_reader_go,
            "A sender over a full Unix socket sleeps for ever after its peer has gone.",
        ),
        Case::of(
            a_unix_half_close_leaves_the_answer_open,
            "Request, half-close, answer over a Unix socket: the answer is lost.",
        ),
        Case::of(
            a_full_unix_stream_is_exact_about_room,
            "A Unix stream is called writable when it is full, or never again.",
        ),
        Case::of(
            unix_datagram_pairs_exchange_datagrams,
            "Datagrams over a Unix socket pair are lost, joined or changed.",
        ),
        Case::of(
            bound_unix_datagrams_learn_the_sender,
            "A local server cannot tell who sent a datagram.",
        ),
        Case::of(
            unix_datagrams_are_sent_until_full_and_all_arrive,
            "Datagrams are lost when the receiver is slow.",
        ),
        Case::of(
            unix_wait_and_try_five_rounds,
            "Code that waits by readable and receives by itself loses a datagram or hangs.",
        ),
    ];
    let cases = cases.map(|case| case.needs(&[Need::Unix]));
    let mut cases = Vec::from(cases);
    #[cfg(target_os = "linux")]
    cases.push(
        Case::of(
            abstract_addresses_work,
            "Services on abstract addresses cannot be reached.",
        )
        .needs(&[Need::Linux]),
    );
    cases
}

/// A path to bind to, and the folder that goes when it is dropped.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

fn unix_pair() -> (Async<UnixStream>, Async<UnixStream>) {
    Async::<UnixStream>::pair().unwrap()
}

fn unix_streams_connect_by_path(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (_folder, path) = place();
        let listener = Async::<UnixListener>::bind(&path).unwrap();
        let server = tasks.spawn(async move {
            let (mut stream, peer) = listener.accept().await.unwrap();
            assert!(peer.is_unnamed());
            stream.write_all(b"hello").await.unwrap();
        });
        tasks.step("connecting");
        let mut client = Async::<UnixStream>::connect(&path).await.unwrap();
        let address = client.get_ref().peer_addr().unwrap();
        assert_eq!(address.as_pathname(), Some(path.as_path()));
        let mut greeting = Vec::new();
        tasks.step("reading to the end");
        client.read_to_end(&mut greeting).await.unwrap();
        assert_eq!(greeting, b"hello");
        server.await;
    });
}

fn a_path_without_a_listener_is_refused(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = place();
        drop(Async::<UnixListener>::bind(&path).unwrap());
        assert!(path.exists(), "the listener took its path along");
        steps.step("connecting to a path that nobody listens at");
        let error = Async::<UnixStream>::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    });
}

fn a_connect_whose_listener_vanishes_ends(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = place();
        let listener = Async::<UnixListener>::bind(&path).unwrap();
        let mut connect = pin!(Async::<UnixStream>::connect(&path));
        let early = future::poll_once(connect.as_mut()).await;
        drop(listener);
        steps.step("waiting for the connect to end");
        let connected = match early {
            Some(connected) => connected,
            None => connect.await,
        };
        let error = match connected {
            Err(error) => error,
            // It was in the backlog. Then the stream is what has ended.
            Ok(mut stream) => {
                steps.step("reading from a stream that was never accepted");
                match stream.read(&mut [0; 8]).await {
                    Ok(n) => {
                        assert_eq!(n, 0);
                        return;
                    }
                    Err(error) => error,
                }
            }
        };
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
            ),
            "{error}"
        );
    });
}

fn incoming_yields_unix_streams(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = place();
        let listener = Async::<UnixListener>::bind(&path).unwrap();
        let mut incoming = pin!(listener.incoming());
        for number in 1..=3 {
            let mut client = Async::<UnixStream>::connect(&path).await.unwrap();
            steps.step(&format!("accepting connection {number}"));
            let mut server = incoming.next().await.unwrap().unwrap();
            client.write_all(&[number]).await.unwrap();
            let mut byte = [0];
            server.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, [number]);
        }
        quiet("incoming", incoming.next()).await;
    });
}

fn a_unix_reader_sees_the_writer_go(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, mut there) = unix_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let reader =
            tasks.spawn(async move { announce(&gate, there.read(&mut [0; 8])).await.unwrap() });
        waiting.passed().await;
        drop(here);
        tasks.step("waiting for the reader to see the end");
        assert_eq!(reader.await, 0);
    });
}

fn a_unix_writer_sees_the_reader_go(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (mut here, there) = unix_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let writer = tasks.spawn(async move {
            let chunk = vec![b'#'; 64 * 1024];
            loop {
                if let Err(error) = announce(&gate, here.write(&chunk)).await {
                    return error.kind();
                }
            }
        });
        waiting.passed().await;
        drop(there);
        tasks.step("waiting for the writer to see that nobody reads");
        let kind = writer.await;
        assert!(
            matches!(
                kind,
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ),
            "{kind:?}"
        );
    });
}

fn a_unix_half_close_leaves_the_answer_open(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = unix_pair();
        here.write_all(b"question").await.unwrap();
        here.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut question = Vec::new();
        steps.step("reading the question to its end");
        there.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        there.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        steps.step("reading the answer");
        here.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    });
}

fn a_full_unix_stream_is_exact_about_room(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        use std::io::{Read, Write};
        let (here, there) = unix_pair();
        let chunk = [b'#'; 4096];
        // A Unix stream has no window that grows: full is full.
        for round in 1..=3 {
            let mut written = 0;
            while let Some(n) =
                future::poll_once(here.write_with(|mut stream| stream.write(&chunk))).await
            {
                written += n.unwrap();
            }
            assert!(written > 0);
            let mut room = pin!(here.writable());
            quiet("writable on a full stream", room.as_mut()).await;
            let mut buffer = vec![0; 64 * 1024];
            while written > 0 {
                steps.step(&format!("draining in round {round}"));
                written -= there
                    .read_with(|mut stream| stream.read(&mut buffer))
                    .await
                    .unwrap();
            }
            steps.step(&format!("waiting for room in round {round}"));
            room.await.unwrap();
        }
    });
}

fn unix_datagram_pairs_exchange_datagrams(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = Async::<UnixDatagram>::pair().unwrap();
        let mut buffer = [0; 64];
        for text in [&b"one"[..], b"and two"] {
            here.send(text).await.unwrap();
        }
        for text in [&b"one"[..], b"and two"] {
            steps.step("receiving");
            let n = there.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..n], text);
        }
        quiet("a receive of nothing", there.recv(&mut buffer)).await;
    });
}

fn bound_unix_datagrams_learn_the_sender(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = place();
        let other_path = path.with_extension("other");
        let here = Async::<UnixDatagram>::bind(&path).unwrap();
        let there = Async::<UnixDatagram>::bind(&other_path).unwrap();
        let nameless = Async::<UnixDatagram>::unbound().unwrap();
        let mut buffer = [0; 64];

        there.send_to(b"named", &path).await.unwrap();
        steps.step("receiving from a sender with a name");
        let (n, sender) = here.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"named");
        assert_eq!(sender.as_pathname(), Some(other_path.as_path()));

        nameless.send_to(b"nameless", &path).await.unwrap();
        steps.step("receiving from a sender without a name");
        let (n, sender) = here.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"nameless");
        assert!(sender.is_unnamed());
    });
}

fn unix_datagrams_are_sent_until_full_and_all_arrive(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = Async::<UnixDatagram>::pair().unwrap();
        let mut sent = 0_u32;
        let error = loop {
            match here.get_ref().send(&sent.to_le_bytes()) {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
        };
        // ENOBUFS is how some systems say it.
        assert!(
            error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error().is_some(),
            "{error}"
        );
        assert!(sent > 0);
        let mut buffer = [0; 8];
        for number in 0..sent {
            steps.step(&format!("receiving datagram {number} of {sent}"));
            assert_eq!(there.recv(&mut buffer).await.unwrap(), 4);
            assert_eq!(buffer[..4], number.to_le_bytes());
        }
        quiet("a receive of nothing", there.recv(&mut buffer)).await;
        steps.step("waiting for room after all were received");
        here.writable().await.unwrap();
    });
}

fn unix_wait_and_try_five_rounds(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = Async::<UnixDatagram>::pair().unwrap();
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

#[cfg(target_os = "linux")]
fn abstract_addresses_work(scene: &Scene) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::gate::{Bell, poll_with};

    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let steps = scene.clone();
    scene.run(async move {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("untether-conformance-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = Async::new(UnixListener::bind_addr(&address).unwrap()).unwrap();
        steps.step("connecting to an abstract address");
        let connect = Async::<UnixStream>::connect(format!("\0{name}"));
        let (mut client, (mut server, _)) =
            future::try_zip(connect, listener.accept()).await.unwrap();
        let peer = client.get_ref().peer_addr().unwrap();
        assert_eq!(peer.as_abstract_name(), Some(name.as_bytes()));
        let mut answer = [0; 2];
        future::try_zip(client.write_all(b"up"), server.read_exact(&mut answer))
            .await
            .unwrap();
        future::try_zip(server.write_all(b"dn"), client.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(&answer, b"dn");
        // Nothing is left waiting on a peer that goes.
        drop(client);
        assert!(poll_with(pin!(listener.readable()), &Bell::new().waker()).is_pending());
    });
}
