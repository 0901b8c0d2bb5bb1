//! Greetings, login responses and what belongs to a login: read, masked, read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::number;
use tidegate_fuzz::wire::capabilities::MASKED;
use tidegate_fuzz::wire::greeting::Greeting;
use tidegate_fuzz::wire::login::{Response, change_user_plugin, change_user_schema, is_tls_request};
use tidegate_fuzz::wire::{answer, scramble};

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let capabilities = number(&mut data);
    if let Some(greeting) = Greeting::read(data) {
        let mut masked = data.to_vec();
        let offered = greeting.mask(&mut masked, 0);
        let again = Greeting::read(&masked).expect("a masked greeting is one");
        assert_eq!(again.capabilities, offered);
        assert_eq!((again.connection_id, &again.salt, &again.version), (greeting.connection_id, &greeting.salt, &greeting.version));
    }
    if let Ok(response) = Response::read(data) {
        let masked = response.masked(data, 0, None);
        if let Ok(again) = Response::read(&masked) {
            assert_eq!(again.capabilities & MASKED, 0);
            assert_eq!(again.user, response.user);
        }
    }
    let _ = (change_user_schema(data, capabilities), change_user_plugin(data, capabilities), is_tls_request(data));
    let _ = (answer::ok_status(data), answer::eof_status(data), answer::error_code(data));
    if let Some((plugin, salt)) = answer::auth_switch(data) {
        let _ = scramble::proof(&plugin, &salt, b"password");
        let _ = scramble::is_proven(&plugin, &salt, b"password", data);
    }
});
