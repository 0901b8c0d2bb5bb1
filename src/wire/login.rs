//! The client's answer to the greeting (the manual's Protocol::HandshakeResponse41), and COM_CHANGE_USER, which has its tail.
//!
//! `capabilities 4 | longest packet 4 | charset 1 | reserved 23 (MariaDB: its extension in the last 4) | user 0 |
//! proof | schema 0 | plugin 0 | attributes`

use super::capabilities::{
    CLIENT_MYSQL, COMPRESS, CONNECT_WITH_DB, MASKED, PLUGIN_AUTH, PLUGIN_AUTH_LENENC, PROTOCOL_41, SECURE_CONNECTION, SSL, ZSTD,
};
use super::compression::{Algorithm, ZSTD_LEVEL};
use super::packet::Fields;

/// What the proxy needs of a login response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What the client wants, as it said it; MariaDB's extension in the high 32 bits.
    pub capabilities: u64,
    /// The user name.
    pub user: Vec<u8>,
    /// The proof of the password, as the plugin wants it.
    pub proof: Vec<u8>,
    /// The schema to start in; empty for none.
    pub schema: Vec<u8>,
    /// The plugin that made the proof; empty where the client names none.
    pub plugin: String,
    /// The level of zstd that the client asks for.
    pub zstd_level: u8,
}

/// Why a response is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The protocol before 4.1, or its authentication.
    #[error("the client speaks the protocol before 4.1")]
    TooOld,
    /// The bytes are no login response.
    #[error("the bytes are no login response")]
    Malformed,
}

/// Bytes of a request for TLS: a login response that ends before the user name.
pub const TLS_REQUEST: usize = 32;

/// `true` where a packet in a login response's place asks for TLS.
pub fn is_tls_request(payload: &[u8]) -> bool {
    payload.len() == TLS_REQUEST && Fields::new(payload).integer(4).is_some_and(|capabilities| capabilities & SSL != 0)
}

impl Response {
    /// Reads a response's payload.
    ///
    /// # Errors
    /// [`Refused`] says what is wrong with it; nothing of it may go to the server then.
    pub fn read(payload: &[u8]) -> Result<Self, Refused> {
        let mut fields = Fields::new(payload);
        let low = fields.integer(2).ok_or(Refused::Malformed)?;
        if low & PROTOCOL_41 == 0 {
            return Err(Refused::TooOld);
        }
        let high = fields.integer(2).ok_or(Refused::Malformed)?;
        let mut capabilities = low | high << 16;
        let reserved = fields.bytes(28).ok_or(Refused::Malformed)?;
        if capabilities & CLIENT_MYSQL == 0 {
            capabilities |= Fields::new(&reserved[24..]).integer(4).unwrap_or(0) << 32;
        }
        if capabilities & (SECURE_CONNECTION | PLUGIN_AUTH_LENENC) == 0 {
            return Err(Refused::TooOld);
        }
        let mut response = Self::read_tail(capabilities, &mut fields).ok_or(Refused::Malformed)?;
        if capabilities & ZSTD != 0 {
            response.zstd_level = payload.last().copied().unwrap_or(ZSTD_LEVEL);
        }
        Ok(response)
    }

    fn read_tail(capabilities: u64, fields: &mut Fields<'_>) -> Option<Self> {
        let user = fields.zero_ended()?.to_vec();
        let proof = if capabilities & PLUGIN_AUTH_LENENC == 0 {
            let length = usize::from(fields.byte()?);
            fields.bytes(length)?
        } else {
            fields.string()?
        };
        let (proof, mut schema, mut plugin) = (proof.to_vec(), Vec::new(), String::new());
        if capabilities & CONNECT_WITH_DB != 0 {
            // Some clients set the flag and end the packet.
            schema = fields.zero_ended().unwrap_or_default().to_vec();
        }
        if capabilities & PLUGIN_AUTH != 0 {
            let rest = fields.rest();
            plugin = String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or(rest)).into_owned();
        }
        Some(Self { capabilities, user, proof, schema, plugin, zstd_level: ZSTD_LEVEL })
    }

    /// The payload as the server gets it: of what each side agrees on for itself, with `own` and the compression.
    pub fn masked(&self, payload: &[u8], own: u64, compression: Option<Algorithm>) -> Vec<u8> {
        let own = own & !(COMPRESS | ZSTD) | compression.map_or(0, Algorithm::flag);
        let mut out = payload.to_vec();
        let bytes = (self.capabilities & !MASKED | own & MASKED).to_le_bytes();
        if let Some(place) = out.get_mut(..4) {
            place.copy_from_slice(&bytes[..4]);
        }
        if self.capabilities & CLIENT_MYSQL == 0
            && let Some(place) = out.get_mut(28..32)
        {
            place.copy_from_slice(&bytes[4..]);
        }
        if self.capabilities & ZSTD != 0 {
            // With zstd the response ends with the level of compression.
            out.pop();
        }
        if let Some(Algorithm::Zstd { level }) = compression {
            out.push(level);
        }
        out
    }

    /// The payload of a login of the proxy's own.
    pub fn own(capabilities: u64, user: &str, proof: &[u8], plugin: &str) -> Vec<u8> {
        let low = capabilities.to_le_bytes();
        let mut out = low[..4].to_vec();
        out.extend_from_slice(&0x0100_0000u32.to_le_bytes());
        out.push(45);
        out.extend_from_slice(&[0; 23]);
        out.extend_from_slice(user.as_bytes());
        out.push(0);
        out.push(u8::try_from(proof.len()).unwrap_or(0));
        out.extend_from_slice(proof);
        if capabilities & PLUGIN_AUTH != 0 {
            out.extend_from_slice(plugin.as_bytes());
            out.push(0);
        }
        out
    }
}

/// The schema that a COM_CHANGE_USER (its payload after the command's byte) asks for.
pub fn change_user_schema(payload: &[u8], capabilities: u64) -> Option<&[u8]> {
    behind_proof(payload, capabilities)?.zero_ended()
}

/// The plugin that made the proof in a COM_CHANGE_USER.
pub fn change_user_plugin(payload: &[u8], capabilities: u64) -> Option<&[u8]> {
    let mut fields = behind_proof(payload, capabilities)?;
    fields.zero_ended()?;
    // The character set.
    fields.bytes(2)?;
    (capabilities & PLUGIN_AUTH != 0).then(|| fields.rest().split(|byte| *byte == 0).next()).flatten()
}

fn behind_proof(payload: &[u8], capabilities: u64) -> Option<Fields<'_>> {
    let mut fields = Fields::new(payload);
    fields.zero_ended()?;
    if capabilities & SECURE_CONNECTION == 0 {
        fields.zero_ended()?;
    } else {
        let length = usize::from(fields.byte()?);
        fields.bytes(length)?;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH | CLIENT_MYSQL;

    #[test]
    fn a_response_reads_back() {
        let payload = Response::own(BASE, "app", b"proof", "mysql_native_password");
        let response = Response::read(&payload).unwrap();
        assert_eq!(response.user, b"app");
        assert_eq!(response.proof, b"proof");
        assert_eq!(response.plugin, "mysql_native_password");
        assert_eq!(response.masked(&payload, 0, None), payload);
    }

    #[test]
    fn compression_is_masked_with_its_last_byte() {
        let mut payload = Response::own(BASE | COMPRESS | ZSTD, "app", b"proof", "p");
        let plain = Response::own(BASE, "app", b"proof", "p");
        payload.push(9);
        let response = Response::read(&payload).unwrap();
        assert_eq!(response.zstd_level, 9);
        assert_eq!(response.masked(&payload, COMPRESS, None), plain);
        assert_eq!(response.masked(&payload, 0, Some(Algorithm::Zlib)), Response::own(BASE | COMPRESS, "app", b"proof", "p"));
        let mut zstd = Response::own(BASE | ZSTD, "app", b"proof", "p");
        zstd.push(22);
        let level = Some(Algorithm::Zstd { level: 22 });
        assert_eq!(response.masked(&payload, 0, level), zstd);
        assert_eq!(Response::read(&plain).unwrap().masked(&plain, 0, level), zstd);
    }

    #[test]
    fn old_protocols_are_refused_and_requests_for_tls_are_told() {
        assert_eq!(Response::read(&[0; 40]), Err(Refused::TooOld));
        let request = &Response::own(BASE | SSL, "", b"", "")[..TLS_REQUEST];
        assert!(is_tls_request(request));
        assert!(!is_tls_request(&Response::own(BASE | SSL, "app", b"", "")));
        assert!(!is_tls_request(&Response::own(BASE, "", b"", "")[..TLS_REQUEST]));
        assert_eq!(Response::read(&Response::own(BASE, "app", b"proof", "p")[..34]), Err(Refused::Malformed));
        assert_eq!(Response::read(&[]), Err(Refused::Malformed));
    }

    #[test]
    fn the_schema_of_a_change_of_user_is_found() {
        let payload = b"app\0\x03abcshop\0\xff\0plugin\0";
        assert_eq!(change_user_schema(payload, BASE), Some(b"shop".as_slice()));
        assert_eq!(change_user_schema(b"app\0\xffabc", BASE), None);
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(mut payload in prop::collection::vec(any::<u8>(), 0..300), capabilities: u64) {
            let _ = change_user_schema(&payload, capabilities);
            for flags in [0, 0x02, 0x82] {
                if payload.len() > 2 {
                    payload[1] |= flags;
                }
                if let Ok(response) = Response::read(&payload) {
                    let _ = response.masked(&payload, 0, None);
                }
            }
        }
    }
}
