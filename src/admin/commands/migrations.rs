//! SHOW MIGRATIONS, SHOW MIGRATION, and the answer of MIGRATE.

use super::super::answer::{Column, Failure, Kind, Rows, Value};
use super::super::pattern;
use super::milliseconds;
use crate::ids::MigrationId;
use crate::migration::{Service, Status};

/// The columns; scripts rely on the first thirteen and their order.
const COLUMNS: &[(&str, Kind)] = &[
    ("migration_id", Kind::Integer),
    ("schema_name", Kind::Text),
    ("table_name", Kind::Text),
    ("alter_specification", Kind::Text),
    ("phase", Kind::Text),
    ("rows_copied", Kind::Integer),
    ("rows_total", Kind::Integer),
    ("lag_ms", Kind::Integer),
    ("cutover_attempts", Kind::Integer),
    ("held_statements", Kind::Integer),
    ("longest_stall_ms", Kind::Integer),
    ("error_code", Kind::Integer),
    ("error", Kind::Text),
    ("rows_per_second", Kind::Double),
    ("eta_s", Kind::Integer),
    ("pending_keys", Kind::Integer),
    ("paused", Kind::Integer),
    ("postponed", Kind::Integer),
    ("note", Kind::Text),
    ("steps", Kind::Text),
    ("started_at", Kind::Text),
    ("finished_at", Kind::Text),
    ("breaking", Kind::Text),
    ("swaps", Kind::Integer),
    ("forced", Kind::Text),
    ("throttled", Kind::Text),
    ("strategy", Kind::Text),
    ("group_id", Kind::Integer),
];

/// The columns of MIGRATE's answer; where it is for one table, the first one only.
const STARTED: &[(&str, Kind)] =
    &[("migration_id", Kind::Integer), ("schema_name", Kind::Text), ("table_name", Kind::Text), ("group_id", Kind::Integer)];

fn row(status: Status) -> Vec<Value> {
    vec![
        status.id.0.into(),
        status.table.schema.into(),
        status.table.table.into(),
        status.specification.into(),
        status.phase.name().into(),
        status.rows_copied.into(),
        status.rows_total.into(),
        milliseconds(status.lag).into(),
        status.cutover_attempts.into(),
        status.held_statements.into(),
        milliseconds(status.longest_stall).into(),
        u64::from(status.error_code).into(),
        status.error.into(),
        ((status.rows_per_second * 10.0).round() / 10.0).into(),
        status.eta.map(|eta| milliseconds(eta).div_ceil(1000)).into(),
        status.pending_keys.into(),
        u64::from(status.is_paused).into(),
        u64::from(status.is_postponed).into(),
        status.note.into(),
        status.steps.into(),
        Some(status.started_at).filter(|at| !at.is_empty()).into(),
        Some(status.finished_at).filter(|at| !at.is_empty()).into(),
        status.breaking.into(),
        status.swaps.into(),
        status.forced.into(),
        status.throttled.into(),
        status.course.name().into(),
        status.group.map(|group| group.0).into(),
    ]
}

/// SHOW MIGRATIONS, filtered by LIKE on schema.table.
pub(in super::super) fn list(service: &Service, like: Option<&str>) -> Rows {
    let mut rows = Rows::new(COLUMNS);
    for status in service.list() {
        if like.is_none_or(|like| pattern::matches(like, &status.table.to_string())) {
            rows.push(row(status));
        }
    }
    rows
}

/// SHOW MIGRATION id.
///
/// # Errors
/// 1305 where there is none.
pub(in super::super) fn one(service: &Service, id: MigrationId) -> Result<Rows, Failure> {
    let mut rows = Rows::new(COLUMNS);
    rows.push(row(known(service, id)?));
    Ok(rows)
}

/// The migration of this number.
///
/// # Errors
/// 1305 where there is none.
pub(in super::super) fn known(service: &Service, id: MigrationId) -> Result<Status, Failure> {
    service.status(id).ok_or_else(|| Failure::new(1305, b"42000", format!("there is no migration {id}; SHOW MIGRATIONS lists them")))
}

fn started_columns(tables: usize) -> &'static [(&'static str, Kind)] {
    if tables == 1 { STARTED.get(..1).unwrap_or_default() } else { STARTED }
}

/// The columns of the answer to a MIGRATE of so many tables.
pub(in super::super) fn answer(tables: usize) -> Vec<Column> {
    Rows::new(started_columns(tables)).columns
}

/// MIGRATE's answer: a row for each table.
pub(in super::super) fn started(service: &Service, ids: &[MigrationId]) -> Rows {
    let columns = started_columns(ids.len());
    let mut rows = Rows::new(columns);
    for id in ids {
        let (table, group) = service.status(*id).map_or((None, None), |status| (Some(status.table), status.group));
        let (schema, table) = table.map_or((None, None), |table| (Some(table.schema), Some(table.table)));
        let mut row: Vec<Value> = vec![id.0.into(), schema.into(), table.into(), group.map(|group| group.0).into()];
        row.truncate(columns.len());
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::TableName;
    use crate::migration::{Course, Phase};

    #[test]
    fn every_column_has_a_value_of_its_type() {
        let status = Status {
            id: MigrationId(7),
            table: TableName::new("shop", "orders"),
            specification: "ADD COLUMN a INT".into(),
            phase: Phase::CatchingUp,
            is_paused: false,
            is_postponed: true,
            rows_copied: 5,
            rows_total: 10,
            rows_per_second: 12.34,
            eta: Some(Duration::from_millis(1500)),
            lag: Duration::from_micros(200),
            pending_keys: 3,
            cutover_attempts: 1,
            held_statements: 2,
            longest_stall: Duration::from_micros(1200),
            error_code: 1205,
            error: "timed out".into(),
            note: String::new(),
            steps: String::new(),
            breaking: String::new(),
            swaps: 0,
            throttled: String::new(),
            forced: String::new(),
            course: Course::Copy,
            group: Some(MigrationId(6)),
            started_at: "2026-01-01 00:00:00".into(),
            finished_at: String::new(),
        };
        let row = row(status);
        assert_eq!(row.len(), COLUMNS.len());
        for (value, (name, kind)) in row.iter().zip(COLUMNS) {
            let fits = matches!(
                (value, kind),
                (Value::Integer(_), Kind::Integer) | (Value::Double(_), Kind::Double) | (Value::Text(_), Kind::Text) | (Value::Null, _)
            );
            assert!(fits, "{name}: {value:?}");
        }
        assert_eq!(row[4], Value::from("catching_up"));
        assert_eq!(row[7], Value::Integer(1), "a lag is not rounded to nothing");
        assert_eq!(row[10], Value::Integer(2));
        assert_eq!(row[14], Value::Integer(2));
        assert_eq!(row[21], Value::Null);
    }

    #[test]
    fn scripts_find_their_columns_first() {
        let names: Vec<_> = COLUMNS.iter().take(13).map(|(name, _)| *name).collect();
        let fixed = "migration_id, schema_name, table_name, alter_specification, phase, rows_copied, rows_total, lag_ms, \
                     cutover_attempts, held_statements, longest_stall_ms, error_code, error";
        assert_eq!(names.join(", "), fixed);
    }

    #[test]
    fn an_unknown_number_is_named() {
        let failure = one(&Service::default(), MigrationId(7)).expect_err("unknown");
        assert_eq!((failure.code, failure.message.as_str()), (1305, "there is no migration 7; SHOW MIGRATIONS lists them"));
    }
}
