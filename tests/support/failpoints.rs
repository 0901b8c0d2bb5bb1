//! The proxy's failpoints from outside: set while it runs, waited for, let go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;

/// A file that a proxy reads its failpoints from, and the place where it stops.
#[derive(Debug)]
pub struct Failpoints {
    dir: TempDir,
}

impl Failpoints {
    /// None is set.
    pub fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::Builder::new().prefix("tidegate-failpoints-").tempdir()? })
    }

    /// What the proxy needs in its environment.
    pub fn environment(&self) -> (&'static str, String) {
        ("TIDEGATE_FAILPOINTS_FILE", self.dir.path().join("points").display().to_string())
    }

    /// Sets these and no others, such as `cutover.hold=error*1`.
    pub fn set(&self, text: &str) -> Result<()> {
        // Renamed into place: the proxy never reads half of it. The number makes the same text count as a new one.
        static NUMBERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let new = self.dir.path().join("new");
        std::fs::write(&new, format!("{text};setting {number}"))?;
        Ok(std::fs::rename(new, self.dir.path().join("points"))?)
    }

    /// The proxy shall stop at this point, once.
    pub fn stop_at(&self, point: &str) -> Result<()> {
        self.set(&format!("{point}=stop({})*1", self.stop().display()))
    }

    fn stop(&self) -> PathBuf {
        self.dir.path().join("stopped")
    }

    /// The proxy stands at the point.
    pub fn is_stopped(&self) -> bool {
        self.stop().exists()
    }

    /// Waits until the proxy stands at the point.
    pub async fn stopped(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while !self.is_stopped() {
            ensure!(Instant::now() < until, "the proxy did not come to its failpoint within {time:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Lets the proxy go on to this point, and waits until it stands there.
    pub async fn go_to(&self, point: &str, time: Duration) -> Result<()> {
        self.stop_at(point)?;
        std::fs::remove_file(self.stop())?;
        self.stopped(time).await
    }

    /// Lets the proxy go on, and sets nothing more.
    pub fn go(&self) -> Result<()> {
        self.set("")?;
        match std::fs::remove_file(self.stop()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
