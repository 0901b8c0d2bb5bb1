//! Follows the server's binary log and notes the keys of the source that it mentions.
//!
//! Owns: the binlog stream of one migration. Never: row values other than keys.
//! Invariants: I-E2 (what it notes is only ever a reason to look at the row, never the row), and [`Tail::reached`] moves
//! only after everything before it was noted.
//! An event of a kind that is not known ends the migration: silence would be loss.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use mysql_async::binlog::events::{Event, QueryEvent, RotateEvent};
use mysql_async::{BinlogStream, BinlogStreamRequest};
use tokio::sync::watch;

mod after;
mod judge;
mod source;

pub use source::Source;

use super::apply::pending::{Op, Pending};
use super::bypass::Witness;
use super::error::Error;
use crate::schema::binlog_row::{RowsEvent, RowsKind, TableMap};
use crate::schema::key::Key;
use crate::upstream::{self, Facts, Link, Position, Server};

/// The server sends a heartbeat every second; so long a silence means that it is gone.
const SILENCE: Duration = Duration::from_secs(15);

/// Numbers of event types, from the manual and, from 160 on, MariaDB's.
mod kind {
    pub(super) const QUERY: u8 = 0x02;
    pub(super) const ROTATE: u8 = 0x04;
    pub(super) const XID: u8 = 0x10;
    pub(super) const BEGIN_LOAD_QUERY: u8 = 0x11;
    pub(super) const EXECUTE_LOAD_QUERY: u8 = 0x12;
    pub(super) const TABLE_MAP: u8 = 0x13;
    pub(super) const HEARTBEAT: u8 = 0x1b;
    pub(super) const GTID: u8 = 0x21;
    pub(super) const ANONYMOUS_GTID: u8 = 0x22;
    pub(super) const TRANSACTION_PAYLOAD: u8 = 0x28;
    pub(super) const HEARTBEAT_V2: u8 = 0x29;
    pub(super) const GTID_TAGGED: u8 = 0x2a;
    pub(super) const MARIADB_GTID: u8 = 162;
    /// The last of MariaDB's events that cannot carry rows.
    pub(super) const MARIADB_START_ENCRYPTION: u8 = 164;

    pub(super) fn begins_transaction(kind: u8) -> bool {
        matches!(kind, GTID | ANONYMOUS_GTID | GTID_TAGGED | MARIADB_GTID)
    }
}

/// How far the tail has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Everything before this was noted.
    pub position: Position,
    /// Where the transaction that it reads begins: a place to start again from.
    pub boundary: Position,
    /// The swap that it was to wait for lies behind it.
    pub is_turned: bool,
}

/// Waits until the tail has noted everything before a place; `false` where it has not in time, or has ended.
pub async fn reaches(reached: &mut watch::Receiver<Reached>, position: &Position, within: Duration) -> bool {
    let there = reached.wait_for(|reached| reached.position >= *position);
    matches!(tokio::time::timeout(within, there).await, Ok(Ok(_)))
}

/// How a swap appears in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn(String);

impl Turn {
    /// The swap that these names belong to: it put the source under the retired name.
    pub fn at_swap(names: &super::shadow::Names) -> Self {
        Self(format!("{} TO {}", names.source.quoted(), names.retired.quoted()))
    }

    fn is(&self, statement: &[u8]) -> bool {
        let mut cursor = crate::sql::token::Cursor::new(statement);
        cursor.eat("RENAME") && memchr::memmem::find(statement, self.0.as_bytes()).is_some()
    }
}

/// Where a tail begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a place in this server's log.
    At(Position),
    /// Behind these transactions, wherever they are in this server's log: it was another server's place.
    After(String),
}

impl std::fmt::Display for Start {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(position) => position.fmt(out),
            Self::After(gtids) => write!(out, "after {gtids}"),
        }
    }
}

/// A running tail.
pub struct Tail {
    stream: BinlogStream,
    source: Source,
    pending: Arc<Pending<Key>>,
    sender: watch::Sender<Reached>,
    position: Position,
    boundary: Position,
    table_id: Option<u64>,
    /// I-C4: the swap after which the source's name means the table that is followed; nothing before it counts.
    turn: Option<Turn>,
    /// The end of the compressed transaction whose events are coming.
    payload_end: Option<u64>,
    /// Tells whose transactions did not come through the proxy.
    witness: Witness,
    /// The connection that wrote the transaction, until the witness has been told.
    writer: Option<u64>,
}

impl Tail {
    /// Opens the stream at a position; with a `turn`, nothing before that swap is noted (I-C4).
    ///
    /// # Errors
    /// As the server says; 1236 where it no longer has that part of the log.
    pub async fn open(
        server: &Server,
        facts: &Facts,
        source: Source,
        pending: Arc<Pending<Key>>,
        start: &Start,
        witness: Witness,
        turn: Option<Turn>,
    ) -> Result<(Self, watch::Receiver<Reached>), Error> {
        let mut link: Link = server.connect().await?;
        link.run("SET @master_heartbeat_period = 1000000000, @source_heartbeat_period = 1000000000").await?;
        if facts.is_mariadb {
            // Without it MariaDB refuses to send some of its own events.
            link.run("SET @mariadb_slave_capability = 4").await?;
        }
        let server_id = 0xE000_0000 | (link.id().wrapping_mul(2_654_435_761) & 0x0FFF_FFFF) ^ (std::process::id() & 0xFFFF);
        let (stream, start, first) = match start {
            Start::At(position) => {
                let request = BinlogStreamRequest::new(server_id).with_filename(position.file.as_bytes()).with_pos(position.offset);
                let stream = link.into_conn().get_binlog_stream(request).await.map_err(upstream::Error::from)?;
                (stream, position.clone(), None)
            }
            Start::After(gtids) => after::open(link, facts, gtids, server_id).await?,
        };
        let (sender, receiver) = watch::channel(Reached { position: start.clone(), boundary: start.clone(), is_turned: turn.is_none() });
        let mut tail = Self {
            stream,
            source,
            pending,
            sender,
            position: start.clone(),
            boundary: start.clone(),
            table_id: None,
            turn,
            payload_end: None,
            witness,
            writer: None,
        };
        if let Some(event) = first {
            tail.take(&event)?;
        }
        Ok((tail, receiver))
    }

    /// Reads until something ends it; it never ends well.
    ///
    /// # Cancel safety
    /// What was noted stays noted; the tail itself cannot go on.
    pub async fn run(mut self) -> Error {
        loop {
            while self.pending.is_full() {
                // The log waits on the server; memory here is bounded.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let event = match tokio::time::timeout(SILENCE, self.stream.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return upstream::Error::from(error).into(),
                Ok(None) => return upstream::Error::Lost("the binary log stream ended".into()).into(),
                Err(_) => return upstream::Error::Lost(format!("the binary log stream was silent for {SILENCE:?}")).into(),
            };
            if let Err(error) = crate::failpoints::reach("tail.event").await {
                return error.into();
            }
            if let Err(error) = self.take(&event) {
                return error;
            }
        }
    }

    fn take(&mut self, event: &Event) -> Result<(), Error> {
        let header = event.header();
        let (kind, end) = (header.event_type_raw(), self.whole_offset(header.log_pos()));
        if kind::begins_transaction(kind) {
            if self.payload_end.is_some() {
                return Err(Error::Changed("a compressed transaction in the binary log could not be read; set binlog_transaction_compression = OFF and start again".into()));
            }
            self.begin_transaction();
            self.writer = None;
        }
        let mut ends_payload = false;
        match kind {
            kind::ROTATE => return self.rotate(event),
            kind::TABLE_MAP => self.map_table(event)?,
            kind::QUERY => ends_payload = self.query(event)?,
            kind::XID => ends_payload = true,
            kind::BEGIN_LOAD_QUERY | kind::EXECUTE_LOAD_QUERY if self.turn.is_none() && self.source.is_named_in(event.data()) => {
                return Err(judge::logged_as_statement(&self.source));
            }
            kind::TRANSACTION_PAYLOAD => {
                self.payload_end = Some(end);
                return Ok(());
            }
            kind if RowsKind::of_event(kind).is_some() => self.rows(kind, event)?,
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => {}
            kind if kind > kind::MARIADB_START_ENCRYPTION => {
                return Err(Error::Changed(
                    "the server writes compressed events to its binary log; SET GLOBAL log_bin_compress = OFF and start again".into(),
                ));
            }
            kind if kind > kind::GTID_TAGGED && kind < 160 && header.flags_raw() & 0x80 == 0 => {
                return Err(Error::Changed(format!("the binary log holds an event of the unknown kind {kind} at {}", self.position)));
            }
            _ => {}
        }
        match self.payload_end {
            // Positions inside a compressed transaction mean nothing; its end does, once everything in it was noted.
            Some(payload_end) if ends_payload => {
                self.payload_end = None;
                self.advance(payload_end);
            }
            Some(_) => {}
            None => self.advance(end),
        }
        Ok(())
    }

    /// The offset of which an event carries only the lower 32 bits.
    fn whole_offset(&self, low: u32) -> u64 {
        let here = self.position.offset;
        let same = here & !0xFFFF_FFFF | u64::from(low);
        if here.saturating_sub(same) > 1 << 31 && low != 0 { same + (1 << 32) } else { same }
    }

    /// What lies before the turn is read again after a crash: the boundary stays.
    fn begin_transaction(&mut self) {
        if self.turn.is_none() {
            self.boundary = self.position.clone();
        }
    }

    fn advance(&mut self, end: u64) {
        if end > self.position.offset {
            self.position.offset = end;
        }
        self.sender.send_if_modified(|reached| {
            let is_new = reached.position != self.position || reached.boundary != self.boundary;
            if is_new {
                let is_turned = self.turn.is_none();
                *reached = Reached { position: self.position.clone(), boundary: self.boundary.clone(), is_turned };
            }
            is_new
        });
    }

    fn rotate(&mut self, event: &Event) -> Result<(), Error> {
        let rotate =
            event.read_event::<RotateEvent<'_>>().map_err(|error| upstream::Error::Unexpected(format!("a rotate event: {error}")))?;
        let name = rotated_to(rotate.name_raw(), &self.position.file);
        if let Some(position) = Position::new(&name, rotate.position())
            && position > self.position
        {
            self.position = position;
            self.begin_transaction();
            self.table_id = None;
            self.advance(0);
        }
        Ok(())
    }

    fn map_table(&mut self, event: &Event) -> Result<(), Error> {
        if self.turn.is_some() {
            return Ok(());
        }
        let map = TableMap::parse(event.data()).map_err(|error| self.unreadable(&error))?;
        if self.source.is(map.schema, map.table) {
            self.source.learn(&map).map_err(|error| self.unreadable(&error))?;
            self.table_id = Some(map.table_id);
        } else if self.table_id == Some(map.table_id) {
            self.table_id = None;
        }
        Ok(())
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> Error {
        Error::Changed(format!("the binary log near {} cannot be followed: {error}; start the migration again", self.position))
    }

    fn rows(&mut self, kind: u8, event: &Event) -> Result<(), Error> {
        let Some(rows) = RowsEvent::parse(kind, event.data()).map_err(|error| self.unreadable(&error))? else { return Ok(()) };
        if self.table_id != Some(rows.table_id) {
            return Ok(());
        }
        if let Some(writer) = self.writer.take() {
            self.witness.saw(writer, u64::from(event.header().timestamp()));
        }
        for change in self.source.decode(&rows).map_err(|error| self.unreadable(&error))? {
            match (rows.kind, change.before, change.after) {
                (RowsKind::Update | RowsKind::PartialUpdate, Some(before), Some(after)) => {
                    if before == after {
                        self.pending.note(after, Op::Upsert, &self.boundary);
                    } else {
                        self.pending.note_moved(before, after, &self.boundary);
                    }
                }
                (RowsKind::Write, _, Some(after)) => self.pending.note_new(after, &self.boundary),
                (RowsKind::Delete, Some(before), _) => self.pending.note(before, Op::Delete, &self.boundary),
                _ => {
                    return Err(Error::Changed(format!(
                        "a row of {} in the binary log near {} has no key",
                        self.source.table(),
                        self.position
                    )));
                }
            }
        }
        Ok(())
    }

    /// Judges a statement in the log; `true` where it ends a transaction.
    fn query(&mut self, event: &Event) -> Result<bool, Error> {
        let query = event.read_event::<QueryEvent<'_>>().map_err(|error| upstream::Error::Unexpected(format!("a query event: {error}")))?;
        // F13: MySQL's first event of a transaction tells who wrote it.
        self.writer = Some(u64::from(query.thread_id()));
        if let Some(turn) = &self.turn {
            if turn.is(query.query_raw()) && query.error_code() == 0 {
                self.turn = None;
                self.boundary = self.position.at(self.whole_offset(event.header().log_pos()));
            }
            return Ok(judge::ends_transaction(query.query_raw()));
        }
        judge::query(&self.source, query.query_raw(), &query.schema())
    }
}

/// The file that a rotate event names. MariaDB's first one carries its checksum behind the name, four bytes that may be digits
/// themselves: a name that is the current one, or the next, without some of the last bytes, is that one. A wrong file would be
/// a place ahead of the tail, and every fence would seem to be reached.
fn rotated_to(raw: &[u8], current: &str) -> String {
    let number = |name: &str| Position::new(name, 0).map(|position| position.sequence());
    if shortened(raw).any(|name| name == current) {
        return current.to_owned();
    }
    let next = number(current).map(|number| number + 1);
    if let Some(name) = shortened(raw).find(|name| next.is_some() && number(name) == next) {
        return name.to_owned();
    }
    let name = String::from_utf8_lossy(raw);
    let digits_from = name.rfind('.').map_or(0, |at| at + 1);
    let digits = name.get(digits_from..).map_or(0, |tail| tail.bytes().take_while(u8::is_ascii_digit).count());
    name.get(..digits_from + digits).unwrap_or_default().to_owned()
}

/// The name with none, one and up to four of its last bytes left out.
fn shortened(raw: &[u8]) -> impl Iterator<Item = &str> {
    (0..=4).filter_map(|less| std::str::from_utf8(raw.get(..raw.len().checked_sub(less)?)?).ok())
}

#[cfg(test)]
mod tests {
    use super::rotated_to;

    #[test]
    fn a_checksum_behind_a_name_is_never_part_of_it() {
        for (raw, current, name) in [
            (b"binlog.000001".as_slice(), "binlog.000001", "binlog.000001"),
            (b"binlog.0000011\x80\xff.", "binlog.000001", "binlog.000001"),
            (b"binlog.0000011234", "binlog.000001", "binlog.000001"),
            (b"binlog.000001\x31\x00\x00\x00", "binlog.000001", "binlog.000001"),
            (b"binlog.0000021abc", "binlog.000001", "binlog.000002"),
            (b"binlog.000002", "binlog.000001", "binlog.000002"),
            (b"binlog.1000000", "binlog.999999", "binlog.1000000"),
            (b"binlog.000010", "binlog.000009", "binlog.000010"),
            (b"binlog.000017", "binlog.000001", "binlog.000017"),
        ] {
            assert_eq!(rotated_to(raw, current), name, "{}", String::from_utf8_lossy(raw));
        }
    }
}
