//! Who is behind a load balancer: the PROXY header before everything else.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use crate::net::Socket;
use crate::wire::proxy_header::{self, Header, Networks};

use super::Context;

/// What a connection begins with.
pub(super) enum Seen {
    /// Nothing that says who it is for: it comes from elsewhere, or is the balancer's own.
    Itself,
    /// The client's address.
    Behind(SocketAddr),
    /// No header, where one must be.
    Nonsense,
}

/// Reads the header of a connection from the networks of the settings, and not a byte more.
pub(super) async fn look(client: &mut Socket, context: &Context) -> Seen {
    let listen = &context.config.load_full().listen;
    if listen.proxy_protocol_networks.is_empty() {
        return Seen::Itself;
    }
    let Socket::Tcp(stream) = client else { return Seen::Itself };
    let networks = Networks::read(&listen.proxy_protocol_networks).unwrap_or_default();
    match stream.peer_addr() {
        Ok(address) if networks.contain(address.ip()) => {}
        _ => return Seen::Itself,
    }
    let read = async {
        // Byte by byte: what comes behind the header belongs to the login, and headers are short.
        let mut bytes = Vec::new();
        loop {
            match proxy_header::read(&bytes) {
                Header::More => bytes.push(stream.read_u8().await.ok()?),
                Header::Whole(_, address) => return Some(address),
                Header::None => return None,
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(listen.login_timeout_s), read).await {
        Ok(Some(Some(address))) => Seen::Behind(address),
        Ok(Some(None)) => Seen::Itself,
        Ok(None) | Err(_) => Seen::Nonsense,
    }
}
