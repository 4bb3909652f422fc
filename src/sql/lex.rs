//! SQL in tokens. Never fails: what is not closed reaches to the end.

use super::Dialect;

/// A piece of SQL. Comments and space are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or an identifier without quotes.
    Word(&'a str),
    /// An identifier with its quotes.
    Quoted(&'a str),
    /// Something between double quotes where they may hold a value too.
    Doubtful(&'a str),
    /// A string, a number, a bit string: dropped.
    Literal,
    /// `$1`, `?`, `:name`, `@name`.
    Parameter,
    /// `::`
    Cast,
    /// Any other character.
    Punctuation(char),
}

/// The tokens of a text.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    dialect: Dialect,
    /// The text goes on, but how cannot be told.
    pub(super) in_doubt: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { rest: text, dialect, in_doubt: false }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn stop(&mut self) {
        self.rest = "";
        self.in_doubt = true;
    }

    /// Space and comments.
    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("--") || self.is_hash_comment() {
                let line = self.rest.find('\n').unwrap_or(self.rest.len());
                self.skip(line);
            } else if self.rest.starts_with("/*") {
                self.skip_comment();
            } else {
                return;
            }
        }
    }

    fn is_hash_comment(&mut self) -> bool {
        if !self.rest.starts_with('#') {
            return false;
        }
        match self.dialect {
            Dialect::MySql => true,
            // An operator, and what a temporary table's name begins with.
            Dialect::PostgreSql | Dialect::SqlServer => false,
            // A comment could hold a quote that is none.
            Dialect::Other => {
                self.stop();
                false
            }
        }
    }

    /// Comments nest in some dialects; where they do not, this drops more than it must.
    fn skip_comment(&mut self) {
        let (bytes, mut depth, mut at) = (self.rest.as_bytes(), 0_usize, 0);
        while at < bytes.len() {
            match &bytes[at..] {
                [b'/', b'*', ..] => {
                    depth += 1;
                    at += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return self.skip(at);
                    }
                }
                _ => at += 1,
            }
        }
        self.skip(bytes.len());
    }

    /// Takes what begins with a quote, up to the same quote; two of them are one. `escapes`: a
    /// backslash escapes for certain. Elsewhere one before a quote makes the rest doubtful: whether
    /// it ends the string depends on a setting of the server.
    fn quoted(&mut self, close: u8, escapes: bool) -> &'a str {
        let bytes = self.rest.as_bytes();
        let mut at = 1;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' if escapes => at += 2,
                b'\\' if close != b'`' && close != b']' && bytes.get(at + 1) == Some(&close) => {
                    self.stop();
                    return "";
                }
                byte if byte == close => {
                    if bytes.get(at + 1) != Some(&close) {
                        return self.take(at + 1);
                    }
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.stop();
        ""
    }

    /// `$tag$ … $tag$`, if that is what begins here.
    fn dollar_quoted(&mut self) -> bool {
        let Some(tag) = self.rest[1..].find('$').map(|at| &self.rest[..at + 2]) else {
            return false;
        };
        let name = &tag[1..tag.len() - 1];
        let is_tag = name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !is_tag {
            return false;
        }
        match self.rest[tag.len()..].find(tag) {
            Some(end) => self.skip(tag.len() + end + tag.len()),
            None => self.stop(),
        }
        true
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// The string that begins right after `word` and belongs to it: `E'…'`, `x'…'`, `_utf8'…'`.
    fn string_of(&mut self, word: &str) -> Option<Token<'a>> {
        if !self.rest.starts_with('\'') {
            return None;
        }
        match word.as_bytes() {
            [b'e' | b'E'] => self.quoted(b'\'', true),
            [b'b' | b'B' | b'n' | b'N' | b'x' | b'X'] | [b'_', ..] => self.quoted(b'\'', false),
            // Oracle's own, with any pair of brackets inside.
            [b'q' | b'Q'] | [b'n' | b'N', b'q' | b'Q'] => {
                self.stop();
                ""
            }
            _ => return None,
        };
        Some(Token::Literal)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let first = self.rest.chars().next()?;
        let second = self.rest.as_bytes().get(1).copied().unwrap_or(0);
        Some(match first {
            '\'' => {
                self.quoted(b'\'', false);
                Token::Literal
            }
            '"' => {
                let text = self.quoted(b'"', false);
                match self.dialect {
                    _ if text.is_empty() => Token::Literal,
                    Dialect::PostgreSql => Token::Quoted(text),
                    _ => Token::Doubtful(text),
                }
            }
            '`' => match self.quoted(b'`', false) {
                "" => Token::Literal,
                text => Token::Quoted(text),
            },
            '[' if self.dialect == Dialect::SqlServer => match self.quoted(b']', false) {
                "" => Token::Literal,
                text => Token::Quoted(text),
            },
            '$' if second == b'$'
                || second == b'_'
                || second.is_ascii_alphabetic()
                || !second.is_ascii() =>
            {
                if self.dollar_quoted() {
                    Token::Literal
                } else {
                    self.word();
                    Token::Parameter
                }
            }
            '$' | '?' | '@' | ':' if second.is_ascii_alphanumeric() || second == b'_' => {
                self.skip(1);
                self.word();
                Token::Parameter
            }
            '?' => {
                self.skip(1);
                Token::Parameter
            }
            ':' if second == b':' => {
                self.skip(2);
                Token::Cast
            }
            '0'..='9' => {
                self.number();
                Token::Literal
            }
            '.' if second.is_ascii_digit() => {
                self.number();
                Token::Literal
            }
            '#' if self.dialect == Dialect::SqlServer => {
                let end = self.rest[1..].find(|c: char| !is_word(c) && c != '#');
                Token::Word(self.take(end.map_or(self.rest.len(), |end| end + 1)))
            }
            c if c.is_alphabetic() || c == '_' => {
                let word = self.word();
                self.string_of(word).unwrap_or(Token::Word(word))
            }
            c => {
                self.skip(c.len_utf8());
                Token::Punctuation(c)
            }
        })
    }
}

impl Lexer<'_> {
    /// Digits, and all that can belong to a number: `1_000`, `0x1f`, `1.5e-3`.
    fn number(&mut self) {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let exponent = at > 0 && matches!(bytes[at - 1], b'e' | b'E');
            let belongs = bytes[at].is_ascii_alphanumeric()
                || matches!(bytes[at], b'_' | b'.')
                || !bytes[at].is_ascii()
                || (exponent && matches!(bytes[at], b'+' | b'-'));
            if !belongs {
                break;
            }
            at += 1;
        }
        self.skip(at);
    }
}
