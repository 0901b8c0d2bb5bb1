//! One side of a session as bytes: TCP or a Unix socket, in the clear or inside TLS.
//!
//! An enum and no trait object: without TLS each read and write is one system call behind two branches.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::compressed::Compressed;

/// What the operating system carries.
#[derive(Debug)]
pub enum Socket {
    /// Over the network.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl Socket {
    /// Who is at the other end: address and port, or `localhost` on a Unix socket.
    ///
    /// # Errors
    /// Where the connection is already gone.
    pub fn peer(&self) -> io::Result<String> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(|address| address.to_string()),
            Self::Unix(_) => Ok("localhost".to_owned()),
        }
    }

    /// Sets what every connection needs.
    ///
    /// # Errors
    /// Where the connection is already gone.
    pub fn tune(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => super::tune(stream),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Takes the socket off this thread's runtime, for another one.
    ///
    /// # Errors
    /// Where the runtime does not let go of it.
    pub fn loosen(self) -> io::Result<Loose> {
        Ok(match self {
            Self::Tcp(stream) => Loose::Tcp(stream.into_std()?),
            Self::Unix(stream) => Loose::Unix(stream.into_std()?),
        })
    }

    /// Another handle of the same connection, with wake-ups of its own.
    fn twin(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(TcpStream::from_std(SockRef::from(stream).try_clone()?.into())?),
            Self::Unix(stream) => Self::Unix(UnixStream::from_std(SockRef::from(stream).try_clone()?.into())?),
        })
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(task, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(task, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(task, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(task, bytes),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, task: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(task, pieces),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(task, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}

/// A socket on its way from one runtime to another.
#[derive(Debug)]
pub enum Loose {
    /// Over the network.
    Tcp(std::net::TcpStream),
    /// Within this machine.
    Unix(std::os::unix::net::UnixStream),
}

impl Loose {
    /// Gives it to the runtime of this thread.
    ///
    /// # Errors
    /// Where the runtime does not take it.
    pub fn fasten(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// A socket of which some bytes were read too early: a client may send its first TLS bytes together with its wish for TLS.
#[derive(Debug)]
pub struct Ahead {
    socket: Socket,
    bytes: BytesMut,
}

impl Ahead {
    pub(super) fn new(socket: Socket, bytes: BytesMut) -> Self {
        Self { socket, bytes }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.bytes.is_empty() {
            return Pin::new(&mut this.socket).poll_read(task, into);
        }
        let count = this.bytes.len().min(into.remaining());
        into.put_slice(this.bytes.get(..count).unwrap_or_default());
        this.bytes.advance(count);
        if this.bytes.is_empty() {
            this.bytes = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(task, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, task: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(task, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(task)
    }
}

/// One side of a session.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(Socket),
    /// Inside TLS.
    Tls(Box<TlsStream<Ahead>>),
    /// Inside compressed frames, which are in the clear or inside TLS.
    Compressed(Box<Compressed>),
    /// Nothing any more: the socket was given away, or its TLS handshake failed.
    Gone,
}

impl<S: Into<Socket>> From<S> for Stream {
    fn from(socket: S) -> Self {
        Self::Plain(socket.into())
    }
}

impl Stream {
    /// `true` inside TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// `true` where nobody on a network reads along: inside TLS, or on a Unix socket. Passwords may go in the clear there, and
    /// clients and servers count on the same rule.
    pub fn is_secure(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Plain(Socket::Unix(_)) => true,
            Self::Compressed(stream) => stream.inner().is_secure(),
            Self::Plain(Socket::Tcp(_)) | Self::Gone => false,
        }
    }

    /// The name of the server that a client asked for in its TLS handshake.
    pub fn asked_name(&self) -> Option<&str> {
        match self {
            Self::Tls(stream) => match stream.as_ref() {
                TlsStream::Server(inside) => inside.get_ref().1.server_name(),
                TlsStream::Client(_) => None,
            },
            Self::Compressed(stream) => stream.inner().asked_name(),
            Self::Plain(_) | Self::Gone => None,
        }
    }

    /// The version of TLS that was agreed on; `None` where there is none.
    pub fn tls_version(&self) -> Option<rustls::ProtocolVersion> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.protocol_version(),
            Self::Compressed(stream) => stream.inner().tls_version(),
            Self::Plain(_) | Self::Gone => None,
        }
    }

    /// Takes the socket of a stream in the clear away; `None` where it is not one.
    pub fn take_plain(&mut self) -> Option<Socket> {
        match std::mem::replace(self, Self::Gone) {
            Self::Plain(socket) => Some(socket),
            other => {
                *self = other;
                None
            }
        }
    }

    fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => Some(&stream.get_ref().0.socket),
            Self::Compressed(stream) => stream.inner().socket(),
            Self::Gone => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(task, into),
            Self::Tls(stream) => match ready!(Pin::new(stream.as_mut()).poll_read(task, into)) {
                // Peers close without TLS' own goodbye as well; the protocol inside says where its packets end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => Poll::Ready(other),
            },
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_read(task, into),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(task, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(task, bytes),
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_write(task, bytes),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(task),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(task),
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_flush(task),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(task),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(task),
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_shutdown(task),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// Gives a future that resolves when the peer has closed or is gone, also while bytes that it sent before are not read yet.
///
/// # Errors
/// Where the operating system has no further descriptor.
pub fn watch_for_end(stream: &Stream) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let socket = stream.socket().ok_or(io::ErrorKind::NotConnected)?;
    // A descriptor of its own: the stream's reader and this would take each other's wake-ups.
    let twin = socket.twin()?;
    Ok(async move {
        // PRIORITY leaves out what can be read, and includes the end.
        while twin.ready(Interest::PRIORITY).await.is_ok_and(|ready| !ready.is_read_closed()) {
            tokio::task::yield_now().await;
        }
    })
}
