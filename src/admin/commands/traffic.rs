//! SHOW GATES, SHOW SESSIONS and SHOW BYPASS.

use std::sync::atomic::Ordering;

use super::super::Context;
use super::super::answer::{Kind, Rows};
use super::milliseconds;

/// SHOW GATES.
pub(in super::super) fn gates(context: &Context) -> Rows {
    let mut rows = Rows::new(&[
        ("migration_id", Kind::Integer),
        ("schema_name", Kind::Text),
        ("table_name", Kind::Text),
        ("state", Kind::Text),
        ("inside", Kind::Integer),
        ("oldest_ms", Kind::Integer),
        ("waiting", Kind::Integer),
        ("step", Kind::Text),
    ]);
    for gate in context.gates.list() {
        rows.push(vec![
            gate.migration.0.into(),
            gate.table.schema.into(),
            gate.table.table.into(),
            gate.state.name().into(),
            gate.inside.into(),
            gate.oldest.map(milliseconds).into(),
            gate.waiting.into(),
            gate.step.into(),
        ]);
    }
    rows
}

/// SHOW SESSIONS.
pub(in super::super) fn sessions(context: &Context) -> Rows {
    let mut rows = Rows::new(&[
        ("session_id", Kind::Integer),
        ("connection_id", Kind::Integer),
        ("user", Kind::Text),
        ("client", Kind::Text),
        ("connected_s", Kind::Integer),
        ("statements", Kind::Integer),
        ("transaction_ms", Kind::Integer),
        ("held_ms", Kind::Integer),
        ("holds_locks", Kind::Integer),
    ]);
    for record in context.census.list() {
        rows.push(vec![
            record.id.0.into(),
            record.connection_id.load(Ordering::Relaxed).into(),
            record.user.get().cloned().into(),
            record.client.as_str().into(),
            record.connected.elapsed().as_secs().into(),
            record.statements.load(Ordering::Relaxed).into(),
            record.transaction_age().map(milliseconds).into(),
            record.held_for().map(milliseconds).into(),
            u64::from(record.holds_locks.load(Ordering::Relaxed)).into(),
        ]);
    }
    rows
}

/// SHOW BYPASS.
pub(in super::super) fn bypass(context: &Context) -> Rows {
    let mut rows = Rows::new(&[
        ("migration_id", Kind::Integer),
        ("schema_name", Kind::Text),
        ("table_name", Kind::Text),
        ("connection_id", Kind::Integer),
        ("user", Kind::Text),
        ("host", Kind::Text),
        ("transactions", Kind::Integer),
        ("seen_in", Kind::Text),
    ]);
    for (migration, table, writer) in context.service.bypassing() {
        rows.push(vec![
            migration.0.into(),
            table.schema.into(),
            table.table.into(),
            writer.connection.into(),
            writer.user.into(),
            writer.host.into(),
            writer.transactions.into(),
            if writer.is_logged { "binary log" } else { "process list" }.into(),
        ]);
    }
    rows
}
