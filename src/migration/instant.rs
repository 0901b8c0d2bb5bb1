//! ALTERs that the server makes in its dictionary, without touching a row: proved on an empty copy of the table, then made behind the
//! gate, where a cut-over would swap.
//!
//! Owns: the empty copy, which stands in the shadow's place (clients' statements are tried on it), and the two definitions by which a
//! lost answer is settled.
//! Never: a statement on the source that may copy or rebuild it. It names its algorithm, so that the server refuses instead.

use std::sync::Arc;

use super::checkpoint;
use super::cutover::{self, Outcome};
use super::error::Error;
use super::foreign_keys::without_foreign_keys;
use super::phase::{Event, Phase};
use super::run::{self, Beside};
use super::runner::{self, Grip, Surroundings};
use super::shadow::{self, Names};
use super::site::Site;
use super::{Refusal, Strategy, describe, preflight};
use crate::ids::TableName;
use crate::sql::alter::Clause;
use crate::sql::token::{Kind, Token, Tokens};
use crate::upstream::{self, Facts, Link, Server};

/// How often a proof is repeated that other DDL on the server may have spoiled.
const PROOFS_MOST: u32 = 5;

/// How a migration changes its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// It has not begun to.
    #[default]
    Undecided,
    /// Another table is built beside it, and swapped in.
    Copy,
    /// The server changes its dictionary.
    InPlace(Algorithm),
}

/// What the server is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Refused by the server where more than the dictionary would change.
    Instant,
    /// MariaDB: refused where the table would be rebuilt.
    NoCopy,
    /// MySQL: refused where the table would be copied.
    InPlace,
}

impl Algorithm {
    /// Those that a server knows, the strictest first.
    fn of(facts: &Facts) -> [Self; 2] {
        [Self::Instant, if facts.is_mariadb { Self::NoCopy } else { Self::InPlace }]
    }

    fn word(self) -> &'static str {
        match self {
            Self::Instant => "INSTANT",
            Self::NoCopy => "NOCOPY",
            Self::InPlace => "INPLACE",
        }
    }

    /// First, as partitioning must come last.
    fn statement(self, table: &TableName, specification: &str) -> String {
        format!("ALTER TABLE {} ALGORITHM={}, {specification}", table.quoted(), self.word())
    }
}

impl Course {
    /// The name in the store and in SHOW MIGRATION; empty where it is not decided.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecided => "",
            Self::Copy => "copy",
            Self::InPlace(Algorithm::Instant) => "instant",
            Self::InPlace(Algorithm::NoCopy) => "nocopy",
            Self::InPlace(Algorithm::InPlace) => "inplace",
        }
    }

    /// The course of this name.
    pub fn from_name(name: &str) -> Self {
        let in_place = [Algorithm::Instant, Algorithm::NoCopy, Algorithm::InPlace].map(Self::InPlace);
        in_place.into_iter().chain([Self::Copy]).find(|course| course.name() == name).unwrap_or_default()
    }

    /// The server changes the table where it stands.
    pub fn is_in_place(self) -> bool {
        matches!(self, Self::InPlace(_))
    }
}

/// What the server has done with an empty copy.
#[derive(Clone, Debug)]
pub struct Proof {
    algorithm: Algorithm,
    before: String,
    after: String,
}

/// How a run in place ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The table is altered.
    Altered,
    /// The table has changed, or the server wants to copy after all: to be decided anew.
    Again,
}

/// Whether the wish leaves a choice at all.
///
/// # Errors
/// A [`Refusal`] where the wishes contradict each other.
pub fn may_be_tried(wish: Strategy, keeps_old_table: bool, clauses: &[Clause]) -> Result<bool, Refusal> {
    let other = clauses.iter().find_map(|clause| match clause {
        Clause::Algorithm(word) if !word.eq_ignore_ascii_case("INSTANT") => Some(word),
        _ => None,
    });
    match (wish, other) {
        (Strategy::Copy, _) => Ok(false),
        (Strategy::Instant, Some(word)) => {
            Err(Refusal::new(1235, *b"42000", format!("strategy = 'instant' contradicts ALGORITHM={word}; leave one of them out")))
        }
        (Strategy::Instant, None) => Ok(true),
        // Only what was copied can be swapped back.
        (Strategy::Auto, other) => Ok(other.is_none() && !keeps_old_table),
    }
}

/// Decides how the table is changed, and stores it; `None` where it is to be copied.
///
/// # Errors
/// The server's refusal where it may not be copied; the server.
pub async fn choose(around: &Surroundings, grip: &mut Grip) -> Result<Option<Proof>, Error> {
    if grip.stored.course == Course::Copy || grip.stored.position.is_some() {
        return Ok(None);
    }
    let options = &grip.stored.options;
    let window = options.revert_window.unwrap_or_else(|| around.config.cutover.revert_window());
    let wish = options.strategy.unwrap_or(around.config.migrations.strategy);
    let clauses = preflight::check_specification(&grip.stored.specification)?;
    if !may_be_tried(wish, !window.is_zero(), &clauses)? {
        take(grip, Course::Copy, "", "").await?;
        return Ok(None);
    }
    preflight::check_in_place(&mut grip.link, &grip.facts, &grip.stored.table).await?;
    let proved = prove(&grip.server, &mut grip.link, &grip.facts, &grip.names, &grip.stored.specification).await?;
    match proved {
        Ok(proof) => {
            take(grip, Course::InPlace(proof.algorithm), &proof.before, &proof.after).await?;
            crate::failpoints::reach("in_place.proved").await?;
            Ok(Some(proof))
        }
        Err(refusal) if wish == Strategy::Instant => Err(refusal.into()),
        Err(refusal) => {
            tracing::info!(migration = %grip.id(), table = %grip.names.source, server = refusal.message, "the server would not do it in place; it is copied");
            take(grip, Course::Copy, "", "").await?;
            Ok(None)
        }
    }
}

async fn take(grip: &mut Grip, course: Course, before: &str, after: &str) -> Result<(), Error> {
    checkpoint::set_course(&mut grip.link, grip.stored.id, course, before, after).await?;
    grip.stored.course = course;
    (grip.stored.definition_before, grip.stored.definition_after) = (before.to_owned(), after.to_owned());
    grip.board.set_course(course);
    Ok(())
}

/// Lets the server alter an empty copy of the table; gives its first refusal where it would do more than change its dictionary.
///
/// # Errors
/// The server, or the way to it.
pub async fn prove(
    server: &Server,
    link: &mut Link,
    facts: &Facts,
    names: &Names,
    specification: &str,
) -> Result<Result<Proof, Refusal>, Error> {
    let before = definition(link, &names.source).await?;
    let mut first = None;
    for algorithm in Algorithm::of(facts) {
        match on_a_copy(server, link, facts, names, algorithm, specification).await? {
            Ok(()) => {
                let after = definition(link, &names.shadow).await?;
                return Ok(Ok(Proof { algorithm, before, after }));
            }
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    Ok(Err(first.unwrap_or_else(|| Refusal::new(1846, *b"0A000", "the server would rebuild the table"))))
}

async fn on_a_copy(
    server: &Server,
    link: &mut Link,
    facts: &Facts,
    names: &Names,
    algorithm: Algorithm,
    specification: &str,
) -> Result<Result<(), Refusal>, Error> {
    for _ in 0..PROOFS_MOST {
        // Without foreign keys: to create them would lock the tables that they refer to.
        shadow::create(server, names, without_foreign_keys).await?;
        let made_before = newest(link, facts).await?;
        // The operator's words are read under the server's own sql_mode, as his shell's would be.
        let mut judge = server.connect().await?;
        let answer = judge.run(&algorithm.statement(&names.shadow, specification)).await;
        judge.close().await;
        if let Err(error) = answer {
            if error.is_lost() || error.is_lock_conflict() {
                return Err(error.into());
            }
            return Ok(Err(Refusal::of_stand_in(&error, &names.shadow, &names.source)));
        }
        // INSTANT says it all. The others may build an index, or the table itself anew, which on the empty copy takes no time either.
        let made_after = newest(link, facts).await?;
        if algorithm == Algorithm::Instant || made_after.iter().zip(&made_before).all(|(after, before)| after <= before) {
            return Ok(Ok(()));
        }
    }
    Ok(Err(Refusal::new(1846, *b"0A000", format!("ALGORITHM={} would build an index or the table itself", algorithm.word()))))
}

/// The highest numbers of InnoDB's tables and indexes: each that is built gets a new one.
async fn newest(link: &mut Link, facts: &Facts) -> Result<Vec<u64>, Error> {
    let prefix = if facts.is_mariadb { "INNODB_SYS" } else { "INNODB" };
    let sql = format!(
        "SELECT (SELECT MAX(TABLE_ID) FROM information_schema.{prefix}_TABLES), (SELECT MAX(INDEX_ID) FROM information_schema.{prefix}_INDEXES)"
    );
    let rows = link.texts(&sql).await?;
    let number = |cell: &String| cell.parse().map_err(|_| upstream::Error::Unexpected(format!("InnoDB's number {cell:?}")));
    Ok(rows.iter().flatten().map(number).collect::<Result<_, _>>()?)
}

/// SHOW CREATE TABLE without the counter and without foreign keys, which the copy does not have.
///
/// # Errors
/// As the server says.
async fn definition(link: &mut Link, table: &TableName) -> Result<String, upstream::Error> {
    let rows = link.texts(&format!("SHOW CREATE TABLE {}", table.quoted())).await?;
    let statement = rows.first().and_then(|row| row.get(1)).map_or("", String::as_str);
    Ok(without_counter(&without_foreign_keys(statement)))
}

/// The option of the table, not the word in a column.
fn without_counter(statement: &str) -> String {
    let tokens: Vec<Token<'_>> = Tokens::new(statement.as_bytes()).collect();
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 && token.is_word("AUTO_INCREMENT") => {
                let Some(number) = tokens.get(at + 2) else { break };
                let (head, tail) = (statement.get(..token.at), statement.get(number.at + number.bytes.len()..));
                return format!("{}{}", head.unwrap_or_default().trim_end(), tail.unwrap_or_default());
            }
            _ => {}
        }
    }
    statement.to_owned()
}

/// Waits for the moment and lets the server alter the table behind the gate.
///
/// # Errors
/// Whatever ended the run. The server's refusal where the table must not be copied.
pub async fn run(around: &Arc<Surroundings>, grip: &mut Grip, proof: Proof) -> Result<End, Error> {
    let site = Site::new(around, grip, grip.names.clone(), grip.server.clone());
    let hot_names = describe::hot_names(&mut grip.link, &site.names.source).await?;
    let gate = around.gates.install(site.id, site.names.source.clone(), hot_names, site.fence());
    grip.step(Event::Proven).await?;
    let sql = proof.algorithm.statement(&site.names.source, &site.specification);
    let mut beside = Beside::nobody();
    let mut refused = 0;
    loop {
        run::guarded(around, &site, &mut beside, run::ready(&site, &gate, None)).await?;
        if definition(&mut grip.link, &site.names.source).await? != proof.before {
            tracing::info!(migration = %site.id, table = %site.names.source, "somebody has changed the table's definition meanwhile; it is looked at anew");
            return Ok(End::Again);
        }
        grip.step(Event::AttemptBegun).await?;
        let attempt = cutover::alter::attempt(&site, &gate.gate, &sql).await;
        let (outcome, report) = match attempt {
            Ok(attempt) => attempt,
            Err(Error::Refused(refusal)) => {
                grip.step(Event::NotSwapped).await?;
                if grip.stored.options.strategy == Some(Strategy::Instant) {
                    return Err(refusal.into());
                }
                tracing::info!(migration = %site.id, table = %site.names.source, server = refusal.message, "the server does not do it in place after all; the table is copied");
                take(grip, Course::Copy, "", "").await?;
                return Ok(End::Again);
            }
            Err(error) => (Outcome::NotCommitted("not_begun", error.to_string()), cutover::Report::default()),
        };
        let stored = run::note_attempt(grip, &site, &report).await;
        // Read where the server has said no: a KILL may have come when all was done.
        let outcome = match outcome {
            Outcome::NotCommitted(..) if definition(&mut grip.link, &site.names.source).await? != proof.before => {
                Outcome::Unknown("the table's definition has changed".into())
            }
            outcome => outcome,
        };
        match outcome {
            Outcome::Committed => {
                site.board.metrics().attempt("committed");
                tracing::info!(migration = %site.id, table = %site.names.source, steps = %report.steps, "{}", report.sentence(&site.names.source));
                crate::failpoints::reach("cutover.unlocked").await?;
                stored?;
                grip.step(Event::Altered).await?;
                crate::failpoints::reach("cutover.recorded").await?;
                return Ok(End::Altered);
            }
            Outcome::NotCommitted(kind, reason) => {
                refused += 1;
                run::note_called_off(&site, &report, kind, &reason, refused);
                stored?;
                grip.step(Event::NotSwapped).await?;
                site.board.set_note(format!("attempt {refused} was called off: {reason}"));
                run::guarded(around, &site, &mut beside, run::pause(refused)).await?;
            }
            Outcome::Unknown(reason) => {
                site.board.metrics().attempt("unknown");
                tracing::info!(migration = %site.id, table = %site.names.source, reason, "the answer to the ALTER was lost; reading what happened");
                run::settle_in_time(grip, &site).await?;
                if grip.phase == Phase::CleaningUp {
                    return Ok(End::Altered);
                }
                return Err(upstream::Error::Lost("the ALTER did not happen; another attempt follows".into()).into());
            }
        }
    }
}

/// From Ambiguous to what the table's definition says. Nothing of an earlier attempt may still run.
///
/// # Errors
/// [`Error::Changed`] where it is neither what it was nor what the ALTER makes of it; the server.
pub async fn settle(grip: &mut Grip) -> Result<(), Error> {
    let source = grip.names.source.clone();
    let now = definition(&mut grip.link, &source).await?;
    // Where the ALTER changes nothing both are equal, and to make it again changes nothing either.
    let is_before = now == grip.stored.definition_before;
    let is_after = now == grip.stored.definition_after;
    tracing::info!(migration = %grip.id(), table = %source, is_before, is_after, "read what the ALTER led to");
    if is_after && !is_before {
        return grip.step(Event::Altered).await;
    }
    if is_before {
        return grip.step(Event::NotSwapped).await;
    }
    // Not made again: who takes over must not take it for a table whose ALTER is still to come.
    let error = Error::Changed(format!(
        "the answer to the ALTER of {source} was lost, and somebody else has changed the table too: look with SHOW CREATE TABLE whether it was made, \
         and start another migration where it was not"
    ));
    grip.fail(Event::FoundChanged, &error).await?;
    crate::failpoints::reach("in_place.found_changed").await?;
    Err(error)
}

/// Reads what happened where an attempt's end is not known.
///
/// # Errors
/// As [`settle`], or [`runner::settle_truth`].
pub async fn settle_or_read(grip: &mut Grip) -> Result<(), Error> {
    if grip.stored.course.is_in_place() { settle(grip).await } else { runner::settle_truth(grip).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_survive_storing() {
        let all = [Algorithm::Instant, Algorithm::NoCopy, Algorithm::InPlace].map(Course::InPlace);
        for course in all.into_iter().chain([Course::Copy, Course::Undecided]) {
            assert_eq!(Course::from_name(course.name()), course);
        }
    }

    #[test]
    fn a_wish_for_a_copy_or_a_way_back_is_a_copy() {
        let algorithm = |word: &str| vec![Clause::Algorithm(word.into())];
        let tried = |wish, keeps, clauses: &[Clause]| may_be_tried(wish, keeps, clauses).ok();
        assert_eq!(tried(Strategy::Auto, false, &[]), Some(true));
        assert_eq!(tried(Strategy::Auto, true, &[]), Some(false));
        assert_eq!(tried(Strategy::Copy, false, &algorithm("INSTANT")), Some(false));
        // What follows in the text would overrule what stands before it.
        for word in ["COPY", "INPLACE", "DEFAULT"] {
            assert_eq!(tried(Strategy::Auto, false, &algorithm(word)), Some(false));
            assert_eq!(tried(Strategy::Instant, false, &algorithm(word)), None);
        }
        assert_eq!(tried(Strategy::Instant, true, &algorithm("instant")), Some(true));
    }

    #[test]
    fn foreign_keys_and_the_counter_are_left_out() {
        let with = "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT COMMENT 'AUTO_INCREMENT=3',\n  PRIMARY KEY (`id`),\n  CONSTRAINT `a``b` FOREIGN KEY (`id`) \
                    REFERENCES `p` (`id`),\n  CONSTRAINT `c` CHECK ((`id` > 0)),\n  CONSTRAINT `z` FOREIGN KEY (`id`) REFERENCES `p` (`id`)\n) ENGINE=InnoDB \
                    AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4";
        let without = "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT COMMENT 'AUTO_INCREMENT=3',\n  PRIMARY KEY (`id`),\n  CONSTRAINT `c` CHECK ((`id` > 0))\n) \
                       ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
        assert_eq!(without_counter(&without_foreign_keys(with)), without);
        assert_eq!(without_counter(without), without);
    }
}
