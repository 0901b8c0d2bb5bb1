//! Asks the server which of the clients' statements the new table would refuse: each is prepared on the shadow.
//!
//! A statement counts as breaking only where the server prepares it on the source, as it is and with the source's whole name
//! written into it, and refuses it on the shadow for a column or an index: whatever else may be wrong with the rewritten text says nothing about the application.

use super::error::Error;
use super::site::Site;
use crate::gate::{Gate, Shape};
use crate::ids::quote_identifier;
use crate::sql::shape;
use crate::upstream::{self, Link, literal};

/// Unknown column, column count, ambiguous column, unknown index, a view that lost a column, and no default.
const ABOUT_SHAPE: [u16; 6] = [1054, 1136, 1052, 1176, 1356, 1364];

/// Tries every statement that was not tried yet; gives those that would break.
///
/// # Errors
/// Where the server cannot be asked.
pub async fn breaking(site: &Site, gate: &Gate) -> Result<Vec<String>, Error> {
    let untried = gate.shapes().untried();
    if !untried.is_empty() {
        // The server's own sql_mode, as a client's.
        let mut link = site.server.connect().await?;
        for shape in untried {
            let error = verdict(site, &mut link, &shape).await?;
            gate.shapes().tried(shape.fingerprint, error);
        }
        link.close().await;
    }
    Ok(gate.shapes().breaking())
}

async fn verdict(site: &Site, link: &mut Link, shape: &Shape) -> Result<Option<String>, Error> {
    let (source, shadow) = (&site.names.source, &site.names.shadow);
    let schema = shape.schema.as_deref().filter(|schema| !schema.is_empty()).unwrap_or(&source.schema);
    let on =
        |to: &str| shape::on_another_table(&shape.text, &source.schema, &source.table, schema.eq_ignore_ascii_case(&source.schema), to);
    // The control: the same replacement by the source itself, where a column or an alias of the table's name spoils it alike.
    let (Some(control), Some(moved)) = (on(&source.quoted()), on(&shadow.quoted())) else { return Ok(None) };
    let in_schema = link.run(&format!("USE {}", quote_identifier(schema))).await;
    if in_schema.is_err() || prepare(link, &shape.text).await?.is_some() || prepare(link, &control).await?.is_some() {
        return Ok(None);
    }
    let error = prepare(link, &moved).await?.filter(|(code, _)| ABOUT_SHAPE.contains(code));
    Ok(error.map(|(_, message)| message.replace(&shadow.schema, &source.schema)))
}

/// The server's error on preparing a text.
async fn prepare(link: &mut Link, text: &[u8]) -> Result<Option<(u16, String)>, Error> {
    let Ok(text) = std::str::from_utf8(text) else { return Ok(Some((0, String::new()))) };
    link.run(&format!("SET @tidegate_text = {}", literal(text))).await?;
    match link.run("PREPARE tidegate_shape FROM @tidegate_text").await {
        Ok(()) => {
            link.run("DEALLOCATE PREPARE tidegate_shape").await?;
            Ok(None)
        }
        Err(upstream::Error::Server { code, message, .. }) => Ok(Some((code, message))),
        Err(error) => Err(error.into()),
    }
}
