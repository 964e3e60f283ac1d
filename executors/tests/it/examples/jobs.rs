//! The job queue: the urgent overtake, and who goes takes the unfinished along.

use std::net::SocketAddr;

use untether_executors::{Class, Priority, Spawn, Task};

use super::*;

fn server(threads: usize) -> (Priority, SocketAddr, Task<io::Result<()>>) {
    let priority = Priority::new(threads).unwrap();
    let (listener, address) = listener();
    let urgent = priority.handle(Class::Urgent);
    let task = urgent.spawn(job_queue::serve(listener, urgent.clone()));
    (priority, address, task)
}

#[test]
fn jobs_are_done_and_what_is_none_is_explained() {
    let (_priority, address, _task) = server(2);
    let mut client = Client::connect(address);
    client.say("urgent 10");
    assert_eq!(client.hear(), "urgent 10: 4");
    client.say("normal 2");
    assert_eq!(client.hear(), "normal 2: 0");
    client.say("background 100000");
    assert_eq!(client.hear(), "background 100000: 9592");
    let usage = "say: urgent NUMBER, normal NUMBER, or background NUMBER";
    for nonsense in [
        "",
        "now",
        "sometime 10",
        "urgent",
        "urgent ten",
        "urgent -1",
    ] {
        client.say(nonsense);
        assert_eq!(client.hear(), usage);
    }
}

#[test]
fn who_has_said_everything_still_gets_all_answers() {
    let (_priority, address, _task) = server(1);
    let mut client = Client::connect(address);
    // More than are under way at once.
    let jobs: Vec<String> = (0..100).map(|n| format!("normal {n}")).collect();
    client.say(&jobs.join("\n"));
    client.end();
    let mut answers: Vec<String> = (0..100).map(|_| client.hear()).collect();
    assert_eq!(client.hear(), "");
    let done = |answer: &String| answer.split_once(": ").unwrap().0.to_owned();
    let mut done: Vec<String> = answers.drain(..).map(|answer| done(&answer)).collect();
    done.sort_by_key(|job| job.split_once(' ').unwrap().1.parse::<u32>().unwrap());
    assert_eq!(done, jobs);
}

#[test]
fn the_urgent_overtake() {
    let (_priority, address, _task) = server(1);
    let mut client = Client::connect(address);
    // In one piece, and the large ones first: each of them takes a thousand turns.
    client.say("background 300000\nbackground 300001\nurgent 1000\nurgent 2000");
    let answers = [(); 4].map(|()| client.hear());
    let done = answers.map(|answer| answer.split_once(": ").unwrap().0.to_owned());
    assert_eq!(done[0], "urgent 1000");
    assert_eq!(done[1], "urgent 2000");
}

// The server learns of it by a reset, which Wine does not tell of.
#[cfg_attr(windows, ignore = "a reset is not told of under Wine")]
#[test]
fn a_client_that_goes_away_takes_its_jobs_along() {
    let (priority, address, _task) = server(1);
    let mut client = Client::connect(address);
    // For hours; and one whose answer is not read, so that closing the socket is no polite end.
    client.say("background 4000000000\nurgent 10");
    client.lines.get_ref().peek(&mut [0]).unwrap();
    let started = std::time::Instant::now();
    assert_eq!(priority.metrics().alive, 3, "server, client, job");
    drop(client);
    while priority.metrics().alive > 1 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}
