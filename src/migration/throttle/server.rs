//! What the server itself tells of how it is.

use std::time::Duration;

use super::Reason;
use crate::config::Throttle;
use crate::upstream::{self, Link, Server};

/// A query of the operator's that takes longer is given up, and asked again at the next look.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server, and a connection for questions.
#[derive(Debug)]
pub struct Asked {
    server: Server,
    link: Option<Link>,
}

impl Asked {
    /// Nothing is asked yet.
    pub fn new(server: Server) -> Self {
        Self { server, link: None }
    }

    /// Why the copy should wait for it.
    pub async fn complaint(&mut self, settings: &Throttle) -> Option<Reason> {
        let asked = async {
            let numbers = self.numbers(settings).await?;
            Ok::<_, upstream::Error>(if numbers.is_some() { numbers } else { self.query(settings).await? })
        };
        match asked.await {
            Ok(reason) => reason,
            Err(error) => {
                // The run itself notices a server that is gone.
                tracing::debug!(%error, "the server could not be asked how it is");
                self.link = None;
                None
            }
        }
    }

    async fn link(&mut self) -> Result<&mut Link, upstream::Error> {
        Ok(match &mut self.link {
            Some(link) => link,
            empty => empty.insert(self.server.connect().await?),
        })
    }

    async fn numbers(&mut self, settings: &Throttle) -> Result<Option<Reason>, upstream::Error> {
        let (threads_most, history_most) = (settings.threads_running, settings.history_length);
        if threads_most > 0 {
            let rows = self.link().await?.texts("SHOW GLOBAL STATUS LIKE 'Threads_running'").await?;
            let running = rows.first().and_then(|row| row.get(1)?.parse::<u64>().ok()).unwrap_or(0);
            if running > threads_most {
                let words = format!("{running} threads run on the server, more than {threads_most}");
                return Ok(Some(Reason { signal: "threads_running", words }));
            }
        }
        if history_most > 0 {
            let question = "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'";
            let length = self.link().await?.cell(question).await?.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
            if length > history_most {
                let words = format!("the server keeps {length} old row versions for open transactions, more than {history_most}");
                return Ok(Some(Reason { signal: "history_length", words }));
            }
        }
        Ok(None)
    }

    /// The operator's own query: its answer is a number, or the copy waits until it is.
    async fn query(&mut self, settings: &Throttle) -> Result<Option<Reason>, upstream::Error> {
        if settings.query.is_empty() {
            return Ok(None);
        }
        let link = self.link().await?;
        #[allow(clippy::cast_precision_loss)]
        let most = settings.query_limit as f64;
        let words = match tokio::time::timeout(PATIENCE, answer(link, &settings.query)).await {
            Ok(Ok(Answer::Number(number))) if number <= most => return Ok(None),
            Ok(Ok(Answer::Number(number))) => format!("the query gives {number}, more than {most}"),
            Ok(Ok(Answer::Nothing)) => return Ok(None),
            Ok(Ok(Answer::Text(text))) => format!("the query gives {text:?}, which is not a number; mend [throttle] query"),
            Ok(Err(error)) if error.is_lost() => return Err(error),
            Ok(Err(error)) => format!("the query fails ({error}); mend [throttle] query, or take it out"),
            Err(_) => {
                self.link = None;
                format!("the query is not answered within {} s; make [throttle] query quicker, or take it out", PATIENCE.as_secs())
            }
        };
        Ok(Some(Reason { signal: "query", words }))
    }
}

/// What a query of the operator's says.
enum Answer {
    /// Its first column of its first row.
    Number(f64),
    /// That, where it is no number.
    Text(String),
    /// No row, or NULL.
    Nothing,
}

/// Asks the operator's query.
///
/// # Errors
/// The server's.
async fn answer(link: &mut Link, query: &str) -> Result<Answer, upstream::Error> {
    Ok(match link.cell(query).await? {
        None => Answer::Nothing,
        Some(text) => Throttle::number(&text).map_or(Answer::Text(text), Answer::Number),
    })
}
