//! The connector, alone and under hyper-util's client.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use tower_service::Service;
use untether::{Async, timeout};
use untether_executors::{Local, LocalHandle, Remote};
use untether_hyper::{Connector, Executor, Timer};

use crate::{Open, PATIENCE, everything, open_on, run, server};

type HttpClient = Client<Connector, Empty<Bytes>>;

/// As [`run`], with what a client can start its tasks with.
fn run_with_client<F>(connector: Connector, test: impl FnOnce(LocalHandle, HttpClient) -> F)
where
    F: Future<Output = ()>,
{
    let local = Local::new();
    let executor: Executor<Remote> = Executor(local.remote());
    let client = Client::builder(executor).pool_timer(Timer).build(connector);
    local.run(async {
        let done = timeout(PATIENCE, test(local.handle(), client)).await;
        done.expect("the test hangs");
    });
}

/// Serves at `address`, if the machine has such.
fn open_at(handle: &LocalHandle, address: impl Into<SocketAddr>) -> io::Result<Open> {
    let listener = Async::<TcpListener>::bind(address)?;
    let address = listener.get_ref().local_addr()?;
    let service = service_fn(everything);
    Ok(open_on(handle, server(handle), listener, address, service))
}

async fn get(client: &HttpClient, uri: &str) -> Bytes {
    let response = client.get(uri.parse().unwrap()).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes()
}

/// An address where nobody listens.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_client_keeps_its_connection_for_the_next_request() {
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = lookups.clone();
    let connector = Connector::new().resolver(move |host, port| {
        assert_eq!(host, "served.test");
        count.fetch_add(1, SeqCst);
        async move { Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]) }
    });
    run_with_client(connector, async |handle, client| {
        let open = open_at(&handle, (Ipv4Addr::LOCALHOST, 0)).unwrap();
        let uri = format!("http://served.test:{}/hello", open.address.port());
        for _ in 0..3 {
            assert_eq!(get(&client, &uri).await, "hello");
        }
        assert_eq!(lookups.load(SeqCst), 1);
        drop(client);
        assert_eq!(open.close().await, 0);
    });
}

#[test]
fn the_system_s_resolver_knows_this_machine() {
    run_with_client(Connector::new(), async |handle, client| {
        let open = open_at(&handle, (Ipv4Addr::LOCALHOST, 0)).unwrap();
        // It may give [::1] first, where nobody listens.
        let uri = format!("http://localhost:{}/hello", open.address.port());
        assert_eq!(get(&client, &uri).await, "hello");
    });
}

#[test]
fn addresses_are_not_looked_up() {
    let connector = Connector::new().resolver(async |host, _| panic!("{host} was looked up"));
    run_with_client(connector, async |handle, client| {
        let addresses: [SocketAddr; 2] = [
            (Ipv4Addr::LOCALHOST, 0).into(),
            (Ipv6Addr::LOCALHOST, 0).into(),
        ];
        for address in addresses {
            match open_at(&handle, address) {
                Ok(open) => {
                    let uri = format!("http://{}/hello", open.address);
                    assert_eq!(get(&client, &uri).await, "hello");
                }
                Err(error) => println!("skipped {address}: {error}"),
            }
        }
    });
}

#[test]
fn where_one_address_refuses_the_next_is_tried() {
    let refusing = closed();
    let connector = Connector::new().resolver(move |_, port| async move {
        Ok(vec![refusing, (Ipv4Addr::LOCALHOST, port).into()])
    });
    run_with_client(connector, async |handle, client| {
        let open = open_at(&handle, (Ipv4Addr::LOCALHOST, 0)).unwrap();
        let uri = format!("http://two.test:{}/hello", open.address.port());
        assert_eq!(get(&client, &uri).await, "hello");
    });
}

/// A listener whose queue is full, so that nobody answers those who connect. Keep it all.
#[cfg(target_os = "linux")]
fn silent() -> (TcpListener, Vec<std::net::TcpStream>, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
    {
        queue.push(stream);
    }
    (listener, queue, address)
}

#[cfg(target_os = "linux")]
#[test]
fn where_one_address_is_silent_the_next_is_tried_beside_it_and_it_is_let_go() {
    let (_listener, _queue, silent) = silent();
    let connector = Connector::new()
        .attempt_delay(Duration::from_millis(10))
        .resolver(
            move |_, port| async move { Ok(vec![silent, (Ipv4Addr::LOCALHOST, port).into()]) },
        );
    run_with_client(connector, async |handle, client| {
        let open = open_at(&handle, (Ipv4Addr::LOCALHOST, 0)).unwrap();
        let uri = format!("http://two.test:{}/hello", open.address.port());
        assert_eq!(get(&client, &uri).await, "hello");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn when_the_time_is_up_the_error_says_what_was_tried() {
    let (_listener, _queue, silent) = silent();
    let refusing = closed();
    run(async |_| {
        let mut connector = Connector::new()
            .timeout(Duration::from_millis(50))
            .attempt_delay(Duration::from_millis(1))
            .resolver(move |_, _| async move { Ok(vec![silent, refusing]) });
        let error = connector
            .call("http://two.test/".parse().unwrap())
            .await
            .unwrap_err();
        assert!(error.is_timeout());
        let kinds = error
            .attempts()
            .iter()
            .map(|(address, error)| (*address, error.kind()));
        let expected = [
            (refusing, io::ErrorKind::ConnectionRefused),
            (silent, io::ErrorKind::TimedOut),
        ];
        assert!(kinds.eq(expected), "{error:?}");
        let said = error.to_string();
        let begin = format!("cannot connect to two.test port 80 within 50ms: {refusing}: ");
        assert!(
            said.starts_with(&begin) && said.ends_with(&format!("; {silent}: no answer")),
            "{said}"
        );
    });
}

#[test]
fn a_look_up_that_fails_or_finds_nothing_or_takes_too_long_says_so() {
    run(async |_| {
        let call = async |connector: Connector| {
            let uri = "http://none.test/".parse().unwrap();
            connector.clone().call(uri).await.unwrap_err()
        };
        let failing = Connector::new().resolver(async |_, _| Err(io::Error::other("no such name")));
        let error = call(failing).await;
        assert_eq!(
            error.to_string(),
            "cannot look up none.test port 80: no such name"
        );

        let empty = Connector::new().resolver(async |_, _| Ok(Vec::new()));
        let error = call(empty).await;
        assert_eq!(
            error.to_string(),
            "cannot connect to none.test port 80: it has no address"
        );

        let slow = Connector::new()
            .timeout(Duration::from_millis(1))
            .resolver(async |_, _| std::future::pending().await);
        let error = call(slow).await;
        assert!(error.is_timeout() && error.attempts().is_empty());
        let expected = "cannot connect to none.test port 80 within 1ms: still looking it up";
        assert_eq!(error.to_string(), expected);
    });
}

#[test]
fn nodelay_is_as_was_said() {
    run(async |handle| {
        let open = open_at(&handle, (Ipv4Addr::LOCALHOST, 0)).unwrap();
        let uri: hyper::Uri = format!("http://{}/", open.address).parse().unwrap();
        for wanted in [true, false] {
            let stream = Connector::new()
                .nodelay(wanted)
                .call(uri.clone())
                .await
                .unwrap();
            assert_eq!(stream.get_ref().get_ref().nodelay().unwrap(), wanted);
        }
    });
}
