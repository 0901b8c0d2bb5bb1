//! The dialogue in which a password is proven, where one side of the proxy is secure and the other is not.
//!
//! Everything passes as it is but one thing: caching_sha2_password's full authentication (and sha256_password) takes the
//! password in the clear on a secure connection, and sealed with the receiver's public key on any other. Where only one side
//! is secure, the proxy opens or seals it. Every other plugin proves the password in the same way on both.
//!
//! ```text
//!  client secure, server not:   server 04 → client; client password ⇒ the key is asked for; key ⇒ sealed → server
//!  server secure, client not:   server 04 → client; client asks for the key ⇒ the proxy's own; sealed ⇒ opened → server
//! ```
//! Never: keeps a password longer than until the server's key has come.

use std::sync::Arc;

use super::answer;
use super::packet::Fields;
use super::scramble::CACHING_SHA2;
use super::seal::{KeyPair, Secret, seal};

/// The plugin of MySQL 5.6 and 5.7 that always sends the password.
const SHA256: &str = "sha256_password";
/// Asks for the public key of caching_sha2_password.
const WANTS_KEY: u8 = 2;
/// Asks for the public key of sha256_password.
const WANTS_KEY_SHA256: u8 = 1;
/// The server wants the password itself.
const FULL: &[u8] = &[1, 4];

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes on as it is.
    Pass,
    /// This goes on in its place.
    Instead(Secret),
    /// It goes no further; whoever sent it gets this.
    Back(Secret),
}

/// The dialogue cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// The client sealed its password with a key that is not the proxy's.
    #[error("the password is encrypted with a key that is not the proxy's")]
    ForeignKey,
    /// The server's public key cannot be used.
    #[error("the server's public key cannot be used")]
    ServerKey,
}

#[derive(Debug)]
enum Waits {
    /// For nothing in particular.
    Nothing,
    /// For the client's password in the clear, or sealed, or its wish for the key.
    Password,
    /// For the server's key, to seal this.
    Key(Secret),
}

/// One login's dialogue, or one COM_CHANGE_USER's.
#[derive(Debug)]
pub struct Dialogue {
    plugin: String,
    salt: Vec<u8>,
    is_client_secure: bool,
    is_server_secure: bool,
    keys: Option<Arc<KeyPair>>,
    waits: Waits,
}

impl Dialogue {
    /// `plugin` and `salt`: as the server named them last.
    pub fn new(plugin: &str, salt: &[u8], is_client_secure: bool, is_server_secure: bool, keys: Option<Arc<KeyPair>>) -> Self {
        Self { plugin: plugin.to_owned(), salt: salt.to_vec(), is_client_secure, is_server_secure, keys, waits: Waits::Nothing }
    }

    /// `true` where some packet may have to be changed.
    pub fn translates(&self) -> bool {
        self.is_client_secure != self.is_server_secure
    }

    /// The salt that the server named last.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Starts again, with the salt that is known.
    pub fn restart(&mut self, plugin: &str) {
        plugin.clone_into(&mut self.plugin);
        self.waits = Waits::Nothing;
    }

    /// The server's next packet.
    ///
    /// # Errors
    /// [`Stuck::ServerKey`].
    pub fn from_server(&mut self, payload: &[u8]) -> Result<Turn, Stuck> {
        if let Some((plugin, salt)) = next_plugin(payload) {
            self.plugin = plugin;
            if !salt.is_empty() {
                self.salt = salt;
            }
            // sha256_password has no fast way: its first packet is the password already.
            self.waits = if self.plugin == SHA256 && self.translates() { Waits::Password } else { Waits::Nothing };
            return Ok(Turn::Pass);
        }
        match (std::mem::replace(&mut self.waits, Waits::Nothing), payload) {
            (Waits::Key(password), [1, key @ ..]) => Ok(Turn::Back(Secret(seal(&password.0, &self.salt, key).ok_or(Stuck::ServerKey)?))),
            (_, FULL) if self.translates() && self.plugin == CACHING_SHA2 => {
                self.waits = Waits::Password;
                Ok(Turn::Pass)
            }
            _ => Ok(Turn::Pass),
        }
    }

    /// The client's next packet.
    ///
    /// # Errors
    /// [`Stuck::ForeignKey`].
    pub fn from_client(&mut self, payload: &[u8]) -> Result<Turn, Stuck> {
        if !matches!(self.waits, Waits::Password) {
            return Ok(Turn::Pass);
        }
        let wants_key = if self.plugin == SHA256 { WANTS_KEY_SHA256 } else { WANTS_KEY };
        if self.is_client_secure {
            // An empty password is one zero byte, and needs no key.
            if payload == [0] || payload.is_empty() {
                self.waits = Waits::Nothing;
                return Ok(Turn::Pass);
            }
            self.waits = Waits::Key(Secret(payload.to_vec()));
            return Ok(Turn::Instead(Secret(vec![wants_key])));
        }
        if payload == [0] || payload.is_empty() {
            self.waits = Waits::Nothing;
            return Ok(Turn::Pass);
        }
        let keys = self.keys.as_ref().ok_or(Stuck::ForeignKey)?;
        if payload == [wants_key] {
            return Ok(Turn::Back(Secret([&[1], keys.public_pem()].concat())));
        }
        self.waits = Waits::Nothing;
        keys.open(payload, &self.salt).map(Turn::Instead).ok_or(Stuck::ForeignKey)
    }
}

/// A request to prove with another plugin, or with one more: its name and its salt.
fn next_plugin(payload: &[u8]) -> Option<(String, Vec<u8>)> {
    match payload.first()? {
        0xfe => answer::auth_switch(payload),
        // The next factor of several.
        2 => {
            let mut fields = Fields::new(payload);
            fields.byte()?;
            let plugin = String::from_utf8_lossy(fields.zero_ended()?).into_owned();
            let salt = fields.rest();
            Some((plugin, salt.strip_suffix(&[0]).unwrap_or(salt).to_vec()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: &[u8] = b"12345678901234567890";

    fn pair() -> Arc<KeyPair> {
        Arc::new(KeyPair::generate().unwrap())
    }

    fn back(turn: Result<Turn, Stuck>) -> Vec<u8> {
        match turn {
            Ok(Turn::Back(secret)) => secret.0.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clear_password_is_sealed_for_the_server() {
        let server = pair();
        let mut dialogue = Dialogue::new("mysql_native_password", SALT, true, false, None);
        let switch = [b"\xfecaching_sha2_password\0", SALT, b"\0"].concat();
        assert_eq!(dialogue.from_server(&switch), Ok(Turn::Pass));
        assert_eq!(dialogue.from_client(b"a proof"), Ok(Turn::Pass));
        assert_eq!(dialogue.from_server(FULL), Ok(Turn::Pass));
        assert_eq!(dialogue.from_client(b"secret\0"), Ok(Turn::Instead(Secret(vec![2]))));
        let sealed = back(dialogue.from_server(&[&[1], server.public_pem()].concat()));
        assert_eq!(server.open(&sealed, SALT).unwrap().0, b"secret\0");
        assert_eq!(dialogue.from_server(&[0, 0, 0, 2, 0, 0, 0]), Ok(Turn::Pass));
    }

    #[test]
    fn a_sealed_password_is_opened_for_the_server() {
        let own = pair();
        let mut dialogue = Dialogue::new(CACHING_SHA2, SALT, false, true, Some(own.clone()));
        assert_eq!(dialogue.from_server(FULL), Ok(Turn::Pass));
        let told = back(dialogue.from_client(&[2]));
        let sealed = seal(b"secret\0", SALT, &told[1..]).unwrap();
        assert_eq!(dialogue.from_client(&sealed), Ok(Turn::Instead(Secret(b"secret\0".to_vec()))));
        let mut dialogue = Dialogue::new(CACHING_SHA2, SALT, false, true, Some(own));
        dialogue.from_server(FULL).unwrap();
        let foreign = seal(b"secret\0", SALT, pair().public_pem()).unwrap();
        assert_eq!(dialogue.from_client(&foreign), Err(Stuck::ForeignKey));
    }

    #[test]
    fn sha256_password_and_further_factors_are_followed() {
        let own = pair();
        let mut dialogue = Dialogue::new("x", SALT, false, true, Some(own));
        dialogue.from_server(&[b"\x02sha256_password\0", SALT, b"\0"].concat()).unwrap();
        let told = back(dialogue.from_client(&[1]));
        let sealed = seal(b"secret\0", SALT, &told[1..]).unwrap();
        assert_eq!(dialogue.from_client(&sealed), Ok(Turn::Instead(Secret(b"secret\0".to_vec()))));
    }

    #[test]
    fn equal_sides_and_other_plugins_pass() {
        for (client, server) in [(true, true), (false, false)] {
            let mut dialogue = Dialogue::new(CACHING_SHA2, SALT, client, server, None);
            assert_eq!(dialogue.from_server(FULL), Ok(Turn::Pass));
            assert_eq!(dialogue.from_client(&[2]), Ok(Turn::Pass));
        }
        let mut dialogue = Dialogue::new("client_ed25519", SALT, true, false, None);
        assert_eq!(dialogue.from_server(FULL), Ok(Turn::Pass));
        assert_eq!(dialogue.from_client(b"signature"), Ok(Turn::Pass));
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(packets in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..30)), 0..12), secure: bool) {
            let mut dialogue = Dialogue::new(CACHING_SHA2, SALT, secure, !secure, None);
            for (is_server, payload) in packets {
                let _ = if is_server { dialogue.from_server(&payload) } else { dialogue.from_client(&payload) };
            }
        }
    }
}
