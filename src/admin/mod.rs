//! What operators say to the proxy and what it answers: admin SQL, HTTP, `tidegate check`.
//!
//! Owns: the grammar of the admin commands, their answers, the protocol of an admin session after its login.
//! Never: logs in (the session layer does), never touches a table itself (the migration engine does), never shows a password.
//! Invariants: I-P3: whatever bytes come in end in an answer or in the end of this one session.
//! See: `serve.rs` for the life of an admin session, `grammar.rs` for the commands, docs/admin.md.

use std::sync::Arc;

use crate::{census, config, gate, metrics, migration};

mod answer;
mod binary;
pub mod check;
mod client;
mod commands;
mod execute;
mod grammar;
mod hint;
pub mod http;
mod packet;
mod pattern;
pub mod probe;
mod scribe;
mod serve;
mod tokens;
mod variables;

pub use serve::{serve, serve_in};

/// What the admin commands need from the rest of the proxy.
#[derive(Clone, Debug)]
pub struct Context {
    /// The migration engine.
    pub service: migration::Service,
    /// SHOW GATES.
    pub gates: Arc<gate::Gates>,
    /// SHOW SESSIONS.
    pub census: Arc<census::Census>,
    /// SHOW CONFIG.
    pub config: Arc<arc_swap::ArcSwap<config::Config>>,
    /// SHOW STATUS.
    pub metrics: metrics::Metrics,
}

/// The version that SHOW VERSION and `@@version` begin with: what clients take as the server's.
pub(crate) const SERVER_VERSION: &str = concat!("8.0.36-tidegate-", env!("CARGO_PKG_VERSION"));
