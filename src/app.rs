//! Puts the components together; the only file that names every one of them.
//!
//! Threads: one runtime of a single thread for each session worker, so that nothing wakes another thread on a packet's
//! way, and one runtime for everything else (listeners, engine, HTTP).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::{Parser, Subcommand};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

use crate::census::Census;
use crate::config::{Config, Reloaded};
use crate::gate::Gates;
use crate::metrics::{Health, Metrics};
use crate::migration::Service;
use crate::{admin, net, session};

/// How long a proxy that stops lets in who has connected already, where another process takes over.
const KNOCKING: Duration = Duration::from_millis(50);

/// A MySQL-protocol proxy that changes table schemas while applications keep running through it.
///
/// Applications connect to [listen] address instead of the server. Operators connect to the same port as the user of
/// [admin] and say MIGRATE TABLE db.t ADD COLUMN …, SHOW MIGRATIONS, HELP.
#[derive(Debug, Parser)]
#[command(version, about, verbatim_doc_comment)]
struct Arguments {
    /// The configuration file; without it the defaults and the TIDEGATE_… variables count.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validates the configuration, connects to the server, and lists what is missing there; starts nothing.
    Check,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => Arc::new(config),
        Err(error) => {
            eprintln!("tidegate: {error}");
            return ExitCode::from(2);
        }
    };
    let Ok(runtime) = Builder::new_multi_thread().worker_threads(2).thread_name("engine").enable_all().build() else {
        eprintln!("tidegate: the system gives no threads; raise the limit of processes (ulimit -u)");
        return ExitCode::FAILURE;
    };
    match arguments.command {
        Some(Command::Check) => {
            if let Err(error) = session::Security::load(&config, None) {
                println!("not ok  certificates: {error}");
                return ExitCode::FAILURE;
            }
            let report = runtime.block_on(admin::check::check(&config));
            println!("{report}");
            if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        None => {
            start_log(&config);
            match runtime.block_on(serve(config, arguments.config.as_deref())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("{error:#}");
                    eprintln!("tidegate: {error:#}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn start_log(config: &Config) {
    let filter = EnvFilter::try_new(&config.log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if config.log.format == "json" { log.json().init() } else { log.with_ansi(false).init() }
}

/// Binds, runs until SIGTERM or SIGINT, lets everybody finish.
async fn serve(config: Arc<Config>, file: Option<&Path>) -> anyhow::Result<()> {
    use anyhow::Context as _;

    let security = ArcSwap::from_pointee(session::Security::load(&config, None)?);
    let with_others = config.listen.reuse_port == "on";
    let tcp = net::listen(config.listen.address, with_others)
        .with_context(|| format!("cannot listen on [listen] address {}; is another process there?", config.listen.address))?;
    let http = net::listen(config.http.address, with_others)
        .with_context(|| format!("cannot listen on [http] address {}; is another process there?", config.http.address))?;
    let socket = Path::new(&config.listen.socket);
    let local = (!config.listen.socket.is_empty()).then(|| net::listen_local(socket)).transpose();
    let local = local.with_context(|| format!("cannot listen on [listen] socket {}; is another process there?", socket.display()))?;
    let doors = Doors { tcp, local };

    let shutdown = CancellationToken::new();
    let (metrics, census, health) = (Metrics::new(), Arc::new(Census::default()), Health::default());
    let log_held_over = Duration::from_millis(config.cutover.log_held_over_ms);
    let gates = Arc::new(Gates::new(census.clone(), metrics.clone(), log_held_over));
    let service = Service::new(config.clone(), gates.clone(), metrics.clone(), shutdown.clone());
    let live = Arc::new(ArcSwap::new(config.clone()));
    let admin = Arc::new(admin::Context {
        service: service.clone(),
        gates: gates.clone(),
        census: census.clone(),
        config: live.clone(),
        metrics: metrics.clone(),
    });
    let sessions = Arc::new(session::Context {
        config: live.clone(),
        gates,
        census: census.clone(),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
        security,
        admin,
        toolbox: Arc::default(),
    });

    let tasks = TaskTracker::new();
    tasks.spawn(admin::http::serve(http, admin::http::State { metrics: metrics.clone(), health: health.clone() }, shutdown.clone()));
    {
        let (config, health, metrics, shutdown) = (live.clone(), health.clone(), metrics.clone(), shutdown.clone());
        tasks.spawn(async move { admin::probe::watch(&config, &health, &metrics, &shutdown).await });
    }
    service.mend().await;
    {
        let service = service.clone();
        tasks.spawn(async move { service.supervise().await });
    }
    let workers = Workers::start(config.listen.threads)?;
    service.recall().await;
    health.set_listening(true);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %config.listen.address,
        upstream = %config.upstream.address,
        http = %config.http.address,
        "ready for connections"
    );
    doors.accept_until_signal(file, &workers, &sessions).await?;

    health.set_listening(false);
    tracing::info!(sessions = census.count(), "shutting down: transactions may finish");
    drop(doors);
    shutdown.cancel();
    let all_gone = async {
        service.stopped().await;
        while census.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let drain = Duration::from_secs(live.load().listen.drain_timeout_s);
    if tokio::time::timeout(drain, all_gone).await.is_err() {
        tracing::info!(sessions = census.count(), "[listen] drain_timeout_s is over; closing what is left");
    }
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await;
    workers.stop();
    tracing::info!("stopped");
    Ok(())
}

/// Where clients come in.
struct Doors {
    tcp: TcpListener,
    local: Option<UnixListener>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        let path = self.local.as_ref().and_then(|local| local.local_addr().ok()?.as_pathname().map(Path::to_owned));
        // The file stays where a process that took over has made it anew; nobody can tell the two apart, so only a dead one goes.
        if let Some(path) = path {
            self.local = None;
            if std::os::unix::net::UnixStream::connect(&path).is_err() {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

impl Doors {
    async fn accept(&self) -> std::io::Result<net::Socket> {
        let local = async {
            match &self.local {
                Some(local) => local.accept().await.map(|(stream, _)| net::Socket::from(stream)),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => accepted.map(|(stream, _)| net::Socket::from(stream)),
            accepted = local => accepted,
        }
    }

    async fn accept_until_signal(&self, file: Option<&Path>, workers: &Workers, sessions: &Arc<session::Context>) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut next = 0;
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    reload(file, sessions);
                    continue;
                }
            };
            match accepted {
                Ok(socket) => {
                    workers.carry(next, socket, sessions.clone());
                    next += 1;
                }
                Err(error) => {
                    // Usually too many open files: others must end before the next one can come.
                    tracing::warn!(%error, "a connection could not be accepted; raise the limit of open files (ulimit -n) if this goes on");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        // Who has knocked already is let in: where another process takes over, nobody is to find a closed door.
        let waiting = async {
            while let Ok(socket) = self.accept().await {
                workers.carry(next, socket, sessions.clone());
                next += 1;
            }
        };
        if sessions.config.load().listen.reuse_port == "on" {
            let _ = tokio::time::timeout(KNOCKING, waiting).await;
        }
        Ok(())
    }
}

/// SIGHUP: takes over what the file says now.
fn reload(file: Option<&Path>, sessions: &session::Context) {
    let new = match Config::load(file) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(%error, "the configuration was not read again; everything stays as it was");
            return;
        }
    };
    let Reloaded { config, changed, waiting } = sessions.config.load().reloaded(&new);
    let upstream = config.upstream.clone();
    if !sessions.reload(config) {
        return;
    }
    sessions.admin.service.reload(&upstream);
    tracing::info!(changed = %changed.join(", "), "the configuration was read again");
    if !waiting.is_empty() {
        tracing::warn!(keys = %waiting.join(", "), "these keys have changed and need a restart of the proxy");
    }
}

/// The threads that carry sessions, each with a runtime of its own.
struct Workers {
    runtimes: Vec<Handle>,
    stop: CancellationToken,
}

impl Workers {
    fn start(threads: usize) -> anyhow::Result<Self> {
        let threads = if threads > 0 { threads } else { std::thread::available_parallelism().map_or(2, usize::from) };
        let stop = CancellationToken::new();
        let mut runtimes = Vec::with_capacity(threads);
        for number in 0..threads {
            let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let stop = stop.clone();
            std::thread::Builder::new().name(format!("sessions-{number}")).spawn(move || runtime.block_on(stop.cancelled()))?;
        }
        Ok(Self { runtimes, stop })
    }

    /// Hands a connection to one of the threads, which keeps it to its end.
    fn carry(&self, number: usize, socket: net::Socket, context: Arc<session::Context>) {
        let Some(runtime) = self.runtimes.get(number % self.runtimes.len().max(1)) else { return };
        let Ok(loose) = socket.loosen() else { return };
        runtime.spawn(async move {
            // Registered anew: a socket belongs to the runtime that polls it.
            if let Ok(socket) = loose.fasten() {
                session::serve(socket, context).await;
            }
        });
    }

    fn stop(self) {
        self.stop.cancel();
    }
}
