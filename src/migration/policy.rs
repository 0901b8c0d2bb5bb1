//! From an error to what follows: one exhaustive match.

use std::time::Duration;

use super::error::Error;
use crate::upstream;

/// What a runner does after an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on from the checkpoint after a pause that grows.
    Retry,
    /// Keep everything and wait for a person; the text is the remedy.
    Park(String),
    /// Undo everything; the source stays as it is.
    Fail,
    /// Undo everything because the operator said so.
    Cancel,
    /// Leave everything as it is: another process will go on.
    Stop,
}

/// What follows an error before the swap.
pub fn decide(error: &Error) -> Decision {
    match error {
        Error::Upstream(upstream) => decide_upstream(upstream),
        Error::Refused(_) | Error::Changed(_) | Error::Damaged(_) => Decision::Fail,
        Error::Stuck(_, remedy) => Decision::Park(remedy.clone()),
        Error::Cancelled => Decision::Cancel,
        Error::Stopped => Decision::Stop,
        Error::Injected(_) => Decision::Retry,
    }
}

fn decide_upstream(error: &upstream::Error) -> Decision {
    let park = |remedy: &str| Decision::Park(format!("{remedy}, then RESUME the migration"));
    match error {
        _ if error.is_lost() || error.is_lock_conflict() => Decision::Retry,
        upstream::Error::TooLong(..) => Decision::Retry,
        // A side schema that a neighbouring migration has just dropped.
        upstream::Error::Server { code: 1049, .. } => Decision::Retry,
        upstream::Error::Server { code, message, .. } => match code {
            1044 | 1045 | 1142 | 1143 | 1227 | 1370 => park("grant the engine's account what `tidegate check` lists"),
            1021 | 1114 | 3 | 28 => park("make room on the server's disk"),
            _ if says_no_room(message) => park("make room on the server's disk"),
            1290 | 1836 => park("make the server writable again"),
            1236 => Decision::Park(
                "the binary log that the migration needs is gone: CANCEL this migration and start it again, with a longer binlog retention"
                    .into(),
            ),
            // MySQL could not show somebody's statement with four-byte characters in the list of processes: it is gone the next time.
            3854 => Decision::Retry,
            1317 | 1028 | 3024 => Decision::Retry,
            _ => park("see the server's error"),
        },
        upstream::Error::Lost(_) => Decision::Retry,
        upstream::Error::Unexpected(_) => park("see the message"),
    }
}

/// The cause that a server puts behind the number of another error: 28 is the system's, 135 its own.
fn says_no_room(message: &str) -> bool {
    ["errno: 28 ", "errno 28 ", "errno: 135 ", "error 28 from storage engine", "error 135 "].iter().any(|cause| message.contains(cause))
}

/// The server's error is about its own state or the account, not about the statement.
pub fn is_about_the_server(error: &upstream::Error) -> bool {
    let of_the_statement = Decision::Park("see the server's error, then RESUME the migration".into());
    decide_upstream(error) != of_the_statement
}

/// The pause before the nth retry in a row, counted from 1.
pub fn pause(nth: u32) -> Duration {
    Duration::from_millis(200) * 2u32.saturating_pow(nth.saturating_sub(1).min(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16) -> Error {
        Error::Upstream(upstream::Error::Server { code, sqlstate: "HY000".into(), message: String::new() })
    }

    #[test]
    fn lost_connections_and_lock_conflicts_are_retried() {
        for code in [1205, 1213, 1053, 1040, 1317] {
            assert_eq!(decide(&server(code)), Decision::Retry, "{code}");
        }
        assert_eq!(decide(&Error::Upstream(upstream::Error::Lost("gone".into()))), Decision::Retry);
    }

    #[test]
    fn what_a_person_must_mend_parks() {
        for code in [1142, 1227, 1114, 1236, 1146] {
            assert!(matches!(decide(&server(code)), Decision::Park(_)), "{code}");
        }
    }

    #[test]
    fn a_full_disk_is_told_by_its_cause_too() {
        let text = "Can't create table `s`.`t` (errno: 135 \"No more room in record file\")";
        let error = upstream::Error::Server { code: 1005, sqlstate: "HY000".into(), message: text.into() };
        assert_eq!(decide(&error.into()), Decision::Park("make room on the server's disk, then RESUME the migration".into()));
    }

    #[test]
    fn refusals_undo() {
        assert_eq!(decide(&Error::Changed("DDL".into())), Decision::Fail);
        assert_eq!(decide(&Error::Damaged("key".into())), Decision::Fail);
        assert_eq!(decide(&Error::Cancelled), Decision::Cancel);
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(1), Duration::from_millis(200));
        assert_eq!(pause(3), Duration::from_millis(800));
        assert_eq!(pause(100), pause(6));
    }
}
