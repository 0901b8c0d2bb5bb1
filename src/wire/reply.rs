//! Where the reply to a command ends, whatever the pieces in which it comes.
//!
//! Owns: the one state machine over the server's packets.
//! Never: a byte of a reply is kept, beyond the beginning of one packet (I-P2).
//! Invariants: I-P3 (nonsense from the server is [`Malformed`], not a guess).
//!
//! ```text
//!  First ──count──▶ Columns ──▶ ColumnsEnd ──▶ Rows ──EOF──▶ end, or First (more results)
//!    │ OK ──▶ end, or First (more results)       └──ERR──▶ end
//!    └ fb ──▶ First (the client sends its file meanwhile)
//! ```

use super::answer::{
    CURSOR_EXISTS, IN_TRANSACTION, MORE_RESULTS, OUT_PARAMETERS, SESSION_STATE_CHANGED, eof_status, error_code, ok_status,
};
use super::capabilities::{DEPRECATE_EOF, MARIADB_CACHE_METADATA, MARIADB_PROGRESS, OPTIONAL_RESULTSET_METADATA, SESSION_TRACK};
use super::packet::{CHUNK_MAX, Fields, HEADER, Passed, Walker};

/// What kind of reply a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// None at all.
    None,
    /// OK, ERR, EOF, a file request, or result sets.
    Result {
        /// What a cursor makes of it.
        cursor: Cursor,
    },
    /// An OK with a statement id, then definitions.
    Prepare,
    /// Rows only.
    Fetch,
    /// Column definitions without a count.
    FieldList,
    /// One packet of text.
    Text,
    /// A dialogue that an OK or an ERR ends.
    Login,
    /// It never ends (a binlog dump).
    Endless,
}

/// What a cursor makes of the reply to a COM_STMT_EXECUTE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Nothing: rows follow the column definitions.
    None,
    /// One was asked for: the reply may end after the column definitions.
    Asked,
    /// None was asked for, but one was at the statement's first execution: MySQL still opens it, says so by an OK behind the
    /// column definitions, and sends no rows.
    Kept,
}

/// What was prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The statement's id.
    pub id: u32,
    /// Number of its parameters.
    pub parameters: u16,
    /// Number of columns of its result.
    pub columns: u16,
}

/// How a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The status flags of its last packet; `None` where it carries none (ERR, PREPARE, text).
    pub status: Option<u16>,
    /// The code of the ERR that ended it.
    pub error: Option<u16>,
    /// What a COM_STMT_PREPARE gave.
    pub prepared: Option<Prepared>,
}

impl End {
    const PLAIN: Self = Self { status: None, error: None, prepared: None };

    fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::PLAIN }
    }

    /// `true` where the status flags say that a transaction is open.
    pub fn is_in_transaction(&self) -> bool {
        self.status.is_some_and(|status| status & IN_TRANSACTION != 0)
    }
}

/// What the bytes that were fed told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The reply goes on.
    More,
    /// A result has ended, and another one follows in the same reply.
    Next,
    /// The server asks for a file: the client sends now, until its empty packet; then the reply goes on.
    FileWanted,
    /// The reply has ended with the last byte that was taken.
    Ended(End),
}

/// The server sent what no reply looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a packet that fits no reply while {0} was expected")]
pub struct Malformed(&'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    First,
    Columns(u64),
    ColumnsEnd,
    RowsOrOk,
    Rows,
    PrepareFirst,
    Definitions(u64),
    Fields,
    Text,
    Login,
    Endless,
}

/// Follows replies, one after another.
#[derive(Clone, Debug)]
pub struct Tracker {
    walker: Walker,
    phase: Phase,
    capabilities: u64,
    cursor: Cursor,
    has_out_parameters: bool,
    prepared: Option<Prepared>,
    sequence: u8,
}

impl Tracker {
    /// `capabilities`: what server and client have both agreed to.
    pub fn new(capabilities: u64) -> Self {
        Self {
            walker: Walker::default(),
            phase: Phase::Idle,
            capabilities,
            cursor: Cursor::None,
            has_out_parameters: false,
            prepared: None,
            sequence: 0,
        }
    }

    /// The sequence number of the last packet that was no row.
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Expects the next reply. [`Shape::None`] must not come here: there is nothing to wait for.
    pub fn begin(&mut self, shape: Shape) {
        self.cursor = if let Shape::Result { cursor } = shape { cursor } else { Cursor::None };
        self.has_out_parameters = false;
        self.prepared = None;
        self.phase = match shape {
            Shape::None => Phase::Idle,
            Shape::Result { .. } => Phase::First,
            Shape::Prepare => Phase::PrepareFirst,
            Shape::Fetch => Phase::Rows,
            Shape::FieldList => Phase::Fields,
            Shape::Text => Phase::Text,
            Shape::Login => Phase::Login,
            Shape::Endless => Phase::Endless,
        };
    }

    /// `true` while no reply is expected.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Takes the server's bytes up to the next thing worth telling. Returns how many were taken.
    ///
    /// # Errors
    /// [`Malformed`] where a packet fits no reply; the place in the stream is lost then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Progress), Malformed> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..)
            && !rest.is_empty()
        {
            if matches!(self.phase, Phase::Idle | Phase::Endless) {
                return Ok((bytes.len(), Progress::More));
            }
            if self.phase == Phase::Rows && self.walker.is_between() {
                let rows = whole_rows(rest);
                if rows > 0 {
                    used += rows;
                    continue;
                }
            }
            let mut walker = std::mem::take(&mut self.walker);
            let (taken, passed) = walker.next(rest);
            let told = passed.map_or(Ok(Progress::More), |passed| {
                self.sequence = passed.sequence;
                self.packet(&passed)
            });
            self.walker = walker;
            used += taken;
            match told? {
                Progress::More => {}
                Progress::Ended(end) => {
                    self.phase = Phase::Idle;
                    return Ok((used, Progress::Ended(end)));
                }
                told @ (Progress::Next | Progress::FileWanted) => return Ok((used, told)),
            }
        }
        Ok((used, Progress::More))
    }

    fn has(&self, capability: u64) -> bool {
        self.capabilities & capability != 0
    }

    fn packet(&mut self, packet: &Passed<'_>) -> Result<Progress, Malformed> {
        let first = packet.prefix.first().copied();
        if first == Some(0xff) && self.phase != Phase::Text {
            let code = error_code(packet.prefix).ok_or(Malformed("an error"))?;
            if code == 0xffff && self.has(MARIADB_PROGRESS) {
                return Ok(Progress::More);
            }
            return Ok(Progress::Ended(End { error: Some(code), ..End::PLAIN }));
        }
        match self.phase {
            Phase::First => self.first(packet),
            Phase::Columns(left) => {
                self.phase = if left > 1 { Phase::Columns(left - 1) } else { self.after_columns() };
                Ok(Progress::More)
            }
            Phase::ColumnsEnd => self.columns_end(packet),
            Phase::RowsOrOk => match self.ok_for_rows(packet) {
                Some(status) => Ok(self.result_end(status)),
                None => {
                    self.phase = Phase::Rows;
                    self.row(packet)
                }
            },
            Phase::Rows => self.row(packet),
            Phase::PrepareFirst => self.prepare_first(packet),
            Phase::Definitions(left) => {
                self.phase = Phase::Definitions(left.saturating_sub(1));
                Ok(if left <= 1 { self.prepared_end() } else { Progress::More })
            }
            Phase::Fields if self.is_end(packet) => {
                Ok(Progress::Ended(End::status(self.end_status(packet).ok_or(Malformed("the end of a list of columns"))?)))
            }
            Phase::Fields => Ok(Progress::More),
            Phase::Text => {
                let error = if first == Some(0xff) { error_code(packet.prefix) } else { None };
                Ok(Progress::Ended(End { error, ..End::PLAIN }))
            }
            Phase::Login => match first {
                Some(0) => Ok(Progress::Ended(End::status(ok_status(packet.prefix).ok_or(Malformed("the end of a login"))?))),
                _ => Ok(Progress::More),
            },
            Phase::Idle | Phase::Endless => Ok(Progress::More),
        }
    }

    fn first(&mut self, packet: &Passed<'_>) -> Result<Progress, Malformed> {
        match packet.prefix.first() {
            Some(0) => {
                let status = ok_status(packet.prefix).ok_or(Malformed("an OK"))?;
                Ok(self.result_end(status))
            }
            Some(0xfb) => Ok(Progress::FileWanted),
            // COM_SET_OPTION and COM_DEBUG answer with an EOF, or with an OK that looks like one.
            Some(0xfe) if packet.first_length <= 5 || self.is_end(packet) => {
                let status = self.end_status(packet).ok_or(Malformed("an EOF"))?;
                Ok(self.result_end(status))
            }
            _ => {
                let mut fields = Fields::new(packet.prefix);
                let count = fields.length().ok_or(Malformed("a number of columns"))?;
                let may_be_absent = self.has(OPTIONAL_RESULTSET_METADATA) || self.has(MARIADB_CACHE_METADATA);
                let is_absent = may_be_absent && fields.byte() == Some(0);
                self.phase = if is_absent || count == 0 { self.after_columns() } else { Phase::Columns(count) };
                Ok(Progress::More)
            }
        }
    }

    fn after_columns(&self) -> Phase {
        match (self.has(DEPRECATE_EOF), self.cursor) {
            (false, _) => Phase::ColumnsEnd,
            (true, Cursor::Kept) => Phase::RowsOrOk,
            (true, _) => Phase::Rows,
        }
    }

    /// The status flags of an OK in place of rows. A row begins with 00 as well, but hardly ever looks like an OK that has
    /// changed nothing.
    fn ok_for_rows(&self, packet: &Passed<'_>) -> Option<u16> {
        let status = ok_status(packet.prefix)?;
        let tells_changes = self.has(SESSION_TRACK) && status & SESSION_STATE_CHANGED != 0;
        (packet.prefix.starts_with(&[0, 0, 0]) && (packet.first_length == 7 || tells_changes)).then_some(status)
    }

    fn columns_end(&mut self, packet: &Passed<'_>) -> Result<Progress, Malformed> {
        if packet.prefix.first() == Some(&0) {
            // MySQL ends so, without rows, a statement that is executed without a cursor after it had one.
            return Ok(self.result_end(ok_status(packet.prefix).ok_or(Malformed("the end of column definitions"))?));
        }
        if !self.is_end(packet) {
            return Err(Malformed("the end of column definitions"));
        }
        let status = eof_status(packet.prefix).ok_or(Malformed("the end of column definitions"))?;
        if self.cursor == Cursor::Asked && status & CURSOR_EXISTS != 0 {
            return Ok(Progress::Ended(End::status(status)));
        }
        self.has_out_parameters = status & OUT_PARAMETERS != 0;
        self.phase = Phase::Rows;
        Ok(Progress::More)
    }

    fn row(&mut self, packet: &Passed<'_>) -> Result<Progress, Malformed> {
        if !self.is_end(packet) {
            return Ok(Progress::More);
        }
        let status = self.end_status(packet).ok_or(Malformed("the end of rows"))?;
        // MySQL forgets MORE_RESULTS after the row of OUT parameters, and yet sends a last OK.
        let follows = if self.has_out_parameters { status | MORE_RESULTS } else { status };
        self.has_out_parameters = false;
        Ok(self.result_end(follows))
    }

    fn result_end(&mut self, status: u16) -> Progress {
        if status & MORE_RESULTS != 0 {
            self.phase = Phase::First;
            return Progress::Next;
        }
        Progress::Ended(End::status(status))
    }

    /// `true` for the packet that ends rows or definitions: a row may begin with fe as well, but is longer then.
    fn is_end(&self, packet: &Passed<'_>) -> bool {
        let limit = if self.has(DEPRECATE_EOF) { CHUNK_MAX } else { 9 };
        packet.prefix.first() == Some(&0xfe) && packet.first_length < limit
    }

    fn end_status(&self, packet: &Passed<'_>) -> Option<u16> {
        if packet.first_length <= 5 { eof_status(packet.prefix) } else { ok_status(packet.prefix) }
    }

    fn prepare_first(&mut self, packet: &Passed<'_>) -> Result<Progress, Malformed> {
        let read = || {
            let mut fields = Fields::new(packet.prefix);
            if fields.byte()? != 0 {
                return None;
            }
            let id = u32::try_from(fields.integer(4)?).ok()?;
            let columns = u16::try_from(fields.integer(2)?).ok()?;
            let parameters = u16::try_from(fields.integer(2)?).ok()?;
            fields.bytes(3)?;
            Some((Prepared { id, parameters, columns }, fields.byte()))
        };
        let (prepared, follows) = read().ok_or(Malformed("a prepared statement"))?;
        self.prepared = Some(prepared);
        let is_absent = self.has(OPTIONAL_RESULTSET_METADATA) && follows == Some(0);
        let list = |count: u16| match count {
            0 => 0,
            _ => (if is_absent { 0 } else { u64::from(count) }) + u64::from(!self.has(DEPRECATE_EOF)),
        };
        let left = list(prepared.parameters) + list(prepared.columns);
        if left == 0 {
            return Ok(self.prepared_end());
        }
        self.phase = Phase::Definitions(left);
        Ok(Progress::More)
    }

    fn prepared_end(&self) -> Progress {
        Progress::Ended(End { prepared: self.prepared, ..End::PLAIN })
    }
}

/// How many of these bytes are whole packets that can be nothing but rows.
fn whole_rows(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some([a, b, c, _, first, ..]) = bytes.get(at..) {
        let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        let end = at + HEADER + length;
        if *first >= 0xfe || length == 0 || length == CHUNK_MAX || end > bytes.len() {
            break;
        }
        at = end;
    }
    at
}

#[cfg(test)]
mod tests;
