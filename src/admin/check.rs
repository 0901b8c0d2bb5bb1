//! `tidegate check`: can the proxy work with this server, and what is missing.

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Row};

use crate::config::{Config, Throttle};
use crate::schema::privileges;
use crate::upstream;

/// What was found, one line for each point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the questions.
    pub points: Vec<Point>,
}

/// One question's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// What was asked.
    pub subject: &'static str,
    /// What was found.
    pub found: String,
    /// What to do; `None` where all is well.
    pub remedy: Option<String>,
}

impl Report {
    /// `true` where nothing needs a remedy.
    pub fn is_ok(&self) -> bool {
        self.points.iter().all(|point| point.remedy.is_none())
    }

    fn ok(&mut self, subject: &'static str, found: impl Into<String>) {
        self.points.push(Point { subject, found: found.into(), remedy: None });
    }

    fn wrong(&mut self, subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.points.push(Point { subject, found: found.into(), remedy: Some(remedy.into()) });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for point in &self.points {
            match &point.remedy {
                None => writeln!(out, "ok      {}: {}", point.subject, point.found)?,
                Some(remedy) => writeln!(out, "not ok  {}: {}; {remedy}", point.subject, point.found)?,
            }
        }
        match self.is_ok() {
            true => writeln!(out, "Tidegate can migrate tables on this server."),
            false => writeln!(out, "Tidegate cannot migrate tables on this server until the above is mended."),
        }
    }
}

/// Connects and asks. Never fails: what goes wrong is a point of the report.
///
/// # Cancel safety
/// Only reads.
pub async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    let limit = Duration::from_millis(config.upstream.connect_timeout_ms);
    let (address, user) = (&config.upstream.address, &config.upstream.user);
    let connected = tokio::time::timeout(limit, upstream::open(&config.upstream)).await;
    let mut connection = match connected {
        Ok(Ok(connection)) => connection,
        Ok(Err(mysql_async::Error::Server(error))) if error.code == 1045 || error.code == 1698 => {
            let remedy = "correct [upstream] user and password, or create the account on the server";
            report.wrong("login", format!("{address} refuses '{user}': {}", error.message), remedy);
            return report;
        }
        // Servers make up a plugin for accounts that they do not have, so that nobody learns which exist.
        Ok(Err(mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name }))) => {
            let found = format!("{address} asks '{user}' for {name}, which is not spoken here");
            report.wrong("login", found, "create the account on the server, or let it use caching_sha2_password or mysql_native_password");
            return report;
        }
        Ok(Err(error)) => {
            let found = format!("{address} cannot be reached: {}", upstream::reason(&error));
            report.wrong("server", found, "correct [upstream] address, or start the server");
            return report;
        }
        Err(_) => {
            let found = format!("{address} did not answer within {} ms", limit.as_millis());
            report.wrong("server", found, "correct [upstream] address, open the firewall, or raise connect_timeout_ms");
            return report;
        }
    };
    report.ok("server", format!("{address} answers '{user}'"));
    // Generous: these are a few reads of memory.
    match tokio::time::timeout(limit.max(Duration::from_secs(10)), facts(&mut connection)).await {
        Ok(Ok(facts)) => judge(&facts, &mut report),
        Ok(Err(error)) => report.wrong(
            "questions",
            format!("the server refused one: {}", upstream::reason(&error)),
            "let the account read its own grants",
        ),
        Err(_) => report.wrong("questions", "the server connected but did not answer", "look at the server's load and log"),
    }
    if !config.throttle.query.is_empty() {
        match tokio::time::timeout(limit.max(Duration::from_secs(10)), connection.query_first(&config.throttle.query)).await {
            Ok(Ok(first)) => judge_query(first, &mut report),
            Ok(Err(error)) => report.wrong(QUERY, format!("the server refuses it: {}", upstream::reason(&error)), QUERY_REMEDY),
            Err(_) => report.wrong(QUERY, "it is not answered within 10 s", "give a quicker one: it is asked twice a second"),
        }
    }
    let _ = tokio::time::timeout(limit, connection.disconnect()).await;
    report
}

const QUERY: &str = "[throttle] query";
const QUERY_REMEDY: &str = "correct it, or grant the account what it reads; until then copies would wait for ever";

/// The operator's query must give a number, or nothing.
fn judge_query(first: Option<Row>, report: &mut Report) {
    let text = first.as_ref().filter(|row| !row.is_empty()).and_then(|row| row.get_opt::<Option<String>, _>(0));
    match text.map(|text| text.ok().flatten()) {
        None => report.ok(QUERY, "gives no row"),
        Some(None) => report.ok(QUERY, "gives NULL"),
        Some(Some(text)) if Throttle::number(&text).is_some() => report.ok(QUERY, format!("gives {text}")),
        Some(Some(text)) => report.wrong(QUERY, format!("gives {text:?}, which is not a number"), QUERY_REMEDY),
    }
}

/// What the server said of itself.
#[derive(Clone, Debug, Default)]
struct Facts {
    version: String,
    variables: Vec<(String, String)>,
    grants: Vec<String>,
}

async fn facts(connection: &mut Conn) -> mysql_async::Result<Facts> {
    let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
    let variables = connection
        .query("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', 'server_id')")
        .await?;
    let mut grants: Vec<String> = connection.query("SHOW GRANTS").await?;
    // Privileges of active roles are listed only when asked for by name.
    let role: Option<Option<String>> = connection.query_first("SELECT CURRENT_ROLE()").await.unwrap_or_default();
    if let Some(role) = role.flatten().filter(|role| !role.is_empty() && role != "NONE") {
        let is_mariadb = version.as_deref().is_some_and(is_mariadb);
        let question = if is_mariadb {
            format!("SHOW GRANTS FOR {}", crate::ids::quote_identifier(&role))
        } else {
            format!("SHOW GRANTS FOR CURRENT_USER() USING {role}")
        };
        grants.extend(connection.query::<String, _>(question).await.unwrap_or_default());
    }
    Ok(Facts { version: version.unwrap_or_default(), variables, grants })
}

fn is_mariadb(version: &str) -> bool {
    version.to_lowercase().contains("mariadb")
}

/// From facts to points. Pure.
fn judge(facts: &Facts, report: &mut Report) {
    let is_mariadb = is_mariadb(&facts.version);
    let (product, least) = if is_mariadb { ("MariaDB", [10, 6, 0]) } else { ("MySQL", [8, 0, 13]) };
    let found = format!("{product} {}", facts.version);
    match numbers(&facts.version) {
        Some(version) if version >= least => report.ok("version", found),
        _ => {
            let [major, minor, patch] = least;
            report.wrong("version", found, format!("Tidegate needs {product} {major}.{minor}.{patch} or later"));
        }
    }
    let variable = |name: &str| facts.variables.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    match variable("log_bin") {
        Some("ON" | "1") => report.ok("binary log", "on"),
        _ => report.wrong("binary log", "off", "set log_bin in the server's configuration and restart it"),
    }
    match variable("binlog_format") {
        Some("ROW") => report.ok("binlog_format", "ROW"),
        // Servers that know only rows have no such variable any more.
        None => report.ok("binlog_format", "rows only"),
        Some(other) => {
            report.wrong(
                "binlog_format",
                other,
                "SET GLOBAL binlog_format = 'ROW', write it to the configuration, and reconnect the applications",
            );
        }
    }
    match variable("binlog_row_image") {
        // The keys are in every image; the rows themselves are read from the table.
        Some(image) => report.ok("binlog_row_image", image),
        None => report.ok("binlog_row_image", "FULL"),
    }
    if variable("server_id") == Some("0") {
        report.wrong(
            "server_id",
            "0, with which the binary log cannot be read",
            "SET GLOBAL server_id = 1 and write it to the configuration",
        );
    }
    let missing = privileges::missing(&facts.grants, is_mariadb);
    if missing.is_empty() {
        report.ok("privileges", "all that the engine needs");
    }
    for privilege in missing {
        report.wrong("privilege", format!("{} is missing", privilege.privilege), format!("say {}", privilege.grant_statement));
    }
}

/// The first three numbers of a version.
fn numbers(version: &str) -> Option<[u32; 3]> {
    // Replication-safe MariaDB versions are written 5.5.5-10.11.19-MariaDB.
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut parts = version.split(['.', '-', '+', '~']).map(str::parse);
    let mut next = || parts.next().and_then(Result::ok);
    Some([next()?, next()?, next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(version: &str, variables: &[(&str, &str)], grants: &[&str]) -> Report {
        let facts = Facts {
            version: version.into(),
            variables: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            grants: grants.iter().map(|grant| (*grant).into()).collect(),
        };
        let mut report = Report::default();
        judge(&facts, &mut report);
        report
    }

    const ALL: &[&str] = &["GRANT ALL PRIVILEGES ON *.* TO `tidegate`@`%` WITH GRANT OPTION"];
    const GOOD: &[(&str, &str)] = &[("log_bin", "ON"), ("binlog_format", "ROW"), ("binlog_row_image", "FULL"), ("server_id", "1")];

    #[test]
    fn supported_versions_are_told_from_the_others() {
        for (version, expected) in [
            ("9.7.4", true),
            ("8.0.13-log", true),
            ("8.0.12", false),
            ("5.7.44-log", false),
            ("10.11.19-MariaDB-0+deb12u1-log", true),
            ("5.5.5-10.6.0-MariaDB", true),
            ("10.5.29-MariaDB", false),
            ("12.0.1-MariaDB", true),
            ("nonsense", false),
        ] {
            assert_eq!(judged(version, GOOD, ALL).is_ok(), expected, "{version}");
        }
    }

    #[test]
    fn each_fault_has_a_line_with_its_remedy() {
        let text =
            judged("9.7.4", &[("log_bin", "OFF"), ("binlog_format", "MIXED"), ("server_id", "0")], &["GRANT USAGE ON *.* TO `a`@`%`"])
                .to_string();
        for part in
            ["not ok  binary log: off", "not ok  binlog_format: MIXED", "server_id", "GRANT PROCESS ON *.* TO `a`@`%`", "cannot migrate"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(judged("9.7.4", GOOD, ALL).to_string().contains("can migrate"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_a_point() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut config = Config::default();
        config.upstream.address = listener.local_addr().expect("address").to_string();
        config.upstream.connect_timeout_ms = 100;
        let report = check(&config).await; // connects, and never gets a greeting
        assert!(!report.is_ok() && report.to_string().contains("did not answer within 100 ms"), "{report}");
        drop(listener);
        let report = check(&config).await;
        assert!(!report.is_ok() && report.to_string().contains("cannot be reached"), "{report}");
    }
}
