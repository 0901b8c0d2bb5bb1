//! Reading the settings: file, then variables, then password files, then validation.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Config, validate};

/// Why the settings cannot be used; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {reason}; give another path with --config")]
    Unreadable {
        /// The path as given.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// A line of the file is wrong.
    #[error("{file}, line {line}: {reason}; {remedy}")]
    Line {
        /// The path as given.
        file: String,
        /// From 1; 0 where the parser does not know.
        line: usize,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// An environment variable is wrong.
    #[error("environment variable {name}: {reason}; {remedy}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A value is out of range, or contradicts another.
    #[error("[{section}] {key}: {reason}; {remedy}")]
    Value {
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl Config {
    /// Loads the file (none: the defaults), lets TIDEGATE_… variables override it, reads password files and validates.
    ///
    /// # Errors
    /// [`Error`] with file, line or variable, and the remedy.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let Some(path) = path else { return Self::read("", "(defaults)", &variables) };
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Unreadable { file: file.clone(), reason: error.to_string() })?;
        Self::read(&text, &file, &variables)
    }

    /// As [`Config::load`], from a text and variables that are given.
    ///
    /// # Errors
    /// [`Error`] with file, line or variable, and the remedy.
    pub fn read(text: &str, file: &str, variables: &BTreeMap<String, String>) -> Result<Self, Error> {
        // Parsed as a whole first: only this way does an error know its line.
        toml::from_str::<Self>(text).map_err(|error| line_error(text, file, &error))?;
        let table: toml::Table = toml::from_str(text).map_err(|error| line_error(text, file, &error))?;
        let mut config = overlay(table, variables)?;
        config.upstream.password = password("upstream", &config.upstream.password, &config.upstream.password_file)?;
        config.admin.password = password("admin", &config.admin.password, &config.admin.password_file)?;
        validate::validate(&config)?;
        Ok(config)
    }
}

const PREFIX: &str = "TIDEGATE_";

/// The variable that overrides a key.
fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}_{}", section.to_uppercase(), key.to_uppercase())
}

fn overlay(mut table: toml::Table, variables: &BTreeMap<String, String>) -> Result<Config, Error> {
    let keys = Config::default().entries();
    refuse_misspelt(&keys, variables)?;
    let mut config: Config = table.clone().try_into().unwrap_or_default();
    for (section, key, default) in keys {
        let name = variable(&section, &key);
        let Some(value) = variables.get(&name) else { continue };
        let entry = table.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(entry) = entry.as_table_mut() else { continue };
        // A variable replaces the file's way of giving the password, whichever of the two it used.
        let other = match key.as_str() {
            "password" => Some("password_file"),
            "password_file" => Some("password"),
            _ => None,
        };
        if let Some(other) = other.filter(|other| !variables.contains_key(&variable(&section, other))) {
            entry.remove(other);
        }
        let value = match default {
            toml::Value::Integer(_) => value.trim().parse().map(toml::Value::Integer).map_err(|_| Error::Variable {
                name: name.clone(),
                reason: "is not a whole number".into(),
                remedy: format!("give digits only, such as {default}"),
            })?,
            _ => toml::Value::String(value.clone()),
        };
        entry.insert(key.clone(), value);
        config = table.clone().try_into().map_err(|error: toml::de::Error| Error::Variable {
            name,
            reason: error.message().trim().to_owned(),
            remedy: remedy(&key, error.message()),
        })?;
    }
    Ok(config)
}

/// A variable that looks like a key of ours and is none would be ignored in silence otherwise.
fn refuse_misspelt(keys: &[(String, String, toml::Value)], variables: &BTreeMap<String, String>) -> Result<(), Error> {
    for name in variables.keys() {
        if keys.iter().any(|(section, key, _)| variable(section, key) == *name) || is_service_link(name) {
            continue;
        }
        let Some((section, _, _)) = keys.iter().find(|(section, _, _)| name.starts_with(&variable(section, ""))) else { continue };
        let known: Vec<_> = keys.iter().filter(|(other, _, _)| other == section).map(|(_, key, _)| variable(section, key)).collect();
        return Err(Error::Variable {
            name: name.clone(),
            reason: "overrides no key".into(),
            remedy: format!("unset it, or use one of {}", known.join(", ")),
        });
    }
    Ok(())
}

/// Container platforms set such variables for every service whose name begins with ours.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_") || name.ends_with("_PORT") || name.contains("_PORT_") || name.ends_with("_NAME")
}

fn line_error(text: &str, file: &str, error: &toml::de::Error) -> Error {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line = if error.span().is_some() { before.matches('\n').count() + 1 } else { 0 };
    let words = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
    let key = words.split('=').next().unwrap_or_default().trim();
    // The parser's own words may quote the value.
    let reason = if key.contains("password") && !error.message().starts_with("unknown field") {
        "the password is not written as TOML".to_owned()
    } else {
        error.message().trim().replace('\n', ", ")
    };
    Error::Line { file: file.to_owned(), line, remedy: remedy(key, error.message()), reason }
}

fn remedy(key: &str, message: &str) -> String {
    if message.starts_with("unknown field") {
        return "correct the name or delete the line".into();
    }
    match key {
        "address" => "write an IP address and a port, such as \"127.0.0.1:6033\"".into(),
        "password" => "put it in double quotes".into(),
        "fence" => "write \"wait\", \"fence\" or \"off\"".into(),
        _ if message.contains("expected a string") => "put the value in double quotes".into(),
        _ if message.contains("expected u") => "give a whole number without quotes, 0 or more".into(),
        _ => "proxy-config.toml of the distribution shows every key with its form".into(),
    }
}

fn password(section: &'static str, password: &str, file: &str) -> Result<String, Error> {
    if file.is_empty() {
        return Ok(password.to_owned());
    }
    let wrong = |reason: String, remedy: &str| Error::Value { section, key: "password_file", reason, remedy: remedy.into() };
    if !password.is_empty() {
        return Err(wrong("password is given as well".into(), "keep only one of the two"));
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong(format!("cannot read {file}: {error}"), "correct the path or let the proxy's account read it"))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err(wrong(format!("{file} is empty"), "put the password into it"));
    }
    Ok(line.to_owned())
}
