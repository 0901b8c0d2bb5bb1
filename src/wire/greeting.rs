//! The server's greeting (the manual's Protocol::HandshakeV10).
//!
//! `10 | version 0 | connection id 4 | salt 8 | 0 | capabilities 2 | charset 1 | status 2 | capabilities 2 | salt length 1 |
//! reserved 10 (MariaDB: its extension in the last 4) | salt 13 | plugin 0`

use super::capabilities::{CLIENT_MYSQL, MASKED, OWN, PLUGIN_AUTH};
use super::packet::Fields;
use super::scramble::CACHING_SHA2;

/// What the proxy needs of a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The server's version.
    pub version: String,
    /// The server's number for this connection; KILL works because it passes unchanged.
    pub connection_id: u32,
    /// Twenty bytes against which passwords are proven.
    pub salt: Vec<u8>,
    /// What the server can do; MariaDB's extension in the high 32 bits.
    pub capabilities: u64,
    /// The server's default plugin.
    pub plugin: String,
    low_at: usize,
}

impl Greeting {
    /// Reads a greeting's payload; `None` where it is none of protocol 10.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        if fields.byte()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(fields.zero_ended()?).into_owned();
        let connection_id = u32::try_from(fields.integer(4)?).ok()?;
        let mut salt = fields.bytes(8)?.to_vec();
        fields.byte()?;
        let low_at = payload.len() - fields.rest().len();
        let low = fields.integer(2)?;
        fields.bytes(3)?;
        let high = fields.integer(2)?;
        let salt_length = usize::from(fields.byte()?);
        fields.bytes(6)?;
        let extension = fields.integer(4)?;
        let mut capabilities = low | high << 16;
        if capabilities & CLIENT_MYSQL == 0 {
            capabilities |= extension << 32;
        }
        let second = fields.bytes(salt_length.saturating_sub(8).max(13).min(fields.rest().len()))?;
        salt.extend_from_slice(second.get(..12).unwrap_or(second));
        let plugin = if capabilities & PLUGIN_AUTH == 0 {
            String::new()
        } else {
            // Some servers leave out the last zero.
            let rest = fields.rest();
            String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or(rest)).into_owned()
        };
        Some(Self { version, connection_id, salt, capabilities, plugin, low_at })
    }

    /// Writes into the payload that this was read from what the client is offered: what the server can do, and of what each
    /// side agrees on for itself, `own`. Returns what is offered.
    pub fn mask(&self, payload: &mut [u8], own: u64) -> u64 {
        let offered = self.capabilities & !MASKED | own & MASKED;
        let bytes = offered.to_le_bytes();
        let at = self.low_at;
        let mut put = |from: usize, what: &[u8]| {
            if let Some(place) = payload.get_mut(from..from + what.len()) {
                place.copy_from_slice(what);
            }
        };
        put(at, &bytes[0..2]);
        put(at + 5, &bytes[2..4]);
        if self.capabilities & CLIENT_MYSQL == 0 {
            put(at + 14, &bytes[4..8]);
        }
        offered
    }

    /// The payload of a greeting of the proxy's own, for the time in which the server cannot be reached; `more` is offered besides.
    pub fn own(connection_id: u32, salt: &[u8; 20], more: u64) -> Vec<u8> {
        let capabilities = (OWN | more & MASKED).to_le_bytes();
        let mut out = vec![10];
        out.extend_from_slice(b"8.0.0-Tidegate\0");
        out.extend_from_slice(&connection_id.to_le_bytes());
        out.extend_from_slice(&salt[..8]);
        out.push(0);
        out.extend_from_slice(&capabilities[..2]);
        out.extend_from_slice(&[255, 2, 0]);
        out.extend_from_slice(&capabilities[2..4]);
        out.push(21);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&salt[8..]);
        out.push(0);
        out.extend_from_slice(CACHING_SHA2.as_bytes());
        out.push(0);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::capabilities::{COMPRESS, SSL, ZSTD};

    #[test]
    fn the_own_greeting_reads_back() {
        let greeting = Greeting::read(&Greeting::own(7, b"abcdefghijklmnopqrst", 0)).unwrap();
        assert_eq!(greeting.connection_id, 7);
        assert_eq!(greeting.salt, b"abcdefghijklmnopqrst");
        assert_eq!(greeting.plugin, CACHING_SHA2);
        assert_eq!(greeting.capabilities, OWN);
        assert_eq!(greeting.version, "8.0.0-Tidegate");
    }

    fn foreign(low: u64, extension: u64) -> Vec<u8> {
        let mut payload = Greeting::own(9, b"abcdefghijklmnopqrst", 0);
        let at = Greeting::read(&payload).unwrap().low_at;
        payload[at..at + 2].copy_from_slice(&low.to_le_bytes()[..2]);
        payload[at + 5..at + 7].copy_from_slice(&low.to_le_bytes()[2..4]);
        payload[at + 14..at + 18].copy_from_slice(&extension.to_le_bytes()[..4]);
        payload
    }

    #[test]
    fn masking_clears_tls_and_compression_and_nothing_else() {
        let all = u64::from(u32::MAX);
        let mut payload = foreign(all, 0);
        let offered = Greeting::read(&payload).unwrap().mask(&mut payload, 0);
        assert_eq!(offered, all & !(SSL | COMPRESS | ZSTD));
        assert_eq!(payload, foreign(offered, 0));
    }

    #[test]
    fn what_the_proxy_offers_itself_is_added() {
        let mut payload = foreign(OWN & !SSL, 0);
        assert_eq!(Greeting::read(&payload).unwrap().mask(&mut payload, SSL), OWN | SSL);
        assert_eq!(payload, foreign(OWN | SSL, 0));
        assert_eq!(Greeting::read(&Greeting::own(7, b"abcdefghijklmnopqrst", SSL)).unwrap().capabilities, OWN | SSL);
    }

    #[test]
    fn the_extension_of_mariadb_passes() {
        let mut payload = foreign(u64::from(u32::MAX) & !CLIENT_MYSQL, 0x1d);
        let offered = Greeting::read(&payload).unwrap().mask(&mut payload, 0);
        assert_eq!(offered >> 32, 0x1d);
        assert_eq!(Greeting::read(&payload).unwrap().capabilities, offered);
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            for protocol in [payload.clone(), [&[10], payload.as_slice()].concat()] {
                if let Some(greeting) = Greeting::read(&protocol) {
                    greeting.mask(&mut protocol.clone(), SSL);
                }
            }
        }
    }
}
