//! Whether the server's own ALTER would look at values again that it does not change.
//!
//! An ALTER that copies judges every date by the sql_mode (`NO_ZERO_DATE`, `NO_ZERO_IN_DATE`), also in columns that it leaves alone; one in
//! place takes them as they are. The migration always copies, and must do as the server would have done.

use super::probe;
use super::shadow::Names;
use crate::schema::table::Table;
use crate::sql::alter::Clause;
use crate::upstream::{Error, Server};

/// The server for the engine's work on the source's values: one that takes every date as it is, where the server's own ALTER would.
///
/// # Errors
/// As the server says.
pub async fn server_for(server: &Server, names: &Names, source: &Table, clauses: &[Clause], specification: &str) -> Result<Server, Error> {
    let has_dates = source.columns.iter().any(|column| matches!(column.data_type.as_str(), "date" | "datetime" | "timestamp"));
    let copies = clauses.iter().any(|clause| matches!(clause, Clause::Algorithm(word) if word.eq_ignore_ascii_case("COPY")));
    if !has_dates || copies {
        return Ok(server.clone());
    }
    let refusal = probe::ask(server, names, None, &format!("ALGORITHM=INPLACE, {specification}")).await?;
    Ok(if refusal.is_none() { server.with_any_date() } else { server.clone() })
}
