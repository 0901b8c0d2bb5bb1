//! The engine's network falls silent, at each step and at each statement of an attempt: nothing breaks, nothing is answered.
//!
//! The application's own connections are not touched. They must go on while the silence lasts, because whatever is locked is freed from
//! outside; and what arrives late must change nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::failures::{ALTER_OF_THE_SOURCE, IN_PLACE, steps_of_an_attempt};
use super::obstacles::nobody_was_held_for_long;
use super::protocols;
use crate::support::lab::{Lab, SCHEMA, TABLE};
use crate::support::load::{Load, Options, table};
use crate::support::relay::Loss;
use crate::support::servers::{Server, Settings};
use crate::support::{Admin, Kind};

on_both_servers!(a_network_that_falls_silent_holds_nobody_up, silence_at_any_step_of_an_attempt_holds_nobody_up);

/// How long a migration may take to its end after the silence: on a busy machine some attempts are called off.
const LONG: Duration = Duration::from_secs(300);

/// Where the silence falls.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The engine has come to this failpoint: whatever it asks next is not heard, whichever connection it asks.
    Step(&'static str),
    /// The engine has sent this statement: before the server hears it, or after.
    Statement(&'static str, Loss),
}

/// The statements of an attempt that lock, swap and free.
fn statements(protocol: &str) -> Vec<&'static str> {
    match protocol {
        IN_PLACE => vec![ALTER_OF_THE_SOURCE],
        "locked_rename" => vec!["LOCK TABLES `shop`", "RENAME TABLE", "UNLOCK TABLES"],
        _ => vec!["LOCK TABLES `shop`", "RENAME TABLE", "DROP TABLE `~retired", "UNLOCK TABLES"],
    }
}

async fn a_network_that_falls_silent_holds_nobody_up(kind: Kind) -> Result<()> {
    let rows = |protocol| {
        let losses = [Loss::Silence, Loss::SilentAnswer];
        statements(protocol).into_iter().flat_map(|text| losses.map(|loss| At::Statement(text, loss))).collect()
    };
    each_row(kind, rows).await
}

async fn silence_at_any_step_of_an_attempt_holds_nobody_up(kind: Kind) -> Result<()> {
    // Every third one, or all where that is wanted: each row is a migration with an attempt that was called off.
    let (first, every) = if std::env::var_os("TIDEGATE_TEST_SILENCE").is_some() { (0, 1) } else { (1, 3) };
    each_row(kind, |protocol| steps_of_an_attempt(protocol).into_iter().skip(first).step_by(every).map(At::Step).collect()).await
}

/// One server, one proxy and one application for all rows; each is a migration whose first attempt meets a silence.
async fn each_row(kind: Kind, rows: impl Fn(&'static str) -> Vec<At>) -> Result<()> {
    let server = Server::start(kind, Settings::default()).await?;
    let (lab, relay, failpoints) = Lab::behind_a_relay(server, &[]).await?;
    let options = Options { clients: 8, think: Duration::from_millis(40), transactions: 0, ..Options::default() };
    let mut journals = table::prepare(&mut lab.server.connect().await?, SCHEMA, 400, options.clients).await?;
    let round = Load::start(lab.server.port, SCHEMA, journals.split_off(6), &options).await?;
    let through = Load::start(lab.proxy.port, SCHEMA, journals, &Options { transactions: 20, ..options }).await?;
    let mut admin = lab.admin().await?;
    let began = Instant::now();
    let mut migrations = 0;
    for protocol in protocols(kind).iter().copied().chain([IN_PLACE]) {
        for at in rows(protocol) {
            println!("{:6.1} s: {protocol}: {at:?}", began.elapsed().as_secs_f64());
            let row = async {
                migrations += 1;
                let id = begin(&mut admin, protocol, migrations).await?;
                match at {
                    At::Step(point) => {
                        failpoints.stop_at(point)?;
                        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
                        failpoints.stopped(LONG).await?;
                        relay.be_silent(true);
                        failpoints.go()?;
                    }
                    At::Statement(text, loss) => {
                        relay.lose(text, loss);
                        admin.run(&format!("CUTOVER MIGRATION {id}")).await?;
                        relay.lost(LONG).await?;
                    }
                }
                through.more_statements(60).await.context("clients do not go on")?;
                round.more_statements(20).await.context("clients round the proxy do not go on")?;
                relay.be_silent(false);
                admin.wait_done(id, LONG).await?;
                lab.assert_nothing_left().await
            };
            row.await.with_context(|| format!("{protocol}: {at:?}\n{}", lab.proxy.log()))?;
        }
    }
    let (mut outcome, round) = (through.stop().await?, round.stop().await?);
    ensure!(round.seen.errors.is_empty(), "{:?}", round.seen.errors);
    outcome.journals.extend(round.journals);
    lab.assert_nothing_lost(&outcome).await?;
    ensure!(outcome.seen.disconnects == 0, "{} connections broke", outcome.seen.disconnects);
    nobody_was_held_for_long(&lab.proxy).await
}

/// A migration that waits for its CUTOVER.
async fn begin(admin: &mut Admin, protocol: &str, number: u32) -> Result<u64> {
    let (alter, with) = match protocol {
        IN_PLACE => (format!("ADD COLUMN extra{number} INT"), "strategy = 'instant'".to_owned()),
        protocol => ("FORCE".to_owned(), format!("strategy = 'copy', cutover = '{protocol}'")),
    };
    let id = admin.migrate(TABLE, &alter, &format!("WITH {with}, postpone = true")).await?;
    admin.wait_phase(id, &["ready"], LONG).await?;
    Ok(id)
}
