//! What the first words of a text's statements change in its session: schema, isolation, locks, transaction.
//!
//! Owns: the few texts whose effect no status flag shows. Read for every COM_QUERY, so the common ones are told by a byte.

use crate::sql::statement;
use crate::sql::token::{Kind, Token, Tokens};

use super::transaction::{Isolation, Work};

/// Locks that no status flag shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// LOCK TABLES, LOCK INSTANCE, FLUSH … WITH READ LOCK, BACKUP.
    Tables,
    /// An open HANDLER.
    Handler,
    /// GET_LOCK and the like: on no table.
    Named,
}

/// What a statement changes once the server has said OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The default schema.
    Schema(String),
    /// The isolation level; `once` for the next transaction only.
    Isolation {
        /// The level.
        level: Isolation,
        /// For the next transaction only.
        once: bool,
    },
    /// It runs what cannot be read, which may have changed the isolation level.
    Doubt,
    /// Locks are held.
    Locked(Lock),
    /// They were given back.
    Unlocked(Lock),
    /// One of several that may be held was given back: RELEASE_LOCK.
    UnlockedOne(Lock),
    /// Another connection was killed.
    Killed(u64),
}

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// For the transaction.
    pub(super) work: Work,
    /// For the session, in their order.
    pub(super) effects: Vec<Effect>,
    /// The text holds several statements.
    pub(super) is_several: bool,
}

impl Note {
    /// Of a statement that changes nothing in its session.
    pub(super) const STATEMENT: Self = Self { work: Work::Statement, effects: Vec::new(), is_several: false };

    fn one(work: Work, effect: Option<Effect>) -> Self {
        Self { work, effects: effect.into_iter().collect(), is_several: false }
    }
}

/// Reads a text: the first words of each statement in it.
pub(super) fn read(text: &[u8]) -> Note {
    let has_several = memchr::memchr(b';', text)
        .and_then(|at| text.get(at..))
        .is_some_and(|rest| rest.iter().any(|byte| !byte.is_ascii_whitespace() && *byte != b';'));
    if has_several { read_all(text) } else { read_one(text) }
}

fn read_all(text: &[u8]) -> Note {
    let mut whole = Note { work: Work::Nothing, effects: Vec::new(), is_several: false };
    let mut from = None;
    let mut count = 0;
    let mut has_body = false;
    let end = Token { kind: Kind::Mark(b';'), bytes: b"", at: text.len() };
    for token in Tokens::new(text).chain([end]) {
        if !token.is_mark(b';') {
            let first = *from.get_or_insert(token);
            // What follows belongs to a program, and may be run or not.
            has_body |= first.is_any(&["CREATE", "ALTER"]) && token.is_any(&["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"]);
            has_body |= first.is_any(&["IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR", "DECLARE"]);
            has_body |= first.is_word("BEGIN") && token.is_word("NOT");
            if !has_body {
                continue;
            }
        }
        let Some(first) = from.take() else { continue };
        count += 1;
        let next = if has_body {
            Note::one(Work::Statement, Some(Effect::Doubt))
        } else {
            read_one(text.get(first.at..token.at).unwrap_or_default())
        };
        whole.work = after(whole.work, next.work);
        whole.effects.extend(next.effects);
        if has_body {
            break;
        }
    }
    whole.is_several = count > 1 || has_body;
    whole
}

/// What two statements do together. Where both are possible, a transaction that may have a snapshot.
fn after(first: Work, next: Work) -> Work {
    match (first, next) {
        (work, Work::Nothing) | (Work::Nothing, work) => work,
        (Work::Statement, Work::Statement) => Work::Statement,
        (Work::End, Work::End) => Work::End,
        (_, Work::Begin { works }) => Work::Begin { works },
        (Work::Begin { .. } | Work::End, Work::Statement) | (Work::Begin { .. } | Work::Statement, Work::End) => {
            Work::Begin { works: true }
        }
    }
}

fn read_one(text: &[u8]) -> Note {
    let mut words = Words::new(text);
    let Some(Word::Plain(first)) = words.next() else { return Note::STATEMENT };
    let is = |word: &str| first.eq_ignore_ascii_case(word.as_bytes());
    match first.first().map(u8::to_ascii_lowercase) {
        Some(b'b') if is("begin") => match words.plain() {
            // MariaDB's BEGIN NOT ATOMIC is a block of statements.
            Some(next) if next.eq_ignore_ascii_case(b"not") => Note::one(Work::Statement, Some(Effect::Doubt)),
            _ => Note::one(Work::Begin { works: false }, None),
        },
        Some(b's') if is("start") => start(words),
        Some(b'x') if is("xa") => match words.plain() {
            Some(next) if next.eq_ignore_ascii_case(b"start") || next.eq_ignore_ascii_case(b"begin") => {
                Note::one(Work::Begin { works: false }, None)
            }
            _ => Note::STATEMENT,
        },
        Some(b'c') if is("commit") => Note::one(Work::End, None),
        Some(b'c' | b'e') if is("call") || is("execute") => Note::one(Work::Statement, Some(Effect::Doubt)),
        Some(b'r') if is("rollback") => {
            let to_savepoint = words.any(|word| matches!(word, Word::Plain(word) if word.eq_ignore_ascii_case(b"to")));
            Note::one(if to_savepoint { Work::Nothing } else { Work::End }, None)
        }
        Some(b's') if is("set") => set(text, words),
        Some(b'u') if is("use") => Note::one(Work::Nothing, words.name().map(Effect::Schema)),
        Some(b'k') if is("kill") => Note::one(Work::Nothing, kill(words)),
        Some(b'h') if is("handler") => handler(text, words),
        Some(b'l' | b'u' | b'f' | b'b') if ["lock", "unlock", "flush", "backup"].iter().any(|word| is(word)) => locks(text, Lock::Tables),
        _ if mentions_lock_function(text) => locks(text, Lock::Named),
        _ => Note::STATEMENT,
    }
}

fn start(mut words: Words<'_>) -> Note {
    if !words.plain().is_some_and(|next| next.eq_ignore_ascii_case(b"transaction")) {
        return Note::STATEMENT;
    }
    let works = words.any(|word| matches!(word, Word::Plain(word) if word.eq_ignore_ascii_case(b"snapshot")));
    Note::one(Work::Begin { works }, None)
}

fn locks(text: &[u8], lock: Lock) -> Note {
    let statement = statement::classify(text);
    let effect = if statement.takes_session_lock {
        Some(Effect::Locked(lock))
    } else if statement.releases_session_lock {
        Some(Effect::Unlocked(lock))
    } else if lock == Lock::Named {
        Some(Effect::UnlockedOne(lock))
    } else {
        None
    };
    Note::one(Work::Statement, effect)
}

fn handler(text: &[u8], mut words: Words<'_>) -> Note {
    let mut note = locks(text, Lock::Handler);
    // HANDLER [schema.]name CLOSE; what READ is followed by may be anything.
    let closes = words.by_ref().filter(|word| *word != Word::Sign(b';')).take_while(|word| !word.is("read")).last();
    if note.effects.is_empty() && matches!(closes, Some(Word::Plain(word)) if word.eq_ignore_ascii_case(b"close")) {
        note.effects.push(Effect::Unlocked(Lock::Handler));
    }
    note
}

/// GET_LOCK, RELEASE_LOCK and RELEASE_ALL_LOCKS hide anywhere in a statement; all have an underscore.
fn mentions_lock_function(text: &[u8]) -> bool {
    memchr::memchr_iter(b'_', text).any(|at| {
        let before =
            |word: &[u8]| at.checked_sub(word.len()).and_then(|from| text.get(from..at)).is_some_and(|it| it.eq_ignore_ascii_case(word));
        let after = |word: &[u8]| text.get(at + 1..at + 1 + word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        // A column may be called release_lock: only a call counts.
        let is_called = || {
            let next = text.get(at + 5..).unwrap_or_default().iter().find(|byte| !byte.is_ascii_whitespace());
            matches!(next, Some(b'(' | b'/'))
        };
        (before(b"get") && after(b"lock")) || (before(b"release") && (after(b"all_locks") || after(b"lock") && is_called()))
    })
}

fn kill(mut words: Words<'_>) -> Option<Effect> {
    for _ in 0..3 {
        let word = words.plain()?;
        if let Some(id) = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()) {
            return Some(Effect::Killed(id));
        }
        if !["connection", "query", "hard", "soft"].iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes())) {
            return None;
        }
    }
    None
}

fn set(text: &[u8], words: Words<'_>) -> Note {
    let all: Vec<Word<'_>> = words.collect();
    if all.first().is_some_and(|word| word.is("statement")) {
        return Note::STATEMENT;
    }
    // A value that is asked for or computed may read a table.
    let reads = all.contains(&Word::Sign(b'('));
    let work = if reads { Work::Statement } else { Work::Nothing };
    let mut note = if mentions_lock_function(text) { locks(text, Lock::Named) } else { Note::one(work, None) };
    note.effects.extend(isolation(&all));
    note
}

/// `SET [SESSION] TRANSACTION … ISOLATION LEVEL …`, `SET … transaction_isolation = …` among other assignments.
fn isolation(all: &[Word<'_>]) -> Option<Effect> {
    let is = |at: usize, wanted: &str| all.get(at).is_some_and(|word| word.is(wanted));
    let is_scope = is(0, "session") || is(0, "local");
    if is(usize::from(is_scope), "transaction") {
        let at = (0..all.len()).find(|at| is(*at, "isolation") && is(at + 1, "level"))?;
        let is_committed = is(at + 2, "read") && (is(at + 3, "committed") || is(at + 3, "uncommitted"));
        let level = if is_committed { Isolation::Committed } else { Isolation::Snapshot };
        return Some(Effect::Isolation { level, once: !is_scope });
    }
    let (mut found, mut is_global) = (None, false);
    for assignment in all.split(|word| *word == Word::Sign(b',')) {
        // GLOBAL and SESSION hold for the assignments that follow, too.
        if assignment.first().is_some_and(|word| ["global", "persist", "persist_only"].iter().any(|scope| word.is(scope))) {
            is_global = true;
        } else if assignment.first().is_some_and(|word| word.is("session") || word.is("local")) {
            is_global = false;
        }
        let name = assignment.iter().take_while(|word| !matches!(word, Word::Sign(b'=' | b':'))).last();
        let (Some(Word::Plain(name) | Word::Quoted(name)), true) = (name, assignment.len() > 1) else { continue };
        let Some(once) = isolation_variable(name) else { continue };
        if is_global && !name.starts_with(b"@@") {
            continue;
        }
        let is_committed = assignment.last().is_some_and(|level| level.is("read-committed") || level.is("read-uncommitted"));
        let level = if is_committed { Isolation::Committed } else { Isolation::Snapshot };
        found = Some(Effect::Isolation { level, once });
    }
    found
}

/// Whether a variable is the isolation level; with `@@` alone it is for the next transaction only.
fn isolation_variable(name: &[u8]) -> Option<bool> {
    let lower = name.to_ascii_lowercase();
    let (once, bare) = match lower.as_slice() {
        name if name.starts_with(b"@@session.") => (false, &name[10..]),
        name if name.starts_with(b"@@local.") => (false, &name[8..]),
        name if name.starts_with(b"@@") => (true, &name[2..]),
        name => (false, name),
    };
    (bare == b"transaction_isolation" || bare == b"tx_isolation").then_some(once)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    Plain(&'a [u8]),
    Quoted(&'a [u8]),
    Sign(u8),
}

impl Word<'_> {
    fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Plain(word) | Self::Quoted(word) if word.eq_ignore_ascii_case(wanted.as_bytes()))
    }
}

/// Cuts a text into words, past blanks and comments; what an executable comment holds counts.
#[derive(Clone, Debug)]
struct Words<'a> {
    rest: &'a [u8],
    in_version: bool,
}

impl<'a> Words<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text, in_version: false }
    }

    /// Goes past the beginning of an executable comment and its version.
    fn enter_version(&mut self, marker: usize) {
        let rest = self.rest.get(marker..).unwrap_or_default();
        let digits = rest.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = rest.get(if digits >= 5 { digits } else { 0 }..).unwrap_or_default();
        self.in_version = true;
    }

    fn plain(&mut self) -> Option<&'a [u8]> {
        match self.next()? {
            Word::Plain(word) => Some(word),
            Word::Quoted(_) | Word::Sign(_) => None,
        }
    }

    fn name(&mut self) -> Option<String> {
        match self.next()? {
            Word::Plain(name) => Some(String::from_utf8_lossy(name).into_owned()),
            Word::Quoted(name) => Some(String::from_utf8_lossy(name).replace("``", "`")),
            Word::Sign(_) => None,
        }
    }

    fn skip_to(&mut self, end: &[u8]) {
        let at = memchr::memmem::find(self.rest, end).map_or(self.rest.len(), |at| at + end.len());
        self.rest = self.rest.get(at..).unwrap_or_default();
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            match self.rest {
                [] => return None,
                [blank, rest @ ..] if blank.is_ascii_whitespace() => self.rest = rest,
                [b'/', b'*', b'!', ..] => self.enter_version(3),
                [b'/', b'*', b'M' | b'm', b'!', ..] => self.enter_version(4),
                [b'*', b'/', rest @ ..] if self.in_version => {
                    self.in_version = false;
                    self.rest = rest;
                }
                [b'/', b'*', ..] => {
                    self.rest = self.rest.get(2..).unwrap_or_default();
                    self.skip_to(b"*/");
                }
                [b'#', ..] | [b'-', b'-', ..] => self.skip_to(b"\n"),
                [quote @ (b'\'' | b'"' | b'`'), rest @ ..] => {
                    let end = memchr::memchr(*quote, rest).unwrap_or(rest.len());
                    let word = &rest[..end];
                    self.rest = rest.get(end + 1..).unwrap_or_default();
                    return Some(Word::Quoted(word));
                }
                [sign, rest @ ..] => {
                    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'@' | b'.') || *byte >= 0x80;
                    if !is_part(sign) {
                        self.rest = rest;
                        return Some(Word::Sign(*sign));
                    }
                    let end = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
                    let (word, after) = self.rest.split_at(end);
                    self.rest = after;
                    return Some(Word::Plain(word));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level(text: &str) -> Option<(Isolation, bool)> {
        match read(text.as_bytes()).effects[..] {
            [Effect::Isolation { level, once }] => Some((level, once)),
            _ => None,
        }
    }

    #[test]
    fn isolation_levels_are_read() {
        use Isolation::{Committed, Snapshot};
        assert_eq!(level("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"), Some((Committed, false)));
        assert_eq!(level("set transaction isolation level read uncommitted"), Some((Committed, true)));
        assert_eq!(level("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"), Some((Snapshot, true)));
        assert_eq!(level("/* x */ SET autocommit=0, SESSION transaction_isolation = 'READ-COMMITTED'"), Some((Committed, false)));
        assert_eq!(level("SET tx_isolation='repeatable-read'"), Some((Snapshot, false)));
        assert_eq!(level("SET @@session.transaction_isolation := \"READ-COMMITTED\""), Some((Committed, false)));
        assert_eq!(level("SET @@transaction_isolation = 'READ-COMMITTED'"), Some((Committed, true)));
        assert_eq!(level("SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED"), None);
        assert_eq!(level("SET GLOBAL transaction_isolation = 'READ-COMMITTED'"), None);
        assert_eq!(level("SET @a = ', transaction_isolation=READ-COMMITTED'"), None);
        assert_eq!(level("SET names utf8"), None);
        assert_eq!(level("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"), Some((Snapshot, true)));
        assert_eq!(level("SET GLOBAL a = 1, transaction_isolation = 'READ-COMMITTED'"), None, "GLOBAL holds on");
        assert_eq!(level("SET GLOBAL a = 1, SESSION `tx_isolation` = 'READ-COMMITTED'"), Some((Committed, false)));
        assert_eq!(level("SET PERSIST transaction_isolation = 'READ-COMMITTED'"), None);
        assert_eq!(level("SET SESSION transaction_isolation = ?"), Some((Snapshot, false)));
        assert_eq!(level("/*!50000 SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED */"), Some((Committed, false)));
        assert_eq!(level("/*M!100100 SET*/ tx_isolation='READ-COMMITTED'"), Some((Committed, false)));
    }

    #[test]
    fn transactions_and_schemas_and_kills_are_read() {
        let work = |text: &str| read(text.as_bytes()).work;
        assert_eq!(work("BEGIN"), Work::Begin { works: false });
        assert_eq!(work("begin work;"), Work::Begin { works: false });
        assert_eq!(work("begin; select 1"), Work::Begin { works: true });
        assert_eq!(work("BEGIN NOT ATOMIC SELECT 1; END"), Work::Statement);
        assert_eq!(work("-- hi\nSTART TRANSACTION READ ONLY"), Work::Begin { works: false });
        assert_eq!(work("START TRANSACTION WITH CONSISTENT SNAPSHOT"), Work::Begin { works: true });
        assert_eq!(work("START SLAVE"), Work::Statement);
        assert_eq!(work("COMMIT AND CHAIN"), Work::End);
        assert_eq!(work("ROLLBACK TO SAVEPOINT a"), Work::Nothing);
        assert_eq!(work("SELECT 1"), Work::Statement);
        assert_eq!(work("SET @a = 1"), Work::Nothing);
        assert_eq!(work("SET @a = (SELECT COUNT(*) FROM customers)"), Work::Statement, "it takes a snapshot");
        assert_eq!(work("SET STATEMENT max_statement_time = 1 FOR SELECT 1"), Work::Statement);
        assert_eq!(effects("USE `my``db`"), [Effect::Schema("my".into())]);
        assert_eq!(effects("use shop;"), [Effect::Schema("shop".into())]);
        assert_eq!(effects("KILL QUERY 17"), [Effect::Killed(17)]);
        assert_eq!(effects("kill 18"), [Effect::Killed(18)]);
        assert_eq!(effects("KILL USER app"), []);
        assert_eq!(effects("CALL anything()"), [Effect::Doubt]);
    }

    fn effects(text: &str) -> Vec<Effect> {
        read(text.as_bytes()).effects
    }

    #[test]
    fn every_statement_of_a_text_is_read() {
        let isolation = |level, once| Effect::Isolation { level, once };
        assert_eq!(effects("SELECT ';'; USE shop"), [Effect::Schema("shop".into())]);
        assert_eq!(effects("SELECT 1; -- ; USE a\n USE b; USE `c`;"), [Effect::Schema("b".into()), Effect::Schema("c".into())]);
        assert_eq!(
            effects("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN; /* ; */ LOCK TABLES t READ"),
            [isolation(Isolation::Committed, true), Effect::Locked(Lock::Tables)]
        );
        assert_eq!(effects("LOCK TABLES t READ; HANDLER t OPEN; UNLOCK TABLES; HANDLER t CLOSE; SELECT GET_LOCK('a', 1)").len(), 5);
        assert_eq!(
            effects("CREATE PROCEDURE p() BEGIN SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; USE x; END"),
            [Effect::Doubt]
        );
        assert_eq!(effects("BEGIN NOT ATOMIC SET SESSION tx_isolation = 'READ-COMMITTED'; END"), [Effect::Doubt]);
        assert_eq!(effects("IF 0 THEN SET tx_isolation = 'READ-COMMITTED'; END IF"), [Effect::Doubt]);
        assert!(read(b"SELECT 1; SELECT 2").is_several && !read(b"SELECT ';a'").is_several && !read(b"SELECT 1; ;").is_several);
    }

    #[test]
    fn the_work_of_several_statements_is_reckoned_together() {
        let work = |text: &str| read(text.as_bytes()).work;
        assert_eq!(work("SELECT 1; BEGIN"), Work::Begin { works: false });
        assert_eq!(work("USE a; SELECT 1; SELECT 2"), Work::Statement);
        assert_eq!(work("BEGIN; SET @a = 1"), Work::Begin { works: false });
        assert_eq!(work("COMMIT; SELECT 1"), Work::Begin { works: true });
        assert_eq!(work("UPDATE t SET a = 1; COMMIT"), Work::Begin { works: true });
        assert_eq!(work("COMMIT; ROLLBACK"), Work::End);
        assert_eq!(work("COMMIT; START TRANSACTION WITH CONSISTENT SNAPSHOT; USE a"), Work::Begin { works: true });
    }

    #[test]
    fn locks_of_a_session_are_told_by_their_kind() {
        assert_eq!(effects("HANDLER shop.t OPEN AS h"), [Effect::Locked(Lock::Handler)]);
        assert_eq!(effects("HANDLER h READ NEXT WHERE close"), []);
        assert_eq!(effects("HANDLER h CLOSE;"), [Effect::Unlocked(Lock::Handler)]);
        assert_eq!(effects("FLUSH TABLES WITH READ LOCK"), [Effect::Locked(Lock::Tables)]);
        assert_eq!(effects("BACKUP STAGE START"), [Effect::Locked(Lock::Tables)]);
        assert_eq!(effects("SET @a = GET_LOCK('x', 1)"), [Effect::Locked(Lock::Named)]);
        assert_eq!(effects("DO RELEASE_ALL_LOCKS()"), [Effect::Unlocked(Lock::Named)]);
        assert_eq!(effects("SELECT RELEASE_LOCK ('x')"), [Effect::UnlockedOne(Lock::Named)]);
        assert_eq!(effects("SELECT release_lock FROM t"), []);
    }

    #[test]
    fn lock_functions_are_found_anywhere() {
        assert!(mentions_lock_function(b"SELECT id, Get_Lock('a', 1)"));
        assert!(mentions_lock_function(b"DO RELEASE_ALL_LOCKS()"));
        assert!(!mentions_lock_function(b"SELECT _lock, get_ FROM my_table"));
        assert!(!mentions_lock_function(b"_"));
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(text in prop::collection::vec(any::<u8>(), 0..120)) {
            read(&text);
            for first in ["SET ", "KILL ", "USE ", "BEGIN ", "START ", "ROLLBACK ", "get_lock_"] {
                read(&[first.as_bytes(), &text].concat());
            }
        }
    }
}
