//! The server's own promises: how it ends, what it survives, what it tells.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use hyper::service::service_fn;
use tokio::sync::oneshot;
use untether::Async;
use untether_hyper::Listener;

use crate::{
    HELLO, everything, listener, open, open_on, open_with, rest, run, run_by_hand, says_hello,
    server, settle, text,
};

const KEPT: &str = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";

/// Reads an answer to [`KEPT`], after which the connection stays.
async fn hello(stream: &mut Async<TcpStream>) {
    let mut answer = String::new();
    while !answer.ends_with("hello") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        answer.push(byte[0].into());
    }
}

#[test]
fn at_the_end_idle_connections_are_closed_and_new_ones_refused() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut idle = open.connect().await;
        idle.write_all(KEPT.as_bytes()).await.unwrap();
        hello(&mut idle).await;
        let mut silent = open.connect().await;

        let address = open.address;
        assert_eq!(open.close().await, 0);
        assert_eq!(rest(&mut idle).await, "");
        assert_eq!(rest(&mut silent).await, "");
        let late = Async::<TcpStream>::connect(address).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn at_the_end_a_request_that_was_begun_is_answered() {
    run(async |handle| {
        let (begun, has_begun) = oneshot::channel();
        let (finish, finished) = oneshot::channel::<()>();
        let gates = Rc::new(RefCell::new(Some((begun, finished))));
        let slow = service_fn(move |_| {
            let gates = gates.borrow_mut().take();
            async {
                let (begun, finished) = gates.expect("one request");
                begun.send(()).unwrap();
                finished.await.unwrap();
                Ok::<_, hyper::Error>(text("hello"))
            }
        });
        let mut open = open_with(&handle, server(&handle), slow);
        let mut stream = open.connect().await;
        stream.write_all(KEPT.as_bytes()).await.unwrap();
        has_begun.await.unwrap();

        open.tell();
        settle().await;
        assert!(!open.serving.is_finished());
        finish.send(()).unwrap();
        assert_eq!(open.close().await, 0);
        let answer = rest(&mut stream).await;
        assert!(
            says_hello(&answer) && answer.contains("connection: close"),
            "{answer}"
        );
    });
}

#[test]
fn a_request_that_has_arrived_when_the_end_is_told_is_answered() {
    run(async |handle| {
        let (listener, address) = listener();
        let mut stream = Async::<TcpStream>::connect(address).await.unwrap();
        stream.write_all(KEPT.as_bytes()).await.unwrap();
        // It is told to stop as soon as it has accepted: nothing has been read yet.
        let (stop, stopped) = oneshot::channel::<()>();
        let mut stop = Some(stop);
        let accepted = move |_: &SocketAddr| {
            drop(stop.take());
            service_fn(everything)
        };
        let serving = server(&handle).serve_each(listener, accepted, async {
            let _ = stopped.await;
        });
        assert_eq!(serving.await.unwrap(), 0);
        assert!(says_hello(&rest(&mut stream).await));
    });
}

#[test]
fn what_takes_too_long_at_the_end_is_cut_off() {
    run_by_hand(async |handle, clock| {
        let (begun, has_begun) = oneshot::channel();
        let begun = Rc::new(RefCell::new(Some(begun)));
        let dropped = Rc::new(());
        let guard = Rc::downgrade(&dropped);
        let stuck = service_fn(move |_| {
            begun.borrow_mut().take().unwrap().send(()).unwrap();
            let dropped = dropped.clone();
            async move {
                let _dropped = dropped;
                std::future::pending::<Result<crate::Answer, hyper::Error>>().await
            }
        });
        let patience = Duration::from_secs(3);
        let server = server(&handle).drain_timeout(patience);
        let mut open = open_with(&handle, server, stuck);
        let mut stream = open.connect().await;
        stream.write_all(KEPT.as_bytes()).await.unwrap();
        has_begun.await.unwrap();

        open.tell();
        settle().await;
        assert!(!open.serving.is_finished());
        clock.advance(patience);
        assert_eq!(open.close().await, 1);
        assert_eq!(rest(&mut stream).await, "");
        assert_eq!(
            guard.strong_count(),
            0,
            "the service's future is still there"
        );
    });
}

#[test]
fn dropping_the_server_ends_its_connections() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut stream = open.connect().await;
        stream.write_all(KEPT.as_bytes()).await.unwrap();
        hello(&mut stream).await;
        drop(open);
        assert_eq!(rest(&mut stream).await, "");
    });
}

#[test]
fn a_service_that_panics_ends_its_own_connection() {
    run(async |handle| {
        let open = open(&handle, server(&handle));
        let mut other = open.connect().await;
        let panics = "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(crate::ask(&open, panics).await, "");
        other.write_all(HELLO.as_bytes()).await.unwrap();
        assert!(says_hello(&rest(&mut other).await));
        assert_eq!(open.close().await, 0);
    });
}

#[test]
fn each_connection_may_have_a_service_of_its_own_which_ends_with_it() {
    run(async |handle| {
        let (listener, address) = listener();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let note = seen.clone();
        let visit = move |from: &SocketAddr| {
            note.borrow_mut().push(*from);
            let alive = note.clone();
            service_fn(move |request| {
                let _alive = &alive;
                everything(request)
            })
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = handle.spawn(server(&handle).serve_each(listener, visit, async {
            let _ = stopped.await;
        }));
        let mut stream = Async::<TcpStream>::connect(address).await.unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        assert!(says_hello(&rest(&mut stream).await));
        assert_eq!(*seen.borrow(), [stream.get_ref().local_addr().unwrap()]);
        drop(stop);
        assert_eq!(serving.await.unwrap(), 0);
        assert_eq!(Rc::strong_count(&seen), 1);
    });
}

#[test]
fn a_version_that_is_not_spoken_is_not_answered() {
    run(async |handle| {
        const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let one = open(&handle, server(&handle).http1_only());
        let answer = crate::ask(&one, PREFACE).await;
        assert!(!answer.contains("200"), "{answer}");
        assert!(says_hello(&crate::ask(&one, HELLO).await));

        let two = open(&handle, server(&handle).http2_only());
        let answer = crate::ask(&two, HELLO).await;
        assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    });
}

/// A listener that fails as it is told before it accepts.
struct Failing {
    listener: Async<TcpListener>,
    failures: Mutex<Vec<io::Error>>,
    asked: Arc<AtomicUsize>,
}

impl Listener for Failing {
    type Io = Async<TcpStream>;
    type Address = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(Async<TcpStream>, SocketAddr)>> + Send {
        self.asked.fetch_add(1, SeqCst);
        let failure = self.failures.lock().unwrap().pop();
        async {
            match failure {
                Some(error) => Err(error),
                None => Listener::accept(&self.listener).await,
            }
        }
    }
}

#[test]
fn want_of_descriptors_makes_a_pause_and_a_client_that_gave_up_none() {
    run_by_hand(async |handle, clock| {
        const EMFILE: i32 = 24;
        let (listener, address) = listener();
        let asked = Arc::new(AtomicUsize::new(0));
        let failing = Failing {
            listener,
            failures: Mutex::new(vec![
                io::Error::from_raw_os_error(EMFILE),
                io::ErrorKind::ConnectionAborted.into(),
                io::Error::from_raw_os_error(EMFILE),
            ]),
            asked: asked.clone(),
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let note = told.clone();
        let server = server(&handle).on_error(move |error| {
            note.lock().unwrap().push(error.to_string());
        });
        let open = open_on(&handle, server, failing, address, service_fn(everything));
        let mut stream = open.connect().await;
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        for (attempts, reports) in [(1, 1), (3, 2)] {
            settle().await;
            assert_eq!(asked.load(SeqCst), attempts);
            assert_eq!(told.lock().unwrap().len(), reports);
            clock.advance(Duration::from_secs(1));
        }
        assert!(says_hello(&rest(&mut stream).await));
        assert!(told.lock().unwrap()[0].contains("os error 24"));
    });
}

#[test]
fn a_broken_listener_ends_the_server() {
    run(async |handle| {
        const EBADF: i32 = 9;
        let (listener, address) = listener();
        let failing = Failing {
            listener,
            failures: Mutex::new(vec![io::Error::from_raw_os_error(EBADF)]),
            asked: Arc::default(),
        };
        let open = open_on(
            &handle,
            server(&handle),
            failing,
            address,
            service_fn(everything),
        );
        let error = open.serving.await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EBADF));
    });
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_served_too() {
    use std::os::unix::net::{UnixListener, UnixStream};

    run(async |handle| {
        let folder = std::env::temp_dir().join(format!("untether-hyper-{}", std::process::id()));
        let listener = Async::<UnixListener>::bind(&folder).unwrap();
        let nowhere = ([127, 0, 0, 1], 0).into();
        let open = open_on(
            &handle,
            server(&handle),
            listener,
            nowhere,
            service_fn(everything),
        );
        let mut stream = Async::<UnixStream>::connect(&folder).await.unwrap();
        std::fs::remove_file(&folder).unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(says_hello(&answer));
        assert_eq!(open.close().await, 0);
    });
}
