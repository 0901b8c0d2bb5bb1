//! Prepared statements: many drivers prepare everything. Own framing; opensrv never sees them.

use bytes::BufMut;

use super::answer::{Column, Failure, Kind, Rows, Value};
use super::packet::{Capabilities, end, put_length, put_text};
use super::scribe::{announce_metadata, character_set};

/// One prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// Its number in this session, from 1.
    pub(super) id: u32,
    /// Its text.
    pub(super) text: String,
}

/// The statements that one session has prepared.
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: Vec<Prepared>,
    last: u32,
}

/// Most statements that a session may keep prepared, and most bytes of text in all of them.
const STATEMENTS_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The id by which MariaDB's connectors mean the statement prepared last.
const LAST: u32 = u32::MAX;

impl Statements {
    /// Keeps a statement.
    ///
    /// # Errors
    /// 1461 where the session keeps too many.
    pub(super) fn add(&mut self, text: String) -> Result<u32, Failure> {
        let bytes: usize = self.prepared.iter().map(|prepared| prepared.text.len()).sum();
        if self.prepared.len() >= STATEMENTS_MAX || bytes + text.len() > TEXT_BYTES_MAX {
            let message = format!("this session keeps {} statements prepared; close some", self.prepared.len());
            return Err(Failure::new(1461, b"42000", message));
        }
        self.last = self.last.wrapping_add(1).max(1);
        self.prepared.push(Prepared { id: self.last, text });
        Ok(self.last)
    }

    /// The text of a statement, by the id at the front of a command's payload.
    ///
    /// # Errors
    /// 1243 where there is none.
    pub(super) fn text(&self, payload: &[u8]) -> Result<String, Failure> {
        let id = id(payload).map(|id| if id == LAST { self.last } else { id });
        let found = self.prepared.iter().find(|prepared| Some(prepared.id) == id);
        found.map(|prepared| prepared.text.clone()).ok_or_else(|| {
            Failure::new(1243, b"HY000", format!("there is no prepared statement {}; prepare it again", id.unwrap_or_default()))
        })
    }

    /// Forgets a statement.
    pub(super) fn close(&mut self, payload: &[u8]) {
        let id = id(payload);
        self.prepared.retain(|prepared| Some(prepared.id) != id);
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.prepared.clear();
    }
}

fn id(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|id| u32::from_le_bytes(*id))
}

/// The packets that answer COM_STMT_PREPARE.
pub(super) fn prepare_ok(id: u32, columns: &[Column], capabilities: Capabilities) -> Vec<Vec<u8>> {
    let mut first = vec![0x00];
    first.put_u32_le(id);
    first.put_u16_le(u16::try_from(columns.len()).unwrap_or(u16::MAX));
    first.put_u16_le(0); // parameters
    first.put_u8(0);
    first.put_u16_le(0); // warnings
    if capabilities.optional_metadata() {
        first.put_u8(1);
    }
    let mut packets = vec![first];
    if !columns.is_empty() {
        packets.extend(columns.iter().map(|column| definition(column, capabilities)));
        if !capabilities.deprecate_eof() {
            packets.push(end(capabilities));
        }
    }
    packets
}

/// The packets of a binary result set.
pub(super) fn result_set(rows: &Rows, capabilities: Capabilities) -> Vec<Vec<u8>> {
    let mut count = Vec::new();
    put_length(&mut count, rows.columns.len() as u64);
    announce_metadata(&mut count, capabilities);
    let mut packets = vec![count];
    packets.extend(rows.columns.iter().map(|column| definition(column, capabilities)));
    if !capabilities.deprecate_eof() {
        packets.push(end(capabilities));
    }
    packets.extend(rows.rows.iter().map(|values| row(values)));
    packets.push(end(capabilities));
    packets
}

/// Layout: catalog, schema, table, its original, name, its original, (extended,) 0x0C, character set (2), length (4),
/// type (1), flags (2), decimals (1), 0 (2).
fn definition(column: &Column, capabilities: Capabilities) -> Vec<u8> {
    const UNSIGNED: u16 = 1 << 5;
    const BINARY: u16 = 1 << 7;
    let (kind, length, flags, decimals) = match column.kind {
        Kind::Integer => (8, 20, UNSIGNED | BINARY, 0),
        Kind::Double => (5, 22, BINARY, 31),
        Kind::Text => (253, 1 << 20, 0, 0),
    };
    let mut payload = Vec::new();
    for text in ["def", "", "", "", &column.name, ""] {
        put_text(&mut payload, text.as_bytes());
    }
    if capabilities.extended_metadata() {
        payload.put_u8(0);
    }
    payload.put_u8(0x0C);
    payload.put_u16_le(character_set(column.kind));
    payload.put_u32_le(length);
    payload.put_u8(kind);
    payload.put_u16_le(flags);
    payload.put_u8(decimals);
    payload.put_u16_le(0);
    payload
}

/// Layout: 0x00, a bitmap of NULLs that begins at bit 2, the values that are not NULL.
fn row(values: &[Value]) -> Vec<u8> {
    let mut nulls = vec![0_u8; (values.len() + 9) / 8];
    let mut data = Vec::new();
    for (n, value) in values.iter().enumerate() {
        match value {
            Value::Null => {
                if let Some(byte) = nulls.get_mut((n + 2) / 8) {
                    *byte |= 1 << ((n + 2) % 8);
                }
            }
            Value::Integer(number) => data.put_u64_le(*number),
            Value::Double(number) => data.put_f64_le(*number),
            Value::Text(text) => put_text(&mut data, text.as_bytes()),
        }
    }
    let mut payload = vec![0x00];
    payload.extend(nulls);
    payload.extend(data);
    payload
}
