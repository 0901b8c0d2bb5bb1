//! What can go wrong in a migration, and whose fault it is.

use super::Refusal;
use crate::failpoints::Injected;
use crate::ids::TableName;
use crate::upstream;

/// Why a migration's run stopped; [`super::policy`] says what follows.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server, or the way to it.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// The server's own ALTER would refuse this too.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The table, or the log, changed in a way that the migration cannot follow.
    #[error("{0}")]
    Changed(String),
    /// Source and shadow differ although nothing touched the row.
    #[error("{0}")]
    Damaged(String),
    /// Something that a person must mend; the second part says how.
    #[error("{0}; {1}")]
    Stuck(String, String),
    /// The operator said CANCEL.
    #[error("cancelled")]
    Cancelled,
    /// The proxy is shutting down.
    #[error("the proxy is shutting down")]
    Stopped,
    /// A test's failpoint.
    #[error("{0}")]
    Injected(String),
}

impl From<Injected> for Error {
    fn from(injected: Injected) -> Self {
        Self::Injected(injected.to_string())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Error {
    /// The server's error number, 0 where there is none.
    pub fn code(&self) -> u16 {
        match self {
            Self::Upstream(error) => error.code().unwrap_or(0),
            Self::Refused(refusal) => refusal.code,
            Self::Changed(_) => 1412,
            _ => 0,
        }
    }
}

impl Refusal {
    /// A refusal with the server's number and state.
    pub fn new(code: u16, sqlstate: [u8; 5], message: impl Into<String>) -> Self {
        Self { code, sqlstate, message: message.into() }
    }

    /// The server's own words about a table that stands for another, with that one's name.
    pub fn of_stand_in(error: &upstream::Error, stand_in: &TableName, table: &TableName) -> Self {
        let mut refusal = Self::from_upstream(error);
        refusal.message = refusal.message.replace(&stand_in.table, &table.table).replace(&stand_in.schema, &table.schema);
        refusal
    }

    /// The server's own words, passed on.
    pub fn from_upstream(error: &upstream::Error) -> Self {
        match error {
            upstream::Error::Server { code, sqlstate, message } => {
                let state = <[u8; 5]>::try_from(sqlstate.as_bytes()).unwrap_or(*b"HY000");
                Self::new(*code, state, message.clone())
            }
            other => Self::new(
                1053,
                *b"08S01",
                format!("{other}; check that the server is up and that [upstream] in the configuration is right"),
            ),
        }
    }
}
