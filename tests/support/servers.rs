//! Private MySQL and MariaDB servers: initialised once into a template, copied for each server, ended with it.
//!
//! Owns: one server process and its directory. Never: uses a server that it did not start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tempfile::TempDir;

use super::disk::Disk;
use super::process::{Process, free_port, project_dir, run, text_of};

/// The application's account: name and password.
pub const APP: (&str, &str) = ("app", "apppw");
/// The engine's account: name and password.
pub const ENGINE: (&str, &str) = ("tidegate", "engine-pw");
/// An account that may log in and read `mysql.user`, nothing more: for tests of missing privileges.
pub const POOR: (&str, &str) = ("poor", "poor-pw");

/// Exactly what the engine's account needs, in the words of GRANT; docs/privileges name the same.
pub const ENGINE_PRIVILEGES: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, LOCK TABLES, TRIGGER, REFERENCES, CREATE VIEW, \
     SHOW VIEW, EXECUTE, CREATE TEMPORARY TABLES, PROCESS, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT, EVENT";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MySQL 9.7.
    MySql,
    /// MariaDB 10.11.
    MariaDb,
}

impl Kind {
    /// The name for people and for `install-servers`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::MySql => "mysqld",
            Self::MariaDb => "mariadbd",
        }
    }

    fn accounts(self) -> String {
        let more = match self {
            Self::MySql => {
                "GRANT CONNECTION_ADMIN, SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SYSTEM_USER ON *.* TO 'tidegate'@'%';\n".to_owned()
            }
            Self::MariaDb => "GRANT BINLOG MONITOR, CONNECTION ADMIN, SET USER ON *.* TO 'tidegate'@'%';\n\
                 CREATE USER 'second'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('second-pw');\n\
                 GRANT ALL PRIVILEGES ON *.* TO 'second'@'%';\n"
                .to_owned(),
        };
        format!(
            "CREATE USER '{}'@'%' IDENTIFIED BY '{}';\nGRANT ALL PRIVILEGES ON *.* TO '{}'@'%' WITH GRANT OPTION;\n\
             CREATE USER '{}'@'%' IDENTIFIED BY '{}';\nGRANT {ENGINE_PRIVILEGES} ON *.* TO '{}'@'%';\n\
             CREATE USER '{}'@'%' IDENTIFIED BY '{}';\n{more}",
            APP.0, APP.1, APP.0, ENGINE.0, ENGINE.1, ENGINE.0, POOR.0, POOR.1
        )
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        })
    }
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// True: every commit reaches the disk, as servers do by default. False: faster, for tests.
    pub is_durable: bool,
    /// MiB of the InnoDB buffer pool.
    pub buffer_pool_mib: u32,
    /// lower_case_table_names = 1; else it is 0.
    pub ignores_case: bool,
    /// More options of the server's command line.
    pub more: Vec<String>,
    /// A disk of its own with so many MiB, in memory, for as long as the process lives; needs root.
    pub disk_mib: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { is_durable: false, buffer_pool_mib: 192, ignores_case: false, more: Vec::new(), disk_mib: None }
    }
}

/// One running private server; killed, and its directory removed, on drop.
#[derive(Debug)]
pub struct Server {
    /// MySQL or MariaDB.
    pub kind: Kind,
    /// The port on 127.0.0.1.
    pub port: u16,
    settings: Settings,
    process: Option<Process>,
    disk: Option<Disk>,
    dir: TempDir,
}

impl Server {
    /// Starts a server with an empty set of schemas and the accounts of this module.
    pub async fn start(kind: Kind, settings: Settings) -> Result<Self> {
        let template = template(kind, settings.ignores_case)?;
        let dir = tempfile::Builder::new().prefix("tidegate-server-").tempdir().context("making a temporary directory")?;
        run(Command::new("chmod").arg("755").arg(dir.path()))?;
        let data = dir.path().join("data");
        let disk = match settings.disk_mib {
            None => {
                run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&data))?;
                None
            }
            Some(mib) => {
                run(Command::new("mkdir").args(["-m", "755"]).arg(&data))?;
                Some(Disk::mount(&data, &template, mib, dir.path())?)
            }
        };
        // A MariaDB that starts removes every temporary table in its tmpdir, those of others as well.
        run(Command::new("mkdir").args(["-m", "1777"]).arg(dir.path().join("tmp")))?;
        // The account of the server may not be let into the home directory where it is installed.
        let plugins = dir.path().join("plugins");
        run(Command::new("mkdir").args(["-m", "755"]).arg(&plugins))?;
        let wanted = match kind {
            Kind::MySql => ["semisync_source.so"].as_slice(),
            Kind::MariaDb => &["auth_ed25519.so", "auth_pam_v1.so", "metadata_lock_info.so"],
        };
        for plugin in wanted {
            run(Command::new("cp").arg(home().join(kind.name()).join("usr/lib/mysql/plugin").join(plugin)).arg(&plugins))?;
        }
        let mut server = Self { kind, port: free_port()?, settings, process: None, disk, dir };
        server.launch().await?;
        Ok(server)
    }

    /// `host:port` as the proxy's configuration wants it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file of the local socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("data/s.sock")
    }

    /// A connection as the application, straight to the server.
    pub async fn connect(&self) -> Result<Conn> {
        connect(self.port, APP).await
    }

    /// The session that holds a user lock: the engine's sessions of an attempt have one each.
    pub async fn holder(&self, lock: &str) -> Result<u64> {
        let holder: Option<Option<u64>> = self.connect().await?.query_first(format!("SELECT IS_USED_LOCK('{lock}')")).await?;
        holder.flatten().with_context(|| format!("nobody holds {lock:?}"))
    }

    /// KILL of a session, unless it has ended by itself; it is gone afterwards.
    pub async fn kill_session(&self, id: u64) -> Result<()> {
        let mut conn = self.connect().await?;
        match conn.query_drop(format!("KILL {id}")).await {
            Err(mysql_async::Error::Server(error)) if error.code == 1094 => {}
            other => other?,
        }
        let until = Instant::now() + Duration::from_secs(60);
        let question = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id}");
        while conn.query_first::<u64, _>(&question).await? != Some(0) {
            ensure!(Instant::now() < until, "connection {id} does not end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// KILL of the session that holds a user lock.
    pub async fn kill_holder(&self, lock: &str) -> Result<()> {
        self.kill_session(self.holder(lock).await?).await
    }

    /// kill -9 of the server; it stays down until [`Server::launch`].
    pub fn kill_hard(&mut self) {
        self.process = None;
    }

    /// Starts a server that is down, on its port and its data.
    pub async fn launch(&mut self) -> Result<()> {
        let log = self.dir.path().join("server.log");
        let mut command = self.command()?;
        if let Some(disk) = &self.disk {
            command = disk.beside(&command);
        }
        let mut process = Process::spawn(command, &log, self.dir.path())?;
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(conn) = self.connect().await {
                conn.disconnect().await?;
                self.process = Some(process);
                return Ok(());
            }
            if let Some(status) = process.ended() {
                bail!("{} ended with {status}:\n{}", self.kind, text_of(&log));
            }
            if Instant::now() > until {
                bail!("{} does not answer on port {} after a minute:\n{}", self.kind, self.port, text_of(&log));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// A clean stop and a start again.
    pub async fn restart(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.terminate(Duration::from_secs(60))?;
        }
        self.process = None;
        self.launch().await
    }

    /// The disk of its own, where it has one.
    pub fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("the server has no disk of its own")
    }

    /// The process's number, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.id())
    }

    /// Its process has ended, by whatever cause.
    pub fn is_dead(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    /// Starts the server again where it has died, and says whether it had.
    pub async fn revive(&mut self) -> Result<bool> {
        let is_dead = self.is_dead();
        if is_dead {
            self.launch().await?;
        }
        Ok(is_dead)
    }

    fn command(&self) -> Result<Command> {
        let data = self.dir.path().join("data");
        let mut command = base_command(self.kind, &data)?;
        command
            .arg(format!("--port={}", self.port))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--tmpdir={}", self.dir.path().join("tmp").display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", data.join("server.pid").display()))
            .arg("--server-id=1")
            .arg("--log-bin=binlog")
            .arg("--binlog-format=ROW")
            .arg("--local-infile=1")
            .arg("--max-connections=500")
            .arg("--max-allowed-packet=64M")
            .arg(format!("--innodb-buffer-pool-size={}M", self.settings.buffer_pool_mib));
        if !self.settings.is_durable {
            command.args(["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"]);
        }
        if self.settings.ignores_case {
            command.arg("--lower-case-table-names=1");
        }
        match self.kind {
            Kind::MySql => command.args(["--mysqlx=OFF", "--secure-file-priv=", "--innodb-redo-log-capacity=256M"]),
            Kind::MariaDb => command.args(["--innodb-log-file-size=256M"]),
        };
        command.arg(format!("--plugin-dir={}", self.dir.path().join("plugins").display()));
        command.args(&self.settings.more);
        Ok(command)
    }
}

/// A connection to a port of 127.0.0.1 with nothing asked on the way but the login.
pub async fn connect(port: u16, account: (&str, &str)) -> Result<Conn> {
    Conn::new(options(port, account)).await.with_context(|| format!("connecting to port {port} as {}", account.0))
}

/// The options of [`connect`].
pub fn options(port: u16, (user, password): (&str, &str)) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(Some(false))
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
        .into()
}

/// The directory of the installed servers; installs what is missing.
pub fn home() -> PathBuf {
    if let Some(dir) = std::env::var_os("TIDEGATE_SERVERS") {
        return PathBuf::from(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"));
    cache.join("tidegate/servers")
}

/// An installed program; `package` is what `install-servers` calls the set it comes from.
pub fn program(package: &str, name: &str) -> Result<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let path = home().join("bin").join(name);
    let _alone = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !path.exists() {
        let installer = project_dir().join("tests/support/install-servers");
        run(Command::new(&installer).arg(package)).with_context(|| {
            format!(
                "{name} is not in {} and could not be installed. Run tests/support/install-servers {package} and read its message; \
                 or set TIDEGATE_SERVERS to a directory whose bin/ has it",
                home().display()
            )
        })?;
    }
    Ok(path)
}

/// Where MariaDB's client library finds its login plugins in an unpacked package; for `MARIADB_PLUGIN_DIR`.
pub fn client_plugins(package: &str) -> PathBuf {
    home().join(package).join(format!("usr/lib/{}-linux-gnu/libmariadb3/plugin", std::env::consts::ARCH))
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// The account that a server runs as where the tests run as root: servers refuse root.
fn account() -> Result<&'static str> {
    if run(Command::new("id").arg("mysql")).is_ok() || run(Command::new("useradd").args(["-r", "mysql"])).is_ok() {
        return Ok("mysql");
    }
    run(Command::new("id").arg("nobody")).context("servers refuse to run as root: create an account with `useradd -r mysql`")?;
    Ok("nobody")
}

/// Messages, character sets and scripts of MariaDB; newer releases have a name of their own for the folder.
fn share() -> PathBuf {
    let under = home().join("mariadb/usr/share");
    let old = under.join("mysql");
    if old.exists() { old } else { under.join("mariadb") }
}

fn base_command(kind: Kind, data: &Path) -> Result<Command> {
    let tree = home().join(kind.name()).join("usr");
    let mut command = Command::new(program(kind.name(), kind.program())?);
    command.arg("--no-defaults").arg(format!("--datadir={}", data.display())).arg(format!("--basedir={}", tree.display()));
    if kind == Kind::MariaDb {
        let share = share();
        command
            .arg(format!("--lc-messages-dir={}", share.display()))
            .arg(format!("--character-sets-dir={}", share.join("charsets").display()));
    }
    if is_root() {
        command.arg(format!("--user={}", account()?));
    }
    Ok(command)
}

/// The directory of an initialised, never started server of this kind and version; made when it is not there yet.
fn template(kind: Kind, ignores_case: bool) -> Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let version = run(Command::new(program(kind.name(), kind.program())?).args(["--no-defaults", "--version"]))?;
    let mut key = 0xcbf2_9ce4_8422_2325_u64;
    for byte in version.bytes().chain(kind.accounts().bytes()) {
        key = (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // MySQL's dictionary is made for one way of comparing names.
    let ignores_case = ignores_case && kind == Kind::MySql;
    let finished = home().join("templates").join(format!("{}{}-{key:016x}", kind.name(), if ignores_case { "-nocase" } else { "" }));
    if finished.exists() {
        return Ok(finished);
    }
    let work = tempfile::Builder::new().prefix("tidegate-template-").tempdir()?;
    run(Command::new("chmod").arg("755").arg(work.path()))?;
    let data = work.path().join("data");
    initialise(kind, work.path(), &data, ignores_case).with_context(|| format!("initialising a {kind} data directory"))?;
    std::fs::create_dir_all(home().join("templates"))?;
    let staged = home().join("templates").join(format!(".{}-{}", kind.name(), std::process::id()));
    run(Command::new("cp").arg("-a").arg(&data).arg(&staged))?;
    if std::fs::rename(&staged, &finished).is_err() {
        std::fs::remove_dir_all(&staged)?; // another run was faster
    }
    Ok(finished)
}

fn initialise(kind: Kind, work: &Path, data: &Path, ignores_case: bool) -> Result<()> {
    let script = work.join("init.sql");
    std::fs::create_dir(data)?;
    if kind == Kind::MariaDb {
        std::fs::create_dir(data.join("mysql"))?;
    }
    if is_root() {
        run(Command::new("chown").arg("-R").arg(account()?).arg(work))?;
    }
    let mut command = base_command(kind, data)?;
    if ignores_case {
        command.arg("--lower-case-table-names=1");
    }
    match kind {
        Kind::MySql => {
            std::fs::write(&script, kind.accounts())?;
            command.args(["--initialize-insecure", "--innodb-redo-log-capacity=256M"]).arg(format!("--init-file={}", script.display()));
            run(&mut command)?;
            std::fs::remove_file(data.join("auto.cnf"))?; // each copy must make an identity of its own
        }
        Kind::MariaDb => {
            let share = share();
            let mut sql = "create database if not exists mysql;\nuse mysql;\nset @auth_root_socket=NULL;\n".to_owned();
            for part in [
                "mysql_system_tables",
                "mysql_performance_tables",
                "mysql_system_tables_data",
                "fill_help_tables",
                "maria_add_gis_sp_bootstrap",
                "mysql_sys_schema",
            ] {
                let old = share.join(format!("{part}.sql"));
                let new = share.join(format!("{}.sql", part.replace("mysql_", "mariadb_")));
                sql.push_str(&std::fs::read_to_string(if old.exists() { old } else { new })?);
            }
            sql.push_str("flush privileges;\nDELETE FROM mysql.global_priv WHERE User='';\nflush privileges;\n");
            sql.push_str(&kind.accounts());
            std::fs::write(&script, sql)?;
            command.args(["--bootstrap", "--log-warnings=0", "--innodb-log-file-size=256M", "--max-allowed-packet=8M"]);
            command.stdin(std::fs::File::open(&script)?);
            run(&mut command)?;
        }
    }
    Ok(())
}
