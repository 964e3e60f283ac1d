//! What peers may do, and who suffers from it: they do.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use untether::Async;

use crate::{HELLO, Open, ask, open, rest, run, says_hello, server};

/// Ends the connection by a reset, in the middle of whatever it was in.
fn reset(stream: Async<TcpStream>) {
    #[cfg(unix)]
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
}

async fn still_serves(open: &Open) {
    assert!(says_hello(&ask(open, HELLO).await));
}

#[test]
fn a_peer_that_resets_at_any_point_ends_its_own_connection() {
    let points = [
        "",
        "GET /he",
        "POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome",
        "GET /big HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    run(async |handle| {
        let open = open(&handle, server(&handle));
        for said in points {
            let mut stream = open.connect().await;
            stream.write_all(said.as_bytes()).await.unwrap();
            // So that it is in the middle of it.
            still_serves(&open).await;
            reset(stream);
        }
        still_serves(&open).await;
        assert_eq!(open.close().await, 0);
    });
}

#[test]
fn garbage_is_refused() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let garbage = [
            "\0\u{1}\u{2}\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "GET /hello HTTP/1.1\r\nno colon\r\n\r\n",
            "POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: one\r\n\r\n",
            "POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            // Not HTTP/2 after all.
            "PRI * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        ];
        for said in garbage {
            let answer = ask(&open, said).await;
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(refused, "{said:?} was answered {answer:?}");
        }
        // Not even a preface's worth of frames.
        let mut stream = open.connect().await;
        let frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff";
        stream.write_all(frames).await.unwrap();
        rest(&mut stream).await;
        still_serves(&open).await;
        assert_eq!(open.close().await, 0);
    });
}

#[test]
fn a_head_without_an_end_is_refused_at_some_point() {
    run(async |handle| {
        let mut server = server(&handle);
        server.http1().max_buf_size(16 * 1024);
        let open = open(&handle, server);
        let mut stream = open.connect().await;
        let _ = stream.write_all(b"GET /hello HTTP/1.1\r\n").await;
        let line = format!("a: {}\r\n", "b".repeat(1000));
        // It is cut off before we have said all.
        let mut said = 0;
        while said < 4096 && stream.write_all(line.as_bytes()).await.is_ok() {
            said += 1;
        }
        let answer = rest(&mut stream).await;
        assert!(said < 4096 && (answer.is_empty() || answer.starts_with("HTTP/1.1 431 ")));
        still_serves(&open).await;
    });
}

#[test]
fn a_peer_that_hangs_up_in_the_middle_is_an_error_that_is_told() {
    run(async |handle| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let note = told.clone();
        let server = server(&handle).on_error(move |error| {
            let error = error
                .downcast_ref::<hyper::Error>()
                .expect("one of hyper's");
            note.lock().unwrap().push(error.is_incomplete_message());
        });
        let open = open(&handle, server);
        let mut stream = open.connect().await;
        stream.write_all(b"GET /hello HT").await.unwrap();
        stream.get_ref().shutdown(Shutdown::Write).unwrap();
        rest(&mut stream).await;
        // Without a word it is none.
        let silent = open.connect().await;
        silent.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(open.close().await, 0);
        assert_eq!(*told.lock().unwrap(), [true]);
    });
}

#[test]
fn a_peer_that_does_not_read_holds_up_nobody_else() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut greedy = Vec::new();
        for _ in 0..10 {
            let mut stream = open.connect().await;
            stream
                .write_all(b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            greedy.push(stream);
        }
        still_serves(&open).await;
        for mut stream in greedy {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.len() > crate::BIG);
        }
    });
}

#[test]
fn a_connection_that_was_reset_in_the_queue_is_passed_over() {
    run(async |handle| {
        // They are reset before the server runs for the first time.
        let (listener, address) = crate::listener();
        for _ in 0..20 {
            let stream = TcpStream::connect(address).unwrap();
            reset(Async::new(stream).unwrap());
        }
        let service = hyper::service::service_fn(crate::everything);
        let open = crate::open_on(&handle, server(&handle), listener, address, service);
        still_serves(&open).await;
        assert_eq!(open.close().await, 0);
    });
}
