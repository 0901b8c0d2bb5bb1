//! TLS on both sides of a login, and the keys for passwords where only one side has it.
//!
//! Owns: the certificates and keys that logins use; a reload puts others in their place, sessions keep what they have.

use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::net::Stream;
use crate::net::tls::{Back, Files, Front, Mode, Unusable};
use crate::wire::capabilities::SSL;
use crate::wire::greeting::Greeting;
use crate::wire::login::TLS_REQUEST;
use crate::wire::seal::KeyPair;

use super::channel::Channel;

/// What logins are secured with.
#[derive(Debug)]
pub struct Security {
    /// TLS to clients; `None` where it is off.
    pub(super) front: Option<Front>,
    /// Clients without TLS are refused.
    pub(super) must_clients: bool,
    /// TLS to the server.
    pub(super) back: Back,
    /// For clients without TLS in front of a server with it; `None` where that cannot be.
    pub(super) keys: Option<Arc<KeyPair>>,
}

impl Security {
    /// Loads every file that the settings name. The pair of keys of `before` is kept where it was made and not read from a file.
    ///
    /// # Errors
    /// [`Unusable`] names the key of the settings, the file and the remedy.
    pub fn load(config: &Config, before: Option<&Self>) -> Result<Self, Unusable> {
        let (listen, upstream) = (&config.listen, &config.upstream);
        let front_mode = Mode::read(&listen.tls).unwrap_or(Mode::Off);
        let front = match front_mode {
            Mode::Off => None,
            _ => Some(Front::load(Files { section: "listen", cert: &listen.tls_cert, key: &listen.tls_key, ca: &listen.tls_ca })?),
        };
        let back_mode = Mode::read(&upstream.tls).unwrap_or(Mode::Off);
        let files = Files { section: "upstream", cert: &upstream.tls_cert, key: &upstream.tls_key, ca: &upstream.tls_ca };
        let back = Back::load(back_mode, files)?;
        let keys = if listen.rsa_key.is_empty() {
            let is_needed = !front_mode.is_required() && (back_mode != Mode::Off || upstream.is_local());
            let old = before.and_then(|before| before.keys.clone());
            if is_needed { old.or_else(|| KeyPair::generate().map(Arc::new)) } else { None }
        } else {
            let key = std::fs::read(&listen.rsa_key).ok().and_then(|pem| KeyPair::read(&pem));
            let unusable = || {
                Unusable::new(
                    "listen",
                    "rsa_key",
                    &listen.rsa_key,
                    "is not a readable RSA key in PKCS#8 PEM",
                    "make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
                )
            };
            Some(Arc::new(key.ok_or_else(unusable)?))
        };
        Ok(Self { front, must_clients: front_mode.is_required(), back, keys })
    }

    /// What the client is offered besides what the server can do.
    pub(super) fn offered(&self) -> u64 {
        if self.front.is_some() { SSL } else { 0 }
    }

    /// Whether the connection to a server that greeted so gets TLS; an error in the user's words where it must and cannot.
    pub(super) fn wants_back(&self, server: &Channel, greeting: &Greeting) -> Result<bool, String> {
        if self.back.mode == Mode::Off || server.stream.is_secure() {
            return Ok(false);
        }
        let can = greeting.capabilities & SSL != 0;
        if !can && self.back.mode.is_required() {
            return Err("it does not offer TLS; set it up there, or give [upstream] tls = \"preferred\"".into());
        }
        Ok(can)
    }

    /// The name that the server's TLS is asked for: what the client asked the proxy for, unless the server must prove a name.
    pub(super) fn name_for_server(&self, client: &Stream, host: String) -> String {
        match client.asked_name() {
            Some(name) if self.back.mode != Mode::VerifyIdentity => name.to_owned(),
            _ => host,
        }
    }

    /// Asks the server for TLS with the beginning of a login response, and shakes hands; in the version that the client speaks, where there is
    /// one with TLS.
    pub(super) async fn secure_back(
        &self,
        server: &mut Channel,
        response: &[u8],
        host: &str,
        client: Option<rustls::ProtocolVersion>,
    ) -> io::Result<()> {
        server.send_payload(response.get(..TLS_REQUEST).unwrap_or_default()).await?;
        self.back.connect(&mut server.stream, host, client).await
    }
}
