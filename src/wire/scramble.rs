//! Proofs of a password: what a client computes from it and the salt.

use mysql_common::scramble::{scramble_native, scramble_sha256};

/// The plugin of MySQL 8 and later.
pub const CACHING_SHA2: &str = "caching_sha2_password";
/// The plugin of MariaDB and of MySQL before 8.
pub const NATIVE: &str = "mysql_native_password";

/// The proof for a password; `None` where the plugin is neither of the two. An empty password's proof is empty.
pub fn proof(plugin: &str, salt: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    match plugin {
        NATIVE => Some(scramble_native(salt, password).map(|proof| proof.to_vec()).unwrap_or_default()),
        CACHING_SHA2 => Some(scramble_sha256(salt, password).map(|proof| proof.to_vec()).unwrap_or_default()),
        _ => None,
    }
}

/// Whether a proof is the one for this password. An empty password never is: the admin must have one.
pub fn is_proven(plugin: &str, salt: &[u8], password: &[u8], given: &[u8]) -> bool {
    let Some(wanted) = proof(plugin, salt, password) else { return false };
    if wanted.is_empty() || wanted.len() != given.len() {
        return false;
    }
    // No early exit: the time tells nothing about the proof.
    wanted.iter().zip(given).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &[u8] = b"12345678901234567890";

    #[test]
    fn the_right_password_is_proven_and_others_are_not() {
        for plugin in [NATIVE, CACHING_SHA2] {
            let given = proof(plugin, SALT, b"secret").unwrap();
            assert!(is_proven(plugin, SALT, b"secret", &given));
            assert!(!is_proven(plugin, SALT, b"Secret", &given));
            assert!(!is_proven(plugin, b"another salt of 20 b", b"secret", &given));
            assert!(!is_proven(plugin, SALT, b"secret", &given[1..]));
            assert!(!is_proven(plugin, SALT, b"", b""));
        }
        assert!(!is_proven("dialog", SALT, b"secret", b"secret"));
    }
}
