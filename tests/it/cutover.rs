//! The cut-over: its three protocols, and what each failure leads to.

use crate::support::Kind;

mod counter;
mod disk;
mod failures;
mod force;
mod in_place;
mod obstacles;
mod protocols;
mod silence;

/// The protocols that a server can do, by the names of the option.
fn protocols(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::MySql => &["locked_rename", "sentry", "sentry_locked_shadow"],
        Kind::MariaDb => &["sentry", "sentry_locked_shadow"],
    }
}
