//! The server's disk is full: at the copy and at the cut-over. Nobody is held for long, the operator reads it, and it goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::obstacles::nobody_was_held_for_long;
use crate::support::failpoints::Failpoints;
use crate::support::lab::{Lab, TABLE, assert_nothing_lost};
use crate::support::load::Options;
use crate::support::servers::Settings;
use crate::support::{Admin, Kind};

on_both_servers!(a_full_disk_is_said_and_holds_nobody_up,);

const LONG: Duration = Duration::from_secs(180);

/// What a server says that has no room: on a direct connection as well.
const NO_ROOM: [u16; 6] = [3, 28, 1021, 1026, 1030, 1114];

async fn a_full_disk_is_said_and_holds_nobody_up(kind: Kind) -> Result<()> {
    let failpoints = Failpoints::new()?;
    let (name, file) = failpoints.environment();
    let mut lab = Lab::start_with(kind, Settings { disk_mib: Some(700), ..Settings::default() }, &[(name, file.as_str())]).await?;
    // To fill the rest takes no time: an attempt stands still meanwhile. Before anybody writes: MySQL looks only once a minute whether
    // there is room again.
    let _ballast = lab.server.disk()?.fill(100)?;
    let options = Options { clients: 4, think: Duration::from_millis(20), ..Options::default() };
    let load = lab.load(2000, &options).await?;
    let mut admin = lab.admin().await?;
    for step in ["prepare.shadow_created", "cutover.caught_up"] {
        failpoints.stop_at(step)?;
        let migrate = admin.migrate(TABLE, "ADD COLUMN wide CHAR(200) NOT NULL DEFAULT 'x'", "WITH strategy = 'copy'");
        // It is answered when the shadow stands, which the first step keeps from happening.
        let began = Instant::now();
        let id = async { anyhow::Ok(migrate.await?) };
        let full = async {
            failpoints.stopped(LONG).await?;
            let full = lab.server.disk()?.fill(0)?;
            failpoints.go()?;
            anyhow::Ok(full)
        };
        let (id, full) = tokio::join!(id, full);
        let (id, full) = (id?, full?);
        println!("{kind}, {step}: full after {:?}", began.elapsed());
        let said = says_so(&mut lab, &mut admin, id).await.with_context(|| format!("{step}\n{}", lab.proxy.log()))?;
        println!("{kind}, {step}: after {:?} {said}", began.elapsed());
        drop(full);
        goes_on(&mut lab, &mut admin, id).await.with_context(|| format!("{step}\n{}", lab.proxy.log()))?;
        load.more_statements(20).await?;
        println!("{kind}, {step}: done after {:?}", began.elapsed());
        let back = admin.migrate(TABLE, "DROP COLUMN wide", "WITH strategy = 'copy'").await?;
        goes_on(&mut lab, &mut admin, back).await?;
    }
    let outcome = load.stop().await?;
    println!("{kind}: {:?}", outcome.seen.errors);
    // What was written to the disk is there for the next server, as it is where one dies of it.
    lab.server.restart().await?;
    assert_nothing_lost(&lab.server, &outcome).await?;
    nobody_was_held_for_long(&lab.proxy).await?;
    lab.assert_nothing_left().await
}

/// Waits until the operator reads that there is no room, or that the server has died of it, or it is over because there was room enough
/// after all.
async fn says_so(lab: &mut Lab, admin: &mut Admin, id: u64) -> Result<String> {
    let until = Instant::now() + LONG;
    loop {
        let status = admin.status(id).await?;
        let text = format!("{} {}: {} {}", status.phase(), status.error_code(), status.text("error"), status.text("note"));
        let is_said = NO_ROOM.contains(&status.error_code()) || ["full", "disk", "called off"].iter().any(|word| text.contains(word));
        let is_dead = lab.server.is_dead() && text.contains("the connection to the server was lost");
        if is_said || is_dead || status.phase() == "done" {
            return Ok(text);
        }
        ensure!(Instant::now() < until, "nothing says what is the matter: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// With room again it goes on by itself, or, where a person was asked for, after RESUME. InnoDB ends its server where it cannot write what
/// it must: then it goes on when somebody has started that again.
async fn goes_on(lab: &mut Lab, admin: &mut Admin, id: u64) -> Result<()> {
    let until = Instant::now() + LONG;
    loop {
        if lab.server.revive().await? {
            println!("the server had died of it");
        }
        let status = admin.status(id).await?;
        match status.phase() {
            "done" => return Ok(()),
            "parked" => match admin.run(&format!("RESUME MIGRATION {id}")).await {
                // MariaDB looks only once a minute whether there is room for what it was writing.
                Err(error)
                    if crate::support::admin::server_error(&error)
                        .is_some_and(|(code, text)| code == 1205 && text.contains("say it again")) => {}
                other => other?,
            },
            "failed" | "cancelled" => anyhow::bail!("{status:?}"),
            _ => {}
        }
        ensure!(Instant::now() < until, "it does not go on: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
