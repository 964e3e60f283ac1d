//! Behind TLS, by rustls.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::AsyncWriteExt;
use futures_rustls::client::TlsStream;
use futures_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use futures_rustls::{TlsAcceptor, TlsConnector};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Version};
use untether::Async;
use untether_executors::LocalHandle;
use untether_hyper::{Io, Listener, LocalExecutor};

use crate::{
    BIG, LocalServer, Open, everything, listener, open_on, pattern, rest, run, run_by_hand, server,
    settle,
};

const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// Serves behind TLS. Returns what its clients need.
fn open_secured(handle: &LocalHandle, server: LocalServer) -> (Open, Arc<RootCertStore>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], made.signing_key.into())
        .unwrap();
    config.alpn_protocols = PROTOCOLS.map(Into::into).to_vec();
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let (tcp, address) = listener();
    let secured = tcp.secured(move |stream| acceptor.accept(stream));
    let open = open_on(handle, server, secured, address, service_fn(everything));
    (open, Arc::new(roots))
}

async fn connect(
    open: &Open,
    roots: Arc<RootCertStore>,
    protocol: &str,
) -> Io<TlsStream<Async<TcpStream>>> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    let name = "localhost".try_into().unwrap();
    let stream = open.connect().await;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(protocol.as_bytes())
    );
    Io::new(stream)
}

#[test]
fn both_versions_are_served_and_large_bodies_go_both_ways() {
    run(async |handle| {
        let (open, roots) = open_secured(&handle, server(&handle));
        let body = Bytes::from(pattern(BIG));
        let request = || {
            let request = Request::post("https://localhost/echo").header("host", "localhost");
            request.body(Full::new(body.clone())).unwrap()
        };

        let io = connect(&open, roots.clone(), "http/1.1").await;
        let (mut one, connection) = http1::handshake(io).await.unwrap();
        handle.spawn(connection).detach();
        let io = connect(&open, roots, "h2").await;
        let executor = LocalExecutor(handle.clone());
        let (mut two, connection) = http2::handshake(executor, io).await.unwrap();
        handle.spawn(connection).detach();

        let answers = [
            one.send_request(request()).await,
            two.send_request(request()).await,
        ];
        for (answer, version) in answers.into_iter().zip([Version::HTTP_11, Version::HTTP_2]) {
            let answer = answer.unwrap();
            assert_eq!(answer.version(), version);
            assert!(answer.into_body().collect().await.unwrap().to_bytes() == body);
        }
        drop((one, two));
        assert_eq!(open.close().await, 0);
    });
}

#[test]
fn a_handshake_that_fails_or_stalls_keeps_nobody_waiting_and_has_an_end() {
    run_by_hand(async |handle, clock| {
        let patience = Duration::from_secs(10);
        let (open, roots) = open_secured(&handle, server(&handle).header_timeout(patience));
        let mut wrong = open.connect().await;
        wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut stalled = open.connect().await;
        // The first bytes of a record that never comes.
        stalled.write_all(&[22, 3, 1, 2, 0]).await.unwrap();

        let io = connect(&open, roots, "http/1.1").await;
        let (mut client, connection) = http1::handshake(io).await.unwrap();
        handle.spawn(connection).detach();
        let request = Request::get("/hello").header("host", "localhost");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        assert!(
            client
                .send_request(request)
                .await
                .unwrap()
                .status()
                .is_success()
        );

        assert!(!rest(&mut wrong).await.contains("HTTP"));
        settle().await;
        assert!(!stalled.peer_closed());
        clock.advance(patience);
        rest(&mut stalled).await;
        drop(client);
        assert_eq!(open.close().await, 0);
    });
}
