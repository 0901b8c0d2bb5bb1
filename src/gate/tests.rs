//! The gate on paused time: who waits, who goes through, who is let in again and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::census::{Census, Entered};

struct House {
    census: Arc<Census>,
    gates: Arc<Gates>,
    _installed: Installed,
    gate: Arc<Gate>,
}

fn house() -> House {
    house_with(Fence::default())
}

fn house_with(fence: Fence) -> House {
    let census = Arc::new(Census::default());
    let gates = Arc::new(Gates::new(census.clone(), Metrics::new(), Duration::from_millis(100)));
    let installed = gates.install(MigrationId(1), TableName::new("shop", "orders"), vec!["orders".into()], fence);
    installed.gate.lock().knows_from = Instant::now();
    House { census, gates, gate: installed.gate.clone(), _installed: installed }
}

fn ask(session: &Entered, in_transaction: bool, touches: bool) -> Ask<'_> {
    Ask { record: &session.record, in_transaction, kind: Kind::write, touches, starts: !touches && !in_transaction }
}

fn admit(house: &House, session: &Entered, in_transaction: bool) -> Admission {
    house.gate.admit(&ask(session, in_transaction, true), || "INSERT".into())
}

fn entered(admission: Admission) -> Option<Pass> {
    match admission {
        Admission::Entered(pass) => pass,
        Admission::Wait(_) => panic!("was made to wait"),
    }
}

fn waits(admission: Admission) -> Ticket {
    match admission {
        Admission::Wait(ticket) => ticket,
        Admission::Entered(_) => panic!("was let in"),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[tokio::test]
async fn a_transaction_inside_goes_on_while_draining() {
    let house = house();
    let (old, new) = (house.census.enter("a".into()), house.census.enter("b".into()));
    let pass = entered(admit(&house, &old, false));
    old.record.transaction_open();
    let draining = house.gate.hold(soon()).expect("free");
    let second = entered(admit(&house, &old, true)); // F14
    let _ticket = waits(admit(&house, &new, false));
    drop((pass, second));
    old.record.transaction_closed();
    draining.drained(Duration::from_secs(1)).await.expect("drained");
}

#[tokio::test]
async fn a_held_gate_holds_everybody_who_touches_the_table() {
    let house = house();
    let session = house.census.enter("a".into());
    let held = house.gate.hold(soon()).expect("free").drained(Duration::from_secs(1)).await.expect("drained");
    let ticket = waits(admit(&house, &session, true));
    assert_eq!(house.gate.snapshot().waiting, 1);
    let waiting = tokio::spawn(ticket);
    tokio::task::yield_now().await;
    let report = held.release().await;
    assert!(waiting.await.expect("joined").is_some());
    assert_eq!(report.samples.len(), 1);
}

#[tokio::test]
async fn released_statements_hold_passes_before_a_next_hold_begins() {
    let house = house();
    let session = house.census.enter("a".into());
    let held = house.gate.hold(soon()).expect("free").drained(Duration::from_secs(1)).await.expect("drained");
    let ticket = waits(admit(&house, &session, false));
    drop(held);
    let next = house.gate.hold(soon()).expect("free");
    assert!(next.drained(Duration::from_millis(20)).await.is_err(), "the released statement is inside");
    assert!(ticket.await.is_some());
}

#[tokio::test]
async fn several_gates_close_at_one_instant_and_let_whoever_is_inside_one_into_the_other() {
    let house = house();
    let other = house.gates.install(MigrationId(2), TableName::new("shop", "parts"), vec!["parts".into()], Fence::default());
    other.gate.lock().knows_from = Instant::now();
    let (inside, new) = (house.census.enter("a".into()), house.census.enter("b".into()));
    let pass = entered(admit(&house, &inside, false));
    inside.record.transaction_open();
    let wished = [&house.gate, &other.gate].map(|gate| gate.hold(soon()).expect("free"));
    let draining = tokio::spawn(all_drained(wished.into(), Duration::from_secs(1)));
    // It looks, and looks again.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!([&house.gate, &other.gate].map(|gate| gate.snapshot().state), [State::Draining; 2]);
    let second = entered(other.gate.admit(&ask(&inside, true, true), || "UPDATE".into()));
    let ticket = waits(other.gate.admit(&ask(&new, false, true), || "INSERT".into()));
    inside.record.transaction_closed();
    drop((pass, second));
    let held = draining.await.expect("joined").expect("drained");
    assert_eq!([&house.gate, &other.gate].map(|gate| gate.snapshot().state), [State::Held; 2]);
    drop(held);
    assert!(ticket.await.is_some());
}

#[tokio::test]
async fn several_gates_that_do_not_drain_are_all_open_again() {
    let house = house();
    let other = house.gates.install(MigrationId(2), TableName::new("shop", "parts"), vec!["parts".into()], Fence::default());
    other.gate.lock().knows_from = Instant::now();
    let inside = house.census.enter("a".into());
    let _pass = entered(admit(&house, &inside, false));
    let wished = [&other.gate, &house.gate].map(|gate| gate.hold(soon()).expect("free"));
    let not_drained = all_drained(wished.into(), Duration::from_millis(20)).await.expect_err("somebody is inside");
    assert_eq!(not_drained.blockers.len(), 1);
    assert_eq!([&house.gate, &other.gate].map(|gate| gate.snapshot().state), [State::Open; 2]);
}

#[tokio::test]
async fn dropping_anything_frees_everything() {
    let house = house();
    let session = house.census.enter("a".into());
    drop(house.gate.hold(soon()));
    drop(entered(admit(&house, &session, false)));
    let held = house.gate.hold(soon()).expect("free").drained(Duration::from_secs(1)).await.expect("drained");
    drop(waits(admit(&house, &session, false)));
    assert_eq!(house.gate.snapshot().waiting, 0);
    drop(held);
    assert_eq!(house.gate.snapshot().state, State::Open);
    assert_eq!(house.gate.snapshot().inside, 0);
}

#[tokio::test]
async fn released_in_order_of_arrival_and_a_gone_client_passes_its_turn_on() {
    let house = house();
    let sessions: Vec<_> = (0..20).map(|n| house.census.enter(format!("client {n}"))).collect();
    let held = house.gate.hold(soon()).expect("free").drained(Duration::from_secs(1)).await.expect("drained");
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (n, session) in sessions.iter().enumerate() {
        let ticket = waits(admit(&house, session, false));
        let order = order.clone();
        let task = tokio::spawn(async move {
            let pass = ticket.await;
            order.lock().expect("lock").push(n);
            pass
        });
        tokio::task::yield_now().await;
        tasks.push(task);
    }
    tasks[3].abort();
    tasks[4].abort();
    tokio::task::yield_now().await;
    drop(held);
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.is_ok(), n != 3 && n != 4);
    }
    let expected: Vec<_> = (0..20).filter(|n| *n != 3 && *n != 4).collect();
    assert_eq!(*order.lock().expect("lock"), expected);
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(std::sync::atomic::AtomicUsize);

impl futures_util::task::ArcWake for Bell {
    fn wake_by_ref(bell: &Arc<Self>) {
        bell.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_crowd_is_released_with_a_slope_and_in_order() {
    use std::sync::atomic::Ordering::Relaxed;
    let house = house();
    let sessions: Vec<_> = (0..200).map(|n| house.census.enter(format!("client {n}"))).collect();
    let held = house.gate.hold(soon()).expect("free").drained(Duration::from_secs(1)).await.expect("drained");
    let mut crowd: Vec<(Ticket, Arc<Bell>)> =
        sessions.iter().map(|session| (waits(admit(&house, session, false)), Arc::new(Bell::default()))).collect();
    let poll = |(ticket, bell): &mut (Ticket, Arc<Bell>)| {
        let waker = futures_util::task::waker(bell.clone());
        std::future::Future::poll(std::pin::Pin::new(ticket), &mut std::task::Context::from_waker(&waker)).is_ready()
    };
    for one in &mut crowd {
        assert!(!poll(one));
    }
    drop(held);
    let woken = |crowd: &[(Ticket, Arc<Bell>)]| crowd.iter().take_while(|(_, bell)| bell.0.load(Relaxed) > 0).count();
    let all = |crowd: &[(Ticket, Arc<Bell>)]| crowd.iter().filter(|(_, bell)| bell.0.load(Relaxed) > 0).count();
    assert_eq!((woken(&crowd), all(&crowd)), (64, 64), "the first ones and no others");
    for n in 0..200 {
        assert!(poll(&mut crowd[n]), "{n} was let in");
        let next = (65 + n).min(200);
        assert_eq!((woken(&crowd), all(&crowd)), (next, next), "each wakes one more, in order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_forgotten_ends_at_its_deadline() {
    let house = house();
    let session = house.census.enter("a".into());
    let held = house.gate.hold(Instant::now() + Duration::from_millis(300)).expect("free");
    let held = held.drained(Duration::from_secs(1)).await.expect("drained");
    let ticket = waits(admit(&house, &session, false));
    assert!(tokio::time::timeout(Duration::from_secs(2), ticket).await.expect("I-G2").is_some());
    assert!(held.has_expired());
    assert_eq!(house.gate.snapshot().state, State::Open);
}

#[tokio::test]
async fn new_transactions_of_users_wait_and_those_of_strangers_do_not() {
    let house = house();
    let (user, stranger) = (house.census.enter("a".into()), house.census.enter("b".into()));
    drop(entered(admit(&house, &user, false)));
    let _draining = house.gate.hold(soon()).expect("free");
    let begin = |session| house.gate.admit(&ask(session, false, false), || "BEGIN".into());
    waits(begin(&user));
    assert!(entered(begin(&stranger)).is_none()); // I-G4
}

#[tokio::test]
async fn sessions_of_an_account_that_uses_the_table_are_taken_for_users() {
    let house = house();
    let [user, new, other] = ["shop", "shop", "reports"].map(|schema| {
        let session = house.census.enter("a".into());
        session.record.set_schema(Some(schema));
        session
    });
    drop(entered(admit(&house, &user, false)));
    let begin = |session| house.gate.admit(&ask(session, false, false), || "BEGIN".into());
    let draining = house.gate.hold(soon()).expect("free");
    waits(begin(&new));
    assert!(entered(begin(&other)).is_none());
    drop(draining);
    // Its open transaction is waited for, unless it has no snapshot.
    assert!(entered(begin(&new)).is_none());
    let refused = house.gate.hold(soon()).expect("free").drained(Duration::from_millis(20)).await.expect_err("exposed");
    assert_eq!(
        refused.blockers.iter().map(|blocker| (blocker.record.id, blocker.is_only_exposed)).collect::<Vec<_>>(),
        [(new.record.id, true)]
    );
    new.record.reads_anew.store(true, std::sync::atomic::Ordering::Relaxed);
    house.gate.hold(soon()).expect("free").drained(Duration::from_millis(20)).await.expect("drained");
}

#[tokio::test]
async fn a_young_gate_takes_everybody_for_a_user() {
    let house = house();
    let stranger = house.census.enter("a".into());
    house.gate.lock().knows_from = Instant::now() + super::exposed::LEARNING;
    let begin = || house.gate.admit(&ask(&stranger, false, false), || "BEGIN".into());
    let draining = house.gate.hold(soon()).expect("free");
    waits(begin());
    drop(draining);
    // It counts from the gate's answer on, not only when it is on its way.
    assert!(entered(begin()).is_none() && stranger.record.transaction_age().is_some());
    house.gate.hold(soon()).expect("free").drained(Duration::from_millis(20)).await.expect_err("exposed");
    house.gate.lock().knows_from = Instant::now();
    house.gate.hold(soon()).expect("free").drained(Duration::from_millis(20)).await.expect("drained");
}

#[tokio::test]
async fn the_exposed_are_not_waited_for_for_ever() {
    let house = house();
    let (user, other) = (house.census.enter("a".into()), house.census.enter("b".into()));
    drop(entered(admit(&house, &user, false)));
    user.record.transaction_open();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let attempt = || house.gate.hold(soon()).expect("free").drained(Duration::from_millis(5));
    let mut called_off = 0;
    while attempt().await.is_err() {
        called_off += 1;
        assert!(called_off < 20, "a report on another table keeps the table from being swapped");
    }
    assert!(called_off >= 3, "it was hardly waited for");
    // Who is inside is waited for at any time.
    let _pass = entered(admit(&house, &other, false));
    for _ in 0..20 {
        assert!(attempt().await.is_err());
    }
}

#[tokio::test]
async fn an_open_transaction_of_a_user_keeps_the_gate_from_closing() {
    let house = house();
    let user = house.census.enter("a".into());
    drop(entered(admit(&house, &user, false)));
    user.record.transaction_open();
    let draining = house.gate.hold(soon()).expect("free");
    let refused = draining.drained(Duration::from_millis(20)).await.expect_err("a transaction is open");
    assert_eq!(refused.blockers.len(), 1);
    assert_eq!(house.gate.snapshot().state, State::Open);
}

#[tokio::test]
async fn a_transaction_older_than_the_gate_is_waited_for() {
    let census = Arc::new(Census::default());
    let old = census.enter("a".into());
    old.record.transaction_open();
    let gates = Arc::new(Gates::new(census.clone(), Metrics::new(), Duration::from_millis(100)));
    let installed = gates.install(MigrationId(1), TableName::new("shop", "orders"), vec!["orders".into()], Fence::default());
    let draining = installed.gate.hold(soon()).expect("free");
    let waiting = tokio::spawn(draining.drained(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(installed.gate.snapshot().state, State::Draining);
    old.record.transaction_closed();
    waiting.await.expect("joined").expect("drained");
}

#[tokio::test]
async fn of_older_transactions_only_those_are_waited_for_that_have_the_table_open() {
    use std::sync::atomic::Ordering::Relaxed;
    let census = Arc::new(Census::default());
    let (idle, user) = (census.enter("a".into()), census.enter("b".into()));
    for (id, entered) in [(7, &idle), (8, &user)] {
        entered.record.connection_id.store(id, Relaxed);
        entered.record.transaction_open();
    }
    let gates = Arc::new(Gates::new(census.clone(), Metrics::new(), Duration::from_millis(100)));
    let installed = gates.install(MigrationId(1), TableName::new("shop", "orders"), vec!["orders".into()], Fence::default());
    assert!(installed.gate.has_suspects());
    installed.gate.acquit(|connection| connection == 8);
    let draining = installed.gate.hold(soon()).expect("free");
    let waiting = tokio::spawn(draining.drained(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(installed.gate.snapshot().state, State::Draining);
    user.record.transaction_closed();
    waiting.await.expect("joined").expect("drained");
    assert_eq!(idle.record.transaction_age().map(|_| ()), Some(()));
}

#[tokio::test]
async fn locks_on_tables_that_are_older_than_the_gate_are_waited_for() {
    use std::sync::atomic::Ordering::Relaxed;
    let census = Arc::new(Census::default());
    let (old, named, leaving) = (census.enter("a".into()), census.enter("b".into()), census.enter("c".into()));
    for record in [&old.record, &leaving.record] {
        record.holds_locks.store(true, Relaxed);
        record.holds_tables.store(true, Relaxed);
    }
    named.record.holds_locks.store(true, Relaxed);
    let gates = Arc::new(Gates::new(census.clone(), Metrics::new(), Duration::from_millis(100)));
    let installed = gates.install(MigrationId(1), TableName::new("shop", "orders"), vec!["orders".into()], Fence::default());
    assert_eq!(installed.gate.occupancy().inside, 2, "a named lock is on no table");
    drop(leaving);
    assert_eq!(installed.gate.occupancy().inside, 1);
    let refused = installed.gate.hold(soon()).expect("free").drained(Duration::from_millis(20)).await.expect_err("locked");
    assert_eq!(refused.blockers.iter().map(|blocker| blocker.session.as_str()).collect::<Vec<_>>(), [old.record.describe()]);
    let draining = installed.gate.hold(soon()).expect("free");
    let waiting = tokio::spawn(draining.drained(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(installed.gate.snapshot().state, State::Draining);
    old.record.holds_tables.store(false, Relaxed);
    waiting.await.expect("joined").expect("drained");
}

#[test]
fn a_global_lock_touches_every_table() {
    let house = house();
    let judge = |text: &str| house.gates.watch().judge(text.as_bytes()).gates;
    for text in
        ["FLUSH TABLES WITH READ LOCK", "SELECT 1; flush local tables with read lock", "LOCK INSTANCE FOR BACKUP", "BACKUP STAGE START"]
    {
        assert_eq!(judge(text), 1, "{text}");
    }
    for text in ["LOCK TABLES other READ", "FLUSH TABLES other WITH READ LOCK", "DO GET_LOCK('a', 1)", "HANDLER other OPEN"] {
        assert_eq!(judge(text), 0, "{text}");
    }
}

#[tokio::test]
async fn holders_of_locks_are_never_held() {
    let house = house();
    let session = house.census.enter("a".into());
    session.record.holds_locks.store(true, std::sync::atomic::Ordering::Relaxed);
    let _held = house.gate.hold(soon()).expect("free").drained(Duration::from_secs(1)).await.expect("drained");
    entered(admit(&house, &session, false));
}

#[test]
fn without_gates_there_is_nothing_to_load_but_a_zero() {
    let gates = Arc::new(Gates::new(Arc::new(Census::default()), Metrics::new(), Duration::ZERO));
    assert_eq!(gates.generation(), 0);
    let installed = gates.install(MigrationId(1), TableName::new("shop", "orders"), vec!["orders".into()], Fence::default());
    let first = gates.generation();
    assert_ne!(first, 0);
    assert_eq!(gates.watch().judge(b"SELECT 1 FROM orders").gates, 1);
    assert_eq!(gates.watch().judge(b"SELECT 1 FROM customers").gates, 0);
    assert_eq!(gates.watch().judge(b"CALL anything()").gates, 1);
    drop(installed);
    assert_eq!(gates.generation(), 0);
}

#[tokio::test]
async fn strangers_with_a_snapshot_are_waited_for_where_the_fence_says_so() {
    for fence in [Fence::Wait, Fence::Fence, Fence::Off] {
        let house = house_with(fence);
        let stranger = house.census.enter("a".into());
        stranger.record.transaction_open();
        let draining = house.gate.hold(soon()).expect("free");
        // At READ COMMITTED, or before its first statement.
        let held = draining.drained(Duration::ZERO).await.expect("drained");
        drop(held);
        stranger.record.has_snapshot.store(true, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let drained = house.gate.hold(soon()).expect("free").drained(Duration::from_millis(5)).await;
        match (fence, drained) {
            (Fence::Wait, Err(not_drained)) => assert_eq!(not_drained.blockers.len(), 1),
            (Fence::Fence | Fence::Off, Ok(_)) => {}
            (_, other) => panic!("{fence:?}: {other:?}"),
        }
        stranger.record.transaction_closed();
        house.gate.hold(soon()).expect("free").drained(Duration::ZERO).await.expect("drained");
    }
}
