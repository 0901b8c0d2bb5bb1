//! From a statement's text to its answer.

use std::sync::Arc;

use super::answer::{Answer, Column, Failure, Rows};
use super::grammar::{self, Migrate, Statement};
use super::{Context, client, commands};
use crate::ids::TableName;
use crate::migration::{Change, Request};

/// What an admin session remembers from statement to statement.
#[derive(Debug)]
pub(super) struct Session {
    /// The rest of the proxy.
    pub(super) context: Arc<Context>,
    /// What SELECT CONNECTION_ID() says.
    pub(super) connection_id: u64,
    /// USE.
    pub(super) schema: Option<String>,
}

impl Session {
    /// Executes one statement.
    ///
    /// # Errors
    /// What the client is told instead of an answer.
    ///
    /// # Cancel safety
    /// A migration that has been asked for may start all the same.
    pub(super) async fn execute(&mut self, text: &str) -> Result<Answer, Failure> {
        let rows = match grammar::parse(text)? {
            Statement::Migrate(migrate) => {
                let request = self.request(migrate)?;
                let ids = self.context.service.start(request).await?;
                commands::migrations::started(&self.context.service, &ids)
            }
            Statement::Tell(id, command) => {
                commands::migrations::known(&self.context.service, id)?;
                self.context.service.command(id, command).await?;
                return Ok(Answer::Ok);
            }
            Statement::Migrations { like } => commands::migrations::list(&self.context.service, like.as_deref()),
            Statement::Migration(id) => commands::migrations::one(&self.context.service, id)?,
            Statement::Gates => commands::traffic::gates(&self.context),
            Statement::Sessions => commands::traffic::sessions(&self.context),
            Statement::Bypass => commands::traffic::bypass(&self.context),
            Statement::Config => commands::process::config(&self.context),
            Statement::Status { like } => commands::process::status(&self.context, like.as_deref()),
            Statement::Version => commands::process::version(&self.context),
            Statement::Help => commands::process::help(),
            Statement::Client(statement) => return client::answer(self, statement),
        };
        Ok(Answer::Rows(rows))
    }

    /// The columns that a statement will answer with, for COM_STMT_PREPARE; nothing is changed.
    ///
    /// # Errors
    /// What executing it would say about its text.
    pub(super) async fn columns(&mut self, text: &str) -> Result<Vec<Column>, Failure> {
        match grammar::parse(text)? {
            Statement::Migrate(migrate) => Ok(commands::migrations::answer(migrate.changes.len())),
            Statement::Tell(..) | Statement::Client(client::Statement::Nothing | client::Statement::Use(_)) => Ok(Vec::new()),
            // What is left only reads.
            _ => match self.execute(text).await? {
                Answer::Rows(Rows { columns, .. }) => Ok(columns),
                Answer::Ok => Ok(Vec::new()),
            },
        }
    }

    fn request(&self, migrate: Migrate) -> Result<Request, Failure> {
        let change = |change: grammar::Change| {
            let Some(schema) = change.schema.or_else(|| self.schema.clone()) else {
                let message =
                    format!("no schema is chosen for table '{}'; write MIGRATE schema.table, or say USE schema before", change.table);
                return Err(Failure::new(1046, b"3D000", message));
            };
            Ok(Change { table: TableName::new(schema, change.table), specification: change.specification })
        };
        let changes = migrate.changes.into_iter().map(change).collect::<Result<_, _>>()?;
        Ok(Request { changes, options: migrate.options })
    }
}
