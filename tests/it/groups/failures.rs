//! The swap of two tables is cut off at each step: both are swapped or none, and the migration ends well all the same.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;

use super::{Clients, LONG, SETUP, migrate};
use crate::support::failpoints::Failpoints;
use crate::support::relay::{Loss, Relay};
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, Lab, Proxy, Server};

on_both_servers!(the_proxy_dies_at_a_step, connections_die_at_a_step, the_server_dies_around_the_swap);

/// Every step and every connection, instead of those around the RENAME.
fn is_long() -> bool {
    std::env::var_os("TIDEGATE_TEST_GROUPS").is_some()
}

/// The failpoints of an attempt.
fn steps(kind: Kind) -> Vec<&'static str> {
    let mut steps =
        vec!["cutover.hold", "cutover.drained", "cutover.locked", "cutover.caught_up", "cutover.rename_issued", "cutover.renamed"];
    if kind == Kind::MariaDb {
        steps.extend(["cutover.sentry_created", "cutover.sentry_dropped", "cutover.source_unlocked"]);
    }
    steps
}

struct House {
    lab: Lab,
    relay: Relay,
    failpoints: Failpoints,
    clients: Clients,
    groups: u64,
    began: Instant,
    kind: Kind,
}

impl House {
    async fn start(kind: Kind, is_durable: bool) -> Result<Self> {
        let server = Server::start(kind, Settings { is_durable, ..Settings::default() }).await?;
        // Long, as the proxy stands still while a row does its part.
        let (lab, relay, failpoints) = Lab::behind_a_relay(server, &[("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000")]).await?;
        lab.sql(&SETUP).await?;
        let clients = Clients::start(&lab, true);
        Ok(Self { lab, relay, failpoints, clients, groups: 0, began: Instant::now(), kind })
    }

    /// Every second group takes away what the first has added: one half of a swap would be seen.
    async fn begin(&mut self, admin: &mut Admin) -> Result<Vec<u64>> {
        self.groups += 1;
        println!("{:6.1} s: group {}", self.began.elapsed().as_secs_f64(), self.groups);
        let change = if self.groups.is_multiple_of(2) { "DROP COLUMN x" } else { "ADD COLUMN x INT" };
        migrate(admin, &format!("MIGRATE TABLE shop.a {change}, TABLE other.b {change}")).await
    }

    async fn ends_well(&mut self, ids: &[u64]) -> Result<()> {
        let mut admin = self.lab.admin().await?;
        for id in ids {
            admin.wait_done(*id, LONG).await.with_context(|| self.lab.proxy.log())?;
        }
        self.lab.assert_nothing_left().await?;
        self.clients.more(20).await
    }

    async fn end(self) -> Result<()> {
        self.clients.stop(&self.lab).await?;
        let renames = super::renames(&mut self.lab.server.connect().await?).await?;
        ensure!(renames.len() as u64 == self.groups, "{} swaps, and a replica is told of {renames:?}", self.groups);
        ensure!(!self.lab.proxy.log().contains("panicked at"), "{}", self.lab.proxy.log());
        Ok(())
    }
}

async fn the_proxy_dies_at_a_step(kind: Kind) -> Result<()> {
    let mut house = House::start(kind, false).await?;
    let around_the_rename = ["cutover.rename_issued", "cutover.source_unlocked", "cutover.renamed", "cutover.unlocked", "group.swapped"];
    let steps = steps(kind).into_iter().chain(["cutover.unlocked", "group.begun", "group.swapped", "cutover.recorded", "cleanup.drop"]);
    for step in steps.filter(|step| is_long() || around_the_rename.contains(step)) {
        house.failpoints.set(&format!("{step}=abort*1"))?;
        let mut admin = house.lab.admin().await?;
        let ids = house.begin(&mut admin).await.context(step)?;
        house.lab.proxy.ended(LONG).await.context(step)?;
        house.failpoints.set("")?;
        house.lab.proxy.launch(&[]).await?;
        house.ends_well(&ids).await.context(step)?;
    }
    house.end().await
}

async fn connections_die_at_a_step(kind: Kind) -> Result<()> {
    let mut house = House::start(kind, false).await?;
    let mut rows = vec![("cutover.locked", vec![("lock", 0)]), ("cutover.rename_issued", vec![("lock", 0)])];
    if house.kind == Kind::MariaDb {
        rows = vec![
            ("cutover.rename_issued", vec![("lock", 1)]),
            ("cutover.sentry_dropped", vec![("lock", 1)]),
            ("cutover.source_unlocked", vec![("lock", 1)]),
            ("cutover.source_unlocked", vec![("lock", 1), ("rename", 0)]),
        ];
        if is_long() {
            rows.extend([
                ("cutover.locked", vec![("lock", 0)]),
                ("cutover.caught_up", vec![("lock", 1)]),
                ("cutover.rename_issued", vec![("lock", 0)]),
                ("cutover.rename_issued", vec![("rename", 0)]),
                ("cutover.sentry_dropped", vec![("lock", 0)]),
                ("cutover.sentry_dropped", vec![("rename", 0)]),
                ("cutover.source_unlocked", vec![("rename", 0)]),
            ]);
        }
    }
    if is_long() {
        rows.extend([("cutover.caught_up", vec![("lock", 0)]), ("cutover.renamed", vec![("lock", 0)])]);
    }
    for (step, who) in rows {
        let what = format!("{who:?} at {step}");
        house.failpoints.stop_at(step)?;
        let mut admin = house.lab.admin().await?;
        let ids = house.begin(&mut admin).await.context(what.clone())?;
        house.failpoints.stopped(LONG).await.context(what.clone())?;
        for (tag, member) in who {
            house.lab.server.kill_holder(&format!("tidegate {tag} {}", ids[member])).await.context(what.clone())?;
        }
        house.failpoints.go()?;
        house.ends_well(&ids).await.context(what)?;
    }
    let losses = [
        ("RENAME TABLE", Loss::Statement),
        ("RENAME TABLE", Loss::Answer),
        ("UNLOCK TABLES", Loss::Statement),
        ("LOCK TABLES `", Loss::Statement),
        ("LOCK TABLES `", Loss::Answer),
    ];
    for (statement, loss) in losses.into_iter().take(if is_long() { 5 } else { 2 }) {
        let what = format!("{loss:?} of {statement}");
        house.relay.lose(statement, loss);
        let mut admin = house.lab.admin().await?;
        let ids = house.begin(&mut admin).await.context(what.clone())?;
        house.relay.lost(LONG).await?;
        house.ends_well(&ids).await.context(what)?;
    }
    for step in steps(kind).into_iter().filter(|step| is_long() || *step == "cutover.renamed") {
        house.failpoints.set(&format!("{step}=error*1"))?;
        let mut admin = house.lab.admin().await?;
        let ids = house.begin(&mut admin).await.context(step)?;
        house.ends_well(&ids).await.context(step)?;
    }
    house.end().await
}

/// Here nobody goes round the proxy: a server that dies breaks every connection.
async fn the_server_dies_around_the_swap(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Settings { is_durable: true, ..Settings::default() }).await?;
    let failpoints = Failpoints::new()?;
    let (name, file) = failpoints.environment();
    let proxy = Proxy::start(&server.address(), &[(name, file.as_str()), ("TIDEGATE_CUTOVER_MAX_HOLD_MS", "20000")]).await?;
    let mut lab = Lab { proxy, server };
    lab.sql(&SETUP).await?;
    for (step, change) in
        [("cutover.caught_up", "ADD COLUMN x INT"), ("cutover.rename_issued", "DROP COLUMN x"), ("cutover.renamed", "ADD COLUMN x INT")]
    {
        failpoints.stop_at(step)?;
        let ids = migrate(&mut lab.admin().await?, &format!("MIGRATE TABLE shop.a {change}, TABLE other.b {change}")).await?;
        failpoints.stopped(LONG).await.context(step)?;
        lab.server.kill_hard();
        failpoints.go()?;
        lab.server.launch().await?;
        let mut admin = lab.admin().await?;
        for id in &ids {
            admin.wait_done(*id, LONG).await.context(step)?;
        }
        lab.assert_nothing_left().await?;
    }
    let mut conn = lab.server.connect().await?;
    let rows: Option<(u64, u64)> = conn
        .query_first("SELECT COUNT(*), COUNT(x) FROM (SELECT a.id, a.x FROM shop.a a JOIN other.b b ON a.id = b.id AND a.x <=> b.x) j")
        .await?;
    ensure!(rows == Some((1000, 0)), "{rows:?}");
    Ok(())
}
