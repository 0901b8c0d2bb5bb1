//! The life of an admin session: from the OK of its login to its end.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Context;
use super::answer::{Answer, Failure};
use super::binary::{Statements, prepare_ok, result_set};
use super::commands::process::uptime;
use super::execute::Session;
use super::packet::{self, Capabilities, Incoming, Wire};
use super::scribe::Scribe;
use super::tokens::tokens;

/// Serves an admin's client after its login's OK, until COM_QUIT or the end of the stream.
///
/// `already_read`: bytes that came after the login. `capabilities`: what was negotiated, MariaDB's extended ones in the high
/// half. `connection_id`: what SELECT CONNECTION_ID() says.
///
/// # Errors
/// Where the stream fails; a client that breaks the protocol is told so and is no error.
///
/// # Cancel safety
/// Dropping the future ends the session; a migration that has been asked for may start all the same.
pub async fn serve(
    stream: TcpStream,
    already_read: BytesMut,
    capabilities: u64,
    connection_id: u64,
    context: Arc<Context>,
) -> io::Result<()> {
    serve_in(stream, already_read, capabilities, connection_id, None, context).await
}

/// As [`serve`], on any stream, with the schema that the client gave at its login.
///
/// # Errors
/// As [`serve`].
///
/// # Cancel safety
/// As [`serve`].
pub async fn serve_in<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    already_read: BytesMut,
    capabilities: u64,
    connection_id: u64,
    schema: Option<String>,
    context: Arc<Context>,
) -> io::Result<()> {
    let capabilities = Capabilities(capabilities);
    let mut life = Life {
        wire: Wire::new(stream, already_read),
        scribe: Scribe::new(capabilities).await?,
        session: Session { context, connection_id, schema },
        statements: Statements::default(),
        capabilities,
    };
    loop {
        match life.wire.command().await? {
            Incoming::Gone => return Ok(()),
            Incoming::Broken(failure) => {
                tracing::warn!(connection_id, "admin session closed: {}", failure.message);
                life.wire.packet(&packet::error(&failure));
                return life.wire.close().await;
            }
            Incoming::Command(command) => {
                let Some((code, payload)) = command.split_first() else {
                    let failure = Failure::new(1835, b"HY000", "malformed communication packet: it is empty; connect again");
                    life.wire.packet(&packet::error(&failure));
                    return life.wire.close().await;
                };
                if *code == QUIT {
                    return Ok(());
                }
                if let Err(failure) = Box::pin(life.answer(*code, payload)).await? {
                    life.wire.packet(&packet::error(&failure));
                }
                life.wire.flush().await?;
            }
        }
    }
}

const QUIT: u8 = 0x01;
const INIT_DB: u8 = 0x02;
const QUERY: u8 = 0x03;
const FIELD_LIST: u8 = 0x04;
const STATISTICS: u8 = 0x09;
const DEBUG: u8 = 0x0D;
const PING: u8 = 0x0E;
const STMT_PREPARE: u8 = 0x16;
const STMT_EXECUTE: u8 = 0x17;
const STMT_SEND_LONG_DATA: u8 = 0x18;
const STMT_CLOSE: u8 = 0x19;
const STMT_RESET: u8 = 0x1A;
const SET_OPTION: u8 = 0x1B;
const RESET_CONNECTION: u8 = 0x1F;

struct Life<S> {
    wire: Wire<S>,
    scribe: Scribe,
    session: Session,
    statements: Statements,
    capabilities: Capabilities,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Life<S> {
    /// Answers one command; the inner error is for the client, the outer one ends the session.
    async fn answer(&mut self, code: u8, payload: &[u8]) -> io::Result<Result<(), Failure>> {
        match code {
            QUERY => return self.query(payload).await,
            STMT_PREPARE => return Ok(self.prepare(payload).await),
            STMT_EXECUTE => return Ok(self.execute(payload).await),
            INIT_DB => {
                self.session.schema = Some(String::from_utf8_lossy(payload).into_owned()).filter(|schema| !schema.is_empty());
                self.wire.packet(&packet::ok());
            }
            RESET_CONNECTION => {
                self.statements.clear();
                self.wire.packet(&packet::ok());
            }
            PING => self.wire.packet(&packet::ok()),
            STMT_RESET => {
                if let Err(failure) = self.statements.text(payload) {
                    return Ok(Err(failure));
                }
                self.wire.packet(&packet::ok());
            }
            // These two have no answer.
            STMT_CLOSE => self.statements.close(payload),
            STMT_SEND_LONG_DATA => {}
            SET_OPTION | FIELD_LIST | DEBUG => self.wire.packet(&packet::end(self.capabilities)),
            STATISTICS => {
                let context = &self.session.context;
                let text = format!("Uptime: {}  Threads: {}  Tidegate's admin port", uptime(context), context.census.count());
                self.wire.packet(text.as_bytes());
            }
            _ => {
                let message = format!("the admin port does not take command 0x{code:02x}; HELP lists what it takes as SQL");
                return Ok(Err(Failure::new(1047, b"08S01", message)));
            }
        }
        Ok(Ok(()))
    }

    async fn query(&mut self, payload: &[u8]) -> io::Result<Result<(), Failure>> {
        let Some(text) = packet::statement(payload, self.capabilities) else {
            return Ok(Err(Failure::new(1835, b"HY000", "malformed communication packet: its query attributes cannot be read")));
        };
        let answer = match decode(text) {
            Ok(text) => self.session.execute(text).await,
            Err(failure) => Err(failure),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return Ok(Err(failure)),
        };
        for packet in self.scribe.write(answer).await? {
            self.wire.packet(&packet);
        }
        Ok(Ok(()))
    }

    async fn prepare(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let text = decode(payload)?;
        if tokens(text)?.iter().any(|token| token.is_mark('?')) {
            return Err(Failure::new(1295, b"HY000", "admin statements take no parameters; write the values into the statement"));
        }
        let columns = self.session.columns(text).await?;
        let id = self.statements.add(text.to_owned())?;
        for packet in prepare_ok(id, &columns, self.capabilities) {
            self.wire.packet(&packet);
        }
        Ok(())
    }

    async fn execute(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let text = self.statements.text(payload)?;
        match self.session.execute(&text).await? {
            Answer::Ok => self.wire.packet(&packet::ok()),
            Answer::Rows(rows) => {
                for packet in result_set(&rows, self.capabilities) {
                    self.wire.packet(&packet);
                }
            }
        }
        Ok(())
    }
}

/// Statements are UTF-8: a specification in another character set would reach the server garbled.
fn decode(text: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(text)
        .map_err(|_| Failure::new(1300, b"HY000", "the statement is not valid utf8mb4; connect with --default-character-set=utf8mb4"))
}

#[cfg(test)]
mod tests;
