//! The tables that an ALTER specification's REFERENCES name, and the same text with other tables in their place.
//!
//! Never: judges whether a foreign key is a good one; the server does.

use std::ops::Range;

use crate::sql::token::{Token, Tokens};

/// A table behind the word REFERENCES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its schema, where one is named.
    pub schema: Option<String>,
    /// Its name.
    pub table: String,
    /// Where both stand in the text.
    place: Range<usize>,
}

/// All of them, in order.
pub fn of(specification: &str) -> Vec<Reference> {
    let tokens: Vec<Token<'_>> = Tokens::new(specification.as_bytes()).collect();
    let end = |token: &Token<'_>| token.at + token.bytes.len();
    let named = |at: usize| {
        let first = tokens.get(at)?;
        let dotted = tokens.get(at + 1).filter(|mark| mark.is_mark(b'.')).and_then(|_| tokens.get(at + 2));
        Some(match dotted {
            Some(second) => Reference { schema: Some(first.name()?), table: second.name()?, place: first.at..end(second) },
            None => Reference { schema: None, table: first.name()?, place: first.at..end(first) },
        })
    };
    tokens.iter().enumerate().filter(|(_, token)| token.is_word("REFERENCES")).filter_map(|(at, _)| named(at + 1)).collect()
}

/// The text with another table in the place of each.
pub fn replaced(specification: &str, mut by: impl FnMut(&Reference) -> String) -> String {
    let (mut result, mut from) = (String::new(), 0);
    for reference in of(specification) {
        result.push_str(specification.get(from..reference.place.start).unwrap_or_default());
        result.push_str(&by(&reference));
        from = reference.place.end;
    }
    result.push_str(specification.get(from..).unwrap_or_default());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_and_replaced_where_they_stand() {
        let text = "ADD a INT REFERENCES p, /* REFERENCES no */ ADD FOREIGN KEY (b) references `s`.`q``r`(x) ON DELETE CASCADE, COMMENT 'REFERENCES z', \
                    ADD FOREIGN KEY (c) REFERENCES /* here */ s . q (y)";
        let found: Vec<(Option<String>, String)> = of(text).into_iter().map(|one| (one.schema, one.table)).collect();
        let (schema, name) = (Some("s".to_owned()), str::to_owned);
        assert_eq!(found, [(None, name("p")), (schema.clone(), name("q`r")), (schema, name("q"))]);
        let mut number = 0;
        let other = replaced(text, |_| {
            number += 1;
            format!("<{number}>")
        });
        assert_eq!(
            other,
            "ADD a INT REFERENCES <1>, /* REFERENCES no */ ADD FOREIGN KEY (b) references <2>(x) ON DELETE CASCADE, COMMENT 'REFERENCES z', \
             ADD FOREIGN KEY (c) REFERENCES /* here */ <3> (y)"
        );
        assert_eq!(replaced("ADD a INT", |_| String::new()), "ADD a INT");
        assert_eq!(of("ADD a INT REFERENCES"), []);
    }
}
