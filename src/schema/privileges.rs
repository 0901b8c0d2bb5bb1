//! What the engine's account may do, read from SHOW GRANTS. Pure.

/// One privilege that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name as GRANT takes it.
    pub privilege: &'static str,
    /// The statement that gives it.
    pub grant_statement: String,
}

/// Privileges on tables: global, or on the schema in question.
const ON_TABLES: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "TRIGGER",
    "REFERENCES",
];

/// Privileges that exist only globally.
const GLOBAL: &[&str] = &["PROCESS", "REPLICATION SLAVE"];

/// Lists what the engine needs on the whole server and these grants do not give.
pub fn missing(grants: &[String], is_mariadb: bool) -> Vec<Missing> {
    find(grants, is_mariadb, None)
}

/// As [`missing`], where grants on this schema suffice for its tables.
pub fn missing_on(grants: &[String], is_mariadb: bool, schema: &str) -> Vec<Missing> {
    find(grants, is_mariadb, Some(schema))
}

fn find(grants: &[String], is_mariadb: bool, schema: Option<&str>) -> Vec<Missing> {
    let parsed: Vec<Grant> = grants.iter().filter_map(|grant| parse(grant)).collect();
    let account = parsed.iter().find_map(|grant| grant.account.clone()).unwrap_or_else(|| "CURRENT_USER()".into());
    let position: &[&str] = if is_mariadb { &["BINLOG MONITOR", "REPLICATION CLIENT"] } else { &["REPLICATION CLIENT"] };
    let mut missing = Vec::new();
    let mut need = |names: &[&'static str], is_global: bool| {
        let given = parsed.iter().any(|grant| {
            let covers = grant.is_global() || (!is_global && schema.is_some_and(|schema| grant.covers(schema)));
            covers && grant.gives(names)
        });
        if let (false, Some(privilege)) = (given, names.first()) {
            let target = match schema {
                Some(schema) if !is_global => format!("{}.*", crate::ids::quote_identifier(schema)),
                _ => "*.*".to_owned(),
            };
            missing.push(Missing { privilege, grant_statement: format!("GRANT {privilege} ON {target} TO {account}") });
        }
    };
    for privilege in ON_TABLES {
        need(&[privilege], false);
    }
    for privilege in GLOBAL {
        need(&[privilege], true);
    }
    need(position, true);
    missing
}

/// One line of SHOW GRANTS.
#[derive(Debug)]
struct Grant {
    privileges: Vec<String>,
    /// `*.*`, a schema pattern followed by `.*`, or one table.
    schema: String,
    is_whole: bool,
    account: Option<String>,
}

impl Grant {
    fn is_global(&self) -> bool {
        self.is_whole && self.schema == "*"
    }

    fn gives(&self, names: &[&str]) -> bool {
        let all = |own: &String| own == "ALL PRIVILEGES" || own == "ALL";
        self.privileges.iter().any(|own| all(own) || names.contains(&own.as_str()))
    }

    /// In a grant on a schema, `_` and `%` stand for others unless a backslash is before them.
    fn covers(&self, schema: &str) -> bool {
        self.is_whole && self.schema != "*" && like(self.schema.as_bytes(), schema.as_bytes())
    }
}

fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'%', rest @ ..], text) => (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| like(rest, text))),
        ([b'\\', wanted, rest @ ..], [own, text @ ..]) => wanted == own && like(rest, text),
        ([b'_', rest @ ..], [_, text @ ..]) => like(rest, text),
        ([wanted, rest @ ..], [own, text @ ..]) => wanted == own && like(rest, text),
        (_, []) => false,
    }
}

/// Reads `GRANT a, b (c, d) ON s.t TO account …`; `None` for roles, proxies and REVOKE lines.
fn parse(line: &str) -> Option<Grant> {
    let rest = line.strip_prefix("GRANT ")?;
    let on = outside(rest, " ON ")?;
    let (list, rest) = (rest.get(..on)?, rest.get(on + 4..)?);
    let to = outside(rest, " TO ")?;
    let (target, account) = (rest.get(..to)?, rest.get(to + 4..)?);
    let dot = outside(target, ".")?;
    let (schema, table) = (target.get(..dot)?, target.get(dot + 1..)?);
    // A privilege with a list of columns gives those columns only.
    let privileges = split(list).into_iter().filter(|name| !name.contains('(')).map(|name| name.trim().to_uppercase()).collect();
    let end = outside(account, " ").unwrap_or(account.len());
    Some(Grant {
        privileges,
        schema: unquote(schema),
        is_whole: table == "*",
        account: account.get(..end).filter(|account| account.contains('@')).map(str::to_owned),
    })
}

/// Where `wanted` begins outside of quotes and parentheses.
fn outside(text: &str, wanted: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        if quote.is_none() && depth == 0 && text.get(at..).is_some_and(|rest| rest.starts_with(wanted)) {
            return Some(at);
        }
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, '`' | '\'' | '"') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn split(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = list;
    while let Some(comma) = outside(rest, ",") {
        parts.extend(rest.get(..comma));
        rest = rest.get(comma + 1..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}

fn unquote(name: &str) -> String {
    match name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
        Some(inner) => inner.replace("``", "`"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    }

    fn names(missing: &[Missing]) -> Vec<&'static str> {
        missing.iter().map(|missing| missing.privilege).collect()
    }

    #[test]
    fn all_privileges_on_mariadb() {
        let grants = lines("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` IDENTIFIED VIA mysql_native_password USING 'x' OR unix_socket WITH GRANT OPTION
            GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION");
        assert_eq!(missing(&grants, true), []);
    }

    #[test]
    fn all_privileges_on_mysql_are_listed_one_by_one() {
        let grants = lines("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, SHUTDOWN, PROCESS, FILE, REFERENCES, INDEX, ALTER, SHOW DATABASES, SUPER, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER, CREATE TABLESPACE, CREATE ROLE, DROP ROLE ON *.* TO `root`@`localhost` WITH GRANT OPTION
            GRANT APPLICATION_PASSWORD_ADMIN,BACKUP_ADMIN,BINLOG_ADMIN ON *.* TO `root`@`localhost` WITH GRANT OPTION
            GRANT PROXY ON ``@`` TO `root`@`localhost` WITH GRANT OPTION");
        assert_eq!(missing(&grants, false), []);
    }

    #[test]
    fn what_is_missing_is_named_with_its_statement() {
        let grants = lines(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, TRIGGER ON *.* TO `tide gate`@`10.%`",
        );
        let missing = missing(&grants, false);
        assert_eq!(names(&missing), ["REFERENCES", "PROCESS", "REPLICATION SLAVE", "REPLICATION CLIENT"]);
        assert_eq!(missing[1].grant_statement, "GRANT PROCESS ON *.* TO `tide gate`@`10.%`");
    }

    #[test]
    fn mariadb_calls_it_binlog_monitor() {
        let grants = lines(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, PROCESS, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, REPLICATION SLAVE, BINLOG MONITOR, TRIGGER ON *.* TO `tidegate`@`%` IDENTIFIED BY PASSWORD '*00'",
        );
        assert_eq!(missing(&grants, true), []);
        assert_eq!(names(&missing(&grants, false)), ["REPLICATION CLIENT"]);
        let less = lines("GRANT USAGE ON *.* TO `tidegate`@`%`");
        assert!(missing(&less, true).iter().any(|missing| missing.grant_statement == "GRANT BINLOG MONITOR ON *.* TO `tidegate`@`%`"));
    }

    #[test]
    fn grants_on_the_schema_suffice_for_its_tables_only() {
        let grants = lines(
            "GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `t`@`%`
            GRANT ALL PRIVILEGES ON `shop\\_%`.* TO `t`@`%`",
        );
        assert_eq!(missing_on(&grants, false, "shop_eu"), []);
        assert_eq!(missing_on(&grants, false, "shopxeu").len(), ON_TABLES.len());
        assert_eq!(missing(&grants, false).len(), ON_TABLES.len());
        assert_eq!(missing_on(&grants, false, "other")[0].grant_statement, "GRANT SELECT ON `other`.* TO `t`@`%`");
    }

    #[test]
    fn grants_on_columns_tables_and_roles_give_nothing() {
        let grants = lines(
            "GRANT USAGE ON *.* TO `t`@`%`
            GRANT SELECT (`a`, `b`), INSERT (`a`) ON `shop`.`orders` TO `t`@`%`
            GRANT ALL PRIVILEGES ON `shop`.`orders` TO `t`@`%`
            GRANT `reader`@`%` TO `t`@`%`
            REVOKE INSERT ON `mysql`.* FROM `t`@`%`",
        );
        assert_eq!(missing_on(&grants, false, "shop").len(), ON_TABLES.len() + GLOBAL.len() + 1);
    }

    #[test]
    fn names_may_hold_the_words_of_the_grammar() {
        let grants = lines("GRANT SELECT ON `a ON b TO c`.* TO `x TO y`@`%`");
        let missing = missing_on(&grants, false, "a ON b TO c");
        assert!(!names(&missing).contains(&"SELECT"));
        assert!(missing[0].grant_statement.ends_with("TO `x TO y`@`%`"), "{}", missing[0].grant_statement);
    }

    #[test]
    fn without_any_grant_everything_is_missing() {
        assert_eq!(missing(&[], false).len(), ON_TABLES.len() + GLOBAL.len() + 1);
    }
}
