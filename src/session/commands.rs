//! The client's bytes: where each command begins, what it is, and whether it may go on.
//!
//! Invariants: I-G1 (a command goes to the server whole or not at all), I-P2 (what is gathered to be read is bounded; longer
//! commands are judged as unknown), I-P3.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use crate::client_error::ClientError;
use crate::wire::capabilities::{CLIENT_MYSQL, MULTI_STATEMENTS, QUERY_ATTRIBUTES};
use crate::wire::packet::{CHUNK_MAX, HEADER, Header};
use crate::wire::reply::{Cursor, Shape};
use crate::wire::{answer, command, login};

use super::exchange::{Exchange, Mode, Over, Rest, Turn};
use super::intercept::{Asked, Decision};
use super::notes::{self, Effect, Note};
use super::numbering::Mark;
use super::prepared::{Prepared, TEXT_MAX};
use super::replies::{Expected, Purpose};
use super::transaction::Work;

/// The longest text that is read while a migration needs to know; longer ones may touch everything.
const TEXT_READ_MAX: usize = 1 << 20;
/// How much of a text is read for its first words.
const WORDS_READ_MAX: usize = 16 << 10;
/// Replies that may be owed at once; more are not asked for until some have come.
const EXPECTED_MAX: usize = 1024;

/// What became of an attempt to take the next command.
pub(super) enum Step {
    /// It was taken; there may be another.
    Taken,
    /// More bytes, a reply or a gate must come first.
    Waits,
}

impl Exchange {
    /// Judges the client's bytes as far as they go. Returns whether any were.
    pub(super) fn advance_up(&mut self, task: &mut TaskContext<'_>) -> Result<bool, Over> {
        let mut has_moved = false;
        while !self.up.unjudged().is_empty() {
            let step = match (&self.rest, self.mode) {
                (Rest::Pass | Rest::Refuse(_), _) => self.step_over_rest(),
                (Rest::None, Mode::Command) => self.command(task),
                (Rest::None, Mode::File) => self.file(),
                (Rest::None, Mode::Dialogue) => self.dialogue()?,
                (Rest::None, Mode::Opaque) => {
                    let length = self.up.unjudged().len();
                    self.up.release(length);
                    Step::Taken
                }
            };
            match step {
                Step::Taken => has_moved = true,
                Step::Waits => break,
            }
        }
        Ok(has_moved)
    }

    /// Takes what is there of the packet that is going by.
    fn step_over_rest(&mut self) -> Step {
        let (used, passed) = self.client_packets.next(self.up.unjudged());
        let ended = passed.map(|passed| passed.sequence);
        if matches!(self.rest, Rest::Pass) {
            self.up.release(used);
            if let Some(sequence) = ended {
                self.rest = Rest::None;
                self.gone_by(sequence);
            }
            return Step::Taken;
        }
        self.up.discard(used);
        if let Some(sequence) = ended {
            self.client_sequence = sequence;
        }
        if let Some(sequence) = ended
            && let Rest::Refuse(error) = std::mem::replace(&mut self.rest, Rest::None)
        {
            let entry = error.entry();
            let mut out = Vec::new();
            answer::push_error(&mut out, sequence.wrapping_add(1), entry.code, Some(entry.state), &error.message());
            if self.is_numbered {
                let number = self.number_of_answer();
                self.down.mark(Mark::Begin(number));
            }
            self.down.insert(&out);
        }
        Step::Taken
    }

    /// A whole packet has gone to the server: its answer counts on from there.
    fn gone_by(&mut self, sequence: u8) {
        self.client_sequence = sequence;
        if !self.is_numbered {
            return;
        }
        let number = self.number_of_answer();
        if std::mem::take(&mut self.is_owing) {
            if let Some(expected) = self.expected.back_mut() {
                expected.number = number;
            }
        } else if self.mode == Mode::Dialogue {
            self.turn = Turn::Answer(number);
        }
    }

    fn pass(&mut self) -> Step {
        self.rest = Rest::Pass;
        self.step_over_rest()
    }

    /// A file for LOAD DATA LOCAL: packets until an empty one.
    fn file(&mut self) -> Step {
        let (used, passed) = self.client_packets.next(self.up.unjudged());
        let ended = passed.filter(|passed| passed.first_length == 0).map(|passed| passed.sequence);
        self.up.release(used);
        if let Some(sequence) = ended {
            self.mode = Mode::Command;
            self.client_sequence = sequence;
            if self.is_numbered {
                self.turn = Turn::Answer(self.number_of_answer());
            }
        }
        Step::Taken
    }

    /// A login's dialogue: whatever the client answers; a command behind it waits.
    fn dialogue(&mut self) -> Result<Step, Over> {
        match Header::read(self.up.unjudged()) {
            Some(header) if header.sequence == 0 => Ok(Step::Waits),
            Some(header) if self.translation.is_some() => self.translate_up(header),
            Some(_) => {
                self.mark_answer_to_server();
                Ok(self.pass())
            }
            None => Ok(Step::Waits),
        }
    }

    /// A command: gathered as far as it must be read, judged, and sent on its way.
    fn command(&mut self, task: &mut TaskContext<'_>) -> Step {
        let unjudged = self.up.unjudged();
        let Some(header) = Header::read(unjudged) else { return Step::Waits };
        let body = unjudged.get(HEADER..).unwrap_or_default();
        let code = match body.first() {
            Some(code) => *code,
            None if header.length == 0 => 0,
            None => return Step::Waits,
        };
        let generation = self.context.gates.generation();
        let needed = needed(code, header.length, generation != 0);
        if body.len() < needed {
            self.wanted = HEADER + needed;
            return Step::Waits;
        }
        self.wanted = 0;
        if self.expected.len() >= EXPECTED_MAX {
            return Step::Waits;
        }
        if self.is_rolling_back() {
            return Step::Waits;
        }
        let is_whole = body.len() >= header.length && header.length < CHUNK_MAX;
        let end = if is_whole { header.length } else { body.len().min(header.length) };
        let payload = body.get(1..end).unwrap_or_default();
        let has_attributes = self.capabilities & QUERY_ATTRIBUTES != 0;
        let text = match code {
            command::QUERY => command::sql_text(payload, has_attributes),
            _ => None,
        };
        let is_statement = matches!(code, command::QUERY | command::STMT_EXECUTE | command::STMT_BULK_EXECUTE);
        if is_statement && std::mem::take(&mut self.was_rolled_back) && !text.is_some_and(is_plain_rollback) {
            return self.refuse(ClientError::RolledBack);
        }
        let note = self.note(code, payload, text, is_whole);
        let changes_schema = note.is_several && note.effects.iter().any(|effect| matches!(effect, Effect::Schema(_)));
        // A gate may go while the command waits at it: its ticket still says when.
        if generation != 0 || self.desk.is_holding() {
            let asked = Asked {
                code,
                payload,
                text: if is_whole { text } else { None },
                is_whole,
                work: note.work,
                is_quiet: self.expected.is_empty(),
                schema: if changes_schema { None } else { self.schema.as_deref() },
            };
            match self.desk.decide(task, &self.context, &self.record, &self.transaction, &mut self.prepared, &asked) {
                Poll::Pending => {
                    self.wanted = HEADER + needed;
                    return Step::Waits;
                }
                Poll::Ready(Decision::Forward) => {}
                Poll::Ready(Decision::Refuse(error)) => return self.refuse(error),
            }
        } else {
            self.desk.forget();
        }
        let expected = self.expectation(code, is_whole, header.length, note);
        self.forward(code, expected)
    }

    fn refuse(&mut self, error: ClientError) -> Step {
        tracing::info!(
            session = %self.record.id,
            user = self.record.user.get().map_or("", String::as_str),
            client = %self.record.client,
            tag = error.entry().tag,
            message = %error.message(),
            "a statement was answered by the proxy"
        );
        self.rest = Rest::Refuse(Box::new(error));
        self.step_over_rest()
    }

    /// What a command does for its session's transaction and state.
    fn note(&self, code: u8, payload: &[u8], text: Option<&[u8]>, is_whole: bool) -> Note {
        match code {
            command::QUERY => {
                let mut note = text.map_or(Note::STATEMENT, notes::read);
                if !is_whole && self.capabilities & MULTI_STATEMENTS != 0 {
                    // What follows beyond the part that is read may be anything.
                    note.effects.push(Effect::Doubt);
                    note.is_several = true;
                }
                note
            }
            command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => {
                command::statement_id(payload).map_or(Note::STATEMENT, |id| self.prepared.note(id))
            }
            // Among them COM_STMT_PREPARE: a table's definition alone makes no snapshot.
            _ => Note { work: Work::Nothing, effects: Vec::new(), is_several: false },
        }
    }

    /// What the reply to the command at the front will look like and be for.
    fn expectation(&mut self, code: u8, is_whole: bool, length: usize, note: Note) -> Expected {
        let body = self.up.unjudged().get(HEADER..).unwrap_or_default();
        let payload = body.get(1..length.min(body.len())).unwrap_or_default();
        let shape = shape(code, payload, self.capabilities, &mut self.prepared);
        let Note { work, mut effects, is_several } = note;
        let purpose = match code {
            command::STMT_PREPARE => {
                let text = (is_whole && payload.len() <= TEXT_MAX).then(|| Arc::from(payload));
                self.prepared.sent(text.clone());
                Purpose::Prepare(text)
            }
            command::CHANGE_USER => {
                if let Some(translation) = &mut self.translation {
                    let plugin = login::change_user_plugin(payload, self.capabilities).unwrap_or_default();
                    translation.begin(&String::from_utf8_lossy(plugin));
                }
                let schema = login::change_user_schema(payload, self.capabilities).unwrap_or_default();
                Purpose::ChangeUser(String::from_utf8_lossy(schema).into_owned())
            }
            command::RESET_CONNECTION => Purpose::Reset,
            command::INIT_DB => {
                effects.push(Effect::Schema(String::from_utf8_lossy(payload).into_owned()));
                Purpose::Plain
            }
            command::PROCESS_KILL => {
                effects.extend(command::statement_id(payload).map(|id| Effect::Killed(u64::from(id))));
                Purpose::Plain
            }
            command::STMT_CLOSE => {
                if let Some(id) = command::statement_id(payload) {
                    self.prepared.remove(id);
                }
                Purpose::Plain
            }
            _ => Purpose::Plain,
        };
        Expected { shape, work, purpose, effects, is_several, number: 1 }
    }

    fn forward(&mut self, code: u8, expected: Expected) -> Step {
        if self.is_numbered {
            // A wrong number is the server's to refuse.
            let sequence = Header::read(self.up.unjudged()).map_or(0, |header| header.sequence);
            self.up.mark(Mark::Begin(self.client.frame_at(self.up.judged()).unwrap_or(sequence)));
            self.is_owing = !matches!(expected.shape, Shape::None);
        }
        self.transaction.sent(expected.work, &self.record);
        for effect in &expected.effects {
            if let Effect::Locked(lock) = effect {
                self.desk.locked(*lock, &self.record);
            }
        }
        self.record.statements.fetch_add(1, Ordering::Relaxed);
        self.context.metrics.commands.inc();
        // Of pipelined ones only the first: the others wait for it.
        if self.context.census.latency.is_watched() && self.expected.is_empty() && matches!(expected.purpose, Purpose::Plain) {
            self.sent_us = self.record.now_us();
        }
        match code {
            command::STMT_SEND_LONG_DATA => self.is_amid_long_data = true,
            command::STMT_EXECUTE | command::STMT_RESET | command::RESET_CONNECTION => self.is_amid_long_data = false,
            command::CHANGE_USER => self.mode = Mode::Dialogue,
            // It switches several statements in a text on or off: on is the one to reckon with.
            command::SET_OPTION => self.capabilities |= MULTI_STATEMENTS,
            _ => {}
        }
        match expected.shape {
            Shape::None => {}
            Shape::Endless => {
                self.mode = Mode::Opaque;
                self.owe(expected);
            }
            _ => self.owe(expected),
        }
        self.pass()
    }
}

/// What the reply to a command will look like.
fn shape(code: u8, payload: &[u8], capabilities: u64, prepared: &mut Prepared) -> Shape {
    // MariaDB's sessions lack the flag, and MariaDB does not keep cursors so.
    if code == command::STMT_EXECUTE && capabilities & CLIENT_MYSQL != 0 {
        let asks = command::asks_for_cursor(payload);
        let had_one = command::statement_id(payload).is_some_and(|id| prepared.executed(id, asks));
        if had_one && !asks {
            return Shape::Result { cursor: Cursor::Kept };
        }
    }
    command::shape(code, payload)
}

/// ROLLBACK of the whole transaction: what has happened is what it asks for.
fn is_plain_rollback(text: &[u8]) -> bool {
    let text = text.trim_ascii().strip_suffix(b";").unwrap_or(text).trim_ascii();
    text.eq_ignore_ascii_case(b"ROLLBACK") || text.eq_ignore_ascii_case(b"ROLLBACK WORK")
}

/// How many bytes of a command's body must be there before it can be judged.
fn needed(code: u8, length: usize, is_watched: bool) -> usize {
    let most = match code {
        command::QUERY if is_watched => TEXT_READ_MAX,
        command::QUERY => WORDS_READ_MAX,
        command::STMT_PREPARE if is_watched => TEXT_READ_MAX,
        command::STMT_PREPARE | command::INIT_DB | command::CHANGE_USER => TEXT_MAX + 1,
        command::STMT_EXECUTE | command::STMT_BULK_EXECUTE | command::STMT_CLOSE | command::STMT_FETCH | command::PROCESS_KILL => 10,
        _ => 1,
    };
    length.min(most)
}
