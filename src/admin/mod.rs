//! Placeholder for the admin commands, replaced by the real module; it only ends the connection.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the admin commands work with.
#[derive(Debug)]
pub struct Context {}

/// Serves a logged-in admin until the client quits.
///
/// # Errors
/// Where the connection breaks.
pub async fn serve(
    mut stream: TcpStream,
    already_read: BytesMut,
    capabilities: u64,
    connection_id: u64,
    context: Arc<Context>,
) -> io::Result<()> {
    let _ = (already_read, capabilities, connection_id, context);
    stream.shutdown().await?;
    let mut rest = [0; 512];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
