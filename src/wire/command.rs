//! Commands: their codes, what their replies look like, and the SQL text within them.

use super::packet::Fields;
use super::reply::{Cursor, Shape};

/// COM_QUIT.
pub const QUIT: u8 = 0x01;
/// COM_INIT_DB.
pub const INIT_DB: u8 = 0x02;
/// COM_QUERY.
pub const QUERY: u8 = 0x03;
/// COM_FIELD_LIST.
pub const FIELD_LIST: u8 = 0x04;
/// COM_STATISTICS.
pub const STATISTICS: u8 = 0x09;
/// COM_PROCESS_KILL.
pub const PROCESS_KILL: u8 = 0x0c;
/// COM_PING.
pub const PING: u8 = 0x0e;
/// COM_CHANGE_USER.
pub const CHANGE_USER: u8 = 0x11;
/// COM_BINLOG_DUMP.
pub const BINLOG_DUMP: u8 = 0x12;
/// COM_STMT_PREPARE.
pub const STMT_PREPARE: u8 = 0x16;
/// COM_STMT_EXECUTE.
pub const STMT_EXECUTE: u8 = 0x17;
/// COM_STMT_SEND_LONG_DATA.
pub const STMT_SEND_LONG_DATA: u8 = 0x18;
/// COM_STMT_CLOSE.
pub const STMT_CLOSE: u8 = 0x19;
/// COM_STMT_RESET.
pub const STMT_RESET: u8 = 0x1a;
/// COM_SET_OPTION.
pub const SET_OPTION: u8 = 0x1b;
/// COM_STMT_FETCH.
pub const STMT_FETCH: u8 = 0x1c;
/// COM_BINLOG_DUMP_GTID.
pub const BINLOG_DUMP_GTID: u8 = 0x1e;
/// COM_RESET_CONNECTION.
pub const RESET_CONNECTION: u8 = 0x1f;
/// MariaDB's COM_STMT_BULK_EXECUTE.
pub const STMT_BULK_EXECUTE: u8 = 0xfa;

/// MariaDB's statement id for "the one just prepared".
pub const LAST_PREPARED: u32 = 0xffff_ffff;

/// What the reply to a command looks like. Unknown commands are answered like statements: an OK, an ERR or an EOF ends them.
pub fn shape(code: u8, payload: &[u8]) -> Shape {
    match code {
        QUIT | STMT_CLOSE | STMT_SEND_LONG_DATA => Shape::None,
        STMT_PREPARE => Shape::Prepare,
        STMT_FETCH => Shape::Fetch,
        FIELD_LIST => Shape::FieldList,
        STATISTICS => Shape::Text,
        CHANGE_USER => Shape::Login,
        BINLOG_DUMP | BINLOG_DUMP_GTID => Shape::Endless,
        STMT_EXECUTE if payload.get(4).is_some_and(|flags| flags & 0x07 != 0) => Shape::Result { cursor: Cursor::Asked },
        _ => Shape::Result { cursor: Cursor::None },
    }
}

/// `true` where a COM_STMT_EXECUTE asks for a cursor that can only be read: the one kind that servers open.
pub fn asks_for_cursor(payload: &[u8]) -> bool {
    payload.get(4).is_some_and(|flags| flags & 0x01 != 0)
}

/// The statement id of a COM_STMT_… payload.
pub fn statement_id(payload: &[u8]) -> Option<u32> {
    u32::try_from(Fields::new(payload).integer(4)?).ok()
}

/// The SQL text of a COM_QUERY's payload (after the command's byte). With query attributes the text comes after
/// `count | sets | null bitmap | 01 | types and names | values`; `None` where they cannot be read.
pub fn sql_text(payload: &[u8], has_attributes: bool) -> Option<&[u8]> {
    let mut fields = Fields::new(payload);
    if !has_attributes {
        return Some(fields.rest());
    }
    let count = usize::try_from(fields.length()?).ok()?;
    fields.length()?;
    if count > 0 {
        let nulls = fields.bytes(count.checked_add(7)? / 8)?;
        if fields.byte()? != 1 {
            return None;
        }
        // A parameter takes three bytes at least, so a hostile count cannot make this long.
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(fields.integer(2)?);
            fields.string()?;
        }
        for (index, kind) in types.into_iter().enumerate() {
            let is_null = nulls.get(index / 8).is_some_and(|bits| bits & (1 << (index % 8)) != 0);
            if !is_null {
                skip_value(&mut fields, kind)?;
            }
        }
    }
    Some(fields.rest())
}

/// Steps over one value of the binary protocol.
fn skip_value(fields: &mut Fields<'_>, kind: u64) -> Option<()> {
    match kind & 0xff {
        6 => {}
        1 | 244 => {
            fields.bytes(1)?;
        }
        2 | 13 => {
            fields.bytes(2)?;
        }
        3 | 4 | 9 => {
            fields.bytes(4)?;
        }
        5 | 8 => {
            fields.bytes(8)?;
        }
        7 | 10 | 11 | 12 | 14 | 17 | 18 | 19 => {
            let length = usize::from(fields.byte()?);
            fields.bytes(length)?;
        }
        0 | 15 | 16 | 242 | 245..=255 => {
            fields.string()?;
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_found_behind_attributes() {
        assert_eq!(sql_text(b"select 1", false), Some(b"select 1".as_slice()));
        assert_eq!(sql_text(b"\x00\x01select 1", true), Some(b"select 1".as_slice()));
        let mut payload = vec![3, 1, 0b010, 1];
        for (kind, name) in [(253u16, "a"), (8, "b"), (8, "c")] {
            payload.extend_from_slice(&kind.to_le_bytes());
            payload.push(1);
            payload.extend_from_slice(name.as_bytes());
        }
        payload.extend_from_slice(b"\x02xy");
        payload.extend_from_slice(&7u64.to_le_bytes());
        payload.extend_from_slice(b"ALTER TABLE t");
        assert_eq!(sql_text(&payload, true), Some(b"ALTER TABLE t".as_slice()));
        assert_eq!(sql_text(&[0xff], true), None);
        assert_eq!(sql_text(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0], true), None);
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(payload in prop::collection::vec(any::<u8>(), 0..200), code: u8) {
            let _ = (sql_text(&payload, true), shape(code, &payload), statement_id(&payload));
        }
    }
}
