//! What the OS says of a handle this very moment: poll(2), and WSAPoll, which is its like.
//!
//! Not here: what to do about it (`waiting`).

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::source::bits;

/// Asks which of `wants` hold. `half_close` is the flag that tells the end of the peer's data apart, where there is one,
/// and `priority` the one of urgent data.
pub(super) fn ask(
    fd: BorrowedFd<'_>,
    wants: u64,
    half_close: PollFlags,
    priority: PollFlags,
) -> io::Result<u64> {
    let mut flags = PollFlags::empty();
    if wants & bits::READ != 0 {
        flags |= PollFlags::IN;
    }
    if wants & bits::WRITE != 0 {
        flags |= PollFlags::OUT;
    }
    if wants & bits::PRIORITY != 0 {
        flags |= priority;
    }
    if wants & bits::READ_CLOSED != 0 {
        flags |= half_close;
    }
    let mut asked = [PollFd::from_borrowed_fd(fd, flags)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        match poll(&mut asked, Some(&now)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let said = asked[0].revents();
    if said.contains(PollFlags::NVAL) {
        return Err(not_open());
    }
    let mut holds = 0;
    if said.intersects(PollFlags::IN) {
        holds |= bits::READ_READY;
    }
    if said.intersects(PollFlags::OUT) {
        holds |= bits::WRITE_READY;
    }
    if said.intersects(priority) {
        holds |= bits::PRIORITY;
    }
    if said.intersects(half_close) {
        holds |= bits::READ_CLOSED;
    }
    if said.contains(PollFlags::HUP) {
        holds |= bits::READ_CLOSED | bits::WRITE_CLOSED;
    }
    if said.contains(PollFlags::ERR) {
        holds |= bits::ERROR | bits::READ_READY | bits::WRITE_READY;
    }
    Ok(holds)
}

fn not_open() -> io::Error {
    #[cfg(unix)]
    return Errno::BADF.into();
    #[cfg(windows)]
    Errno::NOTSOCK.into()
}
