//! `db.query.text`: the text without literals, comments and needless space.

use super::{
    Dialect,
    lex::{Lexer, Token},
    read,
};

/// What an attribute may hold.
const MOST_BYTES: usize = 1024;

/// The text with `?` for every literal and parameter, and for a list of them.
pub(crate) fn sanitize(text: &str, dialect: Dialect) -> String {
    let mut lexer = Lexer::new(read(text), dialect);
    let mut pieces: Vec<&str> = Vec::new();
    for token in &mut lexer {
        let piece = match token {
            Token::Word(word) | Token::Quoted(word) => word,
            Token::Literal | Token::Parameter | Token::Doubtful(_) => "?",
            Token::Cast => "::",
            Token::Punctuation(c) => of(c),
        };
        push(&mut pieces, piece);
    }
    let mut out = String::new();
    let mut before = "";
    for piece in pieces {
        let tight = out.is_empty()
            || matches!(piece, "," | ")" | "." | ";" | "::" | "]")
            || matches!(before, "(" | "." | "::" | "[")
            || (piece == "[" && before != ",");
        if !tight {
            out.push(' ');
        }
        out.push_str(piece);
        before = piece;
    }
    let cut = out.len() > MOST_BYTES;
    if cut {
        let mut end = MOST_BYTES;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
    }
    if cut || lexer.in_doubt || read(text).len() < text.len() {
        out.push('…');
    }
    out
}

/// Lists of values become one value, lists of such lists one list.
fn push<'a>(pieces: &mut Vec<&'a str>, piece: &'a str) {
    pieces.push(piece);
    if let [.., "?", ",", "?"] = pieces[..] {
        pieces.truncate(pieces.len() - 2);
    }
    if let [.., "(", "?", ")", ",", "(", "?", ")"] = pieces[..] {
        pieces.truncate(pieces.len() - 4);
    }
}

/// ASCII punctuation as text; what is not ASCII says nothing.
fn of(c: char) -> &'static str {
    const ALL: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    ALL.find(c).and_then(|at| ALL.get(at..at + 1)).unwrap_or("?")
}
