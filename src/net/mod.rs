//! Sockets: listening, dialling the server, and how every one of them is set.
//!
//! Owns: socket options, certificates. Never: a byte of the protocol.
//! See: `socket.rs` for what a session reads and writes, `tls.rs` for TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

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

/// Opens a listening socket.
///
/// # Errors
/// What the operating system says: the address is in use, or not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
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

/// Connects to `host:port`.
///
/// # Errors
/// [`DialError`] with the address.
pub async fn dial(address: &str, timeout: Duration) -> Result<TcpStream, DialError> {
    let refused = |source| DialError::Refused { address: address.to_owned(), source };
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| DialError::TimedOut { address: address.to_owned(), after: timeout })?
        .map_err(refused)?;
    tune(&stream).map_err(refused)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_listener_is_dialled_and_both_ends_are_tuned() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let near = dial(&address, Duration::from_secs(5)).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        tune(&far).unwrap();
        assert!(near.nodelay().unwrap() && far.nodelay().unwrap());
        assert!(SockRef::from(&near).keepalive().unwrap());
    }

    #[tokio::test]
    async fn the_end_is_seen_behind_bytes_that_nobody_reads() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let near = dial(&listener.local_addr().unwrap().to_string(), Duration::from_secs(5)).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let far = Stream::from(far);
        let mut ended = Box::pin(watch_for_end(&far).unwrap());
        near.try_write(b"unread").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), ended.as_mut()).await.is_err(), "bytes are not the end");
        drop(near);
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
        let (mut far, mut rest) = (far, Vec::new());
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"unread");
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = dial(&address, Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
