//! A small table like the source, on which the server is asked what it says to an ALTER.

use super::Refusal;
use super::shadow::{self, Names};
use crate::ids::TableName;
use crate::sql::references;
use crate::upstream::{Error, Server};

/// What the server says to `ALTER TABLE probe {specification}`, with the source's names; `None` where it takes it. `rows` is a list of
/// columns and a SELECT that fills them.
///
/// # Errors
/// Where it cannot be asked.
pub async fn ask(server: &Server, names: &Names, rows: Option<(&str, &str)>, specification: &str) -> Result<Option<Refusal>, Error> {
    let mut link = server.connect_engine().await?;
    // Several workers may ask at once, and any of them may be cut off: an undo drops what is left by the prefix. Not in the shadow's
    // schema, where the names of the shadow's constraints are taken.
    let probe = TableName::new(names.retired.schema.clone(), format!("{}{}", shadow::PROBE_PREFIX, link.id()));
    shadow::create_schemas(&mut link, names).await?;
    link.run("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'").await?;
    link.run(&format!("CREATE TABLE {} LIKE {}", probe.quoted(), names.source.quoted())).await?;
    if let Some((columns, rows)) = rows {
        link.run(&format!("INSERT INTO {} ({columns}) {rows}", probe.quoted())).await?;
    }
    link.run("SET SESSION sql_mode = @@GLOBAL.sql_mode").await?;
    // A parent would be locked for it, and says nothing about these rows; the engine's sessions check no foreign keys, so there need be none.
    let specification =
        references::replaced(specification, |_| TableName::new(&*probe.schema, format!("{}parent", shadow::PROBE_PREFIX)).quoted());
    let answer = link.run(&format!("ALTER TABLE {} {specification}", probe.quoted())).await;
    link.run(&format!("DROP TABLE IF EXISTS {}", probe.quoted())).await?;
    Ok(answer.err().map(|error| Refusal::of_stand_in(&error, &probe, &names.source)))
}
