//! Opens the log of a server on which only the ids of transactions mean something.

use futures_util::StreamExt;
use mysql_async::binlog::events::{Event, RotateEvent};
use mysql_async::{BinlogStream, BinlogStreamRequest, Sid};

use super::{SILENCE, kind, rotated_to, shortened};
use crate::upstream::{Error, Facts, Link, Position};

/// The stream, the place of the first transaction in it, and the event that begins this transaction.
///
/// # Errors
/// As the server says; 1236 where its log does not reach back far enough.
pub(super) async fn open(
    mut link: Link,
    facts: &Facts,
    gtids: &str,
    server_id: u32,
) -> Result<(BinlogStream, Position, Option<Event>), Error> {
    let files: Vec<String> = link.texts("SHOW BINARY LOGS").await?.into_iter().filter_map(|row| row.into_iter().next()).collect();
    let request = BinlogStreamRequest::new(server_id);
    let request = if facts.is_mariadb {
        let state = crate::upstream::literal(gtids);
        link.run(&format!(
            "SET @slave_connect_state = CONVERT({state} USING latin1), @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0"
        ))
        .await?;
        request
    } else {
        let sids: Result<Vec<Sid<'_>>, _> = split(gtids).iter().map(|sid| sid.parse()).collect();
        request.with_gtid().with_gtid_set(sids.map_err(|error| Error::Unexpected(format!("the stored GTIDs {gtids}: {error}")))?)
    };
    let mut stream = link.into_conn().get_binlog_stream(request).await?;
    let mut file = None;
    loop {
        let event = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) => return Err(Error::Lost("the binary log stream ended".into())),
            Err(_) => return Err(Error::Lost(format!("the binary log stream was silent for {SILENCE:?}"))),
        };
        let header = event.header();
        match header.event_type_raw() {
            kind::ROTATE => {
                let rotate =
                    event.read_event::<RotateEvent<'_>>().map_err(|error| Error::Unexpected(format!("a rotate event: {error}")))?;
                let raw = rotate.name_raw();
                // A file that came after the list was read is the one after its last.
                file = named(raw, &files).or_else(|| files.last().map(|last| rotated_to(raw, last)));
            }
            code if kind::begins_transaction(code) => {
                let begins_at = u64::from(header.log_pos()).saturating_sub(u64::from(header.event_size()));
                let place = file.as_deref().and_then(|file| Position::new(file, begins_at));
                let place = place.ok_or_else(|| Error::Unexpected("a transaction in the log before the name of its file".into()))?;
                return Ok((stream, place, Some(event)));
            }
            _ => {}
        }
    }
}

/// The file of the list that a rotate event means: up to four bytes of a checksum may stand behind its name.
fn named(raw: &[u8], files: &[String]) -> Option<String> {
    shortened(raw).find(|name| files.iter().any(|file| file == name)).map(str::to_owned)
}

/// One part for each server and tag: `uuid:1-9:tag:1` is two.
fn split(gtids: &str) -> Vec<String> {
    let mut sids: Vec<String> = Vec::new();
    for server in gtids.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        let mut parts = server.split(':');
        let uuid = parts.next().unwrap_or_default();
        let mut sid = uuid.to_owned();
        let mut has_numbers = false;
        for part in parts {
            let is_tag = !part.starts_with(|c: char| c.is_ascii_digit());
            if is_tag && has_numbers {
                sids.push(std::mem::replace(&mut sid, uuid.to_owned()));
            }
            has_numbers = !is_tag;
            sid.push(':');
            sid.push_str(part);
        }
        sids.push(sid);
    }
    sids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_parts_of_their_own() {
        let (one, two) = ("2174b383-5441-11e8-b90a-c80aa9429562", "00000000-0000-0000-0000-000000000002");
        let set = format!("{one}:1-9:12:tag:1-3:other:7,\n{two}:5");
        let parts = split(&set);
        assert_eq!(parts, [format!("{one}:1-9:12"), format!("{one}:tag:1-3"), format!("{one}:other:7"), format!("{two}:5")]);
        assert!(parts.iter().all(|sid| sid.parse::<Sid<'_>>().is_ok()));
        assert!(split("").is_empty());
    }

    #[test]
    fn a_checksum_is_no_part_of_a_file() {
        let files = ["b.000001", "b.000002", "b.0000021"].map(str::to_owned);
        assert_eq!(named(b"b.000001", &files).as_deref(), Some("b.000001"));
        assert_eq!(named(b"b.0000011234", &files).as_deref(), Some("b.000001"));
        assert_eq!(named(b"b.000009", &files), None);
    }
}
