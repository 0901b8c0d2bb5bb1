//! Puts the components together; the only file that names every one of them.
//!
//! Threads: one runtime of a single thread for each session worker, so that nothing wakes another thread on a packet's
//! way, and one runtime for everything else (listeners, engine, HTTP).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

use crate::census::Census;
use crate::config::Config;
use crate::gate::Gates;
use crate::metrics::{Health, Metrics};
use crate::migration::Service;
use crate::{admin, net, session};

/// How long sessions and migrations may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

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
            match runtime.block_on(serve(config)) {
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
async fn serve(config: Arc<Config>) -> anyhow::Result<()> {
    use anyhow::Context as _;

    let security = ArcSwap::from_pointee(session::Security::load(&config, None)?);
    let listener = net::listen(config.listen.address)
        .with_context(|| format!("cannot listen on [listen] address {}; is another process there?", config.listen.address))?;
    let http = TcpListener::bind(config.http.address)
        .await
        .with_context(|| format!("cannot listen on [http] address {}; is another process there?", config.http.address))?;

    let shutdown = CancellationToken::new();
    let (metrics, census, health) = (Metrics::new(), Arc::new(Census::default()), Health::default());
    let log_held_over = Duration::from_millis(config.cutover.log_held_over_ms);
    let gates = Arc::new(Gates::new(census.clone(), metrics.clone(), log_held_over));
    let service = Service::new(config.clone(), gates.clone(), metrics.clone(), shutdown.clone());
    let admin = Arc::new(admin::Context {
        service: service.clone(),
        gates: gates.clone(),
        census: census.clone(),
        config: config.clone(),
        metrics: metrics.clone(),
    });
    let sessions = Arc::new(session::Context {
        config: config.clone(),
        gates,
        census: census.clone(),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
        security,
        admin,
    });

    let tasks = TaskTracker::new();
    tasks.spawn(admin::http::serve(http, admin::http::State { metrics: metrics.clone(), health: health.clone() }, shutdown.clone()));
    {
        let (config, health, metrics, shutdown) = (config.clone(), health.clone(), metrics.clone(), shutdown.clone());
        tasks.spawn(async move { admin::probe::watch(&config, &health, &metrics, &shutdown).await });
    }
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
    accept_until_signal(&listener, &workers, &sessions).await?;

    health.set_listening(false);
    tracing::info!(sessions = census.count(), "shutting down: transactions may finish");
    drop(listener);
    shutdown.cancel();
    let all_gone = async {
        service.stopped().await;
        while census.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(GRACE, all_gone).await.is_err() {
        tracing::info!(sessions = census.count(), "grace is over; closing what is left");
    }
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await;
    workers.stop();
    tracing::info!("stopped");
    Ok(())
}

async fn accept_until_signal(listener: &TcpListener, workers: &Workers, sessions: &Arc<session::Context>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut reload) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => return Ok(()),
            _ = reload.recv() => {
                sessions.reload();
                continue;
            }
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match accepted {
            Ok((stream, _)) => {
                workers.carry(next, stream, sessions.clone());
                next += 1;
            }
            Err(error) => {
                // Usually too many open files: others must end before the next one can come.
                tracing::warn!(%error, "a connection could not be accepted; raise the limit of open files (ulimit -n) if this goes on");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
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
    fn carry(&self, number: usize, stream: tokio::net::TcpStream, context: Arc<session::Context>) {
        let Some(runtime) = self.runtimes.get(number % self.runtimes.len().max(1)) else { return };
        let Ok(stream) = stream.into_std() else { return };
        runtime.spawn(async move {
            // Registered anew: a socket belongs to the runtime that polls it.
            if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                session::serve(stream, context).await;
            }
        });
    }

    fn stop(self) {
        self.stop.cancel();
    }
}
