//! Settings: the file, its defaults, the overriding variables.

use std::net::SocketAddr;
use std::time::Duration;

/// Everything that can be set. Field names are the keys of proxy-config.toml.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where applications and operators connect.
    pub listen: Listen,
    /// The server behind the proxy.
    pub upstream: Upstream,
    /// The account that the proxy itself answers.
    pub admin: Admin,
    /// Metrics and health.
    pub http: Http,
    /// How long clients may be held.
    pub cutover: Cutover,
    /// How fast rows are copied.
    pub copy: Copy,
    /// What is logged.
    pub log: Log,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port of the MySQL protocol.
    pub address: SocketAddr,
    /// Threads that carry sessions; 0 means one for each core.
    pub threads: usize,
    /// Most sessions at once; the next one is answered with error 1040.
    pub max_connections: usize,
    /// Seconds a client may take to log in.
    pub login_timeout_s: u64,
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `host:port` of the MySQL or MariaDB server.
    pub address: String,
    /// The engine's own account on that server.
    pub user: String,
    /// Its password.
    pub password: String,
    /// `off` is the only value yet.
    pub tls: String,
    /// Milliseconds to wait for a connection to the server.
    pub connect_timeout_ms: u64,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The user name that reaches the admin commands instead of the server.
    pub user: String,
    /// Its password; must not be empty.
    pub password: String,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port of /metrics, /live and /ready.
    pub address: SocketAddr,
}

/// `[cutover]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cutover {
    /// Longest time in milliseconds that any statement may be held.
    pub max_hold_ms: u64,
    /// Longest time in milliseconds that the gate may wait for open transactions to end.
    pub drain_budget_ms: u64,
    /// A statement held longer than this many milliseconds gets a log line of its own.
    pub log_held_over_ms: u64,
}

/// `[copy]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Copy {
    /// Chunks copied at once; 0 lets the engine choose by server.
    pub workers: usize,
    /// Milliseconds that one chunk should take.
    pub chunk_target_ms: u64,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// A tracing filter such as `info` or `tidegate=debug`.
    pub level: String,
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 6033)), threads: 0, max_connections: 10_000, login_timeout_s: 10 }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:3306".into(),
            user: "tidegate".into(),
            password: String::new(),
            tls: "off".into(),
            connect_timeout_ms: 3000,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { user: "tidegate_admin".into(), password: String::new() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 6080)) }
    }
}

impl Default for Cutover {
    fn default() -> Self {
        Self { max_hold_ms: 1000, drain_budget_ms: 250, log_held_over_ms: 100 }
    }
}

impl Default for Copy {
    fn default() -> Self {
        Self { workers: 0, chunk_target_ms: 100 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "text".into(), level: "info".into() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            upstream: Upstream::default(),
            admin: Admin::default(),
            http: Http::default(),
            cutover: Cutover::default(),
            copy: Copy::default(),
            log: Log::default(),
        }
    }
}

impl Cutover {
    /// [`Cutover::max_hold_ms`] as a duration.
    pub fn max_hold(&self) -> Duration {
        Duration::from_millis(self.max_hold_ms)
    }

    /// [`Cutover::drain_budget_ms`] as a duration.
    pub fn drain_budget(&self) -> Duration {
        Duration::from_millis(self.drain_budget_ms)
    }
}
