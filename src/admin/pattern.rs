//! LIKE, as the server matches it: `%`, `_`, backslash, any case.

/// `true` where the whole text matches.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<Piece> = pieces(pattern);
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(t) {
        let fits = match pattern.get(p) {
            Some(Piece::Any) => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(Piece::One) => true,
            Some(Piece::Letter(wanted)) => wanted == letter,
            None => false,
        };
        if fits {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            (p, t) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|piece| *piece == Piece::Any)
}

#[derive(PartialEq)]
enum Piece {
    Any,
    One,
    Letter(char),
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut letters = pattern.chars().flat_map(char::to_lowercase);
    let mut pieces = Vec::new();
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            '%' => Piece::Any,
            '_' => Piece::One,
            '\\' => Piece::Letter(letters.next().unwrap_or('\\')),
            other => Piece::Letter(other),
        });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_as_the_server_does() {
        for (pattern, text, expected) in [
            ("shop.%", "shop.orders", true),
            ("shop.%", "shop2.orders", false),
            ("%ORD%", "shop.orders", true),
            ("_at", "cat", true),
            ("_at", "at", false),
            ("a\\_b", "axb", false),
            ("a\\_b", "a_b", true),
            ("%", "", true),
            ("", "x", false),
            ("%a%b", "xaybzb", true),
            ("%a%b", "xayb ", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
