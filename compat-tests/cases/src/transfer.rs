//! Every byte arrives, once, in order, however it is cut into operations.

use std::io::{IoSlice, IoSliceMut};
use std::mem::size_of_val;
use std::sync::Arc;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use crate::case::Case;
use crate::scene::Scene;
use crate::wires::{pattern, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            megabytes_both_ways_at_once,
            "Under load in both directions a stream stalls, or its content is damaged.",
        ),
        Case::of(
            vectored_io_keeps_the_order_of_slices,
            "Vectored writes or reads mix up their slices.",
        ),
        Case::of(
            a_thousand_round_trips_of_one_byte,
            "Now and then an answer is not noticed, and a conversation stops.",
        ),
        Case::of(
            large_writes_go_through_small_reads,
            "A large message is cut where the buffers are full.",
        ),
        Case::of(
            waiting_futures_are_small,
            "Tasks take more memory than they need, and are slow to move.",
        ),
    ]
}

fn megabytes_both_ways_at_once(scene: &Scene) {
    const BYTES: usize = 2 << 20;
    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let mut ends = Vec::new();
        for stream in [Arc::new(here), Arc::new(there)] {
            let reading = stream.clone();
            ends.push(tasks.spawn(async move {
                let mut buffer = vec![0; 10_000];
                let mut position = 0;
                while position < BYTES {
                    let n = (&*reading).read(&mut buffer).await.unwrap();
                    assert_ne!(n, 0, "an end after {position} bytes");
                    for (offset, byte) in buffer[..n].iter().enumerate() {
                        assert_eq!(
                            *byte,
                            pattern(position + offset),
                            "byte {position}+{offset}"
                        );
                    }
                    position += n;
                }
                assert_eq!(position, BYTES);
            }));
            ends.push(tasks.spawn(async move {
                let data: Vec<u8> = (0..BYTES).map(pattern).collect();
                for chunk in data.chunks(33_333) {
                    (&*stream).write_all(chunk).await.unwrap();
                }
            }));
        }
        for (number, end) in ends.into_iter().enumerate() {
            tasks.step(&format!("waiting for task {number} of 4"));
            end.await;
        }
    });
}

fn vectored_io_keeps_the_order_of_slices(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        let slices = [
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two "),
            IoSlice::new(b"three"),
        ];
        steps.step("writing four slices");
        let written = here.write_vectored(&slices).await.unwrap();
        assert_eq!(written, 13, "a short write into an empty buffer");
        let (mut first, mut second) = ([0; 3], [0; 32]);
        let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        steps.step("reading into two slices");
        let read = there.read_vectored(&mut slices).await.unwrap();
        assert_eq!(read, 13);
        assert_eq!(&first, b"one");
        assert_eq!(&second[..10], b" two three");
    });
}

fn a_thousand_round_trips_of_one_byte(scene: &Scene) {
    const ROUNDS: usize = 1_000;
    let tasks = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        let echo = tasks.spawn(async move {
            let mut byte = [0];
            for _ in 0..ROUNDS {
                there.read_exact(&mut byte).await.unwrap();
                there.write_all(&byte).await.unwrap();
            }
        });
        let steps = tasks.clone();
        let client = tasks.spawn(async move {
            for round in 0..ROUNDS {
                steps.step(&format!("round trip {round}"));
                here.write_all(&[pattern(round)]).await.unwrap();
                let mut byte = [0];
                here.read_exact(&mut byte).await.unwrap();
                assert_eq!(byte, [pattern(round)]);
            }
        });
        client.await;
        echo.await;
    });
}

fn large_writes_go_through_small_reads(scene: &Scene) {
    const BYTES: usize = 512 * 1024;
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        let data: Vec<u8> = (0..BYTES).map(pattern).collect();
        let write = async {
            here.write_all(&data).await.unwrap();
            here.close().await.unwrap();
            drop(here);
        };
        let read = async {
            let mut position = 0;
            let mut buffer = [0; 613];
            loop {
                let n = there.read(&mut buffer).await.unwrap();
                if n == 0 {
                    return position;
                }
                for (offset, byte) in buffer[..n].iter().enumerate() {
                    assert_eq!(*byte, pattern(position + offset));
                }
                position += n;
            }
        };
        steps.step("writing in one piece, reading in small ones");
        let ((), arrived) = future::zip(write, read).await;
        assert_eq!(arrived, BYTES);
    });
}

fn waiting_futures_are_small(scene: &Scene) {
    const LIMIT: usize = 1_000;
    scene.run(async {
        let (mut here, there) = tcp_pair();
        let (mut first, mut second) = ([0; 16], [0; 16]);
        for (what, size) in [
            ("readable", size_of_val(&there.readable())),
            ("writable", size_of_val(&there.writable())),
            ("peek", size_of_val(&there.peek(&mut first))),
            ("read", size_of_val(&here.read(&mut second))),
        ] {
            assert!(size < LIMIT, "{what} takes {size} bytes");
        }
    });
}
