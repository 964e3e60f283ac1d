//! "A short transfer means that the kernel's buffer is drained" spares an attempt, and is a trap wherever it is not so.
//!
//! Each case here lets a transfer be short for another reason, and then waits for what is left: forgetting too much
//! would be a wait for an event that never comes.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    send, sendmsg, socketpair,
};
use untether::{Async, Reactor};

use crate::support::{block_on_in, ends, look};

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// Reads what `wrap` makes to its end, in pieces of up to 64 bytes, in the reactor where it was made. All there is to be
/// told is delivered before each piece, so nothing but what is remembered, or a new event, can end a wait.
fn read_all<T: untether::IoSafe + io::Read>(
    wrap: impl FnOnce() -> Async<T> + Send + 'static,
) -> Vec<u8> {
    ends(move || {
        let reactor = Reactor::new().unwrap();
        block_on_in(&reactor, async {
            let mut stream = wrap();
            let (mut all, mut piece) = (Vec::new(), [0; 64]);
            loop {
                // Not until there is nothing: poll(2) tells of a hang-up as long as it lasts.
                (0..3).for_each(|_| {
                    look(&reactor);
                });
                match stream.read(&mut piece).await.unwrap() {
                    0 => break all,
                    n => all.extend(&piece[..n]),
                }
            }
        })
    })
}

#[test]
fn the_end_that_came_with_the_last_data_is_seen() {
    for plain in [true, false] {
        let (mut writer, reader) = tcp_pair();
        writer.write_all(b"the last data").unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
        let all = read_all(move || {
            if plain {
                reader.try_into().unwrap()
            } else {
                Async::new(reader).unwrap()
            }
        });
        assert_eq!(all, b"the last data");
    }
}

#[test]
fn the_end_that_came_before_the_source_was_registered_is_seen() {
    let (mut writer, reader) = Async::<UnixStream>::pair().unwrap();
    block_on_in(&Reactor::new().unwrap(), async {
        writer.write_all(b"the last data").await.unwrap();
    });
    drop(writer);
    assert_eq!(read_all(|| reader), b"the last data");
}

/// A read stops at the mark of urgent data, though there is more behind it.
#[test]
fn data_behind_an_urgent_mark_is_read() {
    let (mut writer, reader) = tcp_pair();
    writer.write_all(b"before").unwrap();
    send(&writer, b"!", SendFlags::OOB).unwrap();
    writer.write_all(b"behind").unwrap();
    writer.shutdown(Shutdown::Write).unwrap();
    let all = read_all(|| Async::new(reader).unwrap());
    assert_eq!(all, b"beforebehind");
}

/// The same, the mark coming while the reader is between two reads.
#[test]
fn data_behind_a_later_urgent_mark_is_read() {
    ends(|| {
        let (mut writer, reader) = tcp_pair();
        let reactor = Reactor::new().unwrap();
        block_on_in(&reactor, async {
            let mut reader = Async::new(reader).unwrap();
            let mut piece = [0; 64];
            for round in 0..50 {
                writer.write_all(b"before").unwrap();
                let n = reader.read(&mut piece).await.unwrap();
                assert_eq!(&piece[..n], b"before", "round {round}");
                if round % 2 == 0 {
                    look(&reactor);
                }
                writer.write_all(b"in front").unwrap();
                send(&writer, b"!", SendFlags::OOB).unwrap();
                writer.write_all(b"behind").unwrap();
                reader.read_exact(&mut piece[..14]).await.unwrap();
                assert_eq!(&piece[..14], b"in frontbehind", "round {round}");
            }
        });
    });
}

/// A read stops behind the message that carried descriptors, though more messages wait.
#[test]
fn data_behind_a_passed_descriptor_is_read() {
    for passed in [1, 3] {
        let (writer, reader) = UnixStream::pair().unwrap();
        for _ in 0..passed {
            let fds = [writer.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(
                &writer,
                &[IoSlice::new(b"with a descriptor;")],
                &mut ancillary,
                SendFlags::empty(),
            )
            .unwrap();
        }
        (&writer).write_all(b"the rest").unwrap();
        drop(writer);
        let expected = "with a descriptor;".repeat(passed) + "the rest";
        let all = read_all(|| Async::new(reader).unwrap());
        assert_eq!(String::from_utf8(all).unwrap(), expected);
    }
}

/// What looks like a byte stream keeps message boundaries, so every read is short.
#[test]
fn packets_in_the_clothes_of_a_stream_are_all_read() {
    let pair = || {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        (UnixStream::from(one), UnixStream::from(other))
    };
    let (mut writer, reader) = pair();
    writer.write_all(b"one").unwrap();
    writer.write_all(b"two").unwrap();
    drop(writer);
    assert_eq!(read_all(|| Async::new(reader).unwrap()), b"onetwo");

    let (mut writer, reader) = pair();
    writer.write_all(b"one").unwrap();
    writer.write_all(b"two").unwrap();
    drop(writer);
    let all = read_all(|| Async::<UnixStream>::try_from(reader).unwrap());
    assert_eq!(all, b"onetwo");
}

/// One system call takes 1,024 buffers at most: with more of them each transfer is short of what was asked for.
#[test]
fn more_buffers_than_one_system_call_takes_are_written() {
    ends(|| {
        block_on_in(&Reactor::new().unwrap(), async {
            let (mut writer, mut reader) = Async::<UnixStream>::pair().unwrap();
            writer.writable().await.unwrap();
            let bytes = [7; 4000];
            let mut written = 0;
            while written < bytes.len() {
                let bufs: Vec<_> = bytes[written..].chunks(1).map(IoSlice::new).collect();
                written += writer.write_vectored(&bufs).await.unwrap();
            }
            drop(writer);
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, bytes);
        });
    });
}

/// As for writing.
#[test]
fn more_buffers_than_one_system_call_takes_are_read() {
    ends(|| {
        block_on_in(&Reactor::new().unwrap(), async {
            let (mut writer, mut reader) = Async::<UnixStream>::pair().unwrap();
            writer.write_all(&[7; 4000]).await.unwrap();
            reader.readable().await.unwrap();
            let (mut read, mut bytes) = (0, [0; 4000]);
            while read < 4000 {
                let mut bufs: Vec<_> = bytes[read..].chunks_mut(1).map(IoSliceMut::new).collect();
                read += reader.read_vectored(&mut bufs).await.unwrap();
            }
            assert_eq!(bytes, [7; 4000]);
        });
    });
}

/// A write that was short left no room; the wait for room ends when the peer has made some.
#[test]
fn a_short_write_waits_for_room_and_no_longer() {
    ends(|| {
        block_on_in(&Reactor::new().unwrap(), async {
            let (writer, reader) = tcp_pair();
            let (mut writer, mut reader) = (
                Async::new(writer).unwrap(),
                Async::<TcpStream>::try_from(reader).unwrap(),
            );
            let sent: Vec<u8> = (0..8_000_000u32).map(|i| (i / 7) as u8).collect();
            let mut got = Vec::new();
            let (wrote, read) = future::zip(
                async {
                    writer.write_all(&sent).await?;
                    writer.get_ref().shutdown(Shutdown::Write)
                },
                reader.read_to_end(&mut got),
            )
            .await;
            wrote.unwrap();
            read.unwrap();
            assert!(got == sent, "the bytes differ");
        });
    });
}
