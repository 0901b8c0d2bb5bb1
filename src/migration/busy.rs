//! Tells the operator where a statement of a migration does not come back: on a full disk a server waits without a word.

use std::time::Duration;

use super::progress::Board;
use super::shadow::Names;
use crate::upstream::{Error, Link, Server, literal};

/// How often it is looked, and how long a statement may run before it is told.
const LOOK_EVERY: Duration = Duration::from_secs(5);

const REMEDY: &str = "if that does not end, look into its error log: on a full disk it waits until there is room";

/// Looks at the server's list of processes, which it shows whatever else it waits for. Never ends.
pub async fn watch(server: &Server, board: &Board) {
    let names = Names::of(&board.status().table);
    let mut link = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let busy = tokio::time::timeout(LOOK_EVERY, look(server, &mut link, &names)).await;
        match busy {
            Ok(Ok(busy)) => board.set_busy(busy),
            // MySQL needs room even for the list of processes.
            Ok(Err(error @ Error::Server { .. })) => board.set_busy(format!("the server cannot show what it does: {error}; {REMEDY}")),
            // Whoever needs the server notices that it is gone.
            Ok(Err(_)) => link = None,
            Err(_) => {
                link = None;
                board.set_busy(format!("the server has not answered for {} s; {REMEDY}", LOOK_EVERY.as_secs()));
            }
        }
    }
}

async fn look(server: &Server, link: &mut Option<Link>, names: &Names) -> Result<String, Error> {
    let link = match link {
        Some(link) => link,
        None => link.insert(server.connect().await?),
    };
    let mention = |text: &str| literal(&format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")));
    let sql = format!(
        "SELECT TIME, COALESCE(STATE, ''), LEFT(INFO, 60) FROM information_schema.PROCESSLIST WHERE COMMAND IN ('Query', 'Killed') AND TIME >= {} AND ID <> CONNECTION_ID() \
         AND USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND (INFO LIKE {} OR INFO LIKE {} OR INFO LIKE '%`tidegate`.`migrations`%' \
         OR INFO LIKE 'SHOW %') ORDER BY TIME DESC LIMIT 1",
        LOOK_EVERY.as_secs(),
        mention(&names.shadow.quoted()),
        mention(&names.retired.quoted())
    );
    Ok(link.texts(&sql).await?.first().map_or_else(String::new, |row| match row.as_slice() {
        [seconds, state, text] => format!("the server has been busy for {seconds} s with {text}… ({state}); {REMEDY}"),
        _ => String::new(),
    }))
}
