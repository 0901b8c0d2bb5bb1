//! An admin session from a client's side: raw packets, and a real driver.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::census::Census;
use crate::config::Config;
use crate::gate::Gates;
use crate::metrics::Metrics;
use crate::migration::Service;

const DEPRECATE_EOF: u64 = 1 << 24;
const SESSION_TRACK: u64 = 1 << 23;
const QUERY_ATTRIBUTES: u64 = 1 << 27;
const EXTENDED_METADATA: u64 = 1 << 35;
const CACHE_METADATA: u64 = 1 << 36;
/// PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH.
const PLAIN: u64 = 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19;

fn context() -> Arc<Context> {
    let census = Arc::new(Census::default());
    let metrics = Metrics::new();
    let mut config = Config::default();
    config.admin.password = "hush".into();
    Arc::new(Context {
        service: Service::default(),
        gates: Arc::new(Gates::new(census.clone(), metrics.clone(), Duration::from_millis(100))),
        census,
        config: Arc::new(arc_swap::ArcSwap::from_pointee(config)),
        metrics,
    })
}

struct Client {
    stream: DuplexStream,
}

impl Client {
    fn new(capabilities: u64) -> Self {
        let (stream, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { serve_in(far, BytesMut::new(), capabilities, 42, None, context()).await.expect("served") });
        Self { stream }
    }

    async fn send(&mut self, payload: &[u8]) {
        self.send_numbered(0, payload).await;
    }

    async fn send_numbered(&mut self, sequence: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], sequence];
        packet.extend(payload);
        self.stream.write_all(&packet).await.expect("sent");
    }

    /// The next packet, which must have this number.
    async fn packet(&mut self, sequence: u8) -> Vec<u8> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await.expect("a packet");
        assert_eq!(header[3], sequence, "numbers follow each other");
        let mut payload = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16];
        self.stream.read_exact(&mut payload).await.expect("a payload");
        payload
    }

    async fn packets(&mut self, count: u8) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for n in 1..=count {
            packets.push(self.packet(n).await);
        }
        packets
    }

    async fn is_closed(&mut self) -> bool {
        self.stream.read(&mut [0; 1]).await.expect("read") == 0
    }
}

#[tokio::test]
async fn a_result_set_looks_as_the_client_negotiated_it() {
    let mut client = Client::new(PLAIN);
    client.send(b"\x03SELECT DATABASE() AS d").await;
    let packets = client.packets(5).await;
    assert_eq!(packets[0], [1]);
    assert_eq!(packets[2], [0xFE, 0, 0, 2, 0], "EOF with AUTOCOMMIT");
    assert_eq!(packets[3], [0xFB], "NULL");
    assert_eq!(packets[4], [0xFE, 0, 0, 2, 0]);

    let mut client = Client::new(PLAIN | DEPRECATE_EOF | SESSION_TRACK);
    client.send(b"\x03SELECT 5 AS d").await;
    let packets = client.packets(4).await;
    assert_eq!(packets[1], b"\x03def\0\0\0\x01d\0\x0c\x3f\0\0\x04\0\0\x08\x20\0\0\0\0", "BIGINT UNSIGNED");
    assert_eq!(packets[2], b"\x015");
    assert_eq!(packets[3][..7], [0xFE, 0, 0, 2, 0, 0, 0]);
}

#[tokio::test]
async fn mariadb_clients_get_the_bytes_they_asked_for() {
    let mut client = Client::new(PLAIN | DEPRECATE_EOF | EXTENDED_METADATA | CACHE_METADATA);
    client.send(b"\x03SELECT 'x' AS d").await;
    let packets = client.packets(4).await;
    assert_eq!(packets[0], [1, 1]);
    assert_eq!(packets[1], b"\x03def\0\0\0\x01d\0\0\x0c\x2d\0\0\x04\0\0\xfd\0\0\0\0\0");
}

#[tokio::test]
async fn commands_without_sql_are_answered() {
    let mut client = Client::new(PLAIN | DEPRECATE_EOF);
    for command in [&b"\x0e"[..], b"\x02shop", b"\x1f"] {
        client.send(command).await;
        assert_eq!(client.packet(1).await, [0, 0, 0, 2, 0, 0, 0], "{command:?}");
    }
    for command in [&b"\x1b\0\0"[..], b"\x04t\0"] {
        client.send(command).await;
        assert_eq!(client.packet(1).await, [0xFE, 0, 0, 2, 0, 0, 0], "{command:?}");
    }
    client.send(b"\x09").await;
    assert!(client.packet(1).await.starts_with(b"Uptime: "));
    client.send(b"\x03SELECT DATABASE()").await;
    assert_eq!(client.packets(4).await[2], b"\x04shop");
    client.send(b"\x12whatever").await;
    assert_eq!(client.packet(1).await[..9], *b"\xff\x17\x04#08S01");
    client.send(b"\x01").await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn prepared_statements_are_answered_in_the_binary_protocol() {
    let mut client = Client::new(PLAIN | DEPRECATE_EOF);
    client.send(b"\x16SELECT 5 AS a, 'x' AS b, DATABASE() AS c").await;
    let packets = client.packets(4).await;
    assert_eq!(packets[0], [0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
    client.send(b"\x17\x01\0\0\0\0\x01\0\0\0").await;
    let packets = client.packets(6).await;
    assert_eq!(packets[4], b"\0\x10\x05\0\0\0\0\0\0\0\x01x");
    client.send(b"\x17\xff\xff\xff\xff\0\x01\0\0\0").await; // the last one, as MariaDB's connectors say it
    assert_eq!(client.packets(6).await[4], b"\0\x10\x05\0\0\0\0\0\0\0\x01x");
    client.send(b"\x19\x01\0\0\0").await; // no answer
    client.send(b"\x17\x01\0\0\0\0\x01\0\0\0").await;
    assert_eq!(client.packet(1).await[..3], *b"\xff\xdb\x04");
    client.send(b"\x16SHOW MIGRATION ?").await;
    assert_eq!(client.packet(1).await[..3], *b"\xff\x0f\x05");
    client.send(b"\x17\x01").await;
    assert_eq!(client.packet(1).await[..3], *b"\xff\xdb\x04");
}

#[tokio::test]
async fn pipelined_statements_are_answered_in_order() {
    let mut client = Client::new(PLAIN | DEPRECATE_EOF);
    for n in 0..20 {
        client.send(format!("\x03SELECT {n} AS number").as_bytes()).await;
    }
    for n in 0..20 {
        let row = client.packets(4).await.swap_remove(2);
        assert_eq!(row[1..], *n.to_string().as_bytes());
    }
}

#[tokio::test]
async fn large_answers_and_statements_go_through() {
    let mut client = Client::new(PLAIN | DEPRECATE_EOF);
    let text = "y".repeat(300_000);
    client.send(format!("\x03SELECT '{text}' AS long").as_bytes()).await;
    let packets = client.packets(4).await;
    assert_eq!(packets[2].len(), 300_000 + 4);
    client.send(b"\x0e").await;
    assert_eq!(client.packet(1).await[0], 0);
}

#[tokio::test]
async fn broken_bytes_end_the_session_with_an_error() {
    let mut client = Client::new(PLAIN);
    client.send_numbered(3, b"\x0e").await;
    assert_eq!(client.packet(4).await[..3], *b"\xff\x84\x04");
    assert!(client.is_closed().await);

    let mut client = Client::new(PLAIN);
    client.stream.write_all(b"\xff\xff\xff\0").await.expect("sent");
    assert_eq!(client.packet(1).await[..3], *b"\xff\x81\x04");
    assert!(client.is_closed().await);

    let mut client = Client::new(PLAIN);
    client.send(b"").await;
    assert_eq!(client.packet(1).await[..3], *b"\xff\x2b\x07");
    assert!(client.is_closed().await);

    let mut client = Client::new(PLAIN | QUERY_ATTRIBUTES);
    client.send(b"\x03\x09").await;
    assert_eq!(client.packet(1).await[..3], *b"\xff\x2b\x07");
    client.send(b"\x03\x00\x01SELECT 1").await;
    assert_eq!(client.packet(1).await, [1]);
}

#[tokio::test]
async fn bytes_read_before_are_served_first() {
    let (mut client, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve_in(far, BytesMut::from(&b"\x09\0\0\0\x03SEL"[..]), PLAIN | DEPRECATE_EOF, 42, Some("shop".into()), context()));
    client.write_all(b"ECT 7").await.expect("sent");
    let mut count = [0; 5];
    client.read_exact(&mut count).await.expect("answered");
    assert_eq!(count, [1, 0, 0, 1, 1]);
}

#[tokio::test]
async fn numbers_of_packets_go_round_after_255() {
    let mut client = Client::new(PLAIN | DEPRECATE_EOF);
    let items: Vec<String> = (0..300).map(|n| format!("{n} AS c{n}")).collect();
    client.send(format!("\x03SELECT {}", items.join(", ")).as_bytes()).await;
    for n in 1..=303_u32 {
        client.packet(u8::try_from(n % 256).expect("short")).await;
    }
    client.send(b"\x0e").await;
    client.packet(1).await;
}

#[tokio::test]
async fn a_statement_that_is_not_utf8_is_refused_and_the_session_goes_on() {
    let mut client = Client::new(PLAIN);
    client.send(b"\x03MIGRATE db.t ADD \xe4 INT").await;
    assert_eq!(client.packet(1).await[..3], *b"\xff\x14\x05");
    client.send(b"\x0e").await;
    assert_eq!(client.packet(1).await[0], 0);
}

#[tokio::test]
async fn no_password_is_in_show_config() {
    let mut session = Session { context: context(), connection_id: 1, schema: None };
    let answer = session.execute("SHOW CONFIG").await.expect("rows");
    let shown = format!("{answer:?}");
    assert!(shown.contains("max_hold_ms") && shown.contains("(hidden)") && !shown.contains("hush"), "{shown}");
}

#[tokio::test]
async fn a_table_without_a_schema_takes_the_session_s() {
    let mut session = Session { context: context(), connection_id: 1, schema: None };
    let failure = session.execute("MIGRATE t FORCE").await.expect_err("no schema");
    assert_eq!(failure.code, 1046);
    assert!(failure.message.contains("USE schema"), "{}", failure.message);
    session.execute("USE shop").await.expect("used");
    assert_ne!(session.execute("MIGRATE t FORCE").await.map_err(|failure| failure.code), Err(1046));
    assert_eq!(session.execute("CANCEL MIGRATION 7").await.expect_err("unknown").code, 1305);
    assert_eq!(session.execute("SELECT @@no_such").await.expect_err("unknown").code, 1193);
}

/// Greets, takes any login, and hands over.
async fn accept(listener: tokio::net::TcpListener) {
    let (mut stream, _) = listener.accept().await.expect("accepted");
    let offered = (PLAIN | DEPRECATE_EOF | SESSION_TRACK | 1 << 3).to_le_bytes();
    let mut greeting = vec![10];
    greeting.extend(b"8.0.36\0\x2a\0\0\0abcdefgh\0");
    greeting.extend([offered[0], offered[1], 45, 2, 0, offered[2], offered[3], 21]);
    greeting.extend([0; 10]);
    greeting.extend(b"abcdefghijkl\0mysql_native_password\0");
    let mut packet = vec![u8::try_from(greeting.len()).expect("short"), 0, 0, 0];
    packet.extend(greeting);
    stream.write_all(&packet).await.expect("greeted");
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.expect("login");
    let mut login = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8];
    stream.read_exact(&mut login).await.expect("login");
    let capabilities = u32::from_le_bytes([login[0], login[1], login[2], login[3]]);
    stream.write_all(&[7, 0, 0, header[3] + 1, 0, 0, 0, 2, 0, 0, 0]).await.expect("let in");
    serve(stream, BytesMut::new(), capabilities.into(), 42, context()).await.expect("served");
}

#[tokio::test]
async fn a_real_driver_reads_text_and_binary_answers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let server = tokio::spawn(accept(listener));
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(address.port())
        .user(Some("tidegate_admin"))
        .pass(Some("x"))
        .prefer_socket(false);
    let mut driver = mysql_async::Conn::new(options).await.expect("connected");
    let help: Vec<(String, String)> = driver.query("HELP").await.expect("text");
    assert!(help.iter().any(|(command, _)| command.starts_with("MIGRATE")));
    let prepared: Vec<(String, String)> = driver.exec("HELP", ()).await.expect("binary");
    assert_eq!(prepared, help);
    let status: Vec<(String, String)> = driver.exec("SHOW STATUS LIKE 'sess%'", ()).await.expect("binary");
    assert_eq!(status, [("sessions".to_owned(), "0".to_owned())]);
    let version: (String, String, u64) = driver.query_first("SHOW VERSION").await.expect("text").expect("a row");
    assert!(version.0.starts_with("Tidegate "));
    let version: (String, String, u64) = driver.exec_first("SHOW VERSION", ()).await.expect("binary").expect("a row");
    assert!(version.0.starts_with("Tidegate "));
    driver.query_drop("USE shop").await.expect("used");
    let (schema, id): (String, u64) = driver.query_first("SELECT DATABASE(), CONNECTION_ID()").await.expect("text").expect("a row");
    assert_eq!((schema.as_str(), id), ("shop", 42));
    let error = driver.query_drop("SHOW MIGRATONS").await.expect_err("refused").to_string();
    assert!(error.contains("did you mean SHOW MIGRATIONS"), "{error}");
    let rows: Vec<mysql_async::Row> = driver.query("SHOW MIGRATIONS").await.expect("text");
    assert!(rows.is_empty());
    driver.ping().await.expect("alive");
    driver.disconnect().await.expect("ended");
    server.await.expect("ended");
}
