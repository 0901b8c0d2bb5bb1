//! What a statement's first words change in its session: schema, isolation, locks, transaction.
//!
//! Owns: the few texts whose effect no status flag shows. Read for every COM_QUERY, so the common ones are told by a byte.

use crate::sql::statement;

use super::transaction::{Isolation, Work};

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
    /// Locks are held that no flag shows; `tables` where they are on tables.
    Locked {
        /// LOCK TABLES, FLUSH … WITH READ LOCK, HANDLER: the tables stay in use.
        tables: bool,
    },
    /// They were given back.
    Unlocked,
    /// Another connection was killed.
    Killed(u64),
}

/// What the first words say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// For the transaction.
    pub(super) work: Work,
    /// For the session.
    pub(super) effect: Option<Effect>,
}

impl Note {
    const STATEMENT: Self = Self { work: Work::Statement, effect: None };

    fn effect(work: Work, effect: Option<Effect>) -> Self {
        Self { work, effect }
    }
}

/// Reads a statement's first words.
pub(super) fn read(text: &[u8]) -> Note {
    let mut words = Words { rest: text };
    let Some(Word::Plain(first)) = words.next() else { return Note::STATEMENT };
    let is = |word: &str| first.eq_ignore_ascii_case(word.as_bytes());
    match first.first().map(u8::to_ascii_lowercase) {
        Some(b'b') if is("begin") => match words.next() {
            // MariaDB's BEGIN NOT ATOMIC is a block of statements.
            Some(Word::Plain(next)) if next.eq_ignore_ascii_case(b"not") => Note::STATEMENT,
            next => Note::effect(Work::Begin { works: has_more(next, &mut words) }, None),
        },
        Some(b's') if is("start") => start(&mut words),
        Some(b'x') if is("xa") => match words.plain() {
            Some(next) if next.eq_ignore_ascii_case(b"start") || next.eq_ignore_ascii_case(b"begin") => {
                Note::effect(Work::Begin { works: false }, None)
            }
            _ => Note::STATEMENT,
        },
        Some(b'c') if is("commit") => Note::effect(Work::End, None),
        Some(b'r') if is("rollback") => {
            let to_savepoint = words.any(|word| matches!(word, Word::Plain(word) if word.eq_ignore_ascii_case(b"to")));
            Note::effect(if to_savepoint { Work::Nothing } else { Work::End }, None)
        }
        Some(b's') if is("set") => Note::effect(Work::Nothing, isolation(words)),
        Some(b'u') if is("use") => Note::effect(Work::Nothing, words.name().map(Effect::Schema)),
        Some(b'k') if is("kill") => Note::effect(Work::Nothing, kill(words)),
        Some(b'l' | b'u' | b'f' | b'h') if ["lock", "unlock", "flush", "handler"].iter().any(|word| is(word)) => locks(text, true),
        _ if mentions_lock_function(text) => locks(text, false),
        _ => Note::STATEMENT,
    }
}

fn start(words: &mut Words<'_>) -> Note {
    if !words.plain().is_some_and(|next| next.eq_ignore_ascii_case(b"transaction")) {
        return Note::STATEMENT;
    }
    let mut works = false;
    let mut ended = false;
    for word in words {
        works |= ended || matches!(word, Word::Plain(word) if word.eq_ignore_ascii_case(b"snapshot"));
        ended |= matches!(word, Word::Sign(b';'));
    }
    Note::effect(Work::Begin { works }, None)
}

/// `true` where another statement follows in the same text.
fn has_more<'a>(next: Option<Word<'a>>, words: &mut Words<'a>) -> bool {
    let mut ended = false;
    next.into_iter().chain(words).any(|word| {
        let follows = ended;
        ended |= matches!(word, Word::Sign(b';'));
        follows
    })
}

fn locks(text: &[u8], tables: bool) -> Note {
    let statement = statement::classify(text);
    let effect = if statement.takes_session_lock {
        Some(Effect::Locked { tables })
    } else if statement.releases_session_lock {
        Some(Effect::Unlocked)
    } else {
        None
    };
    Note::effect(Work::Statement, effect)
}

/// GET_LOCK and RELEASE_ALL_LOCKS hide anywhere in a statement; both have an underscore.
fn mentions_lock_function(text: &[u8]) -> bool {
    memchr::memchr_iter(b'_', text).any(|at| {
        let before =
            |word: &[u8]| at.checked_sub(word.len()).and_then(|from| text.get(from..at)).is_some_and(|it| it.eq_ignore_ascii_case(word));
        let after = |word: &[u8]| text.get(at + 1..at + 1 + word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        (before(b"get") && after(b"lock")) || (before(b"release") && after(b"all_locks"))
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

/// `SET [SESSION] TRANSACTION ISOLATION LEVEL …`, `SET … transaction_isolation = …` among other assignments.
fn isolation(words: Words<'_>) -> Option<Effect> {
    let all: Vec<Word<'_>> = words.take(64).collect();
    let is = |at: usize, wanted: &str| matches!(all.get(at), Some(Word::Plain(word)) if word.eq_ignore_ascii_case(wanted.as_bytes()));
    let is_scope = is(0, "session") || is(0, "local");
    let at = usize::from(is_scope);
    if is(at, "transaction") && is(at + 1, "isolation") && is(at + 2, "level") {
        let is_committed = is(at + 3, "read") && (is(at + 4, "committed") || is(at + 4, "uncommitted"));
        let level = if is_committed { Isolation::Committed } else { Isolation::Snapshot };
        return Some(Effect::Isolation { level, once: !is_scope });
    }
    let mut found = None;
    for assignment in all.split(|word| *word == Word::Sign(b',')) {
        let global = matches!(assignment.first(), Some(Word::Plain(word)) if word.eq_ignore_ascii_case(b"global"));
        let name = assignment.iter().take_while(|word| !matches!(word, Word::Sign(b'=' | b':'))).last();
        if let Some(Word::Plain(name)) = name
            && !global
            && let Some(once) = isolation_variable(name)
        {
            let level = match assignment.last() {
                Some(Word::Quoted(level) | Word::Plain(level))
                    if level.eq_ignore_ascii_case(b"read-committed") || level.eq_ignore_ascii_case(b"read-uncommitted") =>
                {
                    Isolation::Committed
                }
                _ => Isolation::Snapshot,
            };
            found = Some(Effect::Isolation { level, once });
        }
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

/// Cuts a text into words, past blanks and comments. What an executable comment holds is left to the status flags.
#[derive(Clone, Debug)]
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
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
        match read(text.as_bytes()).effect {
            Some(Effect::Isolation { level, once }) => Some((level, once)),
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
        assert_eq!(read(b"USE `my``db`").effect, Some(Effect::Schema("my".into())));
        assert_eq!(read(b"use shop;").effect, Some(Effect::Schema("shop".into())));
        assert_eq!(read(b"KILL QUERY 17").effect, Some(Effect::Killed(17)));
        assert_eq!(read(b"kill 18").effect, Some(Effect::Killed(18)));
        assert_eq!(read(b"KILL USER app").effect, None);
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
