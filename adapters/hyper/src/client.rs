//! Connections for hyper-util's client: a name, its addresses, and the first of them that answers.
//!
//! Not here: which address is tried when (`eyeballs`).

mod eyeballs;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;
use untether::{Async, timeout};
use untether_executors::spawn_blocking;

use self::eyeballs::Race;
use crate::Io;

/// Connects to where a URI points, for `hyper_util::client::legacy::Client`.
///
/// The name is looked up by the system's resolver, on the threads of the crate `blocking`, unless
/// [`resolver`](Connector::resolver) says otherwise. Its addresses are tried as RFC 8305 says ("happy eyeballs"): families by
/// turns, the next one after 250 ms or as soon as one has failed, and the first that answers wins; the others are dropped.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use std::net::TcpListener;
/// use http_body_util::{BodyExt, Empty};
/// use hyper::{Response, body::Bytes, service::service_fn};
/// use hyper_util::client::legacy::Client;
/// use untether::Async;
/// use untether_executors::Local;
/// use untether_hyper::{Connector, Executor, Timer};
/// # #[cfg(feature = "server")] {
/// # use untether_hyper::Server;
///
/// let local = Local::new();
/// let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
/// let address = listener.get_ref().local_addr().unwrap();
/// let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::from("hello"))));
/// let server = Server::new(Executor(local.remote())).serve(listener, hello);
/// let serving = local.spawn(server);
///
/// let text = local.run(async {
///     let client: Client<_, Empty<Bytes>> = Client::builder(Executor(local.remote()))
///         .pool_timer(Timer)
///         .build(Connector::new());
///     let response = client.get(format!("http://{address}/").parse()?).await?;
///     let body = response.into_body().collect().await?.to_bytes();
///     Ok::<_, Box<dyn std::error::Error>>(String::from_utf8(body.into())?)
/// });
/// assert_eq!(text.unwrap(), "hello");
/// # drop(serving);
/// # }
/// ```
#[derive(Clone)]
pub struct Connector {
    resolver: Resolver,
    nodelay: bool,
    attempt_delay: Duration,
    timeout: Option<Duration>,
    allow_https: bool,
}

type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Resolver = Arc<dyn Fn(String, u16) -> Addresses + Send + Sync>;

/// How long to wait for an attempt before the next address is tried as well (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

impl Connector {
    /// With the system's resolver, `TCP_NODELAY`, and no time-out but the system's own, which is minutes.
    pub fn new() -> Connector {
        Connector {
            resolver: Arc::new(|host, port| Box::pin(look_up(host, port))),
            nodelay: true,
            attempt_delay: ATTEMPT_DELAY,
            timeout: None,
            allow_https: false,
        }
    }

    /// Looks names up by `resolver`, which is given the host and the port. Hosts that are addresses are not looked up.
    pub fn resolver<F, A>(mut self, resolver: F) -> Connector
    where
        F: Fn(String, u16) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.resolver = Arc::new(move |host, port| Box::pin(resolver(host, port)));
        self
    }

    /// Whether to set `TCP_NODELAY`; it is set if nothing is said.
    pub fn nodelay(mut self, nodelay: bool) -> Connector {
        self.nodelay = nodelay;
        self
    }

    /// How long an attempt has to itself before the next address is tried beside it.
    pub fn attempt_delay(mut self, delay: Duration) -> Connector {
        self.attempt_delay = delay;
        self
    }

    /// How long it all may take, looking up included.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Connector {
        self.timeout = timeout.into();
        self
    }

    /// Whether `https` is let through, as something around this connector needs that adds TLS. It is refused otherwise:
    /// what is said in plain text on port 443 is nobody's intention.
    pub fn allow_https(mut self, allow: bool) -> Connector {
        self.allow_https = allow;
        self
    }

    async fn connect(self, uri: Uri) -> Result<Io<Async<TcpStream>>, ConnectError> {
        let (host, port) = target(&uri, self.allow_https)?;
        let mut race = None;
        let work = async {
            let addresses = match host.parse::<IpAddr>() {
                Ok(address) => vec![SocketAddr::new(address, port)],
                Err(_) => (self.resolver)(host.to_owned(), port)
                    .await
                    .map_err(Reason::Unknown)?,
            };
            let connect = Async::<TcpStream>::connect::<SocketAddr>;
            let race = race.insert(Race::new(addresses, self.attempt_delay, connect));
            race.winner().await.ok_or(Reason::Lost)
        };
        let outcome = match self.timeout {
            None => work.await,
            Some(patience) => timeout(patience, work)
                .await
                .unwrap_or(Err(Reason::Late(patience))),
        };
        let stream = outcome.map_err(|reason| ConnectError {
            target: format!("{host} port {port}"),
            attempts: race.map(Race::into_failures).unwrap_or_default(),
            reason,
        })?;
        // It fails if the connection is over already, and then the first read or write says so.
        let _ = stream.get_ref().set_nodelay(self.nodelay);
        Ok(Io::new(stream))
    }
}

/// The host, without the brackets of an IPv6 address, and the port.
fn target(uri: &Uri, allow_https: bool) -> Result<(&str, u16), ConnectError> {
    let refuse = |why| ConnectError {
        target: uri.to_string(),
        attempts: Vec::new(),
        reason: Reason::Refused(why),
    };
    let usual = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") if allow_https => 443,
        Some("https") => return Err(refuse("https needs TLS around this connector")),
        Some(_) => return Err(refuse("neither http nor https")),
        None => return Err(refuse("no scheme; write http://")),
    };
    let host = uri.host().unwrap_or_default();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err(refuse("no host"));
    }
    Ok((host, uri.port_u16().unwrap_or(usual)))
}

async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    spawn_blocking(move || Ok((host.as_str(), port).to_socket_addrs()?.collect())).await
}

impl Default for Connector {
    fn default() -> Connector {
        Connector::new()
    }
}

impl Service<Uri> for Connector {
    type Response = Io<Async<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    /// # Cancel safety
    /// A dropped future closes what it has half made. A look-up that has begun on its own thread runs to its end there.
    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl<T> Connection for Io<T> {
    /// Says nothing of the connection. What comes behind TLS and has agreed on HTTP/2 needs a type of its own that says
    /// so.
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("nodelay", &self.nodelay)
            .field("attempt_delay", &self.attempt_delay)
            .field("timeout", &self.timeout)
            .field("allow_https", &self.allow_https)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection, with all that was tried.
///
/// ```
/// use tower_service::Service;
/// use untether_hyper::Connector;
///
/// let mut connector = Connector::new()
///     .resolver(async |_, port| Ok(vec![([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()]));
/// let error = untether_executors::block_on(connector.call("http://two.test:1/".parse().unwrap())).unwrap_err();
/// assert_eq!(error.attempts().len(), 2);
/// assert!(error.to_string().starts_with("cannot connect to two.test port 1: 127.0.0.1:1: "), "{error}");
/// ```
#[derive(Debug)]
pub struct ConnectError {
    target: String,
    reason: Reason,
    attempts: Vec<(SocketAddr, io::Error)>,
}

#[derive(Debug)]
enum Reason {
    /// The URI is nothing to connect to.
    Refused(&'static str),
    /// The look-up failed.
    Unknown(io::Error),
    /// No address answered.
    Lost,
    Late(Duration),
}

impl ConnectError {
    /// The addresses that were tried, in the order in which they failed, and why each did. Those that had not answered
    /// when the time was up come last, as [`io::ErrorKind::TimedOut`].
    pub fn attempts(&self) -> &[(SocketAddr, io::Error)] {
        &self.attempts
    }

    /// Whether the time that was set was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason, Reason::Late(_))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        match &self.reason {
            Reason::Refused(why) => return write!(f, "cannot connect to {target}: {why}"),
            Reason::Unknown(error) => return write!(f, "cannot look up {target}: {error}"),
            Reason::Lost => write!(f, "cannot connect to {target}")?,
            Reason::Late(patience) => write!(f, "cannot connect to {target} within {patience:?}")?,
        }
        if self.attempts.is_empty() {
            return match self.reason {
                Reason::Lost => f.write_str(": it has no address"),
                _ => f.write_str(": still looking it up"),
            };
        }
        for (place, (address, error)) in self.attempts.iter().enumerate() {
            let mark = if place == 0 { ':' } else { ';' };
            write!(f, "{mark} {address}: {error}")?;
        }
        Ok(())
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Unknown(error) => Some(error),
            _ => self.attempts.last().map(|(_, error)| error as _),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_uri_says_host_and_port() {
        let known = [
            ("http://example.org/a", ("example.org", 80)),
            ("http://example.org:8080", ("example.org", 8080)),
            ("https://example.org", ("example.org", 443)),
            ("http://[::1]:81/", ("::1", 81)),
        ];
        for (uri, expected) in known {
            assert_eq!(target(&uri.parse().unwrap(), true).unwrap(), expected);
        }
        for uri in ["/no/host", "ftp://example.org", "example.org:80"] {
            let error = target(&uri.parse().unwrap(), true).unwrap_err();
            assert!(error.to_string().contains(uri), "{error}");
        }
        let error = target(&"https://example.org".parse().unwrap(), false).unwrap_err();
        assert!(error.to_string().contains("needs TLS"), "{error}");
    }
}
