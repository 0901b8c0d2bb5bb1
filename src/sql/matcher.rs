//! Does a statement's text name one of the hot names? A byte search, so that no quoting, comment or sql_mode can hide one.
//!
//! Never: misses a name; where bytes can be read in two ways, it is a hit. A false hit costs milliseconds at a cut-over.
//! See: docs/adr/0004.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};

/// The names of all gates, compiled into one search.
#[derive(Debug, Default)]
pub struct Matcher {
    search: Option<AhoCorasick>,
    /// Per pattern, the groups that it stands for.
    groups: Vec<u64>,
    /// Groups with a name that no byte search can find; they match every text.
    always: u64,
    /// All groups.
    all: u64,
}

impl Matcher {
    /// Compiles groups of names; bit n of [`Matcher::touched`] stands for group n. Bit 63 stands for all groups from the 64th on.
    pub fn new(groups: &[&[String]]) -> Self {
        let mut names: HashMap<String, u64> = HashMap::new();
        let (mut always, mut all) = (0, 0);
        for (number, group) in groups.iter().enumerate() {
            let bit = 1_u64 << number.min(63);
            all |= bit;
            for name in *group {
                if is_searchable(name) {
                    *names.entry(name.to_ascii_lowercase()).or_default() |= bit;
                } else {
                    always |= bit;
                }
            }
        }
        if names.is_empty() {
            return Self { search: None, groups: Vec::new(), always, all };
        }
        let (patterns, groups): (Vec<String>, Vec<u64>) = names.into_iter().unzip();
        match AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(&patterns) {
            Ok(search) => Self { search: Some(search), groups, always, all },
            // Too many names for one search: then every text may touch them.
            Err(_) => Self { search: None, groups: Vec::new(), always: all, all },
        }
    }

    /// Which groups the text may touch.
    pub fn touched(&self, text: &[u8]) -> u64 {
        let mut touched = self.always;
        let Some(search) = &self.search else { return touched };
        for hit in search.find_overlapping_iter(text) {
            let groups = self.groups.get(hit.pattern().as_usize()).copied().unwrap_or(self.all);
            if touched & groups != groups && stands_alone(text, hit.start(), hit.end()) {
                touched |= groups;
                if touched == self.all {
                    break;
                }
            }
        }
        touched
    }
}

/// The connection's character set may write a name that is not ASCII in other bytes, and one with a quote is written with the
/// quote doubled or escaped.
fn is_searchable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_control() && !matches!(byte, b'`' | b'"' | b'\'' | b'\\'))
}

/// Tells whether the bytes may be a whole name, and not only a part of a longer one.
fn stands_alone(text: &[u8], start: usize, end: usize) -> bool {
    !text.get(end).copied().is_some_and(is_ascii_name_byte) && may_begin(&text[..start])
}

/// Tells whether a name may begin after these bytes.
fn may_begin(before: &[u8]) -> bool {
    let Some((&last, earlier)) = before.split_last() else { return true };
    if !is_ascii_name_byte(last) {
        return true;
    }
    // A second byte of GBK, SJIS and the like (0xB7 'a'), or an escape in the text of a PREPARE ('FROM\nname').
    if earlier.last().is_some_and(|byte| *byte >= 0x80 || *byte == b'\\') {
        return true;
    }
    // Digits that nothing precedes are a version (`/*!80000name*/`), or a number that ends where the name begins.
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && !before[..before.len() - digits].last().copied().is_some_and(is_ascii_name_byte)
}

/// A byte of 0x80 and above may be a letter, a blank (0xA0 in latin1), or the end of one: it never rules a name out.
fn is_ascii_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(groups: &[&[&str]]) -> Matcher {
        let groups: Vec<Vec<String>> = groups.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect();
        let borrowed: Vec<&[String]> = groups.iter().map(Vec::as_slice).collect();
        Matcher::new(&borrowed)
    }

    #[test]
    fn a_name_is_found_however_it_is_written() {
        let orders = matcher(&[&["orders"]]);
        for text in [
            "SELECT * FROM orders",
            "select*from`ORDERS`where 1",
            "orders",
            "SELECT * FROM shop.orders o",
            "SELECT * FROM shop . `Orders`",
            "SELECT * FROM \"orders\"",
            "SELECT * FROM/*!80000orders*/",
            "SELECT * FROM/*!50000orders*/",
            "SELECT * FROM/*M!100100orders*/",
            "SELECT * FROM/**/orders/**/",
            "SELECT 1orders",
            "SELECT * FROM x\u{a0}orders\u{a0}",
            "PREPARE s FROM 'SELECT 1 FROM\\norders'",
            "SELECT * FROM reorders, orders",
        ] {
            assert_eq!(orders.touched(text.as_bytes()), 1, "{text}");
        }
        assert_eq!(orders.touched(b"SELECT '\xb7aorders'"), 1);
        assert_eq!(orders.touched(b"SELECT \x81\x30\x81\x30orders"), 1);
    }

    #[test]
    fn a_part_of_a_longer_name_is_no_hit() {
        let orders = matcher(&[&["orders"]]);
        for text in
            ["SELECT * FROM orders2", "SELECT * FROM reorders", "SELECT my_orders", "SELECT $orders", "SELECT x1orders", "orders_old", ""]
        {
            assert_eq!(orders.touched(text.as_bytes()), 0, "{text}");
        }
    }

    #[test]
    fn a_bit_stands_for_its_group() {
        let both = matcher(&[&["orders", "v_orders"], &["order", "shared"], &["items", "shared"]]);
        assert_eq!(both.touched(b"v_orders"), 1);
        assert_eq!(both.touched(b"order"), 2);
        assert_eq!(both.touched(b"orders"), 1);
        assert_eq!(both.touched(b"items JOIN Orders"), 5);
        assert_eq!(both.touched(b"shared"), 6);
        assert_eq!(both.touched(b"nothing"), 0);
    }

    #[test]
    fn a_name_that_no_search_can_find_matches_every_text() {
        for name in ["bücher", "a`b", "a\"b", "a'b", "a\\b", ""] {
            assert_eq!(matcher(&[&["orders"], &[name]]).touched(b"SELECT 1"), 2, "{name}");
        }
    }

    #[test]
    fn groups_from_the_64th_on_share_the_last_bit() {
        let names: Vec<String> = (0..70).map(|number| format!("t{number}")).collect();
        let groups: Vec<&[String]> = names.iter().map(std::slice::from_ref).collect();
        let many = Matcher::new(&groups);
        assert_eq!(many.touched(b"t0, t62"), 1 | 1 << 62);
        for text in [b"t63", b"t64", b"t69"] {
            assert_eq!(many.touched(text), 1 << 63);
        }
    }

    #[test]
    fn without_names_nothing_is_touched() {
        assert_eq!(Matcher::default().touched(b"orders"), 0);
        assert_eq!(matcher(&[&[]]).touched(b"orders"), 0);
    }

    fn written() -> impl Strategy<Value = (String, String)> {
        let name = proptest::string::string_regex("[A-Za-z0-9_$ .-]{0,12}[A-Za-z_]").unwrap();
        let plain = proptest::string::string_regex("[A-Za-z0-9_$]{0,12}[A-Za-z_]").unwrap();
        let wrap = proptest::sample::select(vec![
            ("`", "`"),
            ("\"", "\""),
            ("db.`", "`"),
            ("`db`.`", "`"),
            ("db . `", "`."),
            ("/*!80000`", "`*/"),
            ("\u{3000}", "\u{3000}"),
        ]);
        let bare = proptest::sample::select(vec![
            (" ", " "),
            ("\n", ";"),
            ("(", ")"),
            (",", ","),
            (".", "."),
            ("db.", " "),
            ("/*!80000", "*/"),
            ("/*!080400", "*/"),
            ("/*M!100100", "*/"),
            ("/**/", "/**/"),
            ("\u{a0}", "\u{a0}"),
            ("=", "#"),
            ("\\n", "\\n"),
        ]);
        prop_oneof![
            (name, wrap).prop_map(|(name, (before, after))| (name.clone(), format!("{before}{name}{after}"))),
            (plain, bare).prop_map(|(name, (before, after))| (name.clone(), format!("{before}{name}{after}"))),
        ]
    }

    proptest! {
        #[test]
        fn a_name_is_never_missed((name, embedded) in written(), before in ".{0,40}", after in ".{0,40}", upper: bool) {
            let embedded = if upper { embedded.to_ascii_uppercase() } else { embedded };
            // A blank before it: what stands directly before and after is part of how the name is written.
            let text = format!("{before} {embedded} {after}");
            prop_assert_eq!(matcher(&[&[], &["zzz", &name]]).touched(text.as_bytes()), 2);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), name in ".{0,3}") {
            matcher(&[&["a", "ab"], &[&name]]).touched(&bytes);
        }
    }
}
