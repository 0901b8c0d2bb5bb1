//! Whole sessions against a small server that knows transactions and nothing else.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

use proptest::prelude::*;
use tokio::net::{TcpListener, TcpStream};

use super::channel::Channel;
use super::*;
use crate::config::Fence;
use crate::gate::Installed;
use crate::ids::{MigrationId, TableName};
use crate::wire::capabilities::{CLIENT_MYSQL, PLUGIN_AUTH, PROTOCOL_41, SECURE_CONNECTION, TRANSACTIONS};
use crate::wire::greeting::Greeting;
use crate::wire::login::Response;
use crate::wire::scramble::{CACHING_SHA2, proof};
use crate::wire::{command, packet};

const CAPABILITIES: u64 = CLIENT_MYSQL | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";

mod dialogues;
mod recorded;

type Heard = Arc<Mutex<Vec<String>>>;

/// One connection of the small server: every login is right, "fail" is an error, the rest is OK with true flags.
async fn answer_one(stream: TcpStream, connection: u32, heard: Heard) {
    let mut channel = Channel::new(stream);
    let mut out = Vec::new();
    packet::push(&mut out, 0, &Greeting::own(connection, SALT, 0));
    channel.send(&out).await.unwrap();
    let Ok(login) = channel.packet().await else {
        heard.lock().unwrap().push("broken handshake".into());
        return;
    };
    heard.lock().unwrap().push(format!("login {}", String::from_utf8_lossy(&Response::read(login.payload()).unwrap().user)));
    out.clear();
    answer::push_ok(&mut out, 2, 2);
    channel.send(&out).await.unwrap();
    let mut is_open = false;
    while let Ok(packet) = channel.packet().await {
        let payload = packet.payload();
        let text = String::from_utf8_lossy(payload.get(1..).unwrap_or_default()).into_owned();
        let name = if payload.first() == Some(&command::QUERY) { text.clone() } else { format!("{:02x}{text}", payload[0]) };
        heard.lock().unwrap().push(name);
        out.clear();
        match text.as_str() {
            "BEGIN" => is_open = true,
            "COMMIT" | "ROLLBACK" => is_open = false,
            _ => {}
        }
        if payload.first() == Some(&command::QUIT) {
            return;
        }
        if text.starts_with("fail") {
            answer::push_error(&mut out, 1, 1062, Some("23000"), "no");
        } else if payload.first() == Some(&command::STMT_PREPARE) {
            packet::push(&mut out, 1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        } else {
            answer::push_ok(&mut out, 1, 2 | u16::from(is_open));
        }
        channel.send(&out).await.unwrap();
    }
}

struct House {
    context: Arc<Context>,
    heard: Heard,
    address: std::net::SocketAddr,
}

impl House {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let heard = Heard::default();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = Config::default();
        config.upstream.address = upstream.local_addr().unwrap().to_string();
        config.admin.password = "secret".into();
        change(&mut config);
        let config = Arc::new(config);
        let heard_there = heard.clone();
        tokio::spawn(async move {
            for connection in 100.. {
                let (stream, _) = upstream.accept().await.unwrap();
                tokio::spawn(answer_one(stream, connection, heard_there.clone()));
            }
        });
        let metrics = Metrics::new();
        let census = Arc::new(Census::default());
        let gates = Arc::new(Gates::new(census.clone(), metrics.clone(), Duration::from_secs(1)));
        let live = Arc::new(ArcSwap::new(config.clone()));
        let admin = Arc::new(admin::Context {
            service: crate::migration::Service::default(),
            gates: gates.clone(),
            census: census.clone(),
            config: live.clone(),
            metrics: metrics.clone(),
        });
        let security = ArcSwap::from_pointee(Security::load(&config, None).unwrap());
        let context = Arc::new(Context {
            security,
            config: live,
            gates,
            census,
            metrics,
            shutdown: CancellationToken::new(),
            admin,
            toolbox: Arc::default(),
        });
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap();
        let inside = context.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = door.accept().await {
                tokio::spawn(serve(stream, inside.clone()));
            }
        });
        Self { context, heard, address }
    }

    async fn dial(&self) -> Channel {
        Channel::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client that has logged in.
    async fn client(&self) -> Client {
        let mut channel = self.dial().await;
        let greeting = channel.packet().await.unwrap();
        assert!(Greeting::read(greeting.payload()).unwrap().connection_id >= 100, "the server's own id");
        login(&mut channel, "app", b"anything").await;
        assert_eq!(channel.packet().await.unwrap().payload()[0], 0);
        Client(channel)
    }

    fn gate(&self) -> Installed {
        self.context.gates.install(MigrationId(7), TableName::new("shop", "orders"), vec!["orders".into()], Fence::default())
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().filter(|it| !it.starts_with("login")).cloned().collect()
    }
}

async fn login(channel: &mut Channel, user: &str, proof: &[u8]) {
    let mut out = Vec::new();
    packet::push(&mut out, 1, &Response::own(CAPABILITIES, user, proof, CACHING_SHA2));
    channel.send(&out).await.unwrap();
}

struct Client(Channel);

impl Client {
    async fn send(&mut self, text: &str) {
        let mut out = Vec::new();
        packet::push(&mut out, 0, &[&[command::QUERY], text.as_bytes()].concat());
        self.0.send(&out).await.unwrap();
    }

    /// The code of the error, 0 for OK.
    async fn answer(&mut self) -> u16 {
        let packet = tokio::time::timeout(Duration::from_secs(10), self.0.packet()).await.expect("in time").expect("an answer");
        assert_eq!(packet.sequence, 1);
        if packet.payload()[0] == 0xff { answer::error_code(packet.payload()).unwrap() } else { 0 }
    }

    async fn query(&mut self, text: &str) -> u16 {
        self.send(text).await;
        self.answer().await
    }

    async fn command(&mut self, code: u8, payload: &[u8]) -> u16 {
        let mut out = Vec::new();
        packet::push(&mut out, 0, &[&[code], payload].concat());
        self.0.send(&out).await.unwrap();
        self.answer().await
    }

    async fn is_closed(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(10), self.0.packet()).await.expect("in time").is_err()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Waits for what another task does.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..2000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not become true");
}

#[tokio::test]
async fn held_statements_run_once_after_release_and_others_are_not_held() {
    let house = House::new().await;
    let installed = house.gate();
    let (mut one, mut two) = (house.client().await, house.client().await);
    let held = installed.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    one.send("UPDATE orders SET v = 1").await;
    until(|| installed.gate.snapshot().waiting == 1).await;
    assert_eq!(two.query("SELECT 1 FROM customers").await, 0);
    assert_eq!(house.heard(), ["SELECT 1 FROM customers"]);
    let report = held.release().await;
    assert_eq!(one.answer().await, 0);
    assert_eq!(report.samples.len(), 1);
    assert_eq!(house.heard(), ["SELECT 1 FROM customers", "UPDATE orders SET v = 1"]);
}

#[tokio::test]
async fn a_gate_that_goes_with_its_hold_lets_the_statement_through_once() {
    let house = House::new().await;
    let installed = house.gate();
    let mut client = house.client().await;
    let held = installed.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    client.send("DELETE FROM orders").await;
    until(|| installed.gate.snapshot().waiting == 1).await;
    drop((held, installed));
    assert_eq!(client.answer().await, 0);
    assert_eq!(house.heard(), ["DELETE FROM orders"]);
    assert!(house.context.metrics.text().unwrap().contains("outcome=\"forwarded\""), "it is not counted as given up");
}

#[tokio::test]
async fn a_held_statement_whose_client_has_gone_is_never_forwarded() {
    let house = House::new().await;
    let installed = house.gate();
    let mut client = house.client().await;
    let held = installed.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    client.send("DELETE FROM orders").await;
    until(|| installed.gate.snapshot().waiting == 1).await;
    drop(client);
    until(|| house.context.census.count() == 0).await;
    assert_eq!(held.release().await.samples.len(), 0);
    assert_eq!(house.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_that_goes_behind_a_full_buffer_is_noticed_too() {
    let house = House::new().await;
    let installed = house.gate();
    let mut client = house.client().await;
    let held = installed.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    client.send("DELETE FROM orders").await;
    until(|| installed.gate.snapshot().waiting == 1).await;
    client.send(&"x".repeat(80_000)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(installed.gate.snapshot().waiting, 1);
    drop(client);
    until(|| installed.gate.snapshot().waiting == 0).await;
    assert_eq!(held.release().await.samples.len(), 0);
    until(|| house.context.census.count() == 0).await;
    assert_eq!(house.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn prepared_statements_of_an_old_snapshot_are_fenced_as_texts_are() {
    let house = House::new().await;
    let mut old = house.client().await;
    assert_eq!(old.command(command::STMT_PREPARE, b"SELECT 1 FROM orders WHERE id = ?").await, 0);
    let installed = house.gate();
    assert_eq!(old.query("BEGIN").await, 0);
    assert_eq!(old.query("SELECT 1 FROM customers").await, 0);
    installed.gate.set_swapped_at_us(house.context.census.now_us() + 1);
    for id in [1, command::LAST_PREPARED] {
        let execute = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
        assert_eq!(old.command(command::STMT_EXECUTE, &execute).await, 1412);
        assert_eq!(old.command(command::STMT_BULK_EXECUTE, &execute).await, 1412);
    }
    assert_eq!(old.command(command::STMT_PREPARE, b"SELECT 2 FROM orders").await, 1412, "its definition is that of after the swap");
    let other = [&7u32.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    assert_eq!(old.command(command::STMT_EXECUTE, &other).await, 1412, "an unknown statement may touch everything");
    assert_eq!(old.query("ROLLBACK").await, 0);
    let execute = [&1u32.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    assert_eq!(old.command(command::STMT_EXECUTE, &execute).await, 0);
    assert!(house.heard().iter().all(|heard| !heard.starts_with("fa")));
}

#[tokio::test]
async fn a_kill_from_another_session_reaches_a_held_statement() {
    let house = House::new().await;
    let installed = house.gate();
    let (mut one, mut two) = (house.client().await, house.client().await);
    let target = house.context.census.list()[0].connection_id.load(Ordering::Relaxed);
    let held = installed.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    one.send("DELETE FROM orders").await;
    until(|| installed.gate.snapshot().waiting == 1).await;
    assert_eq!(two.query(&format!("KILL QUERY {target}")).await, 0);
    assert_eq!(one.answer().await, 1317);
    drop(held);
    assert_eq!(one.query("SELECT 2").await, 0);
    assert!(!house.heard().contains(&"DELETE FROM orders".to_owned()));
}

#[tokio::test]
async fn an_old_snapshot_is_fenced_and_read_committed_is_not() {
    let house = House::new().await;
    let installed = house.gate();
    let (mut old, mut fresh, mut committed) = (house.client().await, house.client().await, house.client().await);
    for client in [&mut old, &mut fresh] {
        assert_eq!(client.query("BEGIN").await, 0);
    }
    assert_eq!(committed.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await, 0);
    assert_eq!(committed.query("BEGIN").await, 0);
    for client in [&mut old, &mut committed] {
        assert_eq!(client.query("SELECT 1 FROM customers").await, 0);
    }
    installed.gate.set_swapped_at_us(house.context.census.now_us() + 1);
    assert_eq!(old.query("SELECT 1 FROM orders").await, 1412);
    assert_eq!(fresh.query("SELECT 1 FROM orders").await, 0, "it had no snapshot yet");
    assert_eq!(committed.query("SELECT 1 FROM orders").await, 0);
    assert_eq!(old.query("ROLLBACK").await, 0);
    assert_eq!(old.query("SELECT 1 FROM orders").await, 0);
    assert_eq!(house.context.metrics.fenced.get(), 1);
}

#[tokio::test]
async fn an_error_in_a_transaction_is_followed_by_a_ping_that_the_client_does_not_see() {
    let house = House::new().await;
    let installed = house.gate();
    let mut client = house.client().await;
    assert_eq!(client.query("BEGIN").await, 0);
    assert_eq!(client.query("fail orders").await, 1062);
    until(|| house.heard().contains(&"0e".to_owned())).await;
    assert_eq!(client.query("COMMIT").await, 0);
    assert_eq!(client.query("SELECT 3").await, 0);
    assert_eq!(house.heard(), ["BEGIN", "fail orders", "0e", "COMMIT", "SELECT 3"]);
    assert_eq!(installed.gate.occupancy().inside, 0);
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order_and_held_between() {
    let house = House::new().await;
    let installed = house.gate();
    let mut client = house.client().await;
    let held = installed.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    for text in ["fail 1", "SELECT 2 FROM orders", "fail 3"] {
        client.send(text).await;
    }
    assert_eq!(client.answer().await, 1062);
    until(|| installed.gate.snapshot().waiting == 1).await;
    assert_eq!(house.heard(), ["fail 1"]);
    held.release().await;
    assert_eq!(client.answer().await, 0);
    assert_eq!(client.answer().await, 1062);
}

#[tokio::test]
async fn a_transaction_that_waited_at_one_gate_asks_the_others_again() {
    let house = House::new().await;
    let one = house.gate();
    let table = TableName::new("shop", "customers");
    let two = house.context.gates.install(MigrationId(2), table, vec!["customers".into()], Fence::Fence);
    let mut client = house.client().await;
    let second = two.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    client.send("BEGIN").await;
    until(|| two.gate.snapshot().waiting == 1).await;
    // The first gate has let it through; but it has not begun.
    let first = one.gate.hold(soon()).unwrap().drained(Duration::from_secs(5)).await.unwrap();
    second.release().await;
    until(|| one.gate.snapshot().waiting == 1).await;
    assert_eq!(house.heard(), Vec::<String>::new());
    first.release().await;
    assert_eq!(client.answer().await, 0);
    assert_eq!(client.query("ROLLBACK").await, 0);
}

#[tokio::test]
async fn ddl_on_a_migrating_table_is_refused_in_its_default_schema() {
    let house = House::new().await;
    let _installed = house.gate();
    let mut client = house.client().await;
    assert_eq!(client.query("ALTER TABLE shop.orders ADD x INT").await, 1846);
    assert_eq!(client.query("ALTER TABLE orders ADD x INT").await, 0, "another schema's");
    assert_eq!(client.query("USE shop").await, 0);
    assert_eq!(client.query("ALTER TABLE orders ADD x INT").await, 1846);
}

#[tokio::test]
async fn effects_of_later_statements_of_a_text_are_seen() {
    let house = House::new().await;
    let installed = house.gate();
    let mut client = house.client().await;
    assert_eq!(client.query("SELECT 1; USE shop; ALTER TABLE orders ADD x INT").await, 1846);
    assert_eq!(client.query("ALTER TABLE orders ADD x INT").await, 0, "that USE was not executed");
    assert_eq!(client.query("SELECT 1; USE shop").await, 0);
    assert_eq!(client.query("ALTER TABLE orders ADD x INT").await, 1846);
    assert_eq!(client.query("USE other").await, 0);
    assert_eq!(client.query("fail; USE anything").await, 1062);
    assert_eq!(client.query("ALTER TABLE orders ADD x INT").await, 1846, "which schema it is cannot be told");
    assert_eq!(client.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await, 0);
    assert_eq!(client.query("SELECT 1; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await, 0);
    assert_eq!(client.query("BEGIN").await, 0);
    assert_eq!(client.query("SELECT 1 FROM customers").await, 0);
    installed.gate.set_swapped_at_us(house.context.census.now_us() + 1);
    assert_eq!(client.query("SELECT 1 FROM orders").await, 1412);
}

#[tokio::test]
async fn locks_on_tables_keep_their_session_inside_until_given_back() {
    let house = House::new().await;
    let (mut before, mut after, mut named) = (house.client().await, house.client().await, house.client().await);
    assert_eq!(before.query("LOCK TABLES orders READ").await, 0);
    let installed = house.gate();
    let inside = || installed.gate.occupancy().inside;
    assert_eq!(inside(), 1, "its lock is older than the gate");
    assert_eq!(after.query("SELECT 1; LOCK TABLES orders READ").await, 0);
    assert_eq!(named.query("SELECT GET_LOCK('a', 1) FROM orders").await, 0);
    assert_eq!(inside(), 2, "a named lock is on no table");
    assert_eq!(before.query("fail; UNLOCK TABLES").await, 1062);
    assert_eq!(inside(), 2);
    assert_eq!(before.query("UNLOCK TABLES").await, 0);
    until(|| inside() == 1).await;
    assert_eq!(after.query("DO RELEASE_ALL_LOCKS()").await, 0);
    assert_eq!(inside(), 1);
    let held = installed.gate.hold(soon()).unwrap();
    assert_eq!(after.query("SELECT 1 FROM orders").await, 0, "who holds locks is not held");
    assert!(held.drained(Duration::from_millis(20)).await.is_err());
    assert_eq!(after.query("UNLOCK TABLES").await, 0);
    until(|| inside() == 0).await;
    assert_eq!(after.query("fail: LOCK TABLES orders READ").await, 1062);
    assert_eq!(after.query("HANDLER orders OPEN").await, 0);
    assert_eq!(inside(), 1);
    assert_eq!(after.query("HANDLER orders CLOSE").await, 0);
    until(|| inside() == 0).await;
    assert_eq!(after.query("LOCK TABLES orders READ").await, 0);
    drop(after);
    until(|| inside() == 0).await;
}

#[tokio::test]
async fn a_prepared_statement_changes_its_session_when_it_is_executed() {
    let house = House::new().await;
    let mut client = house.client().await;
    assert_eq!(client.command(command::STMT_PREPARE, b"SELECT GET_LOCK(?, 1)").await, 0);
    let holds_locks = || house.context.census.list()[0].holds_locks.load(Ordering::Relaxed);
    assert!(!holds_locks());
    assert_eq!(client.command(command::STMT_EXECUTE, &[1, 0, 0, 0, 0, 1, 0, 0, 0]).await, 0);
    assert!(holds_locks());
    assert_eq!(client.query("DO RELEASE_ALL_LOCKS()").await, 0);
    assert!(!holds_locks());
}

#[tokio::test]
async fn logins_that_end_here_are_finished_on_the_server() {
    let house = House::new().await;
    drop(house.dial().await.packet().await);
    let mut wrong = house.dial().await;
    wrong.packet().await.unwrap();
    login(&mut wrong, "tidegate_admin", &[0; 32]).await;
    assert_eq!(answer::error_code(wrong.packet().await.unwrap().payload()), Some(1045));
    let mut junk = house.dial().await;
    junk.packet().await.unwrap();
    junk.send(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(answer::error_code(junk.packet().await.unwrap().payload()), Some(1153));
    until(|| house.heard.lock().unwrap().iter().filter(|it| *it == "01").count() == 3).await;
    assert!(!house.heard().contains(&"broken handshake".to_owned()));
}

#[tokio::test]
async fn the_admin_gets_in_while_the_server_is_away_and_others_are_told() {
    let house = House::with(|config| config.upstream.address = "127.0.0.1:1".into()).await;
    let mut other = house.dial().await;
    other.packet().await.unwrap();
    login(&mut other, "app", b"x").await;
    assert_eq!(answer::error_code(other.packet().await.unwrap().payload()), Some(1053));
    let mut admin = house.dial().await;
    let greeting = Greeting::read(admin.packet().await.unwrap().payload()).unwrap();
    login(&mut admin, "tidegate_admin", &proof(CACHING_SHA2, &greeting.salt, b"secret").unwrap()).await;
    assert_eq!(admin.packet().await.unwrap().payload(), [1, 3]);
    assert_eq!(admin.packet().await.unwrap().payload()[0], 0);
}

#[tokio::test]
async fn a_shutdown_ends_idle_sessions_and_waits_for_transactions() {
    let house = House::new().await;
    let (mut idle, mut busy) = (house.client().await, house.client().await);
    assert_eq!(busy.query("BEGIN").await, 0);
    house.context.shutdown.cancel();
    assert!(idle.is_closed().await);
    assert_eq!(busy.query("SELECT 1").await, 0);
    assert_eq!(busy.query("COMMIT").await, 0);
    assert!(busy.is_closed().await);
}

#[tokio::test]
async fn too_many_clients_are_refused_as_the_server_would() {
    let house = House::with(|config| config.listen.max_connections = 1).await;
    let _first = house.client().await;
    let mut second = house.dial().await;
    second.packet().await.unwrap();
    login(&mut second, "app", b"x").await;
    let refusal = second.packet().await.unwrap();
    assert_eq!((refusal.sequence, answer::error_code(refusal.payload())), (2, Some(1040)));
    until(|| house.context.census.count() == 1).await;
    let mut waiting = Vec::new();
    for _ in 0..ADMINS {
        let mut channel = house.dial().await;
        assert_eq!(channel.packet().await.unwrap().payload()[0], 10, "it may be the admin");
        waiting.push(channel);
    }
    let refusal = house.dial().await.packet().await.unwrap();
    assert_eq!((refusal.sequence, answer::error_code(refusal.payload())), (0, Some(1040)));
}

#[tokio::test]
async fn the_admin_gets_in_where_nobody_else_does() {
    let house = House::with(|config| config.listen.max_connections = 1).await;
    let _first = house.client().await;
    let mut admin = house.dial().await;
    let greeting = Greeting::read(admin.packet().await.unwrap().payload()).unwrap();
    login(&mut admin, "tidegate_admin", &proof(CACHING_SHA2, &greeting.salt, b"secret").unwrap()).await;
    assert_eq!(admin.packet().await.unwrap().payload(), [1, 3]);
    assert_eq!(admin.packet().await.unwrap().payload()[0], 0);
}

#[tokio::test]
async fn when_the_server_closes_the_client_is_closed_too() {
    let house = House::new().await;
    let mut client = house.client().await;
    // The small server closes on COM_QUIT; the client does not.
    client.0.send(&[1, 0, 0, 0, command::QUIT]).await.unwrap();
    assert!(client.is_closed().await);
    until(|| house.context.census.count() == 0).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn hostile_bytes_end_one_session_and_harm_nobody(
        before in prop::collection::vec(any::<u8>(), 0..200),
        after in prop::collection::vec(any::<u8>(), 1..400),
        is_watched: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new().await;
            let _installed = is_watched.then(|| house.gate());
            let mut bystander = house.client().await;
            let mut stranger = house.dial().await;
            stranger.packet().await.unwrap();
            stranger.send(&before).await.unwrap();
            let mut hostile = house.client().await;
            let _ = hostile.0.send(&after).await;
            drop((stranger, hostile));
            assert_eq!(bystander.query("SELECT 1").await, 0);
            until(|| house.context.census.count() == 1).await;
        });
    }
}
