//! What clients send by themselves: on connecting, on completing names, around an operator's statements.

use super::answer::{Answer, Column, Failure, Kind as Type, Rows, Value};
use super::execute::Session;
use super::grammar::like;
use super::pattern;
use super::tokens::{Kind, Token};
use super::variables;

/// One such statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    /// SET, BEGIN, COMMIT and others that change nothing here.
    Nothing,
    /// USE
    Use(String),
    /// SELECT of variables, functions and literals.
    Select {
        /// What is selected.
        items: Vec<Item>,
        /// LIMIT 0.
        is_empty: bool,
    },
    /// SHOW VARIABLES
    Variables(Filter),
    /// SHOW DATABASES
    Databases(Option<String>),
    /// SHOW TABLES
    Tables,
    /// Lists that are empty here, with their columns.
    Empty(&'static [&'static str]),
}

/// Which rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    /// All of them.
    All,
    /// LIKE
    Like(String),
    /// WHERE, of which only the names are read.
    Names(Vec<String>),
}

/// One selected thing and its column's name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    name: String,
    expression: Expression,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Literal(Value),
    Variable(String),
    Database,
    User,
    Version,
    ConnectionId,
}

const WARNINGS: &[&str] = &["Level", "Code", "Message"];

/// Reads a statement; `None` where it is none of these.
pub(super) fn parse(text: &str, tokens: &[Token]) -> Result<Option<Statement>, Failure> {
    let [first, rest @ ..] = tokens else { return Ok(None) };
    let next_is = |word: &str| rest.first().is_some_and(|token| token.is(word));
    let statement = match &first.kind {
        Kind::Word(word) => match word.to_uppercase().as_str() {
            "SELECT" => return Ok(select(text, rest)),
            "SHOW" => return show(rest),
            "USE" => match rest {
                [name] => name.name().map(|name| Statement::Use(name.to_owned())),
                _ => None,
            },
            "SET" => (!rest.is_empty() && !next_is("MIGRATION") && !next_is("GLOBAL")).then_some(Statement::Nothing),
            "START" => next_is("TRANSACTION").then_some(Statement::Nothing),
            "BEGIN" | "COMMIT" | "ROLLBACK" => Some(Statement::Nothing),
            _ => None,
        },
        _ => None,
    };
    Ok(statement)
}

fn show(tokens: &[Token]) -> Result<Option<Statement>, Failure> {
    let scoped = tokens.first().is_some_and(|token| ["GLOBAL", "SESSION", "LOCAL", "FULL"].iter().any(|scope| token.is(scope)));
    let tokens = if scoped { tokens.get(1..).unwrap_or_default() } else { tokens };
    let [what, rest @ ..] = tokens else { return Ok(None) };
    let Kind::Word(what) = &what.kind else { return Ok(None) };
    let statement = match what.to_uppercase().as_str() {
        "VARIABLES" => Statement::Variables(filter(rest)?),
        "DATABASES" | "SCHEMAS" => Statement::Databases(like(rest, "SHOW DATABASES [LIKE 'pattern']")?),
        "TABLES" => Statement::Tables,
        "WARNINGS" | "ERRORS" => Statement::Empty(WARNINGS),
        "COLLATION" => Statement::Empty(&["Collation", "Charset", "Id", "Default", "Compiled", "Sortlen"]),
        "ENGINES" => Statement::Empty(&["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"]),
        "PLUGINS" => Statement::Empty(&["Name", "Status", "Type", "Library", "License"]),
        _ => return Ok(None),
    };
    Ok(Some(statement))
}

fn filter(tokens: &[Token]) -> Result<Filter, Failure> {
    if tokens.first().is_some_and(|token| token.is("WHERE")) {
        let names = tokens.iter().filter_map(|token| match &token.kind {
            Kind::Text(name) => Some(name.clone()),
            _ => None,
        });
        return Ok(Filter::Names(names.collect()));
    }
    Ok(like(tokens, "SHOW VARIABLES [LIKE 'pattern']")?.map_or(Filter::All, Filter::Like))
}

fn select(text: &str, mut tokens: &[Token]) -> Option<Statement> {
    let mut is_empty = false;
    if let [before @ .., limit, Token { kind: Kind::Number(rows), .. }] = tokens
        && limit.is("LIMIT")
    {
        is_empty = rows == "0";
        tokens = before;
    }
    if let [before @ .., from, dual] = tokens
        && from.is("FROM")
        && dual.is("DUAL")
    {
        tokens = before;
    }
    let mut items = Vec::new();
    for part in tokens.split(|token| token.is_mark(',')) {
        items.push(item(text, part)?);
    }
    Some(Statement::Select { items, is_empty })
}

fn item(text: &str, tokens: &[Token]) -> Option<Item> {
    let (expression, used) = expression(tokens)?;
    let name = match tokens.get(used..).unwrap_or_default() {
        [] => {
            let (first, last) = (tokens.first()?, tokens.get(used.checked_sub(1)?)?);
            match &first.kind {
                Kind::Text(literal) => literal.clone(),
                _ => text.get(first.start..last.end)?.to_owned(),
            }
        }
        [alias] => alias_of(alias)?,
        [word, alias] if word.is("AS") => alias_of(alias)?,
        _ => return None,
    };
    Some(Item { name, expression })
}

fn alias_of(token: &Token) -> Option<String> {
    match &token.kind {
        Kind::Word(name) | Kind::Quoted(name) | Kind::Text(name) => Some(name.clone()),
        _ => None,
    }
}

/// The expression at the beginning, and how many tokens it takes.
fn expression(tokens: &[Token]) -> Option<(Expression, usize)> {
    let literal = |value: Value| Some((Expression::Literal(value), 1));
    let called = matches!(tokens, [_, open, close, ..] if open.is_mark('(') && close.is_mark(')'));
    match &tokens.first()?.kind {
        Kind::Number(digits) => literal(digits.parse().map_or_else(|_| digits.as_str().into(), Value::Integer)),
        Kind::Text(text) => literal(text.as_str().into()),
        Kind::Word(word) if word.starts_with("@@") => {
            if let [_, dot, name, ..] = tokens
                && dot.is_mark('.')
            {
                return Some((Expression::Variable(name.name()?.to_owned()), 3));
            }
            Some((Expression::Variable(word.trim_start_matches('@').to_owned()), 1))
        }
        Kind::Word(word) if word.starts_with('@') => literal(Value::Null),
        Kind::Word(word) => {
            let expression = match word.to_uppercase().as_str() {
                "DATABASE" | "SCHEMA" if called => Expression::Database,
                "USER" | "CURRENT_USER" | "SESSION_USER" | "SYSTEM_USER" if called => Expression::User,
                "VERSION" if called => Expression::Version,
                "CONNECTION_ID" if called => Expression::ConnectionId,
                "LAST_INSERT_ID" | "FOUND_ROWS" | "ROW_COUNT" if called => Expression::Literal(Value::Integer(0)),
                "CURRENT_USER" => return Some((Expression::User, 1)),
                "NULL" => return literal(Value::Null),
                "TRUE" => return literal(Value::Integer(1)),
                "FALSE" => return literal(Value::Integer(0)),
                _ => return None,
            };
            Some((expression, 3))
        }
        _ => None,
    }
}

/// Answers such a statement.
pub(super) fn answer(session: &mut Session, statement: Statement) -> Result<Answer, Failure> {
    let rows = match statement {
        Statement::Nothing => return Ok(Answer::Ok),
        Statement::Use(schema) => {
            session.schema = Some(schema);
            return Ok(Answer::Ok);
        }
        Statement::Select { items, is_empty } => selected(session, items, is_empty)?,
        Statement::Variables(filter) => shown(session, &filter),
        Statement::Databases(like) => databases(session, like.as_deref()),
        Statement::Tables => Rows::texts(&[&format!("Tables_in_{}", session.schema.as_deref().unwrap_or_default())]),
        Statement::Empty(columns) => Rows::texts(columns),
    };
    Ok(Answer::Rows(rows))
}

fn selected(session: &Session, items: Vec<Item>, is_empty: bool) -> Result<Rows, Failure> {
    let mut rows = Rows::default();
    let mut row = Vec::new();
    for item in items {
        let value = match item.expression {
            Expression::Literal(value) => value,
            Expression::Variable(name) => variables::value(&name, &session.context, session.connection_id).ok_or_else(|| {
                let name: String = name.chars().take(64).collect();
                Failure::new(1193, b"HY000", format!("the admin port has no system variable '{name}'; SHOW VARIABLES lists them"))
            })?,
            Expression::Database => session.schema.clone().into(),
            Expression::User => format!("{}@%", session.context.config.load().admin.user).into(),
            Expression::Version => super::SERVER_VERSION.into(),
            Expression::ConnectionId => session.connection_id.into(),
        };
        let kind = match value {
            Value::Integer(_) => Type::Integer,
            Value::Double(_) => Type::Double,
            Value::Text(_) | Value::Null => Type::Text,
        };
        rows.columns.push(Column { name: item.name, kind });
        row.push(value);
    }
    if !is_empty {
        rows.push(row);
    }
    Ok(rows)
}

fn shown(session: &Session, filter: &Filter) -> Rows {
    let mut rows = Rows::texts(&["Variable_name", "Value"]);
    for (name, value) in variables::all(&session.context, session.connection_id) {
        let wanted = match filter {
            Filter::All => true,
            Filter::Like(like) => pattern::matches(like, &name),
            Filter::Names(names) => names.is_empty() || names.iter().any(|wanted| pattern::matches(wanted, &name)),
        };
        if wanted {
            rows.push(vec![name.into(), value.into()]);
        }
    }
    rows
}

/// The schemas that migrations are known of: the port has no tables, but clients complete names from here.
fn databases(session: &Session, like: Option<&str>) -> Rows {
    let mut names: Vec<String> = session.context.service.list().into_iter().map(|status| status.table.schema).collect();
    names.extend(session.schema.clone());
    names.sort();
    names.dedup();
    let mut rows = Rows::texts(&["Database"]);
    for name in names.into_iter().filter(|name| like.is_none_or(|like| pattern::matches(like, name))) {
        rows.push(vec![name.into()]);
    }
    rows
}
