//! Named places where a test can make the process die, stop or fail; they cost one atomic load when none is set.
//!
//! `TIDEGATE_FAILPOINTS="cutover.locked=abort;copy.chunk=error*2;tail.event=sleep(50)"` sets them at the start of the process.
//! Actions: `abort` (the process dies as by kill -9), `error` (the step fails), `sleep(ms)`, `stop(file)` (creates the file and
//! goes on when it is gone); `*n` makes an action happen the first n times only, `%n` in n percent of the times. `TIDEGATE_FAILPOINTS_FILE` names a file with
//! such a text that is read again whenever a point is reached: a test changes its mind without a new process.
//! `value(n)` is no action: it stands in the place of one of the engine's own numbers, see [`value`].

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

/// What a failpoint does when it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Abort,
    Error,
    Sleep(Duration),
    Stop(std::path::PathBuf),
    Value(u64),
}

#[derive(Debug)]
struct Armed {
    action: Action,
    left: u64,
    percent: u64,
}

/// The points that are set, and the file that sets them anew.
#[derive(Debug)]
struct Points {
    armed: HashMap<String, Armed>,
    file: Option<String>,
    /// What the file said last.
    text: String,
}

impl Points {
    fn read_again(&mut self) {
        let Some(text) = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) else { return };
        if text != self.text {
            self.armed = parse(&text);
            self.text = text;
        }
    }
}

fn armed() -> Option<&'static Mutex<Points>> {
    static POINTS: OnceLock<Option<Mutex<Points>>> = OnceLock::new();
    POINTS
        .get_or_init(|| {
            let (text, file) = (std::env::var("TIDEGATE_FAILPOINTS").ok(), std::env::var("TIDEGATE_FAILPOINTS_FILE").ok());
            let armed = parse(text.as_deref().unwrap_or_default());
            (text.is_some() || file.is_some()).then(|| Mutex::new(Points { armed, file, text: String::new() }))
        })
        .as_ref()
}

fn parse(text: &str) -> HashMap<String, Armed> {
    let mut points = HashMap::new();
    for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((name, action)) = entry.split_once('=') else { continue };
        let (action, percent) = match action.split_once('%') {
            Some((action, percent)) => (action, percent.trim().parse().unwrap_or(100)),
            None => (action, 100),
        };
        let (action, left) = match action.split_once('*') {
            Some((action, times)) => (action, times.trim().parse().unwrap_or(1)),
            None => (action, u64::MAX),
        };
        let action = match action.trim() {
            "abort" => Action::Abort,
            "error" => Action::Error,
            other => match other.strip_suffix(')').and_then(|other| other.split_once('(')) {
                Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().unwrap_or(0))),
                Some(("stop", file)) => Action::Stop(file.into()),
                Some(("value", number)) => Action::Value(number.parse().unwrap_or(0)),
                _ => continue,
            },
        };
        points.insert(name.trim().to_owned(), Armed { action, left, percent });
    }
    points
}

/// A number below 100, by chance.
fn dice() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::Instant::now()) % 100
}

/// The failpoint of this name was set to fail.
#[derive(Debug, thiserror::Error)]
#[error("failpoint {0} was set to fail")]
pub struct Injected(pub &'static str);

/// Passes a failpoint: returns at once unless a test has armed it.
///
/// # Errors
/// [`Injected`] where the point was armed with `error`.
pub async fn reach(name: &'static str) -> Result<(), Injected> {
    let Some(points) = armed() else { return Ok(()) };
    let action = {
        let mut points = points.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        points.read_again();
        match points.armed.get_mut(name) {
            Some(point) if point.left > 0 && (point.percent >= 100 || dice() < point.percent) => {
                point.left -= 1;
                point.action.clone()
            }
            _ => return Ok(()),
        }
    };
    match action {
        Action::Abort => {
            eprintln!("failpoint {name}: abort");
            std::process::abort()
        }
        Action::Error => Err(Injected(name)),
        Action::Sleep(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        Action::Stop(file) => {
            let _ = std::fs::write(&file, name);
            while file.exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        }
        Action::Value(_) => Ok(()),
    }
}

/// The number that a test puts in the place of the engine's own, such as the rows of a chunk.
pub fn value(name: &str) -> Option<u64> {
    let points = armed()?.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match points.armed.get(name)?.action {
        Action::Value(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read() {
        let points = parse("a=abort; b=error*2;c=sleep(7)%30; nonsense; d=other; e=stop(/tmp/x)*1; f=value(3)");
        assert_eq!(points.len(), 5);
        assert_eq!(points["f"].action, Action::Value(3));
        assert_eq!((points["e"].action.clone(), points["e"].left), (Action::Stop("/tmp/x".into()), 1));
        assert_eq!(points["a"].action, Action::Abort);
        assert_eq!((points["b"].action.clone(), points["b"].left), (Action::Error, 2));
        assert_eq!(points["c"].action, Action::Sleep(Duration::from_millis(7)));
        assert_eq!((points["a"].percent, points["c"].percent), (100, 30));
    }
}
