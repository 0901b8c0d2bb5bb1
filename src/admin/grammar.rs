//! The grammar of the admin port. Pure.
//!
//! ```text
//! MIGRATE [TABLE] [db.]t <alter specification> [, TABLE [db.]t <alter specification>]… [WITH name = value, …]
//! SHOW MIGRATIONS [LIKE 'pattern'] | SHOW MIGRATION id | {PAUSE | RESUME | CANCEL | CUTOVER | REVERT | CLEANUP} MIGRATION id
//! CUTOVER MIGRATION id FORCE
//! SHOW {GATES | SESSIONS | BYPASS | CONFIG | STATUS [LIKE 'pattern'] | VERSION} | HELP | what clients send by themselves
//! ```
//!
//! Invariant: the specification is cut out of the text verbatim; what is not understood here is the server's to judge.

use std::time::Duration;

use super::answer::Failure;
use super::tokens::{Kind, Token, tokens};
use super::{client, hint};
use crate::config::{Fence, Protocol, Strategy};
use crate::ids::MigrationId;
use crate::migration::{Command, Options};

/// One statement as the admin port understands it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    /// MIGRATE
    Migrate(Migrate),
    /// SHOW MIGRATIONS
    Migrations {
        /// LIKE, on schema.table.
        like: Option<String>,
    },
    /// SHOW MIGRATION id
    Migration(MigrationId),
    /// PAUSE, RESUME, CANCEL, CUTOVER, REVERT, CLEANUP
    Tell(MigrationId, Command),
    /// SHOW GATES
    Gates,
    /// SHOW SESSIONS
    Sessions,
    /// SHOW BYPASS
    Bypass,
    /// SHOW CONFIG
    Config,
    /// SHOW STATUS
    Status {
        /// LIKE, on the name.
        like: Option<String>,
    },
    /// SHOW VERSION
    Version,
    /// HELP
    Help,
    /// What clients send by themselves.
    Client(client::Statement),
}

/// A MIGRATE statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Migrate {
    /// One table, or several that are swapped together.
    pub(super) changes: Vec<Change>,
    /// WITH …
    pub(super) options: Options,
}

/// One table's part of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// `None`: the session's schema.
    pub(super) schema: Option<String>,
    /// The table.
    pub(super) table: String,
    /// What follows the table's name, verbatim.
    pub(super) specification: String,
}

/// Reads one statement.
///
/// # Errors
/// 1064, 1065, 1231 with one sentence naming what was expected.
pub(super) fn parse(text: &str) -> Result<Statement, Failure> {
    let tokens = tokens(text)?;
    let Some(first) = tokens.first() else { return Err(Failure::new(1065, b"42000", "the statement is empty; HELP lists the commands")) };
    if first.is("MIGRATE") {
        return migrate(text, &tokens).map(Statement::Migrate);
    }
    if tokens.iter().any(|token| token.is_mark(';')) {
        return Err(Failure::syntax("the admin port takes one statement at a time; send what follows the semicolon on its own"));
    }
    let words: Vec<String> = tokens.iter().map_while(|token| token.name().map(str::to_owned)).collect();
    let told = [
        ("PAUSE", Command::Pause),
        ("RESUME", Command::Resume),
        ("CANCEL", Command::Cancel),
        ("CUTOVER", Command::Cutover),
        ("REVERT", Command::Revert),
        ("CLEANUP", Command::CleanUp),
    ];
    if let Some((verb, command)) = told.iter().find(|(verb, _)| first.is(verb))
        && tokens.get(1).is_none_or(|token| token.is("MIGRATION") || matches!(token.kind, Kind::Number(_)))
    {
        let id = tokens.get(2..).unwrap_or_default();
        if let ([id, force], Command::Cutover) = (id, command)
            && force.is("FORCE")
        {
            let form = "CUTOVER MIGRATION id FORCE";
            return number(std::slice::from_ref(id), form).map(|id| Statement::Tell(id, Command::ForceCutover));
        }
        return number(id, &format!("{verb} MIGRATION id")).map(|id| Statement::Tell(id, *command));
    }
    if first.is("SHOW")
        && let Some(statement) = show(&tokens)?
    {
        return Ok(statement);
    }
    // The mysql shell answers a bare `help` itself and sends `help 'word'` for `help word`.
    if first.is("HELP") && tokens.len() <= 2 {
        return Ok(Statement::Help);
    }
    if let Some(statement) = client::parse(text, &tokens)? {
        return Ok(Statement::Client(statement));
    }
    Err(unknown(text, &words))
}

fn unknown(text: &str, words: &[String]) -> Failure {
    let said: String = text.split_whitespace().take(3).collect::<Vec<_>>().join(" ").chars().take(60).collect();
    match hint::nearest(words) {
        Some((keywords, form)) => {
            let form = if form == keywords { String::new() } else { format!("It is written {form}; ") };
            Failure::syntax(format!("'{said}' is no admin command; did you mean {keywords}? {form}HELP lists the commands"))
        }
        None => Failure::syntax(format!(
            "this is Tidegate's admin port, which does not know '{said}'; HELP lists the commands. For SQL, log in as an application user"
        )),
    }
}

fn show(tokens: &[Token]) -> Result<Option<Statement>, Failure> {
    let rest = tokens.get(2..).unwrap_or_default();
    let Some(what) = tokens.get(1) else { return Ok(None) };
    if what.is("MIGRATIONS") {
        return Ok(Some(Statement::Migrations { like: like(rest, "SHOW MIGRATIONS [LIKE 'db.pattern']")? }));
    }
    if what.is("MIGRATION") {
        return number(rest, "SHOW MIGRATION id").map(|id| Some(Statement::Migration(id)));
    }
    let plain = [
        ("GATES", Statement::Gates),
        ("SESSIONS", Statement::Sessions),
        ("BYPASS", Statement::Bypass),
        ("CONFIG", Statement::Config),
        ("VERSION", Statement::Version),
        ("HELP", Statement::Help),
    ];
    for (word, statement) in plain {
        if what.is(word) {
            return match rest.is_empty() {
                true => Ok(Some(statement)),
                false => Err(Failure::syntax(format!("nothing was expected after SHOW {word}"))),
            };
        }
    }
    let scoped = what.is("GLOBAL") || what.is("SESSION");
    let (what, rest) = if scoped { (rest.first(), rest.get(1..).unwrap_or_default()) } else { (Some(what), rest) };
    if what.is_some_and(|what| what.is("STATUS")) {
        return Ok(Some(Statement::Status { like: like(rest, "SHOW STATUS [LIKE 'pattern']")? }));
    }
    Ok(None)
}

/// Reads `[LIKE 'pattern']` and nothing after it.
pub(super) fn like(tokens: &[Token], form: &str) -> Result<Option<String>, Failure> {
    match tokens {
        [] => Ok(None),
        [like, Token { kind: Kind::Text(pattern), .. }] if like.is("LIKE") => Ok(Some(pattern.clone())),
        _ => Err(Failure::syntax(format!("expected {form}"))),
    }
}

fn number(tokens: &[Token], form: &str) -> Result<MigrationId, Failure> {
    let wrong = || Failure::syntax(format!("expected {form} with a number as SHOW MIGRATIONS gives it"));
    match tokens {
        [Token { kind: Kind::Number(digits) | Kind::Text(digits), .. }] => digits.parse().map(MigrationId).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

fn migrate(text: &str, tokens: &[Token]) -> Result<Migrate, Failure> {
    let rest = tokens.get(1..).unwrap_or_default();
    // A table may be called `table`; only a name after it makes the word a keyword.
    let is_keyword = rest.first().is_some_and(|token| token.is("TABLE")) && !rest.get(1).is_some_and(|token| token.is_mark('.'));
    let (mut rest, mut changes) = (rest.get(usize::from(is_keyword)..).unwrap_or_default(), Vec::new());
    loop {
        let (members, next) = rest.split_at(next_member(rest).unwrap_or(rest.len()));
        let is_last = next.is_empty();
        let (change, options) = change(text, members, next.first())?;
        changes.push(change);
        if is_last {
            return Ok(Migrate { changes, options });
        }
        if options != Options::default() {
            return Err(Failure::syntax("WITH … stands once, at the end of the statement, and holds for all tables"));
        }
        rest = next.get(2..).unwrap_or_default();
    }
}

/// Where the comma before `TABLE name` is, outside of parentheses: no part of an ALTER specification begins with this word.
fn next_member(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.windows(3).position(|window| {
        match window.first().map(|token| &token.kind) {
            Some(Kind::Mark('(')) => depth += 1,
            Some(Kind::Mark(')')) => depth = depth.saturating_sub(1),
            _ => {}
        }
        matches!(window, [comma, table, name] if depth == 0 && comma.is_mark(',') && table.is("TABLE") && name_of(name).is_some())
    })
}

/// One table with what is to be done with it: `tokens` begin with its name and end before the comma of the next one.
fn change(text: &str, tokens: &[Token], comma: Option<&Token>) -> Result<(Change, Options), Failure> {
    const FORM: &str = "expected MIGRATE [TABLE] db.t <alter specification> [, TABLE db.t <alter specification>]… [WITH name = value, …]";
    let mut at = 0;
    let name = |at: usize| tokens.get(at).and_then(name_of).ok_or_else(|| Failure::syntax(FORM));
    let mut table = name(at)?;
    let mut schema = None;
    if tokens.get(at + 1).is_some_and(|token| token.is_mark('.')) {
        schema = Some(table);
        table = name(at + 2)?;
        at += 2;
    }
    let named = tokens.get(at).map_or(text.len(), |token| token.end);
    let body = tokens.get(at + 1..).unwrap_or_default();
    let (with, options) = options(body)?;
    let end = with.or(comma).map_or_else(|| statement_end(text, body, named), |token| token.start);
    let specification = text.get(named..end).unwrap_or_default().trim();
    if body.is_empty() || with.is_some_and(|with| body.first() == Some(with)) || specification.is_empty() {
        return Err(Failure::syntax(format!("nothing to do with the table {table}; {FORM}, such as ADD COLUMN note TEXT")));
    }
    if body.iter().any(|token| token.is_mark(';')) {
        return Err(Failure::syntax("the admin port takes one statement at a time; send what follows the semicolon on its own"));
    }
    Ok((Change { schema, table, specification: specification.to_owned() }, options))
}

fn name_of(token: &Token) -> Option<String> {
    match &token.kind {
        Kind::Word(name) if !name.starts_with('@') => Some(name.clone()),
        Kind::Quoted(name) if !name.is_empty() => Some(name.clone()),
        // A name may begin with, or be, digits.
        Kind::Number(digits) => Some(digits.trim_start_matches('.').to_owned()),
        _ => None,
    }
}

/// The end of the statement: semicolons after the last token are not part of the specification, a comment there is.
fn statement_end(text: &str, body: &[Token], named: usize) -> usize {
    let last = body.last().map_or(named, |token| token.end);
    let rest = text.get(last..).unwrap_or_default();
    rest.find(';').map_or(text.len(), |semicolon| last + semicolon)
}

/// Finds the last WITH outside of parentheses that `name =` follows, and reads the list after it.
fn options(body: &[Token]) -> Result<(Option<&Token>, Options), Failure> {
    let mut depth = 0_usize;
    let mut found = None;
    for (at, token) in body.iter().enumerate() {
        match token.kind {
            Kind::Mark('(') => depth += 1,
            Kind::Mark(')') => depth = depth.saturating_sub(1),
            _ if depth == 0 && token.is("WITH") => {
                let named = body.get(at + 1).and_then(Token::name);
                if named.is_some() && body.get(at + 2).is_some_and(|token| token.is_mark('=')) {
                    found = Some(at);
                } else if let Some(name) = named.filter(|name| OPTIONS.iter().any(|(option, _)| option.eq_ignore_ascii_case(name))) {
                    return Err(Failure::syntax(format!("after WITH {name}, '= value' was expected")));
                }
            }
            _ => {}
        }
    }
    let mut options = Options::default();
    let Some(at) = found else { return Ok((None, options)) };
    let mut rest = body.get(at + 1..).unwrap_or_default();
    let mut seen = Vec::new();
    loop {
        let [name, equals, value, after @ ..] = rest else {
            return Err(Failure::syntax("in the list after WITH, name = value was expected"));
        };
        let Some(name) = name.name().filter(|_| equals.is_mark('=')) else {
            return Err(Failure::syntax("in the list after WITH, name = value was expected"));
        };
        let name = name.to_lowercase();
        set(&mut options, &name, value)?;
        if seen.contains(&name) {
            return Err(Failure::syntax(format!("option {name} is given twice; give it once")));
        }
        seen.push(name);
        match after {
            [] => break,
            [comma, more @ ..] if comma.is_mark(',') => rest = more,
            _ => return Err(Failure::syntax("after an option's value, a comma or the end of the statement was expected")),
        }
    }
    if let (Some(hold), Some(drain)) = (options.max_hold, options.drain_budget)
        && hold < drain
    {
        return Err(Failure::new(1231, b"42000", "max_hold_ms is less than drain_budget_ms; the drain is a part of the hold"));
    }
    Ok((body.get(at), options))
}

/// Options of WITH and what each takes.
pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("postpone", "true or false"),
    ("strategy", "'auto', 'instant' or 'copy'"),
    ("verify", "true or false"),
    ("max_hold_ms", "a number from 1 to 60000"),
    ("drain_budget_ms", "a number from 1 to 60000"),
    ("ignore_breaking", "true or false"),
    ("fence", "'wait', 'fence' or 'off'"),
    ("copy_workers", "a number from 1 to 64"),
    ("revert_window_s", "a number from 0 to 2592000"),
    ("cutover", "'auto', 'locked_rename', 'sentry' or 'sentry_locked_shadow'"),
    ("throttle", "true or false"),
];

fn set(options: &mut Options, name: &str, value: &Token) -> Result<(), Failure> {
    let Some((_, expected)) = OPTIONS.iter().find(|(option, _)| *option == name) else {
        let known: Vec<_> = OPTIONS.iter().map(|(option, _)| *option).collect();
        let shown: String = name.chars().take(64).collect();
        return Err(Failure::syntax(format!("option '{shown}' is unknown; the options are {}", known.join(", "))));
    };
    let wrong = || Failure::new(1231, b"42000", format!("option {name} takes {expected}"));
    let range = |least: u64, most: u64| match &value.kind {
        Kind::Number(digits) => digits.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(wrong),
        _ => Err(wrong()),
    };
    match name {
        "postpone" => options.postpone = boolean(value).ok_or_else(wrong)?,
        "verify" => options.skip_verify = !boolean(value).ok_or_else(wrong)?,
        "strategy" => options.strategy = Some(strategy(value).ok_or_else(wrong)?),
        "cutover" => options.cutover = Some(protocol(value).ok_or_else(wrong)?),
        "max_hold_ms" => options.max_hold = Some(Duration::from_millis(range(1, 60_000)?)),
        "drain_budget_ms" => options.drain_budget = Some(Duration::from_millis(range(1, 60_000)?)),
        "ignore_breaking" => options.ignore_breaking = boolean(value).ok_or_else(wrong)?,
        "throttle" => options.ignores_throttle = !boolean(value).ok_or_else(wrong)?,
        "fence" => options.fence = Some(fence(value).ok_or_else(wrong)?),
        "copy_workers" => options.copy_workers = usize::try_from(range(1, 64)?).ok(),
        _ => options.revert_window = Some(Duration::from_secs(range(0, 2_592_000)?)),
    }
    Ok(())
}

fn boolean(token: &Token) -> Option<bool> {
    let (Kind::Word(word) | Kind::Number(word) | Kind::Text(word)) = &token.kind else { return None };
    match word.to_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn fence(token: &Token) -> Option<Fence> {
    let (Kind::Word(word) | Kind::Text(word)) = &token.kind else { return None };
    Fence::of_name(word)
}

fn strategy(token: &Token) -> Option<Strategy> {
    let (Kind::Word(word) | Kind::Text(word)) = &token.kind else { return None };
    Strategy::from_name(word)
}

fn protocol(token: &Token) -> Option<Protocol> {
    let (Kind::Word(word) | Kind::Text(word)) = &token.kind else { return None };
    Protocol::from_name(word)
}

#[cfg(test)]
mod tests;
