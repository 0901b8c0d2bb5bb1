//! What every yardstick is: a program that runs one measurement and says why where it cannot.

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::support::Kind;

/// Runs the measurement.
pub fn run(bench: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(bench)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A number from the environment.
pub fn number(name: &str, default: i32) -> i32 {
    crate::support::environment::number(name, default)
}

/// The servers that SERVER names; both by default.
pub fn servers() -> impl Iterator<Item = Kind> {
    let wanted = std::env::var("SERVER").unwrap_or_default();
    [Kind::MySql, Kind::MariaDb].into_iter().filter(move |kind| wanted.is_empty() || wanted == "both" || wanted == kind.name())
}
