//! Passwords on a wire that others may read: mixed with the salt, then encrypted with RSA (OAEP with SHA-1), as
//! caching_sha2_password and sha256_password want them without TLS.
//!
//! Never: a password in Debug or in an error.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// Bytes that may be a password: shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("(hidden)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

fn mix(bytes: &[u8], salt: &[u8]) -> Vec<u8> {
    bytes.iter().zip(salt.iter().cycle()).map(|(a, b)| a ^ b).collect()
}

/// Encrypts a password (with its ending zero byte) for the holder of `key`, a public key in PEM; `None` where it cannot be used.
pub fn seal(password: &[u8], salt: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    if salt.is_empty() {
        return None;
    }
    let der = SubjectPublicKeyInfoDer::from_pem_slice(key).ok()?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).ok()?).ok()?;
    let mixed = Secret(mix(password, salt));
    let mut out = vec![0; key.ciphertext_size()];
    Some(key.encrypt(&OAEP_SHA1_MGF1SHA1, &mixed.0, &mut out, None).ok()?.to_vec())
}

/// The proxy's own pair of keys, for clients without TLS in front of a server with it.
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("KeyPair")
    }
}

impl KeyPair {
    /// Makes a new pair; takes about a tenth of a second. `None` where the system gives no random numbers.
    pub fn generate() -> Option<Self> {
        Self::of(PrivateDecryptingKey::generate(KeySize::Rsa2048).ok()?)
    }

    /// Reads a private key in PEM (PKCS#8: "BEGIN PRIVATE KEY").
    pub fn read(pem: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        Self::of(PrivateDecryptingKey::from_pkcs8(der.secret_pkcs8_der()).ok()?)
    }

    fn of(key: PrivateDecryptingKey) -> Option<Self> {
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        Some(Self { public_pem: pem(der.as_ref()), private: OaepPrivateDecryptingKey::new(key).ok()? })
    }

    /// The public key in PEM, as clients are given it.
    pub fn public_pem(&self) -> &[u8] {
        &self.public_pem
    }

    /// Opens what a client sealed with the public key; `None` where it used another, or sent something else.
    pub fn open(&self, sealed: &[u8], salt: &[u8]) -> Option<Secret> {
        if salt.is_empty() {
            return None;
        }
        let mut out = Secret(vec![0; self.private.min_output_size()]);
        let mixed = self.private.decrypt(&OAEP_SHA1_MGF1SHA1, sealed, &mut out.0, None).ok()?;
        Some(Secret(mix(mixed, salt))).filter(|password| password.0.last() == Some(&0))
    }
}

fn pem(der: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in der.chunks(3) {
        let bits = group.iter().chain([&0, &0]).take(3).fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = LETTERS.get(bits >> (18 - 6 * place) & 63).copied().unwrap_or(b'=');
            text.push(if place <= group.len() { letter } else { b'=' });
        }
    }
    let mut out = b"-----BEGIN PUBLIC KEY-----\n".to_vec();
    for line in text.chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(b"-----END PUBLIC KEY-----\n");
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_right_key_and_salt_only() {
        let pair = KeyPair::generate().unwrap();
        let salt = b"12345678901234567890";
        let sealed = seal(b"secret\0", salt, pair.public_pem()).unwrap();
        assert_eq!(pair.open(&sealed, salt).unwrap().0, b"secret\0");
        assert!(pair.open(&sealed, b"another salt of 20 b").is_none());
        assert!(pair.open(&sealed[1..], salt).is_none());
        assert!(KeyPair::generate().unwrap().open(&sealed, salt).is_none());
        assert_eq!(format!("{:?}", pair.open(&sealed, salt)), "Some((hidden))");
        // The driver's own way to seal, which servers are known to open.
        let theirs = mysql_common::crypto::encrypt(&mix(b"secret\0", salt), pair.public_pem());
        assert_eq!(pair.open(&theirs, salt).unwrap().0, b"secret\0");
    }

    #[test]
    fn a_key_of_nonsense_seals_nothing() {
        for key in [&b""[..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"-----BEGIN PUBLIC KEY-----"] {
            assert!(seal(b"secret\0", b"salt", key).is_none());
            assert!(KeyPair::read(key).is_none());
        }
    }

    proptest! {
        #[test]
        fn base64_reads_back(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let read = SubjectPublicKeyInfoDer::from_pem_slice(&pem(&bytes)).unwrap();
            prop_assert_eq!(read.as_ref(), bytes.as_slice());
        }
    }
}
