//! The proxy as a process: started with settings from the environment, watched, killed, started again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::Conn;
use tempfile::TempDir;

use super::admin::Admin;
use super::metrics;
use super::process::{Process, free_port, run, text_of};
use super::servers::{APP, ENGINE, connect};

/// The admin account of every proxy that tests start.
pub const ADMIN: (&str, &str) = ("tidegate_admin", "admin-pw");

/// One proxy; killed on drop.
#[derive(Debug)]
pub struct Proxy {
    /// The port of the MySQL protocol on 127.0.0.1.
    pub port: u16,
    /// The port of /metrics and /live on 127.0.0.1.
    pub http_port: u16,
    environment: BTreeMap<String, String>,
    process: Option<Process>,
    dir: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of `upstream` and waits until it answers.
    pub async fn start(upstream: &str, more: &[(&str, &str)]) -> Result<Self> {
        let mut proxy = Self::prepare(upstream, more)?;
        proxy.launch(&[]).await?;
        Ok(proxy)
    }

    /// Chooses ports and settings without starting anything.
    pub fn prepare(upstream: &str, more: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        // The system may well give the same one twice.
        let mut http_port = free_port()?;
        while http_port == port {
            http_port = free_port()?;
        }
        let mut environment = BTreeMap::from([
            ("TIDEGATE_LISTEN_ADDRESS".to_owned(), format!("127.0.0.1:{port}")),
            ("TIDEGATE_HTTP_ADDRESS".to_owned(), format!("127.0.0.1:{http_port}")),
            ("TIDEGATE_UPSTREAM_ADDRESS".to_owned(), upstream.to_owned()),
            ("TIDEGATE_UPSTREAM_USER".to_owned(), ENGINE.0.to_owned()),
            ("TIDEGATE_UPSTREAM_PASSWORD".to_owned(), ENGINE.1.to_owned()),
            ("TIDEGATE_ADMIN_USER".to_owned(), ADMIN.0.to_owned()),
            ("TIDEGATE_ADMIN_PASSWORD".to_owned(), ADMIN.1.to_owned()),
        ]);
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let dir = tempfile::Builder::new().prefix("tidegate-proxy-").tempdir()?;
        Ok(Self { port, http_port, environment, process: None, dir })
    }

    /// Starts a proxy that is down, with `more` settings this time only, and waits for /live.
    pub async fn launch(&mut self, more: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(binary()?);
        command.env_clear().envs(std::env::vars().filter(|(name, _)| !name.starts_with("TIDEGATE_")));
        command.envs(&self.environment).envs(more.iter().copied()).env("NO_COLOR", "1").current_dir(self.dir.path());
        let mut process = Process::spawn(command, &self.log_file(), self.dir.path())?;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if metrics::fetch(self.http_port, "/live").await.is_ok() {
                self.process = Some(process);
                return Ok(());
            }
            if let Some(status) = process.ended() {
                bail!("the proxy ended at its start with {status}:\n{}", self.log());
            }
            ensure!(Instant::now() < until, "the proxy does not answer GET /live after 20 s:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What `tidegate check` says with these settings, and whether all is well.
    pub fn check(&self, more: &[(&str, &str)]) -> Result<(bool, String)> {
        let mut command = Command::new(binary()?);
        command.arg("check").env_clear().envs(std::env::vars().filter(|(name, _)| !name.starts_with("TIDEGATE_")));
        let output = command.envs(&self.environment).envs(more.iter().copied()).current_dir(self.dir.path()).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// kill -9.
    pub fn kill_hard(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the proxy is not running")?;
        process.terminate(Duration::from_secs(20))
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let process = self.process.as_ref().context("the proxy is not running")?;
        run(Command::new("kill").arg(format!("-{name}")).arg(process.id().to_string()))?;
        Ok(())
    }

    /// Waits for the proxy to end by itself, as it does at a failpoint.
    pub async fn ended(&mut self, time: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + time;
        loop {
            let process = self.process.as_mut().context("the proxy is not running")?;
            if let Some(status) = process.ended() {
                self.process = None;
                return Ok(status);
            }
            ensure!(Instant::now() < until, "the proxy was to end within {time:?} and did not");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// True while the process lives.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// CPU time used so far.
    pub fn cpu_time(&self) -> Duration {
        self.process.as_ref().map(Process::cpu_time).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.process.as_ref().map(Process::memory_kib).unwrap_or_default()
    }

    /// The most resident memory since [`Proxy::forget_peak`], in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.process.as_ref().map(Process::peak_memory_kib).unwrap_or_default()
    }

    /// Lets the peak begin again at what is resident now.
    pub fn forget_peak(&self) -> Result<()> {
        self.process.as_ref().context("the proxy is not running")?.forget_peak()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        self.process.as_ref().map(Process::descriptors).unwrap_or_default()
    }

    /// A connection as the application.
    pub async fn connect(&self) -> Result<Conn> {
        connect(self.port, APP).await
    }

    /// A session of the admin user.
    pub async fn admin(&self) -> Result<Admin> {
        Admin::connect(self.port, ADMIN).await
    }

    /// Everything that the proxy has logged, over all its starts.
    pub fn log(&self) -> String {
        text_of(&self.log_file())
    }

    /// Fails where the log has a WARN or ERROR line without any of the `allowed` words in it.
    pub fn assert_clean_log(&self, allowed: &[&str]) -> Result<()> {
        let log = self.log();
        let unexpected: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked at"))
            .filter(|line| !allowed.iter().any(|word| line.contains(word)))
            .collect();
        ensure!(unexpected.is_empty(), "the proxy's log has {} unexpected line(s):\n{}", unexpected.len(), unexpected.join("\n"));
        Ok(())
    }

    /// Where the log is.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("tidegate.log")
    }
}

/// The program: `TIDEGATE_BIN`, what cargo built for this test, or the one beside this executable.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) =
        std::env::var_os("TIDEGATE_BIN").map(PathBuf::from).or_else(|| option_env!("CARGO_BIN_EXE_tidegate").map(PathBuf::from))
    {
        return Ok(path);
    }
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(3).map(|dir: &Path| dir.join("tidegate")).find(|path| path.is_file());
    found.context("no tidegate program beside this one: run `cargo build --release`, or set TIDEGATE_BIN")
}
