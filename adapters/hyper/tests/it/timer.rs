//! Time: hyper's sleeps are ours, and obey a manual clock.

use std::task::{Context, Waker};
use std::time::Duration;

use futures_lite::AsyncWriteExt;
use hyper::rt::Timer as _;
use untether::{Clock, Reactor};
use untether_hyper::Timer;

use crate::{HELLO, open, rest, run_by_hand, says_hello, server, settle};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_sleep_ends_when_a_manual_clock_says_so_and_can_be_moved_in_place() {
    let clock = Clock::manual();
    let reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    reactor.enter(|| {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sleep = Timer.sleep(MINUTE);
        assert!(sleep.as_mut().poll(&mut cx).is_pending());

        let place: *const () = (&raw const *sleep).cast();
        Timer.reset(&mut sleep, Timer.now() + 3 * MINUTE);
        assert_eq!(place, (&raw const *sleep).cast(), "another sleep was made");
        clock.advance(2 * MINUTE);
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        clock.advance(MINUTE);
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
        assert_eq!(Timer.now(), clock.now());
    });
}

/// A slow-loris client: it is there, says a little at most, and never finishes.
#[test]
fn a_client_that_is_too_slow_is_hung_up_on_at_any_stage() {
    let stages = [
        ("", "", "says nothing"),
        ("PRI * HT", "", "begins the preface of HTTP/2"),
        ("GET / HTTP/1.1\r\nhos", "", "begins a head"),
        (
            "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
            "hello",
            "leaves it at one request",
        ),
    ];
    for (said, answered, what) in stages {
        run_by_hand(async |handle, clock| {
            let open = open(&handle, server(&handle).header_timeout(MINUTE));
            let mut slow = open.connect().await;
            slow.write_all(said.as_bytes()).await.unwrap();
            // One more request goes through, so the slow one's words have arrived too.
            let mut quick = open.connect().await;
            quick.write_all(HELLO.as_bytes()).await.unwrap();
            assert!(says_hello(&rest(&mut quick).await));
            settle().await;
            clock.advance(MINUTE - Duration::from_secs(1));
            settle().await;
            assert!(
                !slow.peer_closed(),
                "a client that {what} has still a second"
            );
            clock.advance(Duration::from_secs(1));
            let answer = rest(&mut slow).await;
            assert!(
                answer.contains(answered),
                "a client that {what}: {answer:?}"
            );
            assert_eq!(open.close().await, 0);
        });
    }
}

#[test]
fn a_client_that_goes_on_in_time_is_served() {
    run_by_hand(async |handle, clock| {
        let open = open(&handle, server(&handle).header_timeout(MINUTE));
        let mut stream = open.connect().await;
        let (first, second) = HELLO.split_at(20);
        stream.write_all(first.as_bytes()).await.unwrap();
        settle().await;
        clock.advance(MINUTE / 2);
        stream.write_all(second.as_bytes()).await.unwrap();
        assert!(says_hello(&rest(&mut stream).await));
    });
}

#[test]
fn without_a_time_out_a_client_may_be_silent() {
    run_by_hand(async |handle, clock| {
        let open = open(&handle, server(&handle).header_timeout(None));
        let mut stream = open.connect().await;
        settle().await;
        clock.advance(1000 * MINUTE);
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        assert!(says_hello(&rest(&mut stream).await));
    });
}

/// A half-open connection: the peer is gone, and has not said so.
#[test]
fn an_http_2_peer_that_answers_no_ping_is_given_up() {
    run_by_hand(async |handle, clock| {
        let open = open(&handle, server(&handle));
        let mut stream = open.connect().await;
        // The preface, empty settings, and then nothing, not even an acknowledgement.
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let gone = handle.spawn(async move { rest(&mut stream).await });
        for _ in 0..10 {
            assert!(!gone.is_finished());
            settle().await;
            clock.advance(Duration::from_secs(5));
        }
        gone.await;
    });
}
