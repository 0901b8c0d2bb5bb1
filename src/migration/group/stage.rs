//! Members that refer to each other: their shadows are made together, so that each ALTER is judged and the foreign keys fit afterwards.
//!
//! Each ALTER is first judged as that of a single table, with stand-ins as the other members are. Where the server refuses it because a
//! foreign key to another member would no longer fit, it is judged without them. When all shadows are there, every foreign key that they
//! shall have is put on, on the empty tables and with the server's checks, and taken off again: what does not fit both new definitions is
//! refused, with the server's own number.
//! Never: touches a table that has a name of the application's.

use super::super::error::Error;
use super::super::foreign_keys::{self, ForeignKey, added};
use super::super::runner::Grip;
use super::super::shadow::{self, Names, PROBE_PREFIX};
use super::super::{Refusal, checkpoint, preflight, prepare};
use super::of_member;
use crate::ids::TableName;
use crate::schema::table::same_name;
use crate::sql::alter::Clause;
use crate::sql::references;
use crate::upstream::{self, Link};

/// A column is used in a foreign key, as child or as parent, and its new type does not fit the other side.
const DOES_NOT_FIT: [u16; 3] = [1832, 1833, 3780];

/// The foreign keys that a member shall have, where its shadow was made here.
pub type Made = Option<Vec<ForeignKey>>;

/// Makes the shadows of all members, where some refer to others and not all of them can be followed from where they stood.
///
/// # Errors
/// A [`Refusal`] with the server's own number, or the server.
pub async fn make_shadows(grips: &mut [Grip]) -> Result<Vec<Made>, Error> {
    let sources: Vec<TableName> = grips.iter().map(|grip| grip.names.source.clone()).collect();
    let mut own = Vec::new();
    for grip in grips.iter_mut() {
        own.push(foreign_keys::of(&mut grip.link, &grip.names.source).await?);
    }
    let is_tied = |key: &ForeignKey| key.parent != key.table && sources.contains(&key.parent);
    let mut is_any_added = false;
    for grip in grips.iter_mut() {
        let added = added::named(&mut grip.link, &grip.names.source, &grip.stored.specification).await?;
        is_any_added |= added.iter().any(|parent| *parent != grip.names.source && sources.contains(parent));
    }
    if !is_any_added && !own.iter().flatten().any(is_tied) {
        return Ok(grips.iter().map(|_| None).collect());
    }
    let mut all_go_on = true;
    for grip in grips.iter_mut() {
        let names = grip.names.clone();
        all_go_on &= prepare::find_start(grip, &names).await?.is_some();
    }
    if all_go_on {
        return Ok(grips.iter().map(|_| None).collect());
    }
    let mut clauses = Vec::new();
    for grip in grips.iter_mut() {
        clauses.push(preflight::check_specification(&grip.stored.specification)?);
        shadow::create_schemas(&mut grip.link, &grip.names).await?;
        // First: a shadow that is half made must never be taken for one with a place in the log.
        checkpoint::clear_start(&mut grip.link, grip.stored.id).await?;
        grip.stored.position = None;
        foreign_keys::drop_stand_ins(&mut grip.link, &grip.names).await?;
    }
    let mut made = Vec::new();
    for ((grip, own), clauses) in grips.iter_mut().zip(&own).zip(&clauses) {
        let are_tied = own.iter().any(is_tied) || refers(&mut grip.link, &grip.names.source, &sources).await?;
        let table = grip.names.source.clone();
        made.push(create(grip, own, clauses, are_tied).await.map_err(|error| of_member(&table, error))?);
    }
    // Each was judged with the others as they are: their columns may have other names now.
    for keys in &mut made {
        for key in keys.iter_mut().filter(|key| is_tied(key)) {
            let parent = sources.iter().position(|source| *source == key.parent);
            rename_referred(key, parent.and_then(|at| clauses.get(at)).map_or(&[], Vec::as_slice));
        }
    }
    crate::failpoints::reach("prepare.shadows_made").await?;
    prove(grips, &made, &clauses).await?;
    Ok(made.into_iter().map(Some).collect())
}

/// Whether one of the others refers to a table.
async fn refers(link: &mut Link, table: &TableName, sources: &[TableName]) -> Result<bool, upstream::Error> {
    Ok(foreign_keys::children_of(link, table).await?.iter().any(|key| sources.contains(&key.table)))
}

/// Creates one shadow; gives the table's foreign keys afterwards, with the columns' new names on its own side.
async fn create(grip: &mut Grip, own: &[ForeignKey], clauses: &[Clause], are_tied: bool) -> Result<Vec<ForeignKey>, Error> {
    let (names, specification) = (grip.names.clone(), grip.stored.specification.clone());
    let refusal = match prepare::create_shadow(&grip.server, &mut grip.link, &names, &specification).await {
        // An ALTER that adds a foreign key would refer to the application's own table here.
        Err(Error::Refused(refusal)) if are_tied && DOES_NOT_FIT.contains(&refusal.code) && references::of(&specification).is_empty() => {
            refusal
        }
        other => return other,
    };
    foreign_keys::drop_stand_ins(&mut grip.link, &names).await?;
    let is_gone = |column: &String| clauses.iter().any(|clause| matches!(clause, Clause::DropColumn(name) if same_name(name, column)));
    if own.iter().flat_map(|key| &key.columns).any(|(own, _)| is_gone(own)) {
        return Err(refusal.into());
    }
    shadow::create(&grip.server, &names, foreign_keys::without_foreign_keys).await?;
    let mut judge = grip.server.connect().await?;
    match judge.run(&format!("ALTER TABLE {} {specification}", names.shadow.quoted())).await {
        Ok(()) => {}
        Err(error) if error.is_lost() => return Err(error.into()),
        // Among others where the ALTER drops a foreign key, which was not there now.
        Err(_) => return Err(refusal.into()),
    }
    if !shadow::look(&mut grip.link, &names).await?.shadow {
        return Err(Error::Changed(format!("the ALTER moved the shadow of {} elsewhere; it cannot be followed", names.source)));
    }
    let mut keys = own.to_vec();
    for key in &mut keys {
        for (own, _) in &mut key.columns {
            *own = new_name(own, clauses);
        }
        if key.parent == key.table {
            rename_referred(key, clauses);
        }
    }
    Ok(keys)
}

fn new_name(column: &str, clauses: &[Clause]) -> String {
    let renamed = clauses.iter().find_map(|clause| match clause {
        Clause::RenameColumn { from, to } if same_name(from, column) => Some(to),
        _ => None,
    });
    renamed.map_or(column, String::as_str).to_owned()
}

fn rename_referred(key: &mut ForeignKey, clauses: &[Clause]) {
    for (_, referred) in &mut key.columns {
        *referred = new_name(referred, clauses);
    }
}

/// Puts all foreign keys on that the members shall have, and those of others to them, and takes them off again. The shadows are empty.
async fn prove(grips: &mut [Grip], made: &[Vec<ForeignKey>], clauses: &[Vec<Clause>]) -> Result<(), Error> {
    let all: Vec<Names> = grips.iter().map(|grip| grip.names.clone()).collect();
    let Some(grip) = grips.first_mut() else { return Ok(()) };
    let mut judge = grip.server.connect().await?;
    judge.run("SET SESSION foreign_key_checks = 1").await?;
    let mut outside = Outside {
        link: &mut grip.link,
        schema: all.first().map_or(String::new(), |names| names.shadow.schema.clone()),
        stands: Vec::new(),
        renamed: Vec::new(),
    };
    let mut before = Vec::new();
    for names in &all {
        before.push(definition(outside.link, &names.shadow).await?);
    }
    let result = put_on(&mut judge, &mut outside, &all, made, clauses).await;
    let Outside { link, stands, renamed, .. } = outside;
    for (_, stand_in) in &stands {
        link.run(&format!("DROP TABLE IF EXISTS {}", stand_in.quoted())).await?;
    }
    for names in &all {
        let keys = foreign_keys::of(link, &names.shadow).await?;
        foreign_keys::take_off(link, &names.shadow, &keys, "").await?;
    }
    if let Err((table, error)) = result {
        if error.is_lost() {
            return Err(error.into());
        }
        let mut refusal = Refusal::from_upstream(&error);
        for (real, stand_in) in
            stands.iter().map(|(real, stand_in)| (real, stand_in)).chain(all.iter().map(|names| (&names.source, &names.shadow)))
        {
            refusal.message = refusal.message.replace(&stand_in.table, &real.table).replace(&stand_in.schema, &real.schema);
        }
        for (here, real) in &renamed {
            refusal.message = refusal.message.replace(here, real);
        }
        return Err(of_member(&table, refusal.into()));
    }
    for (names, before) in all.iter().zip(before) {
        if definition(link, &names.shadow).await? != before {
            let message = format!("{}: the ALTER takes away an index that a foreign key needs; keep it", names.source);
            return Err(Refusal::new(1553, *b"HY000", message).into());
        }
    }
    Ok(())
}

async fn definition(link: &mut Link, table: &TableName) -> Result<Vec<String>, upstream::Error> {
    Ok(link.texts(&format!("SHOW CREATE TABLE {}", table.quoted())).await?.into_iter().flatten().collect())
}

/// Stand-ins for tables that are no members.
struct Outside<'a> {
    link: &'a mut Link,
    schema: String,
    /// Real table and stand-in.
    stands: Vec<(TableName, TableName)>,
    /// What the children's foreign keys are called here, and what they are called.
    renamed: Vec<(String, String)>,
}

impl Outside<'_> {
    async fn stand_in(&mut self, real: &TableName) -> Result<TableName, upstream::Error> {
        if let Some((_, stand_in)) = self.stands.iter().find(|(table, _)| table == real) {
            return Ok(stand_in.clone());
        }
        let stand_in = TableName::new(self.schema.clone(), format!("{PROBE_PREFIX}{}_{}", self.link.id(), self.stands.len()));
        self.link.run(&format!("CREATE TABLE {} LIKE {}", stand_in.quoted(), real.quoted())).await?;
        self.stands.push((real.clone(), stand_in.clone()));
        Ok(stand_in)
    }
}

/// Fails with the table that the foreign key is of, or leads to.
async fn put_on(
    judge: &mut Link,
    outside: &mut Outside<'_>,
    all: &[Names],
    made: &[Vec<ForeignKey>],
    clauses: &[Vec<Clause>],
) -> Result<(), (TableName, upstream::Error)> {
    for (names, keys) in all.iter().zip(made) {
        let of_this = |error| (names.source.clone(), error);
        for key in keys {
            let parent = match all.iter().find(|other| other.source == key.parent) {
                Some(member) => member.shadow.clone(),
                None => outside.stand_in(&key.parent).await.map_err(of_this)?,
            };
            judge.run(&format!("ALTER TABLE {} {}", names.shadow.quoted(), key.addition(&key.name, &parent))).await.map_err(of_this)?;
        }
    }
    for (names, clauses) in all.iter().zip(clauses) {
        let of_this = |error| (names.source.clone(), error);
        let children = foreign_keys::children_of(outside.link, &names.source).await.map_err(of_this)?;
        for mut key in children.into_iter().filter(|key| !all.iter().any(|member| member.source == key.table)) {
            rename_referred(&mut key, clauses);
            let child = outside.stand_in(&key.table).await.map_err(of_this)?;
            let name = format!("{PROBE_PREFIX}{}_key_{}_", judge.id(), outside.renamed.len());
            outside.renamed.push((name.clone(), key.name.clone()));
            judge.run(&format!("ALTER TABLE {} {}", child.quoted(), key.addition(&name, &names.shadow))).await.map_err(of_this)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_follow_their_new_names() {
        let clauses = [Clause::RenameColumn { from: "a".into(), to: "b".into() }, Clause::DropColumn("c".into())];
        assert_eq!(["A", "b", "c"].map(|name| new_name(name, &clauses)), ["b", "b", "c"]);
    }
}
