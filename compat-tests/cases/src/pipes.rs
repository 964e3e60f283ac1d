//! Pipes and FIFOs: they end, begin again, and keep the blocking mode that their owner wants.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Stdio};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::fs::OFlags;
use tempfile::TempDir;
use untether::Async;

use crate::case::{Case, Need};
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::Scene;
use crate::wires::quiet;

pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        Case::of(
            a_fifo_reader_waits_for_its_first_writer,
            "A reader of a FIFO takes the time before the first writer for the end, or sleeps through it.",
        ),
        Case::of(
            a_fifo_ends_and_begins_again,
            "A hang-up sticks: the next writer is never heard, or the reader spins until it comes.",
        ),
        Case::of(
            a_fifo_opened_both_ways_never_ends,
            "A server that holds its own FIFO open sees an end where there is none.",
        ),
        Case::of(
            a_fifo_writer_opened_both_ways_needs_no_reader,
            "A writer that need not wait for a reader waits all the same.",
        ),
        Case::of(
            a_pipe_writer_sees_the_reader_go,
            "A sender into a full pipe sleeps for ever after its reader has gone.",
        ),
        Case::of(
            new_makes_it_non_blocking,
            "A read blocks the whole thread, or a descriptor's mode is changed against its owner's wish.",
        ),
        Case::of(
            into_inner_stays_non_blocking_as_documented,
            "Code that reuses a descriptor finds another mode than documented.",
        ),
        Case::of(
            into_blocking_inner_blocks_again,
            "A pipe handed to a child or to std fails with WouldBlock.",
        ),
        Case::of(
            a_childs_output_arrives_whole_and_ends,
            "Output of a child process is cut, or its end never comes.",
        ),
        Case::of(
            a_childs_input_ends_when_dropped,
            "A child process waits for more input for ever.",
        ),
    ];
    cases.map(|case| case.needs(&[Need::Unix])).into()
}

/// A FIFO, and the folder that goes when it is dropped.
fn fifo() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success(), "mkfifo: {made}");
    (folder, path)
}

fn open(path: &Path, options: &mut OpenOptions) -> File {
    options
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .unwrap()
}

fn open_reader(path: &Path) -> Async<File> {
    Async::new(open(path, OpenOptions::new().read(true))).unwrap()
}

fn open_writer(path: &Path) -> Async<File> {
    Async::new(open(path, OpenOptions::new().write(true))).unwrap()
}

/// The reading end, and the writing end, both blocking.
fn raw_pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (File::from(reader), File::from(writer))
}

fn is_non_blocking(descriptor: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(descriptor)
        .unwrap()
        .contains(OFlags::NONBLOCK)
}

fn a_fifo_reader_waits_for_its_first_writer(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = fifo();
        let reader = open_reader(&path);
        quiet("readable on a FIFO that had no writer", reader.readable()).await;
        let mut writer = open_writer(&path);
        quiet("readable on a FIFO with a silent writer", reader.readable()).await;
        writer.write_all(b"first").await.unwrap();
        steps.step("waiting for the first words");
        reader.readable().await.unwrap();
        let mut buffer = [0; 16];
        let n = reader.get_ref().read(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"first");
    });
}

fn a_fifo_ends_and_begins_again(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = fifo();
        let mut reader = open_reader(&path);
        let mut buffer = [0; 16];
        for round in 1..=3 {
            let mut writer = open_writer(&path);
            // A writer is there and silent: the end of the round before must be forgotten.
            let mut calls = 0;
            quiet(
                "a read from a silent writer",
                reader.read_with(|mut fifo| {
                    calls += 1;
                    fifo.read(&mut buffer)
                }),
            )
            .await;
            assert!(
                calls <= 3,
                "{calls} attempts to read while the writer was silent, in round {round}"
            );
            writer.write_all(b"again").await.unwrap();
            steps.step(&format!("reading in round {round}"));
            let n = reader.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..n], b"again");
            // It waits when the writer goes, so that the reactor hears of the hang-up.
            steps.step(&format!("reading the end of round {round}"));
            let mut read = pin!(reader.read(&mut buffer));
            assert!(poll_with(read.as_mut(), &Bell::new().waker()).is_pending());
            drop(writer);
            assert_eq!(read.await.unwrap(), 0);
        }
    });
}

fn a_fifo_opened_both_ways_never_ends(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = fifo();
        let mut reader =
            Async::new(open(&path, OpenOptions::new().read(true).write(true))).unwrap();
        let mut buffer = [0; 16];
        for round in 1..=3 {
            let mut writer = open_writer(&path);
            writer.write_all(b"words").await.unwrap();
            drop(writer);
            steps.step(&format!("reading in round {round}"));
            let n = reader.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..n], b"words");
            quiet("a read between two writers", reader.read(&mut buffer)).await;
        }
    });
}

fn a_fifo_writer_opened_both_ways_needs_no_reader(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_folder, path) = fifo();
        let mut writer =
            Async::new(open(&path, OpenOptions::new().read(true).write(true))).unwrap();
        steps.step("waiting for room in an empty FIFO");
        writer.writable().await.unwrap();
        writer.write_all(b"early").await.unwrap();
        let mut reader = open_reader(&path);
        let mut buffer = [0; 16];
        steps.step("reading what was written before");
        let n = reader.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"early");
    });
}

fn a_pipe_writer_sees_the_reader_go(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (reader, writer) = raw_pipe();
        let mut writer = Async::new(writer).unwrap();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let writer = tasks.spawn(async move {
            let chunk = vec![b'#'; 64 * 1024];
            loop {
                if let Err(error) = announce(&gate, writer.write(&chunk)).await {
                    return error.kind();
                }
            }
        });
        waiting.passed().await;
        drop(reader);
        tasks.step("waiting for the writer to see that nobody reads");
        assert_eq!(writer.await, io::ErrorKind::BrokenPipe);
    });
}

fn new_makes_it_non_blocking(scene: &Scene) {
    scene.run(async {
        let (reader, writer) = raw_pipe();
        assert!(!is_non_blocking(&reader));
        let reader = Async::new(reader).unwrap();
        assert!(is_non_blocking(reader.get_ref()), "new left it blocking");
        let writer = Async::new_nonblocking(writer).unwrap();
        assert!(
            !is_non_blocking(writer.get_ref()),
            "new_nonblocking changed the mode"
        );
    });
}

fn into_inner_stays_non_blocking_as_documented(scene: &Scene) {
    scene.run(async {
        let (reader, _writer) = raw_pipe();
        let reader = Async::new(reader).unwrap().into_inner().unwrap();
        assert!(is_non_blocking(&reader));
    });
}

fn into_blocking_inner_blocks_again(scene: &Scene) {
    scene.run(async {
        let (reader, mut writer) = raw_pipe();
        let reader = Async::new(reader).unwrap();
        assert!(poll_with(pin!(reader.readable()), &Bell::new().waker()).is_pending());
        let mut reader = reader.into_blocking_inner().unwrap();
        assert!(!is_non_blocking(&reader), "still non-blocking");
        writer.write_all(b"!").unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
    });
}

fn a_childs_output_arrives_whole_and_ends(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        // More than a pipe holds, so that the child has to wait for us as well.
        const LINES: usize = 20_000;
        let script = format!("i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); done");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = Async::new(child.stdout.take().unwrap()).unwrap();
        let mut output = String::new();
        steps.step("reading a child's output to its end");
        stdout.read_to_string(&mut output).await.unwrap();
        for (number, line) in output.lines().enumerate() {
            assert_eq!(line, number.to_string());
        }
        assert_eq!(output.lines().count(), LINES);
        assert!(child.wait().unwrap().success());
    });
}

fn a_childs_input_ends_when_dropped(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = Async::new(child.stdin.take().unwrap()).unwrap();
        let mut stdout = Async::new(child.stdout.take().unwrap()).unwrap();
        steps.step("writing to a child");
        stdin.write_all(b"to and fro").await.unwrap();
        let mut there = [0; 10];
        steps.step("reading its answer");
        stdout.read_exact(&mut there).await.unwrap();
        assert_eq!(&there, b"to and fro");
        drop(stdin);
        let mut rest = Vec::new();
        steps.step("waiting for it to see the end");
        stdout.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        assert!(child.wait().unwrap().success());
    });
}
