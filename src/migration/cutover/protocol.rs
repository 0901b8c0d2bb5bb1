//! Which of the three protocols an attempt uses. Pure, but for one question about the server.

use super::super::Refusal;
use super::super::error::Error;
use super::super::shadow::Names;
use crate::config::Protocol;
use crate::upstream::{Facts, Link};

/// A protocol that server and names allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One session locks and renames.
    LockedRename,
    /// C1 locks the source, a sentry keeps C2's RENAME waiting.
    Sentry,
    /// The same, and C3 locks the shadow.
    SentryLockedShadow,
}

impl Way {
    /// The name in settings, messages and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::LockedRename => Protocol::LockedRename.name(),
            Self::Sentry => Protocol::Sentry.name(),
            Self::SentryLockedShadow => Protocol::SentryLockedShadow.name(),
        }
    }

    /// Foreign keys on either side come over the swap.
    pub fn carries_foreign_keys(self, facts: &Facts) -> bool {
        match self {
            Self::LockedRename => true,
            // On MySQL a child's foreign key cannot be changed while its parent is locked by another session.
            Self::Sentry => facts.is_mariadb,
            Self::SentryLockedShadow => false,
        }
    }

    /// A table stands in the retired table's place until the RENAME may run.
    pub fn has_sentry(self) -> bool {
        self != Self::LockedRename
    }
}

/// Finds the way for a wish.
///
/// # Errors
/// A [`Refusal`] where the server or the names do not allow what was asked for.
pub fn choose(wish: Protocol, facts: &Facts, names: &Names) -> Result<Way, Refusal> {
    let refuse = |message: String| Err(Refusal::new(1235, *b"42000", message));
    let by_itself = if facts.renames_under_lock() {
        Way::LockedRename
    } else if names.sort_after_source() {
        Way::Sentry
    } else {
        Way::SentryLockedShadow
    };
    match wish {
        Protocol::Auto => Ok(by_itself),
        Protocol::LockedRename if !facts.renames_under_lock() => refuse(format!(
            "cutover = 'locked_rename' needs MySQL 8.0.13 or later: {} does not let the session that has locked a table rename it; leave the option out",
            facts.name()
        )),
        Protocol::LockedRename => Ok(Way::LockedRename),
        // F3: RENAME would wait for a reader of the shadow before it waits for the source, and let writers pass.
        Protocol::Sentry if !names.sort_after_source() => refuse(format!(
            "cutover = 'sentry' could lose a write here: the schema name {} sorts after Tidegate's own schemas; use 'sentry_locked_shadow' or leave \
             the option out",
            names.source.schema
        )),
        Protocol::Sentry => Ok(Way::Sentry),
        Protocol::SentryLockedShadow => Ok(Way::SentryLockedShadow),
    }
}

/// Whether the server shows what the way must see.
///
/// # Errors
/// A [`Refusal`], or the server.
pub async fn check(way: Way, facts: &Facts, link: &mut Link) -> Result<(), Error> {
    if facts.is_mariadb || way != Way::SentryLockedShadow {
        return Ok(());
    }
    let sql = "SELECT ENABLED FROM performance_schema.setup_instruments WHERE NAME = 'wait/lock/metadata/sql/mdl'";
    if link.cell(sql).await?.as_deref() == Some("YES") {
        return Ok(());
    }
    Err(Refusal::new(
        1235,
        *b"42000",
        "cutover = 'sentry_locked_shadow' must see who waits for which lock, and this server's performance_schema does not show it; enable the \
         instrument wait/lock/metadata/sql/mdl or leave the option out",
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TableName;

    fn facts(is_mariadb: bool, version: (u16, u16, u16)) -> Facts {
        Facts { is_mariadb, version, identity: String::new(), lower_case_table_names: 0 }
    }

    #[test]
    fn every_wish_on_every_server_with_either_order_of_names() {
        let (new, old, maria) = (facts(false, (9, 7, 4)), facts(false, (8, 0, 12)), facts(true, (10, 11, 19)));
        let (after, before) = (Names::of(&TableName::new("shop", "t")), Names::of(&TableName::new("émoi", "t")));
        let table = [
            (Protocol::Auto, &new, [Some(Way::LockedRename); 2]),
            (Protocol::Auto, &old, [Some(Way::Sentry), Some(Way::SentryLockedShadow)]),
            (Protocol::Auto, &maria, [Some(Way::Sentry), Some(Way::SentryLockedShadow)]),
            (Protocol::LockedRename, &new, [Some(Way::LockedRename); 2]),
            (Protocol::LockedRename, &old, [None; 2]),
            (Protocol::LockedRename, &maria, [None; 2]),
            (Protocol::Sentry, &new, [Some(Way::Sentry), None]),
            (Protocol::Sentry, &maria, [Some(Way::Sentry), None]),
            (Protocol::SentryLockedShadow, &new, [Some(Way::SentryLockedShadow); 2]),
            (Protocol::SentryLockedShadow, &maria, [Some(Way::SentryLockedShadow); 2]),
        ];
        for (wish, facts, wanted) in table {
            for (names, wanted) in [&after, &before].into_iter().zip(wanted) {
                assert_eq!(choose(wish, facts, names).ok(), wanted, "{wish:?} on {} for {}", facts.name(), names.source);
            }
        }
    }
}
