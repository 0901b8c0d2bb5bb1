//! Whether the server's own ALTER would look at values again that it does not change.
//!
//! On MariaDB it also fills a column that takes no NULL any more in another way: with the column's former default.
//!
//! An ALTER that copies judges every date by the sql_mode (`NO_ZERO_DATE`, `NO_ZERO_IN_DATE`), also in columns that it leaves alone; one in
//! place takes them as they are. The migration always copies, and must do as the server would have done.

use super::probe;
use super::runner::Grip;
use super::shadow::Names;
use crate::schema::mapping::{Mapping, Pair};
use crate::schema::table::Table;
use crate::sql::alter::Clause;
use crate::sql::references;
use crate::upstream::{Error, Server};

/// The server for the engine's work on the source's values: one that takes every date as it is, where the server's own ALTER would. Notes in
/// the mapping where a NULL becomes something else than in a copy.
///
/// # Errors
/// As the server says.
pub async fn server_for(grip: &Grip, names: &Names, source: &Table, clauses: &[Clause], mapping: &mut Mapping) -> Result<Server, Error> {
    let has_dates = source.columns.iter().any(|column| is_date(&column.data_type));
    let takes_no_null = |pair: &&Pair| pair.source.is_nullable && !pair.shadow.is_nullable && pair.source.default.is_some();
    let has_null = grip.facts.is_mariadb && mapping.pairs.iter().any(|pair| takes_no_null(&pair));
    let copies = clauses.iter().any(|clause| matches!(clause, Clause::Algorithm(word) if word.eq_ignore_ascii_case("COPY")));
    // With checks, the server copies where a foreign key is added.
    let adds_foreign_keys = !references::of(&grip.stored.specification).is_empty();
    if !has_dates && !has_null || copies || adds_foreign_keys {
        return Ok(grip.server.clone());
    }
    if probe::ask(&grip.server, names, None, &format!("ALGORITHM=INPLACE, {}", grip.stored.specification)).await?.is_some() {
        return Ok(grip.server.clone());
    }
    if has_null {
        mapping.defaulted = mapping.pairs.iter().filter(takes_no_null).map(|pair| pair.source.name.clone()).collect();
    }
    // The zero date that a new column would give to each row is judged all the same.
    let has_new_date = mapping.filled.iter().any(|(_, value)| value.contains("0000-00-00"));
    Ok(if has_dates && !has_new_date { grip.server.with_any_date() } else { grip.server.clone() })
}

fn is_date(data_type: &str) -> bool {
    matches!(data_type, "date" | "datetime" | "timestamp")
}
