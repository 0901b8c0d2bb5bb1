//! SHOW CONFIG, SHOW STATUS, SHOW VERSION and HELP.

use super::super::answer::{Kind, Rows};
use super::super::grammar::OPTIONS;
use super::super::{Context, hint, pattern};

/// SHOW CONFIG, without secrets.
pub(in super::super) fn config(context: &Context) -> Rows {
    let mut rows = Rows::texts(&["section", "name", "value"]);
    for (section, name, value) in context.config.load().entries() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        rows.push(vec![section.into(), name.into(), value.into()]);
    }
    rows
}

/// SHOW STATUS.
pub(in super::super) fn status(context: &Context, like: Option<&str>) -> Rows {
    let migrations = context.service.list();
    let running = migrations.iter().filter(|status| !status.phase.is_final()).count();
    let metrics = &context.metrics;
    let values = [
        ("commands", metrics.commands.get().to_string()),
        ("fenced_transactions", metrics.fenced.get().to_string()),
        ("gates", context.gates.list().len().to_string()),
        ("held_statements", metrics.held_now.get().to_string()),
        ("migrations", migrations.len().to_string()),
        ("migrations_running", running.to_string()),
        ("sessions", metrics.sessions.get().to_string()),
        ("uptime_s", uptime(context).to_string()),
    ];
    let mut rows = Rows::texts(&["Variable_name", "Value"]);
    for (name, value) in values {
        if like.is_none_or(|like| pattern::matches(like, name)) {
            rows.push(vec![name.into(), value.into()]);
        }
    }
    rows
}

/// Seconds since the start.
pub(in super::super) fn uptime(context: &Context) -> u64 {
    context.census.now_us() / 1_000_000
}

/// SHOW VERSION.
pub(in super::super) fn version(context: &Context) -> Rows {
    let mut rows = Rows::new(&[("version", Kind::Text), ("upstream_address", Kind::Text), ("uptime_s", Kind::Integer)]);
    let version = concat!("Tidegate ", env!("CARGO_PKG_VERSION"));
    rows.push(vec![version.into(), context.config.load().upstream.address.clone().into(), uptime(context).into()]);
    rows
}

/// HELP.
pub(in super::super) fn help() -> Rows {
    let mut rows = Rows::texts(&["command", "meaning"]);
    for (_, form, meaning) in hint::COMMANDS {
        rows.push(vec![(*form).into(), (*meaning).into()]);
    }
    for (option, values) in OPTIONS {
        rows.push(vec![format!("  WITH {option} = …").into(), (*values).into()]);
    }
    rows
}
