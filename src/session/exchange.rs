//! The pump: commands one way, replies the other, in one task.
//!
//! Owns: both sockets and both buffers. A write that cannot go on never keeps the other direction from being read, so
//! that the two sides cannot wait for each other.
//! Invariants: I-P1, I-P2 (a full buffer stops reading, nothing else does), I-G1 (a client that has gone is noticed before
//! what it held is looked at).
//! See: `commands.rs` for the client's bytes, `replies.rs` for the server's, `intercept.rs` for the gate.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::census::{Record, Rollback};
use crate::client_error::ClientError;
use crate::net::{self, Stream, compressed};
use crate::wire::packet::Walker;
use crate::wire::reply::Tracker;
use crate::wire::{answer, command};

use super::buffer::{Buffer, LARGE, SMALL};
use super::intercept::Desk;
use super::login::Established;
use super::numbering::Mark;
use super::prepared::Prepared;
use super::replies::Expected;
use super::transaction::{Transaction, Work};
use super::translate::Translation;
use super::{Context, LAST_BYTES, hang_up, send_last};

/// The futures of a shutdown are looked at when nothing else woke the session, and now and then.
const LOOK_AROUND: u32 = 64;

/// How long the server may take to read a goodbye.
const GOODBYE: Duration = Duration::from_millis(100);

/// Why the exchange ended.
#[derive(Debug)]
pub(super) enum Over {
    /// The client closed, or its connection broke.
    ClientGone,
    /// The server closed, or its connection broke.
    ServerGone,
    /// Either side's bytes cannot be followed.
    Broken(ClientError),
    /// The proxy is shutting down and the session is idle.
    Stopped,
    /// The client was silent for too long.
    Idle,
}

/// What the client's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A command.
    Command,
    /// A file, until an empty packet.
    File,
    /// A login's dialogue, until its end.
    Dialogue,
    /// Whatever they are: a binlog dump.
    Opaque,
}

/// What happens to the rest of the packet that is going by.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing is going by.
    None,
    /// It goes to the server.
    Pass,
    /// It is dropped, and answered with an error.
    Refuse(Box<ClientError>),
}

/// Where the server's next byte stands, for the numbers of packets and frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// In the middle of something.
    Amid,
    /// It begins the reply that is owed first.
    Reply,
    /// It answers something inside a reply; with this number.
    Answer(u8),
    /// It begins a further result.
    Result,
}

/// The alarm of `listen.idle_timeout_s`: set once, looked at when it rings, so that commands cost no timer.
struct Idle {
    limit: Duration,
    since: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(seconds: u64) -> Option<Self> {
        let limit = Duration::from_secs(seconds);
        (seconds > 0).then(|| Self { limit, since: Instant::now(), alarm: Box::pin(tokio::time::sleep(limit)) })
    }
}

/// One session after its login.
pub(super) struct Exchange {
    pub(super) context: Arc<Context>,
    pub(super) record: Arc<Record>,
    pub(super) client: Stream,
    pub(super) server: Stream,
    pub(super) up: Buffer,
    pub(super) down: Buffer,
    pub(super) mode: Mode,
    pub(super) rest: Rest,
    pub(super) client_packets: Walker,
    /// Room that the next command needs before it can be judged.
    pub(super) wanted: usize,
    /// Either side is compressed, so packets are numbered anew.
    pub(super) is_numbered: bool,
    pub(super) turn: Turn,
    /// The sequence number of the client's last whole packet.
    pub(super) client_sequence: u8,
    /// The packet that is going by is a command that will be answered.
    pub(super) is_owing: bool,
    pub(super) expected: VecDeque<Expected>,
    pub(super) tracker: Tracker,
    /// Bytes of a swallowed reply that were fed to the tracker and not yet taken away.
    pub(super) swallowed: usize,
    pub(super) capabilities: u64,
    pub(super) transaction: Transaction,
    pub(super) prepared: Prepared,
    /// The default schema; `None` where it cannot be told.
    pub(super) schema: Option<String>,
    pub(super) desk: Desk,
    /// When the statement that is being answered was sent, where somebody asks how long they take; else 0.
    pub(super) sent_us: u64,
    /// Where only one side is secure: what a COM_CHANGE_USER needs.
    pub(super) translation: Option<Box<Translation>>,
    /// COM_STMT_SEND_LONG_DATA went by and its COM_STMT_EXECUTE did not yet.
    pub(super) is_amid_long_data: bool,
    /// FORCE has rolled the transaction back, and the client does not know it yet.
    pub(super) was_rolled_back: bool,
    /// The task is known to those who wish a rollback.
    can_be_woken: bool,
    /// Resolves when the client has gone, where a full buffer would hide it.
    client_end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    idle: Option<Idle>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    is_stopping: bool,
    turns: u32,
}

/// Carries a session from the end of its login to its own end.
pub(super) async fn carry(established: Established, context: Arc<Context>, record: Arc<Record>) {
    let mut transaction = Transaction::default();
    transaction.replied(established.status, Work::Nothing, &record);
    record.set_schema(Some(&established.schema));
    let idle = Idle::new(context.config.load().listen.idle_timeout_s);
    let shutdown = Box::pin(context.shutdown.clone().cancelled_owned());
    let (mut client, mut server) = (established.client, established.server);
    let (mut up, mut down) = (Buffer::with(&established.from_client), Buffer::with(&established.from_server));
    let is_numbered = client.is_compressed() || server.is_compressed();
    if is_numbered {
        client.lead_frames();
        server.lead_frames();
        up.number();
        down.number();
    }
    let mut exchange = Exchange {
        record,
        client,
        server,
        up,
        down,
        is_numbered,
        turn: Turn::Amid,
        client_sequence: 0,
        is_owing: false,
        mode: Mode::Command,
        rest: Rest::None,
        client_packets: Walker::default(),
        wanted: 0,
        expected: VecDeque::new(),
        tracker: Tracker::new(established.capabilities),
        swallowed: 0,
        capabilities: established.capabilities,
        transaction,
        prepared: Prepared::default(),
        schema: Some(established.schema),
        desk: Desk::default(),
        sent_us: 0,
        translation: established.translation,
        is_amid_long_data: false,
        was_rolled_back: false,
        can_be_woken: false,
        client_end: None,
        idle,
        shutdown,
        is_stopping: false,
        turns: 0,
        context,
    };
    let over = std::future::poll_fn(|task| exchange.poll(task)).await;
    exchange.finish(over).await;
}

impl Exchange {
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Over> {
        let mut has_moved = false;
        if !self.can_be_woken {
            // The session stays in one task, so this is done once, and again after a wish has used it up.
            self.record.wake_for_rollback(task.waker());
            self.can_be_woken = true;
        }
        if self.record.rollback() == Rollback::Wanted {
            self.record.wake_for_rollback(task.waker());
        }
        loop {
            match self.turn(task) {
                Ok(true) => has_moved = true,
                Ok(false) => break,
                Err(over) => return Poll::Ready(over),
            }
        }
        if self.idle.is_some() && self.has_been_idle(task, has_moved) {
            return Poll::Ready(Over::Idle);
        }
        self.turns = self.turns.wrapping_add(1);
        if !self.is_stopping && (!has_moved || self.turns.is_multiple_of(LOOK_AROUND)) {
            self.is_stopping = self.shutdown.as_mut().poll(task).is_ready();
        }
        if self.is_stopping && self.is_idle() {
            return Poll::Ready(Over::Stopped);
        }
        Poll::Pending
    }

    /// Moves whatever can be moved; `false` where nothing could.
    fn turn(&mut self, task: &mut TaskContext<'_>) -> Result<bool, Over> {
        let mut has_moved = self.read_server(task)?;
        self.roll_back_if_wanted();
        if self.down.is_ready() {
            has_moved |=
                self.down.poll_flush(task, &mut self.client).map_err(|error| lost(&self.record, "client", &error, Over::ClientGone))?;
        }
        has_moved |= self.read_client(task)?;
        self.look_for_the_end(task)?;
        has_moved |= self.advance_up(task)?;
        self.look_for_the_end(task)?;
        if self.up.is_ready() {
            has_moved |=
                self.up.poll_flush(task, &mut self.server).map_err(|error| lost(&self.record, "server", &error, Over::ServerGone))?;
        }
        Ok(has_moved)
    }

    fn read_server(&mut self, task: &mut TaskContext<'_>) -> Result<bool, Over> {
        match self.down.poll_fill(task, &mut self.server, LARGE) {
            Poll::Ready(Ok(0)) => Err(Over::ServerGone),
            Poll::Ready(Ok(_)) => {
                self.advance_down()?;
                Ok(true)
            }
            Poll::Ready(Err(error)) if compressed::is_malformed(&error) => {
                tracing::error!(session = %self.record.id, %error, "the server's bytes cannot be followed");
                Err(Over::Broken(ClientError::UpstreamLost))
            }
            Poll::Ready(Err(error)) => Err(lost(&self.record, "server", &error, Over::ServerGone)),
            Poll::Pending => Ok(false),
        }
    }

    fn read_client(&mut self, task: &mut TaskContext<'_>) -> Result<bool, Over> {
        let limit = self.room();
        match self.up.poll_fill(task, &mut self.client, limit) {
            Poll::Ready(Ok(0)) => Err(self.client_closed(task)),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) if compressed::is_malformed(&error) => {
                if let Some(last) = self.client.last_frame() {
                    self.down.mark(Mark::Begin(last.wrapping_add(1)));
                }
                Err(Over::Broken(ClientError::NotUnpacked))
            }
            Poll::Ready(Err(error)) => Err(lost(&self.record, "client", &error, Over::ClientGone)),
            Poll::Pending => Ok(false),
        }
    }

    /// While a command is gathered or held there is room for a little more, so that the client's end is seen.
    fn room(&self) -> usize {
        LARGE.max(self.wanted + SMALL)
    }

    /// What a client has sent behind a held command hides its end once the buffer is full: there it is looked for (I-G1).
    fn look_for_the_end(&mut self, task: &mut TaskContext<'_>) -> Result<(), Over> {
        if !self.desk.is_holding() {
            if self.client_end.is_some() {
                self.client_end = None;
            }
            return Ok(());
        }
        if self.client_end.is_none() && self.up.is_full(self.room()) {
            match net::watch_for_end(&self.client) {
                Ok(end) => self.client_end = Some(Box::pin(end)),
                Err(error) => {
                    tracing::warn!(session = %self.record.id, client = %self.record.client, %error, "a held client's end cannot be watched");
                }
            }
        }
        let has_gone = self.client_end.as_mut().is_some_and(|end| end.as_mut().poll(task).is_ready());
        if has_gone { Err(Over::ClientGone) } else { Ok(()) }
    }

    /// What was judged before the client closed still goes out; what is held does not (I-G1).
    fn client_closed(&mut self, task: &mut TaskContext<'_>) -> Over {
        if !self.desk.is_holding() {
            // A client may send its last commands and close at once.
            if let Err(over) = self.advance_up(task) {
                return over;
            }
        }
        if let Err(error) = self.up.poll_flush(task, &mut self.server) {
            tracing::debug!(session = %self.record.id, %error, "the server's connection broke while the client closed");
        }
        Over::ClientGone
    }

    /// The session may end here without anybody losing anything. A binlog dump never gets there by itself.
    fn is_idle(&self) -> bool {
        self.mode == Mode::Opaque
            || self.expected.is_empty()
                && !self.transaction.is_open()
                && self.up.is_empty()
                && self.down.is_empty()
                && matches!(self.rest, Rest::None)
                && self.mode == Mode::Command
    }

    /// Whether the client has been silent between two commands for as long as it may.
    fn has_been_idle(&mut self, task: &mut TaskContext<'_>, has_moved: bool) -> bool {
        let is_between = self.mode == Mode::Command && self.expected.is_empty() && self.up.is_empty() && self.down.is_empty();
        let Some(idle) = &mut self.idle else { return false };
        if has_moved || !is_between {
            idle.since = Instant::now();
        }
        while idle.alarm.as_mut().poll(task).is_ready() {
            let end = idle.since + idle.limit;
            if Instant::now() >= end {
                return true;
            }
            idle.alarm.as_mut().reset(end);
        }
        false
    }

    /// Gives both sides what they are owed, and closes.
    async fn finish(self, over: Over) {
        let Self { mut client, mut server, mut down, desk, record, mode, .. } = self;
        drop(desk);
        let mut owed = Vec::new();
        match over {
            Over::ClientGone => return,
            Over::ServerGone => {}
            Over::Broken(error) => {
                let entry = error.entry();
                tracing::error!(session = %record.id, client = %record.client, tag = entry.tag, "a session ended: its bytes cannot be followed");
                answer::push_error(&mut owed, 1, entry.code, Some(entry.state), &error.message());
            }
            Over::Idle => {
                let error = ClientError::IdleTimeout;
                let entry = error.entry();
                tracing::info!(session = %record.id, client = %record.client, tag = entry.tag, "a session was closed");
                answer::push_error(&mut owed, 0, entry.code, Some(entry.state), &error.message());
                down.mark(Mark::Unasked(0));
                server.begin_frame(0);
                let _ = tokio::time::timeout(GOODBYE, send_last(&mut server, &[1, 0, 0, 0, command::QUIT])).await;
            }
            Over::Stopped => {
                if mode == Mode::Command {
                    server.begin_frame(0);
                    // The server's log counts a connection that just ends as aborted.
                    let quit = send_last(&mut server, &[1, 0, 0, 0, command::QUIT]);
                    let _ = tokio::time::timeout(GOODBYE, quit).await;
                }
            }
        }
        let _ = server.shutdown().await;
        // The server rolls back now; who waits for this transaction need not wait for the client to hang up.
        record.transaction_closed();
        down.insert(&owed);
        let sent = std::future::poll_fn(|task| down.poll_drain(task, &mut client));
        if matches!(tokio::time::timeout(LAST_BYTES, sent).await, Ok(Ok(()))) {
            hang_up(client).await;
        }
    }
}

fn lost(record: &Record, side: &'static str, error: &io::Error, over: Over) -> Over {
    tracing::debug!(session = %record.id, client = %record.client, side, %error, "a connection broke");
    over
}
