//! `make bench-hot`: what the proxy does for each command and each reply, without a network: where a reply ends, what a statement
//! is, whether it touches a hot name, which shape it has.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::sql::{matcher::Matcher, shape, statement};
use tidegate::wire::capabilities::PROTOCOL_41;
use tidegate::wire::packet;
use tidegate::wire::reply::{Cursor, Progress, Shape, Tracker};

const POINT_SELECT: &[u8] = b"SELECT c FROM sbtest1 WHERE id = 48211";
const INSERT: &[u8] =
    b"INSERT INTO shop.orders (customer_id, amount, state, comment) VALUES (4811, 12.50, 'paid', 'left at the neighbour''s')";

/// A result set of one column, as it comes from the server.
fn result(rows: usize, bytes: usize) -> Vec<u8> {
    const EOF: [u8; 5] = [0xFE, 0, 0, 2, 0];
    let mut definition = Vec::new();
    for name in ["def", "shop", "orders", "orders", "comment", "comment"] {
        packet::push_length(&mut definition, name.len() as u64);
        definition.extend(name.as_bytes());
    }
    definition.extend([0x0C, 45, 0, 0xFC, 0, 0, 0, 0xFD, 0, 0, 0, 0, 0]);
    let mut row = Vec::new();
    packet::push_length(&mut row, bytes as u64);
    row.resize(row.len() + bytes, b'x');

    let mut out = Vec::new();
    let mut sequence = packet::push(&mut out, 1, &[1]);
    sequence = packet::push(&mut out, sequence, &definition);
    sequence = packet::push(&mut out, sequence, &EOF);
    for _ in 0..rows {
        sequence = packet::push(&mut out, sequence, &row);
    }
    packet::push(&mut out, sequence, &EOF);
    out
}

fn replies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reply");
    for (name, rows, bytes) in [("a row of 100 bytes", 1, 100), ("10,000 rows of 100 bytes", 10_000, 100), ("a row of 1 MiB", 1, 1 << 20)] {
        let reply = result(rows, bytes);
        group.throughput(Throughput::Bytes(reply.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &reply, |bencher, reply| {
            let mut tracker = Tracker::new(PROTOCOL_41);
            bencher.iter(|| {
                tracker.begin(Shape::Result { cursor: Cursor::None });
                let end = tracker.feed(black_box(reply));
                assert!(matches!(end, Ok((used, Progress::Ended(_))) if used == reply.len()), "{end:?}");
            });
        });
    }
    group.finish();
}

fn statements(criterion: &mut Criterion) {
    let names = ["orders", "all_orders", "how_many"].map(str::to_owned);
    let matcher = Matcher::new(&[&names]);
    let mut group = criterion.benchmark_group("statement");
    let long = [INSERT, &b", (4811, 12.50, 'paid', 'left at the neighbour''s')".repeat(400)].concat();
    for (name, text) in [("point select", POINT_SELECT), ("insert", INSERT), ("insert of 401 rows", &long)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("first words", name), |bencher| bencher.iter(|| statement::classify(black_box(text))));
        group.bench_function(BenchmarkId::new("hot names", name), |bencher| bencher.iter(|| matcher.touched(black_box(text))));
        group.bench_function(BenchmarkId::new("shape", name), |bencher| bencher.iter(|| shape::fingerprint(black_box(text))));
    }
    group.finish();
}

criterion_group!(hot_paths, replies, statements);
criterion_main!(hot_paths);
