//! The life of one client: login, then commands one way and replies the other, until either side goes.
//!
//! Owns: both sockets of a session, and everything that is known of its state.
//! Never: names the migration; both meet in the gate and in the census.
//! Invariants: I-P1 (bytes pass unchanged), I-P2 (bounded memory), I-P3 (hostile bytes end one session), I-P4 (errors pass
//! verbatim), I-G1 (a held statement is forwarded once or never), I-G3 (one atomic load without a migration).
//! See: `login.rs`, then `exchange.rs` for the pump, `commands.rs` and `replies.rs` for its two directions,
//! `intercept.rs` for the gate.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::census::Census;
use crate::client_error::ClientError;
use crate::config::Config;
use crate::gate::Gates;
use crate::metrics::{LoginResult, Metrics};
use crate::net::{Socket, Stream};
use crate::wire::answer;
use crate::wire::compression::Toolbox;

mod behind;
mod buffer;
mod channel;
mod commands;
mod compression;
mod exchange;
mod farewell;
mod intercept;
mod login;
mod notes;
mod numbering;
mod prepared;
mod replies;
mod secure;
mod transaction;
mod translate;

pub use secure::Security;

/// So many above the limit may still log in, because one of them may be the admin.
const ADMINS: usize = 8;
/// How long a client may take to read the last bytes that it is owed.
const LAST_BYTES: Duration = Duration::from_secs(5);
/// How long a client that was told goodbye may take to close.
const LINGER: Duration = Duration::from_secs(1);

/// What every session works with.
#[derive(Debug)]
pub struct Context {
    /// The settings; a reload puts others in their place.
    pub config: Arc<ArcSwap<Config>>,
    /// The gates.
    pub gates: Arc<Gates>,
    /// Where the session is entered.
    pub census: Arc<Census>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Cancelled when the proxy shuts down: sessions end where no transaction is open.
    pub shutdown: CancellationToken,
    /// Certificates and keys; a reload puts others in their place.
    pub security: ArcSwap<Security>,
    /// What the admin's connections work with.
    pub admin: Arc<admin::Context>,
    /// What packs and unpacks for sessions with compression.
    pub toolbox: Arc<Toolbox>,
}

impl Context {
    /// Takes new settings over, for logins from now on, and reads the certificates and keys anew; where one cannot be used, all
    /// stays as it is, and the answer is `false`.
    pub fn reload(&self, config: Config) -> bool {
        match Security::load(&config, Some(&self.security.load())) {
            Ok(security) => {
                self.config.store(Arc::new(config));
                self.security.store(Arc::new(security));
                tracing::info!("certificates and keys were read again; new connections use them");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the settings and certificates stay as they were");
                false
            }
        }
    }

    /// How many sessions of this user there are.
    fn sessions_of(&self, user: &str) -> usize {
        self.census.list().iter().filter(|record| record.user.get().is_some_and(|other| other == user)).count()
    }

    /// `true` where more clients than `listen.max_connections` and so many more are connected.
    fn is_full(&self, more: usize) -> bool {
        self.census.count() > self.config.load().listen.max_connections.saturating_add(more)
    }

    fn warn_of_too_many(&self, client: &dyn std::fmt::Display) {
        tracing::warn!(%client, limit = self.config.load().listen.max_connections, "too many connections; this one was refused");
    }
}

/// Counts a session while it lives.
struct Counted<'a>(&'a Metrics);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.sessions.dec();
    }
}

/// Carries one client from its first byte to its last.
///
/// # Cancel safety
/// Dropping it closes both connections; a held statement is given up.
pub async fn serve(client: impl Into<Socket>, context: Arc<Context>) {
    let mut client = client.into();
    let Ok(mut address) = client.peer() else { return };
    if client.tune().is_err() {
        return;
    }
    match behind::look(&mut client, &context).await {
        behind::Seen::Itself => {}
        behind::Seen::Behind(client) => address = client.to_string(),
        behind::Seen::Nonsense => {
            context.metrics.login(LoginResult::broken);
            tracing::warn!(client = %address, "no PROXY header came from a network of [listen] proxy_protocol_networks; let the balancer send it, or take the network out");
            return;
        }
    }
    let client = Stream::from(client);
    let entered = context.census.enter(address.clone());
    context.metrics.sessions.inc();
    let _counted = Counted(&context.metrics);
    if context.is_full(ADMINS) {
        context.metrics.login(LoginResult::refused);
        context.warn_of_too_many(&address);
        refuse(client, 0, &ClientError::TooManyConnections, false).await;
        return;
    }
    match Box::pin(login::login(client, &context, &entered.record)).await {
        login::Outcome::Over => {}
        login::Outcome::Admin(door) => {
            let served =
                admin::serve_in(door.stream, door.already_read, door.capabilities, door.connection_id, door.schema, context.admin.clone());
            if let Err(error) = Box::pin(served).await {
                tracing::debug!(client = %address, %error, "the admin's connection broke");
            }
        }
        login::Outcome::Through(established) => {
            let record = entered.record.clone();
            Box::pin(exchange::carry(*established, context.clone(), record)).await;
        }
    }
    drop(entered);
    for gate in &context.gates.watch().gates {
        gate.nudge();
    }
}

/// Sends one of the proxy's own errors and closes.
async fn refuse(mut client: Stream, sequence: u8, error: &ClientError, is_negotiated: bool) {
    let entry = error.entry();
    let mut out = Vec::new();
    answer::push_error(&mut out, sequence, entry.code, is_negotiated.then_some(entry.state), &error.message());
    if send_last(&mut client, &out).await {
        hang_up(client).await;
    }
}

/// Sends what a client is still owed; `false` where it does not take it in time.
async fn send_last(client: &mut Stream, bytes: &[u8]) -> bool {
    let sent = async {
        client.write_all(bytes).await?;
        client.flush().await
    };
    matches!(tokio::time::timeout(LAST_BYTES, sent).await, Ok(Ok(())))
}

/// Closes a client's connection with a FIN: a reset would eat what was sent last.
async fn hang_up(mut client: Stream) {
    if client.shutdown().await.is_err() {
        return;
    }
    // What still comes need not be unpacked, and perhaps cannot be.
    let mut client = client.without_frames();
    let read_out = async {
        let mut rest = [0; 1024];
        while matches!(client.read(&mut rest).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(LINGER, read_out).await;
}

#[cfg(test)]
mod tests;
