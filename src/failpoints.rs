//! Named places where a test can make the process die, stop or fail; they cost one atomic load when none is set.
//!
//! `TIDEGATE_FAILPOINTS="cutover.locked=abort;copy.chunk=error*2;tail.event=sleep(50)"` sets them at the start of the process.
//! Actions: `abort` (the process dies as by kill -9), `error` (the step fails), `sleep(ms)`; `*n` makes an action
//! happen the first n times only, `%n` in n percent of the times.

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
}

#[derive(Debug)]
struct Armed {
    action: Action,
    left: u64,
    percent: u64,
}

fn armed() -> Option<&'static Mutex<HashMap<String, Armed>>> {
    static POINTS: OnceLock<Option<Mutex<HashMap<String, Armed>>>> = OnceLock::new();
    POINTS
        .get_or_init(|| {
            let text = std::env::var("TIDEGATE_FAILPOINTS").ok()?;
            Some(Mutex::new(parse(&text)))
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
            other => match other.strip_prefix("sleep(").and_then(|rest| rest.strip_suffix(')')) {
                Some(ms) => Action::Sleep(Duration::from_millis(ms.parse().unwrap_or(0))),
                None => continue,
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
        match points.get_mut(name) {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read() {
        let points = parse("a=abort; b=error*2;c=sleep(7)%30; nonsense; d=other");
        assert_eq!(points.len(), 3);
        assert_eq!(points["a"].action, Action::Abort);
        assert_eq!((points["b"].action.clone(), points["b"].left), (Action::Error, 2));
        assert_eq!(points["c"].action, Action::Sleep(Duration::from_millis(7)));
        assert_eq!((points["a"].percent, points["c"].percent), (100, 30));
    }
}
