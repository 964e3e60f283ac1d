//! One connection: which HTTP it speaks, serving it, and going when told.
//!
//! A connection that is told to leave is polled first, so that a request that is known to have arrived is still answered,
//! and told afterwards. One that is on its way then may meet a closed door, as any idle connection's next request may.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;

use super::guests::{Guest, Stage};
use super::{Server, Versions};
use crate::Io;

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that a [`Server`] serves: the future that it gives to its executor.
pub struct Connection<T, S, E>
where
    S: HttpService<Incoming>,
{
    state: State<T, S, E>,
    server: Arc<Server<E>>,
    was_told: bool,
    /// Last: who signs off has closed its socket.
    guest: Guest,
}

#[expect(
    clippy::large_enum_variant,
    reason = "it spends its life in the large ones"
)]
enum State<T, S, E>
where
    S: HttpService<Incoming>,
{
    /// It is not clear yet what the client speaks.
    New(New<T, S>),
    Http1(http1::UpgradeableConnection<Io<T>, S>),
    Http2(http2::Connection<Io<T>, S, E>),
    Over,
}

struct New<T, S> {
    io: Io<T>,
    service: S,
    /// From when it first has to wait.
    timeout: Option<untether::Timer>,
}

/// What a client speaks, as far as it has said.
enum Said {
    Http1,
    Http2,
    /// It hung up without a word.
    Nothing,
}

impl<T, S, E> Connection<T, S, E>
where
    S: HttpService<Incoming>,
{
    pub(super) fn new(
        server: Arc<Server<E>>,
        guest: Guest,
        io: Io<T>,
        service: S,
    ) -> Connection<T, S, E> {
        Connection {
            state: State::New(New {
                io,
                service,
                timeout: None,
            }),
            server,
            was_told: false,
            guest,
        }
    }
}

impl<T: AsyncRead + Unpin, S> New<T, S> {
    /// Reads until it is clear, or takes too long.
    fn poll_said<E>(&mut self, server: &Server<E>, cx: &mut Context<'_>) -> Poll<io::Result<Said>> {
        loop {
            let ahead = self.io.ahead();
            match server.versions {
                Versions::Http1 => return Poll::Ready(Ok(Said::Http1)),
                Versions::Http2 => return Poll::Ready(Ok(Said::Http2)),
                Versions::Both if ahead.starts_with(PREFACE) => {
                    return Poll::Ready(Ok(Said::Http2));
                }
                Versions::Both if !PREFACE.starts_with(ahead) => {
                    return Poll::Ready(Ok(Said::Http1));
                }
                Versions::Both => {}
            }
            match self.io.poll_read_ahead(cx)? {
                Poll::Ready(0) if self.io.ahead().is_empty() => {
                    return Poll::Ready(Ok(Said::Nothing));
                }
                // Half a word. HTTP/1 has an answer to that.
                Poll::Ready(0) => return Poll::Ready(Ok(Said::Http1)),
                Poll::Ready(_) => {}
                Poll::Pending => return self.poll_timeout(server, cx),
            }
        }
    }

    fn poll_timeout<E>(
        &mut self,
        server: &Server<E>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Said>> {
        let Some(patience) = server.header_timeout else {
            return Poll::Pending;
        };
        let timeout = self
            .timeout
            .get_or_insert_with(|| untether::Timer::after(patience));
        Pin::new(timeout).poll(cx).map(|_| {
            let late = format!("no request within {patience:?} of connecting");
            Err(io::Error::new(io::ErrorKind::TimedOut, late))
        })
    }
}

impl<T, S, E> State<T, S, E>
where
    S: HttpService<Incoming>,
{
    /// What comes after [`State::New`].
    fn speaking(self, said: &Said, server: &Server<E>) -> State<T, S, E>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::ResBody: 'static,
        <S::ResBody as Body>::Error: Into<Box<dyn Error + Send + Sync>>,
        E: Http2ServerConnExec<S::Future, S::ResBody>,
    {
        let State::New(New { io, service, .. }) = self else {
            return self;
        };
        match said {
            Said::Http1 => {
                let connection = server.http1.serve_connection(io, service);
                State::Http1(connection.with_upgrades())
            }
            Said::Http2 => State::Http2(server.http2.serve_connection(io, service)),
            Said::Nothing => State::Over,
        }
    }
}

impl<T, S, E, B> Future for Connection<T, S, E>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Http2ServerConnExec<S::Future, B>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let stage = this.guest.listen(cx);
        if stage == Stage::Cut {
            return Poll::Ready(());
        }
        loop {
            let over = match &mut this.state {
                State::New(new) => match new.poll_said(&this.server, cx) {
                    Poll::Ready(Ok(said)) => {
                        let new = mem::replace(&mut this.state, State::Over);
                        this.state = new.speaking(&said, &this.server);
                        continue;
                    }
                    Poll::Ready(Err(error)) => {
                        this.server.report(&error);
                        return Poll::Ready(());
                    }
                    // It has asked for nothing.
                    Poll::Pending if stage == Stage::Leave => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                },
                State::Http1(connection) => Pin::new(connection).poll(cx),
                State::Http2(connection) => Pin::new(connection).poll(cx),
                State::Over => return Poll::Ready(()),
            };
            match over {
                Poll::Ready(result) => {
                    if let Err(error) = result {
                        this.server.report(&error);
                    }
                    return Poll::Ready(());
                }
                Poll::Pending if stage == Stage::Leave && !this.was_told => {
                    this.was_told = true;
                    match &mut this.state {
                        State::Http1(connection) => Pin::new(connection).graceful_shutdown(),
                        State::Http2(connection) => Pin::new(connection).graceful_shutdown(),
                        State::New(_) | State::Over => {}
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

// Nothing in it is pinned: hyper's connections are `Unpin`, and the service is not polled.
impl<T, S, E> Unpin for Connection<T, S, E> where S: HttpService<Incoming> {}

impl<T, S, E> fmt::Debug for Connection<T, S, E>
where
    S: HttpService<Incoming>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::New(_) => "new",
            State::Http1(_) => "HTTP/1",
            State::Http2(_) => "HTTP/2",
            State::Over => "over",
        };
        f.debug_struct("Connection")
            .field("state", &state)
            .field("guest", &self.guest)
            .finish_non_exhaustive()
    }
}
