//! Two proxies before one server: one runs the migration, the other looks on, and takes over as soon as the lease is free.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;

use super::{LONG, wait_until};
use crate::migrations::quiet_table;
use crate::support::failpoints::Failpoints;
use crate::support::lab::{Lab, SCHEMA, TABLE};
use crate::support::servers::Settings;
use crate::support::{Admin, Kind, Proxy, compare};

on_both_servers!(
    an_alter_whose_end_cannot_be_known_is_not_made_again,
    a_failure_is_not_written_over_what_the_other_proxy_has_done,
    what_one_has_parked_the_other_leaves_parked,
);

/// The proxy of the lab looks on; the second one has failpoints and is told to begin.
struct Two {
    lab: Lab,
    onlooker: Admin,
    second: Proxy,
    admin: Admin,
    failpoints: Failpoints,
}

impl Two {
    async fn start(kind: Kind) -> Result<Self> {
        Self::beside(Lab::start(kind).await?).await
    }

    async fn beside(lab: Lab) -> Result<Self> {
        quiet_table(&lab, 300).await?;
        let failpoints = Failpoints::new()?;
        let (name, file) = failpoints.environment();
        let second = Proxy::start(&lab.server.address(), &[(name, file.as_str())]).await?;
        let (onlooker, admin) = (lab.admin().await?, second.admin().await?);
        Ok(Self { lab, onlooker, second, admin, failpoints })
    }

    /// Starts a migration with the second proxy and waits until it stands at a point and the other one knows of it.
    async fn stopped_at(&mut self, point: &str, alter: &str, options: &str) -> Result<u64> {
        self.failpoints.stop_at(point)?;
        let id = self.admin.migrate(TABLE, alter, options).await?;
        self.failpoints.stopped(LONG).await?;
        let until = Instant::now() + LONG;
        while !self.onlooker.rows("SHOW MIGRATIONS").await?.iter().any(|row| row.id() == id) {
            ensure!(Instant::now() < until, "the other proxy does not know migration {id}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(id)
    }

    /// The second proxy's run is over; before it stores why, the other one brings the migration to an end, and both show that.
    async fn other_ends_it(&mut self, id: u64, end: &str) -> Result<()> {
        self.onlooker.wait_phase(id, &[end], LONG).await?;
        self.failpoints.go()?;
        self.admin.wait_phase(id, &[end], LONG).await?;
        for admin in [&mut self.onlooker, &mut self.admin] {
            let status = admin.status(id).await?;
            ensure!(status.phase() == end && (status.error_code() == 1412) == (end == "failed"), "{status:?}");
            ensure!(status.text("error").contains("somebody else") == (end == "failed"), "{status:?}");
        }
        Ok(())
    }
}

async fn twin(lab: &Lab, specification: &str) -> Result<String> {
    let mut conn = lab.server.connect().await?;
    let twin = compare::make_twin(&mut conn, SCHEMA, "orders", false).await?;
    conn.query_drop(format!("ALTER TABLE {twin} {specification}")).await?;
    Ok(twin)
}

async fn an_alter_whose_end_cannot_be_known_is_not_made_again(kind: Kind) -> Result<()> {
    let mut two = Two::start(kind).await?;
    let id = two.stopped_at("cutover.alter_issued", "ADD COLUMN lost INT", "WITH max_hold_ms = 60000").await?;
    let twin = twin(&two.lab, "ADD COLUMN whose INT").await?;
    two.lab.server.kill_holder(&format!("tidegate lock {id}")).await?;
    two.lab.sql(&[&format!("ALTER TABLE {TABLE} ADD COLUMN whose INT")]).await?;
    two.failpoints.go_to("runner.failed", LONG).await?;
    two.other_ends_it(id, "failed").await?;
    two.lab.assert_like_twin(&twin).await?;
    two.lab.assert_nothing_left().await
}

async fn a_failure_is_not_written_over_what_the_other_proxy_has_done(kind: Kind) -> Result<()> {
    let mut two = Two::start(kind).await?;
    two.lab.sql(&[&format!("UPDATE {TABLE} SET counter = 1000 WHERE id = 5")]).await?;
    let id = two.stopped_at("copy.chunk", "MODIFY counter TINYINT", "WITH strategy = 'copy'").await?;
    two.failpoints.go_to("runner.failed", LONG).await?;
    two.lab.sql(&[&format!("UPDATE {TABLE} SET counter = 1 WHERE id = 5")]).await?;
    let twin = twin(&two.lab, "MODIFY counter TINYINT").await?;
    two.other_ends_it(id, "done").await?;
    ensure!(two.second.log().contains("another proxy has gone on"), "{}", two.second.log());
    two.lab.assert_like_twin(&twin).await?;
    two.lab.assert_nothing_left().await
}

async fn what_one_has_parked_the_other_leaves_parked(kind: Kind) -> Result<()> {
    let onlookers = Failpoints::new()?;
    let (name, file) = onlookers.environment();
    let lab = Lab::start_with(kind, Settings::default(), &[(name, file.as_str())]).await?;
    let mut two = Two::beside(lab).await?;
    let before = twin(&two.lab, "COMMENT = ''").await?;
    let id = two.stopped_at("copy.chunk", "ADD COLUMN x INT", "WITH strategy = 'copy'").await?;
    // The other one stands before the lease, with a board from before.
    onlookers.stop_at("runner.lease")?;
    onlookers.stopped(LONG).await?;
    // Whoever copies is refused.
    two.lab.sql(&["CREATE TRIGGER `~shadow_shop`.no BEFORE INSERT ON `~shadow_shop`.orders FOR EACH ROW SIGNAL SQLSTATE '45000'"]).await?;
    two.failpoints.go()?;
    wait_until(&mut two.admin, id, "parking", |status| status.phase() == "parked").await?;
    ensure!(two.onlooker.status(id).await?.phase() != "parked", "the other proxy was not kept from looking");
    onlookers.go()?;
    wait_until(&mut two.onlooker, id, "the other proxy to see it", |status| status.phase() == "parked").await?;
    // Longer than either looks into the store.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for admin in [&mut two.onlooker, &mut two.admin] {
        let status = admin.status(id).await?;
        ensure!(status.phase() == "parked" && status.error_code() == 1644, "{status:?}");
    }
    two.onlooker.run(&format!("CANCEL MIGRATION {id}")).await?;
    for admin in [&mut two.onlooker, &mut two.admin] {
        admin.wait_phase(id, &["parked", "undoing", "cancelled"], LONG).await?;
        while admin.status(id).await?.phase() != "cancelled" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    two.lab.assert_like_twin(&before).await?;
    two.lab.assert_nothing_left().await
}
