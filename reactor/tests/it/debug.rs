//! A program that hangs can be asked: the debug output of a reactor names who waits for what.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use untether::{Async, Interest, Reactor, Timer};

use crate::support::{is_epoll, poll_once, until};

/// The line that tells of `source`.
fn line(reactor: &Reactor, source: &Async<UnixStream>) -> String {
    let whole = format!("{reactor:#?}");
    let name = format!("Descriptor({})", source.get_ref().as_raw_fd());
    let lines: Vec<_> = whole.lines().filter(|line| line.contains(&name)).collect();
    assert_eq!(lines.len(), 1, "{name} in {whole}");
    lines[0].to_owned()
}

#[test]
fn it_names_each_descriptor_and_what_is_waited_for() {
    let reactor = Reactor::builder().name("stuck").build().unwrap();
    reactor.enter(|| {
        let (reader, _other) = Async::<UnixStream>::pair().unwrap();
        let (both, _another) = Async::<UnixStream>::pair().unwrap();
        let mut read = reader.readable();
        let (mut first, mut second) = (both.readable(), both.readable());
        let mut error = Box::pin(both.ready(Interest::ERROR));
        assert!(poll_once(&mut read).is_pending());
        assert!(poll_once(&mut first).is_pending());
        assert!(poll_once(&mut second).is_pending());
        assert!(poll_once(&mut error).is_pending());

        let said = line(&reactor, &reader);
        assert!(said.contains("1 waiting for [read"), "{said}");
        assert!(!said.contains("waiting for [read+write"), "{said}");
        let said = line(&reactor, &both);
        assert!(said.contains("3 waiting for [read"), "{said}");
        assert!(said.contains("error"), "{said}");

        drop((first, second, error));
        let said = line(&reactor, &both);
        assert!(said.contains("0 waiting for []"), "{said}");
    });
}

#[test]
fn it_tells_how_the_reactor_stands() {
    let reactor = Reactor::builder().name("ledger").build().unwrap();
    let mut timer = Timer::after(Duration::from_secs(3600));
    assert!(reactor.enter(|| poll_once(&mut timer)).is_pending());
    let said = format!("{reactor:?}");
    for part in [
        "name: \"ledger\"",
        "driven_now: false",
        "driver: its owner",
        "timers: 1",
        "next_deadline_in: Some(3599.",
        if is_epoll() { "Epoll" } else { "Portable" },
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    drop(timer);
    assert!(format!("{reactor:?}").contains("timers: 0"));
}

#[test]
fn all_names_living_reactors_and_no_others() {
    let reactor = Reactor::builder().name("here and gone").build().unwrap();
    let listed = || {
        let all = Reactor::all();
        all.iter()
            .any(|one| format!("{one:?}").contains("here and gone"))
    };
    assert!(listed());
    drop(reactor);
    // Whoever else asks for all of them just now holds it a little longer.
    until("its end", || !listed());
}
