//! A statement cut into tokens that know where they stand in the text.

use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::{Location, Token as Lexeme, Tokenizer, Whitespace};

use super::answer::Failure;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Its first byte in the text.
    pub(super) start: usize,
    /// The byte after its last.
    pub(super) end: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A word without quotes, as written.
    Word(String),
    /// An identifier in backticks, without them.
    Quoted(String),
    /// A string, without its quotes.
    Text(String),
    /// A number, as written.
    Number(String),
    /// One of `( ) , ; = . ?`.
    Mark(char),
    /// Anything else.
    Other,
}

impl Token {
    /// `true` for this word without quotes, in any case.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own.eq_ignore_ascii_case(word))
    }

    /// `true` for this mark.
    pub(super) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    /// The name that a word or a quoted identifier gives.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(name) | Kind::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// Cuts a statement into tokens; comments, white space and the semicolons at the end are left out.
///
/// # Errors
/// 1064 where a quote or comment is not closed.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Failure> {
    let dialect = MySqlDialect {};
    let lexemes = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|error| Failure::syntax(format!("the statement cannot be read: {error}; close every quote and comment")))?;
    let mut places = Places::new(text);
    let mut tokens = Vec::with_capacity(lexemes.len());
    for lexeme in lexemes {
        let (start, end) = (places.byte(lexeme.span.start), places.byte(lexeme.span.end));
        let kind = match lexeme.token {
            Lexeme::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab) => continue,
            Lexeme::Whitespace(_) | Lexeme::EOF => continue,
            Lexeme::Word(word) if word.quote_style.is_some() => Kind::Quoted(word.value),
            Lexeme::Word(word) => Kind::Word(word.value),
            Lexeme::SingleQuotedString(text) | Lexeme::DoubleQuotedString(text) => Kind::Text(text),
            Lexeme::Number(digits, _) => Kind::Number(digits),
            Lexeme::LParen => Kind::Mark('('),
            Lexeme::RParen => Kind::Mark(')'),
            Lexeme::Comma => Kind::Mark(','),
            Lexeme::SemiColon => Kind::Mark(';'),
            Lexeme::Eq => Kind::Mark('='),
            Lexeme::Period => Kind::Mark('.'),
            Lexeme::Placeholder(_) => Kind::Mark('?'),
            _ => Kind::Other,
        };
        tokens.push(Token { kind, start, end });
    }
    while tokens.last().is_some_and(|token| token.is_mark(';')) {
        tokens.pop();
    }
    Ok(tokens)
}

/// Turns lines and columns into byte offsets, walking the text once: places are asked for in rising order.
struct Places<'a> {
    text: &'a str,
    byte: usize,
    line: u64,
    column: u64,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, byte: 0, line: 1, column: 1 }
    }

    fn byte(&mut self, place: Location) -> usize {
        if (place.line, place.column) < (self.line, self.column) {
            *self = Self::new(self.text);
        }
        while (self.line, self.column) < (place.line, place.column) {
            let Some(next) = self.text.get(self.byte..).and_then(|rest| rest.chars().next()) else { break };
            self.byte += next.len_utf8();
            if next == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.byte
    }
}
