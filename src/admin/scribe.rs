//! Writes answers of the text protocol with opensrv-mysql.
//!
//! Owns: one opensrv server for each admin session, at the far end of a pipe, and the near end of that pipe.
//! Never: lets it see a client's bytes. It has a use-after-free on pipelined packets and answers commands that it does not
//! know with OK, so it gets exactly one COM_QUERY of ours at a time and is asked for the next only when its answer is out.
//! The packets it writes lack three things, which are put in here: status flags, MariaDB's extended metadata, character sets.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, OkResponse, ParamParser, QueryResultWriter,
    StatementMetaWriter,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf};

use super::answer::{Answer, Kind, Rows, Value};
use super::packet::{Capabilities, put_text, set_autocommit, take_text};

/// The pipe's capacity: a bound on what is on its way, not on an answer.
const PIPE_BYTES: usize = 64 * 1024;

/// CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH: what its login needs.
const LOGIN: u32 = 1 << 9 | 1 << 15 | 1 << 19;

/// CLIENT_CONNECT_WITH_DB, CLIENT_SSL, CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA: what its login must not see.
const NOT_IN_LOGIN: u32 = 1 << 3 | 1 << 11 | 1 << 21;

type Running = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// The answer to be written next.
type Slot = Arc<Mutex<Option<Answer>>>;

/// Turns answers into packets.
pub(super) struct Scribe {
    running: Running,
    near: DuplexStream,
    next: Slot,
    capabilities: Capabilities,
}

impl Scribe {
    /// Starts opensrv and logs in to it with the client's own capabilities.
    ///
    /// # Errors
    /// Where it does not answer as expected.
    pub(super) async fn new(capabilities: Capabilities) -> io::Result<Self> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let next = Slot::default();
        let (reader, writer) = tokio::io::split(far);
        let running = Box::pin(AsyncMysqlIntermediary::run_on(Shim { next: next.clone() }, reader, writer));
        let mut scribe = Self { running, near, next, capabilities };
        let login = login(capabilities);
        scribe
            .exchange(async |near| {
                receive(near).await?; // its greeting
                send(near, 1, &login).await?;
                receive(near).await // its OK
            })
            .await?;
        Ok(scribe)
    }

    /// Writes an answer: the payloads of its packets, to be numbered by the caller.
    ///
    /// # Errors
    /// Where opensrv ended or wrote something else than a whole answer.
    pub(super) async fn write(&mut self, answer: Answer) -> io::Result<Vec<Vec<u8>>> {
        let eof = usize::from(!self.capabilities.deprecate_eof());
        let (columns, rows) = match &answer {
            Answer::Ok => (Vec::new(), 0),
            Answer::Rows(rows) => (rows.columns.iter().map(|column| column.kind).collect(), rows.rows.len()),
        };
        // One number of columns, the columns, perhaps an EOF, the rows, the end; or one OK.
        let count = if columns.is_empty() { 1 } else { 1 + columns.len() + eof + rows + 1 };
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        let mut packets = self
            .exchange(async |near| {
                send(near, 0, b"\x03ANSWER").await?;
                let mut packets = Vec::with_capacity(count);
                for _ in 0..count {
                    packets.push(receive(near).await?);
                }
                Ok(packets)
            })
            .await?;
        if packets.last().and_then(|last| last.first()) == Some(&0xFF) {
            return Err(io::Error::other("the answer's end is an error"));
        }
        self.complete(&mut packets, &columns)?;
        Ok(packets)
    }

    /// Puts in what opensrv leaves out.
    fn complete(&self, packets: &mut [Vec<u8>], columns: &[Kind]) -> io::Result<()> {
        if let Some(last) = packets.last_mut() {
            set_autocommit(last);
        }
        if columns.is_empty() {
            return Ok(());
        }
        if !self.capabilities.deprecate_eof()
            && let Some(eof) = packets.get_mut(1 + columns.len())
        {
            set_autocommit(eof);
        }
        if let Some(count) = packets.first_mut() {
            announce_metadata(count, self.capabilities);
        }
        for (definition, kind) in packets.iter_mut().skip(1).zip(columns) {
            let fixed = fixed_part(definition).ok_or_else(|| io::Error::other("a column definition is cut short"))?;
            // The part is: its length 0x0C, then the character set in two bytes.
            if let Some(set) = definition.get_mut(fixed + 1..fixed + 3) {
                set.copy_from_slice(&character_set(*kind).to_le_bytes());
            }
            if self.capabilities.extended_metadata() {
                definition.insert(fixed, 0x00);
            }
        }
        Ok(())
    }

    /// Runs opensrv while `talk` talks to it.
    async fn exchange<T>(&mut self, talk: impl AsyncFnOnce(&mut DuplexStream) -> io::Result<T>) -> io::Result<T> {
        tokio::select! {
            biased;
            said = talk(&mut self.near) => said,
            ended = &mut self.running => Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Puts the byte that says that columns follow beside their number.
pub(super) fn announce_metadata(count: &mut Vec<u8>, capabilities: Capabilities) {
    if capabilities.cache_metadata() {
        count.push(1);
    }
    if capabilities.optional_metadata() {
        count.insert(0, 1);
    }
}

/// utf8mb4_general_ci for texts, binary for numbers.
pub(super) fn character_set(kind: Kind) -> u16 {
    match kind {
        Kind::Text => 45,
        Kind::Integer | Kind::Double => 63,
    }
}

/// Where a column definition's fixed part begins: after catalog, schema, table, its original, name, its original.
fn fixed_part(definition: &[u8]) -> Option<usize> {
    let mut rest = definition;
    for _ in 0..6 {
        take_text(&mut rest)?;
    }
    Some(definition.len() - rest.len())
}

/// HandshakeResponse41 with a user and an answer that nobody looks at.
fn login(capabilities: Capabilities) -> Vec<u8> {
    #[allow(clippy::cast_possible_truncation)]
    let flags = (capabilities.0 as u32 | LOGIN) & !NOT_IN_LOGIN;
    let mut payload = Vec::new();
    payload.extend(flags.to_le_bytes());
    payload.extend((1_u32 << 24).to_le_bytes());
    payload.push(45);
    payload.extend([0; 23]);
    payload.extend(b"admin\0");
    put_text(&mut payload, b"x");
    payload.extend(b"mysql_native_password\0");
    payload
}

async fn send(near: &mut DuplexStream, sequence: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], sequence];
    packet.extend(payload);
    near.write_all(&packet).await
}

async fn receive(near: &mut DuplexStream) -> io::Result<Vec<u8>> {
    let mut header = [0; 4];
    near.read_exact(&mut header).await?;
    let mut payload = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16];
    near.read_exact(&mut payload).await?;
    Ok(payload)
}

struct Shim {
    next: Slot,
}

type Out = WriteHalf<DuplexStream>;

// Written out as async_trait would expand it, so that the crate is not needed for six functions.
type Done<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

impl AsyncMysqlShim<Out> for Shim {
    type Error = io::Error;

    fn on_query<'a, 'async_trait>(&'a mut self, _query: &'a str, results: QueryResultWriter<'a, Out>) -> Done<'async_trait>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        let answer = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            match answer {
                Some(Answer::Ok) => results.completed(OkResponse::default()).await,
                Some(Answer::Rows(rows)) => write_rows(rows, results).await,
                None => results.error(ErrorKind::ER_UNKNOWN_ERROR, b"no answer").await,
            }
        })
    }

    fn on_prepare<'a, 'async_trait>(&'a mut self, _query: &'a str, info: StatementMetaWriter<'a, Out>) -> Done<'async_trait>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(info.error(ErrorKind::ER_UNSUPPORTED_PS, &b"not prepared here"[..]))
    }

    fn on_execute<'a, 'async_trait>(
        &'a mut self,
        _id: u32,
        _parameters: ParamParser<'a>,
        results: QueryResultWriter<'a, Out>,
    ) -> Done<'async_trait>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(results.error(ErrorKind::ER_UNSUPPORTED_PS, &b"not prepared here"[..]))
    }

    fn on_close<'a, 'async_trait>(&'a mut self, _statement: u32) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
        Out: 'async_trait,
    {
        Box::pin(std::future::ready(()))
    }
}

async fn write_rows(rows: Rows, results: QueryResultWriter<'_, Out>) -> io::Result<()> {
    let columns: Vec<Column> = rows
        .columns
        .into_iter()
        .map(|column| {
            let (coltype, colflags) = match column.kind {
                Kind::Integer => (ColumnType::MYSQL_TYPE_LONGLONG, ColumnFlags::UNSIGNED_FLAG),
                Kind::Double => (ColumnType::MYSQL_TYPE_DOUBLE, ColumnFlags::empty()),
                Kind::Text => (ColumnType::MYSQL_TYPE_VAR_STRING, ColumnFlags::empty()),
            };
            Column { table: String::new(), column: column.name, coltype, colflags }
        })
        .collect();
    let mut out = results.start(&columns).await?;
    for row in rows.rows {
        for value in row {
            match value {
                Value::Null => out.write_col(None::<u64>)?,
                Value::Integer(number) => out.write_col(number)?,
                Value::Double(number) => out.write_col(number)?,
                Value::Text(text) => out.write_col(text.as_str())?,
            }
        }
        out.end_row().await?;
    }
    out.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: u64 = 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19;

    fn rows(count: u64) -> Rows {
        let mut rows = Rows::new(&[("n", Kind::Integer), ("x", Kind::Double), ("text", Kind::Text), ("nothing", Kind::Text)]);
        for n in 0..count {
            rows.push(vec![n.into(), 0.5.into(), "z".repeat(300).into(), Value::Null]);
        }
        rows
    }

    #[tokio::test]
    async fn every_kind_of_value_and_more_rows_than_the_pipe_holds() {
        for capabilities in [PLAIN, PLAIN | 1 << 24, PLAIN | 1 << 23 | 1 << 24] {
            let capabilities = Capabilities(capabilities);
            let eof = usize::from(!capabilities.deprecate_eof());
            let mut scribe = Scribe::new(capabilities).await.expect("started");
            for count in [0, 1, 500] {
                let packets = scribe.write(Answer::Rows(rows(count))).await.expect("written");
                assert_eq!(packets.len(), 1 + 4 + eof + usize::try_from(count).expect("small") + 1);
                assert_eq!(packets.last().map(|last| (last[0], last[3])), Some((0xFE, 2)), "the end, with AUTOCOMMIT");
                for row in &packets[5 + eof..packets.len() - 1] {
                    let mut rest = row.as_slice();
                    assert!(take_text(&mut rest).is_some_and(|number| number.iter().all(u8::is_ascii_digit)));
                    assert_eq!(take_text(&mut rest), Some(&b"0.5"[..]));
                    assert_eq!(take_text(&mut rest).map(<[u8]>::len), Some(300));
                    assert_eq!(rest, [0xFB]);
                }
            }
            let packets = scribe.write(Answer::Ok).await.expect("written");
            assert_eq!(packets.len(), 1);
            assert_eq!(packets[0][..7], [0, 0, 0, 2, 0, 0, 0]);
        }
    }

    #[tokio::test]
    async fn no_capabilities_of_any_client_keep_it_from_starting() {
        for bit in 0..40 {
            let mut scribe = Scribe::new(Capabilities(PLAIN | 1 << bit)).await.expect("started");
            scribe.write(Answer::Rows(rows(2))).await.expect("written");
        }
        Scribe::new(Capabilities(u64::MAX)).await.expect("started").write(Answer::Ok).await.expect("written");
    }
}
