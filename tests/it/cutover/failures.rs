//! The table of failures: each line, by each protocol, on each server, under write load through the proxy and round it.
//!
//! One server and one proxy serve a whole protocol; each row is one migration that meets one fault and must end well all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::failpoints::Failpoints;
use crate::support::lab::{Lab, SCHEMA, TABLE, assert_nothing_lost};
use crate::support::load::{Load, Options, Outcome, table};
use crate::support::relay::{Loss, Relay};
use crate::support::servers::{Server, Settings};
use crate::support::{Admin, Kind, compare};

macro_rules! failures {
    ($($protocol:ident: $($kind:ident)+;)+) => {$(
        mod $protocol {
            $(failures!(@one $protocol $kind);)+
        }
    )+};
    (@one $protocol:ident mysql) => {
        #[test]
        fn connections_die_on_mysql() {
            crate::run(super::connections_die(crate::support::Kind::MySql, stringify!($protocol)));
        }
        #[test]
        fn processes_die_on_mysql() {
            crate::run(super::processes_die(crate::support::Kind::MySql, stringify!($protocol)));
        }
    };
    (@one $protocol:ident mariadb) => {
        #[test]
        fn connections_die_on_mariadb() {
            crate::run(super::connections_die(crate::support::Kind::MariaDb, stringify!($protocol)));
        }
        #[test]
        fn processes_die_on_mariadb() {
            crate::run(super::processes_die(crate::support::Kind::MariaDb, stringify!($protocol)));
        }
    };
}

failures!(
    locked_rename: mysql;
    sentry: mysql mariadb;
    sentry_locked_shadow: mysql mariadb;
    in_place: mysql mariadb;
);

on_both_servers!(a_replica_equals_its_source_after_every_kind_of_fault,);

const LONG: Duration = Duration::from_secs(90);

/// What befalls the migration.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The step fails where the failpoint is.
    Error,
    /// What comes after the failpoint comes late.
    Late,
    /// The proxy stands at the failpoint; these connections are ended by KILL.
    Kill(&'static [&'static str]),
    /// A connection breaks at the statement with this text, before or after the server has done it.
    Lose(Loss),
    /// The proxy dies at the failpoint.
    ProxyDies,
    /// The server is killed while the proxy stands at the failpoint, and started again.
    ServerDies,
    /// A table stands where the sentry, or the retired table, must go.
    Obstacle,
    /// Somebody round the proxy has just opened the table, and keeps it open until an attempt was called off.
    Holder,
}

/// C1, C2 and C3 by the names of their tags.
const C1: &str = "lock";
const C2: &str = "rename";
const C3: &str = "shadow";

/// Rows for every protocol: the line of the table, the failpoint or the statement, the fault.
const ALL: &[(&str, &str, Fault)] = &[
    ("the attempt fails while it holds", "cutover.hold", Fault::Error),
    ("the attempt fails with the gate drained", "cutover.drained", Fault::Error),
    ("LOCK fails: C1 is gone", "cutover.drained", Fault::Kill(&[C1])),
    ("LOCK fails: the statement is lost", "LOCK TABLES `shop`", Fault::Lose(Loss::Statement)),
    ("LOCK succeeds and the answer is lost", "LOCK TABLES `shop`", Fault::Lose(Loss::Answer)),
    ("LOCK times out", "", Fault::Holder),
    ("the attempt fails with the tables locked", "cutover.locked", Fault::Error),
    ("C1 dies with the tables locked", "cutover.locked", Fault::Kill(&[C1])),
    ("the attempt fails caught up", "cutover.caught_up", Fault::Error),
    ("C1 dies before RENAME is issued", "cutover.caught_up", Fault::Kill(&[C1])),
    ("the attempt fails with the RENAME issued", "cutover.rename_issued", Fault::Error),
    ("C1 dies while RENAME waits", "cutover.rename_issued", Fault::Kill(&[C1])),
    ("RENAME is lost", "RENAME TABLE", Fault::Lose(Loss::Statement)),
    ("the OK of RENAME is lost", "RENAME TABLE", Fault::Lose(Loss::Answer)),
    ("the outcome of RENAME is not known", "cutover.renamed", Fault::Error),
    ("C1 dies after RENAME", "cutover.renamed", Fault::Kill(&[C1])),
    ("UNLOCK is lost", "UNLOCK TABLES", Fault::Lose(Loss::Statement)),
    ("creating the sentry fails", "", Fault::Obstacle),
];

/// Rows for those with a sentry.
const WITH_A_SENTRY: &[(&str, &str, Fault)] = &[
    ("creating the sentry fails: the connection breaks", "CREATE TABLE `~retired", Fault::Lose(Loss::Statement)),
    ("the sentry is created and the answer is lost", "CREATE TABLE `~retired", Fault::Lose(Loss::Answer)),
    ("RENAME is slow to arrive", "cutover.rename_on_its_way", Fault::Late),
    ("C2 dies before RENAME is issued", "cutover.caught_up", Fault::Kill(&[C2])),
    ("C2 dies before the sentry is dropped", "cutover.rename_issued", Fault::Kill(&[C2])),
    ("C1 and C2 die", "cutover.rename_issued", Fault::Kill(&[C1, C2])),
    ("dropping the sentry is lost", "DROP TABLE `~retired", Fault::Lose(Loss::Statement)),
    ("the sentry is dropped and the answer is lost", "DROP TABLE `~retired", Fault::Lose(Loss::Answer)),
    ("the attempt fails with the sentry dropped", "cutover.sentry_dropped", Fault::Error),
    ("C2 dies after the sentry is dropped", "cutover.sentry_dropped", Fault::Kill(&[C2])),
    ("C1 dies after the sentry is dropped", "cutover.sentry_dropped", Fault::Kill(&[C1])),
    ("C1 and C2 die after the sentry is dropped", "cutover.sentry_dropped", Fault::Kill(&[C1, C2])),
];

/// Rows for the one with a locked shadow.
const WITH_A_LOCKED_SHADOW: &[(&str, &str, Fault)] = &[
    ("C3 cannot lock", "cutover.caught_up", Fault::Kill(&[C3])),
    ("locking the shadow is lost", "LOCK TABLES `~shadow_shop`.`orders` WRITE", Fault::Lose(Loss::Answer)),
    ("C1 dies with the shadow locked", "cutover.shadow_locked", Fault::Kill(&[C1])),
    ("C3 dies before the sentry is dropped", "cutover.rename_issued", Fault::Kill(&[C3])),
    ("C1, C2 and C3 die", "cutover.rename_issued", Fault::Kill(&[C1, C2, C3])),
    ("C3 dies after the sentry is dropped", "cutover.sentry_dropped", Fault::Kill(&[C3])),
    ("C1 and C3 die after the sentry is dropped", "cutover.sentry_dropped", Fault::Kill(&[C1, C3])),
    ("the attempt fails with the shadow unlocked", "cutover.shadow_unlocked", Fault::Error),
    ("C1 dies with the shadow unlocked", "cutover.shadow_unlocked", Fault::Kill(&[C1])),
    ("C2 dies with the shadow unlocked", "cutover.shadow_unlocked", Fault::Kill(&[C2])),
];

/// Rows where the server alters the table behind the gate, and nothing is swapped.
const IN_PLACE_ROWS: &[(&str, &str, Fault)] = &[
    ("the attempt fails while it holds", "cutover.hold", Fault::Error),
    ("the attempt fails with the gate drained", "cutover.drained", Fault::Error),
    ("the ALTER fails: C1 is gone", "cutover.drained", Fault::Kill(&[C1])),
    ("C1 dies before the ALTER is issued", "cutover.alter_issued", Fault::Kill(&[C1])),
    ("the ALTER is lost", ALTER_OF_THE_SOURCE, Fault::Lose(Loss::Statement)),
    ("the OK of the ALTER is lost", ALTER_OF_THE_SOURCE, Fault::Lose(Loss::Answer)),
    ("the outcome of the ALTER is not known", "cutover.altered", Fault::Error),
    ("C1 dies after the ALTER", "cutover.altered", Fault::Kill(&[C1])),
    ("the attempt fails with the ALTER made", "cutover.unlocked", Fault::Error),
    ("the ALTER waits for too long", "", Fault::Holder),
];

/// How it begins; the one of the empty copy names another schema.
pub(super) const ALTER_OF_THE_SOURCE: &str = "ALTER TABLE `shop`.`orders`";

/// No protocol: the table is changed where it stands.
pub(super) const IN_PLACE: &str = "in_place";

fn rows(protocol: &str) -> Vec<(&'static str, &'static str, Fault)> {
    if protocol == IN_PLACE {
        return IN_PLACE_ROWS.to_vec();
    }
    let mut rows = ALL.to_vec();
    if protocol != "locked_rename" {
        rows.extend(WITH_A_SENTRY);
    }
    if protocol == "sentry_locked_shadow" {
        rows.extend(WITH_A_LOCKED_SHADOW);
    }
    rows
}

/// The failpoints of an attempt.
pub(super) fn steps_of_an_attempt(protocol: &str) -> Vec<&'static str> {
    if protocol == IN_PLACE {
        return vec!["cutover.hold", "cutover.drained", "cutover.alter_issued", "cutover.altered"];
    }
    let mut steps =
        vec!["cutover.hold", "cutover.drained", "cutover.locked", "cutover.caught_up", "cutover.rename_issued", "cutover.renamed"];
    if protocol != "locked_rename" {
        steps.extend(["cutover.sentry_created", "cutover.sentry_dropped"]);
    }
    if protocol == "sentry_locked_shadow" {
        steps.extend(["cutover.shadow_locked", "cutover.shadow_unlocked"]);
    }
    steps
}

/// Steps at which a whole process dies.
fn steps(protocol: &str) -> Vec<&'static str> {
    let mut steps = steps_of_an_attempt(protocol);
    if protocol == IN_PLACE {
        steps.extend(["in_place.proved", "cutover.unlocked", "cutover.recorded", "cleanup.drop"]);
    } else {
        // `proxy_dies_drained` is elsewhere.
        steps.retain(|step| *step != "cutover.drained");
    }
    steps
}

/// Each row is done on one of the servers at least; on both by the protocols that `auto` chooses, and in the whole length.
fn is_due(kind: Kind, protocol: &str, nth: usize) -> bool {
    let is_chosen = matches!((kind, protocol), (Kind::MySql, "locked_rename") | (Kind::MariaDb, "sentry") | (_, IN_PLACE));
    is_chosen || std::env::var_os("TIDEGATE_TEST_FAILURES").is_some() || nth % 2 == usize::from(kind == Kind::MariaDb)
}

async fn connections_die(kind: Kind, protocol: &str) -> Result<()> {
    let mut house = House::start(kind, protocol, false).await?;
    for (_, (name, at, fault)) in rows(protocol).into_iter().enumerate().filter(|(nth, _)| is_due(kind, protocol, *nth)) {
        println!("{:6.1} s: {name}", house.began.elapsed().as_secs_f64());
        house.row(at, fault).await.with_context(|| format!("{protocol}: {name} ({at}, {fault:?})"))?;
    }
    let (outcome, _) = house.end().await?;
    ensure!(outcome.seen.disconnects == 0, "{} connections of clients broke", outcome.seen.disconnects);
    Ok(())
}

async fn processes_die(kind: Kind, protocol: &str) -> Result<()> {
    let mut house = House::start(kind, protocol, true).await?;
    let deaths = steps(protocol).into_iter().flat_map(|step| [(step, Fault::ProxyDies), (step, Fault::ServerDies)]);
    for (_, (step, fault)) in deaths.enumerate().filter(|(nth, _)| is_due(kind, protocol, nth / 2 + nth % 2)) {
        println!("{:6.1} s: {fault:?} at {step}", house.began.elapsed().as_secs_f64());
        house.row(step, fault).await.with_context(|| format!("{protocol}: {fault:?} at {step}"))?;
    }
    house.end().await.map(|_| ())
}

/// What a real replica makes of attempts that were called off, repeated, settled and cut off: the same table.
async fn a_replica_equals_its_source_after_every_kind_of_fault(kind: Kind) -> Result<()> {
    for protocol in super::protocols(kind).iter().copied().chain([IN_PLACE]) {
        let (statement, issued, done) = match protocol {
            IN_PLACE => (ALTER_OF_THE_SOURCE, "cutover.alter_issued", "cutover.altered"),
            _ => ("RENAME TABLE", "cutover.rename_issued", "cutover.renamed"),
        };
        let server = Server::start(kind, Settings::default()).await?;
        let replica = crate::replicas::replica_behind(&server, server.port).await?;
        let mut house = House::before(server, protocol).await?;
        for (at, fault) in [
            (statement, Fault::Lose(Loss::Statement)),
            (statement, Fault::Lose(Loss::Answer)),
            (issued, Fault::Kill(&[C1])),
            (done, Fault::ProxyDies),
        ] {
            house.row(at, fault).await.with_context(|| format!("{protocol}: {at}, {fault:?}"))?;
        }
        let (_, lab) = house.end().await?;
        crate::replicas::caught_up(&lab, &replica).await.context(protocol)?;
        let (mut source, mut copy) = (lab.server.connect().await?, replica.connect().await?);
        let (theirs, ours) = (compare::definition(&mut copy, TABLE).await?, compare::definition(&mut source, TABLE).await?);
        ensure!(theirs == ours, "{protocol}: the replica has {theirs}, the source {ours}");
        let left = compare::leftovers(&mut copy).await?;
        ensure!(left.is_empty(), "{protocol}: left behind on the replica: {left:?}");
    }
    Ok(())
}

/// Everything that the rows of one protocol share.
struct House {
    protocol: String,
    lab: Lab,
    relay: Relay,
    failpoints: Failpoints,
    through: Load,
    round: Load,
    prober: Prober,
    migrations: u64,
    began: Instant,
}

impl House {
    async fn start(kind: Kind, protocol: &str, is_durable: bool) -> Result<Self> {
        Self::before(Server::start(kind, Settings { is_durable, ..Settings::default() }).await?, protocol).await
    }

    async fn before(server: Server, protocol: &str) -> Result<Self> {
        // Long, as the proxy stands still while a row does its part.
        let (lab, relay, failpoints) = Lab::behind_a_relay(server, &[("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000")]).await?;
        let options = Options { clients: 8, think: Duration::from_millis(40), transactions: 0, ..Options::default() };
        let mut journals = table::prepare(&mut lab.server.connect().await?, SCHEMA, 400, options.clients).await?;
        // Six clients through the proxy, with transactions; two round it, which nothing holds but the server's own locks.
        let round = Load::start(lab.server.port, SCHEMA, journals.split_off(6), &options).await?;
        let through = Load::start(lab.proxy.port, SCHEMA, journals, &Options { transactions: 20, ..options }).await?;
        let prober = Prober::start(lab.server.port);
        Ok(Self { protocol: protocol.to_owned(), lab, relay, failpoints, through, round, prober, migrations: 0, began: Instant::now() })
    }

    /// One migration that meets one fault.
    async fn row(&mut self, at: &str, fault: Fault) -> Result<()> {
        let mut holder = None;
        match fault {
            Fault::Error => self.failpoints.set(&format!("{at}=error*1"))?,
            Fault::Late => self.failpoints.set(&format!("{at}=sleep(500)*1"))?,
            Fault::ProxyDies => self.failpoints.set(&format!("{at}=abort*1"))?,
            Fault::Kill(_) | Fault::ServerDies => self.failpoints.stop_at(at)?,
            Fault::Lose(loss) => self.relay.lose(at, loss),
            Fault::Obstacle | Fault::Holder => {}
        }
        let mut admin = self.lab.admin().await?;
        let postpone = if matches!(fault, Fault::Obstacle | Fault::Holder) { ", postpone = true" } else { "" };
        // The answer to MIGRATE is lost where the proxy dies at once.
        let is_soon = at == "in_place.proved";
        let (alter, with) = match self.protocol.as_str() {
            IN_PLACE if self.migrations.is_multiple_of(2) => {
                ("ADD COLUMN extra INT DEFAULT 7", format!("WITH strategy = 'instant'{postpone}"))
            }
            IN_PLACE => ("DROP COLUMN extra", format!("WITH strategy = 'instant'{postpone}")),
            protocol => ("FORCE", format!("WITH strategy = 'copy', cutover = '{protocol}'{postpone}")),
        };
        self.migrations += 1;
        let id = match admin.migrate(TABLE, alter, &with).await {
            Err(_) if is_soon => self.migrations,
            id => id?,
        };
        match fault {
            Fault::Error | Fault::Late => {}
            Fault::Lose(_) => self.relay.lost(LONG).await?,
            Fault::Kill(who) => {
                self.failpoints.stopped(LONG).await?;
                self.kill(id, who).await?;
                self.failpoints.go()?;
            }
            Fault::ProxyDies => {
                self.lab.proxy.ended(LONG).await?;
                self.failpoints.set("")?;
                self.lab.proxy.launch(&[]).await?;
                admin = self.lab.admin().await?;
            }
            Fault::ServerDies => {
                self.failpoints.stopped(LONG).await?;
                self.lab.server.kill_hard();
                self.failpoints.go()?;
                self.lab.server.launch().await?;
            }
            Fault::Obstacle => self.meet_obstacle(&mut admin, id).await?,
            Fault::Holder => holder = Some(self.meet_holder(&mut admin, id).await?),
        }
        drop(holder);
        self.ends_well(&mut admin, id).await
    }

    async fn kill(&self, id: u64, who: &[&str]) -> Result<()> {
        let mut victims = Vec::new();
        for tag in who {
            victims.push(self.lab.server.holder(&format!("tidegate {tag} {id}")).await?);
        }
        // The end of one may end the other: without C1 the RENAME fails.
        for victim in victims {
            self.lab.server.kill_session(victim).await?;
        }
        Ok(())
    }

    /// A table that is no sentry stands under the retired name: never dropped, and said.
    async fn meet_obstacle(&self, admin: &mut Admin, id: u64) -> Result<()> {
        admin.wait_phase(id, &["ready"], LONG).await?;
        self.lab.sql(&["CREATE TABLE `~retired_shop`.orders (keep_me INT)", "INSERT INTO `~retired_shop`.orders VALUES (7)"]).await?;
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        self.called_off(admin, id, "already exists").await?;
        let mut conn = self.lab.server.connect().await?;
        let kept: Option<u64> = conn.query_first("SELECT keep_me FROM `~retired_shop`.orders").await?;
        ensure!(kept == Some(7), "the table that stood in the way is not as it was");
        self.lab.sql(&["DROP TABLE `~retired_shop`.orders"]).await
    }

    /// A transaction of somebody round the proxy, young enough for an attempt to begin. (Not LOCK TABLES: while that is waited for,
    /// the server ends clients' transactions that have read and want to write.)
    async fn meet_holder(&self, admin: &mut Admin, id: u64) -> Result<Conn> {
        admin.wait_phase(id, &["ready"], LONG).await?;
        let mut holder = self.lab.server.connect().await?;
        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
        let until = Instant::now() + LONG;
        // On MySQL no attempt begins while it is older than a second, so it is begun anew.
        while admin.status(id).await?.number("cutover_attempts") == 0.0 {
            ensure!(Instant::now() < until, "no attempt was made");
            holder.query_drop("BEGIN").await?;
            holder.query_drop("INSERT INTO shop.orders (id, customer_id, client, seq) VALUES (-9, 0, -1, 0)").await?;
            tokio::time::sleep(Duration::from_millis(600)).await;
            holder.query_drop("ROLLBACK").await?;
            if admin.status(id).await?.is_final() {
                break;
            }
        }
        Ok(holder)
    }

    async fn called_off(&self, admin: &mut Admin, id: u64, word: &str) -> Result<()> {
        let until = Instant::now() + LONG;
        loop {
            let status = admin.status(id).await?;
            if status.text("note").contains("called off") && status.text("note").contains(word) {
                return Ok(());
            }
            ensure!(!status.is_final() && Instant::now() < until, "no attempt was called off with {word:?} in the note: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ends_well(&self, admin: &mut Admin, id: u64) -> Result<()> {
        admin.wait_done(id, LONG).await.with_context(|| tail_of(&self.lab.proxy.log()))?;
        self.lab.assert_nothing_left().await?;
        let mut conn = self.lab.server.connect().await?;
        // The connections of the attempts, and the lease: nothing that belongs to the migration holds anything any more.
        for tag in [C1, C2, C3, "migration"] {
            let question = format!("SELECT IS_FREE_LOCK('tidegate {tag} {id}')");
            let until = Instant::now() + Duration::from_secs(20);
            while conn.query_first::<u64, _>(&question).await? != Some(1) {
                // Its connection may be ending at this moment.
                ensure!(Instant::now() < until, "the lock {tag} of migration {id} is still held");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        // Clients go on, both those that were held and those that were not.
        self.through.more_statements(20).await?;
        self.round.more_statements(10).await?;
        let gates = admin.rows("SHOW GATES").await?;
        ensure!(gates.iter().all(|gate| gate.text("state") == "open"), "a gate is not open: {gates:?}");
        Ok(())
    }

    async fn end(self) -> Result<(Outcome, Lab)> {
        let (mut outcome, round) = (self.through.stop().await?, self.round.stop().await?);
        ensure!(outcome.seen.errors.is_empty(), "clients saw errors: {:?}", outcome.seen.errors);
        ensure!(round.seen.errors.is_empty(), "clients round the proxy saw errors: {:?}", round.seen.errors);
        ensure!(round.seen.stale_reads == 0, "{:?}", round.seen.stale_examples);
        outcome.journals.extend(round.journals);
        assert_nothing_lost(&self.lab.server, &outcome).await?;
        let unresolved = self.prober.stop().await?;
        ensure!(unresolved == 0, "the table's name did not resolve {unresolved} times");
        let mut conn = self.lab.server.connect().await?;
        match self.protocol.as_str() {
            IN_PLACE => one_alter_each(&mut conn, self.migrations).await?,
            _ => one_rename_each(&mut conn, self.migrations).await?,
        }
        let log = self.lab.proxy.log();
        ensure!(!log.contains("panicked at"), "{}", tail_of(&log));
        Ok((outcome, self.lab))
    }
}

/// What a replica is told: one RENAME with both tables for each swap, and no other DDL on the table.
async fn one_rename_each(conn: &mut Conn, swaps: u64) -> Result<()> {
    let renames = logged(conn, |text| text.contains("RENAME TABLE") && text.contains("`orders`")).await?;
    for text in &renames {
        let is_whole =
            text.contains("`shop`.`orders` TO `~retired_shop`.`orders`") && text.contains("`~shadow_shop`.`orders` TO `shop`.`orders`");
        ensure!(is_whole, "a replica is told of a half: {text}");
    }
    ensure!(renames.len() as u64 == swaps, "{swaps} swaps, and a replica is told of {}", renames.len());
    Ok(())
}

/// The same in place: one ALTER for each, and nothing else of the table.
async fn one_alter_each(conn: &mut Conn, migrations: u64) -> Result<()> {
    let alters = logged(conn, |text| text.contains("`shop`.`orders`") && !text.contains("CREATE TABLE")).await?;
    ensure!(alters.iter().all(|text| text.contains("ALGORITHM=INSTANT")), "{alters:?}");
    ensure!(alters.len() as u64 == migrations, "{migrations} ALTERs, and a replica is told of {alters:?}");
    Ok(())
}

/// Statements in the binary log.
async fn logged(conn: &mut Conn, is_meant: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await?;
    let mut found = Vec::new();
    for log in logs {
        let Some(name) = log.get::<String, _>(0) else { bail!("a binary log without a name") };
        let events: Vec<mysql_async::Row> = conn.query(format!("SHOW BINLOG EVENTS IN '{name}'")).await?;
        let texts = events.into_iter().filter_map(|event| event.get::<Option<String>, _>(5).flatten());
        found.extend(texts.filter(|text| is_meant(text)));
    }
    Ok(found)
}

fn tail_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("held statement")).collect();
    lines.iter().skip(lines.len().saturating_sub(30)).copied().collect::<Vec<_>>().join("\n")
}

/// Somebody who asks the server directly, all the time, whether the table is there.
struct Prober {
    is_stopping: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<u64>,
}

impl Prober {
    fn start(port: u16) -> Self {
        let (is_stopping, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (is_stopping.clone(), answers.clone());
        let task = tokio::spawn(async move {
            let mut unresolved = 0;
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut conn) = crate::support::servers::connect(port, crate::support::servers::APP).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                while !stop.load(Ordering::Relaxed) {
                    match conn.query_first::<i64, _>("SELECT id FROM shop.orders LIMIT 1").await {
                        Ok(_) => count.fetch_add(1, Ordering::Relaxed),
                        Err(mysql_async::Error::Server(error)) if error.code == 1146 => {
                            unresolved += 1;
                            continue;
                        }
                        Err(_) => break,
                    };
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            unresolved
        });
        Self { is_stopping, answers, task }
    }

    async fn stop(self) -> Result<u64> {
        self.is_stopping.store(true, Ordering::Relaxed);
        let unresolved = self.task.await?;
        ensure!(self.answers.load(Ordering::Relaxed) > 100, "the prober got hardly an answer");
        Ok(unresolved)
    }
}
