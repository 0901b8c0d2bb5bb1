//! From the accepted connection to the end of its login.
//!
//! Owns: the greeting, the client's answer, the dialogue that proves the password.
//! Never: a list of users; only the admin is known here, everybody else is the server's to judge.
//! Invariants: I-P1 (salt, version and connection id are the server's own), I-P4; a login that ends here does not count
//! as a broken handshake on the server (`farewell.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::census::Record;
use crate::client_error::ClientError;
use crate::config::Config;
use crate::metrics::LoginResult;
use crate::net::{self, Stream, tls};
use crate::wire::answer;
use crate::wire::capabilities::{CLIENT_MYSQL, MASKED, OWN, PLUGIN_AUTH, SSL};
use crate::wire::compression::Algorithm;
use crate::wire::dialogue::{Dialogue, Stuck, Turn};
use crate::wire::greeting::Greeting;
use crate::wire::login::{Refused, Response, is_tls_request};
use crate::wire::packet::{self, HEADER};
use crate::wire::scramble::{self, CACHING_SHA2, NATIVE};

use super::channel::{Broken, Channel, Packet};
use super::secure::Security;
use super::translate::{self, Translation};
use super::{Context, compression, farewell, hang_up, refuse};

/// A session that both sides have agreed to.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) client: Stream,
    pub(super) server: Stream,
    /// What the client sent behind its login.
    pub(super) from_client: BytesMut,
    /// What the server sent behind its OK.
    pub(super) from_server: BytesMut,
    /// What both sides speak.
    pub(super) capabilities: u64,
    /// The status flags of the login's OK.
    pub(super) status: u16,
    /// The schema that the client asked for.
    pub(super) schema: String,
    /// Where only one side is secure: what a COM_CHANGE_USER needs.
    pub(super) translation: Option<Box<Translation>>,
}

/// An admin who has proven the password and was told so.
#[derive(Debug)]
pub(super) struct AdminDoor {
    pub(super) stream: Stream,
    pub(super) already_read: BytesMut,
    pub(super) capabilities: u64,
    pub(super) connection_id: u64,
    pub(super) schema: Option<String>,
}

/// How a login ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The server let the client in.
    Through(Box<Established>),
    /// The admin is in.
    Admin(Box<AdminDoor>),
    /// The client was refused, or has gone; everything was said.
    Over,
}

/// A client that has been greeted.
struct Greeted<'a> {
    client: Channel,
    context: &'a Arc<Context>,
    record: &'a Arc<Record>,
    salt: Vec<u8>,
    offered: u64,
    connection_id: u64,
    deadline: Instant,
    security: Arc<Security>,
    config: Arc<Config>,
}

/// Leads a client through its login.
pub(super) async fn login(client: Stream, context: &Arc<Context>, record: &Arc<Record>) -> Outcome {
    let config = context.config.load_full();
    let deadline = Instant::now() + Duration::from_secs(config.listen.login_timeout_s);
    let mut client = Channel::new(client);
    let was_full = context.is_full(0);
    let security = context.security.load_full();
    let unreachable = || ClientError::UpstreamUnreachable { address: context.config.load().upstream.address.clone() };
    let Some((server, mut greeting_packet)) = reach(context, record).await else {
        return without_server(client, context, record, deadline, unreachable()).await;
    };
    if greeting_packet.payload().first() == Some(&0xff) {
        // 1040, 1129, 1130: the server's own words, unchanged (I-P4).
        context.metrics.login(LoginResult::refused);
        if client.send(&greeting_packet.bytes).await.is_ok() {
            hang_up(client.stream).await;
        }
        return Outcome::Over;
    }
    let Some(greeting) = Greeting::read(greeting_packet.payload()) else {
        tracing::error!(upstream = %context.config.load().upstream.address, "what answers at [upstream] address does not greet like MySQL or MariaDB");
        return without_server(client, context, record, deadline, unreachable()).await;
    };
    let with_tls = match security.wants_back(&server, &greeting) {
        Ok(with_tls) => with_tls,
        Err(reason) => {
            let error = insecure(context, reason);
            farewell::say(server, greeting, context.clone());
            return without_server(client, context, record, deadline, error).await;
        }
    };
    let offered = greeting_packet
        .bytes
        .get_mut(HEADER..)
        .map_or(0, |payload| greeting.mask(payload, security.offered() | compression::offered(&config, greeting.capabilities)));
    let connection_id = u64::from(greeting.connection_id);
    record.connection_id.store(connection_id, Ordering::Relaxed);
    if client.send(&greeting_packet.bytes).await.is_err() {
        context.metrics.login(LoginResult::broken);
        farewell::say(server, greeting, context.clone());
        return Outcome::Over;
    }
    let salt = greeting.salt.clone();
    let mut greeted = Greeted { client, context, record, salt, offered, connection_id, deadline, security, config: config.clone() };
    let (packet, response) = match greeted.response().await {
        Ok(answer) => answer,
        Err(failed) => {
            farewell::say(server, greeting, context.clone());
            greeted.fail(failed).await;
            return Outcome::Over;
        }
    };
    if greeted.is_admin(&response) {
        farewell::say(server, greeting, context.clone());
        return greeted.admin(&packet, &response).await;
    }
    if was_full && context.is_full(0) {
        farewell::say(server, greeting, context.clone());
        context.warn_of_too_many(&record.client);
        let tell = Some((packet.sequence.wrapping_add(1), ClientError::TooManyConnections));
        greeted.fail(Failed { result: LoginResult::refused, tell }).await;
        return Outcome::Over;
    }
    let limit = config.listen.max_user_connections;
    let user = String::from_utf8_lossy(&response.user).into_owned();
    if limit > 0 && context.sessions_of(&user) > limit {
        farewell::say(server, greeting, context.clone());
        let tell = Some((packet.sequence.wrapping_add(1), ClientError::TooManyOfUser { user }));
        greeted.fail(Failed { result: LoginResult::refused, tell }).await;
        return Outcome::Over;
    }
    greeted.forward(server, &greeting, &packet, &response, with_tls).await
}

fn insecure(context: &Context, reason: String) -> ClientError {
    ClientError::UpstreamSecurity { address: context.config.load().upstream.address.clone(), reason }
}

/// Dials the server and reads its greeting; `None` where it cannot be reached.
async fn reach(context: &Context, record: &Record) -> Option<(Channel, Packet)> {
    let config = context.config.load_full();
    let timeout = Duration::from_millis(config.upstream.connect_timeout_ms);
    let address = &config.upstream.address;
    let stream = match net::dial(address, timeout).await {
        Ok(stream) => stream,
        Err(error) => {
            // Debug, here and below: the probe tells once that the server is gone; a line for each client would bury it.
            tracing::debug!(session = %record.id, client = %record.client, %error, "the server cannot be reached; only the admin can log in");
            return None;
        }
    };
    let mut server = Channel::new(stream);
    match tokio::time::timeout(timeout, server.packet()).await {
        Ok(Ok(packet)) => Some((server, packet)),
        Ok(Err(error)) => {
            tracing::debug!(session = %record.id, client = %record.client, upstream = %address, %error, "the server did not greet; only the admin can log in");
            None
        }
        Err(_) => {
            tracing::debug!(session = %record.id, client = %record.client, upstream = %address, after = ?timeout, "the server did not greet in time; only the admin can log in");
            None
        }
    }
}

/// The proxy's own greeting, so that the admin can log in while the server cannot be reached.
async fn without_server(
    mut client: Channel,
    context: &Arc<Context>,
    record: &Arc<Record>,
    deadline: Instant,
    error: ClientError,
) -> Outcome {
    let security = context.security.load_full();
    let salt = fresh_salt();
    let connection_id = u32::try_from(record.id.0 & u64::from(u32::MAX)).unwrap_or(0);
    let mut out = Vec::new();
    packet::push(&mut out, 0, &Greeting::own(connection_id, &salt, security.offered()));
    if client.send(&out).await.is_err() {
        context.metrics.login(LoginResult::broken);
        return Outcome::Over;
    }
    let connection_id = u64::from(connection_id);
    let (salt, config) = (salt.to_vec(), context.config.load_full());
    let mut greeted = Greeted { client, context, record, salt, offered: OWN, connection_id, deadline, security, config };
    match greeted.response().await {
        Ok((packet, response)) if greeted.is_admin(&response) => greeted.admin(&packet, &response).await,
        Ok((packet, _)) => {
            greeted.fail(Failed { result: LoginResult::upstream_unreachable, tell: Some((packet.sequence.wrapping_add(1), error)) }).await;
            Outcome::Over
        }
        Err(failed) => {
            greeted.fail(failed).await;
            Outcome::Over
        }
    }
}

/// Why a login ends at the proxy.
struct Failed {
    result: LoginResult,
    /// What the client is told, with which sequence number.
    tell: Option<(u8, ClientError)>,
}

impl Greeted<'_> {
    /// Reads the client's answer to the greeting.
    async fn response(&mut self) -> Result<(Packet, Response), Failed> {
        let broken = |tell| Failed { result: LoginResult::broken, tell };
        let mut packet = self.next_packet().await?;
        let mut expected = 1;
        if packet.sequence == expected && is_tls_request(packet.payload()) {
            self.secure(packet.sequence).await?;
            packet = self.next_packet().await?;
            expected = 2;
        }
        let next = packet.sequence.wrapping_add(1);
        if packet.sequence != expected {
            return Err(broken(Some((next, ClientError::OutOfOrder))));
        }
        if self.security.must_clients && !self.client.stream.is_secure() {
            return Err(Failed { result: LoginResult::refused, tell: Some((next, ClientError::TlsRequired)) });
        }
        let response = Response::read(packet.payload()).map_err(|refused| {
            let error = match refused {
                Refused::TooOld => ClientError::ClientTooOld,
                Refused::Malformed => ClientError::BadHandshake,
            };
            broken(Some((next, error)))
        })?;
        let _ = self.record.user.set(String::from_utf8_lossy(&response.user).into_owned());
        Ok((packet, response))
    }

    async fn next_packet(&mut self) -> Result<Packet, Failed> {
        let broken = |tell| Failed { result: LoginResult::broken, tell };
        match tokio::time::timeout_at(self.deadline, self.client.packet()).await {
            Ok(Ok(packet)) => Ok(packet),
            Ok(Err(Broken::Gone)) => Err(broken(None)),
            Ok(Err(Broken::TooLarge)) => Err(broken(Some((2, ClientError::TooLarge)))),
            Err(_) => Err(broken(Some((2, ClientError::LoginTimeout)))),
        }
    }

    /// Shakes hands with a client that asks for TLS.
    async fn secure(&mut self, sequence: u8) -> Result<(), Failed> {
        let broken = |tell| Failed { result: LoginResult::broken, tell };
        let Some(front) = &self.security.front else {
            return Err(broken(Some((sequence.wrapping_add(1), ClientError::TlsNotOffered))));
        };
        let ahead = self.client.take_buffer();
        match tokio::time::timeout_at(self.deadline, front.accept(&mut self.client.stream, ahead)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let (session, client) = (self.record.id, &self.record.client);
                tracing::info!(%session, %client, %error, "a client's TLS failed; see that it trusts the certificate of [listen] tls_cert and shows one of its own where [listen] tls_ca is given");
                Err(broken(None))
            }
            Err(_) => Err(broken(None)),
        }
    }

    /// Hands the client's login over to the server, secured as the settings want it.
    async fn forward(mut self, mut server: Channel, greeting: &Greeting, packet: &Packet, response: &Response, with_tls: bool) -> Outcome {
        let wanted = compression::with_server(&self.config, greeting.capabilities, compression::with_client(response, self.offered));
        let masked = response.masked(packet.payload(), if with_tls { SSL } else { 0 }, wanted);
        if with_tls {
            let (host, _) = self.config.upstream.host_port().unwrap_or_default();
            let host = self.security.name_for_server(&self.client.stream, host);
            let version = self.client.stream.tls_version();
            let shaken = tokio::time::timeout_at(self.deadline, self.security.secure_back(&mut server, &masked, &host, version)).await;
            let reason = match shaken {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(tls::explain(&error)),
                Err(_) => Some("it did not finish the TLS handshake in time; see its load".to_owned()),
            };
            if let Some(reason) = reason {
                let tell = Some((self.client.next, insecure(self.context, reason)));
                self.fail(Failed { result: LoginResult::upstream_unreachable, tell }).await;
                return Outcome::Over;
            }
        }
        if server.send_payload(&masked).await.is_err() {
            self.context.metrics.login(LoginResult::refused);
            hang_up(self.client.stream).await;
            return Outcome::Over;
        }
        self.client.next = packet.sequence.wrapping_add(1);
        self.relay(server, greeting, response, wanted).await
    }

    /// Counts a login that ends here, and tells the client why.
    async fn fail(self, failed: Failed) {
        self.context.metrics.login(failed.result);
        if let Some((sequence, error)) = failed.tell {
            if matches!(failed.result, LoginResult::upstream_unreachable) {
                tracing::debug!(session = %self.record.id, client = %self.record.client, error = error.entry().tag, "a login was refused");
            } else {
                tracing::info!(session = %self.record.id, client = %self.record.client, error = error.entry().tag, "a login was refused");
            }
            refuse(self.client.stream, sequence, &error, true).await;
        }
    }

    fn is_admin(&self, response: &Response) -> bool {
        let admin = &self.context.config.load().admin;
        !admin.user.is_empty() && response.user == admin.user.as_bytes()
    }

    /// Lets the admin in, or not.
    async fn admin(mut self, packet: &Packet, response: &Response) -> Outcome {
        match tokio::time::timeout_at(self.deadline, self.prove(packet.sequence, response)).await {
            Ok(Ok(())) => {
                self.context.metrics.login(LoginResult::admin);
                let mut already_read = self.client.take_buffer();
                let capabilities = response.capabilities & self.offered;
                let schema = (!response.schema.is_empty()).then(|| String::from_utf8_lossy(&response.schema).into_owned());
                let (stream, connection_id) = (self.client.stream, self.connection_id);
                let stream = match compression::with_client(response, self.offered) {
                    Some(algorithm) => stream.compressed(algorithm, self.context.toolbox.clone(), std::mem::take(&mut already_read)),
                    None => stream,
                };
                Outcome::Admin(Box::new(AdminDoor { stream, already_read, capabilities, connection_id, schema }))
            }
            Ok(Err(failed)) => {
                self.fail(failed).await;
                Outcome::Over
            }
            Err(_) => {
                let tell = Some((packet.sequence.wrapping_add(1), ClientError::LoginTimeout));
                self.fail(Failed { result: LoginResult::broken, tell }).await;
                Outcome::Over
            }
        }
    }

    /// Has the admin prove the password, and says OK.
    async fn prove(&mut self, sequence: u8, response: &Response) -> Result<(), Failed> {
        let config = self.context.config.load_full();
        let password = config.admin.password.as_bytes();
        let gone = Failed { result: LoginResult::broken, tell: None };
        let (mut plugin, mut proof, mut next) = (response.plugin.clone(), response.proof.clone(), sequence.wrapping_add(1));
        if response.capabilities & PLUGIN_AUTH == 0 {
            plugin = NATIVE.into();
        }
        let fits = match plugin.as_str() {
            NATIVE => proof.len() == 20,
            CACHING_SHA2 => proof.len() == 32,
            _ => false,
        };
        if !fits && response.capabilities & PLUGIN_AUTH != 0 {
            let is_mariadb = response.capabilities & CLIENT_MYSQL == 0;
            plugin = if is_mariadb { NATIVE } else { CACHING_SHA2 }.into();
            self.salt = fresh_salt().to_vec();
            let mut out = Vec::new();
            answer::push_auth_switch(&mut out, next, &plugin, &self.salt);
            if self.client.send(&out).await.is_err() {
                return Err(gone);
            }
            let Ok(packet) = self.client.packet().await else { return Err(gone) };
            proof = packet.payload().to_vec();
            next = packet.sequence.wrapping_add(1);
        }
        if !scramble::is_proven(&plugin, &self.salt, password, &proof) {
            let user = String::from_utf8_lossy(&response.user).into_owned();
            let host = self.record.client.rsplit_once(':').map_or(self.record.client.as_str(), |(host, _)| host).to_owned();
            return Err(Failed { result: LoginResult::refused, tell: Some((next, ClientError::AccessDenied { user, host })) });
        }
        let mut out = Vec::new();
        if plugin == CACHING_SHA2 {
            next = packet::push(&mut out, next, &[1, 3]);
        }
        answer::push_ok(&mut out, next, answer::AUTOCOMMIT);
        self.client.send(&out).await.map_err(|_| gone)
    }

    /// Carries the dialogue of a login to its OK or ERR, whatever the plugins say to each other.
    async fn relay(mut self, mut server: Channel, greeting: &Greeting, response: &Response, compression: Option<Algorithm>) -> Outcome {
        let (is_client_secure, is_server_secure) = (self.client.stream.is_secure(), server.stream.is_secure());
        let plugin = if response.plugin.is_empty() { &greeting.plugin } else { &response.plugin };
        let mut dialogue = Dialogue::new(plugin, &greeting.salt, is_client_secure, is_server_secure, self.security.keys.clone());
        let mut from_client = BytesMut::new();
        loop {
            tokio::select! {
                packet = server.packet() => {
                    let Ok(packet) = packet else {
                        self.context.metrics.login(LoginResult::refused);
                        hang_up(self.client.stream).await;
                        return Outcome::Over;
                    };
                    match dialogue.from_server(packet.payload()) {
                        Ok(Turn::Back(secret)) if server.send_payload(&secret.0).await.is_ok() => continue,
                        Ok(Turn::Back(_)) => continue,
                        Ok(_) => {}
                        Err(stuck) => return self.stuck(stuck).await,
                    }
                    if self.client.send_payload(packet.payload()).await.is_err() {
                        self.context.metrics.login(LoginResult::broken);
                        return Outcome::Over;
                    }
                    if packet.payload().first() == Some(&0xff) {
                        self.context.metrics.login(LoginResult::refused);
                        hang_up(self.client.stream).await;
                        return Outcome::Over;
                    }
                    // A login's OK changes nothing; a plugin's own bytes hardly look like that.
                    let status = packet.payload().starts_with(&[0, 0, 0]).then(|| answer::ok_status(packet.payload())).flatten();
                    if let Some(status) = status {
                        self.context.metrics.login(LoginResult::ok);
                        from_client.unsplit(self.client.take_buffer());
                        let translation = dialogue.translates().then(|| Box::new(Translation::new(dialogue)));
                        let mut from_server = server.take_buffer();
                        let pack = |stream: Stream, algorithm, ahead: &mut BytesMut| match algorithm {
                            Some(algorithm) => stream.compressed(algorithm, self.context.toolbox.clone(), std::mem::take(ahead)),
                            None => stream,
                        };
                        let with_client = compression::with_client(response, self.offered);
                        return Outcome::Through(Box::new(Established {
                            client: pack(self.client.stream, with_client, &mut from_client),
                            server: pack(server.stream, compression, &mut from_server),
                            from_server,
                            from_client,
                            capabilities: response.capabilities & greeting.capabilities & !MASKED,
                            status,
                            schema: String::from_utf8_lossy(&response.schema).into_owned(),
                            translation,
                        }));
                    }
                }
                packet = self.client.packet(), if from_client.is_empty() => {
                    let sent = match packet {
                        // Sequence 0 begins a command: it waits for the end of the login.
                        Ok(packet) if packet.sequence == 0 => {
                            from_client = packet.bytes;
                            continue;
                        }
                        Ok(packet) => match dialogue.from_client(packet.payload()) {
                            Ok(Turn::Pass) => server.send_payload(packet.payload()).await.is_ok(),
                            Ok(Turn::Instead(secret)) => server.send_payload(&secret.0).await.is_ok(),
                            Ok(Turn::Back(secret)) => self.client.send_payload(&secret.0).await.is_ok(),
                            Err(stuck) => return self.stuck(stuck).await,
                        },
                        Err(_) => false,
                    };
                    if !sent {
                        self.context.metrics.login(LoginResult::broken);
                        return Outcome::Over;
                    }
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    let tell = Some((self.client.next, ClientError::LoginTimeout));
                    self.fail(Failed { result: LoginResult::broken, tell }).await;
                    return Outcome::Over;
                }
            }
        }
    }

    async fn stuck(self, stuck: Stuck) -> Outcome {
        let tell = Some((self.client.next, translate::told(stuck, &self.context.config.load().upstream.address)));
        self.fail(Failed { result: LoginResult::refused, tell }).await;
        Outcome::Over
    }
}

/// Twenty random bytes without zeros, as a salt must be.
fn fresh_salt() -> [u8; 20] {
    let (one, two) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let mut salt = [0; 20];
    // The version bits of an UUID are not random: bytes 6 and 8 are left out.
    let random = one.as_bytes().iter().enumerate().chain(two.as_bytes().iter().enumerate()).filter(|(at, _)| !matches!(at, 6 | 8));
    for (place, (_, byte)) in salt.iter_mut().zip(random) {
        *place = byte % 126 + 1;
    }
    salt
}
