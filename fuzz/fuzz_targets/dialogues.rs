//! The dialogue of a login, with and without translation of passwords, and what is sealed in it.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::number;
use tidegate_fuzz::wire::dialogue::{Dialogue, Turn};
use tidegate_fuzz::wire::seal::{KeyPair, seal};

static KEYS: LazyLock<Arc<KeyPair>> = LazyLock::new(|| Arc::new(KeyPair::generate().expect("a pair of keys")));
const SALT: &[u8] = b"abcdefghijklmnopqrst";
const SWITCH: &[u8] = b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0";
const SWITCH_OLD: &[u8] = b"\xfesha256_password\0abcdefghijklmnopqrst\0";

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let choice = number(&mut data);
    let (is_client_secure, is_server_secure) = (choice & 1 != 0, choice & 2 != 0);
    let keys = (choice & 4 != 0).then(|| KEYS.clone());
    let mut dialogue = Dialogue::new("caching_sha2_password", SALT, is_client_secure, is_server_secure, keys);
    let password = [data.get(..20).unwrap_or(data), b"\0"].concat();
    let key = [&[1], KEYS.public_pem()].concat();
    let sealed = seal(&password, SALT, KEYS.public_pem()).expect("sealed");
    assert_eq!(KEYS.open(&sealed, SALT).map(|secret| secret.0.clone()), Some(password.clone()));
    // Packets in any order: right ones of both sides, and whatever the input says.
    for step in data.iter().take(24) {
        let (is_server, packet): (bool, &[u8]) = match step % 12 {
            0 => (true, SWITCH),
            1 => (true, SWITCH_OLD),
            2 => (true, &[1, 4]),
            3 => (true, &key),
            4 => (true, &[1, 3]),
            5 => (true, data),
            6 => (false, &password),
            7 => (false, &sealed),
            8 => (false, &[2]),
            9 => (false, &[1]),
            10 => (false, &[0]),
            _ => (false, data),
        };
        let turn = if is_server { dialogue.from_server(packet) } else { dialogue.from_client(packet) };
        match turn {
            Ok(Turn::Pass) => {}
            Ok(Turn::Instead(_) | Turn::Back(_)) => assert_ne!(is_client_secure, is_server_secure, "nothing is to be translated"),
            Err(_) => break,
        }
        if step & 128 != 0 {
            dialogue.restart("sha256_password");
        }
    }
    let _ = (KEYS.open(data, SALT), seal(b"x\0", SALT, data), KeyPair::read(data));
});
