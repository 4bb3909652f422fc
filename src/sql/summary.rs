//! `db.query.summary`: the operations and the collections they are about, in their order.

use super::{
    Dialect, OTHER,
    lex::{Lexer, Token},
    read,
};

/// What the conventions allow.
const MOST_BYTES: usize = 255;

/// A query's name from its text: `SELECT orders`, `INSERT shipments SELECT orders`.
///
/// Operations are written in capitals, collections as the text has them; names of common table
/// expressions are no collections. `_OTHER` if there is no operation we know.
pub(crate) fn summarize(text: &str, dialect: Dialect) -> String {
    let tokens: Vec<_> = Lexer::new(read(text), dialect).collect();
    let mut summary = Summary { tokens, at: 0, out: String::new(), levels: vec![], tables: vec![] };
    summary.levels.push(Level { head: true, ..Level::default() });
    while summary.at < summary.tokens.len() {
        summary.step();
    }
    if summary.out.is_empty() { OTHER.to_owned() } else { summary.out }
}

/// What a statement, or a part of one in parentheses, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Op {
    /// No statement: an expression, a list.
    #[default]
    None,
    /// `SELECT`, `DELETE`, `UPDATE`: `FROM` names collections.
    Reads,
    /// `INSERT`, `MERGE`, `REPLACE`: so does `INTO`.
    Writes,
    /// `EXPLAIN`: a statement follows.
    Explains,
    /// `CREATE` and the like, of which one name is told; after `AS` may follow a statement.
    Defines,
    /// Only its name is told.
    Opaque,
}

/// Within one pair of parentheses.
#[derive(Debug, Default)]
struct Level {
    op: Op,
    /// A statement may begin here.
    head: bool,
    /// Within the list after `FROM`.
    from: bool,
    /// The next name is a collection; after a comma, less certainly so.
    expect: Option<After>,
    /// Within `WITH`, before its statement; and whether the next name is that of an expression.
    with: bool,
    names: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Keyword,
    Comma,
}

struct Summary<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    out: String,
    levels: Vec<Level>,
    /// Names of common table expressions.
    tables: Vec<&'a str>,
}

impl<'a> Summary<'a> {
    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    fn emit(&mut self, piece: &str) {
        let space = usize::from(!self.out.is_empty());
        if self.out.len() + space + piece.len() > MOST_BYTES {
            // What is cut off is cut off whole, and nothing follows.
            self.at = self.tokens.len();
            return;
        }
        if space == 1 {
            self.out.push(' ');
        }
        self.out.push_str(piece);
    }

    fn step(&mut self) {
        let Some(token) = self.peek(0) else { return };
        self.at += 1;
        let head = std::mem::take(&mut self.level().head);
        match token {
            Token::Word(word) => self.word(word, head),
            Token::Quoted(name) => self.name(name, true),
            Token::Doubtful(name) => self.name(name, false),
            Token::Punctuation('(') => self.open(),
            Token::Punctuation(')') => self.close(),
            Token::Punctuation(',') => self.comma(),
            Token::Punctuation(';') => {
                self.levels.clear();
                self.levels.push(Level { head: true, ..Level::default() });
                self.tables.clear();
            }
            Token::Literal | Token::Parameter | Token::Cast | Token::Punctuation(_) => {
                self.level().expect = None;
            }
        }
    }

    fn open(&mut self) {
        let expect = self.level().expect.take();
        let from = expect.is_some();
        self.levels.push(Level { head: true, from, expect, ..Level::default() });
    }

    fn close(&mut self) {
        if self.levels.len() > 1 {
            self.levels.pop();
        }
        let level = self.level();
        level.head = level.with || level.op == Op::Explains;
    }

    fn comma(&mut self) {
        let level = self.level();
        if level.with {
            level.names = true;
        } else if level.from {
            level.expect = Some(After::Comma);
        }
    }

    /// A name, with those behind dots that belong to it.
    fn name(&mut self, first: &'a str, certain: bool) {
        let mut parts = vec![first];
        while self.peek(0) == Some(Token::Punctuation('.')) {
            let Some(Token::Word(part) | Token::Quoted(part) | Token::Doubtful(part)) =
                self.peek(1)
            else {
                break;
            };
            parts.push(part);
            self.at += 2;
        }
        let level = self.level();
        if std::mem::take(&mut level.names) {
            self.tables.push(first);
            return;
        }
        let Some(after) = level.expect.take() else { return };
        let is_table =
            parts.len() == 1 && self.tables.iter().any(|table| table.eq_ignore_ascii_case(first));
        // Between double quotes may be a value where a list goes on unlike we think.
        if (certain || after == After::Keyword) && !is_table {
            self.emit(&parts.join("."));
        }
    }

    fn word(&mut self, word: &'a str, head: bool) {
        let mut upper = [0; 16];
        let Some(upper) = uppercase(word, &mut upper) else { return self.name(word, true) };
        if self.level().names {
            return if upper == "RECURSIVE" {
            } else {
                self.name(word, true)
            };
        }
        if self.level().expect.is_some() {
            match upper {
                "ONLY" | "LATERAL" | "TABLE" | "IF" | "NOT" | "EXISTS" | "CONCURRENTLY"
                | "LOW_PRIORITY" | "IGNORE" | "DELAYED" => return,
                "OR" => {
                    self.at += 1;
                    return;
                }
                "SELECT" | "WITH" | "VALUES" => {
                    let level = self.level();
                    level.expect = None;
                    level.from = false;
                }
                "OUTFILE" | "DUMPFILE" | "STDIN" | "STDOUT" | "WHERE" | "SET" | "ON" | "AS" => {
                    self.level().expect = None;
                }
                _ => return self.name(word, true),
            }
        }
        if self.at >= 2 && self.tokens[self.at - 2] == Token::Punctuation('.') {
            return;
        }
        self.keyword(upper, word, head);
    }

    fn keyword(&mut self, upper: &str, word: &'a str, head: bool) {
        let is_call = self.peek(0) == Some(Token::Punctuation('('));
        let outermost = self.levels.len() == 1;
        match upper {
            "SELECT" => self.begin(upper, Op::Reads, false),
            "DELETE" if head => self.begin(upper, Op::Reads, false),
            "UPDATE" if head => self.begin(upper, Op::Reads, true),
            "INSERT" | "REPLACE" | "MERGE" if head && !is_call => {
                self.begin(upper, Op::Writes, false);
            }
            "WITH" if head => {
                let level = self.level();
                (level.with, level.names) = (true, true);
            }
            "FROM" => self.from(),
            "JOIN" | "STRAIGHT_JOIN" => {
                let level = self.level();
                if level.op == Op::Reads || level.from {
                    level.expect = Some(After::Keyword);
                }
            }
            "INTO" if matches!(self.level().op, Op::Writes | Op::Reads) => {
                self.level().expect = Some(After::Keyword);
            }
            "USING" if !is_call && matches!(self.level().op, Op::Writes | Op::Reads) => {
                self.level().expect = Some(After::Keyword);
            }
            "WHERE" | "GROUP" | "ORDER" | "HAVING" | "LIMIT" | "OFFSET" | "WINDOW" | "SET"
            | "VALUES" | "RETURNING" | "ON" | "FOR" | "FETCH" | "UNION" | "INTERSECT"
            | "EXCEPT" | "MINUS" | "PROCEDURE" | "LOCK" | "QUALIFY" | "CONNECT" | "START"
            | "INTO"
                if self.level().op != Op::None =>
            {
                self.level().from = false;
            }
            "AS" => {
                let level = self.level();
                level.head = matches!(level.op, Op::Defines | Op::Opaque);
            }
            // What can follow `AS` or `EXPLAIN` before the statement.
            "ANALYZE" | "VERBOSE" | "QUERY" | "PLAN" if self.level().op == Op::Explains => {
                self.level().head = true;
            }
            "CURSOR" | "FOR" if self.level().op == Op::Opaque => self.level().head = true,
            "CREATE" | "DROP" | "ALTER" | "COMMENT" | "REFRESH" if head && outermost => {
                self.define(upper);
            }
            "TRUNCATE" | "CALL" | "EXEC" | "EXECUTE" | "COPY" if head && outermost => {
                self.begin(upper, Op::Opaque, true);
            }
            "EXPLAIN" | "DESCRIBE" if head && outermost => {
                self.begin(upper, Op::Explains, false);
                self.level().head = true;
            }
            "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT"
            | "RELEASE" | "SET" | "RESET" | "SHOW" | "USE" | "PRAGMA" | "VACUUM" | "ANALYZE"
            | "REINDEX" | "CLUSTER" | "CHECKPOINT" | "LOCK" | "UNLOCK" | "LISTEN" | "UNLISTEN"
            | "NOTIFY" | "GRANT" | "REVOKE" | "PREPARE" | "DEALLOCATE" | "DECLARE" | "FETCH"
            | "MOVE" | "CLOSE" | "DISCARD" | "ATTACH" | "DETACH" | "KILL" | "LOAD" | "OPTIMIZE"
            | "VALUES" | "IMPORT" | "DO"
                if head && outermost =>
            {
                self.begin(upper, Op::Opaque, false);
            }
            _ => {
                // A name where none was expected: what belongs to it goes with it.
                self.name(word, true);
            }
        }
    }

    fn begin(&mut self, op: &str, kind: Op, expect: bool) {
        self.emit(op);
        let level = self.level();
        *level = Level { op: kind, expect: expect.then_some(After::Keyword), ..Level::default() };
    }

    fn from(&mut self) {
        // `a IS DISTINCT FROM b`; but `SELECT DISTINCT a FROM b` has something between.
        let distinct = self.at >= 2
            && matches!(self.tokens[self.at - 2], Token::Word(w) if w.eq_ignore_ascii_case("DISTINCT"));
        let level = self.level();
        // Elsewhere it is part of a function: `EXTRACT(year FROM at)`.
        if level.op == Op::Reads && !distinct {
            level.from = true;
            level.expect = Some(After::Keyword);
        }
    }

    /// `CREATE [UNIQUE …] INDEX [IF NOT EXISTS] name`.
    fn define(&mut self, op: &str) {
        self.begin(op, Op::Defines, false);
        for _ in 0..4 {
            let Some(Token::Word(word)) = self.peek(0) else { return };
            self.at += 1;
            let mut upper = [0; 16];
            match uppercase(word, &mut upper) {
                Some(
                    kind @ ("TABLE" | "VIEW" | "INDEX" | "SEQUENCE" | "SCHEMA" | "DATABASE"
                    | "FUNCTION" | "PROCEDURE" | "TRIGGER" | "TYPE" | "EXTENSION"
                    | "DOMAIN"),
                ) => {
                    let kind = kind.to_owned();
                    self.emit(&kind);
                    self.level().expect = Some(After::Keyword);
                    return;
                }
                // Whose names are nobody's business.
                Some(kind @ ("USER" | "ROLE")) => {
                    let kind = kind.to_owned();
                    return self.emit(&kind);
                }
                _ => {}
            }
        }
    }
}

/// In capitals, if it is as short as keywords are, and ASCII.
fn uppercase<'b>(word: &str, buffer: &'b mut [u8; 16]) -> Option<&'b str> {
    let buffer = buffer.get_mut(..word.len())?;
    buffer.copy_from_slice(word.as_bytes());
    buffer.make_ascii_uppercase();
    std::str::from_utf8(buffer).ok().filter(|word| word.is_ascii())
}
