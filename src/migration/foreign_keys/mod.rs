//! Foreign keys on both sides of a table.
//!
//! Owns: how the table's own come back on the shadow at the swap, and how those of other tables (children) come to point to the new table.
//! Never: a moment at which a child, or the table under its name, lacks a foreign key that it had. Whoever dies in between leaves one too
//! many, which can refuse a write and lose none; [`settle`] takes it off.
//!
//! While rows are copied the shadow has no foreign keys: a cascade into it, or a check against it, would be felt by the application.
//! Under the lock, with everything applied:
//!
//! | step | a child has | the shadow has |
//! |---|---|---|
//! | [`tie`] | its own to the source, a second one to the shadow | the table's own |
//! | RENAME | its own to the retired table, the second to the table | its name |
//! | [`settle`] | its own to the table | – |
//!
//! Called off, `settle` takes off the second one and the shadow's.
//!
//! On MySQL one session does all of it under its lock. On MariaDB it must let go before the RENAME: the children go to a second session that
//! already waits for them (`cutover/sentry.rs`), so nobody finds a child that refers to two tables.
//!
//! A swap back in a revert window does the same the other way round. See: `stage.rs` (how the server judges an ALTER), `added.rs` (what it adds).

use super::cutover::settle::Truth;
use super::error::Error;
use super::job::Job;
use super::shadow::{self, Names};
use super::{Refusal, checkpoint, deferred, packed};
use crate::ids::{MigrationId, TableName, quote_identifier};
use crate::schema::mapping::Mapping;
use crate::upstream::{self, Facts, Link, literal};

pub mod added;
mod stage;

pub use stage::{Stage, drop_stand_ins};

/// One foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The table that has it.
    pub table: TableName,
    /// Its name.
    pub name: String,
    /// The table that it refers to.
    pub parent: TableName,
    /// What ON DELETE and ON UPDATE say; empty where that is what the server takes where nothing is said.
    on_delete: String,
    on_update: String,
    /// Its columns, and those of the parent.
    pub(super) columns: Vec<(String, String)>,
}

impl ForeignKey {
    /// Whether rows of the table change by changes of the parent's.
    fn cascades(&self) -> bool {
        [&self.on_delete, &self.on_update].iter().any(|rule| !matches!(rule.as_str(), "" | "NO ACTION" | "RESTRICT"))
    }

    /// ADD … under a name and to a parent.
    pub(super) fn addition(&self, name: &str, parent: &TableName) -> String {
        let (own, theirs): (Vec<_>, Vec<_>) =
            self.columns.iter().map(|(own, theirs)| (quote_identifier(own), quote_identifier(theirs))).unzip();
        let rule = |when: &str, rule: &str| if rule.is_empty() { String::new() } else { format!(" ON {when} {rule}") };
        format!(
            "ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}){}{}",
            quote_identifier(name),
            own.join(", "),
            parent.quoted(),
            theirs.join(", "),
            rule("DELETE", &self.on_delete),
            rule("UPDATE", &self.on_update)
        )
    }
}

/// What an attempt does about foreign keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    /// Swaps before this attempt: which of the tables are meant.
    swaps: u64,
    /// Those that the table shall have after the swap.
    own: Vec<ForeignKey>,
    /// Those of them that nobody has watched over so far.
    unwatched: Vec<ForeignKey>,
    /// Those that the source has.
    watched: Vec<ForeignKey>,
    /// Those of other tables that refer to it, with the columns that the new table has.
    children: Vec<ForeignKey>,
    /// Indexes of the children that serve their foreign keys. One that the server itself made would make place for another with each
    /// foreign key that is added, under another name and at the end; one that is renamed, be it to its own name, is the user's.
    indexes: Vec<(TableName, String)>,
    /// By which the tails of others that are swapped together know the engine's own DDL: it names their shadows.
    marks: String,
}

async fn read(link: &mut Link, condition: &str) -> Result<Vec<ForeignKey>, upstream::Error> {
    // The servers show it as if it had been said, each in its own words; said, it is shown from then on.
    let rule = |column: &str| format!("IF(r.{column} = IF(VERSION() LIKE '%MariaDB%', 'RESTRICT', 'NO ACTION'), '', r.{column})");
    let (on_delete, on_update) = (rule("DELETE_RULE"), rule("UPDATE_RULE"));
    let rows = link
        .texts(&format!(
            "SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, {on_delete}, {on_update}, \
             k.COLUMN_NAME, k.REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r \
             ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME \
             WHERE k.REFERENCED_TABLE_NAME IS NOT NULL AND {condition} \
             ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
        ))
        .await?;
    let mut keys: Vec<ForeignKey> = Vec::new();
    for row in rows {
        let [schema, table, name, parent_schema, parent, on_delete, on_update, column, referred] = row.as_slice() else { continue };
        let table = TableName::new(schema.clone(), table.clone());
        let pair = (column.clone(), referred.clone());
        match keys.last_mut().filter(|last| last.table == table && last.name == *name) {
            Some(last) => last.columns.push(pair),
            None => keys.push(ForeignKey {
                table,
                name: name.clone(),
                parent: TableName::new(parent_schema.clone(), parent.clone()),
                on_delete: on_delete.clone(),
                on_update: on_update.clone(),
                columns: vec![pair],
            }),
        }
    }
    Ok(keys)
}

/// A table's indexes with their columns.
async fn indexes_of(link: &mut Link, table: &TableName) -> Result<Vec<(String, Vec<String>)>, upstream::Error> {
    let sql = format!(
        "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        literal(&table.schema),
        literal(&table.table)
    );
    let mut indexes: Vec<(String, Vec<String>)> = Vec::new();
    for row in link.texts(&sql).await? {
        let [index, column] = row.as_slice() else { continue };
        match indexes.last_mut().filter(|(name, _)| name == index) {
            Some((_, columns)) => columns.push(column.clone()),
            None => indexes.push((index.clone(), vec![column.clone()])),
        }
    }
    Ok(indexes)
}

/// A table's own foreign keys.
///
/// # Errors
/// As the server says.
pub async fn of(link: &mut Link, table: &TableName) -> Result<Vec<ForeignKey>, upstream::Error> {
    read(link, &format!("k.TABLE_SCHEMA = {} AND k.TABLE_NAME = {}", literal(&table.schema), literal(&table.table))).await
}

/// Those of other tables that refer to a table.
///
/// # Errors
/// As the server says.
pub async fn children_of(link: &mut Link, table: &TableName) -> Result<Vec<ForeignKey>, upstream::Error> {
    let (schema, name) = (literal(&table.schema), literal(&table.table));
    let condition = format!("k.REFERENCED_TABLE_SCHEMA = {schema} AND k.REFERENCED_TABLE_NAME = {name}");
    Ok(read(link, &condition).await?.into_iter().filter(|key| key.table != *table).collect())
}

/// Whether a table has foreign keys, or others refer to it with theirs.
///
/// # Errors
/// As the server says.
pub async fn are_around(link: &mut Link, table: &TableName) -> Result<bool, Error> {
    Ok(!of(link, table).await?.is_empty() || !children_of(link, table).await?.is_empty())
}

/// Refuses what cannot be carried over the swap.
///
/// # Errors
/// The [`Refusal`], or the server.
pub async fn check(link: &mut Link, facts: &Facts, table: &TableName, specification: &str, are_carried: bool) -> Result<(), Error> {
    let (own, children) = (of(link, table).await?, children_of(link, table).await?);
    let added = added::named(link, table, specification).await?;
    let refuse = |message: String| Err(Refusal::new(1235, *b"42000", message).into());
    let what = match (children.first().or(own.first()), added.first()) {
        (Some(one), _) if one.table == *table => format!("{table} has the foreign key {}", one.name),
        (Some(one), _) => format!("the foreign key {} of {} refers to {table}", one.name, one.table),
        (None, Some(parent)) => format!("the ALTER adds a foreign key from {table} to {parent}"),
        (None, None) => return Ok(()),
    };
    if !are_carried {
        let way = if facts.is_mariadb { "'sentry', which the name of this table's schema does not allow" } else { "'locked_rename'" };
        return refuse(format!("{what}; such tables can be migrated only by cutover = {way}. Drop the foreign key, migrate, add it again"));
    }
    if let Some(key) = own.iter().find(|key| key.cascades()) {
        let sql = "SELECT @@global.innodb_native_foreign_keys";
        let are_logged = !facts.is_mariadb && facts.version >= (9, 6, 0) && link.cell(sql).await?.as_deref() == Some("0");
        if !are_logged {
            return refuse(format!(
                "the foreign key {} changes rows of {table} when {} changes, and this server does not write such changes to its binary log; \
                 drop it, migrate, add it again",
                key.name, key.parent
            ));
        }
    }
    if !checkpoint::exists(link).await? {
        return Ok(());
    }
    let mut around: Vec<&TableName> =
        own.iter().map(|key| &key.parent).chain(children.iter().map(|key| &key.table)).chain(&added).collect();
    around.retain(|other| *other != table);
    for other in around {
        let sql = format!(
            "SELECT migration_id FROM `tidegate`.`migrations` WHERE schema_name = {} AND table_name = {} AND finished_at IS NULL \
             AND (group_id = 0 OR group_id NOT IN (SELECT group_id FROM `tidegate`.`migrations` WHERE schema_name = {} AND table_name = {} AND \
             finished_at IS NULL)) LIMIT 1",
            literal(&other.schema),
            literal(&other.table),
            literal(&table.schema),
            literal(&table.table)
        );
        if let Some(id) = link.cell(&sql).await? {
            return refuse(format!("{what}, and migration {id} runs on {other}; try again when it is over"));
        }
    }
    Ok(())
}

/// The CREATE TABLE without its foreign keys, as SHOW CREATE TABLE writes it: each in a line of its own, after the columns and indexes.
pub fn without_foreign_keys(statement: &str) -> String {
    let is_key = |line: &str| {
        let rest = line.strip_prefix("  CONSTRAINT ");
        rest.and_then(|rest| rest.get(shadow::end_of_quoted(rest)? + 1..)).is_some_and(|rest| rest.starts_with(" FOREIGN KEY "))
    };
    let mut lines: Vec<String> = statement.split('\n').filter(|line| !is_key(line)).map(str::to_owned).collect();
    let end = lines.iter().rposition(|line| line.starts_with(')')).unwrap_or(0);
    if let Some(last) = end.checked_sub(1).and_then(|at| lines.get_mut(at))
        && last.ends_with(',')
    {
        last.pop();
    }
    lines.join("\n")
}

/// Takes foreign keys off a table.
///
/// # Errors
/// As the server says.
pub(super) async fn take_off(link: &mut Link, table: &TableName, keys: &[ForeignKey], mark: &str) -> Result<(), upstream::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let parts: Vec<String> = keys.iter().map(|key| format!("DROP FOREIGN KEY {}", quote_identifier(&key.name))).collect();
    link.run(&format!("ALTER TABLE {mark} {} {}", table.quoted(), parts.join(", "))).await
}

impl Ties {
    /// What an attempt must do: the table's own as they were stored when the ALTER was judged, and the children as they are now.
    ///
    /// # Errors
    /// As the server says.
    pub async fn read(link: &mut Link, names: &Names, id: MigrationId, mapping: &Mapping, swaps: u64) -> Result<Self, Error> {
        let (own, _) = checkpoint::ties(link, id).await?;
        let mut own = read_keys(&own).ok_or_else(|| unreadable(&names.source, id, "foreign_keys"))?;
        if !swaps.is_multiple_of(2) {
            // Stored as the altered table has them; a window is only kept where the other one has the same.
            own = added::all_renamed(&own, mapping);
        }
        let watched = added::watched(link, names, &own, mapping).await?;
        let mut children = children_of(link, &names.source).await?;
        for key in &mut children {
            added::refer_by_new_names(key, mapping);
        }
        let mut ties = Self { swaps, own, watched, children, ..Self::default() };
        ties.unwatched = ties.unwatched_among(&[]);
        let mut indexes = Vec::new();
        for (table, keys) in ties.by_child() {
            for (name, columns) in indexes_of(link, table).await? {
                if name != "PRIMARY" && keys.iter().any(|(_, key)| key.columns.iter().map(|(own, _)| own).eq(&columns)) {
                    indexes.push((table.clone(), name));
                }
            }
        }
        ties.indexes = indexes;
        Ok(ties)
    }

    /// The same where others are swapped in the same RENAME: a member's shadow refers to the shadows of the others, and what refers to a
    /// member is no child where it goes away with another one.
    pub fn among(mut self, members: &[&Job]) -> Self {
        self.children.retain(|key| !members.iter().any(|job| job.names.source == key.table));
        self.unwatched = self.unwatched_among(members);
        for key in self.own.iter_mut().chain(&mut self.unwatched) {
            if let Some(job) = members.iter().find(|job| job.names.source == key.parent) {
                key.parent = job.names.shadow.clone();
            }
        }
        self.marks = members.iter().map(|job| deferred::mark(job.id)).collect();
        self
    }

    /// The tables around, and how LOCK TABLES must lock them.
    pub fn tables_around(&self) -> impl Iterator<Item = (&TableName, &'static str)> {
        self.children.iter().map(|key| (&key.table, "WRITE")).chain(self.own.iter().map(|key| (&key.parent, "READ")))
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.children.is_empty()
    }

    /// Others refer to the table.
    pub fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// LOCK TABLES on the children alone.
    pub fn lock_children(&self) -> String {
        let tables: Vec<String> = self.by_child().iter().map(|(table, _)| format!("{} WRITE", table.quoted())).collect();
        format!("LOCK TABLES {}", tables.join(", "))
    }

    /// What LOCK TABLES must name beside the source and the shadow.
    pub fn locks(&self, names: &Names) -> String {
        let mut tables: Vec<(&TableName, &str)> = Vec::new();
        for (table, how) in self.tables_around() {
            if *table != names.source && !tables.iter().any(|(known, _)| *known == table) {
                tables.push((table, how));
            }
        }
        let all: String = tables.iter().map(|(table, how)| format!(", {} {how}", table.quoted())).collect();
        all + &self.second_locks(names)
    }

    fn second_name(id: MigrationId, nth: usize) -> String {
        format!("~tidegate_{id}_{nth}")
    }

    /// The children's tables, each with its foreign keys and their places in the list.
    fn by_child(&self) -> Vec<(&TableName, Vec<(usize, &ForeignKey)>)> {
        let mut tables: Vec<(&TableName, Vec<(usize, &ForeignKey)>)> = Vec::new();
        for (nth, key) in self.children.iter().enumerate() {
            match tables.iter_mut().find(|(table, _)| **table == key.table) {
                Some((_, keys)) => keys.push((nth, key)),
                None => tables.push((&key.table, vec![(nth, key)])),
            }
        }
        tables
    }

    /// Before the RENAME, with all of them locked: the shadow gets the table's own, each child a second one to the shadow.
    ///
    /// # Errors
    /// As the server says; [`settle`] undoes what was done.
    pub async fn tie(&self, link: &mut Link, names: &Names, id: MigrationId) -> Result<(), upstream::Error> {
        let mark = format!("{}{}", deferred::mark(id), self.marks);
        if !self.own.is_empty() {
            let parent = |key: &ForeignKey| if key.parent == names.source { names.shadow.clone() } else { key.parent.clone() };
            let parts: Vec<String> = self.own.iter().map(|key| key.addition(&key.name, &parent(key))).collect();
            link.run(&format!("ALTER TABLE {mark} {} {}, ALGORITHM=INPLACE", names.shadow.quoted(), parts.join(", "))).await?;
        }
        for (table, keys) in self.by_child() {
            let indexes = self.indexes.iter().filter(|(child, _)| child == table).map(|(_, index)| quote_identifier(index));
            let mut parts: Vec<String> = indexes.map(|index| format!("RENAME INDEX {index} TO {index}")).collect();
            parts.extend(keys.iter().map(|(nth, key)| key.addition(&Self::second_name(id, *nth), &names.shadow)));
            link.run(&format!("ALTER TABLE {mark} {} {}, ALGORITHM=INPLACE", table.quoted(), parts.join(", "))).await?;
        }
        Ok(())
    }

    /// As a text for the store.
    pub fn write(&self) -> String {
        // The first line says that there is something to settle, even where there are no children.
        format!("ties {}\n{}", self.swaps, write_keys(&self.children))
    }

    /// From the store's text; nothing where it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (swaps, children) = text.strip_prefix("ties ")?.split_once('\n')?;
        Some(Self { swaps: swaps.parse().ok()?, children: read_keys(children)?, ..Self::default() })
    }
}

/// As a text for the store.
pub fn write_keys(keys: &[ForeignKey]) -> String {
    packed::write(keys.iter().map(|key| {
        let ForeignKey { table, name, parent, on_delete, on_update, columns } = key;
        let fixed = [&table.schema, &table.table, name, &parent.schema, &parent.table, on_delete, on_update];
        fixed.into_iter().chain(columns.iter().flat_map(|(own, theirs)| [own, theirs])).map(String::as_bytes)
    }))
}

/// From the store's text; nothing where it is not one.
fn read_keys(text: &str) -> Option<Vec<ForeignKey>> {
    let key = |record: Vec<Vec<u8>>| {
        let fields: Vec<String> = record.into_iter().map(|field| String::from_utf8(field).ok()).collect::<Option<_>>()?;
        let ([schema, table, name, parent_schema, parent, on_delete, on_update], columns) = fields.split_first_chunk::<7>()?;
        let (columns, []) = columns.as_chunks::<2>() else { return None };
        Some(ForeignKey {
            table: TableName::new(schema.clone(), table.clone()),
            name: name.clone(),
            parent: TableName::new(parent_schema.clone(), parent.clone()),
            on_delete: on_delete.clone(),
            on_update: on_update.clone(),
            columns: columns.iter().map(|[own, theirs]| (own.clone(), theirs.clone())).collect(),
        })
    };
    packed::read(text)?.into_iter().map(key).collect()
}

fn unreadable(table: &TableName, id: MigrationId, column: &str) -> Error {
    Error::Changed(format!(
        "the foreign keys of {table} that the store of migration {id} keeps in its column {column} cannot be read; compare SHOW CREATE TABLE \
         of the table and of those that refer to it with what they should be, mend what is wrong, and empty that column"
    ))
}

/// Brings children and side tables to where they belong, whatever an attempt has led to; may be done again. Under the attempt's lock, or
/// without one by whoever comes after it.
///
/// # Errors
/// As the server says.
pub async fn settle(link: &mut Link, names: &Names, id: MigrationId, ties: &Ties) -> Result<(), Error> {
    settle_children(link, names, id, ties).await?;
    settle_side(link, names, id).await
}

/// The children alone.
///
/// # Errors
/// As the server says.
pub async fn settle_children(link: &mut Link, names: &Names, id: MigrationId, ties: &Ties) -> Result<(), Error> {
    let Some(is_swapped) = is_swapped(link, names).await? else { return Ok(()) };
    let mark = deferred::mark(id);
    for (table, keys) in ties.by_child() {
        let there = of(link, table).await?;
        let seconds: Vec<ForeignKey> =
            there.iter().filter(|one| keys.iter().any(|(nth, _)| one.name == Ties::second_name(id, *nth))).cloned().collect();
        if !is_swapped {
            take_off(link, table, &seconds, &mark).await?;
            continue;
        }
        let astray: Vec<ForeignKey> = there.iter().filter(|one| one.parent == names.retired).cloned().collect();
        // Each has its second one while it is off.
        take_off(link, table, &astray, &mark).await?;
        let mut parts: Vec<String> = seconds.iter().map(|key| format!("DROP FOREIGN KEY {}", quote_identifier(&key.name))).collect();
        if !parts.is_empty() {
            parts.extend(keys.iter().map(|(_, key)| key.addition(&key.name, &names.source)));
            link.run(&format!("ALTER TABLE {mark} {} {}, ALGORITHM=INPLACE", table.quoted(), parts.join(", "))).await?;
        }
    }
    Ok(())
}

/// The table that does not have the name alone: it loses what refers to others.
///
/// # Errors
/// As the server says.
pub async fn settle_side(link: &mut Link, names: &Names, id: MigrationId) -> Result<(), Error> {
    let Some(is_swapped) = is_swapped(link, names).await? else { return Ok(()) };
    let side = if is_swapped { &names.retired } else { &names.shadow };
    let stray = of(link, side).await?;
    Ok(take_off(link, side, &stray, &deferred::mark(id)).await?)
}

/// `None` where the name does not resolve, or nothing of an attempt is left.
async fn is_swapped(link: &mut Link, names: &Names) -> Result<Option<bool>, Error> {
    Ok(match super::cutover::settle::read(link, names).await? {
        Truth::Swapped => Some(true),
        Truth::NotSwapped => Some(false),
        _ => None,
    })
}

/// Settles what the store says, and empties it.
///
/// # Errors
/// As the server says.
pub async fn settle_stored(link: &mut Link, table: &TableName, id: MigrationId, stored: &str) -> Result<(), Error> {
    if stored.is_empty() {
        return Ok(());
    }
    let ties = Ties::parse(stored).ok_or_else(|| unreadable(table, id, "ties"))?;
    let names = Names::after_swaps(table, ties.swaps);
    if matches!(super::cutover::settle::read(link, &names).await?, Truth::Halfway | Truth::Nothing) {
        // Whoever brings the name back settles them then.
        return Ok(());
    }
    settle(link, &names, id, &ties).await?;
    Ok(checkpoint::set_ties(link, id, "").await?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::migration::foreign_keys) fn key() -> ForeignKey {
        ForeignKey {
            table: TableName::new("s", "c:`"),
            name: "fk\n".into(),
            parent: TableName::new("s", "t"),
            on_delete: "CASCADE".into(),
            on_update: String::new(),
            columns: vec![("a".into(), "b".into()), ("é".into(), String::new())],
        }
    }

    #[test]
    fn they_survive_storing() {
        let ties = Ties { swaps: 3, children: vec![key(), key()], ..Ties::default() };
        assert_eq!(Ties::parse(&ties.write()), Some(ties.clone()));
        assert_eq!(Ties::parse(&Ties::default().write()), Some(Ties::default()));
        let text = ties.write();
        let last_field = text.rfind(':').unwrap_or_default();
        for broken in ["", &text[5..], &text[..text.len() - 1], &text[..last_field]] {
            assert_eq!(Ties::parse(broken), None, "keys lost in silence");
        }
    }

    #[test]
    fn one_is_added_under_another_name_to_another_table() {
        assert_eq!(
            key().addition("x", &TableName::new("~s", "t")),
            "ADD CONSTRAINT `x` FOREIGN KEY (`a`, `é`) REFERENCES `~s`.`t` (`b`, ``) ON DELETE CASCADE"
        );
    }

    #[test]
    fn parents_are_locked_for_reading_once_and_a_child_for_writing() {
        let names = Names::of(&TableName::new("s", "t"));
        let to = |table: &str, parent: &str| ForeignKey { table: TableName::new("s", table), parent: TableName::new("s", parent), ..key() };
        let ties = Ties {
            own: vec![to("t", "p"), to("t", "p"), to("t", "t"), to("t", "c")],
            children: vec![to("c", "t"), to("c", "t")],
            ..Ties::default()
        };
        assert_eq!(ties.locks(&names), ", `s`.`c` WRITE, `s`.`p` READ");
    }

    #[test]
    fn a_definition_without_its_foreign_keys_is_whole() {
        let statement = "CREATE TABLE `t` (\n  `id` int COMMENT 'x,',\n  KEY `k` (`id`),\n  CONSTRAINT `a``b` FOREIGN KEY (`id`) REFERENCES `p` (`id`),\n  \
                         CONSTRAINT `c` FOREIGN KEY (`id`) REFERENCES `p` (`id`)\n) ENGINE=InnoDB";
        assert_eq!(without_foreign_keys(statement), "CREATE TABLE `t` (\n  `id` int COMMENT 'x,',\n  KEY `k` (`id`)\n) ENGINE=InnoDB");
        let checked = "CREATE TABLE `t` (\n  `id` int,\n  CONSTRAINT `f` FOREIGN KEY (`id`) REFERENCES `p` (`id`),\n  CONSTRAINT `c` CHECK ((`id` > 1))\n)";
        assert_eq!(without_foreign_keys(checked), "CREATE TABLE `t` (\n  `id` int,\n  CONSTRAINT `c` CHECK ((`id` > 1))\n)");
        assert_eq!(without_foreign_keys("CREATE TABLE `t` (\n  `id` int\n)"), "CREATE TABLE `t` (\n  `id` int\n)");
    }
}
