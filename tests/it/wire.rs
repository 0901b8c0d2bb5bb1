//! The protocol itself, byte by byte: what comes through the proxy is what a direct connection gives (I-P1).

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn};

use crate::support::Kind;
use crate::support::lab::Lab;
use crate::support::process::run;
use crate::support::raw::{BASE, DEPRECATE_EOF, MARIADB, OPTIONAL_METADATA, PATIENCE, QUERY_ATTRIBUTES, QUIET, Raw, SESSION_TRACK};
use crate::support::servers::{APP, Settings, home, program};

mod compressed;
mod dialogues;

on_both_servers!(
    every_command_is_answered_byte_by_byte_as_directly,
    writes_of_one_byte_change_nothing,
    pipelined_commands_are_answered_in_order,
    an_error_amid_rows_ends_the_statement_only,
    a_session_is_killed_by_com_process_kill,
    binary_logs_are_read_through_the_proxy,
);

const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
const LONG_DATA: u8 = 0x18;
const CLOSE: u8 = 0x19;
const RESET: u8 = 0x1a;
const FETCH: u8 = 0x1c;
const BULK: u8 = 0xfa;

/// The same conversation with the server itself and through the proxy.
struct Pair {
    direct: Raw,
    proxied: Raw,
    /// Sees what the server is doing for the direct one.
    observer: Conn,
    /// What was said, for `TIDEGATE_TEST_RECORD`: see src/wire/tests.rs.
    record: Vec<u8>,
    name: String,
}

impl Pair {
    async fn new(lab: &Lab, capabilities: u64, piece: usize) -> Result<Self> {
        Self::between(lab, capabilities, lab.proxy.port, capabilities, piece).await
    }

    /// Directly with some capabilities, and through a proxy with others that look the same.
    async fn between(lab: &Lab, directly: u64, port: u16, capabilities: u64, piece: usize) -> Result<Self> {
        let direct = Raw::login(lab.server.port, APP, directly, piece).await?;
        let proxied = Raw::login(port, APP, capabilities, piece).await?;
        let name = format!("{}-{capabilities:x}", lab.server.kind.name());
        let observer = lab.server.connect().await?;
        let mut pair = Self { direct, proxied, observer, record: capabilities.to_le_bytes().to_vec(), name };
        pair.align().await?;
        Ok(pair)
    }

    /// Sends the same bytes both ways and compares all that comes back.
    async fn bytes(&mut self, bytes: &[u8], what: &str) -> Result<Vec<u8>> {
        self.direct.write(bytes).await?;
        let theirs = self.whole_answer(SEVERAL).await?;
        self.same(bytes, theirs, what).await
    }

    /// Sends through the proxy what the server has answered with `theirs`.
    async fn same(&mut self, bytes: &[u8], theirs: Vec<u8>, what: &str) -> Result<Vec<u8>> {
        self.proxied.write(bytes).await?;
        let ours = self.proxied.exactly(theirs.len()).await.with_context(|| what.to_owned())?;
        ensure!(ours == theirs, "{what}: {}", difference(&ours, &theirs));
        if bytes.len() <= RECORDED_MAX && ours.len() <= RECORDED_MAX {
            for part in [bytes, &ours] {
                self.record.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
                self.record.extend_from_slice(part);
            }
        }
        Ok(ours)
    }

    async fn command(&mut self, code: u8, payload: &[u8]) -> Result<Vec<u8>> {
        let what = format!("command {code:#04x} {:?}", String::from_utf8_lossy(payload.get(..payload.len().min(80)).unwrap_or_default()));
        let bytes = self.direct.command(code, payload);
        self.direct.write(&bytes).await?;
        // Two commands have none.
        let theirs = if matches!(code, LONG_DATA | CLOSE) { self.direct.until_quiet().await? } else { self.whole_answer(ONE).await? };
        self.same(&bytes, theirs, &what).await
    }

    /// The server's own answer: until it waits for the next command and nothing comes for this long, or it says nothing for a while, as
    /// where it waits for a file.
    async fn whole_answer(&mut self, moment: Duration) -> Result<Vec<u8>> {
        self.direct.reads_within(PATIENCE).await?;
        let mut silent_since = Instant::now();
        while silent_since.elapsed() < QUIET {
            let sql = format!("SELECT COMMAND FROM information_schema.PROCESSLIST WHERE ID = {}", self.direct.connection_id);
            let doing: Option<String> = self.observer.query_first(sql).await?;
            if self.direct.reads_within(moment).await? {
                silent_since = Instant::now();
            } else if doing.is_none_or(|doing| doing == "Sleep") {
                break;
            }
        }
        Ok(self.direct.take())
    }

    async fn query(&mut self, text: &str) -> Result<Vec<u8>> {
        self.command(QUERY, text.as_bytes()).await
    }

    /// Prepares a statement; its number is the same on both sides.
    async fn prepare(&mut self, text: &str) -> Result<Id> {
        let answer = self.command(PREPARE, text.as_bytes()).await?;
        ensure!(answer.get(4) == Some(&0), "{text} was not prepared: {}", String::from_utf8_lossy(&answer));
        Ok(answer[5..9].try_into()?)
    }

    /// MariaDB's numbers of statements go on where the thread's last session ended: brings both sides to the same.
    async fn align(&mut self) -> Result<()> {
        loop {
            let mut numbers = Vec::new();
            for raw in [&mut self.direct, &mut self.proxied] {
                raw.send(PREPARE, b"DO 1").await?;
                let (_, answer) = raw.packet().await?;
                numbers.push(u32::from_le_bytes(answer.get(1..5).context("not prepared")?.try_into()?));
            }
            let behind = match numbers[..] {
                [direct, proxied] if direct < proxied => &mut self.direct,
                [direct, proxied] if direct > proxied => &mut self.proxied,
                _ => return Ok(()),
            };
            for _ in 0..numbers[0].abs_diff(numbers[1]) {
                behind.send(PREPARE, b"DO 1").await?;
                behind.packet().await?;
            }
        }
    }

    /// A command that begins with a statement's id.
    async fn with(&mut self, id: Id, code: u8, rest: &[u8]) -> Result<Vec<u8>> {
        self.command(code, &[&id[..], rest].concat()).await
    }

    async fn end(self) -> Result<()> {
        if let Some(folder) = std::env::var_os("TIDEGATE_TEST_RECORD").filter(|_| self.record.len() > 100) {
            let name = format!("{}-{}", self.name, self.record.len());
            std::fs::write(std::path::Path::new(&folder).join(name), &self.record)?;
        }
        let (theirs, ours) = (self.direct.quit().await?, self.proxied.quit().await?);
        ensure!(ours == theirs, "at the end: {}", difference(&ours, &theirs));
        Ok(())
    }
}

/// Behind one command's answer nothing more comes when the server waits for the next.
const ONE: Duration = Duration::from_millis(2);
/// Between the answers of several it may seem to wait.
const SEVERAL: Duration = Duration::from_millis(30);

/// Longer packets are not recorded: the files are kept in the repository.
const RECORDED_MAX: usize = 3000;

/// A prepared statement's number.
type Id = [u8; 4];

const NOBODYS: Id = [9, 9, 0, 0];
const LAST: Id = [0xff; 4];

fn difference(ours: &[u8], theirs: &[u8]) -> String {
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    let part = |bytes: &[u8]| format!("{:02x?}", bytes.get(at.saturating_sub(8)..bytes.len().min(at + 24)).unwrap_or_default());
    format!("the bytes differ at {at} of {}: {} instead of {}", theirs.len(), part(ours), part(theirs))
}

/// COM_STMT_EXECUTE behind its id.
fn execute(flags: u8, rest: &[u8]) -> Vec<u8> {
    [&[flags][..], &1_u32.to_le_bytes(), rest].concat()
}

async fn tables(lab: &Lab) -> Result<()> {
    super::migrations::quiet_table(lab, 300).await?;
    lab.sql(&[
        "CREATE TABLE shop.loose (a INT, b VARCHAR(20))",
        "CREATE PROCEDURE shop.outs(IN a INT, OUT b INT, OUT c VARCHAR(20)) BEGIN SELECT a; SET b = a + 1; SET c = 'out'; END",
        "CREATE PROCEDURE shop.opens() BEGIN START TRANSACTION; SELECT 1; END",
    ])
    .await
}

fn capabilities(kind: Kind) -> Vec<u64> {
    let mut all = vec![BASE, BASE | DEPRECATE_EOF, BASE | DEPRECATE_EOF | SESSION_TRACK];
    match kind {
        Kind::MySql => all.push(BASE | QUERY_ATTRIBUTES | OPTIONAL_METADATA | DEPRECATE_EOF),
        Kind::MariaDb => all.extend([(BASE & !1) | MARIADB, (BASE & !1) | MARIADB | DEPRECATE_EOF]),
    }
    all
}

async fn every_command_is_answered_byte_by_byte_as_directly(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    for capabilities in capabilities(kind) {
        let mut pair = Pair::new(&lab, capabilities, usize::MAX).await?;
        let all = async {
            texts(&mut pair).await?;
            statements(&mut pair, capabilities).await?;
            small_commands(&mut pair).await?;
            if kind == Kind::MariaDb {
                bulk(&mut pair).await?;
            }
            if capabilities & OPTIONAL_METADATA != 0 {
                without_metadata(&mut pair).await?;
            }
            pair.command(0x1f, b"").await?;
            pair.query("SELECT @a").await
        };
        all.await.with_context(|| format!("with capabilities {capabilities:#x}"))?;
        pair.end().await?;
    }
    lab.proxy.assert_clean_log(&[])
}

async fn texts(pair: &mut Pair) -> Result<()> {
    for text in [
        "SELECT 1",
        "",
        "/* nothing */;",
        "SELEKT 1",
        "SELECT id, seq, payload, NULL FROM shop.orders ORDER BY id",
        "SELECT REPEAT('x', 70000), REPEAT('y', 300)",
        "SELECT 1; SELECT 2; DO 0; SELECT 3",
        "SELECT 1; SELECT nosuch; SELECT 2",
        "SET @a = 5",
        "CALL shop.outs(1, @b, @c)",
        "SELECT @b, @c",
        "CALL shop.opens()",
        "ROLLBACK",
        "BEGIN; UPDATE shop.orders SET counter = counter WHERE id = 1; COMMIT",
        "SET autocommit = 0",
        "SELECT COUNT(*) FROM shop.orders",
        "COMMIT",
        "SET autocommit = 1",
        "USE shop",
        "KILL 999999999",
    ] {
        pair.query(text).await?;
    }
    Ok(())
}

async fn statements(pair: &mut Pair, capabilities: u64) -> Result<()> {
    // A cursor: opened, fetched to its end and beyond, reset.
    let id = pair.prepare("SELECT id, payload FROM shop.orders ORDER BY id LIMIT 25").await?;
    let opened = pair.with(id, EXECUTE, &execute(1, &[])).await?;
    let some = pair.with(id, FETCH, &10_u32.to_le_bytes()).await?;
    ensure!(some.len() > 200 && opened.len() < 300, "no cursor was opened: {} and {} bytes", opened.len(), some.len());
    for rows in [10_u32, 10, 10] {
        pair.with(id, FETCH, &rows.to_le_bytes()).await?;
    }
    pair.with(id, EXECUTE, &execute(1, &[])).await?;
    pair.with(id, RESET, &[]).await?;
    pair.with(id, FETCH, &1_u32.to_le_bytes()).await?;
    // MySQL keeps the cursor: it sends the columns and an OK, without rows, and the rows come when they are fetched.
    pair.with(id, EXECUTE, &execute(0, &[])).await?;
    pair.with(id, FETCH, &10_u32.to_le_bytes()).await?;
    pair.with(id, RESET, &[]).await?;
    pair.with(id, EXECUTE, &execute(0, &[])).await?;
    let late = pair.prepare("SELECT id, payload FROM shop.orders ORDER BY id LIMIT 5").await?;
    for flags in [0, 1, 0] {
        pair.with(late, EXECUTE, &execute(flags, &[])).await?;
    }
    let one = pair.prepare("SELECT 1 FROM DUAL WHERE 1 = 0").await?;
    pair.with(one, EXECUTE, &execute(1, &[])).await?;
    // Long data in pieces, also for a statement that is not there; neither is answered.
    let long = pair.prepare("SELECT LENGTH(?), RIGHT(?, 3)").await?;
    for (parameter, length) in [(0_u16, 70_000), (1, 5), (0, 200_000)] {
        let data = [&parameter.to_le_bytes(), &vec![b'x'; length][..]].concat();
        ensure!(pair.with(long, LONG_DATA, &data).await?.is_empty());
    }
    pair.with(NOBODYS, LONG_DATA, &[0, 0, b'x']).await?;
    let types = [0, 1, 252, 0, 252, 0];
    let answer = pair.with(long, EXECUTE, &execute(0, &types)).await?;
    // With query attributes the parameters are sent in another form: both refuse this one.
    let has_arrived = answer.windows(4).any(|part| part == 270_000_u32.to_le_bytes());
    ensure!(has_arrived || capabilities & QUERY_ATTRIBUTES != 0, "the long data did not arrive: {answer:02x?}");
    pair.with(NOBODYS, EXECUTE, &execute(0, &[])).await?;
    pair.with(NOBODYS, FETCH, &[1, 0, 0, 0]).await?;
    // OUT parameters come as a result set of their own.
    let outs = pair.prepare("CALL shop.outs(?, ?, ?)").await?;
    pair.with(outs, EXECUTE, &execute(0, &[0b110, 1, 3, 0, 3, 0, 253, 0, 41, 0, 0, 0])).await?;
    pair.command(PREPARE, b"SELEKT").await?;
    pair.command(PREPARE, b"SET @x = 1").await?;
    for id in [id, one, long] {
        ensure!(pair.with(id, CLOSE, &[]).await?.is_empty());
    }
    pair.with(id, EXECUTE, &execute(0, &[])).await?;
    Ok(())
}

async fn small_commands(pair: &mut Pair) -> Result<()> {
    pair.command(0x02, b"shop").await?;
    pair.command(0x02, b"nosuch").await?;
    pair.command(0x04, b"orders\0").await?;
    pair.command(0x04, b"orders\0c%").await?;
    pair.command(0x04, b"nosuch\0").await?;
    pair.command(0x0e, b"").await?;
    for option in [1_u16, 0, 9] {
        pair.command(0x1b, &option.to_le_bytes()).await?;
        pair.query("SELECT 1; SELECT 2").await?;
    }
    pair.command(0x1b, &[0, 0]).await?;
    pair.command(0x0c, &999_999_999_u32.to_le_bytes()).await?;
    for unknown in [0x00, 0x0d, 0x0f, 0x14, 0x40, 0x77] {
        pair.command(unknown, b"").await?;
    }
    // Its numbers change from moment to moment.
    let mut answers = Vec::new();
    for raw in [&mut pair.direct, &mut pair.proxied] {
        raw.send(0x09, &[]).await?;
        let (sequence, text) = raw.packet().await?;
        ensure!(sequence == 1);
        let text: String = String::from_utf8(text)?.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        answers.push(text);
    }
    ensure!(answers[0] == answers[1] && answers[0].starts_with("Uptime"), "COM_STATISTICS: {answers:?}");
    Ok(())
}

/// MariaDB's COM_STMT_BULK_EXECUTE, by id and for the statement just prepared, with a NULL in it.
async fn bulk(pair: &mut Pair) -> Result<()> {
    let id = pair.prepare("INSERT INTO shop.loose VALUES (?, ?)").await?;
    let rows = [&[128, 0, 3, 0, 253, 0][..], &[0, 1, 0, 0, 0, 0, 1, b'a'], &[0, 2, 0, 0, 0, 1], &[1, 0, 2, b'b', b'c']].concat();
    pair.with(id, BULK, &rows).await?;
    // Both at once, as MariaDB's connectors do: the number is not known yet.
    let prepare = pair.direct.command(PREPARE, b"INSERT INTO shop.loose VALUES (?, ?)");
    let last = pair.direct.command(BULK, &[&LAST[..], &rows].concat());
    pair.bytes(&[prepare, last].concat(), "PREPARE and BULK_EXECUTE at once").await?;
    pair.with(id, BULK, &[128, 0, 3, 0]).await?;
    pair.query("SELECT COUNT(*) > 2, COUNT(b) > 1 FROM shop.loose").await?;
    Ok(())
}

async fn without_metadata(pair: &mut Pair) -> Result<()> {
    pair.query("SET resultset_metadata = NONE").await?;
    pair.query("SELECT 1, 2").await?;
    pair.query("SELECT id FROM shop.orders ORDER BY id LIMIT 3; SELECT 5").await?;
    let id = pair.prepare("SELECT id, ? FROM shop.orders ORDER BY id LIMIT 3").await?;
    pair.with(id, EXECUTE, &execute(8, &[1, 0, 1, 3, 0, 0, 7, 0, 0, 0])).await?;
    // One attribute before the text.
    let text = [&[1, 1, 0, 1, 253, 0, 1, b'n', 2, b'v', b'w'][..], b"SELECT 7"].concat();
    let packet = crate::support::raw::framed(0, &[&[QUERY][..], &text].concat());
    pair.bytes(&packet, "a text with an attribute").await?;
    Ok(())
}

async fn writes_of_one_byte_change_nothing(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    let mut pair = Pair::new(&lab, BASE | DEPRECATE_EOF, 1).await?;
    texts(&mut pair).await?;
    let id = pair.prepare("SELECT id, ? FROM shop.orders ORDER BY id LIMIT 5").await?;
    pair.with(id, EXECUTE, &execute(0, &[0, 1, 3, 0, 7, 0, 0, 0])).await?;
    pair.with(id, LONG_DATA, &[&[0, 0][..], &[b'x'; 3000]].concat()).await?;
    pair.with(id, CLOSE, &[]).await?;
    pair.query(&format!("SELECT LENGTH('{}')", "y".repeat(20_000))).await?;
    pair.end().await
}

async fn pipelined_commands_are_answered_in_order(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    let mut pair = Pair::new(&lab, BASE, usize::MAX).await?;
    let mut segment = Vec::new();
    for number in 0..300 {
        segment.extend(pair.direct.command(QUERY, format!("SELECT {number}, REPEAT('z', {})", number * 3).as_bytes()));
        if number % 50 == 0 {
            segment.extend(pair.direct.command(QUERY, b"SELEKT"));
            segment.extend(pair.direct.command(CLOSE, &[5, 0, 0, 0]));
            segment.extend(pair.direct.command(0x0e, b""));
        }
    }
    let answers = pair.bytes(&segment, "300 commands in one write").await?;
    ensure!(answers.len() > 100_000, "only {} bytes came back", answers.len());
    pair.end().await
}

async fn an_error_amid_rows_ends_the_statement_only(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    let mut raw = Raw::login(lab.proxy.port, APP, BASE | DEPRECATE_EOF, usize::MAX).await?;
    raw.send(QUERY, b"SELECT id, REPEAT('x', 4000), SLEEP(0.01) FROM shop.orders; SELECT 2").await?;
    for _ in 0..8 {
        let (_, packet) = raw.packet().await?;
        ensure!(packet.first() != Some(&0xff), "{}", String::from_utf8_lossy(&packet));
    }
    let mut killer = lab.proxy.connect().await?;
    killer.query_drop(format!("KILL QUERY {}", raw.connection_id)).await?;
    let mut rows = 0;
    let code = loop {
        let (_, packet) = raw.packet().await?;
        match packet[..] {
            [0xff, low, high, ..] => break u16::from_le_bytes([low, high]),
            [0xfe, ..] if packet.len() < 100 => bail!("it ended without an error after {rows} rows"),
            _ => rows += 1,
        }
    };
    ensure!(code == 1317 && rows < 290, "error {code} after {rows} rows");
    raw.send(QUERY, b"SELECT 7").await?;
    let answer = raw.until_quiet().await?;
    ensure!(answer.windows(2).any(|part| part == [1, b'7']), "the session does not go on: {answer:02x?}");
    Ok(())
}

async fn a_session_is_killed_by_com_process_kill(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    let mut pair = Pair::new(&lab, BASE, usize::MAX).await?;
    let mut answers = Vec::new();
    for raw in [&mut pair.direct, &mut pair.proxied] {
        let mut victim = Raw::login(lab.proxy.port, APP, BASE, usize::MAX).await?;
        raw.send(0x0c, &victim.connection_id.to_le_bytes()).await?;
        let answer = raw.packet().await?;
        ensure!(answer.1.first() == Some(&0xff) || victim.is_closed().await, "the victim lives");
        answers.push(answer);
    }
    ensure!(answers[0] == answers[1], "{answers:02x?}");
    pair.end().await
}

/// MariaDB has no query attributes.
#[test]
fn query_attributes_of_the_shell_pass() {
    crate::run(shell_with_attributes());
}

async fn shell_with_attributes() -> Result<()> {
    // The installed directory may be closed to the server's account.
    let plugins = tempfile::Builder::new().prefix("tidegate-plugins-").tempdir()?;
    run(std::process::Command::new("chmod").arg("755").arg(plugins.path()))?;
    let component = "component_query_attributes.so";
    std::fs::copy(home().join("mysql/usr/lib/mysql/plugin").join(component), plugins.path().join(component)).context(component)?;
    let more = vec![format!("--plugin-dir={}", plugins.path().display())];
    let lab = Lab::start_with(Kind::MySql, Settings { more, ..Settings::default() }, &[]).await?;
    lab.sql(&["INSTALL COMPONENT 'file://component_query_attributes'"]).await?;
    let say = |port: u16| -> Result<String> {
        let mut shell = std::process::Command::new(program("mysql", "mysql")?)
            .args(["--no-defaults", "-h127.0.0.1", &format!("-P{port}"), &format!("-u{}", APP.0), &format!("-p{}", APP.1)])
            .args(["--get-server-public-key", "--commands", "--force", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let script = "query_attributes n1 v1 number 17\nSELECT mysql_query_attribute_string('n1') AS attribute;\n\
                      query_attributes n2 x\nSELEKT;\nSELECT mysql_query_attribute_string('n2') AS none;\n";
        shell.stdin.take().context("no stdin")?.write_all(script.as_bytes())?;
        Ok(String::from_utf8(shell.wait_with_output()?.stdout)?)
    };
    let (ours, theirs) = tokio::task::block_in_place(|| Ok::<_, anyhow::Error>((say(lab.proxy.port)?, say(lab.server.port)?)))?;
    ensure!(ours == theirs && ours.contains("| v1 "), "{ours}\n{theirs}");
    Ok(())
}

async fn binary_logs_are_read_through_the_proxy(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    let logs: Vec<mysql_async::Row> = lab.server.connect().await?.query("SHOW BINARY LOGS").await?;
    let log: String = logs.last().and_then(|row| row.get(0)).context("no binary log")?;
    let mut sizes = Vec::new();
    for conn in [lab.server.connect().await?, lab.proxy.connect().await?] {
        sizes.push(events(conn, &log).await?);
    }
    ensure!(sizes[0] == sizes[1] && sizes[0].len() > 10, "{} and {} events", sizes[0].len(), sizes[1].len());
    if kind == Kind::MySql {
        // MySQL's own tool; it has not the password plugin of MariaDB's server.
        let read = |port: u16| {
            let mut command = std::process::Command::new(program("mysql", "mysqlbinlog")?);
            command.args(["--no-defaults", "--read-from-remote-server", "-h127.0.0.1", &format!("-P{port}"), &format!("-u{}", APP.0)]);
            command.args([&format!("-p{}", APP.1), "--get-server-public-key", &log]);
            tokio::task::block_in_place(|| run(&mut command))
        };
        let (ours, theirs) = (read(lab.proxy.port)?, read(lab.server.port)?);
        ensure!(ours == theirs && ours.len() > 10_000, "mysqlbinlog wrote {} and {} bytes", ours.len(), theirs.len());
    }
    Ok(())
}

/// Types and positions of all events of a log, up to where a writer would wait.
async fn events(conn: Conn, log: &str) -> Result<Vec<(u8, u32)>> {
    let request = BinlogStreamRequest::new(4711).with_filename(log.as_bytes()).with_pos(4);
    let mut stream = conn.get_binlog_stream(request).await?;
    let mut seen = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(500), stream.next()).await {
        let header = event?.header();
        seen.push((header.event_type_raw(), header.log_pos()));
    }
    Ok(seen)
}
