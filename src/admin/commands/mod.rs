//! One file for each family of commands: from the proxy's state to rows.

pub(super) mod migrations;
pub(super) mod process;
pub(super) mod traffic;

use std::time::Duration;

/// Whole milliseconds, rounded up, so that a wait that happened is never shown as 0.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
