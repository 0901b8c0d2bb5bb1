//! A disk of a server's own, small enough to be filled, which nobody else sees.
//!
//! Owns: a process whose only purpose is to keep the mount; the disk and what is on it go with it. A server that dies of a full disk
//! finds its data again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::process::{Process, text_of};

/// In memory; mounted over a directory.
#[derive(Debug)]
pub struct Disk {
    keeper: Process,
    dir: PathBuf,
}

impl Disk {
    /// Mounts `mib` MiB over `dir` with a copy of `template` on it; `scratch` is for what is written meanwhile. Needs root.
    pub fn mount(dir: &Path, template: &Path, mib: u32, scratch: &Path) -> Result<Self> {
        let script = "mount -t tmpfs -o \"size=$1m,mode=755\" tmpfs \"$2\" && cp -a \"$3/.\" \"$2\" && chown --reference=\"$3\" \"$2\" \
                      && touch \"$4\" && exec sleep infinity";
        let (log, is_ready) = (scratch.join("disk.log"), scratch.join("disk.ready"));
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).arg(mib.to_string()).args([dir, template, &is_ready]);
        let mut keeper = Process::spawn(command, &log, scratch)?;
        let until = Instant::now() + Duration::from_secs(60);
        while !is_ready.exists() {
            if let Some(status) = keeper.ended() {
                bail!("mounting a disk of a test's own ended with {status}; it needs root, as .ci/run has: {}", text_of(&log));
            }
            ensure!(Instant::now() < until, "a disk of {mib} MiB is not there after a minute: {}", text_of(&log));
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { keeper, dir: dir.to_owned() })
    }

    /// The same command where the disk is seen.
    pub fn beside(&self, inner: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("-m").arg("-t").arg(self.keeper.id().to_string()).arg(inner.get_program()).args(inner.get_args());
        command
    }

    /// Fills it but for so many MiB; what was filled is free again when the value is dropped.
    pub fn fill(&self, left_mib: usize) -> Result<Filler> {
        let data = PathBuf::from(format!("/proc/{}/root{}", self.keeper.id(), self.dir.display()));
        let reserve = Filler { file: data.join("reserve") };
        std::fs::write(&reserve.file, vec![1_u8; left_mib << 20])?;
        let filler = Filler { file: data.join(format!("filler-{left_mib}")) };
        filler.fill()?;
        Ok(filler)
    }
}

/// Takes room on a disk.
#[derive(Debug)]
pub struct Filler {
    file: PathBuf,
}

impl Filler {
    /// To the last block.
    fn fill(&self) -> Result<()> {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.file)?;
        for size in [1 << 20, 4096] {
            let block = vec![1_u8; size];
            loop {
                match std::io::Write::write_all(&mut file, &block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
