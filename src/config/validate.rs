//! What settings may not be, or not together.

use super::{Config, Error};
use crate::wire::proxy_header::Networks;

/// Longest hold that can be asked for, in milliseconds: past this clients' own timeouts end their statements.
const MAX_HOLD_MS_MAX: u64 = 60_000;

/// Longest revert window, in seconds: the server keeps its binary log for about as long.
const REVERT_WINDOW_S_MAX: u64 = 2_592_000;

/// Checks ranges and contradictions.
///
/// # Errors
/// [`Error::Value`] for the first key that cannot be used.
pub(super) fn validate(config: &Config) -> Result<(), Error> {
    listening(config)?;
    listen_tls(config)?;
    accounts(config)?;
    upstream(config)?;
    times(config)?;
    throttle(config)?;
    log(config)
}

fn wrong(section: &'static str, key: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Value { section, key, reason: reason.into(), remedy: remedy.into() }
}

fn listening(config: &Config) -> Result<(), Error> {
    if config.listen.address == config.http.address && config.listen.address.port() != 0 {
        return Err(wrong("http", "address", "is the same as [listen] address", "give one of them another port"));
    }
    if config.listen.max_connections == 0 {
        return Err(wrong("listen", "max_connections", "0 lets nobody in", "give 1 or more; the default is 10000"));
    }
    if !config.listen.socket.is_empty() && !config.listen.socket.starts_with('/') {
        return Err(wrong("listen", "socket", format!("\"{}\" is no absolute path", config.listen.socket), "begin it with /"));
    }
    if let Err(entry) = Networks::read(&config.listen.proxy_protocol_networks) {
        let remedy = "write addresses and networks such as \"10.0.0.0/8, 192.0.2.7\"";
        return Err(wrong("listen", "proxy_protocol_networks", format!("\"{entry}\" is no network"), remedy));
    }
    let compression = config.listen.compression.as_str();
    if !["auto", "on", "off"].contains(&compression) {
        return Err(wrong("listen", "compression", format!("\"{compression}\" is unknown"), "write \"auto\", \"on\" or \"off\""));
    }
    if !["off", "on"].contains(&config.listen.reuse_port.as_str()) {
        let reason = format!("\"{}\" is unknown", config.listen.reuse_port);
        return Err(wrong("listen", "reuse_port", reason, "write \"off\" or \"on\""));
    }
    Ok(())
}

fn accounts(config: &Config) -> Result<(), Error> {
    if config.admin.user.is_empty() {
        return Err(wrong("admin", "user", "is empty", "name the user that shall reach the admin commands"));
    }
    if config.upstream.user.is_empty() {
        return Err(wrong("upstream", "user", "is empty", "name the engine's account on the server"));
    }
    if config.admin.user == config.upstream.user {
        let reason = format!("\"{}\" is [upstream] user as well, and the proxy answers this name itself", config.admin.user);
        return Err(wrong("admin", "user", reason, "choose a name that no account on the server has"));
    }
    if config.admin.password.is_empty() {
        let remedy = "set it here, in [admin] password_file, or in TIDEGATE_ADMIN_PASSWORD";
        return Err(wrong("admin", "password", "is empty, so that anybody could migrate tables", remedy));
    }
    Ok(())
}

fn upstream(config: &Config) -> Result<(), Error> {
    if !config.upstream.is_local() && config.upstream.host_port().is_none() {
        let reason = format!("\"{}\" is not a host and a port", config.upstream.address);
        return Err(wrong(
            "upstream",
            "address",
            reason,
            "write host:port such as \"db.internal:3306\" or \"[::1]:3306\", or the path of a socket",
        ));
    }
    let tls = config.upstream.tls.as_str();
    if !["off", "preferred", "required", "verify-ca", "verify-identity"].contains(&tls) {
        let remedy = "write \"off\", \"preferred\", \"required\", \"verify-ca\" or \"verify-identity\"";
        return Err(wrong("upstream", "tls", format!("\"{tls}\" is unknown"), remedy));
    }
    let compression = config.upstream.compression.as_str();
    if !["auto", "off", "zlib", "zstd"].contains(&compression) {
        let remedy = "write \"auto\", \"off\", \"zlib\" or \"zstd\"";
        return Err(wrong("upstream", "compression", format!("\"{compression}\" is unknown"), remedy));
    }
    if tls.starts_with("verify") && config.upstream.tls_ca.is_empty() {
        let remedy = "give a PEM file with the certificate of the authority that signed the server's; MySQL keeps its own as ca.pem in its data directory";
        return Err(wrong("upstream", "tls_ca", format!("is empty, and tls is \"{tls}\""), remedy));
    }
    if tls != "off" && config.upstream.tls_cert.is_empty() != config.upstream.tls_key.is_empty() {
        return Err(wrong("upstream", "tls_cert", "and tls_key belong together, and one is empty", "give both, or none"));
    }
    Ok(())
}

fn listen_tls(config: &Config) -> Result<(), Error> {
    let listen = &config.listen;
    let tls = listen.tls.as_str();
    if !["off", "preferred", "required"].contains(&tls) {
        let remedy = "write \"off\", \"preferred\" or \"required\"";
        return Err(wrong("listen", "tls", format!("\"{tls}\" is unknown"), remedy));
    }
    for (key, file) in [("tls_cert", &listen.tls_cert), ("tls_key", &listen.tls_key)] {
        if tls != "off" && file.is_empty() {
            let remedy = "give PEM files with the proxy's certificate as tls_cert and its private key as tls_key";
            return Err(wrong("listen", key, format!("is empty, and tls is \"{tls}\""), remedy));
        }
    }
    Ok(())
}

fn throttle(config: &Config) -> Result<(), Error> {
    let throttle = &config.throttle;
    if let Some(bad) = throttle.replicas().find(|address| super::host_port(address).is_none()) {
        let reason = format!("\"{bad}\" is not a host and a port");
        return Err(wrong("throttle", "replicas", reason, "write them as \"replica1:3306, replica2:3306\""));
    }
    if throttle.replica_lag_s == 0 && throttle.replicas().next().is_some() {
        return Err(wrong(
            "throttle",
            "replica_lag_s",
            "is 0, and replicas are named",
            "give the seconds that they may be behind, 1 or more; the default is 10",
        ));
    }
    Ok(())
}

fn times(config: &Config) -> Result<(), Error> {
    let positive = [
        ("listen", "login_timeout_s", config.listen.login_timeout_s),
        ("upstream", "connect_timeout_ms", config.upstream.connect_timeout_ms),
        ("cutover", "max_hold_ms", config.cutover.max_hold_ms),
        ("cutover", "drain_budget_ms", config.cutover.drain_budget_ms),
        ("copy", "chunk_target_ms", config.copy.chunk_target_ms),
    ];
    for (section, key, value) in positive {
        if value == 0 {
            return Err(wrong(section, key, "must not be 0", "give 1 or more, or leave the key out for its default"));
        }
    }
    if config.migrations.at_once == 0 || config.migrations.at_once > 1000 {
        let reason = format!("{} is not from 1 to 1000", config.migrations.at_once);
        return Err(wrong(
            "migrations",
            "at_once",
            reason,
            "give the number of tables that may be copied at the same time; the default is 4",
        ));
    }
    if config.cutover.max_hold_ms > MAX_HOLD_MS_MAX {
        let reason = format!("{} ms would hold clients past their own timeouts", config.cutover.max_hold_ms);
        return Err(wrong("cutover", "max_hold_ms", reason, format!("give {MAX_HOLD_MS_MAX} or less; the default is 1000")));
    }
    if config.cutover.revert_window_s > REVERT_WINDOW_S_MAX {
        let reason = format!("{} s is more than 30 days", config.cutover.revert_window_s);
        return Err(wrong("cutover", "revert_window_s", reason, format!("give {REVERT_WINDOW_S_MAX} or less; 3600 is an hour")));
    }
    if config.cutover.max_hold_ms < config.cutover.drain_budget_ms {
        let reason = format!("{} ms is less than drain_budget_ms, {} ms", config.cutover.max_hold_ms, config.cutover.drain_budget_ms);
        return Err(wrong("cutover", "max_hold_ms", reason, "raise it or lower drain_budget_ms: the drain is a part of the hold"));
    }
    Ok(())
}

fn log(config: &Config) -> Result<(), Error> {
    if !["text", "json"].contains(&config.log.format.as_str()) {
        return Err(wrong("log", "format", format!("\"{}\" is unknown", config.log.format), "write \"text\" or \"json\""));
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.log.level) {
        let reason = format!("\"{}\" is not a filter ({error})", config.log.level);
        return Err(wrong("log", "level", reason, "write error, warn, info, debug, trace, or a filter such as \"info,tidegate=debug\""));
    }
    Ok(())
}
