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

    /// Space and comments. Only what is space to every server is skipped: to most of them a no-break
    /// space is part of a name.
    fn skip_blank(&mut self) {
        loop {
            let blank = |c: char| c.is_ascii_whitespace() || c == '\u{b}';
            self.rest = self.rest.trim_start_matches(blank);
            let comments = if self.rest.starts_with("--") {
                self.dashes_comment()
            } else if self.rest.starts_with('#') {
                self.hash_comments()
            } else if self.rest.starts_with("//") && self.dialect == Dialect::Other {
                None
            } else if self.rest.starts_with("/*") {
                self.skip_comment();
                continue;
            } else {
                return;
            };
            match comments {
                Some(true) => self.skip_line(),
                Some(false) => return,
                None => return self.stop(),
            }
        }
    }

    /// Whether two dashes begin a comment; `None`: cannot be told.
    fn dashes_comment(&self) -> Option<bool> {
        let next = self.rest.as_bytes().get(2).copied().unwrap_or(b' ');
        let apart = next.is_ascii_whitespace() || next.is_ascii_control();
        match self.dialect {
            // Two minus signs unless something empty follows.
            Dialect::MySql => Some(apart),
            Dialect::Other => apart.then_some(true),
            Dialect::PostgreSql | Dialect::SqlServer | Dialect::Sqlite => Some(true),
        }
    }

    fn hash_comments(&self) -> Option<bool> {
        match self.dialect {
            Dialect::MySql => Some(true),
            // An operator, and what a temporary table's name begins with.
            Dialect::PostgreSql | Dialect::SqlServer => Some(false),
            // A comment could hold a quote that is none.
            Dialect::Sqlite | Dialect::Other => None,
        }
    }

    /// To the line's end. A lone carriage return is one in PostgreSQL, and none elsewhere.
    fn skip_line(&mut self) {
        let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
        let line = &self.rest[end..];
        if line.starts_with('\r')
            && !line.starts_with("\r\n")
            && self.dialect != Dialect::PostgreSql
        {
            return self.stop();
        }
        self.skip(end);
    }

    /// Comments nest in some dialects; where that cannot be told, one within one is a doubt.
    fn skip_comment(&mut self) {
        let nest = matches!(self.dialect, Dialect::PostgreSql | Dialect::SqlServer);
        let mine = matches!(self.dialect, Dialect::MySql | Dialect::Other);
        // What MySQL executes, strings and all.
        if mine && (self.rest.starts_with("/*!") || self.rest.starts_with("/*M!")) {
            return self.stop();
        }
        // And what it may read as hints.
        let hint = mine && self.rest.starts_with("/*+");
        let (bytes, mut depth, mut at) = (self.rest.as_bytes(), 0_usize, 0);
        while at < bytes.len() {
            match &bytes[at..] {
                [b'/', b'*', ..] if at == 0 || nest => {
                    depth += 1;
                    at += 2;
                }
                [b'/', b'*', ..] => return self.stop(),
                [b'\'' | b'"' | b'`', ..] if hint => return self.stop(),
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

    /// What begins with a `$`.
    fn dollar(&mut self) -> Token<'a> {
        let tag = self.dollar_tag();
        match (tag, self.dialect) {
            // `$tag$ … $tag$`
            (Some(tag), Dialect::PostgreSql) => {
                match self.rest[tag.len()..].find(tag) {
                    Some(end) => self.skip(tag.len() + end + tag.len()),
                    None => self.stop(),
                }
                Token::Literal
            }
            // The same, or a name.
            (Some(_), _) => {
                self.stop();
                Token::Literal
            }
            (None, _) => self.parameter(),
        }
    }

    fn dollar_tag(&self) -> Option<&'a str> {
        let tag = self.rest[1..].find('$').map(|at| &self.rest[..at + 2])?;
        let name = &tag[1..tag.len() - 1];
        let is_tag = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii())
            && !name.starts_with(|c: char| c.is_ascii_digit());
        is_tag.then_some(tag)
    }

    /// `$1`, `:name`, `@name`, `?3`: its first character has been looked at.
    fn parameter(&mut self) -> Token<'a> {
        self.skip(1);
        let digits = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if digits > 0 {
            self.skip(digits);
            // A number ends here in PostgreSQL, and something between dollars may begin.
            match self.dialect {
                Dialect::PostgreSql => return Token::Parameter,
                _ if self.rest.starts_with('$') => self.stop(),
                _ => {}
            }
        }
        self.word();
        if matches!(self.dialect, Dialect::Sqlite | Dialect::Other) {
            // SQLite's names may go on like `::a(anything)`, which others call a cast.
            let mut ahead = self.rest;
            while let Some(name) = ahead.strip_prefix("::") {
                ahead = name.trim_start_matches(is_word);
            }
            if ahead.starts_with('(') && !is_harmless(ahead, ')') {
                self.stop();
            }
        }
        Token::Parameter
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
        // Before it may be what others take for space.
        let prefix = word.rsplit(|c: char| !c.is_ascii()).next().unwrap_or(word);
        match prefix.as_bytes() {
            // Oracle's own, with any pair of brackets inside.
            [b'q' | b'Q'] | [b'n' | b'N', b'q' | b'Q'] => self.stop(),
            [b'e' | b'E'] if word.len() == 1 => {
                self.quoted(b'\'', self.dialect == Dialect::PostgreSql);
            }
            [b'b' | b'B' | b'n' | b'N' | b'x' | b'X'] | [b'_', ..] if !self.is_tripled() => {
                self.quoted(b'\'', false);
            }
            _ => return None,
        }
        Some(Token::Literal)
    }

    /// Three quotes: one within a string, or what begins another kind of string.
    fn is_tripled(&self) -> bool {
        self.dialect == Dialect::Other
            && ["'''", "\"\"\""].iter().any(|quotes| self.rest.starts_with(quotes))
    }
}

/// Whether what is between the first character and the next `close` means the same whether they are
/// quotes or not.
fn is_harmless(text: &str, close: char) -> bool {
    let within = text.get(1..).and_then(|rest| rest.split_once(close));
    within.is_some_and(|(within, after)| {
        // Two of them would be one.
        !after.starts_with(close)
            && !within.contains(['\'', '"', '`', '[', '\\', '$', '#'])
            && !["--", "/*", "//"].iter().any(|comment| within.contains(comment))
    })
}

/// Whatever is not ASCII is part of a name to most servers.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let first = self.rest.chars().next()?;
        let second = self.rest.as_bytes().get(1).copied().unwrap_or(0);
        Some(match first {
            '\'' | '"' if self.is_tripled() => {
                self.stop();
                Token::Literal
            }
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
            '`' => {
                let quotes = match self.dialect {
                    Dialect::MySql | Dialect::Sqlite => true,
                    Dialect::Other => is_harmless(self.rest, '`'),
                    // An operator, if anything.
                    Dialect::PostgreSql | Dialect::SqlServer => false,
                };
                if !quotes {
                    self.stop();
                }
                match self.quoted(b'`', false) {
                    "" => Token::Literal,
                    text => Token::Quoted(text),
                }
            }
            '[' => match self.dialect {
                Dialect::SqlServer => match self.quoted(b']', false) {
                    "" => Token::Literal,
                    text => Token::Quoted(text),
                },
                // Two of them are two.
                Dialect::Sqlite => match self.rest.find(']') {
                    Some(end) => Token::Quoted(self.take(end + 1)),
                    None => {
                        self.stop();
                        Token::Literal
                    }
                },
                Dialect::Other if !is_harmless(self.rest, ']') => {
                    self.stop();
                    Token::Literal
                }
                Dialect::PostgreSql | Dialect::MySql | Dialect::Other => {
                    self.skip(1);
                    Token::Punctuation('[')
                }
            },
            '$' if second == b'$'
                || second == b'_'
                || second.is_ascii_alphabetic()
                || !second.is_ascii() =>
            {
                self.dollar()
            }
            '$' | '?' | '@' | ':' if second.is_ascii_alphanumeric() || second == b'_' => {
                self.parameter()
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
            c if c.is_ascii_alphabetic() || c == '_' || !c.is_ascii() => {
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
        let (mut at, mut letters) = (0, false);
        while at < bytes.len() {
            let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
            let exponent = at > 0 && matches!(bytes[at - 1], b'e' | b'E') && digit(at + 1);
            let letter = bytes[at].is_ascii_alphabetic() || !bytes[at].is_ascii();
            let belongs = letter
                || digit(at)
                || matches!(bytes[at], b'_' | b'.')
                || (exponent && matches!(bytes[at], b'+' | b'-'));
            if !belongs {
                break;
            }
            letters |= letter;
            at += 1;
        }
        self.skip(at);
        // A name to some, which goes on; to others something between dollars begins.
        if letters && self.rest.starts_with('$') {
            self.stop();
        }
    }
}
