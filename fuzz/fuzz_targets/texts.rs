//! Statements: tokens, first words, digests, the tables of DDL, clauses of an ALTER, and the search for hot names, which
//! must find a name that stands alone in the text whatever is around it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::sql::matcher::Matcher;
use tidegate_fuzz::sql::token::Tokens;
use tidegate_fuzz::sql::{alter, ddl, digest, statement};

static ORDERS: LazyLock<Matcher> = LazyLock::new(|| Matcher::new(&[&["orders".to_owned()]]));

fuzz_target!(|data: &[u8]| {
    let tokens = Tokens::new(data).count();
    assert!(tokens <= data.len());
    let _ = statement::classify(data);
    let _ = digest::digest(data);
    let _ = ddl::targets(data, "shop");
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = alter::clauses(text);
    }
    let _ = ORDERS.touched(data);
    for name in [&b" orders "[..], b"`ORDERS`", b".orders;"] {
        assert_eq!(ORDERS.touched(&[data, name].concat()), 1, "a hot name was missed");
    }
});
