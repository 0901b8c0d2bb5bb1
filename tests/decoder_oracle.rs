//! Our reader of keys against three oracles: a SELECT, the server's own comparison, and a second decoder (mysql_cdc).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

mod support;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, Row, Value};
use mysql_cdc::binlog_client::BinlogClient;
use mysql_cdc::binlog_options::BinlogOptions;
use mysql_cdc::events::binlog_event::BinlogEvent;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;
use mysql_cdc::replica_options::ReplicaOptions;
use support::servers::{APP, Settings};
use support::{Kind, Server};
use tidegate::schema::binlog_row::{Change, RowLayout, RowsEvent, TableMap, decode_rows};
use tidegate::schema::key::{Key, KeyColumn, KeyValue};

/// A column of every type on both servers, so that stepping over each is tried with each key.
const OTHERS: &str = "a1 TINYINT DEFAULT -1, a2 SMALLINT UNSIGNED DEFAULT 65535, a3 MEDIUMINT DEFAULT -1, a4 INT DEFAULT 7, a5 BIGINT DEFAULT -9, \
     a6 FLOAT DEFAULT 1.5, a7 DOUBLE DEFAULT 2.5, a8 DECIMAL(30,11) DEFAULT -12345678901.5, a9 BIT(13) DEFAULT 5, b1 BIT(16) DEFAULT 1, \
     b2 YEAR DEFAULT 2020, b3 DATE DEFAULT '2020-02-03', b4 TIME(3) DEFAULT '-1:02:03.4', b5 DATETIME(5) DEFAULT '2020-02-03 04:05:06.7', \
     b6 TIMESTAMP(6) NULL DEFAULT '2020-02-03 04:05:06.7', b7 VARCHAR(300) DEFAULT 'abc', b8 CHAR(200) DEFAULT 'abc', b9 BINARY(5) DEFAULT 'a', \
     d1 VARBINARY(20) DEFAULT 'x', d2 ENUM('p','q') DEFAULT 'q', d3 SET('u','v','w') DEFAULT 'u,w', e1 TINYBLOB, e2 BLOB, e3 MEDIUMTEXT, \
     e4 LONGBLOB, e5 JSON, e6 GEOMETRY, n1 INT, n2 VARCHAR(9)";
const OTHERS_SET: &str =
    "e1=REPEAT('a',100), e2=REPEAT('a',300), e3=REPEAT('b',70000), e4='z', e5='{\"a\":[1,2]}', e6=ST_GeomFromText('POINT(1 2)')";

/// Columns of one server only: their definitions and an assignment.
fn own_types(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::MySql => ("m1 VECTOR(3), m2 INT AS (a4 + 1) VIRTUAL, m3 INT AS (a4 + 1) STORED", "m1=STRING_TO_VECTOR('[1,2,3]')"),
        Kind::MariaDb => (
            "m1 VARCHAR(300) COMPRESSED DEFAULT 'abcabc', m2 TEXT COMPRESSED, m3 UUID DEFAULT '12345678-1234-1234-1234-123456789abc', \
             m4 INET6 DEFAULT '::1', m5 INET4 DEFAULT '1.2.3.4'",
            "m2=REPEAT('xy',500)",
        ),
    }
}

/// Types of keys, each with values that are hard for it.
fn key_types(kind: Kind) -> Vec<(String, Vec<&'static str>)> {
    let mut types: Vec<(&str, Vec<&str>)> = vec![
        ("TINYINT", vec!["-128", "-1", "0", "127"]),
        ("SMALLINT", vec!["-32768", "-1", "0", "32767"]),
        ("MEDIUMINT", vec!["-8388608", "-1", "0", "8388607"]),
        ("INT", vec!["-2147483648", "-1", "0", "2147483647"]),
        ("BIGINT", vec!["-9223372036854775808", "-1", "0", "9223372036854775807"]),
        ("TINYINT UNSIGNED", vec!["0", "255"]),
        ("SMALLINT UNSIGNED", vec!["0", "65535"]),
        ("MEDIUMINT(8) UNSIGNED ZEROFILL", vec!["0", "16777215"]),
        ("INT UNSIGNED", vec!["0", "4294967295"]),
        ("BIGINT UNSIGNED", vec!["0", "18446744073709551615"]),
        ("DECIMAL(5,2)", vec!["-1.5", "0", "999.99", "-0.01", "10"]),
        ("DECIMAL(65,30)", vec!["-12345678901234567890123456789012345.123456789012345678901234567890", "0.1", "1"]),
        ("DECIMAL(18,0)", vec!["-123456789012345678", "0", "100000000"]),
        ("DECIMAL(10,10)", vec!["-0.5", "0.0000000001"]),
        ("DATE", vec!["'2020-02-03'", "'0000-00-00'", "'9999-12-31'", "'2020-00-00'", "'1000-01-01'"]),
        ("DATETIME", vec!["'2020-02-03 04:05:06'", "'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'"]),
        ("DATETIME(1)", vec!["'2020-02-03 04:05:06.7'", "'2020-02-03 04:05:06'"]),
        ("DATETIME(3)", vec!["'2020-02-03 04:05:06.789'", "'2020-02-03 04:05:06.001'"]),
        ("DATETIME(6)", vec!["'2020-02-03 04:05:06.789012'", "'1000-01-01 00:00:00.000001'"]),
        ("TIME", vec!["'-838:59:59'", "'00:00:00'", "'838:59:59'", "'-00:00:01'"]),
        ("TIME(2)", vec!["'-838:59:58.99'", "'-00:00:00.01'", "'00:00:00.5'", "'-01:00:00'"]),
        ("TIME(3)", vec!["'-00:00:00.001'", "'100:00:00.999'", "'-12:34:56.789'"]),
        ("TIME(6)", vec!["'-00:00:00.000001'", "'-12:34:56.789012'", "'12:34:56'"]),
        ("YEAR", vec!["2020", "1901", "2155", "'0000'"]),
        ("ENUM('x','y','it''s')", vec!["'x'", "'it''s'", "''"]),
        ("BINARY(4)", vec!["'a'", "X'00000000'", "X'61000001'", "X'FFFFFFFF'", "'a b '"]),
        ("BINARY(255)", vec!["'a'", "X'00'"]),
        ("VARBINARY(300)", vec!["'a'", "''", "X'6100'", "X'FF'", "REPEAT('q',299)"]),
    ];
    types.sort_by_key(|(name, _)| *name);
    let mut all: Vec<(String, Vec<&str>)> = types.into_iter().map(|(name, values)| (name.to_owned(), values)).collect();
    let mut collations = vec![
        ("utf8mb4", "utf8mb4_general_ci", "'Zoë'"),
        ("utf8mb4", "utf8mb4_bin", "'🙂'"),
        ("utf8mb3", "utf8mb3_general_ci", "'中文'"),
        ("latin1", "latin1_swedish_ci", "'Zoë'"),
        ("ascii", "ascii_bin", "'z'"),
        ("utf16", "utf16_general_ci", "'中文'"),
        ("utf16le", "utf16le_general_ci", "'中文'"),
        ("utf32", "utf32_bin", "'🙂'"),
        ("ucs2", "ucs2_general_ci", "'中文'"),
        ("sjis", "sjis_japanese_ci", "'中文'"),
        ("gbk", "gbk_chinese_ci", "'中文'"),
        ("cp1251", "cp1251_general_ci", "'Ж'"),
    ];
    collations.push(match kind {
        Kind::MySql => ("utf8mb4", "utf8mb4_0900_ai_ci", "'Zoë'"),
        Kind::MariaDb => ("utf8mb4", "utf8mb4_uca1400_ai_ci", "'Zoë'"),
    });
    for (charset, collation, letter) in collations {
        for length in ["VARCHAR(20)", "CHAR(20)", "CHAR(100)"] {
            all.push((format!("{length} CHARACTER SET {charset} COLLATE {collation}"), vec!["'a'", "''", letter, "'it''s b'"]));
        }
    }
    all
}

struct Lab {
    server: Server,
    conn: Conn,
}

impl Lab {
    async fn start(kind: Kind) -> Result<Self> {
        let server = Server::start(kind, Settings::default()).await?;
        let mut conn = server.connect().await?;
        conn.query_drop("SET SESSION sql_mode=''; CREATE DATABASE kp; USE kp; SET NAMES utf8mb4").await?;
        Ok(Self { server, conn })
    }

    async fn position(&mut self) -> Result<(String, u64)> {
        let query = match self.server.kind {
            Kind::MySql => "SHOW BINARY LOG STATUS",
            Kind::MariaDb => "SHOW MASTER STATUS",
        };
        let row: Row = self.conn.query_first(query).await?.context("no binary log")?;
        Ok((row.get(0).context("no file")?, row.get(1).context("no position")?))
    }

    /// A column of `k` as the engine would read it: its position and itself.
    async fn column(&mut self, name: &str) -> Result<(usize, KeyColumn)> {
        let query = "SELECT CAST(ORDINAL_POSITION AS UNSIGNED), CAST(DATA_TYPE AS CHAR), CAST(COLUMN_TYPE AS CHAR), CHARACTER_SET_NAME, \
                     COLLATION_NAME FROM information_schema.columns WHERE table_schema='kp' AND table_name='k' AND column_name=?";
        type Described = (usize, String, String, Option<String>, Option<String>);
        let row: Option<Described> = self.conn.exec_first(query, (name,)).await?;
        let (position, data_type, column_type, charset, collation) = row.context("no such column")?;
        let kind = KeyColumn::from_information_schema(&data_type, &column_type, charset.as_deref(), collation.as_deref());
        Ok((position - 1, KeyColumn { name: name.to_owned(), kind: kind.with_context(|| format!("{column_type} is no key"))? }))
    }

    async fn select(&mut self, column: &KeyColumn, order: &str) -> Result<Vec<KeyValue>> {
        let rows: Vec<Row> = self.conn.query(format!("SELECT {} FROM k {order}", column.select_expression())).await?;
        let mut values = Vec::new();
        for row in rows {
            let value: Value = row.get(0).context("no value")?;
            let Value::Bytes(text) = value else { anyhow::bail!("not a text: {value:?}") };
            values.push(column.parse_text(Some(&text))?);
        }
        Ok(values)
    }

    /// The changes of `kp.k` since a position, by our decoder.
    async fn changes(&self, (file, position): &(String, u64), key: &[(usize, KeyColumn)]) -> Result<Vec<Change>> {
        let key: Vec<_> = key.iter().map(|(position, column)| (*position, column.kind.clone())).collect();
        let request = BinlogStreamRequest::new(900).with_filename(file.as_bytes()).with_pos(*position).with_non_blocking();
        let mut stream = self.server.connect().await?.get_binlog_stream(request).await?;
        let (mut layout, mut changes) = (None, Vec::new());
        while let Some(event) = stream.next().await {
            let event = event?;
            let code = event.header().event_type_raw();
            if code == 19 {
                let map = TableMap::parse(event.data())?;
                ensure!((map.schema, map.table) == (b"kp".as_slice(), b"k".as_slice()), "another table was written");
                layout = Some(RowLayout::new(map.column_types, map.column_metadata, &key)?);
            } else if let Some(rows) = RowsEvent::parse(code, event.data())? {
                let layout = layout.as_ref().context("rows before their table map")?;
                changes.extend(decode_rows(layout, rows.kind, rows.columns_before, rows.columns_after, rows.rows)?);
            }
        }
        Ok(changes)
    }

    /// Each literal must find its one row by the key, whatever the connection's settings.
    async fn check_literals(&mut self, column: &KeyColumn, values: &[KeyValue]) -> Result<()> {
        let explain = if self.server.kind == Kind::MySql { "EXPLAIN FORMAT=TRADITIONAL" } else { "EXPLAIN" };
        for names in ["latin1", "utf8mb4", "binary", "sjis"] {
            let settings = format!("SET NAMES {names}; SET time_zone='+05:00'; SET sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES'");
            self.conn.query_drop(settings).await?;
            for value in values {
                let literal = column.literal(value);
                for condition in [format!("c = {literal}"), format!("c IN ({literal}) AND c >= {literal} AND c <= {literal}")] {
                    let count: Option<u64> = self.conn.query_first(format!("SELECT COUNT(*) FROM k WHERE {condition}")).await?;
                    ensure!(count == Some(1), "{count:?} rows where {condition} under {names}");
                }
                let plan: Option<Row> = self.conn.query_first(format!("{explain} SELECT z FROM k WHERE c = {literal}")).await?;
                let plan = plan.context("no plan")?;
                let at = plan.columns_ref().iter().position(|column| column.name_str() == "type").context("no type")?;
                let access: Option<String> = plan.get(at).context("no access")?;
                ensure!(access.as_deref() == Some("const"), "{literal} does not use the key: {access:?}");
            }
        }
        self.conn.query_drop("SET NAMES utf8mb4; SET sql_mode=''").await?;
        Ok(())
    }

    async fn check_type(&mut self, name: &str, values: &[&str]) -> Result<()> {
        let (own, own_set) = own_types(self.server.kind);
        self.conn.query_drop("DROP TABLE IF EXISTS k; SET binlog_row_image=FULL").await?;
        self.conn.query_drop(format!("CREATE TABLE k ({OTHERS}, {own}, c {name} NOT NULL, z INT DEFAULT 5, PRIMARY KEY (c))")).await?;
        let (position, column) = self.column("c").await?;
        let start = self.position().await?;
        self.conn.query_drop(format!("INSERT INTO k (c) VALUES ({})", values.join("), ("))).await?;
        self.conn.query_drop(format!("UPDATE k SET {OTHERS_SET}, {own_set}")).await?;
        let mut selected = self.select(&column, "ORDER BY c").await?;
        if column.kind.is_ordered() {
            ensure!(selected.is_sorted(), "the server's order is another: {selected:?}");
        }
        selected.sort();
        self.check_literals(&column, &selected).await?;
        self.conn.query_drop("SET binlog_row_image=MINIMAL; UPDATE k SET z = 6; DELETE FROM k").await?;
        let changes = self.changes(&start, &[(position, column)]).await?;
        let expected: Vec<Key> = selected.into_iter().map(|value| Key([value].into())).collect();
        for (has_before, has_after, times) in [(false, true, 1), (true, true, 2), (true, false, 1)] {
            let found: Vec<&Change> =
                changes.iter().filter(|change| (change.before.is_some(), change.after.is_some()) == (has_before, has_after)).collect();
            ensure!(found.len() == values.len() * times, "{} changes", found.len());
            let mut keys: Vec<Key> = found.iter().flat_map(|change| [&change.before, &change.after]).flatten().cloned().collect();
            keys.sort();
            keys.dedup();
            ensure!(keys == expected, "the log says {keys:?}, SELECT says {expected:?}");
        }
        Ok(())
    }
}

async fn keys_of_the_log_are_those_of_a_select(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    for (name, values) in key_types(kind) {
        lab.check_type(&name, &values).await.with_context(|| format!("{kind}, key {name}"))?;
    }
    Ok(())
}

/// A cell of mysql_cdc as our decoder would give it; signs are the schema's business there.
fn as_key_value(cell: &MySqlValue) -> KeyValue {
    match cell {
        MySqlValue::Int(number) => KeyValue::Int(i64::from(number.cast_signed())),
        MySqlValue::BigInt(number) => KeyValue::UInt(*number),
        MySqlValue::String(text) => KeyValue::Bytes(text.as_bytes().into()),
        MySqlValue::Decimal(text) => KeyValue::Text(text.clone()),
        MySqlValue::Date(date) => KeyValue::Text(format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)),
        MySqlValue::DateTime(at) => {
            KeyValue::Text(format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", at.year, at.month, at.day, at.hour, at.minute, at.second))
        }
        MySqlValue::Enum(index) => KeyValue::UInt(u64::from(*index)),
        other => panic!("not used here: {other:?}"),
    }
}

/// The changes since a position by mysql_cdc, for the columns that make the key.
fn changes_by_mysql_cdc(port: u16, (file, position): (String, u64), key: &[usize]) -> Vec<Change> {
    let options = ReplicaOptions {
        port,
        hostname: "127.0.0.1".to_owned(),
        username: APP.0.to_owned(),
        password: APP.1.to_owned(),
        blocking: false,
        binlog: BinlogOptions::from_position(file, u32::try_from(position).unwrap()),
        ..ReplicaOptions::default()
    };
    let key =
        |cells: &[Option<MySqlValue>]| Some(Key(key.iter().map(|at| cells[*at].as_ref().map_or(KeyValue::Null, as_key_value)).collect()));
    let mut changes = Vec::new();
    for event in BinlogClient::new(options).replicate().unwrap() {
        match event.unwrap().1 {
            BinlogEvent::WriteRowsEvent(event) => {
                changes.extend(event.rows.iter().map(|row| Change { before: None, after: key(&row.cells) }));
            }
            BinlogEvent::DeleteRowsEvent(event) => {
                changes.extend(event.rows.iter().map(|row| Change { before: key(&row.cells), after: None }));
            }
            BinlogEvent::UpdateRowsEvent(event) => changes
                .extend(event.rows.iter().map(|row| Change { before: key(&row.before_update.cells), after: key(&row.after_update.cells) })),
            _ => {}
        }
    }
    changes
}

async fn two_decoders_see_the_same_keys(kind: Kind) -> Result<()> {
    let mut lab = Lab::start(kind).await?;
    let definition = "id INT NOT NULL, filler TEXT, code VARCHAR(300) CHARACTER SET ascii NOT NULL, total DECIMAL(20,7) NOT NULL, day DATE NOT NULL, \
                      at DATETIME NOT NULL, big BIGINT UNSIGNED NOT NULL, state ENUM('new','paid') NOT NULL, note DOUBLE, c CHAR(9) NOT NULL";
    lab.conn.query_drop(format!("CREATE TABLE k ({definition}, PRIMARY KEY (id, code, total, day, at, big, state, c))")).await?;
    let mut key = Vec::new();
    for name in ["id", "code", "total", "day", "at", "big", "state", "c"] {
        key.push(lab.column(name).await?);
    }
    let start = lab.position().await?;
    for id in -40_i64..40 {
        let insert = format!(
            "INSERT INTO k VALUES ({id}, REPEAT('f', {}), REPEAT('c', {}), {}, DATE_ADD('2000-02-28', INTERVAL {id} DAY), \
             DATE_ADD('1999-12-31 23:59:59', INTERVAL {id} HOUR), {}, {}, {}, 'ch{id}')",
            (id + 40) * 9,
            (id + 40) * 3,
            id * id * id * 1_234_567,
            u64::MAX - id.unsigned_abs(),
            1 + id.rem_euclid(2),
            if id % 3 == 0 { "NULL".to_owned() } else { format!("{id}.5") },
        );
        lab.conn.query_drop(insert).await?;
    }
    lab.conn
        .query_drop(
            "UPDATE k SET note = 1 WHERE id < 0; UPDATE k SET total = -total - 0.0000001, code = CONCAT(code, 'x') WHERE id % 2 = 0",
        )
        .await?;
    lab.conn.query_drop("DELETE FROM k WHERE id % 5 = 0").await?;
    let ours = lab.changes(&start, &key).await?;
    let (port, positions) = (lab.server.port, key.iter().map(|(position, _)| *position).collect::<Vec<_>>());
    let theirs = tokio::task::spawn_blocking(move || changes_by_mysql_cdc(port, start, &positions)).await?;
    ensure!(ours.len() == 80 + 40 + 40 + 16, "{} changes", ours.len());
    assert_eq!(ours, theirs);
    Ok(())
}

macro_rules! on_both_servers {
    ($($name:ident),+) => {$(
        mod $name {
            #[test]
            fn mysql() {
                crate::run(super::$name(crate::support::Kind::MySql));
            }
            #[test]
            fn mariadb() {
                crate::run(super::$name(crate::support::Kind::MariaDb));
            }
        }
    )+};
}

on_both_servers!(keys_of_the_log_are_those_of_a_select, two_decoders_see_the_same_keys);

fn run(scenario: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if let Err(error) = runtime.block_on(scenario) {
        panic!("{error:?}");
    }
}
