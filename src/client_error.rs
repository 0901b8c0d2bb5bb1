//! Everything that the proxy itself may say to a client; docs/errors.md holds the same table.
//!
//! Owns: code, SQLSTATE, whether the session goes on, the stable tag, the words.
//! Never: row values, secrets. Errors of the server pass verbatim and are not here (I-P4).

use std::borrow::Cow;

use crate::ids::{MigrationId, TableName};

/// What becomes of the session after the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    Stay,
    /// It ends.
    Close,
}

/// One error that the proxy itself sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// More clients than `listen.max_connections`.
    TooManyConnections,
    /// The admin's password is wrong.
    AccessDenied {
        /// The user name.
        user: String,
        /// The client's address.
        host: String,
    },
    /// The client speaks a protocol that has been gone since 4.1.
    ClientTooOld,
    /// The client asks for TLS.
    TlsNotOffered,
    /// More sessions of one user than `listen.max_user_connections`.
    TooManyOfUser {
        /// The user name.
        user: String,
    },
    /// The session was silent for longer than `listen.idle_timeout_s`.
    IdleTimeout,
    /// The client does not use TLS, and must.
    TlsRequired,
    /// The client encrypted its password with a key that is not the proxy's.
    ForeignKey,
    /// No secure connection to the server can be had.
    UpstreamSecurity {
        /// The server's address.
        address: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The client's login is no login.
    BadHandshake,
    /// The login took longer than `listen.login_timeout_s`.
    LoginTimeout,
    /// The server cannot be reached.
    UpstreamUnreachable {
        /// The server's address.
        address: String,
    },
    /// The server's bytes cannot be followed.
    UpstreamLost,
    /// The proxy is shutting down.
    ShuttingDown,
    /// The client's packet cannot be read.
    Malformed,
    /// The client's compressed packet cannot be unpacked.
    NotUnpacked,
    /// The client's packet has the wrong sequence number.
    OutOfOrder,
    /// The client's packet is longer than it may be here.
    TooLarge,
    /// The admin port does not know this command.
    UnknownCommand,
    /// The admin port cannot read this statement.
    Syntax {
        /// What was expected.
        detail: String,
    },
    /// The user may not do this.
    Denied {
        /// What is missing.
        detail: String,
    },
    /// A KILL reached the statement while it was held.
    Interrupted,
    /// The transaction's snapshot is older than the swap of a table (I-G6).
    Fenced {
        /// The table.
        table: TableName,
    },
    /// FORCE has rolled the session's transaction back.
    RolledBack,
    /// DDL on a table that is being migrated.
    Migrating {
        /// The table.
        table: TableName,
        /// The migration.
        migration: MigrationId,
    },
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server's own number for it.
    pub code: u16,
    /// The SQLSTATE.
    pub state: &'static str,
    /// Whether the session goes on.
    pub then: Then,
    /// The name under which logs and documents know it; never changes.
    pub tag: &'static str,
    /// The words; `{…}` is filled in.
    pub text: &'static str,
}

const NOT_UNPACKED: &str = "Couldn't uncompress communication packet: it holds something else than its header says";
const CLIENT_TOO_OLD: &str = "Client does not support authentication protocol requested by server; use a client of MySQL 4.1 or later";

const fn entry(code: u16, state: &'static str, then: Then, tag: &'static str, text: &'static str) -> Entry {
    Entry { code, state, then, tag, text }
}

impl ClientError {
    /// The line of the table.
    pub const fn entry(&self) -> Entry {
        use Then::{Close, Stay};
        match self {
            Self::TooManyConnections => {
                entry(1040, "08004", Close, "too_many_connections", "Too many connections (the proxy's listen.max_connections is reached)")
            }
            Self::AccessDenied { .. } => {
                entry(1045, "28000", Close, "access_denied", "Access denied for user '{user}'@'{host}' (the proxy's admin account)")
            }
            Self::ClientTooOld => entry(1251, "08004", Close, "client_too_old", CLIENT_TOO_OLD),
            Self::TlsNotOffered => entry(
                1043,
                "08S01",
                Close,
                "tls_not_offered",
                "Bad handshake: the proxy does not offer TLS; connect without it (--ssl-mode=DISABLED or --skip-ssl)",
            ),
            Self::TooManyOfUser { .. } => entry(
                1203,
                "42000",
                Close,
                "too_many_of_user",
                "User {user} already has more than 'max_user_connections' active connections (the proxy's listen.max_user_connections)",
            ),
            Self::IdleTimeout => entry(
                4031,
                "HY000",
                Close,
                "idle_timeout",
                "The client was disconnected by the server because of inactivity (the proxy's listen.idle_timeout_s)",
            ),
            Self::TlsRequired => entry(
                3159,
                "HY000",
                Close,
                "tls_required",
                "Connections using insecure transport are prohibited: the proxy's listen.tls is required; connect with TLS (--ssl-mode=REQUIRED or --ssl)",
            ),
            Self::ForeignKey => entry(
                1043,
                "08S01",
                Close,
                "foreign_key_of_password",
                "Bad handshake: the password is encrypted with a key that is not the proxy's; connect with TLS, or let the client ask for the key (--get-server-public-key)",
            ),
            Self::UpstreamSecurity { .. } => {
                entry(1053, "08S01", Close, "upstream_security", "The proxy gets no secure connection to the server at {address}: {reason}")
            }
            Self::BadHandshake => {
                entry(1043, "08S01", Close, "bad_handshake", "Bad handshake: the login cannot be read; is this a MySQL client?")
            }
            Self::LoginTimeout => entry(
                1159,
                "08S01",
                Close,
                "login_timeout",
                "Got timeout reading communication packets: the login took longer than the proxy's listen.login_timeout_s",
            ),
            Self::UpstreamUnreachable { .. } => entry(
                1053,
                "08S01",
                Close,
                "upstream_unreachable",
                "The proxy cannot reach the server at {address}; see that it runs, and connect again",
            ),
            Self::UpstreamLost => entry(
                1053,
                "08S01",
                Close,
                "upstream_lost",
                "The proxy lost the server's place in its answers; connect again, and report the proxy's log line",
            ),
            Self::ShuttingDown => entry(1053, "08S01", Close, "shutting_down", "The proxy is shutting down; connect again"),
            Self::Malformed => entry(1835, "HY000", Close, "malformed", "Malformed communication packet: the proxy cannot read it"),
            Self::NotUnpacked => entry(1157, "08S01", Close, "not_unpacked", NOT_UNPACKED),
            Self::OutOfOrder => entry(1156, "08S01", Close, "out_of_order", "Got packets out of order"),
            Self::TooLarge => {
                entry(1153, "08S01", Close, "too_large", "Got a packet bigger than the proxy takes here (a login has at most 1 MiB)")
            }
            Self::UnknownCommand => entry(
                1047,
                "08S01",
                Stay,
                "unknown_command",
                "Unknown command on the proxy's admin connection; it takes SQL text, see HELP",
            ),
            Self::Syntax { .. } => entry(1064, "42000", Stay, "syntax", "{detail}"),
            Self::Denied { .. } => entry(1227, "42000", Stay, "denied", "{detail}"),
            Self::RolledBack => entry(
                1213,
                "40001",
                Stay,
                "rolled_back",
                "Deadlock found when trying to get lock; try restarting transaction (an operator's CUTOVER … FORCE has rolled it back)",
            ),
            Self::Interrupted => {
                entry(1317, "70100", Stay, "interrupted", "Query execution was interrupted while the proxy held it; it was not executed")
            }
            Self::Fenced { .. } => entry(
                1412,
                "HY000",
                Stay,
                "fenced",
                "Table definition has changed, please retry transaction: {table} was swapped by a migration after this transaction began",
            ),
            Self::Migrating { .. } => entry(
                1846,
                "0A000",
                Stay,
                "migrating",
                "{table} is being migrated by Tidegate migration {migration}; wait for it or CANCEL MIGRATION {migration}",
            ),
        }
    }

    /// The words, filled in.
    pub fn message(&self) -> Cow<'static, str> {
        let text = self.entry().text;
        match self {
            Self::AccessDenied { user, host } => text.replace("{user}", user).replace("{host}", host).into(),
            Self::UpstreamUnreachable { address } => text.replace("{address}", address).into(),
            Self::TooManyOfUser { user } => text.replace("{user}", user).into(),
            Self::UpstreamSecurity { address, reason } => text.replace("{address}", address).replace("{reason}", reason).into(),
            Self::Syntax { detail } | Self::Denied { detail } => text.replace("{detail}", detail).into(),
            Self::Fenced { table } => text.replace("{table}", &table.to_string()).into(),
            Self::Migrating { table, migration } => {
                text.replace("{table}", &table.to_string()).replace("{migration}", &migration.to_string()).into()
            }
            _ => text.into(),
        }
    }

    /// One of each, in the order of docs/errors.md.
    pub fn all() -> Vec<Self> {
        let table = || TableName::new("shop", "orders");
        vec![
            Self::TooManyConnections,
            Self::TlsNotOffered,
            Self::ForeignKey,
            Self::BadHandshake,
            Self::AccessDenied { user: "admin".into(), host: "127.0.0.1".into() },
            Self::UnknownCommand,
            Self::UpstreamUnreachable { address: "127.0.0.1:3306".into() },
            Self::UpstreamSecurity { address: "127.0.0.1:3306".into(), reason: "its certificate has expired; renew it".into() },
            Self::UpstreamLost,
            Self::ShuttingDown,
            Self::Syntax { detail: "expected a command".into() },
            Self::TooLarge,
            Self::OutOfOrder,
            Self::NotUnpacked,
            Self::LoginTimeout,
            Self::TooManyOfUser { user: "app".into() },
            Self::RolledBack,
            Self::Denied { detail: "the ALTER privilege is missing".into() },
            Self::ClientTooOld,
            Self::Interrupted,
            Self::Fenced { table: table() },
            Self::Malformed,
            Self::Migrating { table: table(), migration: MigrationId(7) },
            Self::TlsRequired,
            Self::IdleTimeout,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_the_same_table() {
        let document = include_str!("../docs/errors.md");
        let written: Vec<&str> =
            document.lines().filter(|line| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit)).collect();
        let wanted: Vec<String> = ClientError::all()
            .iter()
            .map(|error| {
                let Entry { code, state, then, tag, text } = error.entry();
                let then = if then == Then::Stay { "stays" } else { "closes" };
                format!("| {code} | {state} | {then} | `{tag}` | {text} |")
            })
            .collect();
        assert_eq!(written, wanted, "docs/errors.md should read:\n{}", wanted.join("\n"));
    }

    #[test]
    fn every_place_in_the_words_is_filled_and_every_tag_is_its_own() {
        let mut tags = Vec::new();
        for error in ClientError::all() {
            assert!(!error.message().contains('{'), "{}", error.message());
            assert_eq!(error.entry().state.len(), 5);
            tags.push(error.entry().tag);
        }
        let count = tags.len();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), count);
    }
}
