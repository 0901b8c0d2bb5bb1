//! `[throttle]`: how fast the copy may go, and when it rests.

/// `[throttle]`; a limit of 0 leaves its signal out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// The slowest in a hundred of the clients' statements may take so many percent longer beside the copy, and 5 ms.
    pub latency_growth_percent: u64,
    /// Milliseconds; more than one in a hundred of the clients' statements took the server longer.
    pub latency_ms: u64,
    /// More threads than this run on the server.
    pub threads_running: u64,
    /// More old row versions than this wait for open transactions.
    pub history_length: u64,
    /// A query whose answer is a number; empty for none.
    pub query: String,
    /// More than this is its answer.
    pub query_limit: u64,
    /// `host:port` of replicas, separated by commas.
    pub replicas: String,
    /// Seconds; one of them is further behind.
    pub replica_lag_s: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            latency_growth_percent: 100,
            latency_ms: 0,
            threads_running: 0,
            history_length: 0,
            query: String::new(),
            query_limit: 0,
            replicas: String::new(),
            replica_lag_s: 10,
        }
    }
}

impl Throttle {
    /// The addresses of the replicas.
    pub fn replicas(&self) -> impl Iterator<Item = &str> {
        self.replicas.split(',').map(str::trim).filter(|address| !address.is_empty())
    }

    /// What the query's answer is taken for; `None` where it is no number.
    pub fn number(answer: &str) -> Option<f64> {
        answer.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }
}
