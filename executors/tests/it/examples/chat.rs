//! The chat server: names, who hears what, and that nobody waits for a slow one.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use futures::channel::oneshot;
use futures_lite::future;
use untether_executors::Local;

use super::{Client, chat_server, listener};

/// A server on a thread of its own, until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (listener, address) = listener();
            tell.send(address).unwrap();
            let local = Local::new();
            let serve = async {
                chat_server::serve(listener, local.handle()).await.unwrap();
            };
            let stopped = async {
                let _ = stopped.await;
            };
            local.run(future::or(serve, stopped));
        });
        Server {
            address: told.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn join(&self, name: &str) -> Client {
        let mut client = Client::connect(self.address);
        assert_eq!(client.hear(), "* your name?");
        client.say(name);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// Two members, of whom each knows that the other is there.
fn couple(server: &Server) -> (Client, Client) {
    let mut ann = server.join("ann");
    let mut bob = server.join("bob");
    assert_eq!(ann.hear(), "* bob is here");
    // Ann may not have been one herself when Bob came; what she says now, he hears for certain.
    ann.say("hello");
    assert_eq!(bob.hear(), "ann: hello");
    (ann, bob)
}

#[test]
fn everybody_else_hears_what_one_says() {
    let server = Server::start();
    let (mut ann, mut bob) = couple(&server);
    let mut eve = server.join("eve");
    assert_eq!(ann.hear(), "* eve is here");
    assert_eq!(bob.hear(), "* eve is here");
    bob.say("good evening");
    assert_eq!(ann.hear(), "bob: good evening");
    assert_eq!(eve.hear(), "bob: good evening");
    // Not himself.
    eve.say("you too");
    assert_eq!(bob.hear(), "eve: you too");
}

#[test]
fn a_name_is_had_once_and_again_when_its_owner_has_left() {
    let server = Server::start();
    let (ann, mut bob) = couple(&server);
    let mut second = server.join("ann");
    assert_eq!(second.hear(), "* your name?");
    second.say("   ");
    assert_eq!(second.hear(), "* your name?");
    drop(ann);
    assert_eq!(bob.hear(), "* ann has left");
    second.say("ann");
    assert_eq!(bob.hear(), "* ann is here");
}

#[test]
fn a_line_reaches_no_terminal_as_a_command() {
    let server = Server::start();
    let (mut ann, mut bob) = couple(&server);
    ann.say("red \x1b[31malert\r");
    assert_eq!(bob.hear(), "ann: red [31malert");
}

#[test]
fn who_pastes_a_book_makes_nobody_look_slow() {
    let server = Server::start();
    let (mut ann, mut bob) = couple(&server);
    // Many lines in one piece: more than a queue holds.
    let book: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    ann.say(&book.join("\n"));
    for line in book {
        assert_eq!(bob.hear(), format!("ann: {line}"));
    }
}

#[test]
fn a_line_without_an_end_ends_its_client_and_nobody_else() {
    let server = Server::start();
    let (mut ann, mut bob) = couple(&server);
    ann.say(&"x".repeat(10_000));
    assert_eq!(bob.hear(), "* ann has left");
}

#[test]
fn a_slow_reader_is_dropped_with_a_notice_and_holds_up_nobody() {
    let server = Server::start();
    let (mut ann, mut bob) = couple(&server);
    let mut slow = server.join("slow");
    assert_eq!(ann.hear(), "* slow is here");
    assert_eq!(bob.hear(), "* slow is here");

    // Bob hears every line, while the slow one hears none; until its socket is full, and then its queue.
    let line = "x".repeat(4_000);
    let mut said = 0;
    loop {
        ann.say(&line);
        said += 1;
        let heard = bob.hear();
        if heard != format!("ann: {line}") {
            assert_eq!(heard, "* slow is too slow, and was dropped");
            break;
        }
        assert!(said < 100_000, "it is never dropped");
    }
    assert_eq!(ann.hear(), "* slow is too slow, and was dropped");
    // What was queued before, it still gets, and then learns what has become of it.
    let mut heard = 0;
    let farewell = loop {
        let line = slow.hear();
        if !line.starts_with("ann: ") {
            break line;
        }
        heard += 1;
    };
    assert_eq!(farewell, "* you are too slow, and were dropped");
    assert!((64..said).contains(&heard), "{heard} of {said}");
    assert_eq!(slow.hear(), "");
}
