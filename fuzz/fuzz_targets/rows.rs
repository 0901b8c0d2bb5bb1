//! The binary log's table maps and row events, as far as the tail reads them itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::number;
use tidegate_fuzz::schema::binlog_row::{RowLayout, RowsEvent, RowsKind, TableMap, decode_rows};
use tidegate_fuzz::schema::key::KeyKind;

fn kind(code: u64) -> KeyKind {
    let fsp = u8::try_from(code >> 4 & 7).unwrap_or(0).min(6);
    match code & 15 {
        0 => KeyKind::Decimal,
        1 => KeyKind::Date,
        2 => KeyKind::DateTime { fsp },
        3 => KeyKind::Time { fsp },
        4 => KeyKind::Year,
        5 => KeyKind::Enum,
        6 | 7 => KeyKind::String {
            charset: if code & 16 == 0 { "utf8mb4" } else { "binary" }.to_owned(),
            collation: if code & 16 == 0 { "utf8mb4_bin" } else { "binary" }.to_owned(),
            binary: code & 16 != 0,
            fixed_len: (code & 32 != 0).then_some(10),
        },
        _ => KeyKind::Int { bytes: [1, 2, 3, 4, 8][usize::try_from(code >> 4 & 15).unwrap_or(0) % 5], unsigned: code & 8 != 0 },
    }
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let (choice, split) = (number(&mut data), number(&mut data));
    let (map, event) = data.split_at(usize::try_from(split % 257).unwrap_or(0).min(data.len()));
    let code = [23, 24, 25, 30, 31, 32, 39, 19][usize::try_from(choice & 7).unwrap_or(0)];
    let rows = RowsEvent::parse(code, event);
    let Ok(map) = TableMap::parse(map) else { return };
    let key = [
        (usize::try_from(choice >> 8 & 7).unwrap_or(0), kind(choice >> 16)),
        (usize::try_from(choice >> 11 & 7).unwrap_or(0), kind(choice >> 24)),
    ];
    for key in [&key[..], &key[..1], &[]] {
        let Ok(layout) = RowLayout::new(map.column_types, map.column_metadata, key) else { continue };
        if let Ok(Some(rows)) = &rows {
            let _ = decode_rows(&layout, rows.kind, rows.columns_before, rows.columns_after, rows.rows);
        }
        let present = [0xff; 32];
        if let Ok(changes) = decode_rows(&layout, RowsKind::Write, &[], &present, event) {
            assert!(changes.len() <= event.len(), "more rows than bytes");
        }
    }
});
