//! A statement without its values, for logs.
//!
//! Never: shows a value. Where quotes can be read in two ways (NO_BACKSLASH_ESCAPES, two-byte character sets) it ends there.

use crate::sql::token::{Kind, Token, Tokens};

/// The longest digest, in characters.
const CHARACTERS_MAX: usize = 200;
/// How much of a long statement is looked at.
const BYTES_READ_MAX: usize = 64 * 1024;

/// The text with literals replaced by `?`, lists of them by `?+`, comments and repeated blanks left out, cut at 200
/// characters.
pub fn digest(text: &[u8]) -> String {
    let text = &text[..text.len().min(BYTES_READ_MAX)];
    let mut out = String::new();
    let mut characters = 0;
    let mut end = 0;
    let mut last = Kind::Mark(b' ');
    for token in Tokens::new(text) {
        let before = out.len();
        if is_ambiguous(&token, text) {
            blank(&mut out);
            out.push_str("?…");
            break;
        }
        let glued = token.at == end;
        end = token.at + token.bytes.len();
        push(&mut out, &token, glued, last);
        last = token.kind;
        if out.len() > before {
            characters += out[before..].chars().count();
        } else {
            characters = out.chars().count();
        }
        if characters > CHARACTERS_MAX {
            break;
        }
    }
    if out.chars().nth(CHARACTERS_MAX).is_some() {
        out = out.chars().take(CHARACTERS_MAX - 1).collect();
        out.push('…');
    }
    out
}

/// Tells whether another reading of the bytes would end the quote elsewhere, so that what follows might be a value.
fn is_ambiguous(token: &Token<'_>, text: &[u8]) -> bool {
    let bytes = token.bytes;
    match token.kind {
        Kind::Text | Kind::Double => {
            let quote = bytes.first().copied().unwrap_or_default();
            bytes.windows(2).any(|pair| pair == [b'\\', quote])
        }
        Kind::Name => {
            let lead = |byte: Option<&u8>| byte.is_some_and(|byte| *byte >= 0x80);
            let inside = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
            lead(inside.last())
                || inside.iter().any(|byte| matches!(byte, b'\'' | b'"'))
                || lead(token.at.checked_sub(1).and_then(|at| text.get(at)))
        }
        _ => false,
    }
}

fn push(out: &mut String, token: &Token<'_>, glued: bool, last: Kind) {
    match token.kind {
        Kind::Text | Kind::Double | Kind::Number | Kind::Open => {
            // X'41', N'a', B'1', _utf8'a', and strings side by side.
            if token.kind == Kind::Text && glued && last == Kind::Word {
                let kept = out.trim_end_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_').len();
                if matches!(out[kept..].to_ascii_lowercase().as_str(), "x" | "n" | "b") {
                    out.truncate(kept);
                }
            }
            let joined = matches!(last, Kind::Text | Kind::Double) && token.kind != Kind::Number;
            if joined {
                return;
            }
            if let Some(list) = out.strip_suffix("?, ").or_else(|| out.strip_suffix("?+, ")).map(str::len) {
                out.truncate(list);
                out.push_str("?+");
                return;
            }
            if !glued {
                blank(out);
            }
            out.push('?');
        }
        Kind::Mark(b',') => {
            out.push_str(", ");
        }
        Kind::Mark(mark) => {
            if !glued && mark != b')' {
                blank(out);
            }
            out.push(if mark.is_ascii_graphic() { char::from(mark) } else { ' ' });
            for row in ["(?+)", "(?)"] {
                if mark == b')'
                    && out.strip_suffix(row).is_some_and(|before| before.ends_with(", ") && before[..before.len() - 2].ends_with(row))
                {
                    out.truncate(out.len() - row.len() - 2);
                }
            }
        }
        Kind::Word | Kind::Name => {
            if !glued {
                blank(out);
            }
            out.extend(String::from_utf8_lossy(token.bytes).chars().map(|letter| if letter.is_control() { ' ' } else { letter }));
        }
    }
}

/// Puts one blank, except where there is one, at the start, and after an opening parenthesis.
fn blank(out: &mut String) {
    if !out.is_empty() && !out.ends_with([' ', '(']) {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(digest(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn literals_become_question_marks() {
        check("SELECT  *\n FROM t WHERE a='x' AND b = 1.5e3 -- c\n AND c=-0x1F", "SELECT * FROM t WHERE a=? AND b = ? AND c=-?");
        check("SELECT X'41', \"s\" 't', _utf8'a' , N'x' FROM `a b`.t2", "SELECT ?+, _utf8?+ FROM `a b`.t2");
        check("UPDATE t SET a = 'it''s', b = \"x\" WHERE id=7;", "UPDATE t SET a = ?, b = ? WHERE id=?;");
        check("/*!40101 SET NAMES utf8 */ /* secret */", "SET NAMES utf8");
    }

    #[test]
    fn lists_are_folded() {
        check("SELECT 1 FROM t WHERE a IN (1, 'b',3 , 4)", "SELECT ? FROM t WHERE a IN (?+)");
        check("INSERT INTO t (a,b) VALUES (1,'x'),(2,'y'), (3, 'z')", "INSERT INTO t (a, b) VALUES (?+)");
        check("INSERT INTO t VALUES (1), (2)", "INSERT INTO t VALUES (?)");
        let rows = vec!["(1,2,NOW())"; 5000].join(",");
        assert_eq!(digest(format!("INSERT INTO t VALUES {rows}").as_bytes()).chars().count(), CHARACTERS_MAX);
        let numbers = vec!["12345"; 5000].join(",");
        check(&format!("SELECT 1 FROM t WHERE a IN ({numbers}) LIMIT 5"), "SELECT ? FROM t WHERE a IN (?+) LIMIT ?");
    }

    #[test]
    fn it_ends_where_a_quote_can_be_read_in_two_ways() {
        check(r"SELECT 'C:\' , 'secret'", "SELECT ?…");
        check(r"SELECT a FROM t WHERE a = 'it\'s' AND b = 1", "SELECT a FROM t WHERE a = ?…");
        assert_eq!(digest(b"SELECT \x81` 'secret' `x"), "SELECT \u{fffd} ?…");
    }

    #[test]
    fn it_is_cut_on_a_character() {
        let digest = digest("é".repeat(300).as_bytes());
        assert_eq!(digest.chars().count(), CHARACTERS_MAX);
        assert!(digest.ends_with("é…"));
    }

    proptest! {
        #[test]
        fn no_value_is_shown(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[0-8]{1,8}".prop_map(|value| format!(" {value}")),
                    "([0-8 ,;()`\"/*#-]|''|\\\\[a-z]){0,8}".prop_map(|value| format!("'{value}'")),
                    "([0-8 ,;()`'/*#-]|\"\")".prop_map(|value| format!("\"{value}\"")),
                    Just(", ".to_owned()),
                    Just(" and ".to_owned()),
                    Just("(".to_owned()),
                    Just(") ".to_owned()),
                    Just("/* 4 */".to_owned()),
                ],
                0..20,
            ),
        ) {
            let digest = digest(format!("select {}", parts.concat()).as_bytes());
            prop_assert!(!digest.contains(|letter: char| letter.is_ascii_digit()), "{}", digest);
        }

        #[test]
        fn any_bytes_give_a_short_line(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let digest = digest(&bytes);
            prop_assert!(digest.chars().count() <= CHARACTERS_MAX);
            prop_assert!(!digest.contains(char::is_control));
        }
    }
}
