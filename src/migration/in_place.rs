//! Whether the server's own ALTER would look at values again that it does not change.
//!
//! On MariaDB it also fills a column that takes no NULL any more in another way: with the column's former default. A FLOAT or DOUBLE that only
//! gets other digits stays as it is in place, and is rounded by a copy.
//!
//! An ALTER that copies judges every date by the sql_mode (`NO_ZERO_DATE`, `NO_ZERO_IN_DATE`), also in columns that it leaves alone; one in
//! place takes them as they are. The migration always copies, and must do as the server would have done.

use super::Refusal;
use super::probe;
use super::runner::Grip;
use super::shadow::Names;
use crate::ids::TableName;
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
    let has_other_digits = mapping.pairs.iter().any(changes_digits);
    if !has_dates && !has_null && !has_other_digits || copies || adds_foreign_keys {
        return Ok(grip.server.clone());
    }
    if probe::ask(&grip.server, names, None, &format!("ALGORITHM=INPLACE, {}", grip.stored.specification)).await?.is_some() {
        return Ok(grip.server.clone());
    }
    mapping.keeps_numbers = true;
    if has_null {
        mapping.defaulted = mapping.pairs.iter().filter(takes_no_null).map(|pair| pair.source.name.clone()).collect();
    }
    // The zero date that a new column would give to each row is judged all the same.
    let has_new_date = mapping.filled.iter().any(|(_, value)| value.contains("0000-00-00"));
    Ok(if has_dates && !has_new_date { grip.server.with_any_date() } else { grip.server.clone() })
}

/// Refuses where the server's own ALTER would leave numbers with more digits than their column has now, and a copy would round them: MySQL's
/// INSERT … SELECT takes such a column as it is, MariaDB's does not.
///
/// # Errors
/// The refusal.
pub fn check_digits(grip: &Grip, source: &TableName, mapping: &Mapping) -> Result<(), Refusal> {
    let is_rounded = |pair: &&Pair| changes_digits(pair) && pair.shadow.column_type.contains('(');
    match mapping.pairs.iter().find(is_rounded) {
        Some(pair) if grip.facts.is_mariadb && mapping.keeps_numbers => {
            let message = format!(
                "the column {} of {source} only gets another number of digits, which the server's own ALTER does without looking at the rows, where a copy would round them. Give that part to the \
                 server itself (ALGORITHM=INSTANT), and migrate the rest",
                pair.source.name
            );
            Err(Refusal::new(1235, *b"42000", message))
        }
        _ => Ok(()),
    }
}

/// A FLOAT or DOUBLE that is one afterwards as well, of another length or sign.
pub fn changes_digits(pair: &Pair) -> bool {
    let (from, to) = (pair.source.data_type.as_str(), pair.shadow.data_type.as_str());
    matches!(from, "float" | "double") && from == to && !pair.source.has_type_of(&pair.shadow)
}

fn is_date(data_type: &str) -> bool {
    matches!(data_type, "date" | "datetime" | "timestamp")
}
