//! Where a session asks the gates before a command goes on.
//!
//! Owns: the session's passes, and its place in a queue.
//! Invariants: I-G1 (a ticket resolves once, then the command goes on; dropped, it never does), I-G5 (a KILL reaches a held
//! statement), I-G6 (old snapshots are refused), I-0 (nothing here keeps data right).

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use crate::census::Record;
use crate::client_error::ClientError;
use crate::config::Fence;
use crate::gate::{Admission, Ask, Gate, Pass, Ticket, Verdict, Watch};
use crate::metrics::Kind;
use crate::sql::{ddl, digest};
use crate::wire::command;

use super::Context;
use super::notes::Lock;
use super::prepared::Prepared;
use super::transaction::{Transaction, Work};

/// A command that wants to go on.
pub(super) struct Asked<'a> {
    /// Its code.
    pub(super) code: u8,
    /// What follows the code, as far as it is there.
    pub(super) payload: &'a [u8],
    /// A COM_QUERY's text, where all of it is there and can be read.
    pub(super) text: Option<&'a [u8]>,
    /// All of the payload is there.
    pub(super) is_whole: bool,
    /// What it does for the transaction.
    pub(super) work: Work,
    /// No reply is owed, so what is known of the transaction is true.
    pub(super) is_quiet: bool,
    /// The default schema; `None` where it cannot be told.
    pub(super) schema: Option<&'a str>,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum Decision {
    /// It goes to the server.
    Forward,
    /// It does not; the client gets this.
    Refuse(ClientError),
}

/// A held command.
struct Held {
    ticket: Ticket,
    gate: Arc<Gate>,
    interrupted: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// One session before the gates.
#[derive(Default)]
pub(super) struct Desk {
    watch: Arc<Watch>,
    passes: Vec<Pass>,
    held: Option<Held>,
    locks: Locks,
}

/// Locks of the session that no status flag shows.
#[derive(Clone, Copy, Debug, Default)]
struct Locks {
    tables: u32,
    handlers: u32,
    named: u32,
}

impl Locks {
    fn place(&mut self, lock: Lock) -> &mut u32 {
        match lock {
            Lock::Tables => &mut self.tables,
            Lock::Handler => &mut self.handlers,
            Lock::Named => &mut self.named,
        }
    }

    /// `true` where the server keeps tables for the session.
    fn are_on_tables(self) -> bool {
        self.tables > 0 || self.handlers > 0
    }

    fn tell(self, record: &Record) {
        record.holds_tables.store(self.are_on_tables(), Ordering::Release);
        record.holds_locks.store(self.are_on_tables() || self.named > 0, Ordering::Relaxed);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Desk").field("passes", &self.passes).field("is_holding", &self.held.is_some()).finish_non_exhaustive()
    }
}

impl Desk {
    /// `true` while a command waits at a gate.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// No gate stands any more.
    pub(super) fn forget(&mut self) {
        if self.watch.generation != 0 {
            *self = Self { locks: self.locks, ..Self::default() };
        }
    }

    /// No transaction is open and no reply is owed: the passes are given back, unless the session has locked tables.
    pub(super) fn leave(&mut self) {
        if !self.locks.are_on_tables() && !self.passes.is_empty() {
            self.passes.clear();
        }
    }

    /// The session takes locks that the status flags do not show: they count from when that was sent.
    pub(super) fn locked(&mut self, lock: Lock, record: &Record) {
        let place = self.locks.place(lock);
        *place = place.saturating_add(1);
        self.locks.tell(record);
    }

    /// The server did not give it.
    pub(super) fn not_locked(&mut self, lock: Lock, record: &Record) {
        let place = self.locks.place(lock);
        *place = place.saturating_sub(1);
        self.locks.tell(record);
    }

    /// The session has given locks back: all of that kind, or one HANDLER.
    pub(super) fn unlocked(&mut self, lock: Lock, record: &Record) {
        let place = self.locks.place(lock);
        *place = if lock == Lock::Handler { place.saturating_sub(1) } else { 0 };
        self.locks.tell(record);
    }

    /// The session has given one lock back; the others, if there are any, keep it what it was.
    pub(super) fn unlocked_one(&mut self, lock: Lock, record: &Record) {
        self.not_locked(lock, record);
    }

    /// The session was reset.
    pub(super) fn unlocked_all(&mut self, record: &Record) {
        self.locks = Locks::default();
        self.locks.tell(record);
    }

    /// Decides about the command at the front. Pending where it must wait; it is asked about again then.
    pub(super) fn decide(
        &mut self,
        task: &mut TaskContext<'_>,
        context: &Context,
        record: &Arc<Record>,
        transaction: &Transaction,
        prepared: &mut Prepared,
        asked: &Asked<'_>,
    ) -> Poll<Decision> {
        let decision = self.look(task, context, record, transaction, prepared, asked);
        if !matches!(decision, Poll::Ready(Decision::Forward)) && asked.is_quiet && !transaction.is_open() {
            // One gate has let it start a transaction, another makes it wait: it is in none.
            record.transaction_closed();
        }
        decision
    }

    fn look(
        &mut self,
        task: &mut TaskContext<'_>,
        context: &Context,
        record: &Arc<Record>,
        transaction: &Transaction,
        prepared: &mut Prepared,
        asked: &Asked<'_>,
    ) -> Poll<Decision> {
        match self.poll_held(task, record, transaction) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(error)) => return Poll::Ready(self.refuse(context, error)),
            Poll::Ready(None) => {}
        }
        if self.watch.generation != context.gates.generation() {
            self.watch = context.gates.watch();
        }
        let Some(verdict) = self.judge(prepared, asked) else { return Poll::Ready(Decision::Forward) };
        if verdict.statement.is_ddl
            && let Some(error) = self.migrating(prepared, asked)
        {
            return Poll::Ready(self.refuse(context, error));
        }
        let begins = verdict.statement.starts_transaction
            || matches!(asked.work, Work::Begin { .. })
            || (asked.work == Work::Statement && transaction.is_manual() && !transaction.is_open());
        if verdict.gates == 0 && !begins {
            return Poll::Ready(Decision::Forward);
        }
        if !asked.is_quiet {
            // What is known of the transaction is true only when every reply is in.
            return Poll::Pending;
        }
        let watch = self.watch.clone();
        note_shape(&watch, &verdict, prepared, asked);
        let starts = begins && matches!(asked.code, command::QUERY | command::STMT_EXECUTE | command::STMT_BULK_EXECUTE);
        let mut gates = watch.gates.iter().enumerate();
        while let Some((index, gate)) = gates.next() {
            let touches = verdict.touches(index);
            if self.is_past(gate) || !(touches || begins) {
                continue;
            }
            if touches && is_fenced(gate, record, transaction) {
                return Poll::Ready(self.refuse(context, ClientError::Fenced { table: gate.table.clone() }));
            }
            let kind = if verdict.statement.is_read { Kind::read } else { Kind::write };
            let ask = Ask { record, in_transaction: transaction.is_open(), kind, touches, starts };
            match gate.admit(&ask, || text_of(prepared, asked).map_or_else(String::new, |text| digest::digest(&text))) {
                Admission::Entered(pass) => self.passes.extend(pass),
                Admission::Wait(ticket) => {
                    let target = record.clone();
                    let interrupted = Box::pin(async move { target.interrupted.notified().await });
                    self.held = Some(Held { ticket, gate: gate.clone(), interrupted });
                    if !transaction.is_open() {
                        // Whoever waits before one table must not be inside another: both may be waiting to be swapped together.
                        self.leave();
                    }
                    match self.poll_held(task, record, transaction) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(error)) => return Poll::Ready(self.refuse(context, error)),
                        // Another gate may have closed meanwhile: each is asked again.
                        Poll::Ready(None) => gates = watch.gates.iter().enumerate(),
                    }
                }
            }
        }
        Poll::Ready(Decision::Forward)
    }

    /// Looks after the held command, if there is one: ready when it need not wait any more.
    fn poll_held(&mut self, task: &mut TaskContext<'_>, record: &Record, transaction: &Transaction) -> Poll<Option<ClientError>> {
        let Some(held) = &mut self.held else { return Poll::Ready(None) };
        if held.interrupted.as_mut().poll(task).is_ready() {
            if let Some(held) = self.held.take() {
                held.ticket.kill();
            }
            return Poll::Ready(Some(ClientError::Interrupted));
        }
        let Poll::Ready(pass) = Pin::new(&mut held.ticket).poll(task) else { return Poll::Pending };
        let gate = held.gate.clone();
        self.held = None;
        // The swap may have happened while it waited.
        if pass.is_some() && is_fenced(&gate, record, transaction) {
            return Poll::Ready(Some(ClientError::Fenced { table: gate.table.clone() }));
        }
        self.passes.extend(pass);
        Poll::Ready(None)
    }

    fn is_past(&self, gate: &Arc<Gate>) -> bool {
        self.passes.iter().any(|pass| Arc::ptr_eq(pass.gate(), gate))
    }

    fn refuse(&self, context: &Context, error: ClientError) -> Decision {
        if matches!(error, ClientError::Fenced { .. }) {
            context.metrics.fenced.inc();
        }
        Decision::Refuse(error)
    }

    /// What the command means to the gates; `None` where it is no statement.
    fn judge(&self, prepared: &mut Prepared, asked: &Asked<'_>) -> Option<Verdict> {
        match asked.code {
            command::QUERY => Some(asked.text.map_or_else(|| self.watch.unknown(), |text| self.watch.judge(text))),
            command::STMT_PREPARE if asked.is_whole => Some(self.watch.judge(asked.payload)),
            command::STMT_PREPARE | command::FIELD_LIST => Some(self.watch.unknown()),
            command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => {
                let id = command::statement_id(asked.payload);
                Some(id.map_or_else(|| self.watch.unknown(), |id| prepared.judge(id, &self.watch)))
            }
            _ => None,
        }
    }

    /// DDL on a table that is being migrated.
    fn migrating(&self, prepared: &Prepared, asked: &Asked<'_>) -> Option<ClientError> {
        let text = text_of(prepared, asked)?;
        let targets = ddl::targets(&text, asked.schema.unwrap_or_default());
        let may_be =
            |schema: &str, gate: &Gate| schema.eq_ignore_ascii_case(&gate.table.schema) || (schema.is_empty() && asked.schema.is_none());
        let is_target = |gate: &&Arc<Gate>| {
            // Whether case matters is the server's setting; to be asked once too often is the smaller evil.
            // After the swap the table is everybody's again; DROP DATABASE names a schema and no table.
            gate.swapped_at_us() == 0
                && targets.iter().any(|target| {
                    (target.table.is_empty() || target.table.eq_ignore_ascii_case(&gate.table.table)) && may_be(&target.schema, gate)
                })
        };
        let gate = self.watch.gates.iter().find(is_target)?;
        Some(ClientError::Migrating { table: gate.table.clone(), migration: gate.migration })
    }
}

/// The transaction may read from a snapshot that is older than the swap (I-G6).
fn is_fenced(gate: &Gate, record: &Record, transaction: &Transaction) -> bool {
    let swapped = gate.swapped_at_us();
    swapped != 0 && gate.fence() != Fence::Off && transaction.may_have_snapshot() && record.transaction_began_us() < swapped
}

/// Tells the gates what their clients send, so that what the new table would refuse is known before the swap.
fn note_shape(watch: &Watch, verdict: &Verdict, prepared: &mut Prepared, asked: &Asked<'_>) {
    if verdict.gates == 0 || verdict.statement.is_ddl || verdict.statement.is_dynamic {
        return;
    }
    let text = match asked.code {
        command::QUERY => asked.text.map(Cow::Borrowed),
        command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => {
            command::statement_id(asked.payload).and_then(|id| prepared.untold(id, watch.generation)).map(|text| Cow::Owned(text.to_vec()))
        }
        _ => None,
    };
    let Some(text) = text else { return };
    for (index, gate) in watch.gates.iter().enumerate() {
        if verdict.touches(index) && gate.swapped_at_us() == 0 {
            gate.shapes().note(&text, asked.schema);
        }
    }
}

fn text_of(prepared: &Prepared, asked: &Asked<'_>) -> Option<Arc<[u8]>> {
    match asked.code {
        command::QUERY => asked.text.map(Arc::from),
        command::STMT_PREPARE if asked.is_whole => Some(Arc::from(asked.payload)),
        command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => prepared.text(command::statement_id(asked.payload)?),
        _ => None,
    }
}
