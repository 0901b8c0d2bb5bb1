//! The triggers of a table: no RENAME across schemas carries them, so they are taken off before the swap and put on after it, under
//! the same lock.
//!
//! Owns: how they are read, stored, taken off and put on again, byte by byte as they were.
//! Never: taken off before they are stored; whoever finds a store puts on what is missing.

use std::time::{Duration, Instant};

use super::error::Error;
use super::shadow::Names;
use super::{Refusal, checkpoint, packed};
use crate::ids::{MigrationId, TableName, quote_identifier};
use crate::sql::token::{Token, Tokens};
use crate::upstream::{self, Link, Server, literal};

/// How long triggers may take on the shadow, where nobody waits for them.
const SHADOW_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is tried to lock the table before triggers are put on without a lock that covers all of them.
const LOCK_TRIES: usize = 3;

/// One trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trigger {
    name: String,
    sql_mode: String,
    charset: String,
    collation: String,
    /// CREATE TRIGGER in the trigger's own character set, without any schema.
    statement: Vec<u8>,
}

/// A table's triggers, in the order in which they must be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    triggers: Vec<Trigger>,
    /// Tells whether they have changed since they were read; empty where they come from the store.
    seen: String,
}

/// What the dictionary says of a table's triggers.
async fn rows(link: &mut Link, table: &TableName) -> Result<Vec<Vec<String>>, upstream::Error> {
    link.texts(&format!(
        "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, DEFINER, SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION, \
         ACTION_ORDER, CREATED FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {} AND EVENT_OBJECT_TABLE = {} \
         ORDER BY EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER",
        literal(&table.schema),
        literal(&table.table)
    ))
    .await
}

/// Whether a table has triggers.
///
/// # Errors
/// As the server says.
pub async fn are_on(link: &mut Link, table: &TableName) -> Result<bool, upstream::Error> {
    Ok(!rows(link, table).await?.is_empty())
}

/// Takes off whatever triggers a shadow has: those of a question to the server that was cut off. They would fire for the engine's own
/// writes.
///
/// # Errors
/// As the server says.
pub async fn clear(link: &mut Link, shadow: &TableName) -> Result<(), upstream::Error> {
    for row in rows(link, shadow).await? {
        if let Some(name) = row.first() {
            link.run(&format!("DROP TRIGGER IF EXISTS {}.{}", quote_identifier(&shadow.schema), quote_identifier(name))).await?;
        }
    }
    Ok(())
}

/// Reads a table's triggers.
///
/// # Errors
/// The server; [`Error::Refused`] where one could not be made again as it is.
pub async fn read(link: &mut Link, server: &Server, table: &TableName) -> Result<Triggers, Error> {
    let rows = rows(link, table).await?;
    if rows.is_empty() {
        return Ok(Triggers::default());
    }
    let seen = format!("{rows:?}");
    let sql = format!("SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}", literal(&table.schema));
    let schema_collation = link.cell(&sql).await?.unwrap_or_default();
    // The texts come as they were stored, whatever their character set.
    let mut raw = server.connect_engine().await?;
    raw.run("SET SESSION character_set_results = NULL").await?;
    let mut triggers = Vec::new();
    for row in rows {
        let [name, timing, event, definer, sql_mode, charset, collation, database_collation, ..] = row.as_slice() else { continue };
        if *database_collation != schema_collation {
            return Err(not_again(
                table,
                name,
                format!("it was made when the collation of the schema was {database_collation}; it is {schema_collation} now"),
            ));
        }
        let shown = raw.rows(&format!("SHOW CREATE TRIGGER {}.{}", quote_identifier(&table.schema), quote_identifier(name))).await?;
        let text = shown.into_iter().next().and_then(|row| row.into_iter().nth(2)).flatten().unwrap_or_default();
        let Some(body) = body(&text) else { return Err(not_again(table, name, "its text cannot be read".into())) };
        let head = format!(
            "CREATE DEFINER={} TRIGGER {} {timing} {event} ON {} FOR EACH ROW ",
            account(definer),
            quote_identifier(name),
            quote_identifier(&table.table)
        );
        if !head.is_ascii() && !charset.starts_with("utf8") {
            return Err(not_again(table, name, format!("it is kept in {charset}, which may not have all letters of the names")));
        }
        triggers.push(Trigger {
            name: name.clone(),
            sql_mode: sql_mode.clone(),
            charset: charset.clone(),
            collation: collation.clone(),
            statement: [head.as_bytes(), body].concat(),
        });
    }
    raw.close().await;
    Ok(Triggers { triggers, seen })
}

fn not_again(table: &TableName, name: &str, why: String) -> Error {
    let message =
        format!("the trigger {name} of {table} could not be made again as it is: {why}. Drop it and create it again, then migrate");
    Refusal::new(1235, *b"42000", message).into()
}

/// `user@host` as the dictionary has it; a role has no host.
fn account(definer: &str) -> String {
    match definer.rsplit_once('@') {
        Some((user, host)) if !host.is_empty() => format!("{}@{}", quote_identifier(user), quote_identifier(host)),
        Some((role, _)) => quote_identifier(role),
        None => quote_identifier(definer),
    }
}

/// What follows FOR EACH ROW.
fn body(statement: &[u8]) -> Option<&[u8]> {
    let mut last: [Option<Token<'_>>; 2] = [None; 2];
    for token in Tokens::new(statement) {
        if let [Some(first), Some(second)] = last
            && first.is_word("FOR")
            && second.is_word("EACH")
            && token.is_word("ROW")
        {
            return statement.get(token.at + token.bytes.len()..).map(<[u8]>::trim_ascii_start);
        }
        last = [last[1], Some(token)];
    }
    None
}

impl Triggers {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.triggers.is_empty()
    }

    /// Whether the table still has exactly these.
    ///
    /// # Errors
    /// As the server says.
    pub async fn are_as_read(&self, link: &mut Link, table: &TableName) -> Result<bool, upstream::Error> {
        let rows = rows(link, table).await?;
        Ok(if rows.is_empty() { self.is_empty() } else { self.seen == format!("{rows:?}") })
    }

    /// Takes them off; the last one first, so that what is left is always the beginning.
    ///
    /// # Errors
    /// As the server says; [`upstream::Error::TooLong`] as soon as it can be told that they would not be on again by `until`.
    pub async fn take_off(&self, link: &mut Link, table: &TableName, until: Instant) -> Result<(), upstream::Error> {
        let (began, all) = (Instant::now(), self.triggers.len());
        for (done, trigger) in self.triggers.iter().rev().enumerate() {
            // Each costs the disk what the ones before have cost, and putting it on again the same.
            let each = began.elapsed() / u32::try_from(done.max(1)).unwrap_or(u32::MAX);
            let needed = each * u32::try_from(2 * all - done).unwrap_or(u32::MAX);
            if Instant::now() + needed > until {
                return Err(upstream::Error::TooLong(
                    needed,
                    "taking off the triggers and putting them on; max_hold_ms is too short for it",
                ));
            }
            let name = quote_identifier(&trigger.name);
            link.run(&format!("DROP TRIGGER IF EXISTS {}.{name}", quote_identifier(&table.schema))).await?;
            if crate::failpoints::reach("cutover.trigger_off").await.is_err() {
                return Err(upstream::Error::Lost("injected".into()));
            }
        }
        Ok(())
    }

    /// Puts on those that the table lacks. The connection is left with other session variables.
    ///
    /// # Errors
    /// As the server says.
    pub async fn put_on(&self, link: &mut Link, table: &TableName) -> Result<(), upstream::Error> {
        if self.is_empty() {
            return Ok(());
        }
        let there = rows(link, table).await?;
        link.run(&format!("USE {}", quote_identifier(&table.schema))).await?;
        for trigger in &self.triggers {
            if there.iter().any(|row| row.first() == Some(&trigger.name)) {
                continue;
            }
            let Trigger { sql_mode, charset, collation, statement, .. } = trigger;
            link.run(&format!(
                "SET SESSION sql_mode = {}, character_set_client = {charset}, collation_connection = {collation}",
                literal(sql_mode)
            ))
            .await?;
            link.run_bytes(statement).await?;
        }
        Ok(())
    }

    /// As a text for the store.
    pub fn write(&self) -> String {
        let fields = |trigger: &Trigger| -> [Vec<u8>; 5] {
            let Trigger { name, sql_mode, charset, collation, statement } = trigger.clone();
            [name.into(), sql_mode.into(), charset.into(), collation.into(), statement]
        };
        let records: Vec<_> = self.triggers.iter().map(fields).collect();
        packed::write(records.iter().map(|record| record.iter().map(Vec::as_slice)))
    }

    /// From the store's text; nothing where it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let triggers = packed::read(text)?.into_iter().map(|record| {
            let [name, sql_mode, charset, collation, statement] = <[Vec<u8>; 5]>::try_from(record).ok()?;
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
            Some(Trigger { name: text(name)?, sql_mode: text(sql_mode)?, charset: text(charset)?, collation: text(collation)?, statement })
        });
        Some(Self { triggers: triggers.collect::<Option<_>>()?, seen: String::new() })
    }
}

/// Lets the server judge whether the source's triggers can be made on the altered table: by making them on the shadow, while nothing
/// writes to it. Gives them.
///
/// # Errors
/// A [`Refusal`] with the server's own number, or the server.
pub async fn try_on_shadow(link: &mut Link, server: &Server, names: &Names) -> Result<Triggers, Error> {
    let triggers = read(link, server, &names.source).await?;
    if triggers.is_empty() {
        return Ok(triggers);
    }
    let mut judge = server.connect_engine().await?;
    let tried = triggers.put_on(&mut judge, &names.shadow).await;
    crate::failpoints::reach("triggers.tried").await?;
    triggers.take_off(link, &names.shadow, Instant::now() + SHADOW_PATIENCE).await?;
    match tried {
        Ok(()) => Ok(triggers),
        Err(error) if error.is_lost() || error.is_lock_conflict() => Err(error.into()),
        Err(error) => Err(refusal(&error, &names.source).into()),
    }
}

fn refusal(error: &upstream::Error, source: &TableName) -> Refusal {
    let remedy = match error.code() {
        Some(1227) => {
            "the engine's account must be allowed to make triggers for others: GRANT SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SYSTEM_USER ON *.* \
             (before MySQL 8.2: SET_USER_ID, SYSTEM_USER; MariaDB: SET USER)"
        }
        Some(1419) => "SET GLOBAL log_bin_trust_function_creators = 1, or GRANT SUPER ON *.* to the engine's account",
        Some(1054) => {
            "the server's own ALTER would keep it, and every statement that fires it would fail; change or drop the trigger first"
        }
        _ => "change or drop the trigger first",
    };
    let mut refusal = Refusal::from_upstream(error);
    refusal.message = format!("a trigger of {source} cannot be made on the altered table: {}; {remedy}", refusal.message);
    refusal
}

/// Puts on what an attempt has taken off and not put on again, whichever table has the name now: a RENAME that is still on its way
/// would be refused by the server while they are there.
///
/// # Errors
/// As the server says.
pub async fn put_back(server: &Server, triggers: &Triggers, table: &TableName) -> Result<(), upstream::Error> {
    let mut link = server.connect_engine().await?;
    let there = rows(&mut link, table).await?;
    if triggers.triggers.iter().all(|trigger| there.iter().any(|row| row.first() == Some(&trigger.name))) {
        return Ok(());
    }
    for _ in 0..LOCK_TRIES {
        // Nobody shall find only some of them.
        match link.run(&format!("LOCK TABLES {} WRITE", table.quoted())).await {
            Ok(()) => break,
            Err(error) if error.is_lock_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    triggers.put_on(&mut link, table).await?;
    link.run("UNLOCK TABLES").await
}

/// Puts on what the store says, and empties it.
///
/// # Errors
/// As the server says.
pub async fn settle(link: &mut Link, server: &Server, id: MigrationId, stored: &str, table: &TableName) -> Result<(), Error> {
    if stored.is_empty() {
        return Ok(());
    }
    let triggers = Triggers::parse(stored).ok_or_else(|| {
        Error::Changed(format!(
            "the triggers of {table} that the store of migration {id} keeps cannot be read; compare SHOW TRIGGERS with what the table should have, \
             create what is missing, and empty the column triggers of that migration"
        ))
    })?;
    put_back(server, &triggers, table).await?;
    tracing::info!(migration = %id, %table, "the table has all its triggers");
    Ok(checkpoint::set_triggers(link, id, "").await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_what_follows_for_each_row() {
        let text = b"CREATE DEFINER=`a`@`for each row` TRIGGER `for` BEFORE INSERT ON `t` FOR /* x */ EACH\nROW\n BEGIN SET @x = 'for each row'; END";
        assert_eq!(body(text), Some(b"BEGIN SET @x = 'for each row'; END".as_slice()));
        assert_eq!(body(b"CREATE TRIGGER x"), None);
    }

    #[test]
    fn definers_are_quoted() {
        assert_eq!(account("a@b@%"), "`a@b`@`%`");
        assert_eq!(account("role@"), "`role`");
    }

    #[test]
    fn they_survive_storing() {
        let trigger = |name: &str| Trigger {
            name: name.into(),
            sql_mode: String::new(),
            charset: "latin1".into(),
            collation: "latin1_bin".into(),
            statement: vec![b'C', 0xfc, b'\n', b':', 0],
        };
        let triggers = Triggers { triggers: vec![trigger("é:\n"), trigger("b")], seen: String::new() };
        assert_eq!(Triggers::parse(&triggers.write()), Some(triggers.clone()));
        assert_eq!(Triggers::parse(""), Some(Triggers::default()));
        assert_eq!(Triggers::parse(&triggers.write()[2..]), None, "one trigger lost in silence");
    }
}
