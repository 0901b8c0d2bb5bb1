//! Ending a server connection whose client never logged in, so that the server does not count a broken handshake.
//!
//! MySQL and MariaDB block a host after `max_connect_errors` handshakes that nobody finished; behind a proxy that host is
//! the proxy, so a port scan would lock every client out. The engine's own account logs in and quits instead.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::wire::capabilities::{CLIENT_MYSQL, LONG_FLAG, PLUGIN_AUTH, PROTOCOL_41, SECURE_CONNECTION, TRANSACTIONS};
use crate::wire::greeting::Greeting;
use crate::wire::login::Response;
use crate::wire::packet;
use crate::wire::{answer, command, scramble};

use super::channel::{Broken, Channel};

const WANTED: u64 = CLIENT_MYSQL | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the goodbye was not said.
#[derive(Debug, thiserror::Error)]
enum Unsaid {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the server refused the account of [upstream] with error {0}")]
    Refused(u16),
    #[error("the server's login cannot be followed")]
    Strange,
    #[error("the server's public key cannot be used")]
    Key,
}

/// Finishes the login with the engine's account and quits, in the background.
pub(super) fn say(mut server: Channel, greeting: Greeting, config: Arc<Config>) {
    drop(tokio::spawn(async move {
        match tokio::time::timeout(PATIENCE, quit(&mut server, &greeting, &config)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a login that ended at the proxy was not finished on the server"),
            Err(_) => tracing::debug!("a login that ended at the proxy was not finished on the server in time"),
        }
    }));
}

async fn quit(server: &mut Channel, greeting: &Greeting, config: &Config) -> Result<(), Unsaid> {
    let password = config.upstream.password.as_bytes();
    let (mut plugin, mut salt) = (greeting.plugin.clone(), greeting.salt.clone());
    let proof = scramble::proof(&plugin, &salt, password).unwrap_or_default();
    let response = Response::own(WANTED & greeting.capabilities | CLIENT_MYSQL, &config.upstream.user, &proof, &plugin);
    send(server, 1, &response).await?;
    loop {
        let told = server.packet().await?;
        let next = told.sequence.wrapping_add(1);
        match told.payload() {
            [0, ..] => {
                send(server, 0, &[command::QUIT]).await?;
                // The server closes when it has seen it; closing first could reset the connection under it.
                let _ = server.packet().await;
                return Ok(());
            }
            payload @ [0xff, ..] => return Err(Unsaid::Refused(answer::error_code(payload).unwrap_or(0))),
            payload @ [0xfe, ..] => {
                (plugin, salt) = answer::auth_switch(payload).ok_or(Unsaid::Strange)?;
                let proof = scramble::proof(&plugin, &salt, password).unwrap_or_default();
                send(server, next, &proof).await?;
            }
            [1, 3] => {}
            // Full authentication: the password goes encrypted with the server's key, which 02 asks for.
            [1, 4] => send(server, next, &[2]).await?,
            [1, key @ ..] => {
                let sealed = seal(password, &salt, key).ok_or(Unsaid::Key)?;
                send(server, next, &sealed).await?;
            }
            _ => return Err(Unsaid::Strange),
        }
    }
}

async fn send(server: &mut Channel, sequence: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut out = Vec::new();
    packet::push(&mut out, sequence, payload);
    server.send(&out).await
}

/// The password as caching_sha2_password wants it without TLS: with its zero byte, mixed with the salt, encrypted.
fn seal(password: &[u8], salt: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    if salt.is_empty() || !key.starts_with(b"-----BEGIN PUBLIC KEY-----") {
        return None;
    }
    let mixed: Vec<u8> = password.iter().chain(&[0]).zip(salt.iter().cycle()).map(|(a, b)| a ^ b).collect();
    Some(mysql_common::crypto::encrypt(&mixed, key))
}
