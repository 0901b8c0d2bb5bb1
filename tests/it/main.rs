//! Tidegate in front of real servers: every scenario on MySQL and on MariaDB.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

#[path = "../support/mod.rs"]
mod support;

/// Runs one scenario on both servers as two tests.
macro_rules! on_both_servers {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        mod $name {
            $(#[$meta])*
            #[test]
            fn mysql() {
                crate::run(super::$name(crate::support::Kind::MySql));
            }
            $(#[$meta])*
            #[test]
            fn mariadb() {
                crate::run(super::$name(crate::support::Kind::MariaDb));
            }
        }
    )+};
}

mod catalogue;
mod commands;
mod compression;
mod cutover;
mod engine;
mod faults;
mod foreign_keys;
mod gate;
mod generator;
mod groups;
mod harness;
mod history;
mod lifecycle;
mod manners;
mod memory;
mod migrations;
mod privileges;
mod refusals;
mod replicas;
mod sessions;
mod throttle;
mod tls;
mod triggers;
mod wire;

/// Drives a scenario to its end; its error, with every cause, is the test's failure.
fn run(scenario: impl Future<Output = anyhow::Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if let Err(error) = runtime.block_on(scenario) {
        panic!("{error:#}");
    }
}
