//! Shapes of statements: what is left of one when its values do not count, and the same statement on another table.
//!
//! Never: judges whether a statement is right; the server prepares it, and says so.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::sql::token::{Kind, Token, Tokens};

/// Tells statements apart by everything but their values; of several rows after VALUES only the first counts, and of several
/// values in another list too.
pub fn fingerprint(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rows = Rows::Before;
    let mut last_was_value = false;
    let mut comma = false;
    for token in Tokens::new(text) {
        if rows.leaves_out(&token) {
            continue;
        }
        let is_value = matches!(token.kind, Kind::Text | Kind::Double | Kind::Number) || token.is_mark(b'?');
        if is_value && last_was_value && comma && !matches!(rows, Rows::Within(_)) {
            comma = false;
            continue;
        }
        if comma {
            b','.hash(&mut hasher);
            comma = false;
        }
        match token.kind {
            // Written once something other than a further value follows it.
            Kind::Mark(b',') => {
                comma = true;
                continue;
            }
            _ if is_value => b'?'.hash(&mut hasher),
            Kind::Mark(mark) => mark.hash(&mut hasher),
            _ => token.bytes.to_ascii_lowercase().hash(&mut hasher),
        }
        last_was_value = is_value;
    }
    hasher.finish()
}

/// Where a list of rows stands.
#[derive(Clone, Copy)]
enum Rows {
    Before,
    /// VALUES has been read, or a row has ended: another may follow.
    Between(bool),
    /// Inside the first row, so many parentheses deep.
    Within(usize),
    /// Inside a later row.
    Beyond(usize),
}

impl Rows {
    /// Goes past a token; true where it belongs to a row after the first.
    fn leaves_out(&mut self, token: &Token<'_>) -> bool {
        let (next, is_left_out) = match (*self, token.kind) {
            (Self::Before, Kind::Word) if token.is_any(&["VALUES", "VALUE"]) => (Self::Between(false), false),
            (Self::Before, _) => (Self::Before, false),
            (Self::Between(false), Kind::Mark(b'(')) => (Self::Within(1), false),
            (Self::Between(true), Kind::Mark(b'(')) => (Self::Beyond(1), true),
            (Self::Between(true), Kind::Mark(b',')) => (Self::Between(true), true),
            (Self::Between(_), _) => (Self::Before, false),
            (Self::Within(depth), Kind::Mark(b'(')) => (Self::Within(depth + 1), false),
            (Self::Within(1), Kind::Mark(b')')) => (Self::Between(true), false),
            (Self::Within(depth), Kind::Mark(b')')) => (Self::Within(depth - 1), false),
            (Self::Beyond(depth), Kind::Mark(b'(')) => (Self::Beyond(depth + 1), true),
            (Self::Beyond(1), Kind::Mark(b')')) => (Self::Between(true), true),
            (Self::Beyond(depth), Kind::Mark(b')')) => (Self::Beyond(depth - 1), true),
            (state @ (Self::Within(_) | Self::Beyond(_)), _) => (state, matches!(state, Self::Beyond(_))),
        };
        *self = next;
        is_left_out
    }
}

/// The statement with every mention of `schema.table`, and where `is_default` of `table` alone, replaced by `to`; none where it
/// is not mentioned. A column or an alias of the same name is replaced too: the result is to be prepared, not to be run, and
/// says something only where the server prepares the same replacement by the table's own whole name.
pub fn on_another_table(text: &[u8], schema: &str, table: &str, is_default: bool, to: &str) -> Option<Vec<u8>> {
    let tokens: Vec<Token<'_>> = Tokens::new(text).collect();
    let is = |at: Option<&Token<'_>>, name: &str| at.and_then(Token::name).is_some_and(|own| own.eq_ignore_ascii_case(name));
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut copied = 0;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let after_dot = at.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|before| before.is_mark(b'.'));
        let is_qualified = !after_dot
            && is(Some(token), schema)
            && tokens.get(at + 1).is_some_and(|dot| dot.is_mark(b'.'))
            && is(tokens.get(at + 2), table);
        let last = if is_qualified {
            tokens.get(at + 2)
        } else if is_default && !after_dot && is(Some(token), table) {
            Some(token)
        } else {
            None
        };
        if let Some(last) = last {
            out.extend_from_slice(text.get(copied..token.at)?);
            out.extend_from_slice(to.as_bytes());
            copied = last.at + last.bytes.len();
            at += if is_qualified { 2 } else { 0 };
        }
        at += 1;
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(text.get(copied..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_do_not_count_and_their_number_in_a_row_does() {
        let same = |one: &str, other: &str| fingerprint(one.as_bytes()) == fingerprint(other.as_bytes());
        assert!(same("SELECT a FROM t WHERE b = 5", "select a  from t where b = 'x' /* y */"));
        assert!(same("SELECT a FROM t WHERE b IN (1, 2, 3)", "SELECT a FROM t WHERE b IN (7)"));
        assert!(same("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (?, ?), (2, 'b'), (3, (4))"));
        assert!(same(
            "INSERT INTO t VALUES (1), (2) ON DUPLICATE KEY UPDATE a = 1",
            "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 5"
        ));
        assert!(!same("INSERT INTO t VALUES (1, 2)", "INSERT INTO t VALUES (1, 2, 3)"));
        assert!(!same("SELECT a FROM t", "SELECT b FROM t"));
        assert!(!same("INSERT INTO t (a) VALUES (1)", "INSERT INTO t VALUES (1)"));
        assert!(!same("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1", "INSERT INTO t VALUES (1)"));
    }

    #[test]
    fn a_bare_name_counts_only_in_the_tables_own_schema() {
        let moved = |text: &str| on_another_table(text.as_bytes(), "shop", "t", false, "`s`.`t`");
        assert_eq!(moved("SELECT * FROM t"), None);
        assert_eq!(moved("SELECT * FROM t, shop.t").as_deref(), Some(b"SELECT * FROM t, `s`.`t`".as_slice()));
    }

    #[test]
    fn the_table_is_replaced_wherever_it_is_named() {
        let moved =
            |text: &str| on_another_table(text.as_bytes(), "shop", "t", true, "`s`.`t`").map(|text| String::from_utf8(text).unwrap());
        for (text, expected) in [
            ("SELECT * FROM t", "SELECT * FROM `s`.`t`"),
            (
                "SELECT t.a, `t` . b FROM shop.t JOIN tt ON t.x = tt.t",
                "SELECT `s`.`t`.a, `s`.`t` . b FROM `s`.`t` JOIN tt ON `s`.`t`.x = tt.t",
            ),
            ("INSERT INTO `Shop`.`T`(a) VALUES ('t')", "INSERT INTO `s`.`t`(a) VALUES ('t')"),
            ("UPDATE shop.t SET t = 1", "UPDATE `s`.`t` SET `s`.`t` = 1"),
            ("SELECT shop.t.a FROM shop.t", "SELECT `s`.`t`.a FROM `s`.`t`"),
        ] {
            assert_eq!(moved(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(moved("SELECT 't' FROM tt"), None);
        assert_eq!(moved("SELECT a FROM other.t"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            fingerprint(&bytes);
            on_another_table(&bytes, "a", "b", true, "c");
        }
    }
}
