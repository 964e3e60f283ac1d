//! What the figures are asked for: the chapters of the report, who is compared with whom, and what is said in short.

/// Figures that answer one question.
pub(super) struct Chapter {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) measures: &'static [&'static str],
    /// What is shown as ratios, and said to be won or lost; everything else stands in the tables.
    pub(super) chief: &'static [&'static str],
}

pub(super) const CHAPTERS: &[Chapter] = &[
    Chapter {
        title: "A server on one core",
        text: "The same echo server on each runtime, pinned to one core, with one request in flight on each of C \
               connections. `raw` is an epoll loop by hand, which does nothing but echo: the limit. `monoio` is here for \
               reference, as io_uring makes other system calls.",
        measures: &["echo"],
        chief: &["requests", "CPU", "p99"],
    },
    Chapter {
        title: "What a request costs, exactly",
        text: "User instructions (callgrind) and system calls (strace) of the same servers, for each request, and for each \
               connection that is accepted, answered once and closed. They do not depend on how busy the machine is.",
        measures: &["instructions", "syscalls"],
        chief: &["user instructions", "system calls"],
    },
    Chapter {
        title: "On any executor",
        text: "Our I/O and async-io's on executors that know of neither: futures' `LocalPool` and `ThreadPool`, and tokio's \
               current_thread without I/O of its own.",
        measures: &["foreign"],
        chief: &["requests", "CPU"],
    },
    Chapter {
        title: "Two threads",
        text: "Executors with two threads, free to move between the cores or pinned to one each; the load generator has one \
               of these cores too. So with one connection it matters most whether the kernel puts the thread that answers on that core, \
               where nobody has to be woken from afar. In `work`, each request takes some 30 us of computing.",
        measures: &["pool", "work"],
        chief: &["requests", "CPU", "p99"],
    },
    Chapter {
        title: "A time-out around every read",
        text: "What it adds to have each read give up after 5 s, which none does.",
        measures: &["timeout"],
        chief: &["requests", "CPU"],
    },
    Chapter {
        title: "Timers",
        text: "A timer that is made, polled once and dropped, as most time-outs are, while others are pending; how late \
               timers fire; and what one takes of the heap, beside the object itself.",
        measures: &["timers", "lateness", "timer bytes"],
        chief: &["create + poll + drop", "p50 late", "p99 late", "heap"],
    },
    Chapter {
        title: "Executors without I/O",
        text: "Starting tasks and awaiting them, waking, yielding; and what a task takes of the heap, beside what it captures.",
        measures: &["executors", "task bytes"],
        chief: &["cost", "heap"],
    },
    Chapter {
        title: "Connections",
        text: "Accept, answer once, close; the heap of an idle connection, beside its buffer; and a socket that is made \
               waitable, waited for once and dropped.",
        measures: &["connections", "connection bytes", "registration"],
        chief: &["CPU", "heap", "make + wait + drop"],
    },
    Chapter {
        title: "A web server",
        text: "hyper's hello-world over each runtime, on one core, compared with tokio's: by our load generator, which compares \
               every byte of the answers but the date, and by wrk. `timed` and `server` watch over how long a client takes.",
        measures: &["hyper", "hyper wrk", "hyper syscalls", "hyper instructions"],
        chief: &["requests", "CPU", "user instructions", "system calls"],
    },
    Chapter {
        title: "Other programs",
        text: "Servers that were named on the command line, compared with the first of them.",
        measures: &["guests"],
        chief: &["requests", "CPU"],
    },
    Chapter {
        title: "Two worlds in one process",
        text: "An executor that drives its own I/O, beside a task on a foreign one, compared with itself alone; the latency \
               of the foreign task while the other computes; and that of a pool one of whose workers computes for a second \
               at a time.",
        measures: &["beside"],
        chief: &["requests", "CPU", "p50", "p99", "slowest"],
    },
    Chapter {
        title: "The adaptive spin",
        text: "Off by default. A thread that looks for up to 50 us before it blocks, while waits are short, answers sooner: the \
               gain is in not being woken. So it stands apart from the rows that compare the same work. With gaps between \
               requests it must cost nothing.",
        measures: &["spin"],
        chief: &["requests", "CPU", "p50"],
    },
    Chapter {
        title: "Idle",
        text: "Wake-ups per second of a program with 100 connections on which nothing happens, and 1,000 far timers.",
        measures: &["idle"],
        chief: &[],
    },
];

/// Ours, and whom it is compared with.
pub(super) const RIVALS: &[(&str, &[&str])] = &[
    (
        "untether-local",
        &[
            "raw",
            "tokio-current-thread",
            "smol-local",
            "async-executor-local",
        ],
    ),
    ("hyper-untether", &["hyper-tokio", "hyper-smol"]),
    ("hyper-untether-server", &["hyper-tokio-timed"]),
    ("untether-pool-1", &["tokio-multi-thread-1"]),
    ("untether-pool-2", &["tokio-multi-thread-2", "smol-2"]),
    (
        "untether-pool-2-pinned",
        &["tokio-multi-thread-2-pinned", "smol-2-pinned"],
    ),
    ("untether-on-async-executor-2", &["smol-2"]),
    (
        "untether-on-futures-local",
        &["raw", "async-io-on-futures-local"],
    ),
    ("untether-on-tokio", &["async-io-on-tokio"]),
    (
        "untether-on-futures-threads",
        &["async-io-on-futures-threads"],
    ),
    (
        "untether-local + 5 s",
        &[
            "untether-local",
            "tokio-current-thread + 5 s",
            "smol-local + 5 s",
        ],
    ),
    ("untether", &["tokio", "async-io"]),
    ("untether-pool", &["tokio-multi-thread", "async-executor"]),
    ("untether-local + a foreign task", &["untether-local"]),
    ("smol-local + a foreign task", &["smol-local"]),
    (
        "untether-on-futures-local-unpinned + computing",
        &["async-io-on-futures-local-unpinned + computing"],
    ),
    (
        "untether-pool-2 + long polls",
        &["tokio-multi-thread-2 + long polls", "smol-2 + long polls"],
    ),
    ("untether-local-spin", &["raw", "untether-local"]),
];

/// Whether a measure compares this one of ours. Some compare it with another of ours, and are silent about the rest.
pub(super) fn is_compared(measure: &str, ours: &str) -> bool {
    match measure {
        "beside" | "timeout" => ours.contains(" + "),
        "spin" => ours == "untether-local-spin",
        _ => true,
    }
}

/// Whether more is better, as of what happens in a second; of everything else, less is.
pub(super) fn is_better_higher(metric: &str) -> bool {
    ["requests", "connections"].contains(&metric)
}

/// One line of the answer in short: one of ours, and the bare loop, tokio and smol beside it.
pub(super) struct Headline {
    pub(super) question: &'static str,
    pub(super) measure: &'static str,
    pub(super) case: &'static str,
    pub(super) metric: &'static str,
    pub(super) ours: &'static str,
    pub(super) peers: [&'static str; 3],
}

/// What the peers of a headline are.
pub(super) const PEERS: [&str; 3] = ["bare epoll loop", "tokio", "smol (async-io)"];

const LOCAL_PEERS: [&str; 3] = ["raw", "tokio-current-thread", "smol-local"];
const POOL_PEERS: [&str; 3] = ["", "tokio-multi-thread-2", "smol-2"];

const fn echo(question: &'static str, case: &'static str, metric: &'static str) -> Headline {
    Headline {
        question,
        measure: "echo",
        case,
        metric,
        ours: "untether-local",
        peers: LOCAL_PEERS,
    }
}

pub(super) const HEADLINES: &[Headline] = &[
    echo("echo, 64 connections, one core", "C=64 64 B", "requests"),
    echo("the same: CPU for each request", "C=64 64 B", "CPU"),
    Headline {
        measure: "instructions",
        ..echo(
            "the same: user instructions",
            "C=64 64 B",
            "user instructions",
        )
    },
    Headline {
        measure: "syscalls",
        ..echo("the same: system calls", "C=64 64 B", "system calls")
    },
    echo(
        "echo, 1,024 connections, one core",
        "C=1024 64 B",
        "requests",
    ),
    Headline {
        measure: "hyper",
        ours: "hyper-untether",
        peers: ["", "hyper-tokio", "hyper-smol"],
        ..echo(
            "hyper's hello-world, 64 connections",
            "C=64 hello",
            "requests",
        )
    },
    Headline {
        measure: "foreign",
        ours: "untether-on-futures-local",
        peers: ["raw", "", "async-io-on-futures-local"],
        ..echo("echo on futures' LocalPool", "C=64 64 B", "requests")
    },
    Headline {
        measure: "pool",
        ours: "untether-pool-2",
        peers: POOL_PEERS,
        ..echo("echo on two threads", "C=64 64 B", "requests")
    },
    Headline {
        measure: "work",
        ours: "untether-pool-2",
        peers: POOL_PEERS,
        ..echo("the same with 30 us of computing", "C=64 64 B", "requests")
    },
    Headline {
        measure: "timers",
        ours: "untether",
        peers: ["", "tokio", "async-io"],
        ..echo(
            "a timer: create + poll + drop",
            "10000 pending, earlier, 1 thread",
            "create + poll + drop",
        )
    },
    Headline {
        measure: "executors",
        peers: ["", "tokio-current-thread", "async-executor-local"],
        ..echo("a task: spawn + complete", "spawn, 1 thread", "cost")
    },
    Headline {
        measure: "connections",
        ..echo("accept, answer once, close: CPU", "8 at once", "CPU")
    },
];

#[cfg(test)]
mod tests {
    use super::{CHAPTERS, HEADLINES};
    use crate::measures::MEASURES;

    #[test]
    fn every_measure_has_a_chapter() {
        for name in MEASURES.iter().flat_map(|measure| measure.names) {
            assert!(
                CHAPTERS
                    .iter()
                    .any(|chapter| chapter.measures.contains(name)),
                "{name}"
            );
        }
    }

    #[test]
    fn headlines_are_of_chapters() {
        for headline in HEADLINES {
            assert!(
                CHAPTERS.iter().any(|chapter| {
                    chapter.measures.contains(&headline.measure)
                        && chapter.chief.contains(&headline.metric)
                }),
                "{}",
                headline.question
            );
        }
    }
}
