//! OK, EOF, ERR and the packets of a login: reading the server's, writing the proxy's own.
//!
//! OK: `00 | changed rows | last id | status 2 | warnings 2 | …`; EOF: `fe | warnings 2 | status 2`;
//! ERR: `ff | code 2 | #state 6 | text`.

use super::packet::{self, Fields};

/// Status flag: a transaction is open.
pub const IN_TRANSACTION: u16 = 0x0001;
/// Status flag: autocommit is on.
pub const AUTOCOMMIT: u16 = 0x0002;
/// Status flag: another result follows.
pub const MORE_RESULTS: u16 = 0x0008;
/// Status flag: a cursor was opened instead of sending rows.
pub const CURSOR_EXISTS: u16 = 0x0040;
/// Status flag: this result set carries OUT parameters.
pub const OUT_PARAMETERS: u16 = 0x1000;

/// Status flag: an OK carries changes of the session's state.
pub const SESSION_STATE_CHANGED: u16 = 0x4000;

/// The status flags of an OK packet (header 00 or fe).
pub fn ok_status(payload: &[u8]) -> Option<u16> {
    let mut fields = Fields::new(payload);
    fields.byte()?;
    fields.length()?;
    fields.length()?;
    u16::try_from(fields.integer(2)?).ok()
}

/// The status flags of an EOF packet.
pub fn eof_status(payload: &[u8]) -> Option<u16> {
    let mut fields = Fields::new(payload);
    fields.bytes(3)?;
    u16::try_from(fields.integer(2)?).ok()
}

/// The code of an ERR packet.
pub fn error_code(payload: &[u8]) -> Option<u16> {
    let mut fields = Fields::new(payload);
    fields.byte()?;
    u16::try_from(fields.integer(2)?).ok()
}

/// Writes an ERR packet. `state` is left out where nothing is negotiated yet (an error instead of a greeting).
pub fn push_error(out: &mut Vec<u8>, sequence: u8, code: u16, state: Option<&str>, message: &str) {
    let mut payload = vec![0xff];
    payload.extend_from_slice(&code.to_le_bytes());
    if let Some(state) = state {
        payload.push(b'#');
        payload.extend_from_slice(state.as_bytes());
    }
    payload.extend_from_slice(message.as_bytes());
    packet::push(out, sequence, &payload);
}

/// Writes an OK packet that changed nothing.
pub fn push_ok(out: &mut Vec<u8>, sequence: u8, status: u16) {
    let [low, high] = status.to_le_bytes();
    packet::push(out, sequence, &[0, 0, 0, low, high, 0, 0]);
}

/// Writes a request to prove the password with another plugin.
pub fn push_auth_switch(out: &mut Vec<u8>, sequence: u8, plugin: &str, salt: &[u8]) {
    let mut payload = vec![0xfe];
    payload.extend_from_slice(plugin.as_bytes());
    payload.push(0);
    payload.extend_from_slice(salt);
    payload.push(0);
    packet::push(out, sequence, &payload);
}

/// Reads a request to prove the password with another plugin: its name and the salt.
pub fn auth_switch(payload: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut fields = Fields::new(payload);
    if fields.byte()? != 0xfe {
        return None;
    }
    let plugin = String::from_utf8_lossy(fields.zero_ended()?).into_owned();
    let salt = fields.rest();
    Some((plugin, salt.strip_suffix(&[0]).unwrap_or(salt).to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        push_ok(&mut out, 1, 0x0103);
        assert_eq!(ok_status(&out[4..]), Some(0x0103));
        out.clear();
        push_error(&mut out, 1, 1412, Some("HY000"), "retry");
        assert_eq!(error_code(&out[4..]), Some(1412));
        assert_eq!(&out[7..], b"#HY000retry");
        out.clear();
        push_error(&mut out, 0, 1040, None, "Too many connections");
        assert_eq!(&out[..], b"\x17\0\0\0\xff\x10\x04Too many connections");
        out.clear();
        push_auth_switch(&mut out, 2, "p", b"salt");
        assert_eq!(auth_switch(&out[4..]), Some(("p".into(), b"salt".to_vec())));
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (ok_status(&payload), eof_status(&payload), error_code(&payload), auth_switch(&payload));
        }
    }
}
