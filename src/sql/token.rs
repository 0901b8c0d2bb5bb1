//! Cuts SQL into tokens, at the level where quotes, comments and words are told apart.
//!
//! Owns: the rules of quotes, comments and version comments.
//! Never: allocates, except where a name is asked for; judges what the tokens mean.
//! Invariants: reads any bytes without a panic, and each byte at most twice.

use memchr::memchr;
use memchr::memmem::find;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in backticks.
    Name,
    /// A string in single quotes.
    Text,
    /// In double quotes: a string, or under ANSI_QUOTES a name.
    Double,
    /// A number, also hexadecimal.
    Number,
    /// One byte of punctuation.
    Mark(u8),
    /// A quote or a comment that does not end; always the last token.
    Open,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its bytes, quotes included.
    pub bytes: &'a [u8],
    /// Its first byte's position in the text.
    pub at: usize,
}

impl Token<'_> {
    /// Tells whether it is this keyword, in any case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.bytes.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Tells whether it is one of these keywords, in any case.
    pub fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    /// Tells whether it is this punctuation.
    pub fn is_mark(&self, mark: u8) -> bool {
        self.kind == Kind::Mark(mark)
    }

    /// The token as a name, without quotes; none where it can be no name.
    pub fn name(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes);
        let inside = |quote: &str| {
            let doubled = quote.repeat(2);
            text.get(1..text.len().saturating_sub(1)).map(|inside| inside.replace(&doubled, quote))
        };
        match self.kind {
            Kind::Word | Kind::Number => Some(text.into_owned()),
            Kind::Name => inside("`"),
            Kind::Double => inside("\""),
            Kind::Text | Kind::Mark(_) | Kind::Open => None,
        }
    }
}

/// Tells whether a byte can be part of an unquoted name.
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The tokens of a text, in order.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    in_version: bool,
    after_name: bool,
}

impl<'a> Tokens<'a> {
    /// Starts at the text's first byte.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, in_version: false, after_name: false }
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.text.get(self.at + offset).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes past blanks and comments; false where a comment does not end.
    fn skip_blanks(&mut self) -> bool {
        while let Some(byte) = self.byte(0) {
            let rest = self.rest();
            match byte {
                _ if byte.is_ascii_whitespace() || byte == 0x0b => self.at += 1,
                b'#' => self.skip_line(),
                b'-' if self.byte(1) == Some(b'-') && self.byte(2).is_none_or(|byte| byte <= b' ') => self.skip_line(),
                b'*' if self.in_version && self.byte(1) == Some(b'/') => {
                    self.in_version = false;
                    self.at += 2;
                }
                b'/' if rest.starts_with(b"/*!") => self.enter_version(3),
                b'/' if rest.starts_with(b"/*M!") || rest.starts_with(b"/*m!") => self.enter_version(4),
                b'/' if self.byte(1) == Some(b'*') => match find(&rest[2..], b"*/") {
                    Some(end) => self.at += end + 4,
                    None => return false,
                },
                _ => return true,
            }
        }
        !self.in_version
    }

    fn skip_line(&mut self) {
        self.at += memchr(b'\n', self.rest()).map_or(self.rest().len(), |end| end + 1);
    }

    /// Goes past the start of a version comment and its five or six digits: what follows counts as SQL.
    fn enter_version(&mut self, marker: usize) {
        self.at += marker;
        self.in_version = true;
        let digits = self.rest().iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        if digits >= 5 {
            self.at += digits;
        }
    }

    /// The length of a quoted token that starts here, or none where it does not end.
    fn quoted(&self, quote: u8) -> Option<usize> {
        let rest = self.rest();
        let mut at = 1;
        while let Some(&byte) = rest.get(at) {
            if byte == quote {
                if rest.get(at + 1) != Some(&quote) {
                    return Some(at + 1);
                }
                at += 2;
            } else if byte == b'\\' && quote != b'`' {
                at += 2;
            } else {
                at += 1;
            }
        }
        None
    }

    /// The length and kind of a word or number that starts here.
    fn word(&self) -> (Kind, usize) {
        let rest = self.rest();
        let run = |from: usize| rest[from..].iter().take_while(|byte| is_name_byte(**byte)).count();
        let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = run(0);
        if self.after_name || !rest.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
            return (Kind::Word, end);
        }
        let mut whole = digits(0);
        if rest.get(whole) == Some(&b'.') && whole == end {
            whole += 1 + digits(whole + 1);
            end = whole + run(whole);
        }
        if rest.get(whole).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'e')) && whole + 1 == end {
            let sign = usize::from(matches!(rest.get(end), Some(b'+' | b'-')));
            let exponent = digits(end + sign);
            if exponent > 0 {
                return (Kind::Number, end + sign + exponent);
            }
        }
        let tail = &rest[whole..end];
        let exponent = tail.split_first().is_some_and(|(first, more)| first.eq_ignore_ascii_case(&b'e') && all_digits(more));
        let prefixed = match &rest[..end] {
            [b'0', b'x', more @ ..] => !more.is_empty() && more.iter().all(u8::is_ascii_hexdigit),
            [b'0', b'b', more @ ..] => !more.is_empty() && more.iter().all(|byte| matches!(byte, b'0' | b'1')),
            _ => false,
        };
        let number = tail.is_empty() || exponent || prefixed;
        (if number { Kind::Number } else { Kind::Word }, end)
    }
}

fn all_digits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let ended = self.skip_blanks();
        let start = self.at;
        let rest = self.rest();
        if !ended {
            (self.at, self.in_version) = (self.text.len(), false);
            return Some(Token { kind: Kind::Open, bytes: rest, at: start });
        }
        let first = *rest.first()?;
        let (kind, length) = match first {
            b'\'' | b'"' | b'`' => match self.quoted(first) {
                Some(length) if first == b'\'' => (Kind::Text, length),
                Some(length) if first == b'"' => (Kind::Double, length),
                Some(length) => (Kind::Name, length),
                None => {
                    self.in_version = false;
                    (Kind::Open, rest.len())
                }
            },
            b'.' if !self.after_name && rest.get(1).is_some_and(u8::is_ascii_digit) => self.word(),
            _ if is_name_byte(first) => self.word(),
            _ => (Kind::Mark(first), 1),
        };
        self.at += length;
        // After a name a dot, and after that dot digits, belong to the name: `t.5`, `db.1e3`.
        self.after_name = matches!(kind, Kind::Word | Kind::Name) || (kind == Kind::Mark(b'.') && self.after_name);
        if self.after_name && kind != Kind::Mark(b'.') && self.byte(0) != Some(b'.') {
            self.after_name = false;
        }
        Some(Token { kind, bytes: rest.get(..length).unwrap_or_default(), at: start })
    }
}

/// Tokens with one token of foresight.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    tokens: Tokens<'a>,
    head: Option<Token<'a>>,
}

impl<'a> Cursor<'a> {
    /// Starts at the text's first token.
    pub fn new(text: &'a [u8]) -> Self {
        let mut tokens = Tokens::new(text);
        let head = tokens.next();
        Self { tokens, head }
    }

    /// The next token, left where it is.
    pub fn peek(&self) -> Option<Token<'a>> {
        self.head
    }

    /// The next token, taken.
    pub fn bump(&mut self) -> Option<Token<'a>> {
        let token = self.head;
        self.head = self.tokens.next();
        token
    }

    /// Takes the next token if it is this keyword.
    pub fn eat(&mut self, word: &str) -> bool {
        let hit = self.head.is_some_and(|token| token.is_word(word));
        if hit {
            self.bump();
        }
        hit
    }

    /// Takes the next token if it is one of these keywords.
    pub fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    /// Takes the next token if it is this punctuation.
    pub fn eat_mark(&mut self, mark: u8) -> bool {
        let hit = self.head.is_some_and(|token| token.is_mark(mark));
        if hit {
            self.bump();
        }
        hit
    }

    /// Takes IF EXISTS or IF NOT EXISTS; tells whether it was there.
    pub fn eat_if_exists(&mut self) -> bool {
        let hit = self.eat("IF");
        if hit {
            self.eat("NOT");
            self.eat("EXISTS");
        }
        hit
    }

    /// Takes tokens outside parentheses up to, not including, one of these keywords; false at the statement's end.
    pub fn seek(&mut self, words: &[&str]) -> bool {
        let mut depth = 0_usize;
        while let Some(token) = self.head {
            match token.kind {
                Kind::Mark(b';') => return false,
                Kind::Mark(b'(') => depth += 1,
                Kind::Mark(b')') => depth = depth.saturating_sub(1),
                Kind::Word if depth == 0 && token.is_any(words) => return true,
                _ => {}
            }
            self.bump();
        }
        false
    }

    /// Goes past the statement's end; false where the text has no further one.
    pub fn next_statement(&mut self) -> bool {
        loop {
            match self.head {
                None => return false,
                Some(token) if token.is_mark(b';') => {
                    while self.eat_mark(b';') {}
                    return self.head.is_some();
                }
                Some(_) if memchr(b';', self.tokens.rest()).is_none() => return false,
                Some(_) => {
                    self.bump();
                }
            }
        }
    }

    /// Takes `name` or `schema.name`.
    pub fn qualified_name(&mut self) -> Option<(Option<String>, String)> {
        self.eat_mark(b'.');
        let first = self.head?.name()?;
        self.bump();
        if !self.eat_mark(b'.') {
            return Some((None, first));
        }
        let second = self.head?.name()?;
        self.bump();
        Some((Some(first), second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        Tokens::new(text.as_bytes()).map(|token| format!("{:?} {}", token.kind, String::from_utf8_lossy(token.bytes))).collect()
    }

    #[test]
    fn quotes_comments_and_words_are_told_apart() {
        assert_eq!(
            shown("a 'b''c\\'d' `e``f` \"g\"-- x\n#y\n/* z */1.5e-3--1 -- "),
            ["Word a", "Text 'b''c\\'d'", "Name `e``f`", "Double \"g\"", "Number 1.5e-3", "Mark(45) -", "Mark(45) -", "Number 1",]
        );
    }

    #[test]
    fn a_version_comment_counts_as_sql() {
        assert_eq!(shown("/*!80000orders*/ /*M!100100 b /* c */ d*/e /*!f*/"), ["Word orders", "Word b", "Word d", "Word e", "Word f"]);
        assert_eq!(shown("2*/*c*/3"), ["Number 2", "Mark(42) *", "Number 3"]);
        assert_eq!(shown("/*!80000 a"), ["Word a", "Open "]);
    }

    #[test]
    fn a_name_may_start_with_digits() {
        assert_eq!(
            shown("1a.2b.3 0x1F 1e5 .5 t.5"),
            [
                "Word 1a",
                "Mark(46) .",
                "Word 2b",
                "Mark(46) .",
                "Word 3",
                "Number 0x1F",
                "Number 1e5",
                "Number .5",
                "Word t",
                "Mark(46) .",
                "Word 5"
            ]
        );
    }

    #[test]
    fn an_open_quote_or_comment_is_the_last_token() {
        for text in ["a 'b", "a `b", "a \"b\\\"", "a /* b", "a /*! 'b"] {
            assert_eq!(Tokens::new(text.as_bytes()).last().map(|token| token.kind), Some(Kind::Open), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"'\"`/*!#-\\ .;e+01M".to_vec())], 0..200)) {
            let mut end = 0;
            for token in Tokens::new(&bytes) {
                prop_assert!(token.at >= end);
                end = token.at + token.bytes.len();
                prop_assert!(end <= bytes.len());
                let _ = token.name();
            }
        }
    }
}
