//! The server's bytes: which command they answer, and what their ends tell.
//!
//! Invariants: I-P2 (nothing is kept but the proxy's own ping), I-P4.

use std::sync::Arc;

use crate::census::Rollback;
use crate::client_error::ClientError;
use crate::wire::capabilities::QUERY_ATTRIBUTES;
use crate::wire::command;
use crate::wire::packet::Header;
use crate::wire::reply::{Cursor, End, Progress, Shape};

use super::exchange::{Exchange, Mode, Over, Rest, Turn};
use super::notes::Effect;
use super::numbering::Mark;
use super::transaction::{Isolation, Work};

/// What a reply is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The client's command.
    Plain,
    /// The client's COM_STMT_PREPARE of this text.
    Prepare(Option<Arc<[u8]>>),
    /// COM_CHANGE_USER to this schema.
    ChangeUser(String),
    /// COM_RESET_CONNECTION.
    Reset,
    /// The proxy's own ping, which the client must not see.
    Ping,
    /// The proxy's own ROLLBACK, which FORCE has asked for.
    Rollback,
}

/// A reply that is owed.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) shape: Shape,
    pub(super) work: Work,
    pub(super) purpose: Purpose,
    pub(super) effects: Vec<Effect>,
    /// The effects are of several statements: an ERR does not say which of them have happened.
    pub(super) is_several: bool,
    /// The number of its first packet, or frame where the client's are compressed; known when the command has gone by.
    pub(super) number: u8,
}

impl Exchange {
    /// Queues a reply; the first one is what the tracker follows.
    pub(super) fn owe(&mut self, expected: Expected) {
        if self.expected.is_empty() {
            self.tracker.begin(expected.shape);
            self.turn = Turn::Reply;
        }
        self.expected.push_back(expected);
    }

    /// Tells the numbers of what goes to the client next, where something begins there.
    fn mark_turn(&mut self) {
        if !self.is_numbered {
            return;
        }
        match std::mem::replace(&mut self.turn, Turn::Amid) {
            Turn::Amid => {}
            Turn::Reply => self.down.mark(Mark::Begin(self.expected.front().map_or(1, |expected| expected.number))),
            Turn::Answer(number) => self.down.mark(Mark::Begin(number)),
            Turn::Result => self.down.mark(Mark::Flush),
        }
    }

    /// What goes to the server next answers what it sent last.
    pub(super) fn mark_answer_to_server(&mut self) {
        if self.is_numbered {
            let last = self.server.last_frame().unwrap_or_else(|| self.tracker.sequence());
            self.up.mark(Mark::Begin(last.wrapping_add(1)));
        }
    }

    /// The number with which the server's answer to the client's bytes up to here begins.
    pub(super) fn number_of_answer(&mut self) -> u8 {
        self.client.frame_before(self.up.judged()).unwrap_or(self.client_sequence).wrapping_add(1)
    }

    fn is_swallowing(&self) -> bool {
        matches!(self.expected.front(), Some(Expected { purpose: Purpose::Ping | Purpose::Rollback, .. }))
    }

    /// Judges the server's bytes as far as they go.
    pub(super) fn advance_down(&mut self) -> Result<(), Over> {
        loop {
            let unjudged = self.down.unjudged().get(self.swallowed..).unwrap_or_default();
            if unjudged.is_empty() {
                return Ok(());
            }
            if self.expected.is_empty() || self.mode == Mode::Opaque {
                // Unasked: an idle session that the server ends, with the reason before it or without.
                let (length, header) = (unjudged.len(), Header::read(unjudged));
                if self.expected.is_empty() {
                    self.down.mark(Mark::Unasked(header.map_or(0, |header| header.sequence)));
                }
                self.mark_turn();
                self.down.release(length);
                return Ok(());
            }
            if self.translation.is_some() && matches!(self.expected.front(), Some(Expected { purpose: Purpose::ChangeUser(_), .. })) {
                match self.translate_down()? {
                    None => return Ok(()),
                    Some(Progress::Ended(end)) => self.reply_ended(end),
                    Some(_) => {}
                }
                continue;
            }
            let (used, progress) = self.tracker.feed(unjudged).map_err(|error| {
                tracing::error!(session = %self.record.id, %error, "the server's bytes cannot be followed");
                Over::Broken(ClientError::UpstreamLost)
            })?;
            if self.is_swallowing() {
                self.swallowed += used;
            } else {
                self.mark_turn();
                self.down.release(used);
            }
            match progress {
                Progress::More => {}
                Progress::Next => self.turn = Turn::Result,
                Progress::FileWanted => {
                    self.mode = Mode::File;
                    self.mark_answer_to_server();
                }
                Progress::Ended(end) => self.reply_ended(end),
            }
        }
    }

    fn reply_ended(&mut self, end: End) {
        let Some(expected) = self.expected.pop_front() else { return };
        if self.sent_us != 0 {
            let sent_us = std::mem::take(&mut self.sent_us);
            self.context.census.latency.answered(sent_us);
        }
        let swallowed = std::mem::take(&mut self.swallowed);
        if swallowed > 0 {
            // An error in place of the ping's OK is the server's last word: the client gets it.
            if end.error.is_some() && !matches!(expected.purpose, Purpose::Rollback) {
                self.mark_turn();
                self.down.release(swallowed)
            } else {
                self.turn = Turn::Amid;
                self.down.discard(swallowed)
            }
        }
        let has_ended = match (end.error, end.status) {
            (Some(code), _) => self.transaction.failed(code, expected.work, &self.record),
            (None, Some(status)) => self.transaction.replied(status, expected.work, &self.record),
            (None, None) => false,
        };
        if matches!(expected.purpose, Purpose::Rollback) {
            self.rollback_answered(end.error);
        }
        if end.error.is_none() {
            self.succeeded(expected, &end);
        } else {
            if matches!(expected.purpose, Purpose::ChangeUser(_)) {
                self.mode = Mode::Command;
            }
            self.not_all_happened(expected);
        }
        match self.expected.front() {
            Some(next) => {
                self.tracker.begin(next.shape);
                self.turn = Turn::Reply;
            }
            None => self.settle(has_ended),
        }
    }

    fn succeeded(&mut self, expected: Expected, end: &End) {
        match expected.purpose {
            Purpose::Plain | Purpose::Ping | Purpose::Rollback => {}
            Purpose::Prepare(text) => {
                if let (Some(text), Some(prepared)) = (text, end.prepared) {
                    self.prepared.insert(prepared.id, text);
                }
            }
            Purpose::ChangeUser(schema) => {
                self.mode = Mode::Command;
                self.set_schema(Some(schema));
                self.forget_session(end.status);
            }
            Purpose::Reset => self.forget_session(end.status),
        }
        for effect in expected.effects {
            match effect {
                Effect::Schema(schema) => self.set_schema(Some(schema)),
                Effect::Isolation { level, once } => {
                    if expected.is_several {
                        // Transactions of the same text may have begun before it or after, and used it up.
                        self.transaction.doubt_this_one();
                    }
                    let is_used_up = expected.is_several && once && level == Isolation::Committed;
                    if !is_used_up {
                        self.transaction.set_isolation(level, once);
                    }
                }
                Effect::Doubt => self.transaction.doubt(),
                // Noted when it was sent.
                Effect::Locked(_) => {}
                Effect::Unlocked(lock) => self.desk.unlocked(lock, &self.record),
                Effect::UnlockedOne(lock) => self.desk.unlocked_one(lock, &self.record),
                Effect::Killed(connection) => self.killed(connection),
            }
        }
    }

    /// FORCE: rolls the open transaction back on the server as soon as the session is between two statements.
    pub(super) fn roll_back_if_wanted(&mut self) {
        if self.record.rollback() != Rollback::Wanted {
            return;
        }
        let is_between = self.mode == Mode::Command && matches!(self.rest, Rest::None) && self.expected.is_empty() && self.up.is_empty();
        if !is_between || self.is_amid_long_data {
            // The client's own statement may have been on its way already; its reply leads here again.
            return;
        }
        if !self.transaction.is_open() {
            self.record.set_rollback(Rollback::None);
            return;
        }
        let mut packet = vec![9, 0, 0, 0, command::QUERY];
        if self.capabilities & QUERY_ATTRIBUTES != 0 {
            // No attributes, one set of them.
            packet.extend([0, 1]);
            packet[0] += 2;
        }
        packet.extend(b"ROLLBACK");
        self.up.mark(Mark::Begin(0));
        self.up.insert(&packet);
        let shape = Shape::Result { cursor: Cursor::None };
        self.owe(Expected { shape, work: Work::End, purpose: Purpose::Rollback, effects: Vec::new(), is_several: false, number: 1 });
    }

    /// The proxy's own ROLLBACK is on its way: what the client sends meanwhile waits for the answer.
    pub(super) fn is_rolling_back(&self) -> bool {
        matches!(self.expected.back(), Some(Expected { purpose: Purpose::Rollback, .. }))
    }

    fn rollback_answered(&mut self, error: Option<u16>) {
        let outcome = if error.is_none() { Rollback::Done } else { Rollback::Refused };
        self.record.set_rollback(outcome);
        self.was_rolled_back = error.is_none();
    }

    fn killed(&self, connection: u64) {
        if let Some(target) = self.context.census.by_connection(connection)
            && target.held_for().is_some()
        {
            target.interrupted.notify_waiters();
        }
    }

    /// After an ERR: one statement has changed nothing; of several, some may have.
    fn not_all_happened(&mut self, expected: Expected) {
        for effect in expected.effects {
            match effect {
                Effect::Locked(lock) if !expected.is_several => self.desk.not_locked(lock, &self.record),
                Effect::Doubt => self.transaction.doubt(),
                Effect::Isolation { .. } if expected.is_several => self.transaction.doubt(),
                Effect::Schema(_) if expected.is_several => self.set_schema(None),
                Effect::Killed(connection) if expected.is_several => self.killed(connection),
                _ => {}
            }
        }
    }

    fn set_schema(&mut self, schema: Option<String>) {
        self.record.set_schema(schema.as_deref());
        self.schema = schema;
    }

    fn forget_session(&mut self, status: Option<u16>) {
        self.prepared.clear();
        self.was_rolled_back = false;
        self.desk.unlocked_all(&self.record);
        self.transaction.reset(&self.record);
        self.transaction.replied(status.unwrap_or_default(), Work::Nothing, &self.record);
    }

    /// Every reply is in: passes are given back where no transaction needs them, and gates are told.
    fn settle(&mut self, has_ended: bool) {
        let generation = self.context.gates.generation();
        if !self.transaction.is_open() {
            self.desk.leave();
        }
        if generation == 0 {
            return;
        }
        if has_ended {
            for gate in &self.context.gates.watch().gates {
                gate.nudge();
            }
        }
        let is_quiet = self.mode == Mode::Command && self.up.is_empty() && !self.is_amid_long_data;
        if self.transaction.is_uncertain() && is_quiet {
            // COM_PING answers with true flags and keeps the session's warnings; an ERR carries none.
            self.up.mark(Mark::Begin(0));
            self.up.insert(&[1, 0, 0, 0, command::PING]);
            let shape = Shape::Result { cursor: Cursor::None };
            self.owe(Expected { shape, work: Work::Nothing, purpose: Purpose::Ping, effects: Vec::new(), is_several: false, number: 1 });
        }
    }
}
