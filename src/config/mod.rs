//! Settings: the file, its defaults, the overriding variables.
//!
//! Owns: the names of all keys, their defaults, and what is a contradiction.
//! Never: shows a password, in Debug, in serialized form or in an error.
//! See: `load.rs` for file and variables, `validate.rs` for the rules, docs/configuration.md.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

mod fence;
mod load;
mod reload;
mod throttle;
mod validate;

pub use fence::Fence;
pub use load::Error;
pub use reload::Reloaded;
pub use throttle::Throttle;

/// Everything that can be set. Field names are the keys of proxy-config.toml.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
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
    /// How many migrations run.
    pub migrations: Migrations,
    /// How fast rows are copied.
    pub copy: Copy,
    /// When the copy rests.
    pub throttle: Throttle,
    /// What is logged.
    pub log: Log,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
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
    /// `off`, `preferred` or `required`.
    pub tls: String,
    /// The proxy's certificate, and those between it and the authority, in PEM.
    pub tls_cert: String,
    /// The certificate's private key in PEM.
    pub tls_key: String,
    /// Authorities in PEM; where given, clients must show a certificate that one of them signed.
    pub tls_ca: String,
    /// `auto`, `on` or `off`.
    pub compression: String,
    /// A private RSA key in PEM for passwords of clients without TLS; empty makes one at each start.
    pub rsa_key: String,
    /// The path of a Unix socket to listen on as well; empty for none.
    pub socket: String,
    /// Most sessions of one user at once; 0 for no limit of the proxy's own.
    pub max_user_connections: usize,
    /// Seconds that a session may be silent between two commands; 0 leaves it to the server.
    pub idle_timeout_s: u64,
    /// Seconds that open transactions may take to end at a shutdown.
    pub drain_timeout_s: u64,
    /// Networks whose connections begin with a PROXY header, separated by commas; empty for none.
    pub proxy_protocol_networks: String,
    /// `on` lets another process listen on the same address, to hand over to it.
    pub reuse_port: String,
}

/// `[upstream]`
#[derive(Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `host:port` of the MySQL or MariaDB server, or the path of its Unix socket.
    pub address: String,
    /// The engine's own account on that server.
    pub user: String,
    /// Its password.
    #[serde(serialize_with = "hidden")]
    pub password: String,
    /// A file that holds the password instead; empty for none.
    pub password_file: String,
    /// `off`, `preferred`, `required`, `verify-ca` or `verify-identity`.
    pub tls: String,
    /// Authorities in PEM that the server's certificate is verified with.
    pub tls_ca: String,
    /// The certificate in PEM that the server is shown; empty for none.
    pub tls_cert: String,
    /// Its private key in PEM.
    pub tls_key: String,
    /// `auto`, `off`, `zlib` or `zstd`.
    pub compression: String,
    /// Milliseconds to wait for a connection to the server.
    pub connect_timeout_ms: u64,
}

/// `[admin]`
#[derive(Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The user name that reaches the admin commands instead of the server.
    pub user: String,
    /// Its password; must not be empty.
    #[serde(serialize_with = "hidden")]
    pub password: String,
    /// A file that holds the password instead; empty for none.
    pub password_file: String,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port of /metrics, /live and /ready.
    pub address: SocketAddr,
}

/// `[cutover]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cutover {
    /// Longest time in milliseconds that any statement may be held.
    pub max_hold_ms: u64,
    /// Longest time in milliseconds that the gate may wait for open transactions to end.
    pub drain_budget_ms: u64,
    /// A statement held longer than this many milliseconds gets a log line of its own.
    pub log_held_over_ms: u64,
    /// How the tables are swapped.
    pub protocol: Protocol,
    /// What becomes of transactions whose snapshot is older than a swap.
    pub fence: Fence,
    /// Seconds after a swap in which REVERT is possible; 0 drops the old table at once.
    pub revert_window_s: u64,
}

/// The ways of swapping the tables; docs/cutover.md tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The safest that the server and the names allow.
    #[default]
    Auto,
    /// RENAME under LOCK TABLES in one session.
    LockedRename,
    /// A second session's RENAME, kept waiting by a sentry table.
    Sentry,
    /// The same, with a third session that keeps the shadow locked until the RENAME has passed the sentry.
    SentryLockedShadow,
}

impl Protocol {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::LockedRename, Self::Sentry, Self::SentryLockedShadow];

    /// The name in settings and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::LockedRename => "locked_rename",
            Self::Sentry => "sentry",
            Self::SentryLockedShadow => "sentry_locked_shadow",
        }
    }

    /// The protocol of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

/// `[migrations]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Migrations {
    /// How many may copy at the same time; the others wait their turn.
    pub at_once: usize,
    /// How tables are changed.
    pub strategy: Strategy,
}

/// Ways of changing a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In place where the server proves that it only changes its dictionary, else by copying.
    #[default]
    Auto,
    /// Only in place.
    Instant,
    /// Always by copying.
    Copy,
}

impl Strategy {
    /// The name in settings and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Instant => "instant",
            Self::Copy => "copy",
        }
    }

    /// The strategy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Instant, Self::Copy].into_iter().find(|strategy| strategy.name().eq_ignore_ascii_case(name))
    }
}

/// `[copy]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Copy {
    /// Chunks copied at once; 0 lets the engine choose by server.
    pub workers: usize,
    /// Milliseconds that one chunk should take.
    pub chunk_target_ms: u64,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// A tracing filter such as `info` or `tidegate=debug`.
    pub level: String,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 6033)),
            threads: 0,
            max_connections: 10_000,
            login_timeout_s: 10,
            tls: "off".into(),
            tls_cert: String::new(),
            tls_key: String::new(),
            tls_ca: String::new(),
            compression: "auto".into(),
            rsa_key: String::new(),
            socket: String::new(),
            max_user_connections: 0,
            idle_timeout_s: 0,
            drain_timeout_s: 10,
            proxy_protocol_networks: String::new(),
            reuse_port: "off".into(),
        }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:3306".into(),
            user: "tidegate".into(),
            password: String::new(),
            password_file: String::new(),
            tls: "off".into(),
            tls_ca: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            compression: "auto".into(),
            connect_timeout_ms: 3000,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { user: "tidegate_admin".into(), password: String::new(), password_file: String::new() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 6080)) }
    }
}

impl Default for Cutover {
    fn default() -> Self {
        Self {
            max_hold_ms: 1000,
            drain_budget_ms: 250,
            log_held_over_ms: 100,
            protocol: Protocol::Auto,
            fence: Fence::Fence,
            revert_window_s: 0,
        }
    }
}

impl Default for Migrations {
    fn default() -> Self {
        Self { at_once: 4, strategy: Strategy::Auto }
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

/// What is written in a password's place.
pub(crate) const HIDDEN: &str = "(hidden)";

fn hidden<S: serde::Serializer>(password: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(mask(password))
}

fn mask(password: &str) -> &'static str {
    if password.is_empty() { "" } else { HIDDEN }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upstream")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("password", &mask(&self.password))
            .field("password_file", &self.password_file)
            .field("tls", &self.tls)
            .field("tls_ca", &self.tls_ca)
            .field("tls_cert", &self.tls_cert)
            .field("tls_key", &self.tls_key)
            .field("compression", &self.compression)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .finish()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Admin")
            .field("user", &self.user)
            .field("password", &mask(&self.password))
            .field("password_file", &self.password_file)
            .finish()
    }
}

impl Config {
    /// Every key as (section, key, value) in order, passwords hidden.
    pub fn entries(&self) -> Vec<(String, String, toml::Value)> {
        let Ok(table) = toml::Table::try_from(self) else { return Vec::new() };
        let mut entries = Vec::new();
        for (section, keys) in table {
            if let toml::Value::Table(keys) = keys {
                entries.extend(keys.into_iter().map(|(key, value)| (section.clone(), key, value)));
            }
        }
        entries
    }
}

impl Upstream {
    /// `true` where the address is the path of a Unix socket.
    pub fn is_local(&self) -> bool {
        self.address.starts_with('/')
    }

    /// Host and port of [`Upstream::address`]; brackets around an IPv6 address are taken off. `None` where it has no port.
    pub fn host_port(&self) -> Option<(String, u16)> {
        host_port(&self.address)
    }
}

/// The host and the port of `host:port`, an IPv6 address without its brackets; none where it is something else.
fn host_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(host) => host,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

impl Cutover {
    /// [`Cutover::max_hold_ms`] as a duration.
    pub fn max_hold(&self) -> Duration {
        Duration::from_millis(self.max_hold_ms)
    }

    /// [`Cutover::revert_window_s`] as a duration.
    pub fn revert_window(&self) -> Duration {
        Duration::from_secs(self.revert_window_s)
    }

    /// [`Cutover::drain_budget_ms`] as a duration.
    pub fn drain_budget(&self) -> Duration {
        Duration::from_millis(self.drain_budget_ms)
    }
}

#[cfg(test)]
mod tests;
