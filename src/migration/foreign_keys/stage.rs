//! Stand-ins for the tables on the other side of foreign keys, so that the server judges an ALTER with all keys there and no real table is
//! touched.

use super::{ForeignKey, children_of, of, take_off};
use crate::ids::TableName;
use crate::migration::Refusal;
use crate::migration::shadow::{Names, PROBE_PREFIX};
use crate::sql::references;
use crate::upstream::{self, Link, literal};

/// Drops the stand-ins that this connection has made in the shadow's schema, and those of a run that was cut off which still refer to the
/// shadow: they would have their say about the next one.
///
/// # Errors
/// As the server says.
pub async fn drop_stand_ins(link: &mut Link, names: &Names) -> Result<(), upstream::Error> {
    for key in children_of(link, &names.shadow).await? {
        if key.table.table.starts_with(PROBE_PREFIX) {
            link.run(&format!("DROP TABLE IF EXISTS {}", key.table.quoted())).await?;
        }
    }
    let ours = format!("{PROBE_PREFIX}{}_", link.id()).replace('_', "\\_");
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME LIKE {}",
        literal(&names.shadow.schema),
        literal(&format!("{ours}%"))
    );
    for row in link.texts(&sql).await? {
        if let [table] = row.as_slice() {
            link.run(&format!("DROP TABLE IF EXISTS {}", TableName::new(names.shadow.schema.clone(), table.clone()).quoted())).await?;
        }
    }
    Ok(())
}

/// What stands there while the server judges.
#[derive(Debug)]
pub struct Stage {
    is_empty: bool,
    /// The ALTER, with stand-ins in the place of the tables that it refers to.
    specification: String,
    /// Real table and stand-in.
    stands: Vec<(TableName, TableName)>,
    /// What the children's are called here, and what they are called.
    renamed: Vec<(String, String)>,
}

impl Stage {
    /// Puts the source's foreign keys onto the empty shadow, with stand-ins on the other side, also for what the ALTER refers to.
    ///
    /// # Errors
    /// As the server says.
    pub async fn set(link: &mut Link, names: &Names, specification: &str) -> Result<Self, upstream::Error> {
        let mut stage = Self { is_empty: true, specification: specification.to_owned(), stands: Vec::new(), renamed: Vec::new() };
        let additions: Vec<ForeignKey> = of(link, &names.source).await?;
        drop_stand_ins(link, names).await?;
        for key in &additions {
            stage.is_empty = false;
            let parent = if key.parent == names.source { names.shadow.clone() } else { stage.stand_in(link, names, &key.parent).await? };
            link.run(&format!("ALTER TABLE {} {}", names.shadow.quoted(), key.addition(&key.name, &parent))).await?;
        }
        for (at, key) in children_of(link, &names.source).await?.iter().enumerate() {
            stage.is_empty = false;
            let child = stage.stand_in(link, names, &key.table).await?;
            let name = format!("{PROBE_PREFIX}{}_key_{at}", link.id());
            link.run(&format!("ALTER TABLE {} {}", child.quoted(), key.addition(&name, &names.shadow))).await?;
            stage.renamed.push((name, key.name.clone()));
        }
        let mut replacements = Vec::new();
        for real in super::added::named(link, &names.source, specification).await? {
            stage.is_empty = false;
            replacements.push(if real == names.source { names.shadow.clone() } else { stage.stand_in_if_any(link, names, &real).await? });
        }
        let mut replacements = replacements.into_iter();
        stage.specification =
            references::replaced(specification, |_| replacements.next().map(|stand_in| stand_in.quoted()).unwrap_or_default());
        Ok(stage)
    }

    /// For a table that the ALTER names: where it cannot be stood in for, as it does not exist, the server says so to the ALTER.
    async fn stand_in_if_any(&mut self, link: &mut Link, names: &Names, real: &TableName) -> Result<TableName, upstream::Error> {
        match self.stand_in(link, names, real).await {
            Err(upstream::Error::Server { code: 1146 | 1049 | 1347, .. }) => {
                let missing = self.next_name(link, names);
                self.stands.push((real.clone(), missing.clone()));
                Ok(missing)
            }
            other => other,
        }
    }

    fn next_name(&self, link: &Link, names: &Names) -> TableName {
        TableName::new(names.shadow.schema.clone(), format!("{PROBE_PREFIX}{}_{}", link.id(), self.stands.len()))
    }

    async fn stand_in(&mut self, link: &mut Link, names: &Names, real: &TableName) -> Result<TableName, upstream::Error> {
        if let Some((_, stand_in)) = self.stands.iter().find(|(table, _)| table == real) {
            return Ok(stand_in.clone());
        }
        let stand_in = self.next_name(link, names);
        link.run(&format!("CREATE TABLE {} LIKE {}", stand_in.quoted(), real.quoted())).await?;
        self.stands.push((real.clone(), stand_in.clone()));
        Ok(stand_in)
    }

    /// There are no foreign keys.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// What follows `ALTER TABLE shadow` here.
    pub fn specification(&self) -> &str {
        &self.specification
    }

    /// The server's words about a stand-in, with the name of what it stands for.
    pub fn real_words(&self, mut refusal: Refusal) -> Refusal {
        for (real, stand_in) in &self.stands {
            refusal.message = refusal.message.replace(&stand_in.table, &real.table);
        }
        for (stand_in, real) in &self.renamed {
            refusal.message = refusal.message.replace(stand_in, real);
        }
        refusal
    }

    /// Takes everything off again; gives the foreign keys that the table has after the ALTER.
    ///
    /// # Errors
    /// As the server says.
    pub async fn strike(self, link: &mut Link, names: &Names) -> Result<Vec<ForeignKey>, upstream::Error> {
        let mut keys = of(link, &names.shadow).await?;
        take_off(link, &names.shadow, &keys, "").await?;
        for (_, stand_in) in &self.stands {
            link.run(&format!("DROP TABLE IF EXISTS {}", stand_in.quoted())).await?;
        }
        for key in &mut keys {
            key.table = names.source.clone();
            let real = self.stands.iter().find(|(_, stand_in)| *stand_in == key.parent).map(|(real, _)| real);
            key.parent = real.unwrap_or(&names.source).clone();
        }
        Ok(keys)
    }
}
