//! Ending a server connection whose client never logged in, so that the server does not count a broken handshake.
//!
//! MySQL and MariaDB block a host after `max_connect_errors` handshakes that nobody finished; behind a proxy that host is
//! the proxy, so a port scan would lock every client out. The engine's own account logs in and quits instead.

use std::sync::Arc;
use std::time::Duration;

use crate::wire::capabilities::{CLIENT_MYSQL, LONG_FLAG, PLUGIN_AUTH, PROTOCOL_41, SECURE_CONNECTION, SSL, TRANSACTIONS};
use crate::wire::greeting::Greeting;
use crate::wire::login::Response;
use crate::wire::seal::seal;
use crate::wire::{answer, command, scramble};

use super::Context;
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
    #[error("{0}")]
    Tls(String),
}

/// Finishes the login with the engine's account and quits, in the background.
pub(super) fn say(mut server: Channel, greeting: Greeting, context: Arc<Context>) {
    drop(tokio::spawn(async move {
        match tokio::time::timeout(PATIENCE, quit(&mut server, &greeting, &context)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a login that ended at the proxy was not finished on the server"),
            Err(_) => tracing::debug!("a login that ended at the proxy was not finished on the server in time"),
        }
    }));
}

async fn quit(server: &mut Channel, greeting: &Greeting, context: &Context) -> Result<(), Unsaid> {
    let upstream = &context.config.load_full().upstream;
    let password = upstream.password.as_bytes();
    let (mut plugin, mut salt) = (greeting.plugin.clone(), greeting.salt.clone());
    let security = context.security.load_full();
    let with_tls = security.wants_back(server, greeting).map_err(Unsaid::Tls)?;
    let wanted = WANTED & greeting.capabilities | CLIENT_MYSQL | if with_tls { SSL } else { 0 };
    let proof = scramble::proof(&plugin, &salt, password).unwrap_or_default();
    let response = Response::own(wanted, &upstream.user, &proof, &plugin);
    if with_tls {
        let (host, _) = upstream.host_port().unwrap_or_default();
        security.secure_back(server, &response, &host, None).await?;
    }
    server.send_payload(&response).await?;
    loop {
        let told = server.packet().await?;
        match told.payload() {
            [0, ..] => {
                server.next = 0;
                server.send_payload(&[command::QUIT]).await?;
                // The server closes when it has seen it; closing first could reset the connection under it.
                let _ = server.packet().await;
                return Ok(());
            }
            payload @ [0xff, ..] => return Err(Unsaid::Refused(answer::error_code(payload).unwrap_or(0))),
            payload @ [0xfe, ..] => {
                (plugin, salt) = answer::auth_switch(payload).ok_or(Unsaid::Strange)?;
                let proof = scramble::proof(&plugin, &salt, password).unwrap_or_default();
                server.send_payload(&proof).await?;
            }
            [1, 3] => {}
            // Full authentication: the password itself where nobody reads along.
            [1, 4] if server.stream.is_secure() => server.send_payload(&[password, &[0]].concat()).await?,
            // Else it goes encrypted with the server's key, which 02 asks for.
            [1, 4] => server.send_payload(&[2]).await?,
            [1, key @ ..] => {
                let sealed = seal(&[password, &[0]].concat(), &salt, key).ok_or(Unsaid::Key)?;
                server.send_payload(&sealed).await?;
            }
            _ => return Err(Unsaid::Strange),
        }
    }
}
