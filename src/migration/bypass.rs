//! Who writes to the table without going through the proxy: they lose nothing, but no gate holds them, so that they wait in the
//! server's own queue at the swap.
//!
//! MySQL writes the connection that wrote a transaction into the log (F13), so each is counted. MariaDB 10.11 does not; there the
//! process list is looked at twice a second, and only those are seen that are writing at that moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::Error;
use super::progress::Board;
use crate::gate::Gates;
use crate::ids::TableName;
use crate::sql::matcher::Matcher;
use crate::sql::statement;
use crate::upstream::Link;

/// Writers that are remembered.
const WRITERS_MAX: usize = 1000;
/// Connections of which is remembered whether they are the proxy's.
const KNOWN_MAX: usize = 100_000;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// The server's connection id.
    pub connection: u64,
    /// The account's name; empty while it is not known.
    pub user: String,
    /// Where it connects from.
    pub host: String,
    /// Transactions found in the log, or times that it was seen writing.
    pub transactions: u64,
    /// `true`: found in the binary log. `false`: seen in the process list.
    pub is_logged: bool,
}

/// The writers round the proxy, of one migration.
#[derive(Debug, Default)]
pub struct Writers(Mutex<BTreeMap<u64, Writer>>);

impl Writers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Writer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by connection.
    pub fn list(&self) -> Vec<Writer> {
        self.lock().values().cloned().collect()
    }

    /// Counts a transaction; tells whether the writer is new.
    fn count(&self, connection: u64, is_logged: bool) -> bool {
        let mut writers = self.lock();
        let is_new = !writers.contains_key(&connection);
        if is_new && writers.len() >= WRITERS_MAX {
            return false;
        }
        let writer = writers.entry(connection).or_insert_with(|| Writer { connection, is_logged, ..Writer::default() });
        writer.transactions += 1;
        is_new
    }

    fn name(&self, connection: u64, user: &str, host: &str) {
        if let Some(writer) = self.lock().get_mut(&connection).filter(|writer| writer.user.is_empty()) {
            (writer.user, writer.host) = (user.to_owned(), host.to_owned());
        }
    }

    fn has_nameless(&self) -> bool {
        self.lock().values().any(|writer| writer.user.is_empty())
    }
}

/// Tells the proxy's own sessions from others, for the tail.
pub struct Witness {
    gates: Arc<Gates>,
    board: Arc<Board>,
    table: TableName,
    /// Seconds since 1970; what is older was written before this process knew its sessions.
    began: u64,
    known: HashMap<u64, bool>,
}

impl Witness {
    /// Begins to watch now.
    pub fn new(gates: Arc<Gates>, board: Arc<Board>, table: TableName) -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self { gates, board, table, began, known: HashMap::new() }
    }

    /// A transaction of this connection has changed the table.
    pub fn saw(&mut self, connection: u64, at: u64) {
        if connection == 0 || at <= self.began {
            return;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let census = self.gates.census();
        let is_ours = *self.known.entry(connection).or_insert_with(|| census.has_served(connection));
        if !is_ours {
            tell(&self.board, &self.table, connection, true);
        }
    }
}

fn tell(board: &Board, table: &TableName, connection: u64, is_logged: bool) {
    let migration = board.status().id;
    board.metrics().bypassed(migration);
    if board.writers().count(connection, is_logged) {
        tracing::info!(%migration, %table, connection, "somebody writes to the table without going through the proxy; SHOW BYPASS names all of them");
    }
}

/// Gives writers their names; on a server whose log does not name them, looks for them.
///
/// # Errors
/// As the server says.
pub async fn look(gates: &Gates, board: &Board, table: &TableName, named: &Matcher, is_logged: bool, link: &mut Link) -> Result<(), Error> {
    if is_logged && !board.writers().has_nameless() {
        return Ok(());
    }
    let processes = link
        .rows("SELECT ID, USER, HOST, INFO FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)")
        .await?;
    for row in processes {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut text = || cells.next().unwrap_or_default();
        let connection = String::from_utf8_lossy(&text()).parse().unwrap_or(0);
        let (user, host) = (text(), text());
        let info = text();
        if !is_logged
            && !info.is_empty()
            && named.touched(&info) != 0
            && !statement::classify(&info).is_read
            && !gates.census().has_served(connection)
        {
            tell(board, table, connection, false);
        }
        board.writers().name(connection, &String::from_utf8_lossy(&user), &String::from_utf8_lossy(&host));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_counted_and_named_once() {
        let writers = Writers::default();
        assert!(writers.count(7, true) && writers.has_nameless());
        assert!(!writers.count(7, true));
        writers.name(7, "app", "somewhere");
        writers.name(7, "other", "elsewhere");
        writers.name(8, "nobody", "");
        let expected = Writer { connection: 7, user: "app".into(), host: "somewhere".into(), transactions: 2, is_logged: true };
        assert_eq!(writers.list(), [expected]);
        assert!(!writers.has_nameless());
    }

    #[test]
    fn their_number_is_bounded() {
        let writers = Writers::default();
        for connection in 1..2000 {
            writers.count(connection, true);
        }
        assert_eq!(writers.list().len(), WRITERS_MAX);
    }
}
