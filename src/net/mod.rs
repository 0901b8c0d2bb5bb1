//! Sockets: listening, dialling the server, and how every one of them is set.
//!
//! Owns: socket options, certificates, compressed frames. Never: a packet inside them.
//! See: `socket.rs` for what a session reads and writes, `tls.rs` for TLS, `compressed.rs` for compression.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

pub mod compressed;
mod socket;
pub mod tls;

pub use socket::{Ahead, Socket, Stream, watch_for_end};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Silence after which a peer is probed.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between probes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// The server could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address does not resolve, or nobody listens there.
    #[error("cannot connect to {address}: {source}")]
    Refused {
        /// `host:port`.
        address: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("cannot connect to {address}: no answer within {} ms", .after.as_millis())]
    TimedOut {
        /// `host:port`.
        address: String,
        /// How long it was tried.
        after: Duration,
    },
}

/// Opens a listening socket. `with_others`: other processes of the same user may listen there as well.
///
/// # Errors
/// What the operating system says: the address is in use, or not this machine's.
pub fn listen(address: SocketAddr, with_others: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(with_others)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Opens a listening Unix socket; one that nobody listens on any more is taken away first.
///
/// # Errors
/// What the operating system says; somebody listens there.
pub fn listen_local(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        other => return other,
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
    }
}

/// Sets what every connection needs: no waiting for more bytes, and probes against peers that are gone.
///
/// # Errors
/// Where the connection is already gone.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Connects to `host:port`, or to the path of a Unix socket.
///
/// # Errors
/// [`DialError`] with the address.
pub async fn dial(address: &str, timeout: Duration) -> Result<Socket, DialError> {
    let refused = |source| DialError::Refused { address: address.to_owned(), source };
    let connected = async {
        if address.starts_with('/') {
            return UnixStream::connect(address).await.map(Socket::from);
        }
        TcpStream::connect(address).await.map(Socket::from)
    };
    let socket = tokio::time::timeout(timeout, connected)
        .await
        .map_err(|_| DialError::TimedOut { address: address.to_owned(), after: timeout })?
        .map_err(refused)?;
    socket.tune().map_err(refused)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_listener_is_dialled_and_both_ends_are_tuned() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let near = dial(&address, Duration::from_secs(5)).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        tune(&far).unwrap();
        let Socket::Tcp(near) = near else { panic!("not TCP") };
        assert!(near.nodelay().unwrap() && far.nodelay().unwrap());
        assert!(SockRef::from(&near).keepalive().unwrap());
    }

    #[tokio::test]
    async fn the_end_is_seen_behind_bytes_that_nobody_reads() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        let near = dial(&listener.local_addr().unwrap().to_string(), Duration::from_secs(5)).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let far = Stream::from(far);
        let mut ended = Box::pin(watch_for_end(&far).unwrap());
        let mut near = near;
        near.write_all(b"unread").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), ended.as_mut()).await.is_err(), "bytes are not the end");
        drop(near);
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
        let (mut far, mut rest) = (far, Vec::new());
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"unread");
    }

    #[tokio::test]
    async fn a_dead_unix_socket_is_taken_over_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        drop(listen_local(&path).unwrap());
        let living = listen_local(&path).unwrap();
        assert_eq!(listen_local(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let near = dial(&path.display().to_string(), Duration::from_secs(5)).await.unwrap();
        let (far, _) = living.accept().await.unwrap();
        assert!(Stream::from(near).is_secure() && Stream::from(far).is_secure());
    }

    #[tokio::test]
    async fn others_may_listen_beside_only_where_both_say_so() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)), true).unwrap();
        let address = first.local_addr().unwrap();
        assert!(listen(address, false).is_err());
        listen(address, true).unwrap();
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = dial(&address, Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
