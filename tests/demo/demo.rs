//! `make demo`: an application works on a table through the proxy, the table gets a new schema, and nobody notices.
//!
//! SERVER=mysql|mariadb, ROWS, CLIENTS, ALTER and SECONDS change what is shown. Ends with an error when anything is
//! missing, doubled or wrong.
#![allow(missing_docs, dead_code)]

#[path = "../support/mod.rs"]
mod support;

mod report;
mod screen;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use support::admin::Status;
use support::lab::{Lab, SCHEMA, TABLE};
use support::load::{Load, Options, table};
use support::servers::Settings;
use support::{Admin, Kind, compare};

use report::Report;
use screen::{Screen, grouped};

struct Wishes {
    kind: Kind,
    rows: i32,
    clients: i32,
    alter: String,
    around: Duration,
}

impl Wishes {
    fn from_environment() -> Result<Self> {
        let text =
            |name: &str, default: &str| std::env::var(name).ok().filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned());
        let kind = match text("SERVER", "mysql").as_str() {
            "mysql" => Kind::MySql,
            "mariadb" => Kind::MariaDb,
            other => bail!("SERVER={other} is neither mysql nor mariadb"),
        };
        let number = |name: &str, default: i32| -> Result<i32> {
            text(name, &default.to_string()).parse().with_context(|| format!("{name} must be a number"))
        };
        Ok(Self {
            kind,
            rows: number("ROWS", 200_000)?.max(1000),
            clients: number("CLIENTS", 16)?.max(1),
            alter: text("ALTER", "ADD COLUMN note VARCHAR(64), ADD INDEX (customer_id)"),
            around: Duration::from_secs(u64::try_from(number("SECONDS", 3)?).unwrap_or(3)),
        })
    }
}

fn main() -> ExitCode {
    let show = async {
        let wishes = Wishes::from_environment()?;
        show(&wishes).await
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(show) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show(wishes: &Wishes) -> Result<bool> {
    let screen = Screen::new();
    screen.title("Tidegate: a table gets a new schema while an application works on it");

    screen.doing("server", &format!("starting a private {} …", wishes.kind));
    let lab = Lab::start_with(wishes.kind, Settings { is_durable: true, buffer_pool_mib: 256, ..Settings::default() }, &[]).await?;
    let mut direct = lab.server.connect().await?;
    let version: String = direct.query_first("SELECT VERSION()").await?.unwrap_or_default();
    screen.said("server", &format!("{} {version} on {}, private, every commit reaches the disk", wishes.kind, lab.server.address()));
    let addresses = format!("127.0.0.1:{}, metrics at http://127.0.0.1:{}/metrics", lab.proxy.port, lab.proxy.http_port);
    screen.said("proxy", &addresses);

    screen.doing("table", &format!("loading {} rows …", grouped(wishes.rows)));
    let started = Instant::now();
    let journals = table::prepare(&mut direct, SCHEMA, wishes.rows, wishes.clients).await?;
    let seconds = started.elapsed().as_secs_f64();
    screen.said("table", &format!("{TABLE}, {} rows, loaded in {seconds:.1} s", grouped(wishes.rows)));
    let twin = compare::make_twin(&mut direct, SCHEMA, "orders", false).await?;
    if let Some((code, message)) = compare::alter_twin(&mut direct, &twin, &wishes.alter).await? {
        bail!("the server itself refuses this ALTER: {message} ({code})");
    }

    let options = Options { clients: wishes.clients, ..Options::default() };
    let load = Load::start(lab.proxy.port, SCHEMA, journals, &options).await?;
    screen
        .said("application", &format!("{} connections through the proxy: inserts, updates, deletes, reads, transactions", wishes.clients));
    screen.count_down("before", wishes.around, &load.live()).await;

    let command = format!("MIGRATE TABLE {TABLE} {}", wishes.alter);
    screen.command(&command);
    let mut admin = lab.admin().await?;
    let started = Instant::now();
    let id = admin.migrate(TABLE, &wishes.alter, "").await?;
    let status = follow(&screen, &mut admin, id, &load).await?;
    let took = started.elapsed();
    screen.count_down("after", wishes.around, &load.live()).await;

    screen.doing("checking", "stopping the application, reading every row back …");
    let outcome = load.stop().await?;
    let report = Report::make(&lab, &mut direct, &outcome, status, took, &twin).await?;
    screen.clear();
    report.print(&screen);
    if !report.is_good() {
        screen.bad("Something is wrong: see above. The end of the proxy's log:");
        let log = lab.proxy.log();
        let lines: Vec<&str> = log.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(20)) {
            println!("  {line}");
        }
    }
    Ok(report.is_good())
}

/// Shows the migration's progress until its end.
async fn follow(screen: &Screen, admin: &mut Admin, id: u64, load: &Load) -> Result<Status> {
    let bar = screen.progress(load.live());
    loop {
        let status = admin.status(id).await?;
        bar.show(&status);
        if status.is_final() || status.phase() == "parked" {
            bar.finish(&status);
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
