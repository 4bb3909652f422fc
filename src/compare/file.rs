//! Figures in a file: text, a line for each slice of each query, made to be kept for years.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::figures::{Figures, Slice};

const HEAD: &str = "highwater figures 1";

/// More is no file of ours.
const MOST_BYTES: u64 = 256 << 20;

/// Figures could not be kept, or are none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}, line {line}: {what}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

impl Figures {
    /// Writes them to a file, whole or not at all; one that was there is replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.new", std::process::id()));
        let written = fs::File::create(&beside)
            .and_then(|mut file| {
                file.write_all(self.to_text().as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, path));
        written.map_err(|source| {
            let _ = fs::remove_file(&beside);
            Error::Io { path: path.to_owned(), source }
        })
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error`], with the line that is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io = |source| Error::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(io)?.len() > MOST_BYTES {
            return Err(io(io::Error::other("it is larger than any file of figures")));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        Self::from_text(&text).map_err(|(line, what)| Error::Content {
            path: path.to_owned(),
            line,
            what,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let at = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut text =
            format!("{HEAD}\nname {}\nat {at}\npools {}\n", escape(&self.name), self.has_pools);
        for (seconds, held) in self.seconds.iter().zip(&self.held) {
            text += &format!("slice {seconds} {held}\n");
        }
        for (name, slices) in &self.queries {
            text += &format!("query {}\n", escape(name));
            for (at, slice) in slices.iter().enumerate().filter(|(_, s)| **s != Slice::default()) {
                let Slice { calls, errors, seconds, zero, .. } = slice;
                text += &format!("in {at} {calls} {errors} {seconds} {zero}");
                for (index, count) in &slice.buckets {
                    text += &format!(" {index}:{count}");
                }
                text.push('\n');
            }
        }
        // So that a file that was cut off is seen to be.
        text += "end\n";
        text
    }

    /// An error is the line's number and what is wrong with it.
    pub(super) fn from_text(text: &str) -> Result<Self, (usize, String)> {
        let mut figures = Self::default();
        let mut query: Option<String> = None;
        let mut ended = false;
        for (at, line) in text.lines().enumerate() {
            let wrong = |what: &str| (at + 1, format!("{what}: {line:?}"));
            if at == 0 {
                if line != HEAD {
                    return Err(wrong("not figures of this version"));
                }
                continue;
            }
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                _ if ended => return Err(wrong("something after the end")),
                "name" => figures.name = unescape(rest),
                "at" => {
                    let seconds = rest.parse().map_err(|_| wrong("no time"))?;
                    figures.at = SystemTime::UNIX_EPOCH
                        .checked_add(Duration::from_secs(seconds))
                        .ok_or_else(|| wrong("no time"))?;
                }
                "pools" => figures.has_pools = rest == "true",
                "slice" => {
                    let numbers = numbers(rest).filter(|n| n.len() == 2);
                    let numbers = numbers.ok_or_else(|| wrong("no slice"))?;
                    figures.seconds.push(numbers[0]);
                    figures.held.push(numbers[1]);
                }
                "query" => query = Some(unescape(rest)),
                "in" => {
                    let name = query.as_deref().ok_or_else(|| wrong("no query before it"))?;
                    let (at, slice) = slice(rest).ok_or_else(|| wrong("no slice of a query"))?;
                    if at >= figures.seconds.len() {
                        return Err(wrong("a slice there is not"));
                    }
                    *figures.query(name, at) = slice;
                }
                "end" => ended = true,
                _ => return Err(wrong("unknown")),
            }
        }
        if ended { Ok(figures) } else { Err((text.lines().count(), "it was cut off".to_owned())) }
    }
}

/// Finite and not negative, all of them.
fn numbers(text: &str) -> Option<Vec<f64>> {
    let good = |number: &f64| number.is_finite() && *number >= 0.0;
    text.split(' ').map(|number| number.parse().ok().filter(good)).collect()
}

fn slice(text: &str) -> Option<(usize, Slice)> {
    let mut words = text.split(' ');
    let at = words.next()?.parse().ok()?;
    let mut slice = Slice {
        calls: words.next()?.parse().ok()?,
        errors: words.next()?.parse().ok()?,
        seconds: numbers(words.next()?)?[0],
        zero: words.next()?.parse().ok()?,
        buckets: Vec::new(),
    };
    for word in words {
        let (index, count) = word.split_once(':')?;
        let (index, count): (i32, u64) = (index.parse().ok()?, count.parse().ok()?);
        // What a duration can be in, so that a wrong file asks for no memory.
        if !(-40_000..40_000).contains(&index)
            || slice.buckets.last().is_some_and(|(last, _)| *last >= index)
        {
            return None;
        }
        slice.buckets.push((index, count));
    }
    Some((at, slice))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    out
}
