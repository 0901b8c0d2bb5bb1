//! Child processes that cannot outlive the one that started them.
//!
//! Owns: one child and its watchdog, a shell that waits for our end of a pipe to close: on a panic, on Ctrl-C and on
//! kill -9 of the test runner the child is killed all the same. Never: ends a process that it did not start.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running child; killed on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    watchdog: Child,
    /// Held open for as long as the child may live.
    _lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts the command with its output appended to `log`; `scratch` is removed when this process dies without a drop.
    pub fn spawn(mut command: Command, log: &Path, scratch: &Path) -> Result<Self> {
        let out = std::fs::OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("opening {}", log.display()))?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {name}: is it there and executable?"))?;
        let mut watchdog = Command::new("sh")
            .args(["-c", "trap '' INT TERM HUP; read _; kill -9 \"$1\" 2>/dev/null; sleep 0.3; rm -rf \"$2\"", "watchdog"])
            .arg(child.id().to_string())
            .arg(scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting sh as a watchdog")?;
        let lifeline = watchdog.stdin.take();
        Ok(Self { child, watchdog, _lifeline: lifeline })
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the child ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends SIGTERM and waits; kills when the time is over and says so as an error.
    pub fn terminate(&mut self, time: Duration) -> Result<ExitStatus> {
        let _ = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        self.wait(time)
    }

    /// Waits for the child to end by itself.
    pub fn wait(&mut self, time: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        bail!("process {} did not end within {time:?}; it was killed", self.id())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// CPU time that all threads of the child have used, to the nanosecond where the kernel says so.
    pub fn cpu_time(&self) -> Duration {
        let mut nanos = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanos += text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
        Duration::from_nanos(nanos)
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory since the start, or since [`Process::forget_peak`], in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// Lets the peak begin again at what is resident now.
    pub fn forget_peak(&self) -> Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5").context("resetting the peak of resident memory")
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).map_or(0, Iterator::count)
    }

    fn status_kib(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

/// A port of 127.0.0.1 that nobody listens on, and that the system gives no outgoing connection: a server that is down for a moment would
/// not get it back.
pub fn free_port() -> Result<u16> {
    const LOWEST: u16 = 10_000;
    let outgoing = text_of(Path::new("/proc/sys/net/ipv4/ip_local_port_range"));
    let end = outgoing.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768);
    for _ in 0..100 {
        let port = if end > LOWEST + 1000 { fastrand::u16(LOWEST..end) } else { 0 };
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?.port());
        }
    }
    bail!("found no free port between {LOWEST} and {end}")
}

/// Runs a command to its end and gives its output; a failure carries what it wrote.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        bail!("{name} ended with {}: {}", output.status, said.join("\n").trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The whole of a file, or nothing where it is not there.
pub fn text_of(file: &Path) -> String {
    std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The repository's own directory.
pub fn project_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
