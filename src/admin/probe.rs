//! Asks the server now and then whether it is there, for /ready.
//!
//! It logs in as the engine's account and stays: connections that break off before the login would be counted against this
//! host by the server, which blocks it in the end (max_connect_errors).

use std::time::Duration;

use arc_swap::ArcSwap;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::metrics::{Health, Metrics};
use crate::upstream;

/// Time between two questions.
const PAUSE: Duration = Duration::from_secs(2);

/// Asks until `shutdown`, and tells `health` and the metric `tidegate_upstream_up`.
///
/// # Cancel safety
/// Dropping the future drops its connection.
pub async fn watch(settings: &ArcSwap<Config>, health: &Health, metrics: &Metrics, shutdown: &CancellationToken) {
    let mut connection: Option<Conn> = None;
    let mut was_up = None;
    loop {
        let config = settings.load_full();
        let limit = Duration::from_millis(config.upstream.connect_timeout_ms);
        let asked = tokio::time::timeout(limit, ask(&config, &mut connection)).await;
        let lost = match asked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(upstream::reason(&error)),
            Err(_) => Some(format!("no answer within {} ms", limit.as_millis())),
        };
        let is_up = lost.is_none();
        let address = &config.upstream.address;
        match lost {
            None => {
                health.upstream_reached();
                if was_up == Some(false) {
                    tracing::info!("the server {address} can be reached again");
                }
            }
            Some(reason) => {
                connection = None;
                if was_up != Some(false) {
                    tracing::warn!("the server {address} cannot be reached: {reason}; trying again every {} s", PAUSE.as_secs());
                }
                health.upstream_lost(reason);
            }
        }
        metrics.upstream_up.set(i64::from(is_up));
        was_up = Some(is_up);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    if let Some(connection) = connection {
        let limit = Duration::from_millis(settings.load().upstream.connect_timeout_ms);
        let _ = tokio::time::timeout(limit, connection.disconnect()).await;
    }
}

async fn ask(config: &Config, connection: &mut Option<Conn>) -> mysql_async::Result<()> {
    match connection {
        Some(connection) => connection.ping().await,
        None => {
            let mut new = upstream::open(&config.upstream).await?;
            new.query_drop("DO 0").await?;
            *connection = Some(new);
            Ok(())
        }
    }
}
