//! What kind of server this is, and how it wants things said.

use super::{Error, Link};

/// Facts of one server, read once for each migration's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// MariaDB or MySQL.
    pub is_mariadb: bool,
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
    /// `server_uuid` of MySQL; host name, port and `server_id` of MariaDB: another one is another server.
    pub identity: String,
    /// Where table names are lower case in the dictionary.
    pub lower_case_table_names: u8,
}

/// How a locking read keeps from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// By this clause; rows that others hold are left out.
    Skipping(&'static str),
    /// By this clause; the whole statement fails where others hold one of the rows.
    OrFail(&'static str),
}

impl Facts {
    /// Asks the server.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn read(link: &mut Link) -> Result<Self, Error> {
        let rows = link.texts("SELECT VERSION(), @@lower_case_table_names").await?;
        let Some([version, lower_case]) = rows.first().map(Vec::as_slice) else {
            return Err(Error::Unexpected("no version".into()));
        };
        let is_mariadb = version.contains("MariaDB");
        let lower_case_table_names = lower_case.parse().unwrap_or(0);
        let mut facts = Self { is_mariadb, version: parse_version(version), identity: String::new(), lower_case_table_names };
        facts.identity = link.cell(facts.identity_question()).await?.unwrap_or_default();
        Ok(facts)
    }

    /// The statement that gives [`Facts::identity`].
    pub fn identity_question(&self) -> &'static str {
        if self.is_mariadb { "SELECT CONCAT_WS('/', @@hostname, @@port, @@server_id)" } else { "SELECT @@server_uuid" }
    }

    /// The statement whose first row begins with file and position.
    pub fn position_statement(&self) -> &'static str {
        if !self.is_mariadb && self.version >= (8, 2, 0) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" }
    }

    /// The clause of a locking read that takes shared locks and never waits: it skips rows that others hold, or fails at the first
    /// of them. MariaDB's SKIP LOCKED will not do: it puts a request into the row's queue and takes it back, and whoever begins to
    /// wait in between may find a deadlock. Its NOWAIT does not ask where it would have to wait.
    pub fn share_without_waiting(&self) -> Share {
        if self.is_mariadb { Share::OrFail("LOCK IN SHARE MODE NOWAIT") } else { Share::Skipping("FOR SHARE SKIP LOCKED") }
    }

    /// F1: the session that holds LOCK TABLES may RENAME.
    pub fn renames_under_lock(&self) -> bool {
        !self.is_mariadb && self.version >= (8, 0, 13)
    }

    /// "MySQL 9.7.4".
    pub fn name(&self) -> String {
        let (major, minor, patch) = self.version;
        format!("{} {major}.{minor}.{patch}", if self.is_mariadb { "MariaDB" } else { "MySQL" })
    }
}

fn parse_version(text: &str) -> (u16, u16, u16) {
    let text = text.strip_prefix("5.5.5-").unwrap_or(text);
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_vendors_are_read() {
        assert_eq!(parse_version("9.7.4-2"), (9, 7, 4));
        assert_eq!(parse_version("10.11.18-MariaDB-0+deb12u1"), (10, 11, 18));
        assert_eq!(parse_version("5.5.5-10.6.2-MariaDB"), (10, 6, 2));
    }
}
