//! The engine's own connections to the server: opening them, running SQL on them, ending what runs too long.
//!
//! Owns: the account and address of the engine. Never: a client's connection (see `session`).
//! Everything goes over the text protocol, so that what is logged is what was run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, DriverError, IoError, Opts, OptsBuilder, Row, SslOpts};

mod facts;
mod position;

pub use facts::{Facts, Share};
pub use position::Position;

use crate::config;
use crate::net::tls::{self, Mode};

/// Why a statement of the engine did not work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server said no.
    #[error("the server answered error {code} ({sqlstate}): {message}")]
    Server {
        /// Its error number.
        code: u16,
        /// Five characters.
        sqlstate: String,
        /// Its words.
        message: String,
    },
    /// The connection broke, or could not be made.
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    /// The statement took longer than it may, and was ended.
    #[error("ended after {0:?}: {1}")]
    TooLong(Duration, &'static str),
    /// The server's answer does not have the form expected.
    #[error("unexpected answer from the server: {0}")]
    Unexpected(String),
}

impl Error {
    /// The server's error number, if it was the server that refused.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// A deadlock victim, a lock wait that timed out, or a row that has changed since it was read: the same statement may work next time.
    pub fn is_lock_conflict(&self) -> bool {
        matches!(self.code(), Some(1020 | 1205 | 1213 | 3572))
    }

    /// The server is going away or has no place, or the connection is gone: another connection may work.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Server { code, .. } => matches!(code, 1040 | 1053 | 1077 | 1079 | 1129 | 1158..=1161 | 1203 | 1226 | 1927 | 3169 | 4031),
            Self::TooLong(..) | Self::Unexpected(_) => false,
        }
    }
}

impl From<mysql_async::Error> for Error {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(server) => Self::Server { code: server.code, sqlstate: server.state, message: server.message },
            other => Self::Lost(reason(&other)),
        }
    }
}

/// How long a KILL QUERY, and the statement that it ends, may take to be answered.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// In `verify-ca` the driver is to skip the check of the name only, and finds that check's error by this word in its text. The
/// text holds the name that was looked for, so a name of this word makes it find it, and nothing else has it.
const ANY_NAME: &str = "NotValidForName";

/// How the account of `[upstream]` connects, TLS included.
pub fn options(upstream: &config::Upstream) -> Opts {
    let (host, port) = upstream.host_port().unwrap_or_else(|| ("localhost".into(), 3306));
    OptsBuilder::default()
        .socket(upstream.is_local().then(|| upstream.address.clone()))
        .ip_or_hostname(host)
        .tcp_port(port)
        .user(Some(&upstream.user))
        .pass(Some(&upstream.password))
        .prefer_socket(false)
        .tcp_nodelay(true)
        .stmt_cache_size(0)
        // Set, so that the driver does not ask the server for them on every connection.
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
        .ssl_opts(tls_options(upstream))
        .into()
}

fn tls_options(upstream: &config::Upstream) -> Option<SslOpts> {
    let options = match Mode::read(&upstream.tls).unwrap_or(Mode::Off) {
        _ if upstream.is_local() => return None,
        Mode::Off => return None,
        Mode::Preferred | Mode::Required => SslOpts::default().with_danger_accept_invalid_certs(true),
        Mode::VerifyCa => SslOpts::default().with_danger_skip_domain_validation(true).with_danger_tls_hostname_override(Some(ANY_NAME)),
        Mode::VerifyIdentity => SslOpts::default(),
    };
    let verifies = upstream.tls.starts_with("verify");
    let authorities = if verifies { vec![PathBuf::from(&upstream.tls_ca).into()] } else { Vec::new() };
    let identity = (!upstream.tls_cert.is_empty())
        .then(|| ClientIdentity::new(PathBuf::from(&upstream.tls_cert).into(), PathBuf::from(&upstream.tls_key).into()));
    // The driver wants some authority even where it verifies nothing.
    Some(options.with_disable_built_in_roots(verifies).with_root_certs(authorities).with_client_identity(identity))
}

/// Connects with the account of `[upstream]`; where TLS is preferred and the server has none, without it. Certificates are read
/// anew, so that a renewed one is used.
///
/// # Errors
/// The driver's own; [`reason`] puts them in words.
pub async fn open(upstream: &config::Upstream) -> mysql_async::Result<Conn> {
    let opts = options(upstream);
    match Conn::new(opts.clone()).await {
        Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)) if upstream.tls == "preferred" => {
            Conn::new(OptsBuilder::from_opts(opts).ssl_opts(None::<SslOpts>)).await
        }
        other => other,
    }
}

/// A driver's error in the words of whoever raised it, without the driver's wrapping.
pub fn reason(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(error) => format!("error {}: {}", error.code, error.message),
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            "it does not offer TLS; set it up there, or give [upstream] tls = \"preferred\"".into()
        }
        mysql_async::Error::Io(IoError::Io(error)) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            tls::explain(error)
        }
        mysql_async::Error::Io(IoError::Io(error)) => error.to_string(),
        mysql_async::Error::Io(IoError::Tls(error)) => format!("TLS: {error}; see the files of [upstream] tls_ca, tls_cert and tls_key"),
        other => other.to_string(),
    }
}

/// Bytes of statements that are sent together; each server takes a packet of this size.
const TOGETHER_MOST: usize = 512 << 10;

/// How the engine reaches the server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    /// Shared by all clones, so that a reload reaches every one of them.
    upstream: Arc<ArcSwap<config::Upstream>>,
    /// Stays: a run belongs to the server that it began on.
    address: Arc<str>,
    is_strict: bool,
    takes_any_date: bool,
    /// The only server that may answer.
    only: Option<Arc<Facts>>,
    in_utc: bool,
}

impl Server {
    /// The server and account of the configuration.
    pub fn new(upstream: &config::Upstream) -> Self {
        Self {
            upstream: Arc::new(ArcSwap::from_pointee(upstream.clone())),
            address: upstream.address.as_str().into(),
            is_strict: false,
            takes_any_date: false,
            only: None,
            in_utc: false,
        }
    }

    /// Takes another account, password or TLS over, for connections from now on; the address stays.
    pub fn reload(&self, upstream: &config::Upstream) {
        self.upstream.store(Arc::new(upstream.clone()));
    }

    /// The same account and TLS at another address, such as a replica's; follows every reload as well.
    #[must_use]
    pub fn at(&self, address: &str) -> Self {
        let upstream = self.upstream.clone();
        Self { upstream, address: address.into(), is_strict: false, takes_any_date: false, only: None, in_utc: false }
    }

    /// The same server, with the engine's connections in UTC: where a TIMESTAMP tells rows apart, and nothing is converted between
    /// a TIMESTAMP and another type. In a zone with summer time two of them can read the same.
    #[must_use]
    pub fn in_utc(&self) -> Self {
        Self { in_utc: true, ..self.clone() }
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same server for writing where no value may be cut to fit, whatever the server's own sql_mode says.
    pub fn strict(&self) -> Self {
        Self { is_strict: true, ..self.clone() }
    }

    /// The same server, for the engine's work with dates that the server's own sql_mode would not take any more, but has taken.
    #[must_use]
    pub fn with_any_date(&self) -> Self {
        Self { takes_any_date: true, ..self.clone() }
    }

    /// The same address, as long as the same server answers there: after a failover another one does, and what a run has read
    /// on the first must never be written to the second.
    pub fn only(&self, facts: &Facts) -> Self {
        Self { only: Some(Arc::new(facts.clone())), ..self.clone() }
    }

    /// Opens a connection with the server's own session defaults.
    ///
    /// # Errors
    /// [`Error::Lost`] where the server does not answer in time, [`Error::Server`] where it refuses the account.
    pub async fn connect(&self) -> Result<Link, Error> {
        let upstream = config::Upstream { address: self.address.to_string(), ..self.upstream.load().as_ref().clone() };
        let limit = Duration::from_millis(upstream.connect_timeout_ms);
        let conn = match tokio::time::timeout(limit, open(&upstream)).await {
            Ok(conn) => conn?,
            Err(_) => return Err(Error::Lost(format!("{} did not answer within {limit:?}", self.address))),
        };
        let mut link = Link { conn, is_amid: false };
        if let Some(only) = &self.only {
            let identity = link.cell(only.identity_question()).await?.unwrap_or_default();
            if identity != only.identity {
                let (address, expected) = (&self.address, &only.identity);
                return Err(Error::Lost(format!(
                    "another server answers at {address} ({identity}, not {expected}); nothing was written to it"
                )));
            }
        }
        Ok(link)
    }

    /// Opens a connection for the engine's own work: READ COMMITTED (F7), no foreign key checks (I-E3), zero kept in
    /// AUTO_INCREMENT columns, UTC left to the server's default so that conversions equal those of its own ALTER.
    ///
    /// # Errors
    /// As [`Server::connect`].
    pub async fn connect_engine(&self) -> Result<Link, Error> {
        let mut link = self.connect().await?;
        link.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        // The engine reads rows as they are, and locks those that have changed since: MariaDB 11.6.2 and later refuse that (1020) unless told.
        link.run(
            "SET SESSION foreign_key_checks = 0, unique_checks = 1, \
             sql_mode = CONCAT(REPLACE(REPLACE(REPLACE(@@sql_mode, 'ANSI_QUOTES', ''), 'NO_BACKSLASH_ESCAPES', ''), 'PAD_CHAR_TO_FULL_LENGTH', ''), ',NO_AUTO_VALUE_ON_ZERO'), \
             innodb_lock_wait_timeout = 2, lock_wait_timeout = 5, sql_quote_show_create = 1, wait_timeout = 31536000, net_write_timeout = 600 \
             /*M!110602 , innodb_snapshot_isolation = OFF */",
        )
        .await?;
        if self.is_strict {
            link.run("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')").await?;
        }
        if self.takes_any_date {
            // TRADITIONAL stands for itself and for the others, which are in the list as well.
            link.run(
                "SET SESSION sql_mode = CONCAT(REPLACE(REPLACE(REPLACE(@@sql_mode, 'NO_ZERO_IN_DATE', ''), 'NO_ZERO_DATE', ''), 'TRADITIONAL', ''), \
                 ',ALLOW_INVALID_DATES')",
            )
            .await?;
        }
        if self.in_utc {
            link.run("SET SESSION time_zone = '+00:00'").await?;
        }
        Ok(link)
    }
}

/// One connection of the engine.
#[derive(Debug)]
pub struct Link {
    conn: Conn,
    /// A statement is out, or its future was dropped: the next answer would be that one's.
    is_amid: bool,
}

/// What a statement that gives no rows did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Rows changed.
    pub affected: u64,
    /// AUTO_INCREMENT value given.
    pub insert_id: u64,
    /// "Records: 3  Duplicates: 0  Warnings: 0".
    pub info: String,
    /// Number of warnings.
    pub warnings: u16,
}

impl Done {
    /// A number out of [`Done::info`], such as `Duplicates`.
    pub fn info_number(&self, name: &str) -> Option<u64> {
        let rest = self.info.split(name).nth(1)?.trim_start_matches(':').trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

impl Link {
    /// The server's connection id.
    pub fn id(&self) -> u32 {
        self.conn.id()
    }

    /// Runs a statement and drops its rows.
    ///
    /// # Errors
    /// As the server or the network says.
    ///
    /// # Cancel safety
    /// A dropped future leaves the statement running on the server, see [`Link::run_within`]; the connection takes no other then.
    pub async fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.begin()?;
        let result = self.conn.query_drop(sql).await;
        self.is_amid = false;
        Ok(result?)
    }

    /// Runs statements one after the other and drops their rows; the first that fails is the last. They go to the server together, up to
    /// [`TOGETHER_MOST`] at once.
    ///
    /// # Errors
    /// That of the statement that failed.
    ///
    /// # Cancel safety
    /// As [`Link::run`].
    pub async fn run_all(&mut self, statements: &[String]) -> Result<(), Error> {
        let mut together = String::new();
        for sql in statements {
            if !together.is_empty() && together.len() + sql.len() > TOGETHER_MOST {
                self.run(&together).await?;
                together.clear();
            }
            if !together.is_empty() {
                together.push_str("; ");
            }
            together.push_str(sql);
        }
        if together.is_empty() { Ok(()) } else { self.run(&together).await }
    }

    /// As [`Link::run`], for a text in the connection's own character set.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn run_bytes(&mut self, sql: &[u8]) -> Result<(), Error> {
        self.begin()?;
        let result = self.conn.query_drop(sql).await;
        self.is_amid = false;
        Ok(result?)
    }

    fn begin(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_amid, true) {
            return Err(Error::Lost(format!("an earlier statement of connection {} was given up", self.conn.id())));
        }
        Ok(())
    }

    /// Runs a statement that changes rows.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn change(&mut self, sql: &str) -> Result<Done, Error> {
        self.run(sql).await?;
        Ok(Done {
            affected: self.conn.affected_rows(),
            insert_id: self.conn.last_insert_id().unwrap_or(0),
            info: self.conn.info().into_owned(),
            warnings: self.conn.get_warnings(),
        })
    }

    /// Runs a query and gives its rows as texts; NULL is `None`.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<Vec<u8>>>>, Error> {
        self.begin()?;
        let rows: Result<Vec<Row>, _> = self.conn.query(sql).await;
        self.is_amid = false;
        Ok(rows?
            .into_iter()
            .map(|row| {
                Row::unwrap(row)
                    .into_iter()
                    .map(|value| match value {
                        mysql_async::Value::NULL => None,
                        mysql_async::Value::Bytes(bytes) => Some(bytes),
                        mysql_async::Value::Int(number) => Some(number.to_string().into_bytes()),
                        mysql_async::Value::UInt(number) => Some(number.to_string().into_bytes()),
                        other => Some(other.as_sql(true).into_bytes()),
                    })
                    .collect()
            })
            .collect())
    }

    /// As [`Link::rows`], as UTF-8 with NULL as the empty text.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn texts(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let rows = self.rows(sql).await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                row.into_iter().map(|cell| cell.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned())).collect()
            })
            .collect())
    }

    /// The first cell of the first row; `None` where there is no row or it is NULL.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn cell(&mut self, sql: &str) -> Result<Option<String>, Error> {
        let rows = self.rows(sql).await?;
        let first = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(first.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A column of the first row by its name, whatever other columns this server has; `None` where there is no row or it is NULL.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn named_cell(&mut self, sql: &str, column: &str) -> Result<Option<String>, Error> {
        self.begin()?;
        let row: Result<Option<Row>, _> = self.conn.query_first(sql).await;
        self.is_amid = false;
        let value: Option<Option<Vec<u8>>> = row?.as_ref().and_then(|row| row.get_opt(column)).and_then(Result::ok);
        Ok(value.flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Runs a statement that may wait for a lock; ends it with KILL QUERY from `watchdog` when `limit` is over (F11: the
    /// server's own timeout is in whole seconds).
    ///
    /// # Errors
    /// [`Error::TooLong`] where it was ended; a statement that made it just before the KILL counts as done.
    pub async fn run_within(&mut self, sql: &str, limit: Duration, watchdog: &mut Link, what: &'static str) -> Result<(), Error> {
        let id = self.id();
        let mut statement = std::pin::pin!(self.run(sql));
        if let Ok(result) = tokio::time::timeout(limit, &mut statement).await {
            return result;
        }
        match tokio::time::timeout(KILL_PATIENCE, watchdog.kill_query(id)).await {
            Ok(killed) => killed?,
            Err(_) => return Err(Error::Lost(format!("KILL QUERY {id}, to end {what}, is not answered"))),
        }
        match tokio::time::timeout(KILL_PATIENCE, statement).await {
            Ok(Err(error)) if matches!(error.code(), Some(1317 | 1205 | 3024)) => Err(Error::TooLong(limit, what)),
            Ok(result) => result,
            Err(_) => Err(Error::Lost(format!("the server does not end {what}, not even after KILL QUERY {id}"))),
        }
    }

    /// Ends the statement that another connection runs. That it runs none is no error.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn kill_query(&mut self, id: u32) -> Result<(), Error> {
        match self.run(&format!("KILL QUERY {id}")).await {
            Err(Error::Server { code: 1094, .. }) => Ok(()),
            other => other,
        }
    }

    /// Ends another connection. That it is gone already is no error.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn kill(&mut self, id: u32) -> Result<(), Error> {
        match self.run(&format!("KILL {id}")).await {
            Err(Error::Server { code: 1094, .. }) => Ok(()),
            other => other,
        }
    }

    /// The end of the server's binary log.
    ///
    /// # Errors
    /// [`Error::Unexpected`] where binary logging is off.
    pub async fn position(&mut self, facts: &Facts) -> Result<Position, Error> {
        Ok(self.place(facts).await?.0)
    }

    /// The end of the binary log, and on MySQL the ids of transactions that were executed before it; empty where it has none.
    ///
    /// # Errors
    /// [`Error::Unexpected`] where binary logging is off.
    pub async fn place(&mut self, facts: &Facts) -> Result<(Position, String), Error> {
        let rows = self.texts(facts.position_statement()).await?;
        let row = rows.first().ok_or_else(|| Error::Unexpected("the server writes no binary log".into()))?;
        match row.as_slice() {
            [file, position, ..] => Position::new(file, position.parse().unwrap_or(0))
                .map(|place| (place, row.get(4).map_or(String::new(), |gtids| gtids.replace('\n', ""))))
                .ok_or_else(|| Error::Unexpected(format!("binary log position {file}:{position}"))),
            _ => Err(Error::Unexpected("a binary log status without columns".into())),
        }
    }

    /// The ids of all transactions that the server has executed; empty where it gives them none.
    ///
    /// # Errors
    /// As the server or the network says.
    pub async fn executed_gtids(&mut self, facts: &Facts) -> Result<String, Error> {
        let sql = if facts.is_mariadb {
            "SELECT @@GLOBAL.gtid_binlog_pos"
        } else {
            "SELECT IF(@@GLOBAL.gtid_mode = 'ON', @@GLOBAL.gtid_executed, '')"
        };
        Ok(self.cell(sql).await?.unwrap_or_default().replace('\n', ""))
    }

    /// Gives the driver's connection away, to become a binary log stream.
    pub fn into_conn(self) -> Conn {
        self.conn
    }

    /// Closes the connection in an orderly way.
    pub async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.conn.disconnect()).await;
    }
}

/// A text as an SQL literal that does not depend on sql_mode or connection charset.
pub fn literal(text: &str) -> String {
    if text.is_empty() {
        return "''".into();
    }
    let mut literal = String::with_capacity(text.len() * 2 + 12);
    literal.push_str("_utf8mb4 X'");
    for byte in text.bytes() {
        let _ = std::fmt::Write::write_fmt(&mut literal, format_args!("{byte:02X}"));
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_out_of_the_info_line() {
        let done = Done { info: "Records: 120  Duplicates: 3  Warnings: 0".into(), ..Done::default() };
        assert_eq!(done.info_number("Records"), Some(120));
        assert_eq!(done.info_number("Duplicates"), Some(3));
        assert_eq!(done.info_number("Nothing"), None);
    }

    #[test]
    fn literals_carry_their_charset() {
        assert_eq!(literal("a'\\"), "_utf8mb4 X'61275C'");
        assert_eq!(literal(""), "''");
    }
}
