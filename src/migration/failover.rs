//! Going on on another server than before: a replica that was promoted, which has the shadow and the store by replication.
//!
//! Places in the old server's log mean nothing there; transactions' global ids (GTIDs) do. Two sets are stored beside each place:
//! *through*, which holds only transactions before the place, and from which the new server's log is read on; and *applied*, without
//! all of which the shadow lacks something that the checkpoint says it has. Where *through* is too small, rows are looked at again,
//! which changes nothing; where *applied* is not all there, the copy begins afresh.

use std::collections::{BTreeMap, VecDeque};

use super::checkpoint::Stored;
use crate::upstream::{Error, Facts, Link, Position, literal};

/// So many places of the past are remembered, half a second apart; with a longer backlog some are left out.
const PLACES_MOST: usize = 1024;

/// The two sets that belong to a place; empty where the server gives its transactions no ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gtids {
    /// Every transaction in it lies before the place.
    pub through: String,
    /// Everything that had been written when the checkpoint was taken.
    pub applied: String,
}

/// Places of the last while, and which transactions lie before each.
#[derive(Debug, Default)]
pub struct Trail {
    places: VecDeque<(Position, String)>,
}

impl Trail {
    /// Remembers what the server has executed at its log's end. The set was read before the place: it holds nothing behind it.
    pub fn note(&mut self, position: Position, executed: String) {
        if executed.is_empty() || self.places.back().is_some_and(|(last, _)| *last >= position) {
            return;
        }
        if self.places.len() >= PLACES_MOST {
            let mut keep = false;
            self.places.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.places.push_back((position, executed));
    }

    /// The largest set that lies before a place; forgets what lies before that.
    fn before(&mut self, safe: &Position) -> Option<&str> {
        while self.places.get(1).is_some_and(|(position, _)| position <= safe) {
            self.places.pop_front();
        }
        self.places.front().filter(|(position, _)| position <= safe).map(|(_, executed)| executed.as_str())
    }

    /// The sets for a place up to which everything is applied. To be asked after the place was found, and before it is stored.
    ///
    /// # Errors
    /// As the server says.
    pub async fn gtids(&mut self, link: &mut Link, facts: &Facts, safe: &Position) -> Result<Gtids, Error> {
        let applied = link.executed_gtids(facts).await?;
        let through = if facts.is_mariadb {
            link.cell(&format!("SELECT BINLOG_GTID_POS({}, {})", literal(&safe.file), safe.offset)).await?.unwrap_or_default()
        } else {
            self.before(safe).unwrap_or_default().to_owned()
        };
        Ok(Gtids { through, applied })
    }
}

/// Whether a run can go on on this server from where it stood on another: `Err` says why not.
///
/// # Errors
/// As the server says.
pub async fn can_go_on(link: &mut Link, facts: &Facts, stored: &Stored) -> Result<Result<(), &'static str>, Error> {
    let Gtids { through, applied } = &stored.gtids;
    if through.is_empty() || applied.is_empty() {
        return Ok(Err("the server before gave its transactions no GTIDs, or too few had been seen"));
    }
    let here = link.executed_gtids(facts).await?;
    let (has_all, has_log) = if facts.is_mariadb {
        let (here, applied) = (by_domain(&here), by_domain(applied));
        // What the log still holds is for the server to say, when it is asked for it.
        (applied.iter().all(|(domain, number)| here.get(domain).is_some_and(|reached| reached >= number)), true)
    } else {
        let question = format!(
            "SELECT GTID_SUBSET({}, @@GLOBAL.gtid_executed), GTID_SUBSET(@@GLOBAL.gtid_purged, {})",
            literal(applied),
            literal(through)
        );
        let row = link.texts(&question).await?.pop().unwrap_or_default();
        let is_true = |at: usize| row.get(at).is_some_and(|answer| answer == "1");
        (is_true(0), is_true(1))
    };
    if here.is_empty() {
        return Ok(Err("this server gives its transactions no GTIDs"));
    }
    if !has_all {
        return Ok(Err("this server lacks some of the transactions that the copied rows came from"));
    }
    if !has_log {
        return Ok(Err("this server's binary log no longer holds all that came since"));
    }
    // A place from which nothing could be told apart: offsets in the log's events have 32 bits.
    let files = link.texts("SHOW BINARY LOGS").await?;
    if files.iter().filter_map(|row| row.get(1)).any(|size| size.parse::<u64>().is_ok_and(|size| size > u64::from(u32::MAX))) {
        return Ok(Err("a file of this server's binary log is larger than 4 GiB"));
    }
    Ok(Ok(()))
}

/// The last number of each domain of MariaDB's `domain-server-number,…`.
fn by_domain(gtids: &str) -> BTreeMap<u32, u64> {
    let one = |gtid: &str| {
        let mut parts = gtid.trim().split('-');
        let (domain, _, number) = (parts.next()?, parts.next()?, parts.next()?);
        Some((domain.parse().ok()?, number.parse().ok()?))
    };
    gtids.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_gives_the_last_set_before_a_place() {
        let at = |offset| Position::new("binlog.000007", offset).unwrap();
        let mut trail = Trail::default();
        for offset in [100, 200, 200, 150, 300] {
            trail.note(at(offset), format!("u:1-{offset}"));
        }
        assert_eq!(trail.before(&at(99)), None);
        assert_eq!(trail.before(&at(100)), Some("u:1-100"));
        assert_eq!(trail.before(&at(250)), Some("u:1-200"));
        assert_eq!(trail.before(&at(300)), Some("u:1-300"));
        assert_eq!(trail.before(&at(250)), None, "forgotten: places do not go back");
    }

    #[test]
    fn a_long_backlog_is_thinned_and_never_wrong() {
        let at = |offset| Position::new("binlog.000007", offset).unwrap();
        let mut trail = Trail::default();
        for offset in 0..10 * PLACES_MOST as u64 {
            trail.note(at(offset), format!("u:1-{offset}"));
        }
        assert!(trail.places.len() <= PLACES_MOST);
        let set: u64 = trail.before(&at(5000)).and_then(|set| set.strip_prefix("u:1-")).unwrap().parse().unwrap();
        assert!(set <= 5000);
    }

    #[test]
    fn domains_are_told_apart() {
        assert_eq!(by_domain("0-1-100, 3-7-5"), BTreeMap::from([(0, 100), (3, 5)]));
        assert!(by_domain("").is_empty());
    }
}
