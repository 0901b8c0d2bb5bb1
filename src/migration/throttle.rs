//! Lets the copy rest while the application, the server or a replica is worse off than the settings allow. Applying never rests.
//!
//! Signals, in the order in which they are looked at: the application's own statements as the proxy sees them, the server's running
//! threads, its history of old row versions, the lag of replicas. A limit of 0 leaves a signal out.

use std::time::{Duration, Instant};

use super::job::Job;
use crate::census::latency::Watch;
use crate::config::Throttle;
use crate::upstream::{self, Link, Server};

/// How often the signals are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// A rest because of the statements' times that has not helped after so long was for nothing: somebody else makes them slow. For as long
/// again they are not looked at.
const PATIENCE: Duration = Duration::from_secs(10);

/// Above this many in a hundred, statements are slow.
const SLOW_PERCENT: u64 = 1;

/// Why the copy rests: the name of the signal in the metrics, and words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `latency`, `threads_running`, `history_length` or `replica_lag`.
    pub signal: &'static str,
    /// What was seen, and the limit.
    pub words: String,
}

/// Looks at the signals until it is dropped, and shows on the board what they ask for.
pub async fn run(job: Job) {
    let settings = job.config.throttle.clone();
    if job.options.ignores_throttle || settings == Throttle::default() {
        return;
    }
    let mut signals = Signals::new(&job, settings);
    let mut before = Instant::now();
    loop {
        let reason = signals.look().await;
        let rested = before.elapsed();
        before = Instant::now();
        job.board.set_throttled(reason, rested);
        tokio::time::sleep(EVERY).await;
    }
}

struct Signals {
    settings: Throttle,
    server: Server,
    link: Option<Link>,
    patience: Patience,
    watch: Watch,
    replicas: Vec<Replica>,
}

impl Signals {
    fn new(job: &Job, settings: Throttle) -> Self {
        let patience = crate::failpoints::value("throttle.patience").map_or(PATIENCE, Duration::from_millis);
        Self {
            server: job.server.clone(),
            link: None,
            patience: Patience { limit: patience, since: None, ignored_until: None },
            watch: job.gates.census().latency.watch(Duration::from_millis(settings.latency_ms)),
            replicas: settings.replicas().map(|address| Replica::new(job.server.at(address), job.facts.is_mariadb)).collect(),
            settings,
        }
    }

    async fn look(&mut self) -> Option<Reason> {
        let answered = self.watch.since_last();
        let is_slow = self.settings.latency_ms > 0 && answered.slow * 100 > answered.all * SLOW_PERCENT;
        if self.patience.allows(is_slow, Instant::now()) {
            let words = format!("{} of {} statements took longer than {} ms", answered.slow, answered.all, self.settings.latency_ms);
            return Some(Reason { signal: "latency", words });
        }
        match self.ask_server().await {
            Ok(None) => {}
            Ok(reason) => return reason,
            Err(error) => {
                // The run itself notices a server that is gone.
                tracing::debug!(%error, "the server could not be asked how it is");
                self.link = None;
            }
        }
        for replica in &mut self.replicas {
            if let Some(words) = replica.complaint(self.settings.replica_lag_s).await {
                return Some(Reason { signal: "replica_lag", words });
            }
        }
        None
    }

    async fn ask_server(&mut self) -> Result<Option<Reason>, upstream::Error> {
        let (threads_most, history_most) = (self.settings.threads_running, self.settings.history_length);
        if threads_most == 0 && history_most == 0 {
            return Ok(None);
        }
        let link = match &mut self.link {
            Some(link) => link,
            empty => empty.insert(self.server.connect().await?),
        };
        if threads_most > 0 {
            let rows = link.texts("SHOW GLOBAL STATUS LIKE 'Threads_running'").await?;
            let running = rows.first().and_then(|row| row.get(1)?.parse::<u64>().ok()).unwrap_or(0);
            if running > threads_most {
                let words = format!("{running} threads run on the server, more than {threads_most}");
                return Ok(Some(Reason { signal: "threads_running", words }));
            }
        }
        if history_most > 0 {
            let length = link.cell("SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'").await?;
            let length = length.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
            if length > history_most {
                let words = format!("the server keeps {length} old row versions for open transactions, more than {history_most}");
                return Ok(Some(Reason { signal: "history_length", words }));
            }
        }
        Ok(None)
    }
}

/// How long slow statements are believed to be the copy's doing.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    since: Option<Instant>,
    ignored_until: Option<Instant>,
}

impl Patience {
    /// Whether the copy shall rest, given what is seen now.
    fn allows(&mut self, is_slow: bool, now: Instant) -> bool {
        if self.ignored_until.is_some_and(|until| now < until) {
            return false;
        }
        if !is_slow {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < self.limit {
            return true;
        }
        (self.since, self.ignored_until) = (None, Some(now + self.limit));
        tracing::info!("the application's statements stay slow although the copy rests; it goes on");
        false
    }
}

/// A replica that the settings name.
struct Replica {
    server: Server,
    is_mariadb: bool,
    link: Option<Link>,
}

impl Replica {
    fn new(server: Server, is_mariadb: bool) -> Self {
        Self { server, is_mariadb, link: None }
    }

    /// Why the copy should wait for it.
    async fn complaint(&mut self, lag_most_s: u64) -> Option<String> {
        let address = self.server.address().to_owned();
        match self.lag_s().await {
            Ok(Some(lag)) if lag <= lag_most_s => None,
            Ok(Some(lag)) => Some(format!("the replica {address} is {lag} s behind, more than {lag_most_s}")),
            Ok(None) => Some(format!("the replica {address} does not replicate; start it, or take it out of [throttle] replicas")),
            Err(error) => {
                self.link = None;
                Some(format!("the replica {address} cannot be asked ({error}); mend it, or take it out of [throttle] replicas"))
            }
        }
    }

    async fn lag_s(&mut self) -> Result<Option<u64>, upstream::Error> {
        let link = match &mut self.link {
            Some(link) => link,
            empty => empty.insert(self.server.connect().await?),
        };
        let column = if self.is_mariadb { "Seconds_Behind_Master" } else { "Seconds_Behind_Source" };
        Ok(link.named_cell("SHOW REPLICA STATUS", column).await?.and_then(|lag| lag.parse().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_that_does_not_help_ends_and_is_not_tried_at_once_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience { limit: Duration::from_secs(10), since: None, ignored_until: None };
        assert!(!patience.allows(false, at(0)));
        assert!(patience.allows(true, at(1)));
        assert!(!patience.allows(false, at(5)), "it has helped");
        assert!(patience.allows(true, at(6)));
        assert!(patience.allows(true, at(15)));
        assert!(!patience.allows(true, at(16)), "it has not helped");
        assert!(!patience.allows(true, at(25)));
        assert!(patience.allows(true, at(26)));
    }
}
