//! HTTP itself: what hyper does over our I/O, in both versions.

use std::convert::Infallible;
use std::error::Error;
use std::net::Shutdown;

use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, Version};
use untether_executors::LocalHandle;
use untether_hyper::{Io, LocalExecutor, Timer};

use crate::{BIG, HELLO, Open, ask, open, pattern, rest, run, says_hello, server};

#[test]
fn requests_that_come_in_one_packet_are_answered_in_their_order() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let first = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nfirst";
        let second = "GET /none HTTP/1.1\r\nhost: a\r\n\r\n";
        let answers = ask(&open, &format!("{first}{second}{HELLO}")).await;
        let places = ["first", "HTTP/1.1 404", "no such page", "hello"].map(|part| {
            answers
                .find(part)
                .unwrap_or_else(|| panic!("{part} not in {answers}"))
        });
        assert!(places.is_sorted(), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 3);
        assert_eq!(open.close().await, 0);
    });
}

#[test]
fn a_request_may_come_byte_by_byte() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut stream = open.connect().await;
        stream.get_ref().set_nodelay(true).unwrap();
        for byte in HELLO.as_bytes() {
            stream.write_all(&[*byte]).await.unwrap();
            untether_executors::yield_now().await;
        }
        assert!(says_hello(&rest(&mut stream).await));
    });
}

#[test]
fn a_client_that_asks_whether_to_go_on_is_told_so() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut stream = open.connect().await;
        let head = "POST /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
            content-length: 4\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"body").await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.ends_with("\r\n\r\n4"), "{answer}");
    });
}

#[test]
fn chunks_and_trailers_come_back_as_they_went() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let request = "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\nte: trailers\r\n\
            transfer-encoding: chunked\r\ntrailer: sum\r\n\r\n\
            3\r\nabc\r\n4\r\ndefg\r\n0\r\nsum: 7\r\n\r\n";
        let answer = ask(&open, request).await;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        let chunks = ["3\r\nabc\r\n4\r\ndefg\r\n", "7\r\nabcdefg\r\n"];
        let expected = chunks.map(|chunks| format!("{chunks}0\r\nsum: 7\r\n\r\n"));
        assert!(
            expected.iter().any(|expected| body == Some(expected)),
            "{answer}"
        );
    });
}

/// hyper's client of either version, its connection in a task. What it has to say of its end is the test's to judge.
async fn http1_client<B>(handle: &LocalHandle, open: &Open) -> http1::SendRequest<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let io = Io::new(open.connect().await);
    let (sender, connection) = http1::handshake(io).await.unwrap();
    handle.spawn(connection.with_upgrades()).detach();
    sender
}

async fn http2_client<B>(handle: &LocalHandle, open: &Open) -> http2::SendRequest<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static,
{
    let io = Io::new(open.connect().await);
    let executor = LocalExecutor(handle.clone());
    let mut builder = http2::Builder::new(executor);
    let (sender, connection) = builder.timer(Timer).handshake(io).await.unwrap();
    handle.spawn(connection).detach();
    sender
}

#[test]
fn a_large_body_goes_both_ways_at_once() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let body = Bytes::from(pattern(BIG));
        let mut one = http1_client(&handle, &open).await;
        let mut two = http2_client(&handle, &open).await;
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut request = Request::post("http://a/echo");
            if version == Version::HTTP_11 {
                request = request.header("host", "a");
            }
            let request = request.body(Full::new(body.clone())).unwrap();
            let response = match version {
                Version::HTTP_11 => one.send_request(request).await.unwrap(),
                _ => two.send_request(request).await.unwrap(),
            };
            assert_eq!(response.version(), version);
            let back = response.into_body().collect().await.unwrap().to_bytes();
            assert!(back == body, "{version:?}: {} bytes came back", back.len());
        }
        drop((one, two));
        assert_eq!(open.close().await, 0);
    });
}

#[test]
fn trailers_come_back_over_http_2() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut trailers = HeaderMap::new();
        trailers.insert("sum", "3".parse().unwrap());
        let frames = [
            Frame::data(Bytes::from_static(b"abc")),
            Frame::trailers(trailers.clone()),
        ];
        let body = StreamBody::new(futures_lite::stream::iter(frames.map(Ok::<_, Infallible>)));
        let request = Request::post("http://a/echo").body(body).unwrap();
        let mut client = http2_client(&handle, &open).await;
        let back = client.send_request(request).await.unwrap().into_body();
        let back = back.collect().await.unwrap();
        assert_eq!(back.trailers(), Some(&trailers));
        assert_eq!(back.to_bytes(), "abc");
    });
}

#[test]
fn a_hundred_requests_share_one_http_2_connection() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let client = http2_client::<Full<Bytes>>(&handle, &open).await;
        let asked = (0..100).map(|i: usize| {
            let mut client = client.clone();
            handle.spawn(async move {
                let body = Bytes::from(pattern(i * 100));
                let request = Request::post("http://a/echo").body(Full::new(body.clone()));
                let response = client.send_request(request.unwrap()).await.unwrap();
                let back = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(back, body);
            })
        });
        for task in asked.collect::<Vec<_>>() {
            task.await;
        }
    });
}

#[test]
fn an_upgraded_connection_is_the_service_s_own_with_all_that_was_sent() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut stream = open.connect().await;
        // The client is in a hurry: its first words come with the request.
        let request =
            "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        // The server is told to stop, and waits for nobody who is its guest no more.
        assert_eq!(open.close().await, 0);
        stream.write_all(b" late").await.unwrap();
        stream.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut stream).await, "early late");
    });
}

#[test]
fn a_connection_serves_many_requests() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut client = http1_client(&handle, &open).await;
        for _ in 0..200 {
            let request = Request::get("/hello").header("host", "a");
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let response = client.send_request(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), "hello");
        }
    });
}
