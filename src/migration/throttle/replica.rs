//! How far the replicas that the settings name are behind.

use crate::upstream::{self, Link, Server};

/// A replica that the settings name.
pub struct Replica {
    server: Server,
    is_mariadb: bool,
    link: Option<Link>,
}

impl Replica {
    /// Nothing is asked yet.
    pub fn new(server: Server, is_mariadb: bool) -> Self {
        Self { server, is_mariadb, link: None }
    }

    /// Why the copy should wait for it.
    pub async fn complaint(&mut self, lag_most_s: u64) -> Option<String> {
        let address = self.server.address().to_owned();
        match self.lag_s().await {
            Ok(Some(lag)) if lag <= lag_most_s => None,
            Ok(Some(lag)) => Some(format!("the replica {address} is {lag} s behind, more than {lag_most_s}")),
            Ok(None) => Some(format!("the replica {address} does not replicate; start it, or take it out of [throttle] replicas")),
            Err(error) => {
                self.link = None;
                Some(format!("the replica {address} cannot be asked ({error}); mend it, or take it out of [throttle] replicas"))
            }
        }
    }

    async fn lag_s(&mut self) -> Result<Option<u64>, upstream::Error> {
        let link = match &mut self.link {
            Some(link) => link,
            empty => empty.insert(self.server.connect().await?),
        };
        let column = if self.is_mariadb { "Seconds_Behind_Master" } else { "Seconds_Behind_Source" };
        Ok(link.named_cell("SHOW REPLICA STATUS", column).await?.and_then(|lag| lag.parse().ok()))
    }
}
