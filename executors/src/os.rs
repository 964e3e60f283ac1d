//! What differs between platforms; the only file here that says `cfg(target_os)`.
//!
//! - `cpus`: the processors that the process may use, by number. Empty where they cannot be told.
//! - `pin`: binds the calling thread to one of them.
//! - `listeners`: sockets that share an address, among which the kernel shares out the connections.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::io;
    use std::net::{SocketAddr, TcpListener};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// How many connections may wait to be accepted; the kernel lowers it to its own limit.
    const BACKLOG: i32 = 4096;

    pub(crate) fn cpus() -> Vec<usize> {
        match sched_getaffinity(None) {
            Ok(set) => (0..CpuSet::MAX_CPU)
                .filter(|cpu| set.is_set(*cpu))
                .collect(),
            // More processors than the set has room for.
            Err(_) => Vec::new(),
        }
    }

    pub(crate) fn pin(cpu: usize) -> io::Result<()> {
        let mut set = CpuSet::new();
        set.set(cpu);
        Ok(sched_setaffinity(None, &set)?)
    }

    pub(crate) fn listeners(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
        let mut address = address;
        let mut listeners = Vec::with_capacity(count);
        for _ in 0..count {
            let listener = listener(address)?;
            // If the kernel was to choose the port, the others take the same.
            address = listener.local_addr()?;
            listeners.push(listener);
        }
        Ok(listeners)
    }

    fn listener(address: SocketAddr) -> io::Result<TcpListener> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        // As std does, so that a restart need not wait for connections of its predecessor.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        Ok(socket.into())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::io;
    use std::net::{SocketAddr, TcpListener};

    pub(crate) fn cpus() -> Vec<usize> {
        Vec::new()
    }

    pub(crate) fn pin(_cpu: usize) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn listeners(_address: SocketAddr, _count: usize) -> io::Result<Vec<TcpListener>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "cannot share a port between listeners: this system would not share out the connections; \
             accept with one, and use spawn_balanced",
        ))
    }
}

pub(crate) use imp::{cpus, listeners, pin};
