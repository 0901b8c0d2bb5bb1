//! Tidegate: a MySQL-protocol proxy that changes table schemas while applications keep running through it.
//!
//! See ARCHITECTURE.md for the life of a packet, of a row and of a cut-over. The modules form layers; a module
//! imports only from layers below its own (`tests/tidy.rs` checks it):
//!
//! | layer | modules |
//! |---|---|
//! | L0 | [`ids`], [`failpoints`] |
//! | L1 | [`wire`], [`sql`], [`schema`]: pure, bytes in and values out |
//! | L2 | [`config`], [`metrics`], [`net`], [`client_error`] |
//! | L3 | [`gate`], [`census`], [`upstream`] |
//! | L4 | [`migration`] |
//! | L5 | [`admin`] |
//! | L6 | [`session`] |
//! | top | [`app`] |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admin;
pub mod app;
pub mod census;
pub mod client_error;
pub mod config;
pub mod failpoints;
pub mod gate;
pub mod ids;
pub mod metrics;
pub mod migration;
pub mod net;
pub mod schema;
pub mod session;
pub mod sql;
pub mod upstream;
pub mod wire;
